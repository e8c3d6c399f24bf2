"""Epochs of dual coordinate ascent, compiled by Numba: importing this room needs ``fast``."""

from math import exp, log
from typing import Any

import numba
import numpy as np

from sparkml_lsml.engine.kernels.loops import HINGE, SQUARED_HINGE
from sparkml_lsml.engine.kernels.machine_code import compile_loop


@numba.njit(inline="always")
def _best_dual(code: int, margin: float, dual: float, bend: float) -> float:
    """See `sparkml_lsml.engine.kernels.sdca.best_dual`, whose formulas these are."""
    if code == HINGE:
        if bend <= 0.0:
            return 1.0 if margin < 1.0 else 0.0
        return min(max(dual + (1.0 - margin) / bend, 0.0), 1.0)
    if code == SQUARED_HINGE:
        return max((1.0 - margin + bend * dual) / (bend + 0.5), 0.0)
    low, high = 0.0, 1.0
    small = exp(-abs(margin))
    best = small / (1.0 + small) if margin > 0.0 else 1.0 / (1.0 + small)
    if 0.0 < dual < 1.0 and bend > 1.0:
        best = dual
    for _ in range(60):
        best = min(max(best, 1e-300), 1.0 - 1e-16)
        slope = log((1.0 - best) / best) - margin - bend * (best - dual)
        if slope > 0.0:
            low = best
        else:
            high = best
        step = slope / (1.0 / (best * (1.0 - best)) + bend)
        there = best + step
        if not low < there < high:
            there = 0.5 * (low + high)
        if abs(there - best) <= 1e-14 * best:
            return there
        best = there
    return best


@compile_loop
def dense_sdca(X: Any, rows: Any, numbers: Any, vectors: Any, state: Any) -> None:
    """Visit dense rows in the given order; see `sparkml_lsml.engine.kernels.sdca.sdca_epochs`.

    Parameters
    ----------
    X : array of shape (rows, features)
    rows : y, share, order
        Labels, and the weights of the rows over that of all rows of all partitions, both of shape
        (rows,); the numbers of the rows that are visited.
    numbers : code, subproblem_scale, multiplier_step, centre_length
        Of the loss; what the change of this partition is multiplied by; what a dual moves the
        intercept by; and the squared length of the centre.
    vectors : inverse, slant
        Arrays of shape (features,).
    state : duals, point, offsets, positive
        Changed in place. Arrays of shape (rows,); of shape (features,); of shape (3,): intercept,
        the product of point and centre, and the sum of the moves; and of shape (features + 1,),
        which takes what the rows of class 1 changed.
    """
    y, share, order = rows
    code, subproblem_scale, multiplier_step, centre_length = numbers
    inverse, slant = vectors
    duals, point, offsets, positive = state
    features = X.shape[1]
    for visit in range(len(order)):
        i = order[visit]
        if share[i] == 0.0:
            continue
        raw, cross, length = 0.0, 0.0, 0.0
        for j in range(features):
            x = X[i, j]
            raw += x * point[j]
            cross += x * slant[j]
            length += x * inverse[j] * x  # the square of a float32 may overflow
        raw += offsets[0] - offsets[1] - offsets[2] * cross + offsets[2] * centre_length
        length += centre_length - 2.0 * cross + multiplier_step
        sign = 2.0 * y[i] - 1.0
        before = duals[i]
        after = _best_dual(code, sign * raw, before, subproblem_scale * share[i] * length)
        if after == before:
            continue
        duals[i] = after
        change = share[i] * sign * (after - before)
        move = subproblem_scale * change
        offsets[0] += move * multiplier_step
        offsets[1] += move * cross
        offsets[2] += move
        for j in range(features):
            point[j] += move * inverse[j] * X[i, j]
        if sign > 0.0:
            positive[features] += change
            for j in range(features):
                positive[j] += change * X[i, j]


@compile_loop
def sparse_sdca(matrix: Any, rows: Any, numbers: Any, columns: Any, state: Any) -> None:
    """The same over sparse rows.

    ``columns`` of shape (features, 3) holds ``point``, ``inverse`` and ``slant`` side by side, so
    that a column of a row is looked up once; ``state`` is without ``point`` then, and ``matrix``
    is the data, indices and row pointers.
    """
    data, indices, indptr = matrix
    y, share, order = rows
    code, subproblem_scale, multiplier_step, centre_length = numbers
    duals, offsets, positive = state
    last = len(columns)
    for visit in range(len(order)):
        i = order[visit]
        if share[i] == 0.0:
            continue
        raw, cross, length = 0.0, 0.0, 0.0
        for p in range(indptr[i], indptr[i + 1]):
            x, j = data[p], np.uint32(indices[p])
            raw += x * columns[j, 0]
            cross += x * columns[j, 2]
            length += x * columns[j, 1] * x
        raw += offsets[0] - offsets[1] - offsets[2] * cross + offsets[2] * centre_length
        length += centre_length - 2.0 * cross + multiplier_step
        sign = 2.0 * y[i] - 1.0
        before = duals[i]
        after = _best_dual(code, sign * raw, before, subproblem_scale * share[i] * length)
        if after == before:
            continue
        duals[i] = after
        change = share[i] * sign * (after - before)
        move = subproblem_scale * change
        offsets[0] += move * multiplier_step
        offsets[1] += move * cross
        offsets[2] += move
        for p in range(indptr[i], indptr[i + 1]):
            j = np.uint32(indices[p])
            columns[j, 0] += move * columns[j, 1] * data[p]
        if sign > 0.0:
            positive[last] += change
            for p in range(indptr[i], indptr[i + 1]):
                positive[np.uint32(indices[p])] += change * data[p]
