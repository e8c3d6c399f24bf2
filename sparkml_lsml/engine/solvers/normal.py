"""The direct solver of least squares: normal equations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from sparkml_lsml.engine.objective import BlockObjective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.engine.solvers.base import Array, Iteration, Precision, Reason, Solution
from sparkml_lsml.engine.solvers.lasso import lasso

MAX_FEATURES = 4_096
"""More features make the matrix of second moments too large for a driver (128 MB here)."""

PASSES = 30
"""Passes that a quasi-Newton method takes, as a rule."""

PASS_SECONDS = 0.005
"""What such a pass takes at least."""

TIMES_SLOWER = 3.0
SECONDS_SLOWER = 2.0
"""What an exact solution with standard errors may cost: so many times what iterations take, or so
many seconds."""

PIECE = 256
"""Rows of a factor that are copied at a time."""

CANCELLED = 1e-6
"""Share of the label's variance below which residuals are summed row by row: as a difference of
sums they would have lost that many digits."""


@dataclass(frozen=True)
class NormalEquations:
    r"""Solves least squares in ONE pass, from :math:`\sum w z z^T` and :math:`\sum w z y`.

    Features are centred and scaled while they are summed, so the condition number is that of
    their correlations. A singular system without penalty gets the solution of smallest norm, and
    so does one whose columns differ by less than a millionth of their deviation: the sums hold
    the squares of such differences, and no digits of them. An L1 penalty is solved by coordinate
    descent and Newton steps on the summed matrix (see `lasso`), which need no further pass; nor do
    other penalties for the same rows. Only where the residuals are so small that their sum cannot
    be told from the sums, a second pass adds them up.

    The solution's `Precision` is the diagonal of the inverse of :math:`X^T V X + \sum_i v_i R`, V
    being the weights and R the L2 penalty: MLlib's. There is none with an L1 penalty, nor where
    the columns do not determine the coefficients.

    Parameters
    ----------
    tol : float
        For the L1 penalty: relative to the objective, see `lasso`.
    max_iter : int
        For the L1 penalty: sweeps at most.
    """

    tol: float = 1e-6
    max_iter: int = 1_000
    name: str = "normal"
    needs_smooth: bool = True

    def solve(
        self, objective: BlockObjective, penalties: Sequence[ElasticNet], label_mean: float
    ) -> list[Solution]:
        """Minimise half the mean squared error plus each of the penalties.

        With an L1 penalty each solution is the start of the next.

        Parameters
        ----------
        objective : BlockObjective
            Of the squared loss, with one output; the models of the batch give the rows the same
            weights and differ in the scale of their features at most.
        penalties : sequence of ElasticNet, one a model
        label_mean : float
            Labels are centred by it when there is an intercept.

        Raises
        ------
        ValueError
            If raw predictions are not linear in the coefficients.
        """
        if not objective.linear:
            raise ValueError(
                "the normal equations are those of a linear predictor, found "
                f"{type(objective.predictor).__name__}: use solver='auto'"
            )
        shift = label_mean if objective.layout.fit_intercept else 0.0
        total = objective.gram(shift)
        scale = objective.standardization.scale
        solutions: list[Solution] = []
        start = np.zeros(len(scale))
        for k, penalty in enumerate(penalties):
            own = objective.of(k)
            # what the sums would be in the scale of this model
            ratio = np.ones_like(scale)
            np.divide(own.standardization.scale, scale, out=ratio, where=scale > 0.0)
            factors = np.append(ratio, 1.0)
            products = total.products / total.weight
            if (ratio != 1.0).any():
                products *= np.outer(factors, factors)
            sums = factors * total.sums / total.weight
            solution = self._minimum(
                own, products, sums, total.weight, penalty, shift, start / ratio
            )
            start = solution.coef[: len(scale)] * ratio
            solutions.append(solution)
        return self._with_residuals(objective, solutions, total.weight)

    def _with_residuals(
        self, objective: BlockObjective, solutions: list[Solution], weight: float
    ) -> list[Solution]:
        """Fill in the sums of residuals that were lost to rounding (NaN), in one more pass."""
        lost = [
            k
            for k, solution in enumerate(solutions)
            if solution.precision is not None and np.isnan(solution.precision.residual_sum)
        ]
        if not lost:
            return solutions
        coef = np.stack([solutions[k].coef for k in lost])
        losses, _ = objective.value_and_gradient(coef, models=lost)
        found = list(solutions)
        for k, loss in zip(lost, losses, strict=True):
            precision = found[k].precision
            assert precision is not None
            known = replace(precision, residual_sum=2.0 * weight * float(loss))
            found[k] = replace(found[k], precision=known)
        return found

    def _minimum(
        self,
        objective: BlockObjective,
        products: Array,
        sums: Array,
        weight: float,
        penalty: ElasticNet,
        shift: float,
        start: Array,
    ) -> Solution:
        """The minimum for mean products, which are overwritten, and means of features and label."""
        layout, unit = objective.layout, objective.standardization.label_scale
        features = layout.features
        if layout.fit_intercept:
            # what is left of the means after rounding is removed exactly
            products -= np.outer(sums, sums)
        matrix = products[:features, :features] * unit**2
        vector = products[:features, features] * unit
        l1 = np.broadcast_to(np.asarray(penalty.l1(), dtype=np.float64), (layout.size,))
        l2 = np.broadcast_to(np.asarray(penalty.l2(), dtype=np.float64), (layout.size,))
        np.fill_diagonal(matrix, np.diag(matrix) + l2[:features])
        factor: Array | None = None
        if l1.any():
            weights, sweeps, converged = lasso(
                matrix,
                vector,
                float(products[features, features]),
                l1[:features],
                start,
                tol=self.tol,
                max_iter=self.max_iter,
            )
            reason = Reason("converged" if converged else "max_iter", sweeps)
        else:
            weights, factor = _solve(matrix, vector)
            reason = Reason("direct", 1)
        coef = np.zeros(layout.size)
        coef[layout.weights] = weights
        if layout.fit_intercept:
            # z was centred by the means of the ingest, the labels by theirs
            coef[layout.intercepts] = (shift + sums[features]) / unit - sums[:features] @ weights
        variance = float(products[features, features])
        fit = 0.5 * variance - float(vector @ weights)
        smooth = fit + 0.5 * float(weights @ matrix @ weights)
        value = smooth + float(l1[:features] @ np.abs(weights))
        gradient = matrix @ weights - vector
        norm = float(np.linalg.norm(gradient)) if not l1.any() else float("nan")
        line = Iteration(reason.iteration, value, norm, float("nan"), objective.passes, 0.0)
        precision = None
        if factor is not None:
            squares = 2.0 * smooth - float(l2[:features] @ np.square(weights))
            lost = not squares > CANCELLED * variance
            inverse = _inverse_diagonal(factor, objective.standardization, sums[:features])
            precision = Precision(np.nan if lost else weight * squares, inverse / weight)
        return Solution(coef, value, (line,), reason, precision)


def pays_direct(rows: float, nonzeros: float, features: int) -> bool:
    """Whether the normal equations take about as long as iterations, or hardly any time.

    One core that was measured adds up 2e10 products of dense rows in a second, 2e8 of sparse ones,
    and takes 4.7 s for the solution and the errors of 4,000 coefficients; it does 5e8 of the
    products of a pass of L-BFGS, of which each value has two.

    Parameters
    ----------
    rows : float
    nonzeros : float
        Stored values of a row, on average: all features of a dense one.
    features : int

    Examples
    --------
    >>> pays_direct(1e6, 100, 100), pays_direct(60_000, 40, 4_000)
    (True, False)
    """
    sums = rows * min(5e-11 * features**2, 5e-9 * nonzeros**2)
    direct = sums + 7e-11 * features**3
    iterations = PASSES * (PASS_SECONDS + 2e-9 * rows * nonzeros)
    return direct <= max(TIMES_SLOWER * iterations, iterations + SECONDS_SLOWER)


def _solve(matrix: Array, vector: Array) -> tuple[Array, Array | None]:
    """Cholesky; for a singular matrix the solution of smallest norm, and no factor."""
    used = np.diag(matrix) > 0.0
    weights = np.zeros(len(vector))
    if not used.any():
        return weights, None
    part, right = matrix if used.all() else matrix[np.ix_(used, used)], vector[used]
    try:
        factor, _ = linalg.cho_factor(part)
        if np.min(np.diag(factor)) ** 2 > 1e-10 * np.max(np.diag(part)):
            weights[used] = linalg.cho_solve((factor, False), right)
            return weights, factor if used.all() else None
    except linalg.LinAlgError:
        pass  # not positive definite to working precision: collinear columns
    values, vectors = linalg.eigh(part)
    keep = values > 1e-12 * values[-1]
    weights[used] = vectors[:, keep] @ ((vectors[:, keep].T @ right) / values[keep])
    return weights, None


def _inverse_diagonal(factor: Array, units: Standardization, means: Array) -> Array:
    """Diagonal of the inverse of the mean second moments, in the units of the rows.

    Parameters
    ----------
    factor : array of shape (features, features)
        Upper Cholesky factor of the solver's matrix, which is about the means.
    units : Standardization
    means : array of shape (features,)
        Of the solver's features.
    """
    root, _ = linalg.lapack.dtrtri(factor)
    unit = units.label_scale * units.scale
    inverse = np.zeros(len(unit))
    for start in range(0, len(unit), PIECE):  # what is below the diagonal is of no meaning
        at = slice(start, start + PIECE)
        rows = np.triu(root[at, start:]) * unit[at, None]
        inverse[at] = np.square(rows).sum(axis=1)
    if units.layout.fit_intercept:
        centre = units.shift + means / units.scale
        if units.origin is not None:
            centre = centre + units.origin
        centre = centre * unit
        product = linalg.blas.dtrmv(root, centre, trans=1)
        inverse = np.append(inverse, 1.0 + float(product @ product))
    return inverse
