"""Snap ML beside ours, from the same Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from benchmarks.contestants import OURS, Case, fit_spark, fitted
from benchmarks.data import dense, ensure
from benchmarks.elsewhere import Elsewhere
from benchmarks.measure import Result, Say, alternate, shown
from benchmarks.objective import objectives
from benchmarks.session import CORES

SNAPML = "Snap ML"


def measure(spark: SparkSession, rows: int, say: Say) -> Iterator[Result]:
    """Time the fits of both, from the path of the Parquet to the model."""
    data = dense(rows)
    ensure(data)
    with Elsewhere("snapml_fits.py", "snapml==1.17.2", "pyarrow") as theirs:
        for name in ("LinearSVC", "LogisticRegression"):
            case = Case(name, data)
            question = {"name": name, "reg_param": case.reg_param, "threads": CORES}
            work: dict[str, Any] = {
                OURS: partial(fit_spark, spark, case, OURS),
                SNAPML: partial(theirs.ask, path=str(data.path), **question),
            }
            alternate(work, 1)
            timed = alternate(work)
            ours, answer = fitted(OURS, timed[OURS].result), timed[SNAPML].result
            assert answer is not None
            models = [(ours.coefficients, ours.intercept)]
            models.append((np.array(answer["coefficients"]), answer["intercept"]))
            found = objectives(data, case.label, name, case.reg_param, models)
            systems = {
                system: {"seconds": timed[system].seconds, "objective": value}
                for system, value in zip((OURS, SNAPML), found, strict=True)
            }
            systems[SNAPML]["parts"] = answer["seconds"]
            say(f"{case.title}: {shown(timed)}")
            yield {
                "estimator": name,
                "data": asdict(data),
                "title": case.title,
                "regParam": case.reg_param,
                "systems": systems,
            }
