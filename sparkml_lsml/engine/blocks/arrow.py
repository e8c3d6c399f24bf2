"""From Arrow columns to rows: where features become NumPy, at ingest and at scoring alike."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkml_lsml.engine.blocks.block import CsrRows, Dense

SPARSE, DENSE = 0, 1
"""The ``type`` field of Spark's vector struct."""

DENSE_SHARE = 0.5
"""From this share of non-zeros on, sparse vectors are cheaper to keep as dense rows."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a batch of rows.

    Attributes
    ----------
    X
        The rows that are usable, dense or sparse; None when they differ in length.
    present : bool array of shape (rows of the batch,)
        False where the features are null.
    shortest, longest : int
        Smallest and largest number of features of a row.
    bad_indices : int
        Sparse rows whose column numbers are negative, too large, not increasing, or not as many
        as their values.
    """

    X: Dense | CsrRows | None
    present: npt.NDArray[np.bool_]
    shortest: int
    longest: int
    bad_indices: int = 0


def to_features(column: pa.Array, dtype: npt.DTypeLike = np.float64) -> Features:
    """Features of an Arrow column.

    Parameters
    ----------
    column : array of lists of float or double, or of Spark's vector struct
        The struct has the fields type, size, indices and values.
    dtype : float64 or float32

    Raises
    ------
    TypeError
        If the column is of another type.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    present = np.ones(len(column), dtype=np.bool_)
    if column.null_count:
        present = column.is_valid().to_numpy(zero_copy_only=False)
        column = column.drop_null()
    if pa.types.is_struct(column.type):
        return _from_vectors(column, present, np.dtype(dtype))
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if lists and pa.types.is_floating(column.type.value_type):
        return _from_lists(column, present, np.dtype(dtype))
    raise TypeError(
        f"features arrive as {column.type}: expected vectors, or arrays of float or double"
    )


def _flat(values: pa.Array, dtype: np.dtype[Any]) -> Dense:
    """Values as NumPy, without a copy where possible; a null element becomes NaN."""
    flat: Dense = values.to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=dtype)


def _lists(column: pa.Array, dtype: np.dtype[Any]) -> tuple[Dense, npt.NDArray[np.int64]]:
    """The values of lists, and the offsets of the rows in them."""
    offsets = column.offsets.to_numpy().astype(np.int64)
    values = _flat(column.values.slice(offsets[0], offsets[-1] - offsets[0]), dtype)
    return values, offsets - offsets[0]


def _from_lists(column: pa.Array, present: npt.NDArray[np.bool_], dtype: np.dtype[Any]) -> Features:
    if len(column) == 0:
        return Features(None, present, 0, 0)
    values, offsets = _lists(column, dtype)
    lengths = np.diff(offsets)
    shortest, longest = int(lengths.min()), int(lengths.max())
    X = values.reshape(len(lengths), longest) if shortest == longest else None
    return Features(X, present, shortest, longest)


def _from_vectors(
    column: pa.Array, present: npt.NDArray[np.bool_], dtype: np.dtype[Any]
) -> Features:
    if len(column) == 0:
        return Features(None, present, 0, 0)
    # flatten() would give children without the struct's own offset applied to a sliced batch
    kind, size, indices, values = (
        pc.struct_field(column, name) for name in ("type", "size", "indices", "values")
    )
    dense = kind.to_numpy(zero_copy_only=False) == DENSE
    if dense.all():
        return _from_lists(values, present, dtype)
    data, offsets = _lists(values, dtype)
    counts = np.diff(offsets)
    sizes = np.where(dense, counts, pc.fill_null(size, 0).to_numpy(zero_copy_only=False))
    shortest, longest = int(sizes.min()), int(sizes.max())
    if shortest != longest:
        return Features(None, present, shortest, longest)
    # rows in which they differ may cancel in the sum and shift the values of those between
    entries = pc.fill_null(pc.list_value_length(indices), 0).to_numpy(zero_copy_only=False)
    unequal = int(np.count_nonzero(~dense & (entries != counts)))
    if unequal:
        return Features(None, present, shortest, longest, unequal)
    columns = _columns(indices, counts, dense, longest)
    bad = _count_bad(columns, offsets, longest)
    if bad:
        return Features(None, present, shortest, longest, bad)
    stored = columns.astype(np.int32, copy=False)
    X: Dense | CsrRows = CsrRows(data, stored, offsets, longest)
    if len(data) >= DENSE_SHARE * len(sizes) * longest:
        full = np.zeros((len(sizes), longest), dtype=dtype)
        full[np.repeat(np.arange(len(sizes)), counts), stored] = data
        X = full
    return Features(X, present, shortest, longest)


def as_assembled(features: Features, dtype: npt.DTypeLike = np.float64) -> Features:
    """Dense rows as they are when they come as the vectors of a `VectorAssembler`.

    It leaves out the zeros of a row where that takes less room (``Vector.compressed``), and keeps
    no sign of a zero.

    Parameters
    ----------
    features : Features
    dtype : float64 or float32

    Examples
    --------
    >>> X = np.array([[0.0, 0.0, -0.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0, 4.0]])
    >>> rows = as_assembled(Features(X, np.ones(2, dtype=bool), 5, 5)).X
    >>> rows.indices.tolist(), rows.data.tolist()
    ([4, 4], [3.0, 4.0])
    """
    X = features.X
    if not isinstance(X, np.ndarray):
        return features
    longest = X.shape[1]
    stored = X != 0.0
    counts = np.count_nonzero(stored, axis=1)
    dense = 1.5 * (counts + 1.0) >= longest
    counts[dense] = longest
    if counts.sum() >= DENSE_SHARE * X.size:
        return replace(features, X=np.add(X, 0.0).astype(dtype, copy=False))
    stored[dense] = True
    data = np.add(X[stored], 0.0).astype(dtype, copy=False)
    indices = np.nonzero(stored)[1].astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return replace(features, X=CsrRows(data, indices, indptr, longest))


def _columns(
    indices: pa.Array,
    counts: npt.NDArray[np.int64],
    dense: npt.NDArray[np.bool_],
    features: int,
) -> npt.NDArray[np.int64] | npt.NDArray[np.int32]:
    """Column numbers of all values: those of sparse rows, and 0, 1, ... for dense rows."""
    if not dense.any():
        return _lists(indices, np.dtype(np.int32))[0]
    columns = np.empty(counts.sum(), dtype=np.int64)
    from_dense = np.repeat(dense, counts)
    columns[from_dense] = np.tile(np.arange(features), int(dense.sum()))
    sparse_rows = indices.filter(pa.array(~dense))
    columns[~from_dense] = _lists(sparse_rows, np.dtype(np.int32))[0]
    return columns


def _count_bad(columns: npt.NDArray[Any], offsets: npt.NDArray[np.int64], features: int) -> int:
    """Number of rows whose column numbers are out of range or not increasing."""
    bad = (columns < 0) | (columns >= features)
    falling = np.zeros(len(columns), dtype=np.bool_)
    falling[1:] = columns[1:] <= columns[:-1]
    starts = offsets[:-1]
    falling[starts[starts < len(columns)]] = False
    bad |= falling
    if not bad.any():
        return 0
    rows = np.searchsorted(offsets, np.flatnonzero(bad), side="right") - 1
    return len(np.unique(rows))
