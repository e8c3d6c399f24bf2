"""Single fits: the systems beside each other, and the objectives they reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from pyspark.sql import SparkSession

from benchmarks.contestants import SPARK_MODULES, Case, fit_spark, fits, fitted
from benchmarks.data import ensure
from benchmarks.measure import Result, Say, alternate, shown
from benchmarks.objective import objectives


def measure(spark: SparkSession, cases: list[Case], say: Say) -> Iterator[Result]:
    """Time the systems of each case in turn, and compute their objectives anew."""
    for case in cases:
        ensure(case.data)
        work = fits(spark, case)
        for system in SPARK_MODULES:
            # Code paths and files are warm, and no contestant's time holds what is done once.
            fit_spark(spark, case, system, maxIter=2)
        timed = alternate(work)
        models = {system: fitted(system, each.result) for system, each in timed.items()}
        values = objectives(
            case.data,
            case.label,
            case.estimator,
            case.reg_param,
            [(model.coefficients, model.intercept) for model in models.values()],
        )
        systems = {
            system: {
                "seconds": timed[system].seconds,
                "objective": value,
                "iterations": model.iterations,
                **model.details,
            }
            for (system, model), value in zip(models.items(), values, strict=True)
        }
        say(f"{case.title}: {shown(timed)}")
        yield {
            "estimator": case.estimator,
            "data": asdict(case.data),
            "title": case.title,
            "regParam": case.reg_param,
            "systems": systems,
        }
