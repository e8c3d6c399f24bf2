"""Sums of the normal equations over the rows of a block."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.blocks.block import Block, CsrRows

Array = npt.NDArray[np.float64]

GRAM_CHUNK_ROWS = 1_024


def gram(block: Block, shift: Array, scale: Array, label_shift: float) -> tuple[Array, Array]:
    """Weighted second moments of scaled features and labels.

    Each piece of rows is centred before it is multiplied: expanding the square instead would
    cancel all digits of features that lie far from zero.

    Parameters
    ----------
    block : Block
    shift, scale : arrays of shape (features,)
        A feature x enters as ``(x - shift) * scale``.
    label_shift : float

    Returns
    -------
    products : array of shape (features + 1, features + 1)
        ``sum w z z^T`` of ``z = (features, label)``.
    sums : array of shape (features + 1,)
        ``sum w z``.
    """
    size = block.features + 1
    products, sums = np.zeros((size, size)), np.zeros(size)
    for start in range(0, block.rows, GRAM_CHUNK_ROWS):
        stop = min(start + GRAM_CHUNK_ROWS, block.rows)
        X = block.X.rows(start, stop) if isinstance(block.X, CsrRows) else block.X[start:stop]
        z = np.empty((stop - start, size))
        z[:, :-1] = X.toarray() if sparse.issparse(X) else X
        z[:, :-1] -= shift
        z[:, :-1] *= scale
        z[:, -1] = block.y[start:stop] - label_shift
        if block.weight is not None:
            weight = block.weight[start:stop]
            sums += weight @ z
            z *= np.sqrt(weight)[:, None]
        else:
            sums += z.sum(axis=0)
        products += z.T @ z
    return products, sums
