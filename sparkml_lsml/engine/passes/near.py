"""The loss as it is for the rows near its kinks, and a line for each of the others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.kernels.value_gradient import value_and_gradient
from sparkml_lsml.engine.passes.gradient import GradientPass, LossSum
from sparkml_lsml.engine.passes.rows import RowsSum
from sparkml_lsml.engine.predictors.base import Predictor
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses.base import Loss, PiecewiseLinearLoss

Array = npt.NDArray[np.float64]


@dataclass
class NearSum:
    """Loss and gradient of all rows, and those rows that are near the kinks.

    Attributes
    ----------
    total : LossSum
    rows : RowsSum
    radius : float
        Rows nearer to a kink than this are all there; infinite where none is left out.
    """

    total: LossSum
    rows: RowsSum
    radius: float

    def merge(self, other: "NearSum") -> "NearSum":
        """Add other rows, in place."""
        self.total.merge(other.total)
        self.rows.merge(other.rows)
        self.radius = min(self.radius, other.radius)
        return self


@dataclass(frozen=True, eq=False)
class NearPass:
    """Loss and gradient of one model over all rows, and the rows nearest to the kinks.

    Which rows these are follows from the block and the coefficients alone.

    Parameters
    ----------
    loss : PiecewiseLinearLoss
    predictor : LinearPredictor
    coef : array of shape (1, size)
        For the stored features.
    width : float
        Over which the kinks are smoothed in loss and gradient.
    share : float
        Of the rows of a block: more only where more are within the parabola of the kink.
    most : float
        Share that there is room for.
    """

    loss: PiecewiseLinearLoss
    predictor: LinearPredictor
    coef: Array
    width: float
    share: float
    most: float

    @property
    def smoothed(self) -> Loss:
        """The loss that is summed."""
        return self.loss.smoothed(np.array([self.width]))

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`; of the gradient, for rows add up to nothing smaller."""
        return self.coef.nbytes

    def __call__(self, block: Block, partition: int) -> NearSum:
        """Sums and rows of one block."""
        total = GradientPass(self.smoothed, self.predictor, self.coef)(block, partition)
        rows, radius = self._nearest(block)
        return NearSum(total, RowsSum([(partition, block.subset(rows))]), radius)

    def _nearest(self, block: Block) -> tuple[npt.NDArray[np.intp], float]:
        parts = []
        for X, y, weight in block.chunks():
            away = self.loss.distance(y, self.predictor.raw(X, self.coef)[:, 0, 0])
            # a row of weight 0 is no row
            parts.append(away if weight is None else np.where(weight > 0.0, away, inf))
        away = np.concatenate(parts) if parts else np.zeros(0)
        inside = int(np.count_nonzero(away < 0.5 * self.width))
        count = min(max(ceil(self.share * block.rows), inside), int(self.most * block.rows))
        if count >= int(np.count_nonzero(away < inf)):
            return np.flatnonzero(away < inf), inf
        radius = float(np.partition(away, count)[count])
        return np.flatnonzero(away < radius), radius


