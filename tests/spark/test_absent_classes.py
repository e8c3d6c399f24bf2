"""Classes of which there are no rows, or none of positive weight."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pyspark.ml.classification as mllib
import pyspark.ml.tuning as tuning
import pyspark.sql.functions as F
import pytest
from pyspark.ml.evaluation import BinaryClassificationEvaluator, MulticlassClassificationEvaluator
from pyspark.ml.feature import StringIndexer
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from sklearn.linear_model import LogisticRegression as SklearnLogistic

from sparkml_lsml.classification import (
    CalibratedClassifier,
    LinearSVC,
    LogisticRegression,
    OneVsRest,
)
from sparkml_lsml.errors import DataError
from sparkml_lsml.tuning import CrossValidator, bootstrap, regularization_path
from tests.spark.helpers import frame, numbers

RNG = np.random.default_rng(14)
X = RNG.normal(size=(90, 3))
SCORE = X @ [1.0, -1.0, 0.5] + 0.5 * RNG.normal(size=90)
TWO = (SCORE > 0.0).astype(float)
THREE = np.digitize(SCORE, [-0.7, 0.7]).astype(float)


def weighted(spark: SparkSession, y: Any, without: float, kind: str = "dense") -> DataFrame:
    """Rows of which those of one class have the weight 0."""
    found = frame(spark, X, y, (y != without).astype(float), kind=kind, partitions=2)
    # a search by folds that are the same where rows are left out
    return found.withColumn("fold", F.abs(F.hash("label", F.col("features").cast("string"))) % 2)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


LOGISTIC = {"regParam": 0.1, "tol": 1e-10, "weightCol": "weight"}
FITS: dict[str, tuple[Any, float, Callable[[DataFrame], Any]]] = {
    "two classes": (TWO, 1.0, lambda rows: LogisticRegression(**LOGISTIC).fit(rows)),
    "two classes of margins": (TWO, 0.0, lambda rows: LinearSVC(**LOGISTIC).fit(rows)),
    "the last of three": (THREE, 2.0, lambda rows: LogisticRegression(**LOGISTIC).fit(rows)),
    "one of three by rounds": (
        THREE + (THREE == 2.0),  # 0, 1 and 3
        3.0,
        lambda rows: LogisticRegression(
            family="multinomial", solver="sgd", maxIter=3, weightCol="weight", regParam=0.1
        ).fit(rows),
    ),
    "weights of classes": (
        THREE,
        2.0,
        lambda rows: LogisticRegression(**LOGISTIC, classWeight={0.0: 1.0, 1.0: 3.0}).fit(rows),
    ),
    "dual rounds": (
        THREE,
        2.0,
        lambda rows: LogisticRegression(
            solver="cocoa", regParam=0.1, tol=1e-3, weightCol="weight"
        ).fit(rows),
    ),
    "pieces": (THREE, 2.0, lambda rows: LogisticRegression(weightCol="weight").partialFit(rows)),
}

SAMPLED = ("one of three by rounds", "dual rounds", "pieces")
"""Rows of weight 0 have their places in the order of the steps: other steps, the same classes."""


@pytest.mark.parametrize("name", FITS)
def test_a_class_of_weight_0_is_absent(
    spark: SparkSession, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The model and the warnings are those of the rows that have a weight."""
    y, without, fit = FITS[name]
    rows, found = weighted(spark, y, without), {}
    for what, part in (("all", rows), ("some", rows.where("weight > 0"))):
        caplog.clear()
        model = fit(part)
        found[what] = numbers(model), model.numClasses, warnings_of(caplog)
    if name not in SAMPLED:
        np.testing.assert_allclose(found["all"][0], found["some"][0], rtol=1e-6, atol=0)
    assert found["all"][0].shape == found["some"][0].shape
    assert name == "two classes" or np.isfinite(found["all"][0]).all()
    assert found["all"][1:] == found["some"][1:]
    if name.startswith("two"):
        assert "there are no two classes to tell apart" in found["all"][2][0]


