"""Networks of dense layers, and their textbook sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Rows
from sparkml_lsml.engine.predictors import DensePredictor

Array = npt.NDArray[np.float64]

TEXTBOOK: dict[str, Callable[[float], float]] = {
    "relu": lambda z: max(z, 0.0),
    "tanh": math.tanh,
    "sigmoid": lambda z: 1.0 / (1.0 + math.exp(-z)),
    # z times the share of a normal variable that lies below it
    "gelu": lambda z: z * 0.5 * math.erfc(-z / math.sqrt(2.0)),
    "identity": lambda z: z,
}


def network(sizes: Sequence[int], activation: str = "tanh", **more: Any) -> DensePredictor:
    """A network in double precision, so that derivations hold to the last digits."""
    return DensePredictor(tuple(sizes), activation, **{"precision": "float64", **more})


def explicit_raw(predictor: DensePredictor, X: Rows, coef: Array) -> Array:
    """Raw predictions of one model row by row, from the textbook's sums; shape (rows, outputs)."""
    dense = X.toarray() if sparse.issparse(X) else X
    function = TEXTBOOK[predictor.activation]
    found = []
    for row in dense:
        values = [float(v) for v in row]
        at = 0
        for number, (into, out) in enumerate(
            zip(predictor.sizes[:-1], predictor.sizes[1:], strict=True)
        ):
            weights = [coef[at + k * into : at + (k + 1) * into] for k in range(out)]
            at += into * out
            biases = coef[at : at + out]
            at += out
            sums = [
                sum(w * v for w, v in zip(weights[k], values, strict=True)) + biases[k]
                for k in range(out)
            ]
            last = number == len(predictor.sizes) - 2
            values = sums if last else [function(s) for s in sums]
        found.append(values)
    return np.array(found)
