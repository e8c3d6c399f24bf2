"""Fits without room for their blocks, in a Spark that `test_full_disk` runs in a small tmpfs.

The argument is a folder of a file system of `DISK` bytes, with nothing in it. What the fits came
to is printed as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.errors import DiskError
from sparkml_lsml.spark.cluster.session import setting
from tests.faults import (
    SETTINGS,
    block_folders,
    coefficients,
    estimator,
    left_behind,
    made_up_rows,
    walk,
)

DISK = 96 * 2**20
"""Of which a block leaves 64 MB to Spark."""

WIDTH = 64
BATCH = 10_000
"""Rows that a task is given, and writes, at once."""

DENSE = 3 * BATCH
"""Rows that fit the disk, and do not fit it a second time, as sparse rows."""

LIMIT_ABOVE = 200 * 2**20
"""Address space of a worker above what it has after a fit of few rows, which import less than those
of more: reading a batch of rows must not be what it is short of."""


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


def mixed_rows(spark: SparkSession, dense: int, sparse: int) -> DataFrame:
    """Dense vectors in one partition and sparse ones behind, for which all become sparse rows."""
    numbers = F.sequence(F.lit(1), F.lit(WIDTH))
    full = F.col("id") < dense
    values = F.transform(numbers, lambda i: F.when(full | (i == 1), F.hash("id", i)).otherwise(0))
    rows = spark.range(dense + sparse, numPartitions=1).select(
        array_to_vector(values.cast("array<double>")).alias("vector"),
        (F.hash("id") % 2 == 0).cast("double").alias("label"),
    )
    # its vectors are of the kind that takes less room
    return VectorAssembler(inputCols=["vector"], outputCol="features").transform(rows)


def ending(spark: SparkSession, fit: Callable[[], Any]) -> dict[str, Any]:
    """How a fit ended, and what it left."""
    try:
        fit()
    except DiskError as error:
        message = str(error)
    else:
        message = "the fit ended"
    root = Path(setting(spark.sparkContext, "spark.local.dir") or "")
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
    batches = {"spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH)}
    spark = start(**{"spark.local.dir": str(disk)}, **batches)
    found: dict[str, Any] = {"expected": next_fit(spark)}
    too_much = wide_rows(spark, DISK, 2)
    held_out = too_much.withColumn("held out", F.hash("label", "features") % 4 == 0)
    mixed = mixed_rows(spark, DENSE, 100)
    validated = estimator(maxIter=2, validationIndicatorCol="held out")
    for name, fit, rows in (
        ("dense", estimator(maxIter=2), too_much),
        ("dense, held out", validated, held_out),
        ("dense, then sparse", estimator(maxIter=2), mixed),
    ):
        found[name] = ending(spark, partial(fit.fit, rows))
    found["report"] = ending(spark, lambda: estimator(maxIter=2).fit(many_columns(spark)))
    found["next fit"] = next_fit(spark)
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
