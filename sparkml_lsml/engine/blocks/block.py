"""Rows of one partition: features, labels, weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.sealing import Seal

Array = npt.NDArray[np.float64]
Dense = npt.NDArray[Any]

CHUNK_BYTES = 1_600_000
"""Dense rows worked on at a time: they stay in the cache between the two products of a pass."""

MAX_CHUNK_ROWS = 2_048
SPARSE_CHUNK_NONZEROS = 1_000_000


@dataclass(frozen=True, eq=False)
class CsrRows:
    """Sparse rows in compressed form, possibly mapped from files.

    SciPy's own class would widen the column numbers to 64 bits as soon as the row pointers need
    them; here the two have types of their own, and SciPy sees one chunk at a time.

    Parameters
    ----------
    data : array of shape (nonzeros,)
    indices : int32 array of shape (nonzeros,)
    indptr : int64 array of shape (rows + 1,)
    features : int
    """

    data: Dense
    indices: npt.NDArray[np.int32]
    indptr: npt.NDArray[np.int64]
    features: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return len(self.indptr) - 1, self.features

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.data.nbytes + self.indices.nbytes + self.indptr.nbytes

    @cached_property
    def columns(self) -> npt.NDArray[np.intp]:
        """Columns with stored values, in order; looked for once, as a block stays open."""
        seen = np.zeros(self.features, dtype=np.bool_)
        seen[self.indices] = True
        return np.flatnonzero(seen)

    def rows(self, start: int, stop: int) -> sparse.csr_array:
        """Rows ``start`` to ``stop`` as a SciPy matrix that shares the memory."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        pointers = self.indptr[start : stop + 1] - first
        return _csr(
            self.data[first:last], self.indices[first:last], pointers, stop - start, self.features
        )

    def take(self, rows: npt.NDArray[np.intp]) -> sparse.csr_array:
        """Copy of the given rows, in the given order."""
        starts = self.indptr[rows]
        lengths = self.indptr[rows + 1] - starts
        pointers = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=pointers[1:])
        positions = np.arange(pointers[-1]) + np.repeat(starts - pointers[:-1], lengths)
        return _csr(
            self.data[positions],
            self.indices[positions],
            pointers,
            len(rows),
            self.features,
        )


def _csr(
    data: Dense,
    indices: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    rows: int,
    features: int,
) -> sparse.csr_array:
    indptr = short_pointers(indptr)
    return sparse.csr_array((data, indices, indptr), shape=(rows, features), copy=False)


