"""Where the cached rows of an RDD lie, and what tasks do that run elsewhere."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark import RDD, SparkContext, TaskContext

from sparkml_lsml.spark.cluster.session import allowed, flag, is_local

MANAGER = "org.apache.spark.storage.BlockManager"

COPY_SECONDS = 60.0
"""How long a copy of a slow task leaves the original time, where only that one has the block."""


@dataclass(frozen=True)
class Placement:
    """Which executors there are, and which of them have the cached rows.

    Attributes
    ----------
    executors : frozenset of str
        Names of those that are alive.
    holders : dict of int to str
        Executor that has the cached row of a partition.
    """

    executors: frozenset[str]
    holders: dict[int, str]


def placement(rdd: "RDD[Any]") -> Placement | None:
    """Where the rows of a cached RDD lie now.

    Some questions an executor. None where driver and executor are one process, so that there is
    nothing to ask, and where Spark does not let Python ask.
    """
    sc = rdd.context
    if is_local(sc):
        return None

    def ask() -> Placement | None:
        holders: dict[int, str] = {}
        alive = []
        own = f"rdd_{rdd.id()}_"
        for status in master(sc).getStorageStatus():
            name = str(status.blockManagerId().executorId())
            alive.append(name)
            blocks = status.rddBlocks().keys().mkString(" ").split()
            holders.update((int(b[len(own) :]), name) for b in blocks if b.startswith(own))
        return Placement(frozenset(alive), holders)

    return allowed(ask, lambda: None)


def copies_wait(sc: SparkContext) -> Callable[[], None] | None:
    """What a task is to do that has not found its block, if Spark copies tasks that are slow.

    A copy runs on another executor than the one that has the block, and would win the race by not
    finding it. So it waits until Spark ends it, or the original has had its time.
    """
    if not flag(sc, "spark.speculation"):
        return None
    seconds = COPY_SECONDS

    # travels by value, as it is made in a function: executors import nothing for it
    def wait() -> None:
        task = TaskContext.get()
        until = time.monotonic() + seconds
        while task is not None and task.attemptNumber() > 0 and time.monotonic() < until:
            time.sleep(0.1)

    return wait


def master(sc: Any) -> Any:
    """What Spark's driver knows of the blocks of all executors, a ``BlockManagerMaster``."""
    env = sc._jsc.sc().env()
    manager = _get(sc, env, "org.apache.spark.SparkEnv", "blockManager", MANAGER)
    return _get(sc, manager, MANAGER, "master", f"{MANAGER}Master")


def _get(sc: Any, target: Any, owner: str, name: str, result: str) -> Any:
    """What a method without arguments returns.

    Py4J looks at all methods of a class to find one. Those of these classes name types that a
    Spark without Connect does not have, and to look at them fails.
    """
    java = sc._jvm.java
    of, invoke = java.lang.Class.forName, java.lang.invoke
    method = invoke.MethodHandles.publicLookup().findVirtual(
        of(owner), name, invoke.MethodType.methodType(of(result))
    )
    arguments = java.util.ArrayList()
    arguments.add(target)
    return method.invokeWithArguments(arguments)
