"""Epochs of SGD over wide sparse rows: a step costs as much as its non-zeros."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.kernels.compiled import Compiled, compiled, fixed, flat_rows
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.sgd_steps import (
    Epochs,
    batch_rows,
    batches,
    counted,
    epoch_plans,
    mean_derivative,
    mean_weight,
    start_gradient,
)
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import transposed_product

Array = npt.NDArray[np.float64]
Columns = npt.NDArray[np.signedinteger[Any]]

SMALLEST_FACTOR = 1e-9


class LazyWeights:
    r"""Weights whose dense updates are paid when a coordinate is next read.

    Three parts of a step touch every coordinate: the L2 penalty, the L1 penalty, and the constant
    part of a variance-reduced gradient. The weakest L2 strength is a common factor, ``w = factor *
    v``. The rest is kept as running sums over the steps, and a coordinate that is read pays what
    was added since it last did: :math:`e^{-(b_j - b) \sum \eta}` for a stronger L2 penalty, then
    the drift and the threshold times :math:`\sum \eta / \mathrm{factor}`.

    Parameters
    ----------
    weights, l1, l2, drift : arrays of shape (outputs, features)
    used : bool array of shape (features,)
        Columns that have coefficients.

    Attributes
    ----------
    v, paid, clock : arrays of shape (outputs, features)
        The weights over the factor, and the running sums when each was last read; those have shape
        (0, 0) where nothing is owed.
    owed, time : float
        Sums of the steps, divided by the factor and not.

    References
    ----------
    Bottou (2012), Stochastic gradient descent tricks, 5.1; Tsuruoka, Tsujii and Ananiadou (2009),
    Stochastic gradient descent training for L1-regularized log-linear models with cumulative
    penalty.
    """

    def __init__(
        self, weights: Array, l1: Array, l2: Array, drift: Array, used: npt.NDArray[np.bool_]
    ) -> None:
        self.v = weights.copy()
        self.l1, self.drift = l1, drift
        self.common = float(l2[:, used].min()) if used.any() else 0.0
        # strengths that differ by rounding, as those of standardised features do, are the same
        even = np.isclose(l2, self.common, rtol=1e-12, atol=0.0)
        self.extra = np.where(used & ~even, l2 - self.common, 0.0)
        self._lazy = bool(l1.any() or drift.any() or self.extra.any())
        shape = weights.shape if self._lazy else (0, 0)
        self.paid, self.clock = np.zeros(shape), np.zeros(shape)
        self.owed, self.time, self.factor = 0.0, 0.0, 1.0

    def read(self, columns: Columns | slice) -> Array:
        """Up-to-date values of v, shape (outputs, columns)."""
        v = self.v[:, columns]
        if not self._lazy:
            return v
        due = self.owed - self.paid[:, columns]
        elapsed = self.time - self.clock[:, columns]
        v = v * np.exp(-self.extra[:, columns] * elapsed) - self.drift[:, columns] * due
        threshold = self.l1[:, columns] * due
        updated: Array = np.sign(v) * np.maximum(np.abs(v) - threshold, 0.0)
        return updated

    def step(self, columns: Columns, v: Array, gradient: Array, rate: float) -> None:
        """Take a step from ``v``, which `read` returned for these columns."""
        if self._lazy:
            self.paid[:, columns] = self.owed
            self.clock[:, columns] = self.time
        self.factor *= max(0.0, 1.0 - rate * self.common)
        if self.factor < SMALLEST_FACTOR:  # fold the factor in before it underflows
            self.v *= self.factor
            v = v * self.factor
            self.paid *= self.factor
            self.owed *= self.factor
            self.factor = 1.0
        self.v[:, columns] = v - (rate / self.factor) * gradient
        self.owed += rate / self.factor
        self.time += rate

    def weights(self) -> Array:
        """All weights, up to date."""
        return self.factor * self.read(slice(None))


def wide_epochs(
    block: Block, model: LocalModel, settings: Epochs, coef: Array, seed: tuple[int, ...]
) -> Array:
    """As :func:`sparkml_lsml.engine.kernels.sgd.sgd_epochs`, for sparse rows and linear predictors.

    Rows are scaled but not centred, which would make them dense, and momentum, which would too,
    is not applied. Large blocks take a compiled loop, where loss and layout have one.
    """
    if len(counted(block)) == 0:
        return coef
    predictor, units, penalty = model.predictor, model.units, model.penalty
    layout = predictor.layout
    scale, label_scale, outputs = units.scale, units.label_scale, layout.outputs
    slope = scale * units.shift
    start = coef[layout.weights].reshape(outputs, layout.features)
    b = coef[layout.intercepts] - start @ slope if layout.fit_intercept else np.zeros(outputs)
    rest = np.concatenate([b, coef[layout.extras]])
    drift, drift_rest = np.zeros_like(start), np.zeros_like(rest)
    if settings.variance_reduction:
        gradient = start_gradient(block, model.loss, predictor, units, coef) * label_scale
        drift = gradient[layout.weights].reshape(start.shape) * scale
        if layout.fit_intercept:
            drift_rest[:outputs] = gradient[layout.intercepts]
        drift_rest[outputs:] = gradient[layout.extras]
    lazy = LazyWeights(
        start,
        _spread(penalty.l1(), layout),
        _spread(penalty.l2(), layout),
        drift,
        np.broadcast_to(scale > 0.0, start.shape)[0],
    )
    # averaging a dense vector costs its length: take as many snapshots as cost one epoch
    rows = len(counted(block))
    steps = settings.epochs * -(-rows // batch_rows(settings.batch_size, rows, predictor))
    every = max(1, steps * start.size // (settings.epochs * max(1, block.stored) + start.size))
    given = _Round(block, model, settings, seed, every, start, rest, drift_rest)
    fast = compiled(model.loss, predictor, 1, block.stored)
    w, rest = _numpy_steps(given, lazy) if fast is None else _compiled_steps(given, lazy, fast)
    out = coef.copy()
    out[layout.weights] = w.ravel()
    if layout.fit_intercept:
        out[layout.intercepts] = rest[:outputs] + w @ slope
    out[layout.extras] = rest[outputs:]
    return out


@dataclass(frozen=True, eq=False)
class _Round:
    """What a round starts from; the rest are the intercepts and the constants of the loss."""

    block: Block
    model: LocalModel
    settings: Epochs
    seed: tuple[int, ...]
    every: int
    start: Array
    start_rest: Array
    drift_rest: Array


def _numpy_steps(given: _Round, lazy: LazyWeights) -> tuple[Array, Array]:
    """Weights and the rest after the round, or their averages."""
    block, settings, model = given.block, given.settings, given.model
    layout, units = model.predictor.layout, model.units
    scale, label_scale = units.scale, units.label_scale
    start, rest, outputs = given.start, given.start_rest, layout.outputs
    weight_a_row = mean_weight(block)
    average, average_rest, averaged = np.zeros_like(start), np.zeros_like(rest), 0
    plan = list(batches(block, model.predictor, settings, given.seed))
    for t, rows in enumerate(plan):
        X, y, weight = block.take(rows)
        assert isinstance(X, sparse.csr_array)
        columns, at = np.unique(X.indices, return_inverse=True)
        compact = sparse.csr_array(
            (X.data * scale[X.indices], at.astype(np.int32), X.indptr), shape=(len(y), len(columns))
        )
        v = lazy.read(columns)
        points = [(lazy.factor * v, rest)]
        if settings.variance_reduction:
            points.append((start[:, columns], given.start_rest))
        raw = np.stack([_raw(compact, w, r, outputs) for w, r in points], axis=1) * label_scale
        derivative = mean_derivative(model.loss, y, weight, raw, weight_a_row) * label_scale
        change = derivative[:, 0] - (derivative[:, 1] if settings.variance_reduction else 0.0)
        rate = settings.rate(t)
        lazy.step(columns, v, transposed_product(compact, change[:, :outputs]), rate)
        move = change.sum(axis=0) + given.drift_rest
        if not layout.fit_intercept:
            move[:outputs] = 0.0
        rest = rest - rate * move
        if settings.average and 2 * t >= len(plan) and t % given.every == 0:
            average += lazy.weights()
            average_rest += rest
            averaged += 1
    if averaged:
        return average / averaged, average_rest / averaged
    return lazy.weights(), rest


def _compiled_steps(given: _Round, lazy: LazyWeights, fast: Compiled) -> tuple[Array, Array]:
    """The same for one output and a loss without constants."""
    settings, model, start = given.settings, given.model, given.start[0]
    units = model.units
    average, averaged = np.zeros_like(start), 0
    rest, average_rest = float(given.start_rest[0]), 0.0
    data, indices, indptr, y, weight = flat_rows(given.block)
    rows = (data, indices, indptr)
    scaling = fixed(units.scale, float(units.label_scale), model.predictor.layout.fit_intercept)
    loss = (fast.code, float(fast.parameter[0]), y, weight, mean_weight(given.block))
    reduced = start if settings.variance_reduction else start[:0]
    anchor = fixed(reduced, rest, float(given.drift_rest[0]))
    strengths = fixed(lazy.l1[0], lazy.extra[0], lazy.drift[0], lazy.common, SMALLEST_FACTOR)
    owing = (lazy.v[0], lazy.paid.ravel(), lazy.clock.ravel(), average)
    for order, size, rates, averages in epoch_plans(
        given.block, model.predictor, settings, given.seed, given.every
    ):
        plan = fixed(order, size, rates, averages)
        state = (lazy.owed, lazy.time, lazy.factor, rest, average_rest)
        lazy.owed, lazy.time, lazy.factor, rest, average_rest = fast.loops.wide_epoch(
            rows, plan, scaling, loss, anchor, owing, strengths, state
        )
        averaged += int(averages.sum())
    if averaged:
        return average[None, :] / averaged, np.array([average_rest / averaged])
    return lazy.weights(), np.array([rest])


def _spread(strength: Array | float, layout: Layout) -> Array:
    """Strengths of the weights, shape (outputs, features)."""
    full = np.broadcast_to(np.asarray(strength, dtype=np.float64), (layout.size,))
    return full[layout.weights].reshape(layout.outputs, layout.features)


def _raw(compact: sparse.csr_array, weights: Array, rest: Array, outputs: int) -> Array:
    """Raw predictions of one model, shape (rows, outputs + constants)."""
    product = np.asarray(compact @ weights.T) + rest[:outputs]
    extras = np.broadcast_to(rest[outputs:], (len(product), len(rest) - outputs))
    return np.concatenate([product, extras], axis=1)
