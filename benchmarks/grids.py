"""Cross-validated grids: Spark's own way with both estimators, and ours."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml import tuning
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import SparkSession

from benchmarks.contestants import MLLIB, OURS, estimator, frame
from benchmarks.data import DataSet, dense, ensure
from benchmarks.measure import Result, Say, alternate, shown

GRID = [float(value) for value in np.logspace(-4, 0.5, 10)]
FOLDS = 3
FOLDS_SEED = 7


def measure(spark: SparkSession, sizes: list[int], say: Say) -> Iterator[Result]:
    """Time a cross-validated grid: stock with MLlib's and our estimator, and all of it ours."""
    contestants = {
        "stock, MLlib": (tuning.CrossValidator, MLLIB),
        "stock, sparkml_lsml": (tuning.CrossValidator, OURS),
    }
    note = ""
    try:
        ours = importlib.import_module("sparkml_lsml.tuning")
    except ModuleNotFoundError:
        note = "sparkml_lsml.tuning is not there: its CrossValidator was not measured"
        say(note)
    else:
        contestants["sparkml_lsml"] = (ours.CrossValidator, OURS)
    for rows in sizes:
        data = dense(rows)
        ensure(data)
        # a frame that Spark reads, as it does those with folds
        read = frame(spark, data).where("id >= 0")
        for _, system in contestants.values():
            estimator(system, "LogisticRegression", maxIter=2).fit(read)
        work = {name: partial(search, spark, data, *each) for name, each in contestants.items()}
        timed = alternate(work)
        systems = {}
        for name, each in timed.items():
            model: Any = each.result
            metrics = [float(value) for value in model.avgMetrics]
            best = float(model.bestModel.getOrDefault("regParam"))
            systems[name] = {"seconds": each.seconds, "metrics": metrics, "best": best}
        title = f"{len(GRID)} regParam x {FOLDS} folds, {data.title}"
        say(f"{title}: {shown(timed)}")
        yield {"title": title, "data": asdict(data), "grid": GRID, "systems": systems, "note": note}


def search(spark: SparkSession, data: DataSet, kind: Any, system: str) -> Any:
    """Cross-validate the grid with one class of cross-validator and one system's estimator."""
    model = estimator(system, "LogisticRegression")
    validator = kind(
        estimator=model,
        estimatorParamMaps=ParamGridBuilder().addGrid(model.regParam, GRID).build(),
        evaluator=BinaryClassificationEvaluator(),
        numFolds=FOLDS,
        seed=FOLDS_SEED,
    )
    return validator.fit(frame(spark, data))
