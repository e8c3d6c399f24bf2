"""A sum over the rows of a block by which the same rows are known again."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows

HASHED_VALUES = 2**14
"""Values of dense rows that are hashed at a time: they stay in the cache."""


def checksum(block: Block, position: int | None = None) -> int:
    """Sum of a hash of each row, modulo 2^64; the same for every order of the rows by default.

    With ``position``, the number of the first row among those of the partition, it depends on the
    order.

    Sparse and dense rows of the same values give the same sum. Rows are hashed whole, so that
    values which change places between rows, or ones of one-hot rows between columns, are seen.
    """
    X = block.X
    if isinstance(X, CsrRows):
        ends = np.zeros(len(X.data) + 1, dtype=np.uint64)
        np.cumsum(_bits(X.data) * _odd(X.indices), out=ends[1:])
        rows = ends[X.indptr[1:]] - ends[X.indptr[:-1]]
    else:
        odd = _odd(np.arange(block.features))
        rows = np.empty(block.rows, dtype=np.uint64)
        step = max(1, HASHED_VALUES // max(1, block.features))
        for start in range(0, block.rows, step):
            rows[start : start + step] = _bits(X[start : start + step]) @ odd
    rows += _bits(block.y) * np.uint64(0x9E3779B97F4A7C15)
    if block.weight is not None:
        rows += _bits(block.weight) * np.uint64(0xC2B2AE3D27D4EB4F)
    if block.fold is not None:
        rows += block.fold.astype(np.uint64) * np.uint64(0x94D049BB133111EB)
    # without it the sum over the rows would be a sum over the columns
    rows ^= rows >> np.uint64(32)
    rows *= np.uint64(0xBF58476D1CE4E5B9)
    rows ^= rows >> np.uint64(29)
    if position is not None:
        rows *= _odd(np.arange(position, position + block.rows))
    return int(rows.sum(dtype=np.uint64))


def _bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The bits of numbers, also low ones: those of small whole numbers are all among the first."""
    bits = np.ascontiguousarray(values).view(np.dtype(f"u{values.itemsize}"))
    found = bits.astype(np.uint64, copy=False) >> np.uint64(32)
    found ^= bits
    return found


def _odd(columns: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A random odd factor for each column: neighbours of a simple sequence add up to each other."""
    mixed = (columns.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ (mixed >> np.uint64(27))) | np.uint64(1)
