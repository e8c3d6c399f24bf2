"""Second moments, second derivatives and ranges."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.kernels.gram import gram
from sparkml_lsml.engine.kernels.hessian import hessian
from sparkml_lsml.engine.passes.reweighting import Reweighting, reweighted
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


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
    predictor: LinearPredictor
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
        return CurvatureSum(*hessian(block, self.loss, self.predictor, self.units, self.coef))


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
