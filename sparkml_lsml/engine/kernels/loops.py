"""Fused loops over rows, compiled by Numba: importing this room needs the extra ``fast``.

Each loop reads a row once: it predicts, takes loss and derivative, and adds the row to the gradient
while it is still in the processor's nearest cache. The NumPy kernels read it twice and write the
predictions, losses and derivatives of a whole piece in between. An epoch of SGD is one call, where
NumPy needs some twenty for each mini-batch.

All loops are in this file, because Numba keeps machine code until the file of its source changes:
a loop elsewhere would go on with the `_point` that it was compiled with.
"""

from functools import partial
from math import exp, log1p
from typing import Any

import numba
import numpy as np

from sparkml_lsml.engine.kernels.machine_code import IN_ORDER, compile_loop

HINGE, SQUARED_HINGE, LOGISTIC, SQUARED, SMOOTHED_HINGE = range(5)
"""Codes of the losses: one loop serves all, so that one compilation does."""

ROWS_TOGETHER = 64
"""Sparse rows that are predicted before the first of them is added to the gradient."""


@numba.njit(inline="always")
def _point(code: int, y: float, raw: float, parameter: float) -> tuple[float, float]:
    """Loss and derivative of one row; the formulas are those of the room `losses`."""
    sign = 2.0 * y - 1.0
    # comparisons that NaN fails, as max() would drop it
    if code == HINGE:
        slack = 1.0 - sign * raw
        return (0.0, 0.0) if slack <= 0.0 else (slack, -sign)
    if code == SQUARED_HINGE:
        slack = 1.0 - sign * raw
        return (0.0, 0.0) if slack <= 0.0 else (slack * slack, -2.0 * sign * slack)
    if code == LOGISTIC:
        margin = sign * raw
        small = exp(-abs(margin))
        if margin > 0.0:
            return log1p(small), -sign * small / (1.0 + small)
        return log1p(small) - margin, -sign / (1.0 + small)
    if code == SQUARED:
        residual = raw - y
        return 0.5 * residual * residual, residual
    slack = 1.0 + 0.5 * parameter - sign * raw
    if slack <= 0.0:
        return 0.0, 0.0
    slope = min(slack / max(parameter, 1e-300), 1.0)
    return slope * (slack - 0.5 * parameter * slope), -sign * slope


@compile_loop
def dense_gradient(
    X: Any, y: Any, weight: Any, coef: Any, code: int, parameter: Any, value: Any, gradient: Any
) -> float:
    """Add losses and gradients of dense rows.

    Parameters
    ----------
    X : array of shape (rows, features)
    y : array of shape (rows,)
    weight : array of shape (rows,), or of shape (0,) where every row weighs 1
    coef : array of shape (models, features + 1)
        The intercept is last, 0 without one.
    code : int
    parameter : array of shape (models,)
        Of the loss, where it has one.
    value : array of shape (models,)
        Added to in place, as is the gradient.
    gradient : array of shape (models, features + 1)

    Returns
    -------
    float
        Sum of the weights.
    """
    rows, features = X.shape
    total = 0.0
    for i in range(rows):
        w = weight[i] if len(weight) else 1.0
        if w == 0.0:
            continue
        total += w
        for k in range(len(coef)):
            raw = coef[k, features]
            for j in range(features):
                raw += X[i, j] * coef[k, j]
            loss, slope = _point(code, y[i], raw, parameter[k])
            value[k] += w * loss
            slope *= w
            if slope != 0.0:
                for j in range(features):
                    gradient[k, j] += slope * X[i, j]
                gradient[k, features] += slope
    return total


