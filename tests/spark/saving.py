"""A Spark driver that `test_persistence` kills while it saves a model over another one.

The arguments are a kind of `KINDS` and a path. Once everything but the last metadata is written, it
waits for its end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pyspark.ml.classification import LinearSVC as MLlibLinearSVC
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LinearSVC, LinearSVCModel, OneVsRest, OneVsRestModel
from sparkml_lsml.spark.folders import persistence
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit
from tests.faults import SETTINGS


def svc(number: float) -> LinearSVCModel:
    return LinearSVCModel(np.array([[number, 2.0]]), np.array([0.5]))


def one_vs_rest(number: float) -> OneVsRestModel:
    model = OneVsRestModel([svc(number)])
    model.set(model.classifier, LinearSVC(regParam=number))
    return model


def searched(number: float) -> dict[str, Any]:
    estimator = LinearSVC(regParam=number)
    maps = [{estimator.regParam: number}]
    evaluator = BinaryClassificationEvaluator()
    return {"estimator": estimator, "estimatorParamMaps": maps, "evaluator": evaluator}


KINDS: dict[str, Callable[[float], Any]] = {
    "svc": svc,
    "one-vs-rest": one_vs_rest,
    "one-vs-rest estimator": lambda number: OneVsRest(classifier=LinearSVC(regParam=number)),
    "one-vs-rest in the JVM": lambda number: OneVsRest(classifier=MLlibLinearSVC(regParam=number)),
    "search": lambda number: CrossValidator(**searched(number)),
    "split": lambda number: TrainValidationSplit(**searched(number)),
}
LAST = {"svc": 1, "one-vs-rest": 2}
"""Which metadata of ours are written last."""


def main(kind: str, path: str) -> None:
    builder = SparkSession.builder.master("local[1]").appName("saving")
    for key, value in SETTINGS.items():
        builder = builder.config(key, value)
    builder.config("spark.local.dir", f"{path}-local").getOrCreate()
    KINDS[kind](1.0).save(path)
    write, written = persistence.write_line, []

    def line(spark: Any, place: str, text: str) -> None:
        written.append(place)
        if len(written) == LAST[kind]:
            print("waiting", flush=True)
            time.sleep(600)
        write(spark, place, text)

    persistence.write_line = line
    KINDS[kind](2.0).write().overwrite().save(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
