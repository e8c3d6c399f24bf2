"""How much runs at the same time: tasks, executors, and the partitions that follow from them."""

from pyspark import SparkContext

from sparkml_lsml.spark.cluster.session import flag, is_local, setting

UNLIMITED = 1_000
"""Partitions that rows are joined to where there may be any number of executors: each is a task of
every pass, of which the driver starts some thousand a second."""


def parallelism(sc: SparkContext) -> int:
    """Tasks that run at the same time, once executors that may still be asked for are there."""
    # where spark.default.parallelism is set it says how shuffles are split, and no number of cores
    cores = max(sc.defaultParallelism, slots(sc))
    if _allocates(sc):
        each = int(setting(sc, "spark.executor.cores") or 1)
        each //= int(setting(sc, "spark.task.cpus") or 1)
        cores = max(cores, _most_executors(sc) * each)
    return max(1, cores)


def most_partitions(sc: SparkContext) -> int:
    """Partitions that rows are joined to, at most.

    One a core; but a dynamic allocation without a limit begins with few cores, and brings more only
    for tasks that wait for them.
    """
    cores = parallelism(sc)
    return max(cores, UNLIMITED) if _allocates(sc) and not _most_executors(sc) else cores


def slots(sc: SparkContext) -> int:
    """Tasks that run at the same time on the executors that are alive."""
    jsc = sc._jsc.sc()
    profile = jsc.resourceProfileManager().defaultResourceProfile()
    return max(1, int(jsc.maxNumConcurrentTasks(profile)))


def _allocates(sc: SparkContext) -> bool:
    return flag(sc, "spark.dynamicAllocation.enabled")


def _most_executors(sc: SparkContext) -> int:
    """Limit of a dynamic allocation, 0 without; Spark's own default is as good as none."""
    most = int(setting(sc, "spark.dynamicAllocation.maxExecutors") or 0)
    return most if most < 10_000 else 0


def executors(sc: SparkContext) -> int:
    """Number of executors that are alive."""
    known: int = sc._jsc.sc().getExecutorMemoryStatus().size()
    return 1 if is_local(sc) else known - 1  # the driver counts as one