@partial(compile_loop, flags=IN_ORDER)
def sparse_gradient_of_one(
    data: Any,
    indices: Any,
    indptr: Any,
    y: Any,
    weight: Any,
    factors: Any,
    coef: Any,
    code: int,
    parameter: float,
    gradient: Any,
) -> tuple[float, float]:
    """Add the gradient of one model over sparse rows.

    ``coef`` and ``gradient`` have shape (features + 1,); ``factors`` of shape (rows,) multiply the
    weights, or have no rows. Some rows are predicted one after another, and then added up one
    after another, so that the processor has the columns of the next row under way.

    Returns
    -------
    float
        Sum of the losses.
    float
        Sum of the weights.
    """
    rows, last = len(indptr) - 1, len(coef) - 1
    value, total, bias = 0.0, 0.0, 0.0
    slopes = np.empty(ROWS_TOGETHER)
    for start in range(0, rows, ROWS_TOGETHER):
        stop = min(start + ROWS_TOGETHER, rows)
        for i in range(start, stop):
            raw = coef[last]
            for p in range(indptr[i], indptr[i + 1]):
                # unsigned: no look whether the column counts from the end
                raw += data[p] * coef[np.uint32(indices[p])]
            slopes[i - start] = raw
        for i in range(start, stop):
            w = weight[i] if len(weight) else 1.0
            if len(factors):
                w *= factors[i]
            raw, slopes[i - start] = slopes[i - start], 0.0
            if w != 0.0:
                loss, slope = _point(code, y[i], raw, parameter)
                value += w * loss
                total += w
                slopes[i - start] = w * slope
                bias += w * slope
        for i in range(start, stop):
            slope = slopes[i - start]
            if slope != 0.0:
                for p in range(indptr[i], indptr[i + 1]):
                    gradient[np.uint32(indices[p])] += slope * data[p]
    gradient[last] += bias
    return value, total


@compile_loop
def sparse_gradient(
    data: Any,
    indices: Any,
    indptr: Any,
    y: Any,
    weight: Any,
    factors: Any,
    coef: Any,
    code: int,
    parameter: Any,
    value: Any,
    gradient: Any,
    totals: Any,
) -> None:
    """Add losses and gradients of sparse rows.

    Models are the last axis of ``coef`` and ``gradient``, of shape (features + 1, models), so
    that a column of a row is looked up once for all of them. ``factors`` of shape (rows, models)
    multiply the weights, or have no rows; ``totals`` of shape (models,) take the sums of the
    weights. The rest is as in `dense_gradient`.
    """
    rows, models = len(indptr) - 1, coef.shape[1]
    last = len(coef) - 1
    raw = np.empty(models)
    for i in range(rows):
        w = weight[i] if len(weight) else 1.0
        if w == 0.0:
            continue
        for k in range(models):
            raw[k] = coef[last, k]
        for p in range(indptr[i], indptr[i + 1]):
            x, j = data[p], indices[p]
            for k in range(models):
                raw[k] += x * coef[j, k]
        any_slope = False
        for k in range(models):
            share = w * factors[i, k] if len(factors) else w
            if share == 0.0:
                raw[k] = 0.0
                continue
            totals[k] += share
            loss, slope = _point(code, y[i], raw[k], parameter[k])
            value[k] += share * loss
            raw[k] = share * slope
            any_slope = any_slope or raw[k] != 0.0
        if any_slope:
            for k in range(models):
                gradient[last, k] += raw[k]
            for p in range(indptr[i], indptr[i + 1]):
                x, j = data[p], indices[p]
                for k in range(models):
                    gradient[j, k] += x * raw[k]


@compile_loop
def losses_and_slopes(
    y: Any, weight: Any, factors: Any, code: int, parameter: Any, raw: Any, value: Any, totals: Any
) -> None:
    """Turn raw predictions into weighted derivatives, in place, and add up losses and weights.

    ``raw`` and ``factors`` have shape (rows, models); ``factors`` may have no rows.
    """
    rows, models = raw.shape
    for i in range(rows):
        w = weight[i] if len(weight) else 1.0
        for k in range(models):
            share = w * factors[i, k] if len(factors) else w
            if share == 0.0:
                raw[i, k] = 0.0
                continue
            loss, slope = _point(code, y[i], raw[i, k], parameter[k])
            value[k] += share * loss
            totals[k] += share
            raw[i, k] = share * slope


@numba.njit(inline="always")
def _copy(source: Any, target: Any) -> None:
    for p in range(len(source)):
        target[p] = source[p]


