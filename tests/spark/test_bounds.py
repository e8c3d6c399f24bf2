"""Bounds on coefficients of a logistic regression: the models of MLlib, or lower objectives."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml.classification import LogisticRegression as MLlibLogisticRegression
from pyspark.ml.linalg import DenseMatrix, Matrices, SparseMatrix, Vectors
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.classification import LogisticRegression, LogisticRegressionModel, OneVsRest
from sparkml_lsml.errors import ParamError, PersistenceError
from sparkml_lsml.spark.folders.matrices import from_json
from sparkml_lsml.spark.folders.metadata import checksum
from tests.spark.helpers import frame, numbers, refused

Array = npt.NDArray[np.float64]

INF = float("inf")
EXACT: dict[str, Any] = {"tol": 1e-9, "maxIter": 200}


def draw() -> tuple[Array, Array, Array]:
    """Columns of different means and sizes, labels of two and of three classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 4)) * [1.0, 2.0, 0.5, 3.0] + [0.0, 1.0, 2.0, -1.0]
    raw = X @ [1.0, -0.5, 1.5, 0.2] - 1.0 + rng.logistic(size=150)
    return X, (raw > 0.0).astype(np.float64), np.digitize(raw, [-1.0, 1.0]).astype(np.float64)


@pytest.fixture(scope="module")
def binary(spark: SparkSession) -> DataFrame:
    X, y, _ = draw()
    weight = np.random.default_rng(1).integers(1, 4, len(y))
    return frame(spark, X, y, weight)


@pytest.fixture(scope="module")
def three(spark: SparkSession) -> DataFrame:
    X, _, y = draw()
    return frame(spark, X, y)


def matrix(*rows: list[float]) -> DenseMatrix:
    values = np.array(rows)
    return Matrices.dense(*values.shape, values.ravel(order="F").tolist())


BOX: dict[str, Any] = {
    "lowerBoundsOnCoefficients": matrix([0.0, -INF, 0.5, -0.1]),
    "upperBoundsOnCoefficients": matrix([0.5, -0.1, 1.0, 0.1]),
}
POSITIVE: dict[str, Any] = {"lowerBoundsOnCoefficients": matrix([0.0] * 4)}
INTERCEPT: dict[str, Any] = {
    "lowerBoundsOnIntercepts": Vectors.dense([-0.2]),
    "upperBoundsOnIntercepts": Vectors.dense([0.2]),
}
CLASSES: dict[str, Any] = {"lowerBoundsOnCoefficients": matrix(*[[0.0] * 4] * 3)}
CLASS_INTERCEPTS: dict[str, Any] = {
    "lowerBoundsOnIntercepts": Vectors.dense([0.0, 0.0, 0.0]),
    "upperBoundsOnIntercepts": Vectors.dense([1.0, 1.0, 1.0]),
}

slow = partial(pytest.param, marks=pytest.mark.slow)
CASES = [
    ("binary", BOX, {"regParam": 0.0}),
    ("binary", BOX, {"regParam": 0.1, "standardization": False}),
    slow("binary", POSITIVE, {"regParam": 0.0, "fitIntercept": False, "weightCol": "weight"}),
    ("binary", POSITIVE | INTERCEPT, {"regParam": 0.1, "weightCol": "weight"}),
    slow("binary", INTERCEPT, {"regParam": 0.0, "standardization": False}),
    ("three", CLASSES, {"regParam": 0.1}),
    slow("three", CLASSES, {"regParam": 0.1, "fitIntercept": False, "standardization": False}),
    slow("three", CLASSES | CLASS_INTERCEPTS, {"regParam": 0.1}),
    slow("three", CLASSES, {"regParam": 0.0}),
]


