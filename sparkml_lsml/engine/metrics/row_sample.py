"""A sample of the rows that does not depend on how they are partitioned."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass
class RowSample:
    """Some of the rows, drawn uniformly: those with the least of hashed keys.

    Parameters
    ----------
    size : int
        Rows that are kept, at most.

    References
    ----------
    Duffield, Lund and Thorup (2007), Priority sampling for estimation of arbitrary subset sums,
    Journal of the ACM 54; with equal weights.
    """

    size: int = 2_000
    rows: int = 0
    keys: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    values: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, columns: Sequence[Array]) -> None:
        """Add rows, a column for each of their values."""
        values = np.stack(columns, axis=1)
        # of values and number of the row, so that the same rows give the same sample
        keys = np.arange(self.rows, self.rows + len(values)).astype(np.uint64)
        for column in columns:
            keys = _mix(keys ^ column.view(np.uint64))
        self.rows += len(values)
        self._keep(keys, values)

    def merge(self, other: "RowSample") -> Self:
        """Both together, in place."""
        self.rows += other.rows
        self._keep(other.keys, other.values)
        return self

    def _keep(self, keys: npt.NDArray[np.uint64], values: Array) -> None:
        if not len(self.keys):
            self.values = values[:0]
        if len(keys):
            keys, values = np.concatenate([self.keys, keys]), np.concatenate([self.values, values])
            first = np.argsort(keys, kind="stable")[: self.size]
            self.keys, self.values = keys[first], values[first]


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
