"""The search along a direction, and what the solvers that share it do where one fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize
from scipy.special import expit
from sklearn.svm import SVC

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.penalties import L2
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import standardize
from sparkml_lsml.engine.solvers import LBFGS, LBFGSB, LocalSGD, ProximalLBFGS, Solution, minimize
from sparkml_lsml.engine.solvers.base import Answer, Reason
from sparkml_lsml.engine.solvers.search import MAX_TRIALS, Search
from sparkml_lsml.engine.solvers.smoothed_lbfgs import SmoothedLBFGS
from sparkml_lsml.engine.solvers.warm_start import Sample, warm_start
from sparkml_lsml.losses import Hinge, Huber, Logistic, Loss, Squared

Array = npt.NDArray[np.float64]


def searched(
    value: Callable[[float], float], slope: Callable[[float], float], trial: float
) -> tuple[float, int]:
    """The step that a search for the weak Wolfe conditions takes, and the steps that it tried."""
    search = Search.along(value(0.0), slope(0.0), trial)
    for tried in range(1, MAX_TRIALS + 1):
        at = search.trial
        if not search.lower_enough(value(at)):
            search = search.too_long(value(at))
        elif search.steep(slope(at)):
            search = search.too_short(value(at), slope(at))
        else:
            return at, tried
        assert not search.ended(MAX_TRIALS)
    raise AssertionError("no step was accepted")


@pytest.mark.parametrize("trial", [1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_step_of_any_size_is_found_on_a_parabola(trial: float, scale: float) -> None:
    """Its minimum is at 1: the secant of two slopes finds it, and so does a parabola."""
    step, tried = searched(
        lambda t: scale * (t - 1.0) ** 2, lambda t: 2.0 * scale * (t - 1.0), trial
    )
    # the slope has to rise to 0.9 of what it is at 0, and the value to fall by its ten-thousandth
    assert 0.1 <= step <= 2.0
    # three decades at a time upwards, one downwards
    assert tried <= 2 + abs(np.log10(trial)) / (1 if trial > 1.0 else 3) + 1


def test_a_kink_ends_at_a_step_that_is_lower() -> None:
    """Behind the kink of |t - 1| the value rises, before it the slope stays: no step is both."""
    step, _ = searched(lambda t: abs(t - 1.0), lambda t: float(np.sign(t - 1.0)), 0.3)
    assert abs(step - 1.0) < 1.0


def test_what_is_too_long_to_be_finite_is_shortened_by_tenths() -> None:
    search = Search.along(1.0, slope=-1.0, trial=1e6)
    steps = []
    for _ in range(3):
        search = search.too_long(np.inf)
        steps.append(search.trial)
    np.testing.assert_allclose(steps, [1e5, 1e4, 1e3])


def test_only_what_rounding_hides_is_called_a_minimum() -> None:
    def failing(slope: float, value: Callable[[float], float], trial: float = 1.0) -> str:
        search = Search.along(1.0, slope, trial)
        while not search.ended(MAX_TRIALS):
            search = search.too_long(value(search.trial))
        return search.reason

    assert failing(-1e-13, lambda t: 1.0) == "precision"
    # a parabola so steep that its minimum, 1e-17 lower, is beyond the last digit
    assert failing(-1e-3, lambda t: 1.0 - 1e-3 * t + 2.5e10 * t**2) == "precision"
    # what was promised would show, and does not come
    assert failing(-1.0, lambda t: 1.0) == "line_search"
    assert failing(-1.0, lambda t: 1.0 + 0.5 * t) == "line_search"
    assert failing(-1.0, lambda t: np.inf, 1e60) == "line_search"
    # nor is a direction that leads up, or is no number, a sign of a minimum
    assert Search.along(1.0, slope=0.1).reason == "line_search"
    assert Search.along(1.0, slope=float("nan")).reason == "line_search"
    assert Search.along(1.0, slope=0.0).reason == "precision"
    assert not Reason("line_search", 3).converged
    assert Reason("precision", 3).converged


def lies(solver: type) -> type:
    """A solver whose gradients point the wrong way: what a loss with a wrong derivative gives."""

    class Lied(solver):  # type: ignore[misc]
        def step(self, state: object, answer: Answer, penalty: L2) -> object:
            wrong = dataclasses.replace(answer, result=-answer.result - 1.0)
            return super().step(state, wrong, penalty)

    return Lied


def blocks_of(X: Array, y: Array, loss: Loss) -> BlockObjective:
    layout = Layout(X.shape[1], constants=len(loss.constants))
    real = len(np.unique(y)) > 2
    units = standardize(
        layout,
        X.mean(axis=0),
        X.std(axis=0, ddof=1),
        curvature=loss.curvature,
        label_scale=float(y.std(ddof=1)) if real else 1.0,
    )
    return BlockObjective(LocalBlocks([Block(X, y)]), loss, LinearPredictor(layout), units)


RNG = np.random.default_rng(5)
X = RNG.normal(size=(4_000, 6))
MARGINS = X @ np.linspace(-1.0, 1.5, 6) + RNG.logistic(size=4_000)


def labels(positives: int) -> Array:
    """1 for so many of the rows with the largest margins."""
    return (np.sort(MARGINS)[-positives - 1] < MARGINS).astype(float)


@pytest.mark.parametrize("cls", [LBFGS, ProximalLBFGS, LBFGSB])
def test_a_gradient_that_leads_nowhere_is_no_convergence(cls: type) -> None:
    objective = blocks_of(X, labels(2_000), Logistic())
    [found] = minimize(objective, L2(0.0), lies(cls)(), np.zeros((1, 7)), max_iter=50)
    assert found.reason.name in ("line_search", "stalled", "max_iter")
    assert found.reason.fell_short


def logistic_minimum(y: Array) -> float:
    """The least mean logistic loss, by SciPy's Newton method on the textbook formula."""
    Z = np.column_stack([X, np.ones(len(X))])
    sign = 2.0 * y - 1.0

    def value(w: Array) -> float:
        return float(np.logaddexp(0.0, -sign * (Z @ w)).mean())

    def slope(w: Array) -> Array:
        return np.asarray(-(sign * expit(-sign * (Z @ w))) @ Z / len(Z))

    def bend(w: Array) -> Array:
        p = expit(Z @ w)
        return np.asarray((Z.T * (p * (1.0 - p))) @ Z / len(Z))

    start = np.zeros(7)
    start[6] = np.log(y.mean() / (1.0 - y.mean()))
    found = optimize.minimize(value, start, jac=slope, hess=bend, method="trust-exact", tol=1e-12)
    return float(found.fun)


