"""L-BFGS-B beside SciPy's, and the matrix that it works with beside the BFGS formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize

from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.engine.solvers import LBFGS, LBFGSB, Solution, minimize
from sparkml_lsml.engine.solvers.compact import CompactMatrix
from sparkml_lsml.engine.solvers.lbfgs import Pair
from sparkml_lsml.losses import Logistic, Loss, Multinomial, Squared, SquaredHinge
from tests.checks.problems import Problem, make_problem

Array = npt.NDArray[np.float64]

LOSSES = [Logistic(), Multinomial(), Squared(), SquaredHinge()]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)


def draw_box(size: int, seed: int) -> tuple[Array, Array]:
    """Bounds on some sides of some coefficients; one is free, one is fixed."""
    rng = np.random.default_rng(seed)
    lower = np.where(rng.random(size) < 0.6, -0.5 * rng.random(size), -np.inf)
    upper = np.where(rng.random(size) < 0.6, 0.5 * rng.random(size), np.inf)
    lower[0], upper[0] = 0.0, np.inf
    lower[1] = upper[1] = 0.25
    lower[2], upper[2] = -np.inf, np.inf
    return lower, upper


def scipys(problem: Problem, penalty: ElasticNet, lower: Array, upper: Array) -> Array:
    """Coefficients of the least objective within the box, by SciPy."""
    at = np.clip(np.zeros(len(lower)), lower, upper)
    options = {"maxiter": 10_000, "maxfun": 50_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30}
    for _ in range(2):  # the second run starts with a fresh memory where the first ended
        found = optimize.minimize(
            lambda coef: problem.plain(coef, penalty),
            at,
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(lower, upper, strict=True)),
            options=options,
        )
        at = found.x
    return np.asarray(at)


def solve(problem: Problem, penalty: ElasticNet, solver: LBFGSB) -> Solution:
    [found] = minimize(problem.objective, penalty, solver, problem.start(), max_iter=500)
    return found


@each_loss
@pytest.mark.parametrize("features", [3, 8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_minimum_in_a_box_is_scipys(loss: Loss, features: int, seed: int) -> None:
    problem = make_problem(loss, seed=seed, features=features, l2=0.01)
    penalty = problem.penalty(0.0, 0.01)
    lower, upper = draw_box(problem.layout.size, seed)
    expected = scipys(problem, penalty, lower, upper)
    found = solve(problem, penalty, LBFGSB(tol=1e-10, lower=lower, upper=upper))
    assert found.reason.name == "converged"
    assert (found.coef >= lower).all()
    assert (found.coef <= upper).all()
    least = problem.plain(expected, penalty)[0]
    assert problem.plain(found.coef, penalty)[0] <= least * (1.0 + 1e-10)
    np.testing.assert_allclose(found.coef, expected, rtol=0, atol=2e-4)
    # what is at a bound is exactly there
    bound = (expected == lower) | (expected == upper)
    assert bound.any()
    np.testing.assert_array_equal(found.coef[bound], expected[bound])


@each_loss
def test_the_solution_fulfils_the_kkt_conditions(loss: Loss) -> None:
    problem = make_problem(loss, seed=3, features=6, l2=0.05)
    penalty = problem.penalty(0.0, 0.05)
    lower, upper = draw_box(problem.layout.size, 7)
    found = solve(problem, penalty, LBFGSB(tol=1e-12, lower=lower, upper=upper))
    value, gradient = problem.plain(found.coef, penalty)
    at_lower, at_upper = found.coef == lower, found.coef == upper
    limit = 1e-6 * value
    assert (gradient[at_lower & ~at_upper] >= -limit).all()
    assert (gradient[at_upper & ~at_lower] <= limit).all()
    inside = ~at_lower & ~at_upper
    assert inside.any()
    assert np.abs(gradient[inside]).max() <= limit
    # the norm in the history is that of the projected gradient
    projected = found.coef - np.clip(found.coef - gradient, lower, upper)
    assert found.history[-1].gradient_norm == pytest.approx(np.linalg.norm(projected), abs=1e-12)


@pytest.mark.parametrize("lower", [0.0, -0.2])
@pytest.mark.parametrize("l1", [0.04, 0.1])
def test_bounds_go_with_an_l1_penalty(l1: float, lower: float) -> None:
    # of positive and negative parts the L1 penalty is linear, and SciPy can take it
    problem = make_problem(Logistic(), seed=1, features=8, fit_intercept=False, l2=0.01)
    penalty, smooth = problem.penalty(l1, 0.01), problem.penalty(0.0, 0.01)
    strength, _ = problem.strengths(penalty)

    def split(parts: Array) -> tuple[float, Array]:
        value, gradient = problem.plain(parts[:8] - parts[8:], smooth)
        value += float(strength @ (parts[:8] + parts[8:]))
        return value, np.concatenate([gradient + strength, strength - gradient])

    bounds = [(0.0, 0.3)] * 8 + [(0.0, -lower)] * 8
    options = {"ftol": 1e-16, "gtol": 1e-11}
    best = optimize.minimize(
        split, np.zeros(16), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    found = solve(problem, penalty, LBFGSB(tol=1e-11, lower=lower, upper=0.3))
    assert found.objective == pytest.approx(best.fun, rel=1e-9)
    np.testing.assert_allclose(found.coef, best.x[:8] - best.x[8:], atol=1e-5)
    assert 0 < np.count_nonzero(found.coef) < 8
    # far from the orthant where the solution is
    start = np.full((1, 8), lower)
    solver = LBFGSB(tol=1e-11, lower=lower, upper=0.3)
    [again] = minimize(problem.objective, penalty, solver, start, max_iter=500)
    np.testing.assert_array_equal(again.coef == 0.0, found.coef == 0.0)
    assert again.objective == pytest.approx(best.fun, rel=1e-9)


@each_loss
def test_without_bounds_it_is_l_bfgs(loss: Loss) -> None:
    problem = make_problem(loss, seed=5, features=6, l2=0.05)
    penalty = problem.penalty(0.0, 0.05)
    free = solve(problem, penalty, LBFGSB(tol=1e-9))
    [expected] = minimize(
        problem.objective, penalty, LBFGS(tol=1e-9), problem.start(), max_iter=500
    )
    assert free.objective == pytest.approx(expected.objective, rel=1e-9)
    np.testing.assert_allclose(free.coef, expected.coef, atol=1e-4)
    # and takes about as many passes
    assert free.history[-1].passes <= 1.5 * expected.history[-1].passes


def test_a_start_outside_is_moved_to_the_box() -> None:
    problem = make_problem(Logistic(), seed=0)
    start = np.array([[3.0, -3.0, 0.1, 0.0]])
    solver = LBFGSB(lower=-1.0, upper=np.ones(4))
    [found] = minimize(problem.objective, problem.penalty(0.0, 0.1), solver, start, max_iter=0)
    np.testing.assert_array_equal(found.coef, [1.0, -1.0, 0.1, 0.0])


def test_a_box_of_one_point_is_the_solution() -> None:
    problem = make_problem(Logistic(), seed=0)
    point = np.array([0.1, -0.2, 0.3, 0.4])
    found = solve(problem, problem.penalty(0.0, 0.1), LBFGSB(lower=point, upper=point))
    np.testing.assert_array_equal(found.coef, point)
    assert found.reason.name == "converged"
    assert found.history[-1].passes == 1


def test_models_with_different_bounds_share_their_passes() -> None:
    problem = make_problem(Logistic(), seed=2, features=5, l2=0.01)
    penalty = problem.penalty(0.0, 0.01)
    solvers = [LBFGSB(tol=1e-9, lower=low, upper=0.5) for low in (-np.inf, -0.2, 0.0)]
    problem.blocks.models.clear()
    together = minimize(problem.objective, penalty, solvers, problem.start(3), max_iter=200)
    passes = len(problem.blocks.models)
    assert passes == max(found.history[-1].passes for found in together)
    for solver, found in zip(solvers, together, strict=True):
        alone = solve(problem, penalty, solver)
        np.testing.assert_allclose(found.coef, alone.coef, rtol=0, atol=1e-10)
        assert found.reason == alone.reason


# ---------------------------------------------------- the matrix


def draw_pairs(size: int, number: int, seed: int = 0) -> tuple[tuple[Pair, ...], Array]:
    """Pairs of a quadratic, of very different lengths, and the matrix of the BFGS formula."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    hessian = root @ root.T + np.eye(size)
    steps = rng.normal(size=(number, size)) * np.geomspace(1.0, 1e-5, number)[:, None]
    pairs = tuple((s, hessian @ s, float(s @ hessian @ s)) for s in steps)
    _, y, sy = pairs[-1]
    matrix = float(y @ y) / sy * np.eye(size)
    for s, y, sy in pairs:  # Nocedal and Wright (2006), formula 6.19
        bent = matrix @ s
        matrix = matrix - np.outer(bent, bent) / float(s @ bent) + np.outer(y, y) / sy
    return pairs, matrix


@pytest.mark.parametrize("number", [1, 3, 6])
def test_products_are_those_of_the_bfgs_formula(number: int) -> None:
    pairs, expected = draw_pairs(8, number)
    compact = CompactMatrix.of(pairs)
    found = np.column_stack([compact.times(column) for column in np.eye(8)])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("number", [1, 3, 6])
@pytest.mark.parametrize("held", [0, 3, 7])
def test_inverses_on_a_subspace_are_those_of_the_bfgs_formula(number: int, held: int) -> None:
    pairs, matrix = draw_pairs(8, number, seed=1)
    free = np.arange(8) >= held
    right = np.arange(1.0, 9.0)[free]
    expected = np.linalg.solve(matrix[np.ix_(free, free)], right)
    found = CompactMatrix.of(pairs).solve(right, free)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


def test_a_multiple_of_the_identity() -> None:
    matrix = CompactMatrix.multiple(4.0, 3)
    np.testing.assert_array_equal(matrix.times(np.ones(3)), [4.0, 4.0, 4.0])
    np.testing.assert_array_equal(matrix.solve(np.ones(1), np.array([True, False, False])), [0.25])
