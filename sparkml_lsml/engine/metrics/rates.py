"""Quotients of weights: what precision, recall and their like are made of."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def ratio(part: Array, whole: Array, otherwise: float) -> Array:
    """Quotients, with another value where the denominator is 0."""
    return np.divide(part, whole, out=np.full_like(part, otherwise), where=whole > 0.0)


def f_measure(precision: Array, recall: Array, beta: float = 1.0) -> Array:
    """Weighted harmonic mean of precision and recall; 0 where both are 0."""
    square = beta**2
    return ratio((1.0 + square) * precision * recall, square * precision + recall, 0.0)
