"""The lasso for a matrix of products: coordinate descent with Newton steps, without any pass."""

import numpy as np
import numpy.typing as npt
from scipy import linalg

from sparkml_lsml.engine.solvers.base import Array

PRECISION = 1e-2
"""The last sweep may change coordinates by this part of the tolerance."""

PATIENCE = 10
"""Sweeps after which Newton steps no longer wait for signs that stay."""

MOST_PRODUCTS = 5e11
"""Multiplications that the factors of Newton steps may take in all: some ten seconds."""

SINGULAR = 1e-12
"""Share of its square that a column may have apart from others and still be their combination."""

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
    settled, products = False, 0.0
    for sweep in range(1, max_iter + 1):
        residual = vector - matrix @ weights
        largest = _sweep(matrix, residual, l1, weights, columns)
        size = float(np.max(np.abs(weights), initial=0.0))
        now = np.sign(weights)
        same = signs is not None and np.array_equal(now, signs)
        if largest <= PRECISION * tol * max(size, 1e-300):
            known = settled and same
            if known or _gap_is_small(matrix, vector, square, l1, weights, tol):
                return weights, sweep, True
        # where sweeps undo each other's signs, they would never stay
        settled = False
        whole = not (same or sweep >= PATIENCE)
        while not whole and products <= MOST_PRODUCTS:
            products += np.count_nonzero(weights) ** 3 / 3.0
            whole, settled = _newton(matrix, vector, l1, weights)
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


def _newton(matrix: Array, vector: Array, l1: Array, weights: Array) -> tuple[bool, bool]:
    """Step towards the minimum for the signs of the weights, in place.

    Where columns are collinear, the step is along a combination of them that is 0, until one of
    their weights is.

    Returns
    -------
    whole : bool
        Whether the columns were independent, or no step is left to take.
    settled : bool
        Whether the minimum is reached.
    """
    active = np.flatnonzero(weights)
    if not len(active):
        return True, True
    here = weights[active]
    part = matrix[np.ix_(active, active)]
    down = vector[active] - l1[active] * np.sign(here) - part @ here
    factor, info = linalg.lapack.dpotrf(part)
    pivots = np.square(np.diag(factor))[: info - 1 if info else None]
    small = np.flatnonzero(pivots <= SINGULAR * np.diag(part)[: len(pivots)])
    whole = not info and not len(small)
    if whole:
        step = linalg.cho_solve((factor, False), down)
    else:
        first = int(small[0]) if len(small) else info - 1
        step = np.zeros(len(active))
        step[first] = -1.0
        if first:
            upper = factor[:first, :first]
            step[:first] = linalg.cho_solve((upper, False), part[:first, first])
    if down @ step < 0.0:
        step = -step
    share, at = _line(here, step, l1[active], float(down @ step), float(step @ part @ step))
    if not np.isfinite(share):
        return True, False
    weights[active] = here + share * step
    if at >= 0:
        weights[active[at]] = 0.0
    return whole or at < 0, whole and share == 1.0


def _line(here: Array, step: Array, l1: Array, slope: float, bend: float) -> tuple[float, int]:
    """The minimum along a step, and the coordinate that is zero there, or -1.

    The derivative is ``-slope + t * bend``, and grows where a coordinate changes its sign.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(step * here < 0.0, -here / step, np.inf)
    jump = 0.0
    for j in np.argsort(shares):
        share = float(shares[j])
        full = (slope - jump) / bend if bend > 0.0 else np.inf
        if full <= share:
            return (1.0 if jump == 0.0 and abs(full - 1.0) < 1e-9 else full), -1
        if not np.isfinite(share):
            break
        jump += 2.0 * float(l1[j] * abs(step[j]))
        if slope - jump - share * bend <= 0.0:
            return share, int(j)
    return np.inf, -1


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
