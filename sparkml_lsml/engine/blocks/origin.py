"""Where columns are measured from whose values lie close together, and far from zero."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import CsrRows, Dense, as_csr
from sparkml_lsml.engine.blocks.moments import Moments

Array = npt.NDArray[np.float64]
Columns = npt.NDArray[np.intp]

CLOSE = {"float64": 1e-7, "float32": 1e-4}
"""Deviations from which values lie close together, as shares of their mean. A product with a
coefficient rounds to some 1e-16 of the value: less than that of the deviation would be left."""

EXACT = {"float64": 2.0**53, "float32": 2.0**24}
"""Numbers from which not every integer can be told from the next."""


@dataclass(frozen=True, eq=False)
class Origin:
    """What is subtracted from columns while rows are packed.

    The difference of two numbers of which none is more than twice the other is exact, so packed
    values are as many digits as the numbers themselves tell apart.

    Parameters
    ----------
    columns : int array of shape (columns,)
        In order.
    values : array of shape (columns,)

    References
    ----------
    Sterbenz (1974), Floating-Point Computation, theorem 4.3.1.

    Examples
    --------
    >>> import numpy as np
    >>> origin = Origin(np.array([1]), np.array([1.7e15]))
    >>> origin.subtract(np.array([[1.0, 1.7e15 + 3.0]]), np.dtype(float)).tolist()
    [[1.0, 3.0]]
    >>> origin.intercepts(np.array([[1.0, 2.0]]), np.array([0.5]), back=True).tolist()
    [-3399999999999999.5]
    """

    columns: Columns
    values: Array

    def dense(self, features: int) -> Array:
        """A value for each feature, most of them 0."""
        out = np.zeros(features)
        out[self.columns] = self.values
        return out

    def subtract(self, X: Dense | CsrRows, dtype: npt.DTypeLike) -> Dense | CsrRows:
        """Rows in float64 as they are to be packed; those of another length stay as they are."""
        if len(self.columns) and self.columns[-1] >= X.shape[1]:
            return X
        if not isinstance(X, CsrRows):
            return np.asarray(X - self.dense(X.shape[1]), dtype=dtype)
        rows, size = X.shape[0], len(self.columns)
        moved = sparse.csr_array(
            (
                np.tile(self.values, rows),
                np.tile(self.columns, rows).astype(np.int64),
                size * np.arange(rows + 1),
            ),
            shape=X.shape,
        )
        own = sparse.csr_array((X.data, X.indices.astype(np.int64), X.indptr), shape=X.shape)
        found = as_csr(own - moved)
        return CsrRows(found.data.astype(dtype), found.indices, found.indptr, X.features)

    def intercepts(self, weights: Array, intercepts: Array, back: bool = False) -> Array:
        """Intercepts for packed rows from those for rows as they are, or ``back``.

        Parameters
        ----------
        weights : array of shape (outputs, features)
        intercepts : array of shape (outputs,)

        Notes
        -----
        Summed exactly and rounded once: products of 1e15 leave an intercept of 1.
        """
        sign = -1 if back else 1
        values = [Fraction(value) for value in self.values.tolist()]
        found = []
        for row, intercept in zip(weights[:, self.columns].tolist(), intercepts, strict=True):
            terms = (Fraction(w) * value for w, value in zip(row, values, strict=True) if w)
            found.append(float(Fraction(float(intercept)) + sign * sum(terms)))
        return np.array(found)

    def rounding(self, weights: Array) -> float:
        """How far a prediction from rows as they are may be off, because its terms cancel."""
        sizes = np.abs(weights[:, self.columns]) @ np.abs(self.values)
        return float(np.max(sizes, initial=0.0)) * 2.0**-53


def close_columns(moments: Moments, dtype: str) -> Columns:
    """Columns whose values lie close together beside their size, and may be all the same.

    Of float32 rows also those of one large value: as doubles their values may differ.
    """
    full = moments.dense()
    size = np.abs(moments.mean())
    total = full.weight or 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        # where values are absent, and so 0, the others do not lie close to them
        absent = np.square(size) * np.maximum(total - full.stored, 0.0) / total
        deviation = np.sqrt(full.stored_m2 / total + absent)
    differ = full.stored_m2 > 0.0
    if dtype == "float32":
        differ |= size >= EXACT[dtype]
    return np.flatnonzero(differ & (deviation <= CLOSE[dtype] * size))