class NearRows:
    r"""A convex loss that is no higher than that of all rows, and takes few of them.

    Rows near the kinks at some coefficients, the anchor, are taken as they are. All others count by
    the tangent of their loss there, which is below it, and the same as long as they stay on their
    side. So value and gradient at the anchor are those of all rows, and elsewhere

    .. math:: m(w) = f(a) + g^T (w - a) + \sum_{i \text{ near}}
        \left( \ell_i(w) - \ell_i(a) - \nabla \ell_i(a)^T (w - a) \right) \le f(w) .

    Parameters
    ----------
    total : NearSum
    task : NearPass
        What found it.
    units : Standardization
    anchor : array of shape (size,)
        In the solver's units.
    """

    def __init__(
        self, total: NearSum, task: NearPass, units: Standardization, anchor: Array
    ) -> None:
        self.radius = total.radius
        self.weight = float(np.asarray(total.total.weight)[0])
        self._task, self._units, self._anchor = task, units, anchor
        self._block = total.rows.block()
        assert total.total.value is not None
        gradient = total.total.whole_gradient(len(anchor))
        self._whole = (
            float(total.total.value[0]) / self.weight,
            units.gradient(gradient / self.weight)[0],
        )
        value, slope = self._near(task.smoothed, anchor)
        self._rest = self._whole[0] - value, self._whole[1] - slope

    def value_and_gradient(self, coef: Array, width: float) -> tuple[float, Array]:
        """Mean loss, smoothed over a width, and its gradient in the solver's units."""
        if width == self._task.width and np.array_equal(coef, self._anchor):
            return self._whole
        loss = self._task.loss.smoothed(np.array([width])) if width else self._task.loss
        value, gradient = self._near(loss, coef)
        base, slope = self._rest
        return base + float(slope @ (coef - self._anchor)) + value, slope + gradient

    def _near(self, loss: Loss, coef: Array) -> tuple[float, Array]:
        stored = self._units.to_stored(coef[None, :])
        value, gradient, _ = value_and_gradient(self._block, loss, self._task.predictor, stored)
        return float(value[0]) / self.weight, self._units.gradient(gradient / self.weight)[0]


@dataclass(frozen=True, eq=False)
class Anchor:
    """Where the rows far from the kinks of the loss are replaced by tangents.

    Attributes
    ----------
    coef : array of shape (size,)
        In the solver's units.
    width : float
        Over which the kinks are smoothed in these tangents.
    share : float
        Of the rows, those nearest to the kinks, that are taken as they are.
    """

    coef: Array
    width: float
    share: float


NEAR_BYTES = 64 * 2**20
"""Memory of the driver for the near rows of an anchor: a pass over them takes it as long as a job
takes Spark, or less."""

MOST, LEAST = 0.125, 0.005
"""Share of the rows that may be near: more are passed sooner by the executors, and so few as the
least are no help."""

KEPT = 2
"""Anchors whose rows are kept: the last one that proved good, and the one that is being tried."""


@dataclass(eq=False)
class NearMemory:
    """The near rows of the last anchors: a pass finds any of them again, to the same bits.

    Parameters
    ----------
    most : float
        Share of the rows that there is room for.
    """

    most: float
    kept: list[tuple[Anchor, NearRows]] = field(default_factory=list, repr=False)

    def rows(
        self,
        run: Callable[[Any], Any],
        loss: Loss,
        predictor: Predictor,
        units: Standardization,
        anchor: Anchor,
    ) -> NearRows:
        """The near rows of an anchor; ``run`` runs the pass that finds them."""
        for number, (at, rows) in enumerate(self.kept):
            settings = (at.width, at.share) == (anchor.width, anchor.share)
            if settings and np.array_equal(at.coef, anchor.coef):
                self.kept.append(self.kept.pop(number))
                return rows
        assert isinstance(loss, PiecewiseLinearLoss)
        assert isinstance(predictor, LinearPredictor)
        del self.kept[: len(self.kept) + 1 - KEPT]
        stored = units.to_stored(anchor.coef[None, :])
        task = NearPass(loss, predictor, stored, anchor.width, anchor.share, self.most)
        found = NearRows(run(task), task, units, anchor.coef)
        self.kept.append((anchor, found))
        return found


def near_memory(nbytes: int) -> NearMemory | None:
    """Room for near rows, of so many bytes of all rows; None where too few fit."""
    share = min(MOST, NEAR_BYTES / max(1, nbytes))
    return NearMemory(share) if share >= LEAST else None


def serves(loss: Loss, predictor: Predictor) -> bool:
    """Whether near rows can be told by one margin each."""
    alone = isinstance(predictor, LinearPredictor) and predictor.width == 1
    return alone and isinstance(loss, PiecewiseLinearLoss) and not loss.constants
