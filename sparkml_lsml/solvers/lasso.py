"""The lasso for a matrix of products: coordinate descent with Newton steps, without any pass."""

import numpy as np
import numpy.typing as npt
from scipy import linalg

from sparkml_lsml.solvers.base import Array

PRECISION = 1e-2
"""The last sweep may change coordinates by this part of the tolerance."""

PATIENCE = 10
"""Sweeps after which Newton steps no longer wait for signs that stay, and become more."""

ROUNDING = 1e-13
"""Gap, as a share of the label's mean square, that cannot be told from rounding."""


def lasso(
    matrix: Array,
    vector: Array,
    square: float,
    l1: Array,
    start: Array,
    *,
    tol: float,
    max_iter: int,
) -> tuple[Array, int, bool]:
    r"""Minimise :math:`\frac{1}{2} w^T M w - v^T w + \sum_j \lambda_j |w_j|`.

    Sweeps over the coordinates find out which of them are zero. Where columns are nearly collinear
    they would move the others by ever less, for ever; so once the signs are those of the sweep
    before, a Newton step goes to the minimum for these signs, or as far as they last.

    Parameters
    ----------
    matrix : array of shape (features, features)
        Positive semidefinite: mean products of the features, the L2 penalty on its diagonal.
    vector : array of shape (features,)
        Mean products of features and label.
    square : float
        Mean square of the label.
    l1, start : arrays of shape (features,)
    tol : float
        Relative to the objective, for the duality gap; a hundredth of it for the largest change of
        a coordinate in the last sweep, relative to the largest coordinate.
    max_iter : int
        Sweeps, at most.

    Returns
    -------
    weights : array of shape (features,)
    sweeps : int
    converged : bool

    References
    ----------
    Friedman, Hastie and Tibshirani (2010), Regularization paths for generalized linear models via
    coordinate descent, section 2.2 (covariance updates). Lee, Battle, Raina and Ng (2007),
    Efficient sparse coding algorithms, NIPS 19 (the step for given signs). The gap is the lasso's,
    with the L2 penalty as further rows.

    Examples
    --------
    >>> import numpy as np
    >>> weights, sweeps, converged = lasso(
    ...     np.eye(2), np.array([3.0, 0.5]), 9.25, np.ones(2), np.zeros(2), tol=1e-6, max_iter=9
    ... )
    >>> weights.tolist(), converged
    ([2.0, 0.0], True)
    """
    weights = start.copy()
    columns = np.flatnonzero(np.diag(matrix) > 0.0)
    signs: Array | None = None
    settled = False  # at the minimum for the signs
    for sweep in range(1, max_iter + 1):
        residual = vector - matrix @ weights
        largest = _sweep(matrix, residual, l1, weights, columns)
        small = largest <= PRECISION * tol * max(
            float(np.max(np.abs(weights), initial=0.0)), 1e-300
        )
        now = np.sign(weights)
        same = signs is not None and np.array_equal(now, signs)
        if small:
            known = settled and same
            if known or _gap_is_small(matrix, vector, square, l1, weights, tol):
                return weights, sweep, True
        settled = False
        # where sweeps undo each other's signs, more steps at a time come to the end of it
        for _ in range(sweep // PATIENCE if sweep >= PATIENCE else same):
            if settled := _to_the_minimum(matrix, vector, l1, weights):
                break
        signs = np.sign(weights)
    return weights, max_iter, False


def _sweep(
    matrix: Array,
    residual: Array,
    l1: Array,
    weights: Array,
    columns: npt.NDArray[np.intp],
) -> float:
    """Minimise over one coordinate after another, in place; the largest change."""
    largest = 0.0
    for j in columns:
        old, curvature = weights[j], matrix[j, j]
        raw = residual[j] + curvature * old
        new = np.sign(raw) * max(abs(raw) - l1[j], 0.0) / curvature
        if new != old:
            residual -= matrix[:, j] * (new - old)
            weights[j] = new
            largest = max(largest, abs(new - old))
    return largest


def _to_the_minimum(matrix: Array, vector: Array, l1: Array, weights: Array) -> bool:
    """Go to the minimum for the signs of the weights, in place; False where one becomes zero."""
    active = np.flatnonzero(weights)
    if not len(active):
        return True
    here = weights[active]
    right = vector[active] - l1[active] * np.sign(here)
    part = matrix[np.ix_(active, active)]
    try:
        there = linalg.cho_solve(linalg.cho_factor(part), right)
    except linalg.LinAlgError:  # collinear: the sweeps go on alone
        return False
    if not np.isfinite(there).all():
        return False
    crossing = np.flatnonzero(there * here <= 0.0)
    if not len(crossing):
        weights[active] = there
        return True
    # along the way the objective falls until the first of them is zero
    shares = here[crossing] / (here[crossing] - there[crossing])
    first = crossing[int(np.argmin(shares))]
    weights[active] = here + float(shares.min()) * (there - here)
    weights[active[first]] = 0.0
    return False


def _gap_is_small(
    matrix: Array, vector: Array, square: float, l1: Array, weights: Array, tol: float
) -> bool:
    """Whether the duality gap is below the tolerance, relative to the objective."""
    correlation = vector - matrix @ weights
    fitted = float(vector @ weights)
    norm = square - fitted - float(weights @ correlation)  # of the residuals, squared
    penalty = float(l1 @ np.abs(weights))
    value = 0.5 * norm + penalty
    bound = np.abs(correlation)
    shrunk = bound > l1
    scale = float(np.min(l1[shrunk] / bound[shrunk], initial=1.0))
    gap = value + 0.5 * scale**2 * norm - scale * (square - fitted)
    return gap <= max(tol * value, ROUNDING * square)
