"""Solvers on data that are hard for arithmetic: the minimum all the same, or a stop that is named.

Columns that are scaled or moved leave the minimum of a standardised problem where it is, and so do
columns that others add up to where nothing is penalised. So the reference is SciPy's minimum of
the harmless rows, and no step of it sees the hard ones.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from sparkml_lsml.engine.blocks import Block, Moments
from sparkml_lsml.engine.objective import BlockObjective
from sparkml_lsml.engine.penalties import L2, ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization, standardize
from sparkml_lsml.engine.solvers import (
    LocalSGD,
    LocalSteps,
    NormalEquations,
    Solution,
    minimize,
)
from sparkml_lsml.engine.solvers.advice import ADVICE
from sparkml_lsml.losses import Logistic, Loss, Squared
from tests.checks.problems import CountingBlocks, Problem, is_random, make_problem, make_solver
from tests.checks.registry import ITERATIVE, LOSSES, SMOOTH, Array, domain, draw_labels
from tests.checks.test_solvers import RANDOM, RowsOnly

PAIRS = [
    (cls, loss) for cls in ITERATIVE for loss in LOSSES if loss().smooth or not cls().needs_smooth
]
SMOOTH_PAIRS = [(cls, loss) for cls, loss in PAIRS if loss in SMOOTH]
EXACT_PAIRS = [(cls, loss) for cls, loss in SMOOTH_PAIRS if not is_random(cls)]
RANDOM_PAIRS = [(cls, loss) for cls, loss in SMOOTH_PAIRS if is_random(cls)]


def name(value: Any) -> str:
    return str(getattr(value, "__name__", value))


def pairs(chosen: list[tuple[type, type]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("cls", "loss"), chosen, ids=name)


def problem_of(loss: Loss, X: Array, y: Array, l2: float, l1: float = 0.0) -> tuple[Problem, Any]:
    """Rows in two blocks, standardised as a fit does it, and the penalty."""
    kind = domain(loss)
    layout = Layout(X.shape[1], kind.outputs, True, len(loss.constants))
    moments = Moments.of_rows(X, None)
    deviation = np.sqrt(moments.variance())
    spread = float(np.sqrt(Moments.of_rows(y[:, None], None).variance()[0]))
    units = standardize(
        layout,
        moments.mean(),
        deviation,
        curvature=loss.curvature,
        l2=l2,
        label_scale=spread if kind.labels == "real" and spread > 0.0 else 1.0,
    )
    cuts = [Block(np.ascontiguousarray(X[k::2]), y[k::2].copy()) for k in range(2)]
    blocks = CountingBlocks([block for block in cuts if block.rows])
    problem = Problem(BlockObjective(blocks, loss, LinearPredictor(layout), units), blocks, X, y)
    return problem, units.penalty(l1, l2, deviation)


@cache
def harmless(loss: type) -> tuple[Array, Array]:
    """Columns of mean 0 and variance 1, and labels."""
    problem = make_problem(loss(), seed=1)
    return (problem.X - problem.X.mean(axis=0)) / problem.X.std(axis=0, ddof=1), problem.y


@cache
def least(loss: type, l2: float) -> float:
    problem, penalty = problem_of(loss(), *harmless(loss), l2)
    return problem.minimum(penalty)


SCALES, OFFSETS = np.array([1e-8, 1.0, 1e8]), np.array([-1e6, 1e6, 1e6])
MOVED = {
    "scaled": lambda X: X * SCALES,
    "scaled and offset": lambda X: (X + OFFSETS) * SCALES,
}
COLLINEAR = {
    "twice": lambda X: np.column_stack([X, X[:, 0]]),
    "a sum": lambda X: np.column_stack([X, X @ [1.0, -2.0, 0.5]]),
    "a sum of scaled ones": lambda X: np.column_stack([X * SCALES, X @ [1.0, -2.0, 0.5]]),
    "a constant": lambda X: np.column_stack([X, np.full(len(X), 1e6)]),
}


def solve(problem: Problem, penalty: ElasticNet, solver: Any, max_iter: int = 500) -> Solution:
    [solution] = minimize(problem.objective, penalty, solver, problem.start(), max_iter=max_iter)
    return solution


@pytest.mark.parametrize(("move", "l2"), [("scaled", 0.0), ("scaled and offset", 0.05)])
@pairs(EXACT_PAIRS)
def test_columns_that_are_scaled_or_far_from_zero_move_no_minimum(
    cls: type, loss: type, move: str, l2: float
) -> None:
    X, y = harmless(loss)
    problem, penalty = problem_of(loss(), MOVED[move](X), y, l2)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-10))
    assert solution.reason.converged, solution.reason
    # a column 1e6 deviations from zero holds only ten digits of its spread
    assert abs(solution.objective - least(loss, l2)) <= 1e-9 * abs(least(loss, l2))


@pytest.mark.parametrize("column", COLLINEAR)
@pairs(EXACT_PAIRS)
def test_columns_that_others_add_up_to_lower_no_minimum(cls: type, loss: type, column: str) -> None:
    X, y = harmless(loss)
    problem, penalty = problem_of(loss(), COLLINEAR[column](X), y, 0.0)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-10))
    assert solution.reason.converged, solution.reason
    assert abs(solution.objective - least(loss, 0.0)) <= 1e-9 * abs(least(loss, 0.0))


NOISE = np.random.default_rng(2).normal(size=80)
PENALISED = {
    "twice": COLLINEAR["twice"],
    "a sum": COLLINEAR["a sum"],
    "nearly twice": lambda X: np.column_stack([X, X[:, 0] + 1e-6 * NOISE]),
}


@cache
def penalised(loss: type, column: str) -> tuple[Problem, ElasticNet, float]:
    """A problem with its penalty and minimum, found once."""
    X, y = harmless(loss)
    problem, penalty = problem_of(loss(), PENALISED[column](X), y, 0.05, 0.01)
    return problem, penalty, problem.minimum(penalty)


@pytest.mark.parametrize("column", PENALISED)
@pairs(EXACT_PAIRS)
def test_a_penalty_over_collinear_columns_has_a_minimum_that_is_reached(
    cls: type, loss: type, column: str
) -> None:
    problem, penalty, wanted = penalised(loss, column)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-10))
    assert solution.reason.converged, solution.reason
    assert -1e-9 <= (solution.objective - wanted) / abs(wanted) <= 1e-8


@pairs(EXACT_PAIRS)
def test_a_column_that_is_nearly_another_changes_next_to_nothing(cls: type, loss: type) -> None:
    # the difference of the two is a column of its own, as good as unseen
    X, y = harmless(loss)
    problem, penalty = problem_of(loss(), PENALISED["nearly twice"](X), y, 0.0)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-10), 200)
    assert solution.reason.converged or solution.reason.name == "max_iter"
    wanted = least(loss, 0.0)
    assert (solution.objective - wanted) / abs(wanted) <= 1e-6


@pytest.mark.parametrize("move", MOVED)
@pairs(RANDOM_PAIRS)
def test_stochastic_gradients_do_not_mind_units_either(cls: type, loss: type, move: str) -> None:
    X, y = harmless(loss)
    problem, penalty = problem_of(loss(), MOVED[move](X), y, 0.05)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-6), 100)
    assert abs(solution.objective - least(loss, 0.05)) <= RANDOM * abs(least(loss, 0.05))


@pytest.mark.parametrize("unit", [1e-70, 1e-12, 1e-6, 1e6, 1e12, 1e70])
@pytest.mark.parametrize("loss", [loss for loss in SMOOTH if domain(loss()).labels == "real"])
@pytest.mark.parametrize("cls", [cls for cls in ITERATIVE if not is_random(cls)])
def test_labels_of_any_size_give_the_minimum_in_their_units(
    cls: type, loss: type, unit: float
) -> None:
    X, y = harmless(loss)
    problem, penalty = problem_of(loss(), X, unit * y, 0.0)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-10))
    assert solution.reason.converged, solution.reason
    power = 2.0 if loss is Squared else 1.0
    wanted = least(loss, 0.0) * unit**power
    assert solution.objective == pytest.approx(wanted, rel=1e-8, abs=0.0)
    same = problem_of(loss(), X, y, 0.0)
    usual = solve(*same, make_solver(cls, tol=1e-10))
    assert abs(solution.history[-1].passes - usual.history[-1].passes) <= 1
    np.testing.assert_allclose(solution.coef, usual.coef, rtol=0, atol=1e-3)


def test_comparisons_of_small_numbers_can_fail() -> None:
    assert pytest.approx(0.3e-24, rel=1e-8) != 1.0e-24
    assert pytest.approx(1.0e-24, rel=1e-8) == 1.0e-24


@pytest.mark.parametrize("cls", ITERATIVE)
def test_labels_whose_squares_have_no_squares_are_named(cls: type) -> None:
    X, y = harmless(Squared)
    problem, penalty = problem_of(Squared(), X, 1e100 * y, 0.0)
    solution = solve(problem, penalty, make_solver(cls))
    assert np.isfinite(solution.coef).all()
    # local SGD takes no norm, and needs none
    if solution.reason.name != "diverged":
        assert solution.objective <= 1.01e200 * least(Squared, 0.0)


@pairs(PAIRS)
def test_one_row_is_fitted_or_the_reason_is_named(cls: type, loss: type) -> None:
    rng = np.random.default_rng(3)
    y = draw_labels(loss(), rng, 1)
    problem, penalty = problem_of(loss(), rng.normal(size=(1, 3)), y, 0.0)
    start = problem.plain(problem.start()[0], penalty)[0]
    solution = solve(problem, penalty, make_solver(cls), 100)
    assert np.isfinite(solution.coef).all()
    np.testing.assert_array_equal(solution.coef[problem.layout.weights], 0.0)
    # the best scale of one row is 0, where Huber's loss ends
    diverged = solution.reason.name == "diverged"
    assert not diverged or (is_random(cls) and problem.layout.constants)
    # local steps keep no best model, as they have no use for one: of what diverges none is made
    assert solution.objective <= start or (diverged and cls is LocalSteps)
    if loss is Squared:
        close = 2e-2 if cls is LocalSteps else 1e-2  # a hundred short steps
        assert solution.coef[problem.layout.intercepts][0] == pytest.approx(y[0], abs=close)


@pairs([(cls, loss) for cls, loss in PAIRS if domain(loss()).labels != "real"])
def test_classes_that_can_be_separated_end_near_zero_with_finite_coefficients(
    cls: type, loss: type
) -> None:
    """Without a penalty the coefficients of a logistic loss have no finite minimum."""
    rng = np.random.default_rng(4)
    classes = domain(loss()).outputs if domain(loss()).labels == "classes" else 2
    y = np.repeat(np.arange(classes), 20).astype(np.float64)
    angle = 2.0 * np.pi * y / classes
    X = rng.uniform(-1.0, 1.0, size=(len(y), 2)) + 6.0 * np.column_stack(
        [np.cos(angle), np.sin(angle)]
    )
    problem, penalty = problem_of(loss(), X, y, 0.0)
    start = problem.plain(problem.start()[0], penalty)[0]
    solution = solve(problem, penalty, make_solver(cls), 200)
    assert solution.reason.name in ADVICE
    assert solution.reason.name != "diverged"
    assert np.isfinite(solution.coef).all()
    assert 0.0 <= solution.objective <= 0.02 * start


# ---------------------------------------------------- divergence


HUGE_STARTS = [0.0, 1e5, 1e160, 1e300]


@pytest.mark.parametrize("max_iter", [0, 1, 6])
@pytest.mark.parametrize("step_size", [1.0, 1e200])
@pairs(PAIRS)
def test_numbers_that_are_not_finite_never_come_without_their_name(
    cls: type, loss: type, step_size: float, max_iter: int
) -> None:
    l1, l2 = 0.01, 0.05
    problem = make_problem(loss(), seed=1, l2=l2)
    penalty = problem.penalty(l1, l2)
    start = np.concatenate([problem.start()] * len(HUGE_STARTS))
    start[:, : problem.layout.extras.start] += np.array(HUGE_STARTS)[:, None]
    for settings in ({"schedule": "constant", "line_search": "fixed"}, {}):
        solver = make_solver(cls, step_size=step_size, **settings)
        for solution in minimize(problem.objective, penalty, solver, start, max_iter=max_iter):
            assert np.isfinite(solution.coef).all()
            assert solution.reason.iteration <= max_iter
            if solution.reason.name != "diverged":
                assert np.isfinite(solution.objective)
            else:
                assert str(solution.reason).startswith("diverged at iteration ")


@pairs(PAIRS)
def test_a_gradient_that_overflows_is_named_even_where_the_value_is_finite(
    cls: type, loss: type
) -> None:
    layout = Layout(2, domain(loss()).outputs, True, len(loss().constants))
    X = np.full((40, 2), 1e308)
    y = np.full(40, 3.0 if domain(loss()).labels == "real" else 0.0)
    objective = BlockObjective(
        CountingBlocks([Block(X, y)]),
        loss(),
        LinearPredictor(layout),
        Standardization.identity(layout),
    )
    start = np.zeros((1, layout.size))
    start[:, layout.extras] = 1.0
    [solution] = minimize(objective, L2(0.0), make_solver(cls), start, max_iter=100)
    assert np.isfinite(solution.coef).all()
    # a loss that stops growing is 0 for predictions that are infinite and right
    if solution.reason.name != "diverged":
        assert cls in (LocalSGD, LocalSteps)
        assert solution.objective == 0.0


# ---------------------------------------------------- normal equations


def centred_least_squares(X: Array, y: Array) -> float:
    """The minimum by NumPy's singular values, of columns that were centred and scaled."""
    Z = X - X.mean(axis=0)
    Z = Z / np.sqrt(np.square(Z).mean(axis=0))
    target = y - y.mean()
    return 0.5 * float(np.mean(np.square(target - Z @ np.linalg.lstsq(Z, target, rcond=None)[0])))