def assert_within(model: Any, bounds: dict[str, Any]) -> None:
    """All numbers of a model are within the bounds, exactly."""
    found = {"Coefficients": model.coefficientMatrix, "Intercepts": model.interceptVector}
    for name, bound in bounds.items():
        values = found[name.split("BoundsOn")[1]].toArray()
        ends = bound.toArray()
        assert (values >= ends if name.startswith("lower") else values <= ends).all(), name


@pytest.mark.parametrize(("rows", "bounds", "params"), CASES)
def test_models_are_mllibs_or_better(
    request: pytest.FixtureRequest, rows: str, bounds: dict[str, Any], params: dict[str, Any]
) -> None:
    data: DataFrame = request.getfixturevalue(rows)
    reference = MLlibLogisticRegression(**bounds, **params, **EXACT).fit(data.coalesce(1))
    model = LogisticRegression(**bounds, **params, **EXACT).fit(data)
    assert_within(model, bounds)
    least = reference.summary.objectiveHistory[-1]
    assert model.summary.objective <= least * (1.0 + 1e-9)
    assert model.summary.objective == pytest.approx(least, rel=1e-6)
    if params["regParam"] > 0.0 or rows == "binary":  # else they are not determined
        np.testing.assert_allclose(numbers(model), numbers(reference), rtol=0, atol=5e-4)
    free = LogisticRegression(**params).fit(data)
    assert np.abs(numbers(free) - numbers(model)).max() > 0.05  # the bounds do bind
    assert model.summary.solver == "l-bfgs-b"
    assert model.summary.solver_reason == "auto: coefficients have bounds"
    assert model.summary.reason.converged


def test_distributed_fits_are_local_ones(binary: DataFrame) -> None:
    local, distributed = (
        LogisticRegression(**BOX, **INTERCEPT, tol=1e-8, execution=execution).fit(binary)
        for execution in ("local", "distributed")
    )
    assert distributed.summary.execution == "distributed"
    np.testing.assert_allclose(numbers(distributed), numbers(local), atol=1e-6)
    assert_within(distributed, BOX | INTERCEPT)


def test_infinite_bounds_are_none(binary: DataFrame) -> None:
    nothing = {
        "lowerBoundsOnCoefficients": matrix([-INF] * 4),
        "upperBoundsOnIntercepts": Vectors.dense([INF]),
    }
    free = LogisticRegression(regParam=0.1, **EXACT).fit(binary)
    model = LogisticRegression(regParam=0.1, solver="l-bfgs", **nothing, **EXACT).fit(binary)
    np.testing.assert_allclose(numbers(model), numbers(free), atol=1e-5)
    assert model.summary.solver_reason == "solver='l-bfgs': coefficients have bounds"


def test_bounds_may_fix_coefficients(binary: DataFrame) -> None:
    fixed = [0.3, -0.1, 0.7, 0.0]
    bounds = {
        "lowerBoundsOnCoefficients": matrix(fixed),
        "upperBoundsOnCoefficients": matrix(fixed),
    }
    model = LogisticRegression(**bounds, **EXACT).fit(binary)
    np.testing.assert_array_equal(model.coefficients.toArray(), fixed)
    # the intercept is where the mean probability is the share of class 1
    X, y, _ = draw()
    probability = 1.0 / (1.0 + np.exp(-(X @ fixed + model.intercept)))
    assert probability.mean() == pytest.approx(y.mean(), abs=1e-6)


def test_param_maps_with_different_bounds_share_their_passes(binary: DataFrame) -> None:
    estimator = LogisticRegression(regParam=0.01, tol=1e-8)
    lower, solver = estimator.lowerBoundsOnCoefficients, estimator.solver
    maps: list[dict[Any, Any]] = [
        {lower: matrix([0.0] * 4)},
        {lower: matrix([-0.2] * 4), estimator.lowerBoundsOnIntercepts: Vectors.dense([0.1])},
        {lower: SparseMatrix(1, 4, [0, 0, 0, 0, 0], [], []), estimator.fitIntercept: False},
        {},
        {solver: "accelerated"},
    ]
    together = dict(estimator.fitMultiple(binary, maps))
    for number, extra in enumerate(maps):
        alone = estimator.copy(extra).fit(binary)
        np.testing.assert_allclose(numbers(together[number]), numbers(alone), atol=1e-5)
        assert together[number].summary.solver == alone.summary.solver
    assert "shared their passes" in together[0].summary.notes[-1]
    assert [together[k].summary.solver for k in range(4)] == ["l-bfgs-b"] * 3 + ["l-bfgs"]
    assert not estimator.isSet(lower)
    assert together[1].getLowerBoundsOnIntercepts() == Vectors.dense([0.1])