def short_pointers(indptr: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Row pointers of the type of the column numbers, where they fit it.

    Otherwise SciPy widens the column numbers, which takes memory and is right.
    """
    return indptr.astype(np.int32) if indptr[-1] <= np.iinfo(np.int32).max else indptr


Rows = Dense | sparse.csr_array


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one partition; immutable.

    Parameters
    ----------
    X : array of shape (rows, features), float64 or float32, or CsrRows
    y : float64 array of shape (rows,)
    weight : float64 array of shape (rows,) or None
        None means that every row weighs 1.
    fold : int32 array of shape (rows,) or None
        Number of the fold that each row is held out in.
    folder : str
        Where its files lie; '' for rows in memory.
    seal : Seal or None
        What its files are encrypted with.

    Examples
    --------
    >>> import numpy as np
    >>> block = Block(np.eye(3), np.array([0.0, 1.0, 1.0]))
    >>> block.rows, block.features, block.weight_sum
    (3, 3, 3.0)
    """

    X: Dense | CsrRows
    y: Array
    weight: Array | None = None
    fold: npt.NDArray[np.int32] | None = None
    folder: str = ""
    seal: Seal | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])

    @property
    def features(self) -> int:
        """Number of features."""
        return int(self.X.shape[1])

    @property
    def stored(self) -> int:
        """Number of stored values: of dense rows all, of sparse ones the non-zeros."""
        return int(self.X.data.size if isinstance(self.X, CsrRows) else self.X.size)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.X, self.y, self.weight, self.fold)
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def weight_sum(self) -> float:
        """Sum of the weights of the rows."""
        return float(self.rows) if self.weight is None else float(self.weight.sum())

    def chunks(
        self, models: int = 1, dtype: npt.DTypeLike = np.float64
    ) -> Iterator[tuple[Rows, Array, Array | None]]:
        """The rows piece after piece: features, labels, weights (None for all 1).

        Dense pieces fit the cache. Sparse pieces hold so many non-zeros that a dense vector a
        piece does not matter, and no more rows than ``models`` columns of them allow. Features
        come as float64 unless another ``dtype`` is asked for: a sum of float32 over a million rows
        would be off by a hundredth.
        """
        step = self.chunk_rows(models)
        for start in range(0, self.rows, step):
            stop = min(start + step, self.rows)
            X: Rows
            if isinstance(self.X, CsrRows):
                X = self.X.rows(start, stop)
                X.data = X.data.astype(dtype, copy=False)
            else:
                X = self.X[start:stop].astype(dtype, copy=False)
            yield X, self.y[start:stop], None if self.weight is None else self.weight[start:stop]

    def chunk_rows(self, models: int = 1) -> int:
        """Rows of a chunk, at most."""
        if isinstance(self.X, CsrRows):
            per_row = max(1.0, len(self.X.data) / max(1, self.rows))
            wanted = max(SPARSE_CHUNK_NONZEROS, 2 * self.features) / per_row
            return int(max(1, min(wanted, 2**31 / (8 * per_row), 20_000_000 / models)))
        row_bytes = max(1, 8 * self.features)
        return max(32, min(MAX_CHUNK_ROWS, CHUNK_BYTES // row_bytes))

    def take(self, rows: npt.NDArray[np.intp]) -> tuple[Rows, Array, Array | None]:
        """Copies of the given rows, in the given order."""
        X = self.X.take(rows) if isinstance(self.X, CsrRows) else self.X[rows]
        return X, self.y[rows], None if self.weight is None else self.weight[rows]

    def subset(self, rows: npt.NDArray[np.intp]) -> "Block":
        """A block with copies of the given rows, in the given order."""
        X, y, weight = self.take(rows)
        fold = None if self.fold is None else self.fold[rows]
        return Block(as_csr(X) if sparse.issparse(X) else X, y, weight, fold)

    @staticmethod
    def concat(blocks: Sequence["Block"]) -> "Block":
        """One block of all rows, in order; sparse where any of them is."""
        if len(blocks) == 1:
            return blocks[0]
        X: Dense | CsrRows
        if any(isinstance(block.X, CsrRows) for block in blocks):
            X = _stack_sparse([as_csr(block.X) for block in blocks])
        else:
            X = np.concatenate([np.asarray(block.X) for block in blocks])
        weight = None
        if any(block.weight is not None for block in blocks):
            weight = np.concatenate(
                [np.ones(b.rows) if b.weight is None else b.weight for b in blocks]
            )
        folds = [block.fold for block in blocks if block.fold is not None]
        fold = np.concatenate(folds) if folds else None
        return Block(X, np.concatenate([block.y for block in blocks]), weight, fold)


def as_csr(X: Rows | CsrRows) -> CsrRows:
    """Rows in compressed form; zeros of dense rows are dropped."""
    if isinstance(X, CsrRows):
        return X
    matrix = sparse.csr_array(X)
    return CsrRows(
        matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int64), X.shape[1]
    )


def _stack_sparse(parts: Sequence[CsrRows]) -> CsrRows:
    offsets = np.cumsum([0] + [len(part.data) for part in parts])
    pointers = [part.indptr[1:] + offset for part, offset in zip(parts, offsets, strict=False)]
    return CsrRows(
        np.concatenate([part.data for part in parts]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([np.zeros(1, dtype=np.int64), *pointers]),
        parts[0].features,
    )
