"""`DensePredictor` against textbook sums, differences of its values, and scikit-learn."""

from __future__ import annotations

import math
import pickle
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import value_and_gradient
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.predictors import DensePredictor, Standardization
from sparkml_lsml.engine.predictors.activations import ACTIVATIONS
from sparkml_lsml.engine.predictors.initialise import start
from sparkml_lsml.engine.solvers import LBFGS, minimize
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import Hinge, Huber, Logistic, Loss, Multinomial, Squared, SquaredHinge
from sparkml_lsml.losses.custom import CustomLoss, FunctionLoss
from tests.checks.dense import TEXTBOOK, explicit_raw, network

Array = npt.NDArray[np.float64]

ROWS, FEATURES = 30, 4
RNG = np.random.default_rng(11)
X = RNG.normal(size=(ROWS, FEATURES)) * (RNG.random((ROWS, FEATURES)) < 0.7)
WEIGHT = np.where(np.arange(ROWS) % 5 == 0, 0.0, RNG.uniform(0.5, 2.0, ROWS))
HIDDEN = {"no": (), "one": (5,), "three": (4, 3, 4)}

LOG_COSH = CustomLoss(
    FunctionLoss(
        "log-cosh",
        lambda y, raw: np.log(np.cosh(raw - y)),
        lambda y, raw: np.tanh(raw - y),
        True,
        1.0,
    ),
    "log-cosh",
    True,
    1.0,
)
LOSSES: dict[str, tuple[Loss, int]] = {
    "multinomial": (Multinomial(), 3),
    "logistic": (Logistic(), 1),
    "squared": (Squared(), 1),
    "huber": (Huber(), 1),
    "hinge": (Hinge(), 1),
    "squaredHinge": (SquaredHinge(), 1),
    "custom": (LOG_COSH, 1),
}


def labels(name: str) -> Array:
    if name in ("squared", "huber", "custom"):
        return RNG.normal(size=ROWS)
    return RNG.integers(3 if name == "multinomial" else 2, size=ROWS).astype(float)


def coefficients(predictor: DensePredictor, seed: int = 3) -> Array:
    """Random ones, the biases among them."""
    shift = np.random.default_rng(seed).uniform(-0.2, 0.2, predictor.layout.size)
    return start(predictor, seed) + shift


def differences(value: Callable[[Array], Array], coef: Array, step: float = 1e-5) -> Array:
    """Central differences in each coefficient, of values of shape (models,)."""
    moves = step * np.eye(len(coef))
    ends = [value(coef + sign * moves) for sign in (1.0, -1.0)]
    found: Array = (ends[0] - ends[1]) / (2.0 * step)
    return found


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("activation", "hidden"),
    [("relu", "no"), *((name, h) for name in ACTIVATIONS for h in ("one", "three"))],
)
def test_gradients_are_central_differences(
    activation: str, hidden: str, name: str, weighted: bool
) -> None:
    """Of every activation with every kind of loss, a user's own among them."""
    loss, outputs = LOSSES[name]
    sizes = (FEATURES, *HIDDEN[hidden], outputs)
    predictor = network(sizes, activation, constants=len(loss.constants))
    y, weight = labels(name), WEIGHT if weighted else None
    coef = coefficients(predictor)

    def value(coefs: Array) -> Array:
        return value_and_gradient(Block(X, y, weight), loss, predictor, coefs)[0]

    slopes = differences(value, coef)
    for rows in (X, as_csr(X)):
        _, [gradient], _ = value_and_gradient(
            Block(rows, y, weight), loss, predictor, coef[None, :]
        )
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6 * np.abs(slopes).max())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_raw_predictions_are_the_sums_of_a_textbook(activation: str, hidden: str) -> None:
    predictor = network((FEATURES, *HIDDEN[hidden], 2), activation)
    coefs = np.stack([coefficients(predictor, seed) for seed in (1, 2)])
    for rows in (X, sparse.csr_array(X)):
        raw = predictor.raw(rows, coefs)
        for k, coef in enumerate(coefs):
            expected = explicit_raw(predictor, X, coef)
            np.testing.assert_allclose(raw[:, k], expected, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(predictor.scoring(coef)(rows), expected, atol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "identity"])