def solve(objective: BlockObjective, solver: object, intercept: float, **more: object) -> Solution:
    start = np.zeros((1, objective.layout.size))
    start[0, objective.layout.intercepts] = intercept
    [found] = minimize(objective, L2(0.0), solver, start, **more)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("positives", [2_000, 400, 100, 40])
def test_rare_classes_take_few_passes_more(positives: int) -> None:
    y = labels(positives)
    objective = blocks_of(X, y, Logistic())
    found = solve(objective, LBFGS(), np.log(positives / (len(y) - positives)))
    assert found.reason.name == "converged"
    assert found.objective <= logistic_minimum(y) * (1.0 + 1e-6)
    # the first step is not doubled pass by pass: balanced classes take 7
    assert found.history[0].passes == 1
    assert found.history[1].passes <= 3
    assert objective.passes <= 14


@pytest.mark.parametrize("share", [1e-2, 1e-5, 1e-8])
def test_light_classes_take_few_passes_more(share: float) -> None:
    """Weights have no unit; the curvature of a class that weighs little is small."""
    y = labels(2_000)
    weight = np.where(y > 0.5, share, 1.0)
    plain = blocks_of(X, y, Logistic())
    objective = BlockObjective(
        LocalBlocks([Block(X, y, weight)]),
        Logistic(),
        LinearPredictor(plain.layout),
        plain.standardization,
    )
    found = solve(objective, LBFGS(), float(np.log(share)))
    assert found.reason.name == "converged"
    assert objective.passes <= 20


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("cls", [LBFGS, ProximalLBFGS, LBFGSB])
def test_units_of_labels_change_nothing_but_the_unit(cls: type, unit: float) -> None:
    """Against NumPy's least squares, in the units of the labels."""
    y = unit * MARGINS
    objective = blocks_of(X, y, Squared())
    found = solve(objective, cls(tol=1e-9), 0.0)
    Z = np.column_stack([X, np.ones(len(X))])
    wanted = np.linalg.lstsq(Z, MARGINS, rcond=None)[0]
    [stored] = objective.standardization.to_stored(found.coef[None, :])
    np.testing.assert_allclose(stored / unit, wanted, rtol=0, atol=1e-4)
    assert objective.passes <= 11


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_scale_that_half_of_the_rows_have_no_use_for_takes_no_hundreds_of_passes(
    unit: float,
) -> None:
    """More than half of the rows lie on a plane: the best scale of Huber's loss is 0."""
    y = X @ np.linspace(-1.0, 1.5, 6)
    y[::3] += 5.0 * np.sign(MARGINS[::3])
    objective = blocks_of(X, unit * y, Huber())
    start = np.zeros((1, objective.layout.size))
    start[0, objective.layout.extras] = 1.0
    [found] = minimize(objective, L2(0.0), LBFGS(), start, max_iter=500)
    [stored] = objective.standardization.to_stored(found.coef[None, :])
    np.testing.assert_allclose(stored[:6] / unit, np.linspace(-1.0, 1.5, 6), rtol=0, atol=1e-3)
    assert objective.passes <= 120


