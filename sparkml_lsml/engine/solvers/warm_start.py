"""A start from a sample of the rows, for the quasi-Newton solvers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import linalg

from sparkml_lsml.engine.objective import BlockObjective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Solver
from sparkml_lsml.engine.solvers.lbfgs import LBFGS
from sparkml_lsml.engine.solvers.loop import minimize
from sparkml_lsml.engine.solvers.smoothed_lbfgs import SmoothedLBFGS

Array = npt.NDArray[np.float64]

ROWS_A_COEFFICIENT, LEAST_A_COEFFICIENT = 200, 20
"""Rows of the sample for each coefficient: wanted, and without which it is of no use."""

SAMPLE_BYTES = 32 * 2**20
RARER_A_COEFFICIENT, FEWEST_A_COEFFICIENT = 10, 1
"""Rows of a rare class for each coefficient: wanted, and without which the classes of a sample can
be separated where those of all rows cannot."""

BESIDE_RARE_A_COEFFICIENT = 2000
"""Rows wanted where a class is rare: few of the others are near its own, and these decide. Of
400,000 rows of 30 features with 37 positives a fit takes 20 passes with 200 rows a coefficient,
11 with 1,000 and 8 with 2,000."""

NO_LABELS: Mapping[float, int] = MappingProxyType({})

LEAST_GAIN = 0.01
"""Where a sample gains less, the cold start may be the minimum of a loss with kinks: the constant
model of a rare class, which is found sooner from there."""

MUCH_SMALLER, SMALLER_BESIDE_RARE = 10, 4
"""A sample is worth its pass where it is at most this part of the rows; a start without it takes
more passes where a class is rare."""

SAMPLE_TOL = 1e-4
"""What the sample is solved to: its minimum is farther than that from that of all rows."""

MOST_PRODUCTS = 1e12
"""Multiplications on the driver for the second derivatives of all models: half a minute."""

CURVATURE_BYTES = 2**30
"""Memory of the driver for the second derivatives of all models."""

KINK_WIDTH = 0.3
"""Width of the smoothed kinks in the curvature: narrower ones are met by too few rows."""


@dataclass(frozen=True)
class Sample:
    """How many rows to draw, about.

    Attributes
    ----------
    rows : int
        0 where no sample helps.
    shares : dict of float to float
        Labels so rare that more of their rows are drawn, and the fraction of these.
    """

    rows: int = 0
    shares: dict[float, float] = field(default_factory=dict)


def sample_of(
    objective: BlockObjective, nbytes: int, models: int = 1, labels: Mapping[float, int] = NO_LABELS
) -> Sample:
    """A sample that helps, or one of no rows where none does, or where it would take too much.

    Parameters
    ----------
    objective : BlockObjective
    nbytes : int
        Bytes of all rows.
    models : int
        Models that start from it.
    labels : mapping of float to int
        Rows of each class, if labels are classes.
    """
    rows, layout = objective.blocks.rows, objective.layout
    predictor = objective.predictor
    if not objective.linear or predictor.outputs != 1 or layout.constants:
        return Sample()
    squares = models * layout.size**2
    if 8 * squares > CURVATURE_BYTES:
        return Sample()
    fits = min(SAMPLE_BYTES * rows // max(1, nbytes), MOST_PRODUCTS // squares)
    wanted = int(min(ROWS_A_COEFFICIENT * layout.size, fits, rows // MUCH_SMALLER))
    if wanted < LEAST_A_COEFFICIENT * layout.size:
        return Sample()
    if len(labels) == 2 and min(labels.values()) < FEWEST_A_COEFFICIENT * layout.size:
        return Sample()
    if _shares(wanted, rows, labels, layout.size):
        beside = BESIDE_RARE_A_COEFFICIENT * layout.size
        wanted = int(min(beside, fits, rows // SMALLER_BESIDE_RARE))
    return Sample(wanted, _shares(wanted, rows, labels, layout.size))


def _shares(wanted: int, rows: int, labels: Mapping[float, int], size: int) -> dict[float, float]:
    """Labels of which fewer than wanted would be drawn with the others, and their fractions."""
    # of all classes together no more than of the others
    least = min(RARER_A_COEFFICIENT * size, wanted / max(1, len(labels)))
    return {
        label: min(1.0, least / count)
        for label, count in labels.items()
        if 0 < count * wanted < least * rows
    }


def starts_warm(solver: Solver, penalty: ElasticNet) -> bool:
    """Whether a solver makes use of a start with its curvature."""
    quasi_newton = isinstance(solver, LBFGS) or (
        isinstance(solver, SmoothedLBFGS) and isinstance(solver.inner, LBFGS)
    )
    return quasi_newton and not np.any(penalty.l1())


def warm_start(
    objective: BlockObjective,
    penalties: Sequence[ElasticNet],
    solvers: Sequence[Solver],
    coef: Array,
    sample: Sample,
    max_iter: Sequence[int],
) -> tuple[Array, list[Solver]]:
    """Solve a sample on the driver; where to start, and solvers that know the curvature there.

    With the second derivatives of the sample in place of a multiple of the identity, L-BFGS needs
    a fifth of the passes over all rows. It corrects what the sample got wrong. Its first pass
    evaluates the cold start as well, and where that is better it begins there. A sample whose own
    minimum was not found is not used: its rows may be separable, and bend nothing.

    Parameters
    ----------
    objective : BlockObjective
    penalties, solvers : sequences, one for each model
    coef : array of shape (models, size)
    sample : Sample
    max_iter : sequence of int

    References
    ----------
    Byrd, Chin, Neveitt and Nocedal (2011), On the use of stochastic Hessian information in
    optimization methods for machine learning, SIAM Journal on Optimization 21.
    """
    drawn = objective.sample(sample.rows, sample.shares)
    roughly = [replace(solver, tol=max(SAMPLE_TOL, solver.tol)) for solver in solvers]  # type: ignore[type-var, attr-defined]
    solutions = minimize(drawn, penalties, roughly, coef, max_iter=max_iter)
    cold, _ = drawn.value_and_gradient(coef)
    starts, warm = coef.copy(), list(solvers)
    for k, solution in enumerate(solutions):
        if not solution.reason.converged:
            continue
        gain = cold[k] + penalties[k].value(coef[k]) - solution.objective
        if not objective.loss.smooth and gain <= LEAST_GAIN * abs(solution.objective):
            continue
        solver = solvers[k]
        unit = solver.unit if isinstance(solver, SmoothedLBFGS) else 1.0
        bend = drawn.curvature(solution.coef, KINK_WIDTH * unit, k)
        bend = bend + np.diag(np.broadcast_to(np.asarray(penalties[k].l2()), len(bend)))
        # columns that are constant in the sample bend nothing there
        mean = float(np.trace(bend)) / len(bend)
        bend[np.diag_indices(len(bend))] += 1e-6 * mean
        try:
            factor = linalg.cholesky(bend, lower=True)
        except linalg.LinAlgError:
            continue
        starts[k] = solution.coef
        if isinstance(solver, LBFGS):
            warm[k] = replace(solver, curvature=factor, cold=coef[k])
        elif isinstance(solver, SmoothedLBFGS) and isinstance(solver.inner, LBFGS):
            inner = replace(solver.inner, curvature=factor, cold=coef[k])
            warm[k] = replace(solver, inner=inner)
    return starts, warm
