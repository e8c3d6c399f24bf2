"""Standard errors, t and p values of least squares: MLlib's, and those of the textbook formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import LinearRegression as MLlibLinearRegression
from pyspark.sql import DataFrame, SparkSession
from scipy import sparse, stats
from sklearn.linear_model import Ridge

from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.regression import LinearRegression
from tests.spark.helpers import frame

Array = npt.NDArray[np.float64]

NAMES = ("coefficientStandardErrors", "tValues", "pValues")


def draw() -> tuple[Array, Array, Array]:
    """Columns of different sizes, far from zero; the last has nothing to do with the label."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(80, 4)) @ (np.eye(4) + 0.3 * rng.normal(size=(4, 4)))
    X = X * [1.0, 5.0, 0.2, 1.0] + [0.0, 30.0, 1.0, -2.0]
    y = X @ [0.5, -0.2, 3.0, 0.0] + 4.0 + 0.2 * rng.normal(size=80)
    return X, y, rng.integers(1, 5, 80) / 2.0


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, *draw())


CASES: list[dict[str, Any]] = [
    {},
    {"weightCol": "weight"},
    {"fitIntercept": False, "weightCol": "weight"},
    {"fitIntercept": False, "standardization": False},
    {"regParam": 0.5},
    {"regParam": 0.5, "standardization": False, "weightCol": "weight"},
]


@pytest.mark.parametrize("params", CASES, ids=str)
def test_they_are_mllibs(rows: DataFrame, params: dict[str, Any]) -> None:
    theirs = MLlibLinearRegression(solver="normal", **params).fit(rows).summary
    for execution in ("local", "distributed"):
        model = LinearRegression(execution=execution, **params).fit(rows)
        summary = model.summary
        assert (summary.solver, summary.execution) == ("normal", execution)
        assert summary.degreesOfFreedom == theirs.degreesOfFreedom
        assert summary.numInstances == theirs.numInstances == 80
        for name in NAMES:
            found, expected = getattr(summary, name), getattr(theirs, name)
            assert type(found) is list
            assert all(type(value) is float for value in found)
            # MLlib's p-values are 1 - cdf, and so end at the rounding of 1
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-14)
        assert len(summary.pValues) == 4 + model.getFitIntercept()


@pytest.mark.parametrize("params", CASES[:4], ids=str)
def test_they_are_those_of_the_formula(rows: DataFrame, params: dict[str, Any]) -> None:
    X, y, weight = draw()
    A = np.column_stack([X, np.ones(len(X))]) if params.get("fitIntercept", True) else X
    v = weight if "weightCol" in params else np.ones(len(X))
    moments = np.linalg.inv(A.T @ (v[:, None] * A))
    estimates = moments @ (A.T @ (v * y))
    freedom = len(y) - A.shape[1]
    errors = np.sqrt(v @ (y - A @ estimates) ** 2 / freedom * np.diag(moments))
    summary = LinearRegression(**params).fit(rows).summary
    assert summary.degreesOfFreedom == freedom
    np.testing.assert_allclose(summary.coefficientStandardErrors, errors, rtol=1e-8)
    np.testing.assert_allclose(summary.tValues, estimates / errors, rtol=1e-7)
    # the survival function keeps the digits of small ones
    p_values = 2.0 * stats.t(freedom).sf(np.abs(estimates / errors))
    np.testing.assert_allclose(summary.pValues, p_values, rtol=1e-5)
    assert min(summary.pValues) < 1e-16
    assert max(summary.pValues) > 0.01


def test_param_maps_have_errors_of_their_own(rows: DataFrame) -> None:
    estimator = LinearRegression(solver="normal")
    maps = [{estimator.regParam: 0.0}, {estimator.regParam: 2.0}]
    together = dict(estimator.fitMultiple(rows, maps))
    assert together[0].summary.passes == 1
    for number, extra in enumerate(maps):
        alone = estimator.copy(extra).fit(rows)
        for name in NAMES:
            found, expected = (getattr(m.summary, name) for m in (together[number], alone))
            np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    "params",
    [
        {"solver": "l-bfgs"},
        {"regParam": 0.1, "elasticNetParam": 0.5},
        {"loss": "huber"},
        {"solver": "sgd", "maxIter": 2},
    ],
    ids=str,
)
def test_other_solvers_and_penalties_have_none(rows: DataFrame, params: dict[str, Any]) -> None:
    summary = LinearRegression(**params).fit(rows).summary
    for name in NAMES:
        with pytest.raises(ParamError, match=f"{name} come.*'{summary.solver}'.*solver='normal'"):
            getattr(summary, name)
    assert summary.degreesOfFreedom == 75


def test_columns_that_depend_on_each_other_have_none(spark: SparkSession) -> None:
    X, y, _ = draw()
    for column in (X[:, 0] + X[:, 1], np.full(len(X), 3.0)):
        data = frame(spark, np.column_stack([X, column]), y)
        summary = LinearRegression().fit(data).summary
        for name in NAMES:
            with pytest.raises(DataError, match=f"{name}.*5 coefficients.*linear combinations"):
                getattr(summary, name)
        theirs = MLlibLinearRegression(solver="normal").fit(data).summary
        with pytest.raises(Exception, match=r"No Std\. Error of coefficients available"):
            _ = theirs.coefficientStandardErrors


def test_as_many_coefficients_as_rows_leave_no_errors(spark: SparkSession) -> None:
    X, y, _ = draw()
    summary = LinearRegression().fit(frame(spark, X[:5], y[:5])).summary
    assert summary.degreesOfFreedom == 0
    with pytest.raises(DataError, match="5 rows for 5 coefficients"):
        _ = summary.pValues


def test_an_exact_fit_has_tiny_errors(spark: SparkSession) -> None:
    X, _, _ = draw()
    y = X @ [1.0, 2.0, 3.0, 0.0] + 5.0
    summary = LinearRegression().fit(frame(spark, X, y)).summary
    errors = np.array(summary.coefficientStandardErrors)
    assert (errors >= 0.0).all()
    assert errors.max() < 1e-10
    np.testing.assert_allclose(np.array(summary.pValues)[[0, 1, 2, 4]], 0.0, atol=1e-12)


def test_where_the_sums_would_take_seconds_longer_auto_iterates_and_says_so(
    spark: SparkSession,
) -> None:
    rng = np.random.default_rng(8)
    X = sparse.random_array((150, 4_000), density=1e-3, rng=rng, format="csr")
    y = X @ rng.normal(size=4_000) + 0.1 * rng.normal(size=150)
    rows = [
        (float(label), Vectors.sparse(4_000, row.indices.tolist(), row.data.tolist()))
        for label, row in zip(y, (X[[k]] for k in range(150)), strict=True)
    ]
    data = spark.createDataFrame(rows, ["label", "features"])
    estimator = LinearRegression(regParam=0.1, standardization=False, tol=1e-10)
    model = estimator.fit(data)
    assert model.summary.solver == "l-bfgs"
    assert "solver='normal'" in model.summary.solver_reason
    with pytest.raises(ParamError, match="solver='normal'"):
        _ = model.summary.coefficientStandardErrors
    # the same minimum by scikit-learn; MLlib divides the penalty by the deviation of the label
    theirs = Ridge(alpha=150 * 0.1 / np.std(y, ddof=1), tol=1e-12).fit(X, y)
    np.testing.assert_allclose(model.coefficients, theirs.coef_, atol=1e-5)
    assert model.intercept == pytest.approx(theirs.intercept_, abs=1e-5)
