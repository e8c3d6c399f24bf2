"""Fits without room for their blocks, in a Spark that `test_full_disk` runs in a small tmpfs.

The argument is a folder of a file system of `DISK` bytes, with nothing in it. What the fits came
to is printed as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.errors import DiskError
from tests.faults import block_folders, coefficients, estimator, left_behind, made_up_rows, walk
from tests.spark.interrupting import SETTINGS

DISK = 96 * 2**20
"""Of which a block leaves 64 MB to Spark."""

WIDTH = 64
LIMIT_ABOVE = 100 * 2**20
"""Address space of a worker above what it has after a fit of few rows."""


def start(**settings: str) -> SparkSession:
    builder = SparkSession.builder.master("local[2]")
    for key, value in {**SETTINGS, **settings}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def wide_rows(spark: SparkSession, nbytes: int, partitions: int) -> DataFrame:
    """Rows that take so many bytes as blocks."""
    numbers = F.sequence(F.lit(1), F.lit(WIDTH))
    return spark.range(nbytes // (8 * WIDTH), numPartitions=partitions).select(
        F.transform(numbers, lambda i: F.hash("id", i) / F.lit(2.0**31)).alias("features"),
        (F.hash("id") % 2 == 0).cast("double").alias("label"),
    )


def many_columns(spark: SparkSession) -> DataFrame:
    """Rows that have room, but not with their moments: 12 and 32 bytes for each column."""
    each = DISK // 96 // 8
    rows = [
        (float(i % 2), Vectors.sparse(8 * each, range(i * each, (i + 1) * each), [1.0] * each))
        for i in range(8)
    ]
    return spark.createDataFrame(rows, ["label", "features"]).coalesce(1)


def ending(spark: SparkSession, fit: Callable[[], Any]) -> dict[str, Any]:
    """How a fit ended, and what it left."""
    try:
        fit()
    except DiskError as error:
        message = str(error)
    else:
        message = "the fit ended"
    root = Path(spark.sparkContext.getConf().get("spark.local.dir") or "")
    large = [str(path) for path in walk(root) if path.is_file() and path.stat().st_size > 2**20]
    return {"message": message, "left": left_behind(spark) + large}


def next_fit(spark: SparkSession) -> list[float]:
    found: list[float] = coefficients(estimator().fit(made_up_rows(spark))).tolist()
    assert block_folders(spark) == []
    return found


def address_space(spark: SparkSession) -> tuple[int, int]:
    """Bytes of a worker's address space, and the limit of it."""

    def look(rows: Iterable[Any]) -> Iterator[tuple[int, int]]:
        import resource
        from pathlib import Path

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        yield pages * resource.getpagesize(), resource.getrlimit(resource.RLIMIT_AS)[0]

    found = spark.sparkContext.parallelize(range(2), 2).mapPartitions(look).collect()
    return max(found)


def main(disk: Path) -> dict[str, Any]:
    spark = start(**{"spark.local.dir": str(disk)})
    found: dict[str, Any] = {"expected": next_fit(spark)}
    too_much = wide_rows(spark, DISK, 2)
    found["disk"] = ending(spark, lambda: estimator(maxIter=2).fit(too_much))
    found["disk"]["next fit"] = next_fit(spark)
    found["report"] = ending(spark, lambda: estimator(maxIter=2).fit(many_columns(spark)))
    found["report"]["next fit"] = next_fit(spark)
    used, _ = address_space(spark)
    spark.stop()

    with tempfile.TemporaryDirectory() as elsewhere:
        limit = (used + LIMIT_ABOVE) // 2**20
        memory = {"spark.executor.pyspark.memory": f"{limit}m", "spark.local.dir": elsewhere}
        spark = start(**memory)
        found["memory"] = {"expected limit": limit * 2**20, "limit": address_space(spark)[1]}
        one_block = wide_rows(spark, 2 * LIMIT_ABOVE, 1)
        found["memory"] |= ending(spark, lambda: estimator(maxIter=2).fit(one_block))
        found["memory"]["next fit"] = next_fit(spark)
        spark.stop()
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
