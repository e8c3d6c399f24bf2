"""Passes: what one sweep over all blocks computes, and how its parts are summed.

A pass is a picklable function of one block; what it returns merges with what it returned for
other blocks. The room `spark` and the driver's own `LocalBlocks` run any pass without knowing
what it does, so a new kind of pass needs no change there.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.blocks.block import Block, CsrRows
from sparkml_lsml.blocks.columns import union
from sparkml_lsml.kernels.gram import gram
from sparkml_lsml.kernels.hessian import hessian
from sparkml_lsml.kernels.sgd import sgd_epochs
from sparkml_lsml.kernels.sgd_steps import SgdEpochs
from sparkml_lsml.kernels.value_gradient import value_and_gradient
from sparkml_lsml.layout import Layout
from sparkml_lsml.losses.base import Loss
from sparkml_lsml.penalties.elastic_net import ElasticNet
from sparkml_lsml.reweighting import Reweighting, reweighted
from sparkml_lsml.standardization import Standardization, stored_coefficients

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

WIDE = 100_000
"""Coefficients from which a gradient may travel without those that no row has."""


class Sum(Protocol):
    """A partial result that merges with another of its kind."""

    def merge(self, other: Self, /) -> Self:
        """Both together; may reuse the memory of either."""
        ...


class Pass(Protocol):
    """A function of one block, run once on each."""

    @property
    def nbytes(self) -> int:
        """Bytes of the `Sum` of one block; 0 if it is small whatever the number of features."""
        ...

    def __call__(self, block: Block, partition: int) -> Any:
        """The `Sum` of one block; ``partition`` is its number."""
        ...


class Blocks(Protocol):
    """Blocks that passes run over: in this process, or on executors."""

    @property
    def partitions(self) -> int:
        """Number of blocks."""
        ...

    @property
    def rows(self) -> int:
        """Number of rows of all blocks."""
        ...

    @property
    def sent(self) -> int:
        """Bytes that passes have sent between the driver and executors so far."""
        ...

    def run(self, task: Pass, description: str) -> Any:
        """Run a pass over every block and return the merged `Sum`."""
        ...


@dataclass
class LossSum:
    """Sums of losses and gradients of a batch of models; empty until the first add.

    An empty sum holds no arrays, so that it costs nothing where it is the zero of an aggregation.

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
    layout : Layout
    coef : array of shape (models, layout.size)
        For the stored features.
    fraction : float
        Share of the rows, drawn anew for each ``seed``; 1 takes all rows.
    seed : tuple of int
    reweighting : Reweighting, optional
        With a ``fraction`` one that is the same for all models.
    """

    loss: Loss
    layout: Layout
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
            block, self.loss, self.layout, self.coef, rows, factors
        )
        places = stored_places(block, self.layout)
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


@dataclass
class ModelSum:
    """Weighted sums of the models of partitions, and of their losses at the common start."""

    start: LossSum
    coef: Array
    weight: float

    def merge(self, other: "ModelSum") -> "ModelSum":
        """Add another sum, in place."""
        self.start.merge(other.start)
        self.coef += other.coef
        self.weight += other.weight
        return self


@dataclass(frozen=True, eq=False)
class LocalSgdPass:
    """A round of local SGD: the loss at the start, then epochs on each block.

    Parameters
    ----------
    loss, layout
    units : sequence of Standardization, one a model
    penalties : sequence of ElasticNet, one a model
    settings : sequence of SgdEpochs, one a model
    coef : array of shape (models, layout.size)
        In the solver's units.
    seed : tuple of int
    reweighting : Reweighting, optional
        One that is the same for all models.
    """

    loss: Loss
    layout: Layout
    units: tuple[Standardization, ...]
    penalties: tuple[ElasticNet, ...]
    settings: tuple[SgdEpochs, ...]
    coef: Array
    seed: tuple[int, ...]
    reweighting: Reweighting | None = None

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`: a gradient and a model."""
        return 2 * self.coef.nbytes

    def __call__(self, block: Block, partition: int) -> ModelSum:
        """Sums of one block."""
        block = reweighted(block, partition, self.reweighting)
        stored = stored_coefficients(self.units, self.coef)
        start = LossSum().add(*value_and_gradient(block, self.loss, self.layout, stored))
        models = [
            sgd_epochs(
                block,
                self.loss,
                self.layout,
                units,
                penalty,
                settings,
                coef,
                (*self.seed, partition),
            )
            for units, penalty, settings, coef in zip(
                self.units, self.penalties, self.settings, self.coef, strict=True
            )
        ]
        weight = block.weight_sum
        return ModelSum(start, weight * np.stack(models), weight)


