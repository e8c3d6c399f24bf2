"""Value and gradient of a loss, summed over the rows of a block, for a batch of models."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Rows
from sparkml_lsml.engine.kernels.compiled import FUSED_MODELS, Compiled, Factors, Sums, compiled
from sparkml_lsml.engine.predictors.base import Predictor
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]


def value_and_gradient(
    block: Block,
    loss: Loss,
    predictor: Predictor,
    coef: Array,
    rows: npt.NDArray[np.intp] | None = None,
    factors: Factors | None = None,
) -> Sums:
    """Weighted sums over the rows of a block.

    Large blocks and the usual losses take the compiled loops of `kernels.loops`, all else NumPy:
    there the rows are walked in pieces that stay in the cache between the product that predicts and
    the product that sums the gradient.

    Parameters
    ----------
    block : Block
    loss : Loss
    predictor : Predictor
    coef : array of shape (models, size)
        In the units of the stored features.
    rows : int array, optional
        Only these rows (a mini-batch).
    factors : callable, optional
        Takes the first row and the last (exclusive), and returns what multiplies their weights
        in each model, an array of shape (rows, models): 0 where a row is not in a fold.

    Returns
    -------
    value : array of shape (models,)
    gradient : array of shape (models, size)
    weight : array of shape (models,)
        Sums of the weights of the rows.
    """
    columns, dtype = len(coef) * predictor.width, predictor.dtype
    if rows is not None:
        return _by_pieces(_taken(block, rows, columns, dtype), loss, predictor, coef)
    fast = compiled(loss, predictor, len(coef), block.stored)
    is_sparse = isinstance(block.X, CsrRows)
    fused = is_sparse or (factors is None and len(coef) <= FUSED_MODELS)
    if fast is not None and fast.rest is None and fused:
        # without an intercept its column stays 0, and its gradient is dropped
        layout = predictor.layout
        padded = coef if layout.fit_intercept else np.pad(coef, ((0, 0), (0, 1)))
        sums = fast.sparse(block, factors, padded) if is_sparse else fast.dense(block, padded)
        return sums[0], sums[1][:, : layout.size], sums[2]
    return _by_pieces(_pieces(block, columns, dtype, factors), loss, predictor, coef, fast)


def loss_sums(block: Block, loss: Loss, predictor: Predictor, coef: Array) -> tuple[Array, Array]:
    """Weighted sums of the losses over the rows of a block, without their gradient.

    Parameters
    ----------
    block, loss, predictor, coef
        As for `value_and_gradient`.

    Returns
    -------
    value, weight : arrays of shape (models,)
    """
    fast = compiled(loss, predictor, len(coef), block.stored)
    if fast is not None and fast.rest is None:
        # the fused loops are faster than a product for the predictions alone
        value, _, total = value_and_gradient(block, loss, predictor, coef)
        return value, total
    value, total = np.zeros(len(coef)), np.zeros(len(coef))
    for X, y, weight in block.chunks(len(coef) * predictor.width, predictor.dtype):
        losses, _, counts = _losses(loss, y, weight, None, predictor.raw(X, coef))
        value += losses
        total += counts
    return value, total


Piece = tuple[Rows, Array, Array | None, Array | None]
"""Features, labels, weights, and factors of some rows."""


def _pieces(
    block: Block, columns: int, dtype: np.dtype[np.floating], factors: Factors | None
) -> Iterator[Piece]:
    start = 0
    for X, y, weight in block.chunks(columns, dtype):
        stop = start + len(y)
        yield X, y, weight, None if factors is None else factors(start, stop)
        start = stop


def _taken(
    block: Block, rows: npt.NDArray[np.intp], columns: int, dtype: np.dtype[np.floating]
) -> Iterator[Piece]:
    # copies, of which few may be there at a time: a sample of many rows is as large as they are
    step = block.chunk_rows(columns)
    for start in range(0, len(rows), step):
        X, y, weight = block.take(rows[start : start + step])
        yield X.astype(dtype, copy=False), y, weight, None


def _by_pieces(
    pieces: Iterable[Piece],
    loss: Loss,
    predictor: Predictor,
    coef: Array,
    fast: Compiled | None = None,
) -> Sums:
    models = len(coef)
    value, total = np.zeros(models), np.zeros(models)
    gradient = np.zeros((models, predictor.layout.size))
    for X, y, weight, factors in pieces:
        raw, pull = predictor.raw_and_pullback(X, coef)
        if fast is not None:
            derivative = raw
            losses, counts = fast.slopes(y, weight, factors, raw.reshape(len(y), models))
        else:
            losses, derivative, counts = _losses(loss, y, weight, factors, raw)
        value += losses
        total += counts
        pull(derivative, gradient)
    return value, gradient, total


def _losses(loss: Loss, y: Array, weight: Array | None, factors: Array | None, raw: Array) -> Sums:
    """Sums of losses, the weighted derivatives of each row, and the sums of the weights."""
    losses, derivative = loss.value_and_derivative(y, raw)
    if weight is None and factors is None:
        return losses.sum(axis=0), derivative, np.full(losses.shape[1], float(len(y)))
    shares = np.ones((len(y), 1)) if weight is None else weight[:, None]
    if factors is not None:
        shares = shares * factors
    # a row of weight 0 is no row, even where its loss overflows
    counts = shares > 0.0
    value = (shares * np.where(counts, losses, 0.0)).sum(axis=0)
    derivative = np.where(counts[:, :, None], derivative, 0.0) * shares[:, :, None]
    return value, derivative, np.broadcast_to(shares, losses.shape).sum(axis=0)
