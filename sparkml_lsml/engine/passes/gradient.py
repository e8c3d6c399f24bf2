"""Values and gradients of the loss of a batch of models."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.blocks.columns import union
from sparkml_lsml.engine.kernels.value_gradient import value_and_gradient
from sparkml_lsml.engine.passes.reweighting import Reweighting, reweighted
from sparkml_lsml.engine.predictors import Layout, Predictor
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

WIDE = 100_000
"""Coefficients from which a gradient may travel without those that no row has."""


@dataclass
class LossSum:
    """Sums of losses and gradients of a batch of models; empty until the first add.

    An empty sum holds no arrays: it takes over those of the first that it is given.

    Attributes
    ----------
    value : array of shape (models,)
    gradient : array of shape (models, places)
    weight : array of shape (models,)
    places : int array or None
        Coefficients that the gradient stands for, in order: of wide sparse rows only those that a
        row has, as all others are 0. None for all of them.
    """

    value: Array | None = None
    gradient: Array | None = None
    weight: Array | float = 0.0
    places: Places | None = None

    def add(
        self, value: Array, gradient: Array, weight: Array | float, places: Places | None = None
    ) -> "LossSum":
        """Add the sums of more rows, in place."""
        if self.value is None or self.gradient is None:
            self.value, self.gradient, self.places = value, gradient, places
        else:
            self.value = self.value + value
            self._add_gradient(gradient, places)
        self.weight = self.weight + weight
        return self

    def merge(self, other: "LossSum") -> "LossSum":
        """Add another sum, in place."""
        if other.value is None or other.gradient is None:
            return self
        return self.add(other.value, other.gradient, other.weight, other.places)

    def whole_gradient(self, size: int) -> Array:
        """The gradient in all coefficients, shape (models, size)."""
        assert self.gradient is not None
        if self.places is None:
            return self.gradient
        whole = np.zeros((len(self.gradient), size))
        whole[:, self.places] = self.gradient
        return whole

    def _add_gradient(self, gradient: Array, places: Places | None) -> None:
        assert self.gradient is not None
        mine = self.places
        if mine is None:
            self.gradient[:, slice(None) if places is None else places] += gradient
        elif places is None:
            gradient[:, mine] += self.gradient
            self.gradient, self.places = gradient, None
        elif np.array_equal(mine, places):
            self.gradient += gradient
        else:
            both = union(mine, places)
            together = np.zeros((len(gradient), len(both)))
            together[:, np.searchsorted(both, mine)] = self.gradient
            together[:, np.searchsorted(both, places)] += gradient
            self.gradient, self.places = together, both


@dataclass(frozen=True, eq=False)
class GradientPass:
    """Losses and gradients at the coefficients of a batch of models.

    Parameters
    ----------
    loss : Loss
    predictor : Predictor
    coef : array of shape (models, size)
        For the stored features.
    fraction : float
        Share of the rows, drawn anew for each ``seed``; 1 takes all rows.
    seed : tuple of int
    reweighting : Reweighting, optional
        With a ``fraction`` one that is the same for all models.
    """

    loss: Loss
    predictor: Predictor
    coef: Array
    fraction: float = 1.0
    seed: tuple[int, ...] = ()
    reweighting: Reweighting | None = None

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        return self.coef.nbytes

    def __call__(self, block: Block, partition: int) -> LossSum:
        """Sums of one block."""
        rows, factors = None, None
        if self.reweighting is not None and self.reweighting.shared:
            # weights take the same loops as those of the rows, factors slower ones
            block = reweighted(block, partition, self.reweighting)
        elif self.reweighting is not None:
            factors = partial(self.reweighting.factors, block, partition)
        if self.fraction < 1.0:
            rng = np.random.default_rng((*self.seed, partition))
            rows = np.flatnonzero(rng.random(block.rows) < self.fraction)
        value, gradient, weight = value_and_gradient(
            block, self.loss, self.predictor, self.coef, rows, factors
        )
        places = stored_places(block, self.predictor.layout)
        if places is not None:
            gradient = gradient[:, places]
        return LossSum().add(value, gradient, weight, places)


def stored_places(block: Block, layout: Layout) -> Places | None:
    """Coefficients whose gradient is not 0 for all rows of a block; None where most are.

    A place takes as many bytes as the number that it stands for.
    """
    X = block.X
    if layout.size < WIDE or not isinstance(X, CsrRows) or 2 * len(X.columns) > X.features:
        return None
    outputs = np.arange(layout.outputs)[:, None] * layout.features + X.columns
    return np.concatenate([outputs.ravel(), np.arange(layout.intercepts.start, layout.size)])
