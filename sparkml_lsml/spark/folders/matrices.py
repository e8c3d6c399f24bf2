"""Vectors and matrices among Params, as JSON."""

import math
from typing import Any

import numpy as np
from pyspark.ml.linalg import DenseMatrix, DenseVector, Matrix, Vector

from sparkml_lsml.errors import PersistenceError


def to_json(value: Vector | Matrix) -> dict[str, Any]:
    """The shape, and the values row after row; sparse ones become dense.

    Examples
    --------
    >>> to_json(DenseMatrix(1, 2, [3.0, 4.0]))
    {'shape': [1, 2], 'values': [3.0, 4.0]}
    """
    array = np.asarray(value.toArray(), dtype=np.float64)
    return {"shape": list(array.shape), "values": array.ravel().tolist()}


def from_json(found: dict[str, Any]) -> DenseVector | DenseMatrix:
    """The inverse of `to_json`.

    Raises
    ------
    PersistenceError
        If shape and values do not fit, or are no numbers.
    """
    shape, values = found.get("shape"), found.get("values")
    good = (
        set(found) == {"shape", "values"}
        and isinstance(shape, list)
        and len(shape) in (1, 2)
        and all(type(n) is int and n >= 0 for n in shape)
        and isinstance(values, list)
        and all(type(value) in (int, float) for value in values)
        and len(values) == math.prod(shape)
    )
    if not good:
        number = f"{len(values)} values" if isinstance(values, list) else f"values {values!r:.60}"
        raise PersistenceError(
            f"a Param holds an object with the keys {sorted(found)}, the shape {shape!r:.60} and "
            f"{number}: expected a vector or a matrix, with a number for each of its entries"
        )
    assert isinstance(shape, list)
    array = np.array(values, dtype=np.float64).reshape(shape)
    if array.ndim == 1:
        return DenseVector(array)
    rows, columns = shape
    return DenseMatrix(rows, columns, array.ravel(order="F"))
