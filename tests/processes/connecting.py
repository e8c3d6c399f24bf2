"""Asks for everything in a session of Spark Connect: see `test_connect.py`. Argument: a model."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pyspark.ml.evaluation import Evaluator
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LinearSVC, LinearSVCModel, OneVsRest
from sparkml_lsml.jobs.storage import Place
from sparkml_lsml.tuning import CrossValidator, bootstrap, regularization_path


class Unused(Evaluator):
    """An evaluator that is never asked."""

    def _evaluate(self, dataset: Any) -> float:
        raise AssertionError("asked")


def main(path: str) -> None:
    spark = SparkSession.builder.remote("local[1]").getOrCreate()
    rows = spark.createDataFrame(
        [(0.0, [1.0]), (1.0, [2.0])], "label double, features array<double>"
    )
    svc = LinearSVC()
    model = LinearSVCModel(np.array([[1.0]]), np.array([-1.5]))
    search = CrossValidator(
        estimator=svc,
        estimatorParamMaps=[{svc.regParam: 0.1}, {svc.regParam: 1.0}],
        # MLlib's evaluators start in the JVM, so none can be made here: one that is never asked
        evaluator=Unused(),
    )
    calls: dict[str, Callable[[], Any]] = {
        "fit": lambda: svc.fit(rows),
        "grid": lambda: list(svc.fitMultiple(rows, [{}, {}])),
        "one-vs-rest": lambda: OneVsRest(classifier=svc).fit(rows),
        "search": lambda: search.fit(rows),
        "path": lambda: regularization_path(svc, rows, [1.0, 0.1]),
        "bootstrap": lambda: bootstrap(svc, rows),
        "save": lambda: model.save(f"{path}-new"),
        "save search": lambda: search.save(f"{path}-new"),
        "save one-vs-rest": lambda: OneVsRest(classifier=svc).save(f"{path}-new"),
        "load": lambda: LinearSVCModel.load(path),
        "load search": lambda: CrossValidator.load(path),
        "load one-vs-rest": lambda: OneVsRest.load(path),
        "transform": lambda: [row.prediction for row in model.transform(rows).collect()],
        "jobs": lambda: Place(spark, path),  # type: ignore[arg-type]
    }
    found = {}
    for name, call in calls.items():
        started = time.monotonic()
        try:
            result = ["ok", str(call())]
        except Exception as error:
            result = [type(error).__name__, str(error)]
        found[name] = [*result, time.monotonic() - started]
    print(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
