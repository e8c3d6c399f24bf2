"""Least squares in one pass: the coefficients of NumPy and scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import Lasso, LinearRegression, Ridge

from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization, standardize
from sparkml_lsml.engine.solvers import NormalEquations, Solution
from sparkml_lsml.engine.solvers.normal import pays_direct
from sparkml_lsml.losses import Squared
from tests.unit.formulas import Array, make_block, ones_or

STRENGTHS = {"none": (0.0, 0.0), "ridge": (0.0, 0.3), "lasso": (0.5, 0.0), "both": (0.5, 0.3)}

both_forms = pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
both_weights = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
both_intercepts = pytest.mark.parametrize("fit_intercept", [True, False], ids=["bias", "no bias"])
every_strength = pytest.mark.parametrize(("l1", "l2"), STRENGTHS.values(), ids=STRENGTHS)


@dataclass
class Fit:
    """What was solved: coefficients for the stored features, and the solver's own words."""

    weights: Array
    intercept: float
    solution: Solution
    passes: int


def draw(weighted: bool, rows: int = 60, seed: int = 0) -> tuple[Array, Array, Array | None]:
    """Correlated columns of different sizes, and a third of the values 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 4)) @ (np.eye(4) + 0.3 * rng.normal(size=(4, 4)))
    X = (X + 1.0) * (rng.random((rows, 4)) < 0.67) * [0.5, 1.0, 2.0, 4.0]
    y = X @ [2.0, -0.4, 0.0, 0.6] + 3.0 + 0.5 * rng.normal(size=rows)
    weight = rng.uniform(0.1, 3.0, size=rows) if weighted else None
    return X, y, weight


def fit(
    X: Array,
    y: Array,
    weight: Array | None = None,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    fit_intercept: bool = True,
    units: Array | float = 1.0,
    scaled: bool = True,
    compressed: bool = False,
    label_scale: float = 1.0,
    label_mean: float | None = None,
    off_centre: Array | float = 0.0,
    solver: NormalEquations | None = None,
) -> Fit:
    """Fit over three blocks; the penalty is on the coefficients times ``units``."""
    layout = Layout(X.shape[1], fit_intercept=fit_intercept)
    sums = ones_or(weight, len(y))
    mean = np.average(X, axis=0, weights=sums)
    deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=sums))
    if scaled:
        used = np.where(deviation > 1e-12, deviation, 0.0)
        standardization = standardize(
            layout,
            mean,
            used,
            curvature=1.0,
            l2=l2,
            standardized=not np.isscalar(units),
            label_scale=label_scale,
        )
    else:
        shift = mean if fit_intercept else np.zeros(len(mean))
        standardization = Standardization(layout, np.ones(len(mean)), shift, label_scale)
    standardization = replace(standardization, shift=standardization.shift + off_centre)
    blocks = [
        make_block(X[k::3], y[k::3], None if weight is None else weight[k::3], compressed)
        for k in range(3)
    ]
    objective = BlockObjective(
        LocalBlocks(blocks), Squared(), LinearPredictor(layout), standardization
    )
    [solution] = (solver or NormalEquations(tol=1e-12, max_iter=100_000)).solve(
        objective,
        [standardization.penalty(l1, l2, units)],
        float(np.average(y, weights=sums)) if label_mean is None else label_mean,
    )
    [coef] = standardization.to_stored(solution.coef[None, :])
    intercept = float(coef[layout.intercepts][0]) if fit_intercept else 0.0
    return Fit(coef[layout.weights], intercept, solution, objective.passes)


def reference(
    X: Array, y: Array, weight: Array | None, l1: float, l2: float, fit_intercept: bool
) -> Any:
    """scikit-learn's model of the same objective.

    Ours is the weighted mean of half the squared error plus ``l1 |c|_1 + l2 / 2 |c|^2``. Ridge has
    the sum of the squared error plus ``alpha |c|^2``, and Lasso and ElasticNet the mean of half of
    it plus ``alpha (ratio |c|_1 + (1 - ratio) / 2 |c|^2)``.
    """
    model: Any
    exact = {"fit_intercept": fit_intercept, "tol": 1e-14, "max_iter": 1_000_000}
    if l1 and l2:
        model = SklearnElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), **exact)
    elif l1:
        model = Lasso(alpha=l1, **exact)
    elif l2:
        alpha = l2 * float(ones_or(weight, len(y)).sum())
        model = Ridge(alpha=alpha, fit_intercept=fit_intercept, solver="cholesky")
    else:
        model = LinearRegression(fit_intercept=fit_intercept)
    return model.fit(X, y, sample_weight=weight)


def mean_objective(
    X: Array, y: Array, weight: Array | None, found: Fit, l1: float, l2: float
) -> float:
    residual = X @ found.weights + found.intercept - y
    value = np.average(0.5 * residual**2, weights=ones_or(weight, len(y)))
    size = np.abs(found.weights)
    return float(value + l1 * size.sum() + 0.5 * l2 * (size**2).sum())


@every_strength
@both_intercepts
@both_weights
@both_forms
def test_coefficients_are_those_of_scikit_learn(
    compressed: bool, weighted: bool, fit_intercept: bool, l1: float, l2: float
) -> None:
    X, y, weight = draw(weighted)
    found = fit(X, y, weight, l1=l1, l2=l2, fit_intercept=fit_intercept, compressed=compressed)
    wanted = reference(X, y, weight, l1, l2, fit_intercept)
    np.testing.assert_allclose(found.weights, wanted.coef_, rtol=1e-7, atol=1e-9)
    assert found.intercept == pytest.approx(wanted.intercept_, rel=1e-7, abs=1e-9)
    np.testing.assert_array_equal(found.weights == 0.0, wanted.coef_ == 0.0)
    value = mean_objective(X, y, weight, found, l1, l2)
    assert found.solution.objective == pytest.approx(value, rel=1e-10)
    assert found.solution.reason.name == ("converged" if l1 else "direct")
    assert found.passes == 1


def test_the_lasso_of_these_rows_drops_a_column() -> None:
    # otherwise the equality of the zeros above would say nothing
    X, y, _ = draw(weighted=False)
    assert 0 < np.count_nonzero(reference(X, y, None, *STRENGTHS["lasso"], True).coef_) < 4


@every_strength
def test_a_penalty_in_standard_deviations_is_that_of_features_with_unit_variance(
    l1: float, l2: float
) -> None:
    X, y, _ = draw(weighted=False)
    deviation = X.std(axis=0)
    found = fit(X, y, l1=l1, l2=l2, units=deviation)
    wanted = reference(X / deviation, y, None, l1, l2, True)
    np.testing.assert_allclose(found.weights * deviation, wanted.coef_, rtol=1e-7, atol=1e-9)
    assert found.intercept == pytest.approx(wanted.intercept_, rel=1e-7)


@every_strength
@both_intercepts
def test_units_of_the_labels_change_nothing(fit_intercept: bool, l1: float, l2: float) -> None:
    X, y, weight = draw(weighted=True)
    plain, scaled = (
        fit(X, y, weight, l1=l1, l2=l2, fit_intercept=fit_intercept, label_scale=unit)
        for unit in (1.0, 7.0)
    )
    np.testing.assert_allclose(scaled.weights, plain.weights, rtol=1e-8)
    assert scaled.intercept == pytest.approx(plain.intercept, rel=1e-8)
    assert scaled.solution.objective == pytest.approx(plain.solution.objective, rel=1e-10)


@every_strength
@both_forms
def test_centres_that_are_off_change_nothing(compressed: bool, l1: float, l2: float) -> None:
    X, y, weight = draw(weighted=True)
    exact = fit(X, y, weight, l1=l1, l2=l2)
    off_centre = np.array([1.0, -2.0, 0.5, 3.0])
    for label_mean in (None, -20.0):
        off = fit(
            X,
            y,
            weight,
            l1=l1,
            l2=l2,
            label_mean=label_mean,
            off_centre=off_centre,
            compressed=compressed,
        )
        np.testing.assert_allclose(off.weights, exact.weights, rtol=1e-8)
        assert off.intercept == pytest.approx(exact.intercept, rel=1e-8)
        assert off.solution.objective == pytest.approx(exact.solution.objective, rel=1e-10)


@both_forms
def test_columns_far_from_zero_cost_no_digits(compressed: bool) -> None:
    X, y, _ = draw(weighted=False)
    far = np.array([1e6, -1e6, 1e5, 0.0])
    found = fit(X + far, y, compressed=compressed)
    wanted = np.linalg.lstsq(X - X.mean(axis=0), y - y.mean(), rcond=None)[0]
    np.testing.assert_allclose(found.weights, wanted, rtol=1e-6)


def smallest(X: Array, y: Array, fit_intercept: bool) -> tuple[Array, float]:
    """NumPy's solution of smallest norm, the intercept not counted."""
    mean, label = (X.mean(axis=0), y.mean()) if fit_intercept else (np.zeros(X.shape[1]), 0.0)
    weights = np.linalg.lstsq(X - mean, y - label, rcond=1e-10)[0]
    return weights, float(label - mean @ weights)


