"""What scoring costs: `transform` of cached rows to a sink that keeps nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from benchmarks.contestants import MLLIB, OURS, Case, fit_spark, frame
from benchmarks.data import dense, ensure, power_law
from benchmarks.measure import Result, Say, alternate, shown


def measure(spark: SparkSession, rows: int, say: Say) -> Iterator[Result]:
    """Score dense and sparse rows with a model of ours, and with the same one as MLlib's."""
    for data, reg_param in ((dense(rows), 1e-2), (power_law(rows), 1e-4)):
        ensure(data)
        cached = frame(spark, data).select("features").cache()
        cached.count()
        for name in ("LinearSVC", "LogisticRegression"):
            case = Case(name, data, reg_param)
            ours = fit_spark(spark, case, OURS, maxIter=5)
            models = {OURS: ours, MLLIB: ours.toMLlib()}
            contestants = {
                system: partial(score, model, cached) for system, model in models.items()
            }
            alternate(contestants, 1)
            timed = alternate(contestants)
            title = f"{name}, {data.title}"
            say(f"{title}: {shown(timed)}")
            yield {
                "title": title,
                "data": asdict(data),
                "seconds": {system: each.seconds for system, each in timed.items()},
            }
        cached.unpersist(blocking=True)


def score(model: Any, rows: DataFrame) -> None:
    """Compute all columns that a model adds, and drop them."""
    model.transform(rows).write.format("noop").mode("overwrite").save()
