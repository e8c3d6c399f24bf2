"""Fits that start from a model: what they save, what they refuse, and where they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyspark.ml.classification as mllib
import pytest
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.linalg import Matrices
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.classification import (
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    LogisticRegressionModel,
    OneVsRest,
)
from sparkml_lsml.errors import ParamError
from sparkml_lsml.regression import LinearRegression, LinearRegressionModel
from sparkml_lsml.spark.training.batch import Batch
from sparkml_lsml.spark.training.training import Training
from sparkml_lsml.tuning import CrossValidator, regularization_path
from tests.spark.helpers import Array, binary_rows, frame, numbers

SETTINGS: dict[str, Any] = {"regParam": 0.05, "tol": 1e-8, "maxIter": 300}


@pytest.fixture(scope="module")
def rows() -> tuple[Array, Array]:
    X, y = binary_rows(rows=120, features=3, seed=4)
    return X * [0.2, 1.0, 30.0] + [5.0, 0.0, -40.0], y


@pytest.fixture(scope="module")
def binary(spark: SparkSession, rows: tuple[Array, Array]) -> DataFrame:
    return frame(spark, *rows)


@pytest.fixture(scope="module")
def classes(spark: SparkSession, rows: tuple[Array, Array]) -> DataFrame:
    X, y = rows
    return frame(spark, X, y + (X[:, 0] > 5.1))


@pytest.fixture(scope="module")
def real(spark: SparkSession, rows: tuple[Array, Array]) -> DataFrame:
    X, _ = rows
    noise = np.random.default_rng(1).standard_t(3, size=len(X))
    return frame(spark, X, 100.0 + X @ [40.0, 3.0, 0.1] + 5.0 * noise)


CASES: dict[str, tuple[Any, Any, str]] = {
    # a hinge has no minimum to eight digits: rounding decides between its kinks
    "hinge": (LinearSVC(**SETTINGS | {"tol": 1e-6}), LinearSVCModel, "binary"),
    "squared hinge": (LinearSVC(loss="squaredHinge", **SETTINGS), LinearSVCModel, "binary"),
    "logistic": (LogisticRegression(**SETTINGS), LogisticRegressionModel, "binary"),
    "L1": (
        LogisticRegression(elasticNetParam=0.5, **SETTINGS),
        LogisticRegressionModel,
        "binary",
    ),
    "multinomial": (LogisticRegression(**SETTINGS), LogisticRegressionModel, "classes"),
    "squared error": (
        LinearRegression(solver="l-bfgs", **SETTINGS),
        LinearRegressionModel,
        "real",
    ),
    "Huber": (LinearRegression(loss="huber", **SETTINGS), LinearRegressionModel, "real"),
}
FEW, FEW_AT_KINKS = 16, 32
"""Iterations; where kinks are smoothed, the last widths are done again."""

MLLIB: dict[str, Any] = {
    "logistic": mllib.LogisticRegression,
    "multinomial": mllib.LogisticRegression,
}

USUAL = ("hinge", "logistic", "Huber")
every_case = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in USUAL else pytest.mark.slow) for name in CASES],
)


@every_case
def test_a_fit_that_starts_at_the_solution_ends_there_in_a_few_iterations(
    request: pytest.FixtureRequest, name: str
) -> None:
    estimator, _, data = CASES[name]
    df = request.getfixturevalue(data)
    cold = estimator.fit(df)
    assert cold.summary.reason.converged
    warm = estimator.copy().setInitialModel(cold).fit(df)
    assert warm.summary.reason.converged
    assert warm.summary.totalIterations <= (FEW_AT_KINKS if name == "hinge" else FEW)
    assert warm.summary.totalIterations < cold.summary.totalIterations
    assert warm.summary.passes < cold.summary.passes
    assert warm.summary.objective <= cold.summary.objective * (1.0 + 1e-12)
    assert f"started from the model {cold.uid}" in warm.summary.notes
    # MLlib's minimum is the same, wherever ours began
    theirs = MLLIB.get(name)
    if theirs is not None:
        objective = theirs(**SETTINGS).fit(df).summary.objectiveHistory[-1]
        assert warm.summary.objective == pytest.approx(objective, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "execution"),
    [*((name, "local") for name in CASES), ("hinge", "distributed"), ("L1", "distributed")],
)
def test_no_iteration_returns_the_model_that_was_given(
    request: pytest.FixtureRequest, name: str, execution: str
) -> None:
    estimator, kind, data = CASES[name]
    df = request.getfixturevalue(data)
    outputs = 3 if data == "classes" else 1
    rng = np.random.default_rng(2)
    # multinomial coefficients without their mean, which says nothing
    W = rng.normal(size=(outputs, 3)) * [5.0, 1.0, 0.03]
    b = rng.normal(size=outputs)
    W, b = (W - W.mean(axis=0), b - b.mean()) if outputs > 1 else (W, b)
    facts = {"numClasses": 3} if outputs > 1 else {}
    given = kind(W, b, **facts)
    if name == "Huber":
        given = kind(W, b, 7.5)._set(loss="huber")
    made = estimator.copy().setParams(maxIter=0, execution=execution).setInitialModel(given)
    found = made.fit(df)
    np.testing.assert_allclose(numbers(found), np.append(W.ravel(), b), rtol=1e-12, atol=1e-12)
    assert found.summary.totalIterations == 0
    if name == "Huber":
        assert found.scale == pytest.approx(7.5, rel=1e-12)


SOLVERS = ("gradient-descent", "accelerated", "sgd", "minibatch-sgd", "adam")


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_starts_from_a_model(binary: DataFrame, solver: str) -> None:
    best = LogisticRegression(**SETTINGS).fit(binary)
    settings = {**SETTINGS, "tol": 1e-6, "maxIter": 3, "stepSize": 0.1, "solver": solver}
    cold, warm = (
        LogisticRegression(**settings).setInitialModel(start).fit(binary) for start in (None, best)
    )
    least = best.summary.objective
    # three iterations from zero do not get there
    assert cold.summary.objective > least * 1.001
    assert least * (1.0 - 1e-9) <= warm.summary.objective < least * 1.001
    assert f"started from the model {best.uid}" in warm.summary.notes


def test_a_start_outside_its_bounds_is_projected(binary: DataFrame) -> None:
    given = LogisticRegressionModel(np.array([[3.0, -4.0, 0.5]]), np.array([2.0]))
    bounds = {
        "lowerBoundsOnCoefficients": Matrices.dense(1, 3, [-1.0, -1.0, -1.0]),
        "upperBoundsOnCoefficients": Matrices.dense(1, 3, [1.0, 1.0, 1.0]),
    }
    estimator = LogisticRegression(maxIter=0, **bounds).setInitialModel(given)
    np.testing.assert_allclose(numbers(estimator.fit(binary))[:3], [1.0, -1.0, 0.5], rtol=1e-12)


def test_a_column_that_became_constant_gets_no_coefficient(
    spark: SparkSession, rows: tuple[Array, Array]
) -> None:
    X, y = rows
    df = frame(spark, np.column_stack([X[:, 0], np.full(len(X), 4.0), X[:, 2]]), y)
    given = LinearSVCModel(np.array([[1.0, 9.0, -2.0]]), np.array([0.5]))
    found = LinearSVC(maxIter=0).setInitialModel(given).fit(df)
    np.testing.assert_allclose(numbers(found), [1.0, 0.0, -2.0, 0.5], rtol=1e-12)


def test_the_normal_equations_need_no_start(real: DataFrame) -> None:
    given = LinearRegressionModel(np.array([[1.0, 2.0, 3.0]]), np.array([4.0]))
    cold = LinearRegression(regParam=0.1).fit(real)
    found = LinearRegression(regParam=0.1).setInitialModel(given).fit(real)
    np.testing.assert_array_equal(numbers(found), numbers(cold))
    assert found.summary.notes == (
        f"solved directly: the initial model {given.uid} was not needed",
    )


def test_hubers_scale_is_its_own_where_the_model_has_none(real: DataFrame) -> None:
    """A model of the squared error says nothing of the scale: that of the labels is as good."""
    given = LinearRegressionModel(np.array([[1.0, 2.0, 3.0]]), np.array([4.0]))
    found = LinearRegression(loss="huber", maxIter=0).setInitialModel(given).fit(real)
    labels = np.array([row.label for row in real.select("label").collect()])
    assert found.scale == pytest.approx(labels.std(ddof=1), rel=1e-12)


def wrong(coefficients: Any, intercept: float = 0.0) -> LogisticRegressionModel:
    return LogisticRegressionModel(np.array([coefficients]), np.array([intercept]))


@pytest.mark.parametrize(
    ("estimator", "data", "parts"),
    [
        (
            LogisticRegression().setInitialModel(wrong([1.0, 2.0])),
            "binary",
            ("has 2 features", "the rows have 3", "same order"),
        ),
        (
            LogisticRegression().setInitialModel(wrong([1.0, 2.0, 3.0])),
            "classes",
            ("has 1 rows of coefficients", "expected 3", "classes"),
        ),
        (
            LogisticRegression(fitIntercept=False).setInitialModel(wrong([1.0, 2.0, 3.0], 1.0)),
            "binary",
            ("has an intercept", "fitIntercept"),
        ),
        (
            LogisticRegression().setInitialModel(wrong([0.0, 0.0, 0.0], np.inf)),
            "binary",
            ("not finite", "setInitialModel(None)"),
        ),
        (
            LogisticRegression(solver="cocoa", regParam=0.1).setInitialModel(wrong([1.0] * 3)),
            "binary",
            ("cocoa", "dual", "solver='auto'"),
        ),
        (
            OneVsRest(classifier=LogisticRegression().setInitialModel(wrong([1.0, 2.0, 3.0]))),
            "classes",
            ("OneVsRest", "setInitialModel(None)"),
        ),
    ],
    ids=["features", "classes", "intercept", "infinite", "cocoa", "one-vs-rest"],
)
def test_models_that_a_fit_cannot_start_from(
    request: pytest.FixtureRequest, estimator: Any, data: str, parts: tuple[str, ...]
) -> None:
    with pytest.raises(ParamError) as caught:
        estimator.fit(request.getfixturevalue(data))
    for part in parts:
        assert part in str(caught.value)


def test_a_model_of_another_class_is_refused_when_it_is_set() -> None:
    made = LinearSVC()
    for other in (wrong([1.0, 2.0]), "a path", 3):
        with pytest.raises(TypeError, match="LinearSVCModel or None, found"):
            made.setInitialModel(other)
    assert made.getInitialModel() is None


def test_copies_keep_the_initial_model_and_saved_estimators_do_not(tmp_path: Path) -> None:
    given = wrong([1.0, 2.0])
    made = LogisticRegression().setInitialModel(given)
    assert made.copy({made.regParam: 0.5}).getInitialModel() is given
    made.save(str(tmp_path / "estimator"))
    assert LogisticRegression.load(str(tmp_path / "estimator")).getInitialModel() is None
    copied = made.copy()
    assert copied.setInitialModel(None) is copied
    assert made.getInitialModel() is given


def test_a_search_starts_all_its_models_there(binary: DataFrame) -> None:
    given = wrong([1.0, -2.0, 0.1], 0.5)
    made = LogisticRegression(maxIter=0).setInitialModel(given)
    search = CrossValidator(
        estimator=made,
        estimatorParamMaps=[{made.regParam: 0.1}, {made.regParam: 0.2}],
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
    )
    found = search.fit(binary)
    np.testing.assert_allclose(numbers(found.bestModel), [1.0, -2.0, 0.1, 0.5], rtol=1e-12)
    assert f"started from the model {given.uid}" in found.bestModel.summary.notes
    with pytest.raises(ParamError, match=r"setInitialModel\(None\)"):
        regularization_path(made, binary, regParams=[0.1])


def test_a_checkpoint_is_of_one_initial_model(binary: DataFrame, tmp_path: Path) -> None:
    """The name of its folder says what it is of, and another start is another fit."""
    found = []
    starts = (None, wrong([1.0, 2.0, 3.0]), wrong([1.0, 2.0, 3.0 + 1e-12]), wrong([1.0, 2.0, 3.0]))
    for start in starts:
        made = LogisticRegression(checkpointDir=str(tmp_path)).setInitialModel(start)._normalise()
        with Training(made, binary) as training:
            kept = training._checkpoint(Batch.of([training.member(made)]))
            assert kept is not None
            found.append(kept.path)
    assert len(set(found[:3])) == 3
    assert found[3] == found[1]