def duplicated() -> tuple[Array, Array]:
    X, y, _ = draw(weighted=False)
    return np.column_stack([X, X[:, 1], X[:, 0] - 2.0 * X[:, 3]]), y


def fewer_rows() -> tuple[Array, Array]:
    rng = np.random.default_rng(4)
    return rng.normal(size=(6, 9)), rng.normal(size=6)


def equal_rows() -> tuple[Array, Array]:
    return np.tile([1.0, 2.0, 0.0], (3, 1)), np.full(3, 5.0)


@pytest.mark.parametrize("make", [duplicated, fewer_rows, equal_rows])
@both_intercepts
@both_forms
def test_a_singular_system_gets_the_solution_of_smallest_norm(
    make: Any, fit_intercept: bool, compressed: bool
) -> None:
    X, y = make()
    found = fit(X, y, fit_intercept=fit_intercept, scaled=False, compressed=compressed)
    weights, intercept = smallest(X, y, fit_intercept)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-6, atol=1e-8)
    assert found.intercept == pytest.approx(intercept, rel=1e-6, abs=1e-8)
    assert found.solution.reason.name == "direct"


@pytest.mark.parametrize("seed", range(8))
def test_a_system_that_is_singular_but_for_rounding_counts_as_singular(seed: int) -> None:
    # rounding leaves some of these a pivot of 1e-17, others a negative one
    X, y, _ = draw(weighted=False, seed=seed)
    X = np.column_stack([X, X @ [1.0, 0.3, -0.7, 0.1]])
    found = fit(X, y, scaled=False)
    np.testing.assert_allclose(found.weights, smallest(X, y, True)[0], rtol=1e-6)