def test_classes_of_one_vs_rest_have_the_bounds(three: DataFrame) -> None:
    model = OneVsRest(classifier=LogisticRegression(**POSITIVE, regParam=0.1)).fit(three)
    assert len(model.models) == 3
    for one in model.models:
        assert_within(one, POSITIVE)
        assert one.summary.solver == "l-bfgs-b"


def test_one_class_is_fitted_within_the_bounds(spark: SparkSession) -> None:
    X, y, _ = draw()
    rows = frame(spark, X, np.ones_like(y))
    model = LogisticRegression(**BOX, **INTERCEPT, **EXACT).fit(rows)
    assert_within(model, BOX | INTERCEPT)
    assert model.intercept == 0.2  # all speaks for the largest
    free = LogisticRegression(**BOX, regParam=0.1).fit(rows)
    assert_within(free, BOX)
    assert free.intercept > 20.0


# ---------------------------------------------------- what cannot be


def test_case_28_values_that_are_no_bounds(spark: SparkSession) -> None:
    estimator = LogisticRegression()
    wrong: list[tuple[str, Any]] = [
        ("lowerBoundsOnCoefficients", matrix([0.0, float("nan")])),
        ("lowerBoundsOnCoefficients", matrix([0.0, INF])),
        ("upperBoundsOnCoefficients", matrix([0.0, -INF])),
        ("lowerBoundsOnIntercepts", Vectors.dense([float("nan")])),
        ("upperBoundsOnIntercepts", Vectors.dense([-INF])),
    ]
    for name, value in wrong:
        with pytest.raises(ParamError, match=f"{name}=.*expected a (matrix|vector) of numbers"):
            estimator.setParams(**{name: value})
        assert not estimator.isSet(name)
    with pytest.raises(TypeError, match="lowerBoundsOnCoefficients"):
        estimator.setParams(lowerBoundsOnCoefficients=[0.0, 1.0])


UNFIT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "columns": (
        {"lowerBoundsOnCoefficients": matrix([0.0] * 3)},
        ["lowerBoundsOnCoefficients", "(1, 3)", "expected (1, 4)", "a column for each feature"],
    ),
    "rows": (
        {"upperBoundsOnCoefficients": matrix([0.0] * 4, [0.0] * 4)},
        ["upperBoundsOnCoefficients", "(2, 4)", "expected (1, 4)", "one row"],
    ),
    "classes": (
        {"lowerBoundsOnCoefficients": matrix([0.0] * 4), "family": "multinomial"},
        ["(1, 4)", "expected (2, 4)", "a row for each class"],
    ),
    "intercepts": (
        {"lowerBoundsOnIntercepts": Vectors.dense([0.0, 0.0])},
        ["lowerBoundsOnIntercepts", "(2,)", "expected (1,)", "1 intercepts"],
    ),
    "sides": (
        {
            "lowerBoundsOnCoefficients": matrix([0.0] * 4),
            "upperBoundsOnCoefficients": matrix([0.0] * 3),
        },
        ["(1, 4)", "(1, 3)", "expected the same"],
    ),
    "order": (
        {
            "lowerBoundsOnCoefficients": matrix([0.0, 0.5, 0.0, 2.0]),
            "upperBoundsOnCoefficients": matrix([1.0, 0.25, 1.0, 1.0]),
        },
        ["2 lower bounds", "0.5 > 0.25 at (0, 1)", "expected lower <= upper"],
    ),
    "no intercept": (
        {**INTERCEPT, "fitIntercept": False},
        ["lowerBoundsOnIntercepts, upperBoundsOnIntercepts", "fitIntercept=False"],
    ),
    "l1": (
        {**POSITIVE, "regParam": 0.1, "elasticNetParam": 0.5},
        ["lowerBoundsOnCoefficients", "regParam=0.1", "elasticNetParam=0.5", "L2 penalty alone"],
    ),
    "solver": ({**POSITIVE, "solver": "sgd"}, ["lowerBoundsOn", "solver='sgd'", "solver='auto'"]),
}


