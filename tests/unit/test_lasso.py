"""The lasso on summed products, against the homotopy of least angle regression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import ElasticNet, LassoLars

from sparkml_lsml.engine.solvers.lasso import lasso

Array = npt.NDArray[np.float64]
ROWS = 1_000


def collinear(noise: float, factor: float) -> tuple[Array, Array]:
    """Two columns that hardly differ, and labels that are their difference."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=ROWS)
    second = first + noise * rng.normal(size=ROWS)
    return np.stack([first, second], 1), factor * (first - second) + 0.1 * rng.normal(size=ROWS)


def powers() -> tuple[Array, Array]:
    t = np.linspace(0.0, 6.0, ROWS)
    return np.stack([t**k for k in range(1, 6)], 1), np.sin(t)


def lags() -> tuple[Array, Array]:
    """A random walk, and the steps before each of its own."""
    walk = np.cumsum(np.random.default_rng(0).normal(size=ROWS + 60))
    return np.stack([walk[60 - k : ROWS + 60 - k] for k in range(1, 40)], 1), walk[60:]


def centred(X: Array, y: Array) -> tuple[Array, Array]:
    """Columns of unit variance, and the label."""
    return (X - X.mean(axis=0)) / X.std(axis=0), y - y.mean()


def solve(
    Z: Array, y: Array, l1: float, l2: float = 0.0, tol: float = 1e-6, max_iter: int = 1_000
) -> tuple[Array, int, bool]:
    """Minimise half the mean squared error and the penalties, from zeros."""
    rows, size = Z.shape
    matrix = Z.T @ Z / rows + l2 * np.eye(size)
    start, strengths = np.zeros(size), np.full(size, l1)
    square = float(y @ y) / rows
    return lasso(matrix, Z.T @ y / rows, square, strengths, start, tol=tol, max_iter=max_iter)


@pytest.mark.parametrize(
    ("rows", "strength"),
    [
        (collinear(0.01, 100.0), 1e-4),
        (collinear(0.001, 1_000.0), 1e-4),
        (powers(), 1e-4),
        (lags(), 1e-3),
    ],
    ids=["collinear", "more so", "powers", "lags"],
)
def test_nearly_collinear_columns(rows: tuple[Array, Array], strength: float) -> None:
    """Coordinate descent alone is far from the minimum after a thousand sweeps."""
    Z, y = centred(*rows)
    found, _, converged = solve(Z, y, strength)
    reference = LassoLars(alpha=strength, fit_intercept=False, max_iter=10_000).fit(Z, y)
    assert converged
    np.testing.assert_allclose(found, reference.coef_, atol=1e-5 * np.abs(reference.coef_).max())


def test_an_elastic_net_of_repeated_columns() -> None:
    """Its matrix is singular but for the L2 penalty, which shares the weight out evenly."""
    rng = np.random.default_rng(1)
    X = np.repeat(rng.normal(size=(300, 5)), 3, axis=1)
    Z, y = centred(X, X.sum(axis=1) + rng.normal(size=300))
    l1, l2 = 0.05, 0.02
    found, _, converged = solve(Z, y, l1, l2, tol=1e-10)
    net = ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), fit_intercept=False, tol=1e-14)
    assert converged
    np.testing.assert_allclose(found, net.set_params(max_iter=100_000).fit(Z, y).coef_, rtol=1e-6)


def test_repeated_columns_without_another_penalty() -> None:
    """Only the sum over the copies is determined; the objective is."""
    rng = np.random.default_rng(1)
    X = np.repeat(rng.normal(size=(300, 5)), 3, axis=1)
    Z, y = centred(X, X.sum(axis=1) + rng.normal(size=300))
    found, _, converged = solve(Z, y, 0.05, tol=1e-9)
    single = LassoLars(alpha=0.05, fit_intercept=False).fit(Z[:, ::3], y)
    assert converged
    np.testing.assert_allclose(found.reshape(5, 3).sum(axis=1), single.coef_, rtol=1e-6)


@pytest.mark.parametrize("wide", [False, True], ids=["combinations", "more columns than rows"])
def test_columns_that_depend_on_each_other(wide: bool) -> None:
    """Not all coefficients are determined; the objective is."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 120)) if wide else rng.normal(size=(500, 20))
    X = X if wide else np.column_stack([X, X @ rng.normal(size=(20, 20))])
    y = X[:, :20].sum(axis=1) + rng.normal(size=len(X))
    Z, y = centred(X, y)
    strength = 1e-3 if wide else 1e-4
    found, _, converged = solve(Z, y, strength)
    reference = LassoLars(alpha=strength, fit_intercept=False, max_iter=10_000).fit(Z, y)

    def objective(coef: Array) -> float:
        residual = y - Z @ coef
        return float(residual @ residual / (2 * len(y)) + strength * np.abs(coef).sum())

    assert converged
    assert objective(found) <= objective(reference.coef_) * (1.0 + 1e-6)


def test_sweeps_that_run_out() -> None:
    Z, y = centred(*lags())
    _, sweeps, converged = solve(Z, y, 1e-3, tol=1e-12, max_iter=3)
    assert (sweeps, converged) == (3, False)
