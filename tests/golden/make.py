"""Saves the golden models of this version: run once for each release, and commit the folder.

./dev/test runs `tests/spark/test_golden.py`, which loads those of every version. To make them:

    source dev/setup.sh && python -m tests.golden.make

Predictions come from the formulas below, applied to the coefficients below; the package only saves.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.tuning import CrossValidatorModel, ParamGridBuilder
from pyspark.sql import SparkSession

import sparkml_lsml
from sparkml_lsml.classification import (
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    LogisticRegressionModel,
    OneVsRest,
    OneVsRestModel,
)
from sparkml_lsml.regression import LinearRegression, LinearRegressionModel
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit

Array = npt.NDArray[np.float64]

FOLDER = Path(__file__).parent

ROWS = np.array(
    [[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [-1.5, 0.25, 3.0], [4.0, 1.0, -1.0], [-0.5, -0.5, -8.0]]
)
ONE = (np.array([[0.5, -1.25, 0.0]]), np.array([-0.75]))
THREE = (
    np.array([[0.5, 0.0, -1.0], [-0.25, 1.5, 0.125], [-0.25, -1.5, 0.875]]),
    np.array([0.1, 0.2, -0.3]),
)


def margins(coefficients: Array, intercepts: Array) -> Array:
    return np.array(
        [[row @ c + b for c, b in zip(coefficients, intercepts, strict=True)] for row in ROWS]
    )


def above(scores: Array, threshold: float) -> list[float]:
    return [1.0 if score > threshold else 0.0 for score in scores]


def sigmoid(margin: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-margin)))


def softmax(margin: Array) -> Array:
    return np.asarray(np.exp(margin) / np.exp(margin).sum(axis=1, keepdims=True))


def models() -> dict[str, tuple[Any, list[float]]]:
    """Give models by name, with the predictions for `ROWS`."""
    one, three = margins(*ONE)[:, 0], margins(*THREE)
    binomial = LogisticRegressionModel(*ONE)._set(threshold=0.25)
    multinomial = LogisticRegressionModel(*THREE, numClasses=3)._set(thresholds=[0.5, 0.2, 0.3])
    binary = [LinearSVCModel(c[None, :], b[None]) for c, b in zip(*THREE, strict=True)]
    several = OneVsRestModel(binary)
    several.set(several.classifier, LinearSVC())
    logistic = LogisticRegression(maxIter=7)
    search = CrossValidatorModel(binomial, avgMetrics=[0.5, 0.75], stdMetrics=[0.1, 0.2])
    grid = ParamGridBuilder().addGrid(logistic.regParam, [0.01, 0.1]).build()
    search.set(search.estimator, logistic)
    search.set(search.estimatorParamMaps, grid)
    search.set(search.evaluator, BinaryClassificationEvaluator())
    probable = softmax(three) / np.array([0.5, 0.2, 0.3])
    return {
        "linear-svc": (LinearSVCModel(*ONE)._set(threshold=-0.5), above(one, -0.5)),
        "logistic-binomial": (binomial, above(sigmoid(one), 0.25)),
        "logistic-multinomial": (multinomial, probable.argmax(axis=1).astype(float).tolist()),
        "linear-squared": (LinearRegressionModel(*ONE), one.tolist()),
        "linear-huber": (
            LinearRegressionModel(*ONE, scale=2.5)._set(loss="huber", epsilon=1.5),
            one.tolist(),
        ),
        "one-vs-rest": (several, three.argmax(axis=1).astype(float).tolist()),
        "cross-validator": (search, above(sigmoid(one), 0.25)),
    }


def estimators() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Give estimators by name, with the Params that are set in them."""
    svc = {"regParam": 0.125, "loss": "squaredHinge", "weightCol": "w"}
    logistic = {"regParam": 0.25, "elasticNetParam": 0.5, "family": "multinomial", "seed": 7}
    linear = {"loss": "huber", "epsilon": 1.5, "maxIter": 3, "dtype": "float32"}
    inner = LogisticRegression()
    grid = ParamGridBuilder().addGrid(inner.regParam, [0.01, 0.1]).build()
    parts = {
        "estimator": inner,
        "estimatorParamMaps": grid,
        "evaluator": BinaryClassificationEvaluator(),
    }
    return {
        "estimator-svc": (LinearSVC(**svc), svc),
        "estimator-logistic": (LogisticRegression(**logistic), logistic),
        "estimator-linear": (LinearRegression(**linear), linear),
        "estimator-one-vs-rest": (OneVsRest(classifier=LinearSVC(**svc)), {"classifier": svc}),
        "estimator-cross-validator": (
            CrossValidator(**parts, numFolds=4, groupCol="site"),
            {"numFolds": 4, "groupCol": "site"},
        ),
        "estimator-split": (TrainValidationSplit(**parts, trainRatio=0.6), {"trainRatio": 0.6}),
    }


def make(folder: Path) -> None:
    """Save everything into a folder, which must not be there."""
    folder.mkdir()
    expected: dict[str, Any] = {"rows": ROWS.tolist(), "models": {}, "estimators": {}}
    for kind, entries in (("models", models()), ("estimators", estimators())):
        for name, (instance, result) in entries.items():
            instance.save(str(folder / name))
            owner = f"{type(instance).__module__}.{type(instance).__name__}"
            expected[kind][name] = {"class": owner, "expected": result}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    for path in folder.rglob("*"):
        if path.name.startswith((".", "_")):
            path.unlink()  # Hadoop's checksums and marks, which no reader needs


if __name__ == "__main__":
    target = FOLDER / sparkml_lsml.__version__
    shutil.rmtree(target, ignore_errors=True)
    session = SparkSession.builder.master("local[1]").appName("golden models").getOrCreate()
    make(target)
    session.stop()
