"""Removing what a fit has on the executors: its files, and blocks that Spark keeps."""

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from pyspark import RDD, SparkContext

from sparkml_lsml.errors import BackendError
from sparkml_lsml.spark.cluster.jobs import JobGroup
from sparkml_lsml.spark.cluster.sizing import executors, slots
from sparkml_lsml.worker.cleaning import remover

ROUNDS = 5
MOST_TASKS = 128
"""Half of the tasks that go to all slots; of more slots, two go to each executor."""

FORGET_SECONDS = 10.0
MANAGER = "org.apache.spark.storage.BlockManager"


def remove_files(sc: SparkContext, name: str, fit: str) -> None:
    """Remove the folder of a fit from every executor.

    The job has no lineage: a job on the cached handles would pack lost blocks anew, only to
    remove them. Its tasks go to whichever executors are free, so it is repeated, a few times,
    until each executor had one. Spark removes the rest when an executor ends, and those of one that
    was killed with the application.

    Parameters
    ----------
    sc : SparkContext
    name : str
        What was fitted.
    fit : str
        Names the folder.
    """
    # a group of its own: what cancels the jobs of the fit must not cancel this one
    jobs = JobGroup(sc, f"{name}-remove", apart=True)
    seen: set[str] = set()
    # long enough that one executor does not take all tasks, and one of its workers neither: each
    # drops the mappings of what was deleted, which take disk space until then
    pause = 0.02 if executors(sc) > 1 else 0.005
    for turn in range(ROUNDS):
        # more would make a dynamic allocation start executors, only to remove what they do not
        # have; of a large cluster each executor gets some, as Spark spreads them over free ones
        tasks = 2 * min(slots(sc), max(MOST_TASKS, executors(sc)))
        remove = remover(fit, pause * 2**turn)
        # an interrupt cancels all jobs of the session, and may do so twice: try again
        with contextlib.suppress(Exception), jobs.job(f"{name} remove blocks"):
            seen |= set(sc.parallelize(range(tasks), tasks).mapPartitions(remove).collect())
            if len(seen) >= executors(sc):
                return


def forget_blocks(rdd: "RDD[Any]", partitions: Iterable[int]) -> None:
    """Drop the cached handles of some partitions, so that their next use computes them anew.

    Raises
    ------
    BackendError
        If executors have not dropped them after some seconds.
    """
    sc: Any = rdd.context
    env = sc._jsc.sc().env()
    manager = _get(sc, env, "org.apache.spark.SparkEnv", "blockManager", MANAGER)
    master = _get(sc, manager, MANAGER, "master", f"{MANAGER}Master")
    number = sc._jvm.org.apache.spark.storage.RDDBlockId
    blocks = [number(rdd.id(), partition) for partition in partitions]
    for block in blocks:
        master.removeBlock(block)
    # an executor that still had one would hand it out once more
    until = time.monotonic() + FORGET_SECONDS
    while any(not master.getLocations(block).isEmpty() for block in blocks):
        if time.monotonic() > until:
            raise BackendError(f"blocks {partitions} are still cached: expected them to be gone")
        time.sleep(0.02)


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