@pytest.mark.parametrize("positives", [400, 40, 4])
@pytest.mark.parametrize("strength", [0.0, 1e-3, 1e-1])
def test_the_hinge_of_a_rare_class_is_that_of_the_constant_model(
    positives: int, strength: float
) -> None:
    """The rare rows lie among the others, so that their mean is a mean of these.

    Then no coefficients are better than none: the objective is 2 where a row is rare, else 0.
    """
    y = np.zeros(len(X))
    y[np.argsort(np.square(X).sum(axis=1))[: 10 * positives : 10]] = 1.0
    objective = blocks_of(X, y, Hinge())
    penalty = objective.standardization.penalty(0.0, strength)
    start = np.zeros((1, 7))
    start[0, 6] = -1.0
    [found] = minimize(objective, penalty, SmoothedLBFGS(), start)
    assert found.objective == pytest.approx(2.0 * y.mean(), rel=1e-9, abs=0.0)
    assert found.reason.name == "converged"
    assert objective.passes <= 20


@pytest.mark.parametrize("seed", [1, 3, 4, 6])
@pytest.mark.parametrize(("strength", "tol"), [(0.3, 1e-4), (0.06, 1e-6), (6e-3, 1e-6)])
def test_the_hinge_of_a_rare_class_is_not_taken_for_that_of_the_constant_model(
    seed: int, strength: float, tol: float
) -> None:
    """Three rows in 300 can be told from the others: the reference is libsvm's dual."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(300, 5))
    raw = rows @ [2.0, -2.0, 1.0, 0.0, 0.4] + rng.logistic(size=300)
    y = (raw > np.quantile(raw, 0.99)).astype(np.float64)
    objective = blocks_of(rows, y, Hinge())
    penalty = objective.standardization.penalty(0.0, strength)
    start = np.zeros((1, 6))
    start[0, 5] = -1.0
    [found] = minimize(objective, penalty, SmoothedLBFGS(tol=tol), start, max_iter=1_000)
    Z = objective.standardization.scale * (rows - objective.standardization.shift)
    roots = np.sqrt(np.broadcast_to(np.asarray(penalty.l2()), 6)[:5])
    svm = SVC(kernel="linear", C=1.0 / 300, tol=1e-9).fit(Z / roots, y)
    wanted = float(np.sum(np.square(svm.coef_))) / 2.0 + float(
        np.maximum(1.0 - (2.0 * y - 1.0) * svm.decision_function(Z / roots), 0.0).mean()
    )
    assert found.reason.name == "converged"
    assert found.objective <= wanted * (1.0 + 10.0 * tol)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_widths_of_a_start_from_a_sample_do_not_begin_anew(seed: int) -> None:
    """The sample can be separated, all rows cannot: the constant model is their minimum."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(8_000, 15))
    raw = rows @ rng.normal(size=15) + rng.logistic(size=8_000)
    y = (raw > np.quantile(raw, 0.99)).astype(np.float64)
    objective = blocks_of(rows, y, Hinge())
    penalty = objective.standardization.penalty(0.0, 1e-3, rows.std(axis=0, ddof=1))
    start = np.zeros((1, 16))
    start[0, 15] = -1.0
    starts, warm = warm_start(objective, [penalty], [SmoothedLBFGS()], start, Sample(400), [1_000])
    assert starts[0, :15].any()
    before = objective.passes
    [found] = minimize(objective, penalty, warm, starts, max_iter=500)
    assert found.objective <= 2.0 * y.mean() * (1.0 + 1e-6)
    assert found.reason.name == "converged"
    assert objective.passes - before <= 60


@pytest.mark.parametrize("schedule", ["constant", "invscaling"])
def test_local_sgd_never_claims_a_minimum(schedule: str) -> None:
    """Models of partitions whose features differ average to something else than the minimum."""
    shifted = X + 4.0 * (np.arange(len(X)) % 4)[:, None]
    y = (shifted @ np.linspace(-1.0, 1.5, 6) + RNG.logistic(size=len(X)) > 3.0).astype(float)
    layout = Layout(6)
    parts = [Block(shifted[k::4].copy(), y[k::4].copy()) for k in range(4)]
    units = standardize(layout, shifted.mean(axis=0), shifted.std(axis=0), curvature=0.25)
    objective = BlockObjective(LocalBlocks(parts), Logistic(), LinearPredictor(layout), units)
    solver = LocalSGD(schedule=schedule, step_size=5.0)  # type: ignore[arg-type]
    found = solve(objective, solver, 0.0, max_iter=300)
    least = solve(objective, LBFGS(tol=1e-10), 0.0).objective
    assert found.reason.name in ("stalled", "max_iter")
    assert not found.reason.converged
    assert found.objective > least


def test_a_direction_that_is_no_number_gives_way_to_the_gradient() -> None:
    """Pairs whose products overflow propose nothing."""
    from sparkml_lsml.engine.solvers.lbfgs import _direction

    gradient = np.array([1.0, -2.0])
    huge = np.array([1e200, 1e200])
    with np.errstate(over="ignore", invalid="ignore"):
        found = _direction(gradient, ((huge, huge, np.inf), (huge, -huge, 1e-300)), False)
    np.testing.assert_array_equal(found, -gradient)
