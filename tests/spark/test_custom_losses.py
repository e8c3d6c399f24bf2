"""Users' losses in fits: beside scikit-learn, on executors, in saved folders and grids."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.ml.classification as mllib
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import SparkSession
from scipy.special import expit
from sklearn.linear_model import PoissonRegressor, QuantileRegressor

from sparkml_lsml import losses
from sparkml_lsml.classification import (
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    OneVsRest,
)
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.errors import ParamError, PersistenceError
from sparkml_lsml.losses.registry import find
from sparkml_lsml.regression import LinearRegression, LinearRegressionModel
from sparkml_lsml.spark.folders.fingerprint import Fingerprint
from sparkml_lsml.spark.training.fingerprints import facts_of
from sparkml_lsml.spark.training.member import Member
from sparkml_lsml.spark.training.problem import Problem
from sparkml_lsml.tuning import CrossValidator
from tests.spark.helpers import binary_rows, frame, nothing_left, numbers, refused

Array = npt.NDArray[np.float64]

RNG = np.random.default_rng(4)
X = RNG.normal(size=(240, 3)) * [1.0, 8.0, 0.1] + [0.0, 5.0, 1.0]
NOISY = X @ [1.0, 0.2, -3.0] + RNG.standard_t(3, size=240) * (1.0 + np.abs(X[:, 0]))
COUNTS = RNG.poisson(np.exp(0.3 * X[:, 0] + 0.1 * X[:, 1] + X[:, 2] - 1.0)).astype(float)
WEIGHTS = RNG.integers(1, 4, size=240).astype(float)


class Pinball:
    """A class as a user writes it; in the module of a test, which executors need not have."""

    smooth = False

    def __init__(self, quantile: float) -> None:
        self.name, self.quantile = f"pinball-{quantile}", quantile

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        error = y[:, None, None] - raw
        slope = np.where(error > 0.0, -self.quantile, 1.0 - self.quantile)
        return (-slope * error)[:, :, 0], slope


class SoftPinball(Pinball):
    """The same with smooth losses that approach it: with a parabola at its kink."""

    def smoothed(self, width: Array) -> Any:
        return Softened(self.quantile, width)


class Softened:
    def __init__(self, quantile: float, width: Array) -> None:
        self.quantile, self.width = quantile, width

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        past = raw[:, :, 0] - y[:, None]
        width = np.maximum(self.width, 1e-300)
        share = np.clip(past / width + 0.5, 0.0, 1.0)
        value = -self.quantile * past + share * (past + 0.5 * self.width * (1.0 - share))
        return value, (share - self.quantile)[:, :, None]


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    losses.loss(
        "quantile-0.9",
        value=lambda y, f: np.maximum(0.9 * (y - f), 0.1 * (f - y)),
        derivative=lambda y, f: np.where(f < y, -0.9, 0.1),
        smooth=False,
        kinks=lambda y: y,
    )
    losses.loss(
        "poisson",
        value=lambda y, f: np.exp(f) - y * f,
        derivative=lambda y, f: np.exp(f) - y,
    )
    losses.loss(
        "log-likelihood",
        value=lambda y, f: np.logaddexp(0.0, (1.0 - 2.0 * y) * f),
        derivative=lambda y, f: expit(f) - y,
        curvature=0.25,
    )
    losses.register(Pinball(0.25))
    losses.register(SoftPinball(0.75))
    yield
    for name in losses.registered():
        losses.unregister(name)


def pinball_objective(quantile: float, y: Array, alpha: float, w: Any, b: float) -> float:
    error = y - X @ np.asarray(w) - b
    mean = np.maximum(quantile * error, (quantile - 1.0) * error).mean()
    return float(mean + alpha * np.abs(w).sum())


@pytest.mark.parametrize(
    ("name", "quantile", "scale", "shift", "alpha", "execution"),
    [
        ("quantile-0.9", 0.9, 1.0, 0.0, 0.0, "distributed"),
        ("quantile-0.9", 0.9, 1e5, 1e6, 0.01, "local"),
        ("pinball-0.75", 0.75, 1e-4, 0.0, 0.01, "local"),
    ],
    ids=["functions", "large labels and lasso", "class, small labels and lasso"],
)
def test_quantiles_are_those_of_scikit_learn(
    spark: SparkSession,
    name: str,
    quantile: float,
    scale: float,
    shift: float,
    alpha: float,
    execution: str,
) -> None:
    y = NOISY * scale + shift
    theirs = QuantileRegressor(quantile=quantile, alpha=alpha, solver="highs").fit(X, y)
    estimator = LinearRegression(
        loss=name,
        regParam=alpha,
        elasticNetParam=1.0,
        standardization=False,
        tol=1e-8,
        maxIter=2_000,
        execution=execution,
    )
    with nothing_left(spark):
        model = estimator.fit(frame(spark, X, y))
    assert model.summary.solver == "smoothed-l-bfgs"
    assert model.summary.execution == execution
    best = pinball_objective(quantile, y, alpha, theirs.coef_, theirs.intercept_)
    found = pinball_objective(quantile, y, alpha, model.coefficients.toArray(), model.intercept)
    # theirs is the exact minimum, of a linear programme
    assert best * (1.0 - 1e-9) <= found <= best * (1.0 + 1e-5)
    assert model.summary.objective == pytest.approx(found, rel=1e-6)


def test_counts_are_predicted_as_by_scikit_learn(spark: SparkSession) -> None:
    theirs = PoissonRegressor(alpha=0.1, tol=1e-12, max_iter=5_000)
    theirs.fit(X, COUNTS, sample_weight=WEIGHTS)
    rows = frame(spark, X, COUNTS, weight=WEIGHTS)
    model = LinearRegression(
        loss="poisson",
        regParam=0.1,
        standardization=False,
        weightCol="weight",
        tol=1e-12,
        execution="distributed",
    ).fit(rows)
    assert model.summary.solver == "l-bfgs"
    np.testing.assert_allclose(model.coefficients, theirs.coef_, rtol=1e-4, atol=1e-6)
    assert model.intercept == pytest.approx(theirs.intercept_, rel=1e-4)
    # the prediction is the linear one, the logarithm of the mean
    found = [row.prediction for row in model.transform(rows).select("prediction").collect()]
    np.testing.assert_allclose(np.exp(found), theirs.predict(X), rtol=1e-4)


@pytest.mark.parametrize(
    ("share", "solver", "execution"),
    [(0.0, "auto", "distributed"), (0.5, "auto", "local"), (0.5, "accelerated", "local")],
)
def test_a_logistic_loss_of_the_users_is_ours_and_mllibs(
    spark: SparkSession, share: float, solver: str, execution: str
) -> None:
    features, y = binary_rows(120)
    rows = frame(spark, features, y, weight=WEIGHTS[:120])
    settings = {"regParam": 0.05, "elasticNetParam": share, "tol": 1e-12, "weightCol": "weight"}
    users = LinearSVC(
        loss="log-likelihood", solver=solver, maxIter=2_000, execution=execution, **settings
    ).fit(rows)
    ours = LogisticRegression(maxIter=2_000, **settings).fit(rows)
    theirs = mllib.LogisticRegression(maxIter=2_000, **settings).fit(rows)
    np.testing.assert_allclose(numbers(users), numbers(ours), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(numbers(users), numbers(theirs), rtol=1e-4, atol=1e-5)


LOCAL_MODULE = """
import numpy as np
{more}
POWER = 2.0