@pytest.mark.parametrize("make", [duplicated, fewer_rows])
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.3), (0.05, 0.3)])
def test_a_penalty_makes_the_solution_of_collinear_columns_unique(
    make: Any, l1: float, l2: float
) -> None:
    X, y = make()
    found = fit(X, y, l1=l1, l2=l2)
    wanted = reference(X, y, None, l1, l2, True)
    np.testing.assert_allclose(found.weights, wanted.coef_, rtol=1e-6, atol=1e-8)


@every_strength
def test_a_constant_column_gets_no_coefficient(l1: float, l2: float) -> None:
    X, y, weight = draw(weighted=True)
    wide = np.insert(X, 2, 7.0, axis=1)
    found, without = (fit(rows, y, weight, l1=l1, l2=l2) for rows in (wide, X))
    assert found.weights[2] == 0.0
    np.testing.assert_allclose(np.delete(found.weights, 2), without.weights, rtol=1e-8)
    assert found.intercept == pytest.approx(without.intercept, rel=1e-8)


@every_strength
def test_constant_labels_are_the_intercept(l1: float, l2: float) -> None:
    X, y, weight = draw(weighted=True)
    found = fit(X, np.full(len(y), 4.5), weight, l1=l1, l2=l2)
    np.testing.assert_allclose(found.weights, np.zeros(4), atol=1e-14)
    assert found.intercept == pytest.approx(4.5, rel=1e-14)


def test_the_least_strength_that_removes_all_columns() -> None:
    # at zero the subgradient of column j is |x_j' y| / n: no column enters at the largest of them
    X, y, _ = draw(weighted=False)
    largest = np.max(np.abs((X - X.mean(axis=0)).T @ (y - y.mean()))) / len(y)
    np.testing.assert_array_equal(fit(X, y, l1=largest * (1.0 + 1e-9)).weights, np.zeros(4))
    assert np.count_nonzero(fit(X, y, l1=largest * 0.999).weights) == 1


def test_sweeps_that_run_out_are_named() -> None:
    X, y, _ = draw(weighted=False)
    found = fit(X, y, l1=0.01, solver=NormalEquations(tol=1e-12, max_iter=2))
    assert (found.solution.reason.name, found.solution.reason.iteration) == ("max_iter", 2)
    assert not found.solution.reason.converged


def test_penalties_share_a_pass() -> None:
    """Each in its own scale, which depends on the L2 penalty."""
    X, y, weight = draw(weighted=True)
    X = np.insert(X, 2, 7.0, axis=1)
    layout = Layout(5)
    mean = np.average(X, axis=0, weights=weight)
    deviation = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    strengths = [(0.5, 0.0), (0.05, 3.0), (0.0, 30.0), (0.01, 0.2)]
    units = [
        standardize(layout, mean, deviation, curvature=1.0, l2=l2, standardized=False)
        for _, l2 in strengths
    ]
    blocks = LocalBlocks([make_block(X, y, weight, False)])
    objective = BlockObjective(blocks, Squared(), LinearPredictor(layout), units)
    penalties = [one.penalty(l1, l2) for one, (l1, l2) in zip(units, strengths, strict=True)]
    solver = NormalEquations(tol=1e-12, max_iter=100_000)
    found = solver.solve(objective, penalties, float(np.average(y, weights=weight)))
    assert objective.passes == 1
    for one, solution, (l1, l2) in zip(units, found, strengths, strict=True):
        [coef] = one.to_stored(solution.coef[None, :])
        alone = reference(X, y, weight, l1, l2, True)
        np.testing.assert_allclose(coef[:5], alone.coef_, rtol=1e-6, atol=1e-9)
        assert coef[5] == pytest.approx(alone.intercept_, rel=1e-6)


