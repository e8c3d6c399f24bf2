"""Sums of the normal equations over the rows of a block."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Block, CsrRows

Array = npt.NDArray[np.float64]

GRAM_CHUNK_ROWS = 1_024

SPARSE_COST = 128
"""Products of dense numbers that take as long as one of sparse ones. Measured on one core: 130 to
200 for 300 to 1,000 features, more beyond."""

FAR = 4.0
"""Deviations from zero beyond which columns are centred before they are multiplied, not after:
that loses the square of so many times the precision."""

FAR_SHARE = 16
"""One in so many columns may be far from zero, or all are made dense."""


def gram(block: Block, shift: Array, scale: Array, label_shift: float) -> tuple[Array, Array]:
    """Weighted second moments of scaled features and labels.

    Each piece of rows is centred before it is multiplied: expanding the square instead would
    cancel all digits of features that lie far from zero. Of rows with few non-zeros the columns
    near zero, which have nothing to cancel, are multiplied as they are and centred in the sums.

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
    if pays_sparse(block, shift, scale):
        assert isinstance(block.X, CsrRows)
        total = SparseProducts(shift, scale, others=1)
        for start, stop in sparse_pieces(block.X):
            weight = None if block.weight is None else block.weight[start:stop]
            label = block.y[start:stop, None] - label_shift
            total.add(block.X.rows(start, stop), weight, label)
        return total.total()
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


def pays_sparse(block: Block, shift: Array, scale: Array) -> bool:
    """Whether `SparseProducts` takes less time than the products of dense rows."""
    if not isinstance(block.X, CsrRows):
        return False
    lengths = np.diff(block.X.indptr).astype(np.float64)
    few = SPARSE_COST * float(lengths @ lengths) <= block.rows * float(block.features) ** 2
    return few and FAR_SHARE * len(_far(shift, scale)) <= block.features


def sparse_pieces(X: CsrRows) -> Iterator[tuple[int, int]]:
    """Where pieces of rows begin and end whose products fill the matrix of them about once.

    Their products are held as sparse numbers, and added to a matrix of all of them.
    """
    products = np.cumsum(np.square(np.diff(X.indptr), dtype=np.float64))
    wanted = max(float(X.features) ** 2, 2.0**20)
    start, rows = 0, len(products)
    while start < rows:
        before = products[start - 1] if start else 0.0
        stop = int(np.searchsorted(products, before + wanted, side="right"))
        stop = min(max(stop, start + 1), rows)
        yield start, stop
        start = stop


class SparseProducts:
    r"""Weighted second moments of centred and scaled columns, summed over their non-zeros.

    With :math:`a = x s` and :math:`m = \mu s` a pair of columns has :math:`\sum v (a_i - m_i)
    (a_j - m_j) = \sum v a_i a_j - m_j \sum v a_i - m_i \sum v a_j + m_i m_j \sum v`, which is as
    precise as the sum of centred products while m is small. Columns that lie further from zero
    have values in nearly all rows, so that there are few of them; they are made dense and centred.

    Parameters
    ----------
    shift, scale : arrays of shape (features,)
        A feature x enters as ``(x - shift) * scale``.
    others : int
        Number of dense columns beside the features.
    """

    def __init__(self, shift: Array, scale: Array, others: int) -> None:
        features = len(scale)
        self._far = _far(shift, scale)
        self._shift, self._scale = shift[self._far], scale[self._far]
        near = np.ones(features)
        near[self._far] = 0.0
        self._near = scale * near
        self._centre = shift * self._near
        self._features, dense = features, len(self._far) + others
        self._products = np.zeros((features + others, features + others))
        self._cross, self._dense = np.zeros((features, dense)), np.zeros((dense, dense))
        self._sums, self._dense_sums = np.zeros(features), np.zeros(dense)
        self._weight = 0.0

    def add(self, X: sparse.csr_array, weight: Array | None, others: Array) -> None:
        """Add rows: their features, their weights (None for all 1), and their dense columns."""
        rows = len(others)
        root = np.ones(rows) if weight is None else np.sqrt(weight)
        data = X.data * self._near[X.indices]
        dense = others
        if len(self._far):
            far = (X[:, self._far].toarray() - self._shift) * self._scale
            dense = np.hstack([far, others])
        if weight is not None:
            data = data * np.repeat(root, np.diff(X.indptr))
            dense = dense * root[:, None]
        near = sparse.csr_array((data, X.indices, X.indptr), shape=X.shape)
        turned = near.T
        self._products[: self._features, : self._features] += (turned @ near).toarray()
        self._cross += np.asarray(turned @ dense)
        self._dense += dense.T @ dense
        self._sums += np.asarray(turned @ root)
        self._dense_sums += root @ dense
        self._weight += float(rows) if weight is None else float(weight.sum())

    def total(self) -> tuple[Array, Array]:
        """Sums of the products and of the columns, the features before the others; asked once."""
        features, far, centre, out = self._features, self._far, self._centre, self._products
        half = self._sums - 0.5 * self._weight * centre
        for start in range(0, features, GRAM_CHUNK_ROWS):
            at = slice(start, min(start + GRAM_CHUNK_ROWS, features))
            # one sum for both parts, so that the result is symmetric to the bit
            out[at, :features] -= np.outer(half[at], centre) + np.outer(centre[at], half)
        cross = self._cross - np.outer(centre, self._dense_sums)
        columns = np.append(far, np.arange(features, len(out)))
        out[:features, columns] += cross
        out[columns, :features] += cross.T
        out[np.ix_(columns, columns)] = self._dense
        sums = np.append(self._sums - self._weight * centre, self._dense_sums[len(far) :])
        sums[far] = self._dense_sums[: len(far)]
        return out, sums


def _far(shift: Array, scale: Array) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.abs(shift) * scale > FAR)