@pytest.mark.parametrize("kind", ["classes", "binary", "real"])
def test_value_and_gradient_are_those_of_scikit_learn(activation: str, kind: str) -> None:
    """At the same weights; its rows are divided by the sum of their weights, as ours are."""
    loss: Loss = {"classes": Multinomial(), "binary": Logistic(), "real": Squared()}[kind]
    y = labels({"classes": "multinomial", "binary": "logistic", "real": "squared"}[kind])
    hidden = (5, 3)
    cls = MLPRegressor if kind == "real" else MLPClassifier
    named = {"sigmoid": "logistic"}.get(activation, activation)
    model = cls(
        hidden_layer_sizes=hidden,
        activation=named,
        solver="lbfgs",
        alpha=0.0,
        max_iter=1,
        random_state=4,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    target = np.eye(3)[y.astype(int)] if kind == "classes" else y[:, None]
    empty: list[Any] = [None] * (len(hidden) + 1)
    value, coef_slopes, intercept_slopes = model._backprop(
        X, target, WEIGHT, [X, *empty], [*empty], [*empty], [*empty]
    )
    predictor = network((FEATURES, *hidden, target.shape[1]), activation)
    parts = zip(model.coefs_, model.intercepts_, strict=True)
    coef = np.concatenate([part for W, b in parts for part in (W.T.ravel(), b)])
    slopes = zip(coef_slopes, intercept_slopes, strict=True)
    expected = np.concatenate([part for W, b in slopes for part in (W.T.ravel(), b)])
    block = Block(X, y, WEIGHT)
    [found], [gradient], [weight] = value_and_gradient(block, loss, predictor, coef[None, :])
    assert found / weight == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(gradient / weight, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_are_those_of_a_textbook(name: str, dtype: Any) -> None:
    activation = ACTIVATIONS[name]
    z = np.array([-30.0, -2.0, -0.5, 0.3, 1.0, 4.0, 30.0], dtype=dtype)
    a = activation.function(z)
    slopes = activation.derivative(z, a)
    assert a.dtype == dtype
    rounding = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(a, [TEXTBOOK[name](float(x)) for x in z], rounding, rounding)
    steps = [(TEXTBOOK[name](x + 1e-6) - TEXTBOOK[name](x - 1e-6)) / 2e-6 for x in z.tolist()]
    np.testing.assert_allclose(slopes.astype(float), steps, rtol=1e-6, atol=2e-9 + rounding)


def test_gelu_is_the_exact_one() -> None:
    """z times the distribution function of a normal variable; tanh's form is 2e-4 off at 2."""
    normal = statistics.NormalDist()
    z = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    gelu = ACTIVATIONS["gelu"]
    value = gelu.function(z)
    np.testing.assert_allclose(value, [x * normal.cdf(x) for x in z], rtol=1e-13)
    slopes = [normal.cdf(x) + x * normal.pdf(x) for x in z]
    np.testing.assert_allclose(gelu.derivative(z, value), slopes, rtol=1e-13)


# -------------------------------------------------------------------- dropout


def test_dropout_leaves_the_expectation_as_it_is() -> None:
    """Of a network that is linear behind the units; 40,000 draws of a row."""
    predictor = network((2, 6, 1), "relu", dropout=0.3)
    coef = coefficients(predictor)
    rows = np.tile([[0.5, -1.0]], (40_000, 1))
    raw, _ = predictor.raw_and_pullback(rows, coef[None, :], np.random.default_rng(0))
    whole = predictor.raw(rows[:1], coef[None, :])[0, 0, 0]
    spread = raw.std() / math.sqrt(len(rows))
    assert spread > 0.0
    assert abs(raw.mean() - whole) < 4.0 * spread


def test_dropout_drops_its_share_and_is_repeated_by_the_same_generator() -> None:
    predictor = network((1, 1_000, 1), "identity", dropout=0.25)
    maps = predictor.maps(coef := np.zeros(predictor.layout.size))
    maps[0].W[:], maps[1].W[:] = 1.0, 1.0
    row = np.ones((1, 1))
    first, again = (
        predictor.raw_and_pullback(row, coef[None, :], np.random.default_rng(5))[0]
        for _ in range(2)
    )
    assert first.tobytes() == again.tobytes()
    # so many units are left of 1,000, each counts for 4/3: five deviations are 0.068
    assert first[0, 0, 0] * 0.75 / 1_000.0 == pytest.approx(0.75, abs=0.07)
    assert first[0, 0, 0] != 1_000.0


def test_predictions_and_gradients_of_passes_take_all_units() -> None:
    dropped = network((FEATURES, 5, 1), dropout=0.5)
    plain = network((FEATURES, 5, 1))
    coef = coefficients(plain)[None, :]
    expected = plain.raw(X, coef)
    np.testing.assert_array_equal(dropped.raw(X, coef), expected)
    np.testing.assert_array_equal(dropped.raw_and_pullback(X, coef)[0], expected)
    np.testing.assert_array_equal(dropped.scoring(coef[0])(X), expected[:, 0])
    block = Block(X, labels("logistic"))
    for one, other in zip(
        value_and_gradient(block, Logistic(), dropped, coef),
        value_and_gradient(block, Logistic(), plain, coef),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_with_dropout_the_pullback_is_of_the_units_that_were_drawn(activation: str) -> None:
    predictor = network((FEATURES, 6, 5, 2), activation, dropout=0.4)
    coef = coefficients(predictor)
    share = np.random.default_rng(1).normal(size=(ROWS, 1, 2))

    def value(coefs: Array) -> Array:
        each = [
            predictor.raw_and_pullback(X, one[None, :], np.random.default_rng(9))[0]
            for one in coefs
        ]
        return np.array([float((share * raw).sum()) for raw in each])

    gradient = np.zeros((1, predictor.layout.size))
    _, pull = predictor.raw_and_pullback(X, coef[None, :], np.random.default_rng(9))
    pull(share, gradient)
    slopes = differences(value, coef)
    np.testing.assert_allclose(gradient[0], slopes, rtol=1e-6, atol=1e-6 * np.abs(slopes).max())


# ------------------------------------------------------- single precision, bad numbers


def test_single_precision_is_near_double_in_values_and_gradients() -> None:
    single, double = (
        network((FEATURES, 5, 3), "relu", precision=precision)
        for precision in ("float32", "float64")
    )
    coef = coefficients(double)[None, :]
    assert single.dtype == np.float32
    for rows in (X, as_csr(X)):
        block = Block(rows, labels("multinomial"))
        found = value_and_gradient(block, Multinomial(), single, coef)
        exact = value_and_gradient(block, Multinomial(), double, coef)
        assert found[1].dtype == np.float64
        assert found[0][0] != exact[0][0]
        for one, other in zip(found, exact, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("large", [1e30, 1e300])
def test_features_beyond_single_precision_show_in_the_value(activation: str, large: float) -> None:
    """No warning, which would be an error here, and no finite number in place of what is lost."""
    predictor = DensePredictor((2, 3, 1), activation)
    coef = np.ones((1, predictor.layout.size))
    rows = np.array([[large, large], [1.0, 2.0]])
    with np.errstate(over="ignore"):
        stored = rows.astype(np.float32)
    raw, pull = predictor.raw_and_pullback(stored, 1e20 * coef)
    pull(np.ones_like(raw), np.zeros_like(coef))
    bounded = activation in ("tanh", "sigmoid")
    assert np.isfinite(raw[0]).all() == bounded
    assert np.isfinite(predictor.scoring(coef[0])(stored)[1]).all()


def test_features_that_are_not_a_number_give_none() -> None:
    for activation in ACTIVATIONS:
        predictor = network((2, 3, 1), activation)
        coef = coefficients(predictor)
        found = predictor.scoring(coef)(np.array([[np.nan, 1.0], [1.0, 1.0]]))
        assert np.isnan(found[:, 0]).tolist() == [True, False]


# --------------------------------------------------------------------- starts


def test_starts_follow_from_the_seed_and_differ_between_units() -> None:
    predictor = network((FEATURES, 5, 4, 2), "relu", constants=1)
    coef = start(predictor, 7)
    assert coef.tobytes() == start(predictor, 7).tobytes()
    assert np.abs(coef - start(predictor, 8)).max() > 0.1
    assert coef[predictor.layout.extras].tolist() == [1.0]
    for W, b in predictor.maps(coef):
        assert not b.any()
        assert len(np.unique(W)) == W.size


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_starts_have_the_spread_of_he_or_glorot(activation: str) -> None:
    """A uniform variable up to b has the variance b^2 / 3."""
    predictor = network((300, 200, 100), activation)
    (first, _), (last, _) = predictor.maps(start(predictor, 1))
    hidden = 2.0 / 300.0 if activation in ("relu", "gelu") else 2.0 / 500.0
    assert first.var() == pytest.approx(hidden, rel=0.02)
    assert last.var() == pytest.approx(2.0 / 300.0, rel=0.02)
    assert np.abs(first).max() <= math.sqrt(3.0 * hidden)


# ------------------------------------------------------------------- settings


def test_equal_networks_are_equal_also_when_they_were_used_and_sent() -> None:
    predictor, other = (DensePredictor((3, 4, 2), "gelu", dropout=0.1) for _ in range(2))
    predictor.raw(np.zeros((1, 3), dtype=np.float32), start(predictor, 0)[None, :])
    again = pickle.loads(pickle.dumps(predictor))
    assert predictor == other == again
    assert hash(predictor) == hash(other) == hash(again)
    assert repr(predictor) == repr(other) == repr(again)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sizes": (3,)}, r"found layers \(3,\)"),
        ({"sizes": (3, 0, 1)}, r"found layers \(3, 0, 1\).*at least 1"),
        ({"activation": "swish"}, "found activation='swish'.*relu, tanh"),
        ({"dropout": 1.0}, r"found dropout=1.0.*\[0, 1\)"),
        ({"dropout": -0.1}, r"found dropout=-0.1"),
        ({"precision": "float16"}, "found precision='float16'"),
    ],
)
def test_networks_that_there_are_not_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamError, match=told):
        DensePredictor(**{"sizes": (3, 2, 1), **wrong})


# ------------------------------------------------------------------- training


@pytest.mark.parametrize("kind", ["classes", "real"])
def test_l_bfgs_comes_as_low_as_that_of_scikit_learn(kind: str) -> None:
    """From the same start, in as many iterations, with its penalty: alpha over the rows."""
    rows, numbers = load_digits(return_X_y=True)
    rows, y = rows[:400] / 16.0, numbers[:400].astype(float)
    iterations, alpha = 120, 0.1
    cls = MLPRegressor if kind == "real" else MLPClassifier
    predictor = network((64, 12, 1 if kind == "real" else 10))
    coef = start(predictor, 5)
    settings = {"hidden_layer_sizes": (12,), "activation": "tanh", "warm_start": True}
    model = cls(**settings, solver="lbfgs", alpha=alpha, max_iter=1, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, y)
        maps = predictor.maps(coef)
        model.coefs_ = [W.T.copy() for W, _ in maps]
        model.intercepts_ = [b.copy() for _, b in maps]
        model.set_params(max_iter=iterations).fit(rows, y)
    loss: Loss = Squared() if kind == "real" else Multinomial()
    units = Standardization.identity(predictor.layout)
    objective = BlockObjective(LocalBlocks([Block(rows, y)]), loss, predictor, units)
    penalty = units.penalty(0.0, alpha / len(rows))
    solver = LBFGS(tol=1e-12)
    [found] = minimize(objective, penalty, solver, coef[None, :], max_iter=iterations)
    assert found.objective <= 1.1 * model.loss_
    assert found.objective < 0.1 * found.history[0].objective
