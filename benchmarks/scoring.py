"""What scoring costs: `transform` of cached rows to a sink that keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.contestants import MLLIB, OURS, Case, fit_spark, frame
from benchmarks.data import DataSet, dense, ensure, power_law
from benchmarks.measure import Result, Say, alternate, shown

PAIRS = 7
"""Pairs of runs of less than a second each."""


def measure(spark: SparkSession, rows: int, say: Say) -> Iterator[Result]:
    """Score rows with a model of ours, and with the same one as MLlib's."""
    for data, reg_param in (
        (dense(rows), 1e-2),
        (power_law(rows), 1e-4),
        (dense(rows, float32=True), 1e-2),
    ):
        ensure(data)
        cached = frame(spark, data).select("features").cache()
        cached.count()
        vectors = cached
        if data.float32:  # MLlib's classes take no arrays
            vectors = cached.withColumn("features", array_to_vector(F.col("features")))
        for name in ("LinearSVC", "LogisticRegression"):
            ours = fit_spark(spark, Case(name, data, reg_param), OURS, maxIter=5)
            theirs = ours.toMLlib()
            for what, use in USES.items():
                contestants = {
                    OURS: partial(use, ours, cached),
                    MLLIB: partial(use, theirs, vectors),
                }
                yield result(data, f"{name}, {data.title}, {what}", contestants, say)
        cached.unpersist(blocking=True)


def result(
    data: DataSet, title: str, contestants: Mapping[str, Callable[[], None]], say: Say
) -> Result:
    alternate(contestants, 2)
    timed = alternate(contestants, PAIRS)
    say(f"{title}: {shown(timed)}")
    seconds = {system: each.seconds for system, each in timed.items()}
    return {"title": title, "data": asdict(data), "seconds": seconds}


def all_columns(model: Any, rows: DataFrame) -> None:
    """Compute all columns that a model adds, and drop them."""
    model.transform(rows).write.format("noop").mode("overwrite").save()


def prediction(model: Any, rows: DataFrame) -> None:
    """Compute predictions, and what they take."""
    model.transform(rows).select("prediction").write.format("noop").mode("overwrite").save()


USES = {"all columns": all_columns, "prediction only": prediction}
