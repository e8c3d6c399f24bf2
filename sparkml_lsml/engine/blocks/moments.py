"""Weighted mean and variance of each feature, merged without cancellation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Dense
from sparkml_lsml.engine.blocks.columns import union

Array = npt.NDArray[np.float64]

MOMENT_CHUNK_ROWS = 1_024
MOMENT_CHUNK_NONZEROS = 1_000_000


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted moments of the entries that are stored, column by column.

    Zeros that a sparse matrix does not store are counted in at the end (`mean`, `variance`), as
    MLlib's summariser does, so that sparse and dense rows give the same figures.

    Parameters
    ----------
    weight, weight_squares : float
        Sum of the row weights, and of their squares.
    rows : int
    features : int
    columns : int array or None
        Columns that the arrays below stand for; None for all of them.
    stored, stored_mean, stored_m2 : arrays of shape (columns,)
        Weight of the stored entries of a column, their mean, and their sum of weighted squared
        deviations from it.

    References
    ----------
    Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance, The American
    Statistician 37.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkml_lsml.engine.blocks import Block
    >>> moments = Moments.of_block(Block(np.array([[1.0], [3.0]]), np.zeros(2)))
    >>> moments.mean().tolist(), moments.variance().tolist()
    ([2.0], [2.0])
    """

    weight: float
    weight_squares: float
    rows: int
    features: int
    columns: npt.NDArray[np.int64] | None
    stored: Array
    stored_mean: Array
    stored_m2: Array

    @staticmethod
    def of_rows(X: Dense, weight: Array | None) -> "Moments":
        """Moments of dense rows; the rows are walked in pieces that stay in the cache."""
        total: Moments | None = None
        with np.errstate(over="ignore", invalid="ignore"):  # bad rows are counted by the caller
            for start in range(0, len(X), MOMENT_CHUNK_ROWS):
                piece = np.asarray(X[start : start + MOMENT_CHUNK_ROWS], dtype=np.float64)
                w = None if weight is None else weight[start : start + MOMENT_CHUNK_ROWS]
                part = _of_piece(piece, w)
                total = part if total is None else total.merge(part)
        return total if total is not None else Moments.empty(X.shape[1])

    @staticmethod
    def of_block(block: Block) -> "Moments":
        """Moments of the features of a block."""
        if not isinstance(block.X, CsrRows):
            return Moments.of_rows(block.X, block.weight)
        return _of_csr(block.X, block.weight)

    @staticmethod
    def empty(features: int) -> "Moments":
        """Moments of no rows."""
        none = np.zeros(0)
        return Moments(0.0, 0.0, 0, features, np.zeros(0, dtype=np.int64), none, none, none)

    def merge(self, other: "Moments") -> "Moments":
        """Moments of the rows of both."""
        if self.rows == 0 or other.rows == 0:
            return other if self.rows == 0 else self
        left, right, columns = _align(self, other)
        stored = left.stored + right.stored
        safe = np.where(stored > 0.0, stored, 1.0)
        share = right.stored / safe
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for what overflowed
            delta = right.stored_mean - left.stored_mean
            mean = left.stored_mean + delta * share
            m2 = left.stored_m2 + right.stored_m2 + np.square(delta) * left.stored * share
        return Moments(
            self.weight + other.weight,
            self.weight_squares + other.weight_squares,
            self.rows + other.rows,
            self.features,
            columns,
            stored,
            mean,
            m2,
        )

    def dense(self) -> "Moments":
        """The same with an entry for every column."""
        return self if self.columns is None else _spread(self, np.arange(self.features), None)

    def mean(self) -> Array:
        """Weighted mean of each feature, zeros included; shape (features,)."""
        full = self.dense()
        return full.stored_mean * (full.stored / (self.weight or 1.0))

    def stored_share(self) -> Array:
        """Share of the weight of the rows in which each feature is stored; shape (features,)."""
        return self.dense().stored / (self.weight or 1.0)

    def variance(self, sample: bool = True) -> Array:
        """Weighted variance of each feature, zeros included; shape (features,).

        With ``sample`` the unbiased one for reliability weights, with MLlib's denominator
        ``W - sum(w^2) / W``; otherwise the population variance. A column whose spread is below
        the rounding of its own mean counts as constant: its variance is exactly 0.
        """
        full = self.dense()
        total = self.weight
        denominator = total - self.weight_squares / total if sample and total else total
        if denominator <= 0.0:
            return np.zeros(self.features)
        absent = np.maximum(total - full.stored, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for what overflowed
            mixed = np.square(full.stored_mean) * full.stored * absent / total
            variance = np.maximum((full.stored_m2 + mixed) / denominator, 0.0)
        variance[np.sqrt(variance) <= 1e-13 * np.abs(self.mean())] = 0.0
        return variance


def _of_piece(piece: Array, weight: Array | None) -> Moments:
    rows = len(piece)
    if weight is None:
        total = squares = float(rows)
        mean = np.ones(rows) @ piece / rows
        centred = piece - mean
        m2 = np.einsum("ij,ij->j", centred, centred)
    else:
        total = float(weight.sum())
        squares = float(weight @ weight)
        mean = weight @ piece / total if total > 0.0 else np.zeros(piece.shape[1])
        centred = piece - mean
        m2 = np.einsum("i,ij,ij->j", weight, centred, centred)
    return Moments(
        total, squares, rows, piece.shape[1], None, np.full(piece.shape[1], total), mean, m2
    )


def _of_csr(X: CsrRows, weight: Array | None) -> Moments:
    rows, features = X.shape
    columns, position = _stored_columns(X)
    count = len(columns)
    stored, first, entries = np.zeros(count), np.zeros(count), np.zeros(count)
    rest, m2 = np.zeros(count), np.zeros(count)
    total = float(rows) if weight is None else float(weight.sum())
    squares = float(rows) if weight is None else float(weight @ weight)
    weighing = rows if weight is None else np.count_nonzero(weight)

    def sums(at: npt.NDArray[np.intp], values: Array | None) -> Array:
        return np.asarray(np.bincount(at, weights=values, minlength=count), dtype=np.float64)

    with np.errstate(over="ignore", invalid="ignore"):
        for data, at, w in _csr_pieces(X, weight, position):
            present = sums(at, None if w is None else (w > 0.0).astype(np.float64))
            entries += present
            stored += present if w is None else sums(at, w)
            first += sums(at, data if w is None else w * data)
        # a column without zeros: another order of summation must not leave it a few of them
        stored[entries == weighing] = total
        safe = np.where(stored > 0.0, stored, 1.0)
        mean = first / safe
        for data, at, w in _csr_pieces(X, weight, position):
            centred = data - mean[at]
            weighted = centred if w is None else w * centred
            rest += sums(at, weighted)
            m2 += sums(at, weighted * centred)
        # the corrected two-pass algorithm: what rounding of the mean added is taken out again
        mean += rest / safe
        m2 = np.maximum(m2 - np.square(rest) / safe, 0.0)
    return Moments(total, squares, rows, features, columns, stored, mean, m2)


def _stored_columns(
    X: CsrRows,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Columns with stored values, and the place of each column among them.

    The place is None where every column counts as one with values: looking it up for each value
    pays only where most columns are empty.
    """
    features = X.shape[1]
    if features <= len(X.data):
        return np.arange(features), None
    columns = X.columns
    position = np.zeros(features, dtype=np.int64)
    position[columns] = np.arange(len(columns))
    return columns, position


def _csr_pieces(
    X: CsrRows, weight: Array | None, position: npt.NDArray[np.int64] | None
) -> Iterator[tuple[Array, npt.NDArray[np.intp], Array | None]]:
    """Values, the places of their columns and the weights of their rows, piece after piece."""
    for start in range(0, len(X.data), MOMENT_CHUNK_NONZEROS):
        data = np.asarray(X.data[start : start + MOMENT_CHUNK_NONZEROS], dtype=np.float64)
        indices = np.asarray(X.indices[start : start + MOMENT_CHUNK_NONZEROS])
        at = indices.astype(np.intp) if position is None else position[indices]
        w = None
        if weight is not None:
            row = np.searchsorted(X.indptr, np.arange(start, start + len(data)), side="right") - 1
            w = weight[row]
        yield data, at, w


def _align(left: Moments, right: Moments) -> tuple[Moments, Moments, npt.NDArray[np.int64] | None]:
    if left.columns is None or right.columns is None:
        everything = np.arange(left.features)
        return _spread(left, everything, None), _spread(right, everything, None), None
    columns = union(left.columns, right.columns)
    return _spread(left, columns, columns), _spread(right, columns, columns), columns


def _spread(
    moments: Moments, wanted: npt.NDArray[np.int64], columns: npt.NDArray[np.int64] | None
) -> Moments:
    if moments.columns is None:
        return moments
    at = np.searchsorted(wanted, moments.columns)

    def fill(values: Array) -> Array:
        out = np.zeros(len(wanted))
        out[at] = values
        return out

    return Moments(
        moments.weight,
        moments.weight_squares,
        moments.rows,
        moments.features,
        columns,
        fill(moments.stored),
        fill(moments.stored_mean),
        fill(moments.stored_m2),
    )
