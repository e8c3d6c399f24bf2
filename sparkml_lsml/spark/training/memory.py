"""What passes over many coefficients take of memory, compared before the first of them."""

import logging
from pathlib import Path

from pyspark import SparkContext

from sparkml_lsml.display import text
from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.cluster.session import setting
from sparkml_lsml.spark.cluster.sizing import executor_slots

LARGEST = 2**31 - 2**20
"""Bytes of a sum that a Python worker can hand to Spark in one piece, less what is around it."""

DRIVER_BYTES = 300
"""Of the driver's Python for one coefficient of a fit with l-bfgs, as the pages on sizes say."""

WORKER_VECTORS = 4
"""Vectors that a task holds at a time: coefficients as they came and as they are used, a sum, and
that as it is sent."""

CGROUP = Path("/sys/fs/cgroup")

OVERHEADS = {"yarn": 0.1, "k8s": 0.4}
"""Spark's default share of the heap that a container has beside it, for Python, by master."""

log = logging.getLogger("sparkml_lsml")


def check_memory(sc: SparkContext, name: str, size: int, models: int) -> None:
    """Compare what the passes of some models will take with what there is.

    Parameters
    ----------
    sc : SparkContext
    name : str
        What is fitted.
    size : int
        Coefficients of a model.
    models : int
        That share their passes.

    Raises
    ------
    DataError
        If no Python worker can return the sum of one model.
    """
    if 8 * size > LARGEST:
        raise DataError(
            f"{name}: {size:,} coefficients: expected at most {LARGEST // 8:,}, as Python workers "
            "can send Spark no larger sum. Hash the features to fewer columns (FeatureHasher)"
        )
    driver, free = DRIVER_BYTES * size * models, free_memory()
    if free is not None and driver > free:
        log.warning(
            "%s: the driver's Python will take some %s for %s coefficients, of %s that are free: "
            "raise spark.driver.memoryOverhead in cluster mode (not spark.driver.memory, which is "
            "the heap of its JVM)",
            name,
            text.size(driver),
            f"{size * models:,}",
            text.size(free),
        )
    worker, room = 8 * WORKER_VECTORS * size * models * executor_slots(sc), overhead(sc)
    if room is not None and worker > room:
        log.warning(
            "%s: the Python workers of an executor will take some %s beside the rows, and its "
            "container has %s for them: raise spark.executor.memoryOverhead",
            name,
            text.size(worker),
            text.size(room),
        )


def free_memory(cgroup: Path = CGROUP) -> int | None:
    """Bytes that this process may still take, in its container or on its machine, if told."""
    found = [_of_machine()]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = int((cgroup / limit).read_text())
            found.append(most - int((cgroup / used).read_text()))
        except (OSError, ValueError):  # another version of cgroups, or no limit ("max")
            continue
    known = [each for each in found if each is not None]
    return max(0, min(known)) if known else None


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def overhead(sc: SparkContext) -> int | None:
    """Bytes that the container of an executor has beside the heap; None without a container."""
    share = OVERHEADS.get((sc.master or "").split(":")[0])
    if share is None:
        return None
    if given := setting(sc, "spark.executor.memoryOverhead"):
        return text.size_of(given)
    factor = setting(sc, "spark.executor.memoryOverheadFactor")
    heap = text.size_of(setting(sc, "spark.executor.memory") or "1g")
    return max(384 * 2**20, int((float(factor) if factor else share) * heap))
