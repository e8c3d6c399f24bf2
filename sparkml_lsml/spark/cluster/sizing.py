"""How much runs at the same time: tasks, executors, and the partitions that follow from them."""

import logging
import threading
import time
from weakref import WeakKeyDictionary

from pyspark import SparkContext

from sparkml_lsml.spark.cluster.session import allowed, flag, is_local, setting

UNLIMITED = 1_000
"""Partitions that rows are joined to where there may be any number of executors: each is a task of
every pass, of which the driver starts some thousand a second."""

REGISTERING_SECONDS = 15.0
"""How long the first fit of an application waits for its executors: they take some seconds to
start, and those that a busy cluster does not grant soon may not come at all."""

log = logging.getLogger("sparkml_lsml")

_waited: "WeakKeyDictionary[SparkContext, bool]" = WeakKeyDictionary()
_lock = threading.Lock()


def parallelism(sc: SparkContext) -> int:
    """Tasks that run at the same time, once executors that were asked for are there.

    Not ``defaultParallelism``: it counts cores where a task takes several or a GPU, and where
    ``spark.default.parallelism`` is set it says how shuffles are split.
    """
    # as few as Spark's own least, which is 2 where executors may have yet to register
    return max(1 if is_local(sc) else 2, slots(sc), _asked(sc))


def wait_for_executors(sc: SparkContext) -> None:
    """Wait until the executors that were asked for have registered, a short time, once a context.

    Blocks stay where they are packed: those of a fit that begins with the application would
    otherwise all be on the first executor. Under dynamic allocation executors come for tasks that
    wait, and there is nothing to wait for.
    """
    with _lock:
        if sc in _waited:
            return
        _waited[sc] = True
    asked = 0 if _allocates(sc) else _asked(sc)
    until = time.monotonic() + REGISTERING_SECONDS
    if slots(sc) < asked:
        log.info("waiting for executors: %d of %d tasks could run by now", slots(sc), asked)
    while slots(sc) < asked and time.monotonic() < until:
        time.sleep(0.1)


def most_partitions(sc: SparkContext) -> int:
    """Partitions that rows are joined to, at most.

    One a core; but a dynamic allocation without a limit begins with few cores, and brings more only
    for tasks that wait for them.
    """
    cores = parallelism(sc)
    return max(cores, UNLIMITED) if _allocates(sc) and not _most_executors(sc) else cores


def slots(sc: SparkContext) -> int:
    """Tasks that run at the same time on the executors that are alive."""

    def ask() -> int:
        jsc = sc._jsc.sc()
        profile = jsc.resourceProfileManager().defaultResourceProfile()
        return int(jsc.maxNumConcurrentTasks(profile))

    return max(1, allowed(ask, lambda: sc.defaultParallelism))


def _asked(sc: SparkContext) -> int:
    """Tasks that could run on all executors that the settings ask for; 0 where they do not say."""
    if is_local(sc):
        return 0
    each = executor_slots(sc)
    if _allocates(sc):
        return _most_executors(sc) * each
    if instances := int(setting(sc, "spark.executor.instances") or 0):
        return instances * each
    return int(setting(sc, "spark.cores.max") or 0) // int(setting(sc, "spark.task.cpus") or 1)


def executor_slots(sc: SparkContext) -> int:
    """Tasks that run at the same time on an executor, by the settings of its cores and GPUs."""
    cores = int(setting(sc, "spark.executor.cores") or 1)
    most = cores // int(setting(sc, "spark.task.cpus") or 1)
    if share := float(setting(sc, "spark.task.resource.gpu.amount") or 0):
        most = min(most, int(int(setting(sc, "spark.executor.resource.gpu.amount") or 0) / share))
    return most


def _allocates(sc: SparkContext) -> bool:
    return flag(sc, "spark.dynamicAllocation.enabled")


def _most_executors(sc: SparkContext) -> int:
    """Limit of a dynamic allocation, 0 without; Spark's own default is as good as none."""
    most = int(setting(sc, "spark.dynamicAllocation.maxExecutors") or 0)
    return most if most < 10_000 else 0


def executors(sc: SparkContext) -> int:
    """Number of executors that are alive, or rather more where Spark does not tell."""
    if is_local(sc):
        return 1

    def ask() -> int:
        known: int = sc._jsc.sc().getExecutorMemoryStatus().size()
        return known - 1  # the driver counts as one

    each = int(setting(sc, "spark.executor.cores") or 1)
    return allowed(ask, lambda: max(1, sc.defaultParallelism // each))