def by_normal_equations(X: Array, y: Array) -> tuple[Problem, Solution]:
    problem, penalty = problem_of(Squared(), X, y, 0.0)
    rows = BlockObjective(
        RowsOnly(problem),
        Squared(),
        LinearPredictor(problem.layout),
        problem.objective.standardization,
    )
    [solution] = NormalEquations().solve(rows, [penalty], float(y.mean()))
    return problem, solution


@pytest.mark.parametrize("distance", [1.0, 1e-2, 1e-4, 1e-5])
@pytest.mark.parametrize("move", [*MOVED, "harmless"])
def test_normal_equations_tell_columns_apart_down_to_a_hundred_thousandth(
    move: str, distance: float
) -> None:
    # their condition number is the square of that of the rows, so not to the last digits
    X, y = harmless(Squared)
    noise = np.random.default_rng(2).normal(size=len(X))
    X = np.column_stack([X[:, :2], X[:, 0] + distance * noise])
    y = y + 3.0 * noise  # which only the difference of two columns explains
    X = MOVED[move](X) if move != "harmless" else X
    if "offset" in move and distance < 1e-2:
        X = np.round(X, 12)
    problem, solution = by_normal_equations(X, y)
    wanted = centred_least_squares(X, y)
    assert solution.reason.name == "direct"
    assert problem.plain(solution.coef, L2(0.0))[0] == pytest.approx(wanted, rel=1e-6)


