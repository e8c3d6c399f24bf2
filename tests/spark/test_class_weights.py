"""Weights of classes, beside a column of weights, scikit-learn and MLlib."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.ml.classification as mllib
import pyspark.ml.tuning as mllib_tuning
import pyspark.sql.functions as F
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from sklearn.svm import LinearSVC as SklearnSVC
from sklearn.utils.class_weight import compute_class_weight

from sparkml_lsml.classification import (
    LinearSVC,
    LogisticRegression,
    LogisticRegressionModel,
    OneVsRest,
)
from sparkml_lsml.errors import ParamError
from sparkml_lsml.tuning import CrossValidator
from tests.spark.helpers import frame, numbers, refused

Array = npt.NDArray[np.float64]

RNG = np.random.default_rng(8)
X = RNG.normal(size=(150, 3)) * [1.0, 2.0, 0.5] + [0.0, 1.0, 0.0]
RAW = X @ [1.0, -0.5, 0.3] + RNG.normal(size=150)
BINARY = (RAW > 1.0).astype(float)
CLASSES = np.digitize(RAW, [-1.0, 1.2]).astype(float)
WEIGHTS = RNG.integers(1, 5, size=150).astype(float)


@pytest.fixture(scope="module")
def binary(spark: SparkSession) -> DataFrame:
    return frame(spark, X, BINARY, weight=WEIGHTS)


@pytest.fixture(scope="module")
def multiclass(spark: SparkSession) -> DataFrame:
    return frame(spark, X, CLASSES, weight=WEIGHTS)


def balanced(y: Array, weight: Array) -> dict[float, float]:
    classes = np.unique(y)
    found = compute_class_weight("balanced", classes=classes, y=y, sample_weight=weight)
    return dict(zip(classes.tolist(), found.tolist(), strict=True))


def with_products(rows: DataFrame, factors: dict[float, float], weight: str | None) -> DataFrame:
    product: Any = F.lit(1.0) if weight is None else F.col(weight)
    for label, factor in factors.items():
        product = product * F.when(F.col("label") == label, factor).otherwise(1.0)
    return rows.withColumn("product", product)


@pytest.mark.parametrize(
    ("kind", "weight", "execution"),
    [
        ("svc", None, "local"),
        ("svc", "weight", "local"),
        ("logistic", None, "distributed"),
        ("multinomial", "weight", "local"),
    ],
)
def test_weights_of_classes_are_weights_of_rows(
    binary: DataFrame, multiclass: DataFrame, kind: str, weight: str | None, execution: str
) -> None:
    rows, y = (multiclass, CLASSES) if kind == "multinomial" else (binary, BINARY)
    cls: Any = LinearSVC if kind == "svc" else LogisticRegression
    # the hinge takes many passes, and is no other case
    loss = {"loss": "squaredHinge"} if kind == "svc" else {}
    estimator = cls(regParam=0.05, tol=1e-9, execution=execution, **loss)
    given = {label: 1.0 + 2.0 * label for label in np.unique(y).tolist()}
    weights = WEIGHTS if weight else np.ones(150)
    for value, factors in ((given, given), ("balanced", balanced(y, weights))):
        own = estimator.copy({estimator.classWeight: value})
        if weight:
            own.setWeightCol(weight)
        expected = estimator.copy({estimator.weightCol: "product"})
        there = expected.fit(with_products(rows, factors, weight))
        np.testing.assert_allclose(numbers(own.fit(rows)), numbers(there), rtol=1e-7, atol=1e-9)


def test_balance_is_scikit_learns(binary: DataFrame, multiclass: DataFrame) -> None:
    for rows, y in ((binary, BINARY), (multiclass, CLASSES)):
        # their penalty is |w|^2 / 2 + C sum(loss); balanced weights add up to those of the rows
        total = float(WEIGHTS.sum())
        theirs = SklearnLogistic(
            C=1.0 / (0.05 * total), class_weight="balanced", tol=1e-10, max_iter=5_000
        ).fit(X, y, sample_weight=WEIGHTS)
        ours = LogisticRegression(
            regParam=0.05,
            standardization=False,
            classWeight="balanced",
            weightCol="weight",
            tol=1e-12,
        ).fit(rows)
        np.testing.assert_allclose(
            ours.coefficientMatrix.toArray(), theirs.coef_, rtol=1e-4, atol=1e-5
        )


def test_machines_are_scikit_learns(binary: DataFrame) -> None:
    given = {0: 1.0, 1: 3.0}
    total = float((1.0 + 2.0 * BINARY).sum())
    theirs = SklearnSVC(
        C=1.0 / (0.05 * total),
        class_weight=given,
        fit_intercept=False,
        tol=1e-10,
        max_iter=1_000_000,
        dual=True,
    ).fit(X, BINARY)
    ours = LinearSVC(
        loss="squaredHinge",
        # theirs is |w|^2 / 2 + C sum(squared hinge)
        regParam=0.05,
        fitIntercept=False,
        standardization=False,
        classWeight=given,
        tol=1e-12,
    ).fit(binary)
    np.testing.assert_allclose(ours.coefficients, theirs.coef_[0], rtol=1e-4, atol=1e-6)


def test_balance_is_mllibs_with_a_column(multiclass: DataFrame) -> None:
    rows = with_products(multiclass, balanced(CLASSES, WEIGHTS), "weight")
    theirs = mllib.LogisticRegression(
        regParam=0.05, weightCol="product", tol=1e-12, maxIter=1_000
    ).fit(rows)
    ours = LogisticRegression(
        regParam=0.05, weightCol="weight", classWeight="balanced", tol=1e-12, maxIter=1_000
    ).fit(multiclass)
    np.testing.assert_allclose(numbers(ours), numbers(theirs), rtol=1e-4, atol=1e-5)


def test_searches_and_their_metrics(binary: DataFrame) -> None:
    estimator = LogisticRegression(
        weightCol="weight", classWeight={0: 0.5, 1: 4.0}, regParam=0.1, tol=1e-9
    )
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 0.3]).build()
    # a metric that counts rows by their own weights, not by those of their class
    evaluator = BinaryClassificationEvaluator(weightCol="weight", numBins=0)
    found = []
    for cls in (CrossValidator, mllib_tuning.CrossValidator):
        search = cls(
            estimator=estimator,
            estimatorParamMaps=grid,
            evaluator=evaluator,
            numFolds=3,
            seed=2,
        )
        found.append(search.fit(binary))
    np.testing.assert_allclose(found[0].avgMetrics, found[1].avgMetrics, atol=2e-4)
    np.testing.assert_allclose(
        numbers(found[0].bestModel), numbers(found[1].bestModel), rtol=1e-5, atol=1e-7
    )


def test_grids_of_weights(binary: DataFrame) -> None:
    estimator = LinearSVC(loss="squaredHinge", regParam=0.1, tol=1e-9)
    values = ["", "balanced", {0: 1.0, 1: 5.0}]
    grid = ParamGridBuilder().addGrid(estimator.classWeight, values).build()
    models = dict(estimator.fitMultiple(binary, grid))
    for number, value in enumerate(values):
        alone = estimator.copy({estimator.classWeight: value}).fit(binary)
        np.testing.assert_allclose(numbers(models[number]), numbers(alone), rtol=1e-7)
    evaluator = BinaryClassificationEvaluator(numBins=0)
    search = CrossValidator(
        estimator=estimator, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=1
    ).fit(binary)
    assert len(search.avgMetrics) == 3


def test_one_vs_rest_balances_each_class_against_the_rest(multiclass: DataFrame) -> None:
    logistic = LogisticRegression(regParam=0.1, classWeight="balanced", tol=1e-9)
    model = OneVsRest(classifier=logistic).fit(multiclass)
    for number, found in enumerate(model.models):
        one = multiclass.withColumn("label", (F.col("label") == number).cast("double"))
        factors = balanced((number == CLASSES).astype(float), np.ones(150))
        expected = LogisticRegression(regParam=0.1, weightCol="product", tol=1e-9).fit(
            with_products(one, factors, None)
        )
        np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-6)


def test_weights_are_saved(binary: DataFrame, tmp_path: Path) -> None:
    for number, value in enumerate(("balanced", {1: 2, 0: 0.5})):
        estimator = LogisticRegression(regParam=0.1, classWeight=value)
        folder = str(tmp_path / str(number))
        estimator.save(folder)
        assert LogisticRegression.load(folder).getClassWeight() == estimator.getClassWeight()
        Pipeline(stages=[estimator]).fit(binary).save(f"{folder}-pipeline")
        [model] = PipelineModel.load(f"{folder}-pipeline").stages
        assert isinstance(model, LogisticRegressionModel)
        assert model.getClassWeight() == estimator.getClassWeight()
    assert estimator.getClassWeight() == {0.0: 0.5, 1.0: 2.0}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {0: -1.0, 1: 1.0},
        {0: 0.0, 1: 1.0},
        {0: math.nan, 1: 1.0},
        {0: math.inf, 1: 1.0},
        {0.5: 1.0},
        {-1: 1.0},
        {math.nan: 1.0},
        {math.inf: 1.0},
        "equal",
    ],
    ids=str,
)
def test_weights_out_of_range_are_refused(value: Any) -> None:
    for cls in (LinearSVC, LogisticRegression):
        with pytest.raises(ParamError, match=r"classWeight=.* expected '' for none, 'balanced'"):
            cls(classWeight=value)


@pytest.mark.parametrize("value", [3, 1.5, [1.0, 2.0], {"a": 1.0}, {0: "much"}, {0: None}], ids=str)
def test_weights_of_a_wrong_type_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="classWeight"):
        LogisticRegression(classWeight=value)


def test_labels_and_weights_must_fit(spark: SparkSession, multiclass: DataFrame) -> None:
    rows = int((CLASSES == 2.0).sum())
    with refused(spark, "classWeight has no weight for the labels 2", f"found in {rows} rows"):
        LogisticRegression(classWeight={0: 1.0, 1: 2.0}).fit(multiclass)
    with refused(spark, "classWeight has a weight for the label 7, of which there are no rows"):
        LogisticRegression(classWeight={0: 1.0, 1: 2.0, 2: 1.0, 7: 1.0}).fit(multiclass)
    with pytest.raises(ParamError, match="both labels 0 and 1"):
        LinearSVC(classWeight={0: 1.0, 1: 1.0, 2: 1.0})


def test_rows_of_a_validation_have_no_say_in_the_balance(spark: SparkSession) -> None:
    held = (np.arange(150) % 3 == 0) & (BINARY == 1.0)
    rows = spark.createDataFrame(
        [(float(y), Vectors.dense(x), bool(h)) for x, y, h in zip(X, BINARY, held, strict=True)],
        ["label", "features", "held"],
    )
    settings: Any = {"regParam": 0.05, "validationIndicatorCol": "held", "patience": 1000}
    found = LogisticRegression(classWeight="balanced", **settings).fit(rows)
    factors = balanced(BINARY[~held], np.ones(150)[~held])
    expected = LogisticRegression(classWeight=factors, **settings).fit(rows)
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-9)


def test_rows_that_cannot_be_used_are_told_as_without(spark: SparkSession) -> None:
    rows = frame(spark, X[:4], [0.0, math.nan, 1.0, 0.0], weight=[1.0, 1.0, -2.0, 1.0])
    with refused(spark, "label"):
        LogisticRegression(classWeight="balanced", weightCol="weight").fit(rows)
    with refused(spark, "'weight'"):
        LogisticRegression(classWeight="balanced", weightCol="weight").fit(rows.where("label >= 0"))
