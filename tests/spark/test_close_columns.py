"""Columns whose values lie close together and far from zero, as time stamps do."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml.classification import LogisticRegression as MLlibLogisticRegression
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.regression import LinearRegression as MLlibLinearRegression
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from sklearn.svm import LinearSVC as SklearnLinearSVC

from sparkml_lsml.classification import CalibratedClassifier, LinearSVC, LogisticRegression
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.tuning import CrossValidator
from tests.spark.helpers import frame, nothing_left

Array = npt.NDArray[np.float64]

FAR = 1.7e15
"""Microseconds since 1970, of which doubles tell quarters apart."""

RNG = np.random.default_rng(11)
STEPS = RNG.integers(0, 100, 300).astype(float)
NEAR = np.column_stack([RNG.normal(size=300), STEPS, np.full(300, 0.1)])
ROWS = NEAR + np.array([0.0, FAR, 0.0])
TARGET = 2.0 * NEAR[:, 0] + 0.03 * STEPS + 5.0 + 0.3 * RNG.normal(size=300)
LABEL = (TARGET + RNG.normal(size=300) > 6.5).astype(float)


@pytest.fixture(scope="module")
def near(spark: SparkSession) -> DataFrame:
    return frame(spark, NEAR, LABEL).cache()


@pytest.fixture(scope="module")
def far(spark: SparkSession) -> DataFrame:
    return frame(spark, ROWS, LABEL).cache()


def exact(model: Any, rows: Array) -> Array:
    """Margins of rows as they are, without rounding."""
    weights = [Fraction(w) for w in model.coefficients.tolist()]
    return np.array(
        [
            float(
                Fraction(model.intercept)
                + sum(w * Fraction(x) for w, x in zip(weights, row, strict=True))
            )
            for row in rows.tolist()
        ]
    )


@pytest.mark.parametrize(
    ("kind", "execution"), [("sparse", "local"), ("double", "local"), ("dense", "distributed")]
)
def test_least_squares_and_its_errors_are_those_of_mllib_on_centred_rows(
    spark: SparkSession, kind: str, execution: str
) -> None:
    used = [0, 1]  # MLlib has no errors where a column is constant
    theirs = MLlibLinearRegression(solver="normal").fit(frame(spark, NEAR[:, used], TARGET))
    rows = frame(spark, ROWS[:, used], TARGET, kind=kind)
    for solver in ("auto", "l-bfgs"):
        with nothing_left(spark):
            model = LinearRegression(solver=solver, execution=execution, tol=1e-10).fit(rows)
        np.testing.assert_allclose(model.coefficients, theirs.coefficients, rtol=1e-7)
        # half a digit of the terms that cancel
        assert model.intercept + FAR * model.coefficients[1] == pytest.approx(
            theirs.intercept, abs=0.01
        )
    errors = LinearRegression(execution=execution).fit(rows).summary.coefficientStandardErrors
    expected = theirs.summary.coefficientStandardErrors
    np.testing.assert_allclose(errors[:2], expected[:2], rtol=1e-7)
    # the intercept is theirs less FAR times the coefficient, beside which theirs is nothing
    assert errors[2] == pytest.approx(FAR * expected[1], rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "close"),
    [
        ({}, 1e-6),
        ({"solver": "accelerated", "maxIter": 500}, 1e-4),
        ({"solver": "cocoa", "tol": 1e-5}, 1e-2),
        ({"solver": "sgd", "execution": "distributed", "tol": 1e-8}, 0.05),
        ({"dtype": "float32"}, 1e-4),
        ({"elasticNetParam": 0.5}, 1e-5),
    ],
    ids=str,
)
def test_solvers_of_the_logistic_loss_find_mllibs_model_of_centred_rows(
    near: DataFrame, far: DataFrame, settings: dict[str, Any], close: float
) -> None:
    share = settings.get("elasticNetParam", 0.0)
    theirs = MLlibLogisticRegression(regParam=0.01, elasticNetParam=share, tol=1e-10).fit(near)
    model = LogisticRegression(regParam=0.01, **{"tol": 1e-9, **settings}).fit(far)
    # constants that are no sum of halves are told from such columns
    np.testing.assert_allclose(model.coefficients, theirs.coefficients, rtol=close, atol=1e-12)
    [note] = [note for note in model.summary.notes if "feature 1 varies little" in note]
    rounding = float(note.split("cancel to within ")[1].split(":")[0])
    margins = NEAR @ np.array(theirs.coefficients) + theirs.intercept
    found = exact(model, ROWS)
    np.testing.assert_allclose(found, margins, atol=rounding + close * np.abs(margins).max())
    raw = np.array([row[0][1] for row in model.transform(far).select("rawPrediction").collect()])
    # a product and a sum of such a size
    np.testing.assert_allclose(raw, found, rtol=0, atol=2.5 * rounding)


def test_the_squared_hinge_finds_the_model_of_scikit_learn(spark: SparkSession) -> None:
    model = LinearSVC(
        loss="squaredHinge", regParam=0.01, standardization=False, tol=1e-10, maxIter=500
    ).fit(frame(spark, ROWS, LABEL))
    # lambda / 2 |w|^2 beside the mean loss; the intercept is penalised there, unless scaled far up
    theirs = SklearnLinearSVC(
        C=1.0 / (0.01 * 300), tol=1e-10, max_iter=100_000, intercept_scaling=1e4
    ).fit(NEAR[:, :2], LABEL)
    np.testing.assert_allclose(model.coefficients[:2], theirs.coef_[0], rtol=1e-3)


def test_a_column_that_decides_the_label_does_so_in_predictions(spark: SparkSession) -> None:
    label = RNG.integers(0, 2, 200).astype(float)
    X = np.column_stack([RNG.normal(size=200), FAR + 5.0 * label])
    rows = frame(spark, X, label)
    model = LogisticRegression(regParam=1e-3).fit(rows)
    assert model.transform(rows).where("prediction = label").count() == 200
    weight = RNG.uniform(0.5, 2.0, 200)
    weighted = LogisticRegression(regParam=1e-3, weightCol="weight").fit(
        frame(spark, X, label, weight)
    )
    assert weighted.transform(rows).where("prediction = label").count() == 200


def test_searches_calibration_and_starts_see_such_columns_too(far: DataFrame) -> None:
    estimator = LogisticRegression(regParam=0.01)
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 0.1]).build()
    evaluator = BinaryClassificationEvaluator()
    search = CrossValidator(
        estimator=estimator, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=3
    ).fit(far)
    # the first column alone leaves an area of 0.93
    plain = LogisticRegression(regParam=0.01).fit(far)
    area = evaluator.evaluate(plain.transform(far))
    assert area > 0.94
    assert search.avgMetrics[0] == pytest.approx(area, abs=0.02)
    calibrated = CalibratedClassifier(classifier=LinearSVC(regParam=0.01), numFolds=2).fit(far)
    assert evaluator.evaluate(calibrated.transform(far)) == pytest.approx(area, abs=0.01)
    again = LogisticRegression(regParam=0.01).setInitialModel(plain).fit(far)
    assert again.summary.totalIterations < plain.summary.totalIterations
    np.testing.assert_allclose(again.coefficients, plain.coefficients, rtol=1e-3)


def test_what_doubles_cannot_tell_apart_or_a_fit_cannot_centre_is_said(
    spark: SparkSession,
) -> None:
    rows = frame(spark, ROWS + np.array([0.0, 0.0, 1.7e18]), LABEL)
    notes = LogisticRegression(maxIter=2).fit(rows).summary.notes
    assert any("feature 2 varies in no row by 256" in note for note in notes)
    for model in (
        LogisticRegression(maxIter=2, fitIntercept=False).fit(frame(spark, ROWS, LABEL)),
        LogisticRegression().partialFit(frame(spark, ROWS, LABEL)),
    ):
        assert model.coefficients[1] == 0.0
        assert any("feature 1 varies by less than 1e-13" in note for note in model.summary.notes)


def test_grids_with_and_without_an_intercept_leave_rows_as_they_are(far: DataFrame) -> None:
    estimator = LinearRegression(regParam=0.01, maxIter=5)
    maps = [{estimator.fitIntercept: fit} for fit in (True, False)]
    for model in estimator.fit(far, maps):
        assert any("1e-13" in note for note in model.summary.notes)


def test_rows_of_other_columns_are_read_once(near: DataFrame) -> None:
    """Constants, and columns a million deviations from zero."""
    model = LogisticRegression(maxIter=2, execution="distributed").fit(near)
    assert model.summary.notes == ()
