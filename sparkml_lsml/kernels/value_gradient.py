"""Value and gradient of a loss, summed over the rows of a block, for a batch of models."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.blocks.block import Block, Rows
from sparkml_lsml.layout import Layout
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]


def raw_predictions(X: Rows, layout: Layout, coef: Array) -> Array:
    """Raw predictions of a batch of models, the constants of the loss last.

    Parameters
    ----------
    X : rows of shape (rows, features)
    layout : Layout
    coef : array of shape (models, layout.size)

    Returns
    -------
    array of shape (rows, models, outputs + constants)
    """
    models = len(coef)
    weights = coef[:, layout.weights].reshape(models * layout.outputs, layout.features)
    # float32 rows are multiplied in float32; everything behind the product is float64
    product = X @ weights.T.astype(X.dtype, copy=False)
    raw = np.asarray(product, dtype=np.float64).reshape(-1, models, layout.outputs)
    if layout.fit_intercept:
        raw = raw + coef[:, layout.intercepts]
    if layout.constants:
        extras = np.broadcast_to(coef[:, layout.extras], (len(raw), models, layout.constants))
        raw = np.concatenate([raw, extras], axis=2)
    return raw


def value_and_gradient(
    block: Block, loss: Loss, layout: Layout, coef: Array, rows: npt.NDArray[np.intp] | None = None
) -> tuple[Array, Array, float]:
    """Weighted sums over the rows of a block.

    The rows are walked in pieces that stay in the cache between the product that predicts and the
    product that sums the gradient.

    Parameters
    ----------
    block : Block
    loss : Loss
    layout : Layout
    coef : array of shape (models, layout.size)
        In the units of the stored features.
    rows : int array, optional
        Only these rows (a mini-batch).

    Returns
    -------
    value : array of shape (models,)
    gradient : array of shape (models, layout.size)
    weight : float
        Sum of the weights of the rows.
    """
    models = len(coef)
    value = np.zeros(models)
    gradient = np.zeros((models, layout.size))
    weights = np.zeros((models * layout.outputs, layout.features))
    total = 0.0
    chunks = block.chunks(models * layout.outputs) if rows is None else [block.take(rows)]
    for X, y, weight in chunks:
        raw = raw_predictions(X, layout, coef)
        losses, derivative = loss.value_and_derivative(y, raw)
        if weight is None:
            value += losses.sum(axis=0)
            total += len(y)
        else:
            # a row of weight 0 is no row, even where its loss overflows
            counts = weight > 0.0
            value += weight @ np.where(counts[:, None], losses, 0.0)
            derivative = np.where(counts[:, None, None], derivative, 0.0) * weight[:, None, None]
            total += float(weight.sum())
        outputs = derivative[:, :, : layout.outputs]
        weights += transposed_product(X, outputs.reshape(len(y), models * layout.outputs))
        if layout.fit_intercept:
            gradient[:, layout.intercepts] += outputs.sum(axis=0)
        if layout.constants:
            gradient[:, layout.extras] += derivative[:, :, layout.outputs :].sum(axis=0)
    gradient[:, layout.weights] = weights.reshape(models, -1)
    return value, gradient, total


def transposed_product(X: Rows, columns: Array) -> Array:
    """``columns.T @ X`` in the precision of X; shape (columns, features)."""
    columns = columns.astype(X.dtype, copy=False)
    if sparse.issparse(X):
        return np.asarray((X.T @ columns).T)
    return np.asarray(columns.T @ X)