# ---------------------------------------------------- standard errors


def inverse_diagonal(
    X: Array, weight: Array | None, fit_intercept: bool, penalty: Array | float = 0.0
) -> Array:
    """Diagonal of the inverse of ``A^T V A`` plus a penalty on the columns of X, in plain NumPy."""
    A = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    v = ones_or(weight, len(X))
    strengths = np.zeros(A.shape[1])
    strengths[: X.shape[1]] = penalty
    moments = A.T @ (v[:, None] * A) + float(v.sum()) * np.diag(strengths)
    return np.diag(np.linalg.inv(moments))


@both_forms
@both_weights
@both_intercepts
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_precision_is_that_of_the_formula(
    compressed: bool, weighted: bool, fit_intercept: bool, l2: float
) -> None:
    X, y, weight = draw(weighted)
    X = X + np.array([0.0, 5.0, 0.0, -100.0])
    for label_scale, off_centre in ((1.0, 0.0), (2.5, 0.7)):
        found = fit(
            X,
            y,
            weight,
            l2=l2,
            fit_intercept=fit_intercept,
            compressed=compressed,
            label_scale=label_scale,
            off_centre=off_centre if fit_intercept else 0.0,
        )
        precision = found.solution.precision
        assert precision is not None
        expected = inverse_diagonal(X, weight, fit_intercept, l2)
        np.testing.assert_allclose(precision.inverse, expected, rtol=1e-8)
        residual = X @ found.weights + found.intercept - y
        squares = float(ones_or(weight, len(y)) @ residual**2)
        assert precision.residual_sum == pytest.approx(squares, rel=1e-8)
        assert found.passes == 1


def test_small_residuals_are_summed_row_by_row() -> None:
    X, y, weight = draw(weighted=True)
    y = X @ [2.0, -0.4, 0.0, 0.6] + 3.0 + 1e-7 * np.random.default_rng(1).normal(size=len(X))
    found = fit(X, y, weight, label_mean=float(np.average(y, weights=weight)))
    residual = X @ found.weights + found.intercept - y
    assert weight is not None
    precision = found.solution.precision
    assert precision is not None
    # of a difference of sums, which are 1e14 times as large, no two digits would be left
    assert precision.residual_sum == pytest.approx(float(weight @ residual**2), rel=1e-6)
    assert found.passes == 2


@both_intercepts
def test_there_is_no_precision_where_the_solution_is_not_the_only_one(fit_intercept: bool) -> None:
    X, y, _ = draw(weighted=False)
    for column in (X[:, 0] - X[:, 2], np.zeros(len(X))):
        collinear = np.column_stack([X, column])
        assert fit(collinear, y, fit_intercept=fit_intercept).solution.precision is None
    assert fit(X, y, l1=0.1, fit_intercept=fit_intercept).solution.precision is None


def test_penalties_over_the_same_rows_have_precisions_of_their_own() -> None:
    X, y, _ = draw(weighted=False)
    layout, strengths = Layout(4), (0.0, 0.5, 3.0)
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    units = [standardize(layout, mean, deviation, curvature=1.0, l2=l2) for l2 in strengths]
    objective = BlockObjective(
        LocalBlocks([make_block(X, y, None, False)]), Squared(), LinearPredictor(layout), units
    )
    penalties = [one.penalty(0.0, l2, deviation) for one, l2 in zip(units, strengths, strict=True)]
    solutions = NormalEquations().solve(objective, penalties, float(y.mean()))
    for solution, l2 in zip(solutions, strengths, strict=True):
        assert solution.precision is not None
        expected = inverse_diagonal(X, None, True, l2 * deviation**2)
        np.testing.assert_allclose(solution.precision.inverse, expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("rows", "nonzeros", "features", "direct"),
    [
        (1e3, 10, 10, True),
        (1e7, 100, 100, True),
        (1e5, 10, 1_000, True),
        (1e6, 1_000, 1_000, True),
        # 5 s for the system, beside half a second of iterations
        (6e4, 40, 4_000, False),
        # 80 s for the sums, beside 24 s
        (1e5, 4_000, 4_000, False),
    ],
)
def test_the_direct_solver_is_for_data_where_it_costs_little(
    rows: float, nonzeros: float, features: int, direct: bool
) -> None:
    assert pays_direct(rows, nonzeros, features) == direct
