"""What a Spark session holds after its fits, and whether it grew with their number."""

from __future__ import annotations

import gc
import os
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from benchmarks.measure import descendants

SETTLING_SECONDS = 10.0
"""How long Spark may take to clean up behind objects that were collected."""

MB = 2**20

Sample = dict[str, float]


@dataclass(frozen=True)
class Allowance:
    """What a resource may do without being said to grow.

    Parameters
    ----------
    noise : float
        How much it goes up and down in a session that is as it was.
    rate : float
        What it may grow by in a hundred fits, however many there are: Spark itself remembers a
        little of each job.
    """

    noise: float
    rate: float = 0.0


ALLOWANCES: Mapping[str, Allowance] = {
    "files of blocks": Allowance(0),
    # shuffles of queries that Spark has not forgotten yet
    "other files": Allowance(16),
    "broadcasts": Allowance(0),
    "cached RDDs": Allowance(0),
    "blocks of Spark, MB": Allowance(0.5, 0.1),
    "open files of the driver": Allowance(4),
    "open files of the JVM": Allowance(12),
    "open files of a worker": Allowance(4),
    # those of the last fits; a file that is gone keeps its disk space until it is unmapped
    "mapped files of blocks": Allowance(12),
    "threads of the driver": Allowance(2),
    # Spark's pools grow and shrink by the minute
    "threads of the JVM": Allowance(64, 5),
    "objects of the driver": Allowance(5_000, 250),
    "memory of the driver, MB": Allowance(16, 1),
    "memory of a worker, MB": Allowance(16, 1),
    "heap of the JVM, MB": Allowance(16, 1),
}
"""In the order in which they are shown."""


def sample(spark: SparkSession) -> Sample:
    """What the session holds now, once garbage is collected; only what this system can tell.

    Of several Python workers the one that holds most: how many there are is Spark's affair.
    """
    counts = _settled(spark)
    jvm: Any = spark.sparkContext._jvm
    java = int(jvm.java.lang.ProcessHandle.current().pid())
    runtime = jvm.java.lang.Runtime.getRuntime()
    found: Sample = {
        **counts,
        "threads of the driver": threading.active_count(),
        "threads of the JVM": jvm.java.lang.Thread.activeCount(),
        "objects of the driver": len(gc.get_objects()),
        "heap of the JVM, MB": (runtime.totalMemory() - runtime.freeMemory()) / MB,
    }
    if Path("/proc/self/status").exists():
        workers = _workers(java)
        found |= {
            "open files of the driver": _open_files(os.getpid()),
            "open files of the JVM": _open_files(java),
            "open files of a worker": max(map(_open_files, workers), default=0),
            "mapped files of blocks": max(map(_mapped_blocks, workers), default=0),
            "threads of the JVM": _status(java, "Threads"),
            "memory of the driver, MB": _status(os.getpid(), "RssAnon") / 1024,
            "memory of a worker, MB": max((_status(w, "RssAnon") for w in workers), default=0)
            / 1024,
        }
    return {name: float(found[name]) for name in ALLOWANCES if name in found}


def _settled(spark: SparkSession) -> Sample:
    """What Spark still keeps once it has cleaned up: files, broadcasts, cached RDDs, blocks."""
    until = time.monotonic() + SETTLING_SECONDS
    jvm: Any = spark.sparkContext._jvm
    last: Sample = {}
    same = 0
    while same < 2 and time.monotonic() < until:
        gc.collect()
        # the cleaner of contexts hears of what is gone from the collector
        jvm.System.gc()
        time.sleep(0.2)
        now = _kept(spark)
        same = same + 1 if now == last else 0
        last = now
    return last


def _kept(spark: SparkSession) -> Sample:
    sc = spark.sparkContext
    roots = {sc.getConf().get("spark.local.dir") or "", sc._temp_dir}
    managers = sc._jsc.sc().getExecutorMemoryStatus().values().iterator()
    stored = 0
    while managers.hasNext():
        memory = managers.next()
        stored += memory._1() - memory._2()
    files = [at for root in roots for at, _, names in os.walk(root) for _ in names]
    blocks = sum("/sparkml_lsml-" in at for at in files)
    return {
        "files of blocks": blocks,
        "other files": len(files) - blocks,
        # one from Python is a file until it is destroyed
        "broadcasts": sum(path.is_file() for path in Path(sc._temp_dir).iterdir()),
        "cached RDDs": len(sc._jsc.getPersistentRDDs()),
        "blocks of Spark, MB": stored / MB,
    }


def _workers(java: int) -> list[int]:
    """Python workers: the daemons that are children of a daemon."""
    found = descendants(java)
    daemons = {pid for pid in found if b"pyspark.daemon" in _command(pid)}
    return [pid for pid in daemons if found[pid] in daemons]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _open_files(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:  # it has ended since
        return 0


def _mapped_blocks(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/maps").read_text().count("/sparkml_lsml-")
    except OSError:
        return 0


def _status(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


@dataclass(frozen=True)
class Growth:
    """How a resource changed over a number of fits.

    Attributes
    ----------
    name : str
    first, last : float
    per_hundred : float
        Median slope between two samples, times a hundred fits: a sample that is off does not
        bend it.
    total : float
        The slope times all fits between the first sample and the last.
    grew : bool
        Whether that is more than the allowance.

    References
    ----------
    Sen (1968), Estimates of the regression coefficient based on Kendall's tau, Journal of the
    American Statistical Association 63.
    """

    name: str
    first: float
    last: float
    per_hundred: float
    total: float
    grew: bool


def growth(fits: Sequence[int], samples: Sequence[Sample]) -> list[Growth]:
    """How each resource grew with the number of fits.

    Parameters
    ----------
    fits : sequence of int
        Fits that there had been at each sample, increasing.
    samples : sequence of Sample
        Two or more.
    """
    found = []
    for name in samples[0]:
        values = [one[name] for one in samples]
        pairs = combinations(range(len(fits)), 2)
        slope = statistics.median((values[j] - values[i]) / (fits[j] - fits[i]) for i, j in pairs)
        total = slope * (fits[-1] - fits[0])
        allowed = ALLOWANCES[name]
        grew = total > allowed.noise and 100 * slope > allowed.rate
        found.append(Growth(name, values[0], values[-1], 100 * slope, total, grew))
    return found