@numba.njit(inline="always")
def _take(data: Any, indices: Any, indptr: Any, batch: Any) -> Any:
    """Copies of the values and columns of some rows, and where each of those starts.

    Rows in random order come from main memory one after another. A copy waits for several of
    them at a time, arithmetic in place for each.
    """
    starts = np.zeros(len(batch) + 1, np.int64)
    for k in range(len(batch)):
        starts[k + 1] = starts[k] + indptr[batch[k] + 1] - indptr[batch[k]]
    x = np.empty(starts[-1])
    columns = np.empty(starts[-1] if len(indices) else 0, indices.dtype)
    for k in range(len(batch)):
        first, last = indptr[batch[k]], indptr[batch[k] + 1]
        _copy(data[first:last], x[starts[k] :])
        _copy(indices[first:last], columns[starts[k] :])
    return x, columns, starts


@numba.njit(inline="always")
def _dot(x: Any, columns: Any, w: Any) -> float:
    """A row times weights; a dense row has no column numbers."""
    total = 0.0
    if len(columns):
        for p in range(len(columns)):
            total += x[p] * w[columns[p]]
    else:
        for j in range(len(x)):
            total += x[j] * w[j]
    return total


@numba.njit(inline="always")
def _add(x: Any, columns: Any, slope: float, gradient: Any) -> None:
    """Add a row times its slope."""
    if len(columns):
        for p in range(len(columns)):
            gradient[columns[p]] += slope * x[p]
    else:
        for j in range(len(x)):
            gradient[j] += slope * x[j]


@numba.njit(inline="always")
def _to_stored(w: Any, scale: Any, shift: Any, label_scale: float, stored: Any) -> float:
    """Weights for the stored features, in place; returns the intercept."""
    intercept = w[len(scale)] * label_scale if len(w) > len(scale) else 0.0
    for j in range(len(scale)):
        stored[j] = w[j] * scale[j] * label_scale
        intercept -= stored[j] * shift[j]
    return intercept


@numba.njit(inline="always")
def _soft(value: float, threshold: float) -> float:
    """Soft thresholding, which leaves NaN what it is."""
    if abs(value) <= threshold:
        return 0.0
    return value - threshold if value > 0.0 else value + threshold


@compile_loop
def narrow_epoch(
    rows: Any,
    plan: Any,
    units: Any,
    strengths: Any,
    loss: Any,
    anchor: Any,
    momenta: Any,
    state: Any,
) -> None:
    """One epoch of mini-batches; a step costs what its rows store and once the features.

    No tuple has more than four arrays: Numba up to 0.60 tells longer ones apart by memory that it
    has not written, and then runs the code for rows of another precision.

    Parameters
    ----------
    rows : data, indices, indptr
        Compressed rows. Dense ones are their flat values, with no ``indices``.
    plan : order, size, rates, averages
        Row numbers, rows a step, and for each step its length and whether it is averaged.
    units : scale, shift, label_scale
    strengths : l1, l2
        Arrays of shape (size,): one a feature, and the last of the intercept if there is one.
    loss : code, parameter, y, weight, mean
        The weights of shape (rows,), or (0,) where every row weighs 1, are divided by their mean.
    anchor : start, drift
        Where the round started, of shape (0,) without variance reduction, and the gradient there.
    momenta : momentum, lead
        Shares of the last update: one that is taken again, one that the gradient looks ahead.
    state : w, velocity, average
        Arrays of shape (size,), changed in place.
    """
    data, indices, indptr = rows
    order, size, rates, averages = plan
    scale, shift, label_scale = units
    l1, l2 = strengths
    code, parameter, y, weight, mean = loss
    start, drift = anchor
    momentum, lead = momenta
    w, velocity, average = state
    at, stored, first = np.empty_like(w), np.empty_like(scale), np.empty_like(scale)
    gradient = np.empty_like(scale)
    first_b = 0.0
    if len(start):
        first_b = _to_stored(start, scale, shift, label_scale, first)
    for t in range(len(rates)):
        at[:] = w + lead * velocity
        b = _to_stored(at, scale, shift, label_scale, stored)
        gradient[:] = 0.0
        total = 0.0
        batch = order[t * size : (t + 1) * size]
        xs, all_columns, starts = _take(data, indices, indptr, batch)
        for k in range(len(batch)):
            i = batch[k]
            x = xs[starts[k] : starts[k + 1]]
            columns = all_columns[starts[k] : starts[k + 1]]
            _, slope = _point(code, y[i], b + _dot(x, columns, stored), parameter)
            if len(start):
                slope -= _point(code, y[i], first_b + _dot(x, columns, first), parameter)[1]
            if slope != 0.0:
                slope *= (weight[i] if len(weight) else 1.0) / (len(batch) * mean)
                total += slope
                _add(x, columns, slope, gradient)
        for j in range(len(w)):
            slope = (gradient[j] - total * shift[j]) * scale[j] if j < len(scale) else total
            slope = slope * label_scale + l2[j] * at[j] + drift[j]
            moved = w[j] - rates[t] * slope + momentum * velocity[j]
            moved = _soft(moved, rates[t] * l1[j])
            velocity[j] = moved - w[j]
            w[j] = moved
        if averages[t]:
            average += w


