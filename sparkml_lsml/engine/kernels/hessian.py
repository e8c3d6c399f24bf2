"""Second derivatives of the mean loss over the rows of a block."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Rows
from sparkml_lsml.engine.kernels.gram import SparseProducts, pays_sparse, sparse_pieces
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]
Chunk = tuple[Rows, Array, Array | None]

STEP = 1e-3
"""Half the distance over which the derivative of a loss is differenced, in units of the label."""

DENSE_BYTES = 32 * 2**20
"""Rows that are made dense at a time."""


def _shorter(chunks: Iterable[Chunk], rows: int) -> Iterator[Chunk]:
    for X, y, weight in chunks:
        for start in range(0, len(y), rows):
            at = slice(start, start + rows)
            yield X[at], y[at], None if weight is None else weight[at]


def hessian(
    block: Block,
    loss: Loss,
    predictor: LinearPredictor,
    units: Standardization,
    coef: Array,
) -> tuple[Array, float]:
    """Weighted sum over the rows of the second derivatives in the solver's coefficients.

    Losses give first derivatives; their differences over a short step take the place of second
    ones, which is precise enough for a direction of search.

    Parameters
    ----------
    block : Block
    loss : Loss
        With one output and no constants.
    predictor : LinearPredictor
    units : Standardization
    coef : array of shape (layout.size,)

    Returns
    -------
    array of shape (layout.size, layout.size)
    weight : float
        Sum of the weights of the rows.
    """
    layout = predictor.layout
    stored, step = units.to_stored(coef[None, :]), STEP * units.label_scale

    def bends(X: Rows, y: Array, weight: Array | None) -> Array:
        raw = predictor.raw(X, stored)
        right = loss.value_and_derivative(y, raw + step)[1]
        left = loss.value_and_derivative(y, raw - step)[1]
        bend = np.maximum((right - left)[:, 0, 0] / (2.0 * step), 0.0)
        return bend if weight is None else bend * weight

    if pays_sparse(block, units.shift, units.scale):
        assert isinstance(block.X, CsrRows)
        sums = SparseProducts(units.shift, units.scale, int(layout.fit_intercept))
        for start, stop in sparse_pieces(block.X):
            piece, y = block.X.rows(start, stop), block.y[start:stop]
            weight = None if block.weight is None else block.weight[start:stop]
            sums.add(piece, bends(piece, y, weight), np.ones((len(y), int(layout.fit_intercept))))
        return sums.total()[0] * units.label_scale**2, block.weight_sum
    total, mass = np.zeros((layout.size, layout.size)), 0.0
    # of sparse rows a chunk has many, which are dense here
    rows = max(32, DENSE_BYTES // (8 * layout.size))
    for X, y, weight in _shorter(block.chunks(), rows):
        mass += float(len(y)) if weight is None else float(weight.sum())
        z = np.ones((len(y), layout.size))
        dense = X.toarray() if sparse.issparse(X) else X
        z[:, layout.weights] = (dense - units.shift) * units.scale
        total += (z * bends(X, y, weight)[:, None]).T @ z
    return total * units.label_scale**2, mass