def test_a_class_of_weight_0_as_mllib(spark: SparkSession) -> None:
    rows = weighted(spark, TWO, 1.0)
    expected = mllib.LogisticRegression(**LOGISTIC).fit(rows)
    found = LogisticRegression(**LOGISTIC).fit(rows)
    assert found.intercept == expected.intercept == -np.inf
    assert found.coefficients == expected.coefficients


@pytest.mark.parametrize("classifier", [LinearSVC, LogisticRegression])
def test_a_class_of_weight_0_in_one_vs_rest(spark: SparkSession, classifier: type[Any]) -> None:
    rows = weighted(spark, THREE, 2.0)
    both = [
        OneVsRest(classifier=classifier(**LOGISTIC), weightCol="weight").fit(part).models
        for part in (rows, rows.where("weight > 0"))
    ]
    assert [len(models) for models in both] == [2, 2]
    for one, other in zip(*both, strict=True):
        np.testing.assert_allclose(numbers(one), numbers(other), rtol=1e-6, atol=1e-9)


def test_a_class_of_weight_0_in_a_search(spark: SparkSession) -> None:
    """Four classes, whose last has no weight: its rows are beyond the classes of every model."""
    y = THREE + (RNG.uniform(size=90) < 0.1) * (3.0 - THREE)
    rows = weighted(spark, y, 3.0)
    estimator = LogisticRegression(**LOGISTIC)
    search = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=[{}],
        evaluator=MulticlassClassificationEvaluator(metricName="accuracy", weightCol="weight"),
        numFolds=2,
        foldCol="fold",
    )
    all_, some = search.fit(rows), search.fit(rows.where("weight > 0"))
    assert all_.avgMetrics == pytest.approx(some.avgMetrics, rel=1e-9)
    np.testing.assert_allclose(
        all_.bestModel.coefficientMatrix.toArray(),
        some.bestModel.coefficientMatrix.toArray(),
        rtol=1e-6,
        atol=1e-9,
    )


def test_a_fold_that_alone_has_a_class(spark: SparkSession) -> None:
    """The model of the other folds does not know it; MLlib's is the reference."""
    y = np.where(np.arange(90) % 18 == 0, 3.0, THREE)
    rows = frame(spark, X, y, partitions=2)
    rows = rows.withColumn(
        "fold", F.when(F.col("label") == 3.0, 0).otherwise(1 - F.col("label") % 2)
    )
    rows = rows.withColumn("fold", F.col("fold").cast("int"))
    kinds = (CrossValidator, tuning.CrossValidator)
    metrics = []
    for kind, cls in zip(kinds, (LogisticRegression, mllib.LogisticRegression), strict=True):
        search = kind(
            estimator=cls(regParam=0.1, tol=1e-10),
            estimatorParamMaps=[{}],
            evaluator=MulticlassClassificationEvaluator(metricName="accuracy"),
            numFolds=2,
            foldCol="fold",
        )
        metrics.append(search.fit(rows).avgMetrics)
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-9)


def test_a_class_of_weight_0_where_two_are_needed(spark: SparkSession) -> None:
    rows = weighted(spark, TWO, 1.0)
    with pytest.raises(DataError, match="labels are 0: expected two classes"):
        regularization_path(LogisticRegression(weightCol="weight"), rows, regParams=[0.1])
    with pytest.raises(DataError, match="have the label 0 alone"):
        CalibratedClassifier(weightCol="weight").fit(rows)


# ---------------------------------------------------- declared, without rows


def indexed(spark: SparkSession) -> DataFrame:
    """Two classes, as an indexer leaves them that keeps a third for labels to come."""
    texts = np.where(TWO > 0.0, "a", "b")
    rows = spark.createDataFrame(
        [(text, vector) for text, vector in zip(texts.tolist(), X.tolist(), strict=True)],
        "text string, values array<double>",
    )
    rows = rows.select("text", array_to_vector("values").alias("features"))
    indexer = StringIndexer(inputCol="text", outputCol="label", handleInvalid="keep")
    return indexer.fit(rows).transform(rows)