@numba.njit(inline="always")
def _paid(value: float, due: float, elapsed: float, l1: float, extra: float, drift: float) -> float:
    """What `LazyWeights.read` makes of one weight."""
    if extra > 0.0:
        value *= exp(-extra * elapsed)
    return _soft(value - drift * due, l1 * due)


@compile_loop
def wide_epoch(
    rows: Any, plan: Any, units: Any, loss: Any, anchor: Any, lazy: Any, strengths: Any, state: Any
) -> Any:
    """One epoch over sparse rows, scaled but not centred; a step costs its non-zeros.

    Parameters
    ----------
    rows, plan, loss : as in `narrow_epoch`
    units : scale, label_scale, fit_intercept
    anchor : start, start_rest, drift_rest
        As in `narrow_epoch`; "rest" are the intercepts.
    lazy : v, paid, clock, average
        The first three of `LazyWeights`: arrays of shape (features,), or (0,) for ``paid`` and
        ``clock`` where nothing is owed. All are changed in place.
    strengths : l1, extra, drift, common, smallest
        Of `LazyWeights`; the first three are arrays of shape (features,).
    state : owed, time, factor, rest, average_rest

    Returns
    -------
    tuple
        The new ``state``.
    """
    data, indices, indptr = rows
    order, size, rates, averages = plan
    scale, label_scale, fit_intercept = units
    code, parameter, y, weight, mean = loss
    start, start_rest, drift_rest = anchor
    v, paid, clock, average = lazy
    l1, extra, drift, common, smallest = strengths
    owed, time, factor, rest, average_rest = state
    slopes = np.empty(size)
    for t in range(len(rates)):
        rate = rates[t]
        batch = order[t * size : (t + 1) * size]
        x, columns, starts = _take(data, indices, indptr, batch)
        for k in range(len(batch)):
            i = batch[k]
            raw = first = 0.0
            for p in range(starts[k], starts[k + 1]):
                j = columns[p]
                if len(paid) and (paid[j] != owed or clock[j] != time):
                    due, elapsed = owed - paid[j], time - clock[j]
                    v[j] = _paid(v[j], due, elapsed, l1[j], extra[j], drift[j])
                    paid[j], clock[j] = owed, time
                x[p] *= scale[j]
                raw += x[p] * v[j]
                if len(start):
                    first += x[p] * start[j]
            raw = (factor * raw + rest) * label_scale
            slope = _point(code, y[i], raw, parameter)[1]
            if len(start):
                slope -= _point(code, y[i], (first + start_rest) * label_scale, parameter)[1]
            share = (weight[i] if len(weight) else 1.0) / (len(batch) * mean)
            slopes[k] = slope * share * label_scale
        factor *= max(0.0, 1.0 - rate * common)
        if factor < smallest:  # fold the factor in before it underflows
            v *= factor
            paid *= factor
            owed *= factor
            factor = 1.0
        move = drift_rest
        for k in range(len(batch)):
            if slopes[k] != 0.0:
                move += slopes[k]
                step = rate / factor * slopes[k]
                for p in range(starts[k], starts[k + 1]):
                    v[columns[p]] -= step * x[p]
        if fit_intercept:
            rest -= rate * move
        owed += rate / factor
        time += rate
        if averages[t]:
            average_rest += rest
            for j in range(len(v)):
                value = v[j]
                if len(paid):
                    due, elapsed = owed - paid[j], time - clock[j]
                    value = _paid(value, due, elapsed, l1[j], extra[j], drift[j])
                average[j] += factor * value
    return owed, time, factor, rest, average_rest
