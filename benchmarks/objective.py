"""The objective of a model, computed anew on all rows by code of neither contestant.

This module uses NumPy, SciPy and PyArrow only. It knows MLlib's objective from its documentation:
mean(loss) + regParam / 2 * sum((coefficient_j * deviation_j)^2); for the squared error the penalty
is divided by the deviation of the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import sparse

from benchmarks.data import DataSet, Matrix, read
from benchmarks.synthetic import Array

LOSSES = {"LinearSVC": "hinge", "LogisticRegression": "logistic", "LinearRegression": "squared"}


@cache
def moments(data: DataSet, label: str) -> tuple[Array, float]:
    """Variances of the columns and of the label, with the denominator n."""
    shift: Array | None = None
    count = 0
    for x, y in read(data, label):
        if shift is None:
            # Any value near the mean keeps the sums of squares from cancelling.
            dense = not sparse.issparse(x)
            shift = np.append(x.mean(axis=0) if dense else np.zeros(data.features), y.mean())
            sums, squares = np.zeros(len(shift)), np.zeros(len(shift))
        count += len(y)
        for number, part in ((0, x), (1, y[:, None])):
            where = slice(data.features, None) if number else slice(data.features)
            one, two = powers(part, shift[where])
            sums[where] += one
            squares[where] += two
    variance = squares / count - (sums / count) ** 2
    return np.asarray(variance[:-1]), float(variance[-1])


def powers(x: Matrix, shift: Array) -> tuple[Array, Array]:
    """Sums of the shifted columns and of their squares; sparse columns are not shifted."""
    if isinstance(x, sparse.csr_matrix):
        return np.asarray(x.sum(axis=0)).ravel(), np.asarray(x.multiply(x).sum(axis=0)).ravel()
    moved = x - shift
    return moved.sum(axis=0, dtype=float), np.einsum("ij,ij->j", moved, moved, dtype=float)


def losses(loss: str, raw: Array, y: Array) -> Array:
    """Losses of rows (first axis) under models (second axis)."""
    if loss == "squared":
        return np.asarray(0.5 * (raw - y) ** 2)
    margin = (2 * y - 1) * raw
    return np.asarray(np.maximum(0, 1 - margin) if loss == "hinge" else np.logaddexp(0, -margin))


def objectives(
    data: DataSet,
    label: str,
    estimator: str,
    reg_param: float,
    models: Sequence[tuple[Array, float]],
) -> list[float]:
    """Compute the objective of each model, given as coefficients and intercept."""
    loss = LOSSES[estimator]
    coefficients = np.stack([coefficient for coefficient, _ in models], axis=1)
    intercepts = np.array([intercept for _, intercept in models])
    totals, count = np.zeros(len(models)), 0
    for x, y in read(data, label):
        totals += losses(loss, x @ coefficients + intercepts, y[:, None]).sum(axis=0)
        count += len(y)
    variance, of_label = moments(data, label)
    scale = 1.0
    if loss == "squared":
        scale = float(np.sqrt(of_label))
    else:
        variance = variance * count / (count - 1)
    penalties = 0.5 * reg_param * (coefficients**2 * variance[:, None]).sum(axis=0) / scale
    return [float(value) for value in totals / count + penalties]