@pytest.mark.parametrize("case", UNFIT)
def test_bounds_that_do_not_fit_are_refused(
    spark: SparkSession, binary: DataFrame, case: str
) -> None:
    params, parts = UNFIT[case]
    with refused(spark, "LogisticRegression", *parts):
        LogisticRegression(**params).fit(binary)


def test_bounds_of_a_constant_column_allow_0(spark: SparkSession) -> None:
    X, y, _ = draw()
    X[:, 2] = 7.0
    rows = frame(spark, X, y)
    with refused(spark, "feature 2", "same value", "from 0.5 to 1"):
        LogisticRegression(**BOX).fit(rows)
    assert LogisticRegression(**POSITIVE).fit(rows).coefficients[2] == 0.0


# ---------------------------------------------------- saved and loaded


def test_bounds_are_saved_and_loaded(binary: DataFrame, tmp_path: Path) -> None:
    estimator = LogisticRegression(**BOX, **INTERCEPT, regParam=0.1)
    estimator.save(str(tmp_path / "estimator"))
    again = LogisticRegression.load(str(tmp_path / "estimator"))
    model = estimator.fit(binary)
    model.save(str(tmp_path / "model"))
    loaded = LogisticRegressionModel.load(str(tmp_path / "model"))
    for name, value in (BOX | INTERCEPT).items():
        for owner in (again, model, loaded):
            assert type(owner.getOrDefault(name)) is type(value)
            np.testing.assert_array_equal(owner.getOrDefault(name).toArray(), value.toArray())
    np.testing.assert_array_equal(numbers(again.fit(binary)), numbers(model))
    np.testing.assert_array_equal(numbers(loaded), numbers(model))


DAMAGED: list[dict[str, Any]] = [
    {"shape": [1, 4], "values": [0.0] * 3},
    {"shape": [2], "values": [0.0] * 2, "more": 1},
    {"shape": [1, 2, 2], "values": [0.0] * 4},
    {"shape": [-1, -4], "values": [0.0] * 4},
    {"shape": [1, 4], "values": ["0", "0", "0", "0"]},
    {"shape": [True, 4], "values": [0.0] * 4},
    {"shape": "1", "values": [0.0]},
    {"values": [0.0]},
    {},
]


def test_damaged_bounds_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "estimator"
    LogisticRegression(**POSITIVE).save(str(path))
    [part] = (path / "metadata").glob("part-*")
    metadata = json.loads(part.read_text())
    assert metadata["paramMap"]["lowerBoundsOnCoefficients"] == {
        "shape": [1, 4],
        "values": [0.0] * 4,
    }
    (part.parent / f".{part.name}.crc").unlink(missing_ok=True)
    for damage in DAMAGED:
        with pytest.raises(PersistenceError, match="expected a vector or a matrix"):
            from_json(damage)
    metadata["paramMap"]["lowerBoundsOnCoefficients"] = DAMAGED[0]
    del metadata["checksum"]
    metadata["checksum"] = checksum(metadata)
    part.write_text(json.dumps(metadata))
    with pytest.raises(PersistenceError, match=r"the shape \[1, 4\] and 3 values"):
        LogisticRegression.load(str(path))