def half(values):
    return 0.5 * values

class Squares:
    name, smooth, curvature = "squares", True, 1.0

    def value_and_derivative(self, y, raw):
        error = raw - y[:, None, None]
        return half(np.abs(error) ** POWER)[:, :, 0], {factor}error
"""


def module(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, more: str = "", factor: str = ""
) -> Any:
    """Write a module that only the driver can import, and import it."""
    (folder / f"{name}.py").write_text(LOCAL_MODULE.format(more=more, factor=factor))
    monkeypatch.syspath_prepend(str(folder))
    __import__(name)
    return sys.modules[name]


def test_executors_need_not_have_the_module_of_a_loss(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    losses.register(module(monkeypatch, tmp_path, "driver_only").Squares())
    rows = frame(spark, X, NOISY)
    settings = {"solver": "l-bfgs", "tol": 1e-12}
    users = LinearRegression(loss="squares", execution="distributed", **settings).fit(rows)
    ours = LinearRegression(**settings).fit(rows)
    np.testing.assert_allclose(numbers(users), numbers(ours), rtol=1e-6)


def test_a_module_that_executors_lack_is_named(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "driver_helper.py").write_text("ONE = 1.0\n")
    found = module(
        monkeypatch, tmp_path, "driver_other", "import driver_helper", "driver_helper.ONE * "
    )
    losses.register(found.Squares())
    rows = frame(spark, X, NOISY)
    with refused(spark, "loss 'squares' needs a module", "'driver_helper'", "addPyFile"):
        LinearRegression(loss="squares", execution="distributed").fit(rows)


def test_what_is_wrong_with_a_loss_is_told_before_the_first_pass(spark: SparkSession) -> None:
    losses.loss("wrong", value=lambda y, f: (f - y) ** 2, derivative=lambda y, f: f - y)
    with refused(spark, "loss 'wrong': the derivative for label", "central difference"):
        LinearRegression(loss="wrong", execution="distributed").fit(frame(spark, X, NOISY))
    losses.loss(
        "gamma",
        value=lambda y, f: y * np.exp(-f) + f - np.log(y),
        derivative=lambda y, f: 1.0 - y * np.exp(-f),
    )
    bad = int((COUNTS == 0.0).sum())
    assert bad > 0
    with refused(
        spark, "loss 'gamma'", f"not finite for the prediction 0 in {bad} rows", "label 0"
    ):
        LinearRegression(loss="gamma", execution="distributed").fit(frame(spark, X, COUNTS))


def test_solvers_of_a_loss_whose_kinks_are_not_known(spark: SparkSession) -> None:
    rows = frame(spark, X, NOISY)
    with refused(spark, "loss 'pinball-0.25' has kinks", "kinks=...", "solver='sgd'"):
        LinearRegression(loss="pinball-0.25").fit(rows)
    with refused(spark, "'pinball-0.25'", "continuous derivative"):
        LinearRegression(loss="pinball-0.25", solver="accelerated").fit(rows)
    with refused(spark, "loss='poisson' takes an iterative solver"):
        LinearRegression(loss="poisson", solver="normal").fit(rows)
    with refused(spark, "solver 'cocoa' takes the losses", "'log-likelihood'"):
        LinearSVC(loss="log-likelihood", solver="cocoa", regParam=0.1).fit(
            frame(spark, *binary_rows())
        )
    model = LinearRegression(loss="pinball-0.25", solver="sgd", execution="distributed").fit(rows)
    best = QuantileRegressor(quantile=0.25, alpha=0.0, solver="highs").fit(X, NOISY)
    found, least = (
        pinball_objective(0.25, NOISY, 0.0, w, b)
        for w, b in (
            (model.coefficients.toArray(), model.intercept),
            (best.coef_, best.intercept_),
        )
    )
    assert found < 1.02 * least


def test_unknown_names_are_refused_when_they_are_set() -> None:
    for cls in (LinearSVC, LinearRegression):
        with pytest.raises(ParamError, match=r"registered with sparkml_lsml.losses.register"):
            cls(loss="no such loss")
    estimator = LinearRegression(loss="poisson")
    losses.unregister("poisson")
    with pytest.raises(ParamError, match="loss='poisson'"):
        estimator._normalise()


def test_a_loss_is_saved_by_its_name(spark: SparkSession, tmp_path: Path) -> None:
    features, y = binary_rows()
    rows = frame(spark, features, y)
    svc = LinearSVC(loss="log-likelihood", regParam=0.1)
    model, pipeline = svc.fit(rows), Pipeline(stages=[svc]).fit(rows)
    for name, saved in (("svc", svc), ("model", model), ("pipeline", pipeline)):
        saved.save(str(tmp_path / name))
    LinearRegression(loss="poisson").fit(frame(spark, X, COUNTS)).save(str(tmp_path / "counts"))
    again = LinearSVCModel.load(str(tmp_path / "model"))
    assert again.getLoss() == "log-likelihood"
    np.testing.assert_array_equal(numbers(again), numbers(model))
    loss = find("log-likelihood", {})
    for name in losses.registered():
        losses.unregister(name)
    for cls, name, told in (
        (LinearSVC, "svc", "log-likelihood"),
        (LinearSVCModel, "model", "log-likelihood"),
        (PipelineModel, "pipeline", "log-likelihood"),
        (LinearRegressionModel, "counts", "poisson"),
    ):
        with pytest.raises(PersistenceError, match=f"the loss '{told}', which is not known here"):
            cls.load(str(tmp_path / name))
    losses.register(loss.inner)  # type: ignore[attr-defined]
    assert PipelineModel.load(str(tmp_path / "pipeline")).stages[0].getLoss() == "log-likelihood"


def test_grids_of_losses(spark: SparkSession) -> None:
    rows = frame(spark, X, NOISY)
    regression = LinearRegression(regParam=0.01, solver="l-bfgs")
    names = ["squaredError", "quantile-0.9", "huber"]
    grid = ParamGridBuilder().addGrid(regression.loss, names).build()
    models = dict(regression.fitMultiple(rows, grid))
    for number, name in enumerate(names):
        alone = regression.copy({regression.loss: name}).fit(rows)
        np.testing.assert_allclose(numbers(models[number]), numbers(alone), rtol=1e-6)
    search = CrossValidator(
        estimator=regression,
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(metricName="mae"),
        numFolds=2,
        seed=5,
    ).fit(rows)
    assert len(search.avgMetrics) == 3
    assert search.avgMetrics[1] > max(search.avgMetrics[0], search.avgMetrics[2])


def test_one_vs_rest_of_a_loss_that_is_no_function_of_the_margin(spark: SparkSession) -> None:
    # false alarms cost twice what misses do: with labels turned it is another loss
    losses.loss(
        "lopsided",
        value=lambda y, f: np.where(y > 0, np.logaddexp(0.0, -f), 2.0 * np.logaddexp(0.0, f)),
        derivative=lambda y, f: np.where(y > 0, -expit(-f), 2.0 * expit(f)),
    )
    y = np.digitize(NOISY, [-1.0, 2.0]).astype(float)
    svc = LinearSVC(loss="lopsided", regParam=0.1, tol=1e-10)
    models = OneVsRest(classifier=svc).fit(frame(spark, X, y)).models
    for number, model in enumerate(models):
        one = (y == number).astype(float)
        # the same weights by a column, for a loss that is MLlib's
        theirs = mllib.LogisticRegression(regParam=0.1, weightCol="weight", tol=1e-12).fit(
            frame(spark, X, one, weight=2.0 - one)
        )
        expected = svc.fit(frame(spark, X, one))
        np.testing.assert_allclose(numbers(model), numbers(expected), rtol=1e-9)
        raw = numbers(model)[:-1] @ numbers(theirs)[:-1]
        assert raw > 0.0  # the penalty weighs differently, the direction is alike


def test_a_checkpoint_knows_losses_of_one_name_apart() -> None:
    regression, told = LinearRegression(loss="poisson"), []
    for factor in (1.0, 2.0):
        losses.loss(
            "poisson",
            value=lambda y, f, c=factor: c * (np.exp(f) - y * f),
            derivative=lambda y, f, c=factor: c * (np.exp(f) - y),
        )
        problem = Problem(find("poisson", {}), 1, 0.0, 0.0, "l-bfgs", "", lambda fit: fit)
        told.append(Fingerprint.of(facts_of(Member(regression, problem, Report())), {}))
    assert told[0].digest != told[1].digest
