"""Epochs of SGD over wide sparse rows: a step costs as much as its non-zeros."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.blocks.block import Block, CsrRows
from sparkml_lsml.kernels.sgd_steps import (
    SgdEpochs,
    batches,
    mean_derivative,
    mean_weight,
    start_gradient,
)
from sparkml_lsml.kernels.value_gradient import transposed_product
from sparkml_lsml.layout import Layout
from sparkml_lsml.losses.base import Loss
from sparkml_lsml.penalties.elastic_net import ElasticNet
from sparkml_lsml.standardization import Standardization

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

    References
    ----------
    Bottou (2012), Stochastic gradient descent tricks, 5.1; Tsuruoka, Tsujii and Ananiadou (2009),
    Stochastic gradient descent training for L1-regularized log-linear models with cumulative
    penalty.
    """

    def __init__(self, weights: Array, l1: Array, l2: Array, drift: Array, used: Array) -> None:
        self._v = weights.copy()
        self._l1, self._drift = l1, drift
        self._common = float(l2[:, used].min()) if used.any() else 0.0
        self._extra = np.where(used, l2 - self._common, 0.0)
        self._lazy = bool(l1.any() or drift.any() or self._extra.any())
        shape = weights.shape if self._lazy else (0, 0)
        self._paid, self._clock = np.zeros(shape), np.zeros(shape)
        self._owed, self._time, self.factor = 0.0, 0.0, 1.0

    def read(self, columns: Columns | slice) -> Array:
        """Up-to-date values of v, shape (outputs, columns)."""
        v = self._v[:, columns]
        if not self._lazy:
            return v
        due = self._owed - self._paid[:, columns]
        elapsed = self._time - self._clock[:, columns]
        v = v * np.exp(-self._extra[:, columns] * elapsed) - self._drift[:, columns] * due
        threshold = self._l1[:, columns] * due
        updated: Array = np.sign(v) * np.maximum(np.abs(v) - threshold, 0.0)
        return updated

    def step(self, columns: Columns, v: Array, gradient: Array, rate: float) -> None:
        """Take a step from ``v``, which `read` returned for these columns."""
        if self._lazy:
            self._paid[:, columns] = self._owed
            self._clock[:, columns] = self._time
        self.factor *= max(0.0, 1.0 - rate * self._common)
        if self.factor < SMALLEST_FACTOR:  # fold the factor in before it underflows
            self._v *= self.factor
            v = v * self.factor
            self._paid *= self.factor
            self._owed *= self.factor
            self.factor = 1.0
        self._v[:, columns] = v - (rate / self.factor) * gradient
        self._owed += rate / self.factor
        self._time += rate

    def weights(self) -> Array:
        """All weights, up to date."""
        return self.factor * self.read(slice(None))


def wide_epochs(
    block: Block,
    loss: Loss,
    layout: Layout,
    standardization: Standardization,
    penalty: ElasticNet,
    settings: SgdEpochs,
    coef: Array,
    seed: tuple[int, ...],
) -> Array:
    """As :func:`sparkml_lsml.kernels.sgd.sgd_epochs`, for sparse rows.

    Rows are scaled but not centred, which would make them dense, and momentum, which would too,
    is not applied.
    """
    scale, label_scale, outputs = standardization.scale, standardization.label_scale, layout.outputs
    slope = scale * standardization.shift
    start = coef[layout.weights].reshape(outputs, layout.features)
    b = coef[layout.intercepts] - start @ slope if layout.fit_intercept else np.zeros(outputs)
    rest = np.concatenate([b, coef[layout.extras]])
    start_rest = rest.copy()
    drift, drift_rest = np.zeros_like(start), np.zeros_like(rest)
    if settings.variance_reduction:
        gradient = start_gradient(block, loss, layout, standardization, coef) * label_scale
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
    weight_a_row = mean_weight(block)
    average, average_rest, averaged = np.zeros_like(start), np.zeros_like(rest), 0
    plan = list(batches(block, settings, seed))
    # averaging a dense vector costs its length: take as many snapshots as cost one epoch
    nonzeros = max(1, len(block.X.data) if isinstance(block.X, CsrRows) else 1)
    every = max(1, len(plan) * start.size // (settings.epochs * nonzeros + start.size))
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
            points.append((start[:, columns], start_rest))
        raw = np.stack([_raw(compact, w, r, outputs) for w, r in points], axis=1) * label_scale
        derivative = mean_derivative(loss, y, weight, raw, weight_a_row) * label_scale
        change = derivative[:, 0] - (derivative[:, 1] if settings.variance_reduction else 0.0)
        rate = settings.rate(t)
        lazy.step(columns, v, transposed_product(compact, change[:, :outputs]), rate)
        move = change.sum(axis=0) + drift_rest
        if not layout.fit_intercept:
            move[:outputs] = 0.0
        rest = rest - rate * move
        if settings.average and 2 * t >= len(plan) and t % every == 0:
            average += lazy.weights()
            average_rest += rest
            averaged += 1
    w = average / averaged if averaged else lazy.weights()
    rest = average_rest / averaged if averaged else rest
    out = coef.copy()
    out[layout.weights] = w.ravel()
    if layout.fit_intercept:
        out[layout.intercepts] = rest[:outputs] + w @ slope
    out[layout.extras] = rest[outputs:]
    return out


def _spread(strength: Array | float, layout: Layout) -> Array:
    """Strengths of the weights, shape (outputs, features)."""
    full = np.broadcast_to(np.asarray(strength, dtype=np.float64), (layout.size,))
    return full[layout.weights].reshape(layout.outputs, layout.features)


def _raw(compact: sparse.csr_array, weights: Array, rest: Array, outputs: int) -> Array:
    """Raw predictions of one model, shape (rows, outputs + constants)."""
    product = np.asarray(compact @ weights.T) + rest[:outputs]
    extras = np.broadcast_to(rest[outputs:], (len(product), len(rest) - outputs))
    return np.concatenate([product, extras], axis=1)