def test_columns_that_are_closer_count_as_the_same_one() -> None:
    X, y = harmless(Squared)
    noise = np.random.default_rng(2).normal(size=len(X))
    problem, solution = by_normal_equations(np.column_stack([X, X[:, 0] + 1e-9 * noise]), y)
    assert np.isfinite(solution.coef).all()
    value = problem.plain(solution.coef, L2(0.0))[0]
    assert value == pytest.approx(centred_least_squares(X, y), rel=1e-6)
    assert np.abs(solution.coef).max() < 1e3


@pytest.mark.parametrize("cls", ITERATIVE)
def test_gradients_that_fall_to_nothing_break_no_division(cls: type) -> None:
    """Two rows: the logistic loss falls like the exponential of the only coefficient."""
    X = np.array([[-1.0], [1.0]] * 5)
    problem, penalty = problem_of(Logistic(), X, (X[:, 0] > 0.0).astype(np.float64), 0.0)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-12), 200)
    assert np.isfinite(solution.coef).all()
    # the epochs of local steps end with their schedule, after some 200 short steps
    least = 0.03 if cls is LocalSteps else 0.01 if is_random(cls) else 1e-3
    assert 0.0 <= solution.objective < least


@pytest.mark.parametrize("step_size", [1e3, 1e10, 1e200])
@pytest.mark.parametrize("loss", SMOOTH)
def test_a_round_that_overflows_is_no_standstill(loss: type, step_size: float) -> None:
    """Local SGD divides its step by 3 until it learns, or says that it did not."""
    problem = make_problem(loss(), seed=1, l2=0.05)
    penalty = problem.penalty(0.0, 0.05)
    start = problem.plain(problem.start()[0], penalty)[0]
    solution = solve(problem, penalty, LocalSGD(step_size=step_size), 300)
    assert solution.reason.name == "diverged" or solution.objective < 0.99 * start
