"""Regularization paths, beside scikit-learn's, MLlib's fits and the formula of their start."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml import classification as mllib_classification
from pyspark.sql import DataFrame, SparkSession
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import enet_path, lasso_path

from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.tuning import regularization_path
from tests.spark.helpers import frame, nothing_left, numbers

Array = npt.NDArray[np.float64]


def standardized(load: Any) -> tuple[Array, Array]:
    X, y = load(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y.astype(np.float64)


def diabetes() -> tuple[Array, Array]:
    X, y = standardized(load_diabetes)
    return X, (y - y.mean()) / y.std()


@pytest.fixture(scope="module")
def cancer(spark: SparkSession) -> DataFrame:
    X, y = standardized(load_breast_cancer)
    return frame(spark, X, y, weight=1.0 + y)


def test_the_lasso_is_scikit_learns(spark: SparkSession) -> None:
    X, y = diabetes()
    with nothing_left(spark):
        found = regularization_path(LinearRegression(elasticNetParam=1.0), frame(spark, X, y))
    first = np.max(np.abs(X.T @ y)) / len(y)
    np.testing.assert_allclose(found.regParams, first * np.geomspace(1.0, 1e-3, 100), rtol=2e-6)
    _, wanted, _ = lasso_path(X, y, alphas=found.regParams, tol=1e-10)
    np.testing.assert_allclose(found.coefficients[:, 0].T, wanted, atol=2e-6)
    np.testing.assert_allclose(found.intercepts, 0.0, atol=1e-9)
    # the model without features, its gradient, and the path
    assert found.passes == 3
    assert found.features[0] == 0
    assert found.features.tolist() == np.count_nonzero(wanted, axis=0).tolist()


@pytest.mark.parametrize("solver", ["normal", "l-bfgs"])
def test_the_elastic_net_is_scikit_learns(spark: SparkSession, solver: str) -> None:
    X, y = diabetes()
    if solver == "l-bfgs":
        # MLlib's deviation of the label is a sample's there
        y = y * np.sqrt((len(y) - 1) / len(y))
    estimator = LinearRegression(
        elasticNetParam=0.4, standardization=False, solver=solver, tol=1e-10, maxIter=500
    )
    strengths = [0.1, 1.0, 0.003, 0.03]
    found = regularization_path(estimator, frame(spark, X, y), regParams=strengths)
    assert found.regParams.tolist() == [1.0, 0.1, 0.03, 0.003]
    _, wanted, _ = enet_path(X, y, l1_ratio=0.4, alphas=strengths, tol=1e-12, max_iter=100_000)
    np.testing.assert_allclose(found.coefficients[:, 0].T, wanted, rtol=1e-5, atol=1e-7)
    assert [model.getRegParam() for model in found.models] == found.regParams.tolist()
    assert estimator.getRegParam() == 0.0
    if solver == "normal":
        assert found.passes == 1


@pytest.mark.parametrize(
    ("execution", "n", "together"),
    [("local", 8, 1), ("local", 8, 3), pytest.param("distributed", 4, 10, marks=pytest.mark.slow)],
)
def test_models_of_the_path_are_those_of_single_fits(
    cancer: DataFrame, execution: str, n: int, together: int
) -> None:
    estimator = LogisticRegression(
        elasticNetParam=1.0, tol=1e-9, maxIter=1_000, execution=execution, weightCol="weight"
    )
    found = regularization_path(estimator, cancer, n=n, ratio=0.02, together=together)
    assert found.coefficients.shape == (n, 1, 30)
    passes = 0
    for number, model in enumerate(found.models):
        alone = estimator.copy({estimator.regParam: found.regParams[number]}).fit(cancer)
        assert model.summary.objective == pytest.approx(alone.summary.objective, rel=1e-6)
        np.testing.assert_allclose(numbers(model), numbers(alone), rtol=1e-2, atol=1e-3)
        np.testing.assert_array_equal(found.coefficients[number, 0], model.coefficients.toArray())
        passes += alone.summary.passes
    assert found.passes < (1.0 if together == 1 else 0.5) * passes


def test_objectives_are_mllibs(cancer: DataFrame) -> None:
    estimator = LogisticRegression(elasticNetParam=0.8, tol=1e-10, maxIter=1_000)
    found = regularization_path(estimator, cancer, regParams=[0.2, 0.02])
    for model in found.models:
        theirs = mllib_classification.LogisticRegression(
            regParam=model.getRegParam(), elasticNetParam=0.8, tol=1e-10, maxIter=1_000
        ).fit(cancer)
        objective = theirs.summary.objectiveHistory[-1]
        assert model.summary.objective == pytest.approx(objective, rel=1e-6)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardization", [True, False])
def test_a_path_begins_where_the_first_feature_enters(
    spark: SparkSession, fit_intercept: bool, standardization: bool
) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X, weight = X[:, :8] / [1.0, 2.0, 30.0, 100.0, 0.01, 0.1, 0.1, 0.1], 1.0 + y
    estimator = LogisticRegression(
        elasticNetParam=0.5,
        fitIntercept=fit_intercept,
        standardization=standardization,
        weightCol="weight",
    )
    found = regularization_path(estimator, frame(spark, X, y, weight), n=3, ratio=0.98)
    # the gradient where the intercept predicts the share of the labels
    share = np.average(y, weights=weight) if fit_intercept else 0.5
    gradient = X.T @ (weight * (share - y)) / weight.sum()
    mean = np.average(X, axis=0, weights=weight)
    # MLlib's sample variance: the sum of weights, less the mean weight by the weights
    scale = weight.sum() - (weight**2).sum() / weight.sum()
    deviation = np.sqrt(weight @ (X - mean) ** 2 / scale)
    units = deviation if standardization else 1.0
    assert found.regParams[0] == pytest.approx(np.max(np.abs(gradient) / units) / 0.5, rel=2e-6)
    assert found.features[0] == 0
    assert found.features[1] > 0


@pytest.mark.parametrize("kind", ["multinomial", "squaredHinge"])
def test_the_first_model_has_no_features_and_the_second_has(spark: SparkSession, kind: str) -> None:
    estimator: Any
    if kind == "multinomial":
        X, y = standardized(load_iris)
        estimator = LogisticRegression(elasticNetParam=1.0)
    else:
        X, y = standardized(load_breast_cancer)
        estimator = LinearSVC(loss="squaredHinge", elasticNetParam=1.0)
    found = regularization_path(estimator, frame(spark, X, y), n=3, ratio=0.98)
    assert found.features[0] == 0
    assert found.features[1] > 0
    outputs = 3 if kind == "multinomial" else 1
    assert found.coefficients.shape == (3, outputs, X.shape[1])
    shares = np.bincount(y.astype(int)) / len(y)
    if kind == "multinomial":
        wanted = np.log(shares) - np.log(shares).mean()
    else:
        # the squared hinge of an intercept b is p (1 - b)^2 + (1 - p) (1 + b)^2
        wanted = shares[1:] - shares[:1]
    np.testing.assert_allclose(found.intercepts[0], wanted, atol=1e-6)


def test_paths_that_cannot_be(spark: SparkSession, cancer: DataFrame) -> None:
    lasso = LogisticRegression(elasticNetParam=1.0)
    for message, estimator, settings in (
        ("elasticNetParam=0.0: without an L1 penalty", LogisticRegression(), {}),
        ("loss='hinge' has kinks", LinearSVC(elasticNetParam=1.0), {}),
        ("solver='sgd' draws rows by itself", lasso.copy({lasso.solver: "sgd"}), {}),
        ("regParams is empty", lasso, {"regParams": []}),
        ("regParam=-1.0, expected a finite number", lasso, {"regParams": [1.0, -1.0]}),
        ("n=1, ratio=0.001: expected at least 2 points", lasso, {"n": 1}),
        ("ratio=1.5: expected at least 2 points, and a ratio", lasso, {"ratio": 1.5}),
        ("together=0: expected 1 or more", lasso, {"together": 0}),
    ):
        with nothing_left(spark), pytest.raises(ParamError) as caught:
            regularization_path(estimator, cancer, **settings)
        assert message in str(caught.value)
    X, y = standardized(load_breast_cancer)
    with nothing_left(spark), pytest.raises(DataError, match="all 569 labels are 1: expected two"):
        regularization_path(lasso, frame(spark, X, np.ones(len(y))))
    with nothing_left(spark), pytest.raises(DataError, match="no feature has to do with the label"):
        regularization_path(
            LinearRegression(elasticNetParam=1.0), frame(spark, X, np.full(len(y), 3.0))
        )
    ridge = regularization_path(LinearSVC(), cancer, regParams=[0.1, 10.0])
    assert ridge.regParams.tolist() == [10.0, 0.1]
