"""What reading costs: an ingest beside Spark's own read, and fits of rows that are resident."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

import sparkml_lsml
from benchmarks.contestants import frame
from benchmarks.data import DataSet, dense, ensure, power_law, separate
from benchmarks.measure import Result, Say, alternate, shown
from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.spark.rows.parquet import SETTING
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks

READ, DIRECT, BY_SPARK = "Spark's read", "past Spark", "by Spark"
FIRST, SECOND = "first fit", "second fit"


def measure(spark: SparkSession, rows: int, say: Say) -> Iterator[Result]:
    """Time the ingest of a bare scan and of what Spark reads, and two fits of the same rows."""
    for data in (dense(rows), dense(rows, float32=True), power_law(rows), separate(rows)):
        ensure(data)
        names: tuple[str, ...] = ("features",)
        if data.kind == "columns":
            names = tuple(f"x{number}" for number in range(data.features))
        chosen = frame(spark, data).select(*names, "label")
        plan = IngestPlan(
            names if data.kind == "columns" else "features",
            "label",
            None,
            "binary",
            "float32" if data.float32 else "float64",
            execution="distributed",
            name="bench",
        )
        work: dict[str, Callable[[], Any]] = {
            READ: partial(spark_reads, chosen),
            DIRECT: partial(ingest, chosen, plan, "true"),
            BY_SPARK: partial(ingest, chosen, plan, "false"),
        }
        yield result(data, "ingest", work, say)
    data = dense(rows)
    for direct, what in (("true", DIRECT), ("false", BY_SPARK)):
        spark.conf.set(SETTING, direct)
        yield result(data, f"fits, read {what}", fits(frame(spark, data)), say)
    spark.conf.unset(SETTING)


def result(data: DataSet, what: str, work: dict[str, Callable[[], Any]], say: Say) -> Result:
    alternate(work, 1)
    timed = alternate(work)
    say(f"{what}, {data.title}: {shown(timed)}")
    seconds = {name: each.seconds for name, each in timed.items()}
    return {"title": f"{what}, {data.title}", "data": asdict(data), "seconds": seconds}


def spark_reads(rows: DataFrame) -> None:
    """Let Spark read the columns and throw them away."""
    rows.write.format("noop").mode("overwrite").save()


def ingest(rows: DataFrame, plan: IngestPlan, direct: str) -> None:
    """Pack the rows as a fit does, on one of the roads."""
    rows.sparkSession.conf.set(SETTING, direct)
    ResidentBlocks.pack(rows, plan).release()


def fits(rows: DataFrame) -> dict[str, Callable[[], Any]]:
    """A fit of the frame, and another one on rows that an earlier fit has packed."""
    resident = sparkml_lsml.resident(rows)
    fit: Callable[[Any], Any] = LogisticRegression(regParam=0.01, tol=1e-6).fit
    fit(resident)
    return {FIRST: partial(fit, rows), SECOND: partial(fit, resident)}
