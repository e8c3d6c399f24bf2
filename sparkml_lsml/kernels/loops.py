"""Fused loops over rows, compiled by Numba: importing this room needs the extra ``fast``.

Each loop reads a row once: it predicts, takes loss and derivative, and adds the row to the gradient
while it is still in the processor's nearest cache. The NumPy kernels read it twice and write the
predictions, losses and derivatives of a whole piece in between.
"""

import os
import stat
import tempfile
from collections.abc import Callable
from functools import partial
from math import exp, log1p
from pathlib import Path
from typing import Any

import numba
import numpy as np

HINGE, SQUARED_HINGE, LOGISTIC, SQUARED, SMOOTHED_HINGE = range(5)
"""Codes of the losses: one loop serves all, so that one compilation does."""

ROWS_TOGETHER = 64
"""Sparse rows that are predicted before the first of them is added to the gradient."""

# sums may be reordered, which is what lets them use vector instructions; NaN and infinity stay
REORDER = {"reassoc", "contract", "nsz", "arcp"}


# sums over the non-zeros of a row may not: operands gathered into a vector take twice as long
IN_ORDER = REORDER - {"reassoc"}


def compile_loop(function: Callable[..., Any], flags: set[str] = REORDER) -> Any:
    """Compile at the first call, and keep the machine code on disk."""
    compiler = numba.njit(cache=True, nogil=True, fastmath=flags)
    try:
        return compiler(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        config: Any = numba.config
        before = config.CACHE_DIR
        config.CACHE_DIR = str(_private_folder())
        try:
            return compiler(function)
        finally:
            config.CACHE_DIR = before


def _private_folder() -> Path:
    """A folder for machine code that nobody else can write: loading code from it runs it."""
    folder = Path(tempfile.gettempdir()) / f"sparkml_lsml-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="sparkml_lsml-kernels-"))


@numba.njit(inline="always")
def _point(code: int, y: float, raw: float, parameter: float) -> tuple[float, float]:
    """Loss and derivative of one row; the formulas are those of the room `losses`."""
    sign = 2.0 * y - 1.0
    if code == HINGE:
        slack = 1.0 - sign * raw
        return (slack, -sign) if slack > 0.0 else (0.0, 0.0)
    if code == SQUARED_HINGE:
        slack = max(1.0 - sign * raw, 0.0)
        return slack * slack, -2.0 * sign * slack
    if code == LOGISTIC:
        margin = sign * raw
        small = exp(-abs(margin))
        if margin > 0.0:
            return log1p(small), -sign * small / (1.0 + small)
        return log1p(small) - margin, -sign / (1.0 + small)
    if code == SQUARED:
        residual = raw - y
        return 0.5 * residual * residual, residual
    slack = max(1.0 + 0.5 * parameter - sign * raw, 0.0)
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