@dataclass
class GramSum:
    """Sums of the normal equations."""

    products: Array
    sums: Array
    weight: float

    def merge(self, other: "GramSum") -> "GramSum":
        """Add another sum, in place."""
        self.products += other.products
        self.sums += other.sums
        self.weight += other.weight
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What is sent: of the symmetric products the upper triangle."""
        upper = [row[k:] for k, row in enumerate(self.products)]
        return {**self.__dict__, "products": np.concatenate(upper)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        size, start = len(state["sums"]), 0
        products = np.empty((size, size))
        for k in range(size):
            row = state["products"][start : start + size - k]
            products[k, k:] = products[k:, k] = row
            start += size - k
        self.__dict__.update(state, products=products)


@dataclass(frozen=True, eq=False)
class GramPass:
    """Second moments of scaled features and labels, for the normal equations."""

    shift: Array
    scale: Array
    label_shift: float
    reweighting: Reweighting | None = None

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`: half a square of features and label."""
        size = len(self.scale) + 1
        return 4 * size * (size + 1)

    def __call__(self, block: Block, partition: int) -> GramSum:
        """Sums of one block."""
        block = reweighted(block, partition, self.reweighting)
        products, sums = gram(block, self.shift, self.scale, self.label_shift)
        return GramSum(products, sums, block.weight_sum)


@dataclass
class RangeSum:
    """Least and largest values of columns; arrays of shape (columns,)."""

    low: Array
    high: Array

    def merge(self, other: "RangeSum") -> "RangeSum":
        """Add other rows, in place."""
        np.minimum(self.low, other.low, out=self.low)
        np.maximum(self.high, other.high, out=self.high)
        return self


@dataclass(frozen=True, eq=False)
class RangePass:
    """Between which values columns lie, in rows that count.

    Parameters
    ----------
    columns : int array of shape (columns,)
    """

    columns: Places

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        return 16 * len(self.columns)

    def __call__(self, block: Block, partition: int) -> RangeSum:
        """Ranges of one block."""
        size = len(self.columns)
        found = RangeSum(np.full(size, np.inf), np.full(size, -np.inf))
        for X, _, weight in block.chunks(size):
            if weight is not None:
                X = X[np.flatnonzero(weight)]
            if not X.shape[0]:
                continue
            part = X[:, self.columns]
            if sparse.issparse(part):
                ends = part.min(axis=0).toarray().ravel(), part.max(axis=0).toarray().ravel()
            else:
                ends = part.min(axis=0), part.max(axis=0)
            found.merge(RangeSum(*ends))
        return found


@dataclass
class RowsSum:
    """Rows themselves, in the order of their partitions."""

    parts: list[tuple[int, Block]]

    def merge(self, other: "RowsSum") -> "RowsSum":
        """Add other rows, in place."""
        self.parts += other.parts
        return self

    def block(self) -> Block:
        """One block of all rows."""
        parts = sorted(self.parts, key=lambda part: part[0])
        return Block.concat([block for _, block in parts])


@dataclass(frozen=True)
class SamplePass:
    """A random sample of the rows, drawn without replacement.

    Parameters
    ----------
    fraction : float
        1 takes all rows.
    seed : int
    shares : tuple of (float, float)
        Labels, and the fractions in which their rows are drawn instead. Weights make up for it, so
        that sums over the sample stand for those over all rows.
    """

    fraction: float = 1.0
    seed: int = 0
    shares: tuple[tuple[float, float], ...] = ()

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`: rows add up to nothing smaller, so a tree would only move them."""
        return 0

    def __call__(self, block: Block, partition: int) -> RowsSum:
        """Rows of one block."""
        if self.fraction < 1.0:
            rng = np.random.default_rng((self.seed, partition))
            fraction = np.full(block.rows, self.fraction)
            for label, share in self.shares:
                fraction[block.y == label] = share
            drawn = np.flatnonzero(rng.random(block.rows) < fraction)
            block = block.subset(drawn)
            if self.shares:
                weight = 1.0 if block.weight is None else block.weight
                block = replace(block, weight=weight * (self.fraction / fraction[drawn]))
        return RowsSum([(partition, block)])


@dataclass
class CurvatureSum:
    """Sums of second derivatives."""

    products: Array
    weight: float

    def merge(self, other: "CurvatureSum") -> "CurvatureSum":
        """Add another sum, in place."""
        self.products += other.products
        self.weight += other.weight
        return self


@dataclass(frozen=True, eq=False)
class CurvaturePass:
    """Second derivatives of the loss of one model with one output; see `kernels.hessian`."""

    loss: Loss
    layout: Layout
    units: Standardization
    coef: Array
    reweighting: Reweighting | None = None

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`: a square of coefficients."""
        return 8 * self.coef.size**2

    def __call__(self, block: Block, partition: int) -> CurvatureSum:
        """Sums of one block."""
        block = reweighted(block, partition, self.reweighting)
        return CurvatureSum(*hessian(block, self.loss, self.layout, self.units, self.coef))