@pytest.mark.parametrize("kind", ["declared", "in values"])
def test_classes_without_rows_as_mllib(
    spark: SparkSession, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    rows = indexed(spark) if kind == "declared" else frame(spark, X, THREE + 1.0, partitions=2)
    found = LogisticRegression(regParam=0.1, tol=1e-10).fit(rows)
    expected = mllib.LogisticRegression(regParam=0.1, tol=1e-10).fit(rows)
    assert found.numClasses == expected.numClasses == (3 if kind == "declared" else 4)
    np.testing.assert_allclose(
        found.coefficientMatrix.toArray(), expected.coefficientMatrix.toArray(), atol=1e-4
    )
    scored = [m.transform(rows).select("prediction").collect() for m in (found, expected)]
    assert scored[0] == scored[1]
    [told] = warnings_of(caplog)
    if kind == "declared":
        assert "no row has the label 2 ('__unknown'), yet the column of labels declares 3" in told
        assert "handleInvalid='error'" in told
    else:
        assert "no row has the label 0, yet labels go up to 3" in told
        assert "StringIndexer" in told
    assert any("no row has the label" in note for note in found.summary.notes)
    # what the warning advises
    if kind == "declared":
        plain = rows.withColumn("label", F.col("label").alias("label", metadata={}))
        assert LogisticRegression(regParam=0.1).fit(plain).numClasses == 2


def test_classes_without_rows_are_told_once(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    rows = indexed(spark)
    estimator = LogisticRegression()
    maps = [{estimator.regParam: value} for value in (0.1, 1.0)]
    estimator.fit(rows, maps)
    assert len(warnings_of(caplog)) == 1
    caplog.clear()
    gaps = frame(spark, X, THREE + 1.0, partitions=2)
    for classifier in (LinearSVC(regParam=0.1), LogisticRegression(regParam=0.1)):
        caplog.clear()
        OneVsRest(classifier=classifier).fit(gaps)
        [told] = warnings_of(caplog)
        assert "no row has the label 0, yet labels go up to 3" in told


def test_areas_of_a_model_that_knows_a_third_class(spark: SparkSession) -> None:
    """MLlib's evaluator refuses its scores: "must have length=2, but got 3"."""
    rows, evaluator = indexed(spark), BinaryClassificationEvaluator()
    search = CrossValidator(
        estimator=LogisticRegression(regParam=0.1),
        estimatorParamMaps=[{}],
        evaluator=evaluator,
        numFolds=2,
    )
    calls: list[Callable[[], Any]] = [
        lambda: search.fit(rows),
        lambda: bootstrap(LogisticRegression(regParam=0.1), rows, n=2, evaluator=evaluator),
    ]
    for call in calls:
        with pytest.raises(
            DataError, match=r"a model of 3 classes: no row has the label 2 \('__un"
        ):
            call()


def test_a_class_without_rows_in_one_vs_rest_on_the_executors(spark: SparkSession) -> None:
    """Where a start from a sample is considered; the reference is scikit-learn's fit."""
    gaps = frame(spark, X, THREE + 1.0, partitions=2)
    classifier = LogisticRegression(
        regParam=0.1, standardization=False, tol=1e-9, execution="distributed"
    )
    models = OneVsRest(classifier=classifier).fit(gaps).models
    assert len(models) == 4
    for number in (1, 2, 3):
        y = number == THREE + 1.0
        wanted = SklearnLogistic(C=1.0 / (0.1 * len(y)), tol=1e-10).fit(X, y)
        found = models[number].coefficients.toArray()
        np.testing.assert_allclose(found, wanted.coef_[0], rtol=0, atol=1e-4)
