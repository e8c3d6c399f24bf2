"""Epochs of mini-batch gradient descent over the rows of one block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.blocks.block import Block, CsrRows, Rows
from sparkml_lsml.kernels.value_gradient import raw_predictions, transposed_product
from sparkml_lsml.layout import Layout
from sparkml_lsml.losses.base import Loss
from sparkml_lsml.penalties.elastic_net import ElasticNet
from sparkml_lsml.standardization import Standardization

Array = npt.NDArray[np.float64]

WIDE = 4_096
"""Sparse rows with more features than this are updated entry by entry, not as dense rows."""

MIN_STEPS = 16
"""Batches are made smaller on a block with fewer than this many of them."""


@dataclass(frozen=True, eq=False)
class SgdEpochs:
    """What one partition does in a round of local SGD.

    Parameters
    ----------
    epochs : int
        Passes over the rows of the block.
    batch_size : int
        Rows a step, at most.
    step_size : float
        Step of the first mini-batch of the round.
    decay : float
        The step of mini-batch t of the round is ``step_size / (1 + decay * t) ** power``.
    power : float
    momentum : float
        Share of the last update that is taken again. Velocity starts at zero in each round.
    nesterov : bool
        Nesterov's form of momentum: the gradient is taken where the velocity leads.
    average : bool
        Return the average of the iterates of the second half of the round, instead of the last.
    """

    epochs: int = 1
    batch_size: int = 128
    step_size: float = 0.01
    decay: float = 0.0
    power: float = 1.0
    momentum: float = 0.0
    nesterov: bool = False
    average: bool = True

    def rate(self, t: int) -> float:
        """Step size of mini-batch ``t`` of the round."""
        return float(self.step_size / (1.0 + self.decay * t) ** self.power)


def sgd_epochs(
    block: Block,
    loss: Loss,
    layout: Layout,
    standardization: Standardization,
    penalty: ElasticNet,
    settings: SgdEpochs,
    coef: Array,
    seed: tuple[int, ...],
) -> Array:
    """Coefficients after the epochs of one round, in the solver's (standardised) units.

    Rows are visited in a random order that follows from ``seed``. Dense rows are scaled and
    centred batch by batch. Wide sparse rows are scaled but not centred, so that a step costs as
    much as its non-zeros: the L2 penalty is a common factor, and the L1 penalty of a coordinate
    is paid when it is next touched.

    Parameters
    ----------
    block : Block
    loss : Loss
    layout : Layout
    standardization : Standardization
    penalty : ElasticNet
    settings : SgdEpochs
    coef : array of shape (layout.size,)
    seed : tuple of int

    Returns
    -------
    array of shape (layout.size,)

    References
    ----------
    Bottou (2012), Stochastic gradient descent tricks; Tsuruoka, Tsujii and Ananiadou (2009),
    Stochastic gradient descent training for L1-regularized log-linear models with cumulative
    penalty (the lazy L1 step).
    """
    if block.rows == 0:
        return coef
    if isinstance(block.X, CsrRows) and block.features > WIDE:
        return _wide_epochs(block, loss, layout, standardization, penalty, settings, coef, seed)
    return _dense_epochs(block, loss, layout, standardization, penalty, settings, coef, seed)


def batches(
    block: Block, settings: SgdEpochs, seed: tuple[int, ...]
) -> Iterator[npt.NDArray[np.intp]]:
    """Row numbers of the mini-batches of a round, each epoch in a new random order."""
    size = max(1, min(settings.batch_size, block.rows // MIN_STEPS))
    rng = np.random.default_rng(seed)
    for _ in range(settings.epochs):
        order = rng.permutation(block.rows)
        for start in range(0, block.rows, size):
            yield order[start : start + size]


def _mean_derivative(
    loss: Loss, y: Array, weight: Array | None, raw: Array, mean_weight: float
) -> Array:
    """Derivatives a row, divided so that their sum is the gradient of the mean loss."""
    derivative = loss.value_and_derivative(y, raw)[1][:, 0, :]
    if weight is None:
        return derivative / len(y)
    return derivative * (weight / (len(y) * mean_weight))[:, None]


def _mean_weight(block: Block) -> float:
    mean = block.weight_sum / block.rows
    return mean if mean > 0.0 else 1.0


def _dense_epochs(
    block: Block,
    loss: Loss,
    layout: Layout,
    standardization: Standardization,
    penalty: ElasticNet,
    settings: SgdEpochs,
    coef: Array,
    seed: tuple[int, ...],
) -> Array:
    w = coef.copy()
    velocity = np.zeros_like(w)
    gradient = np.zeros_like(w)
    average = np.zeros_like(w)
    averaged = 0
    mean_weight = _mean_weight(block)
    l2, l1 = penalty.l2(), np.asarray(penalty.l1())
    has_l1 = bool(l1.any())
    label_scale = standardization.label_scale
    plan = list(batches(block, settings, seed))
    for t, rows in enumerate(plan):
        X, y, weight = block.take(rows)
        scaled = _standardize(X, standardization)
        rate = settings.rate(t)
        at = w + settings.momentum * velocity if settings.nesterov else w
        raw = raw_predictions(scaled, layout, (at * label_scale)[None, :])
        derivative = _mean_derivative(loss, y, weight, raw, mean_weight)
        outputs = derivative[:, : layout.outputs]
        gradient[layout.weights] = (outputs.T @ scaled).ravel()
        if layout.fit_intercept:
            gradient[layout.intercepts] = outputs.sum(axis=0)
        if layout.constants:
            gradient[layout.extras] = derivative[:, layout.outputs :].sum(axis=0)
        step = rate * (gradient * label_scale + l2 * at)
        if settings.momentum:
            velocity = settings.momentum * velocity - step
            w = w + velocity
        else:
            w = w - step
        if has_l1:
            w = penalty.prox(w, rate)
        if settings.average and 2 * t >= len(plan):
            average += w
            averaged += 1
    return average / averaged if averaged else w


def _standardize(X: Rows, standardization: Standardization) -> Array:
    dense = X.toarray() if sparse.issparse(X) else X
    scaled: Array = (dense - standardization.shift) * standardization.scale
    return scaled


def _wide_epochs(
    block: Block,
    loss: Loss,
    layout: Layout,
    standardization: Standardization,
    penalty: ElasticNet,
    settings: SgdEpochs,
    coef: Array,
    seed: tuple[int, ...],
) -> Array:
    # w = factor * v: the L2 step multiplies the factor alone. `paid` is how much of the running
    # L1 threshold (in units of v) a coordinate has been shrunk by already.
    scale = standardization.scale
    slope = scale * standardization.shift
    outputs, label_scale = layout.outputs, standardization.label_scale
    v = coef[layout.weights].reshape(outputs, layout.features).copy()
    b = coef[layout.intercepts] - v @ slope if layout.fit_intercept else np.zeros(outputs)
    extras = coef[layout.extras].copy()
    l2 = np.broadcast_to(np.asarray(penalty.l2(), dtype=np.float64), (layout.size,))
    l1 = np.broadcast_to(np.asarray(penalty.l1(), dtype=np.float64), (layout.size,))
    l2 = l2[layout.weights].reshape(v.shape)
    l1 = l1[layout.weights].reshape(v.shape)
    common = float(l2.min())
    uneven = bool((l2 != common).any())
    has_l1 = bool(l1.any())
    factor, owed = 1.0, 0.0
    paid = np.zeros_like(v) if has_l1 else None
    mean_weight = _mean_weight(block)
    average, averaged = np.zeros_like(v), 0
    average_rest = np.zeros(outputs + layout.constants)
    plan = list(batches(block, settings, seed))
    # averaging a dense vector costs its length: take as many snapshots as cost one epoch
    nonzeros = max(1, len(block.X.data) if isinstance(block.X, CsrRows) else 1)
    every = max(1, len(plan) * v.size // (settings.epochs * nonzeros + v.size))
    for t, rows in enumerate(plan):
        X, y, weight = block.take(rows)
        assert isinstance(X, sparse.csr_array)
        columns, at = np.unique(X.indices, return_inverse=True)
        compact = sparse.csr_array(
            (X.data * scale[X.indices], at.astype(np.int32), X.indptr),
            shape=(len(y), len(columns)),
        )
        rate = settings.rate(t)
        local = v[:, columns]
        if paid is not None:
            local = _shrink(local, l1[:, columns] * (owed - paid[:, columns]))
            paid[:, columns] = owed
        product = (compact @ local.T) * factor + b
        raw = (
            np.concatenate([product, np.broadcast_to(extras, (len(y), layout.constants))], axis=1)[
                :, None, :
            ]
            * label_scale
        )
        derivative = _mean_derivative(loss, y, weight, raw, mean_weight) * label_scale
        gradient = transposed_product(compact, derivative[:, :outputs])
        factor *= max(0.0, 1.0 - rate * common)
        if factor < 1e-9:  # fold the factor in before it underflows
            v *= factor
            local = local * factor
            if paid is not None:
                paid *= factor
                owed *= factor
            factor = 1.0
        if uneven:
            # the share of the L2 penalty above the common one, paid where a coordinate is touched
            gradient += (l2[:, columns] - common) * local * factor
        v[:, columns] = local - (rate / factor) * gradient
        owed += rate / factor
        if layout.fit_intercept:
            b = b - rate * derivative[:, :outputs].sum(axis=0)
        if layout.constants:
            extras = extras - rate * derivative[:, outputs:].sum(axis=0)
        if settings.average and 2 * t >= len(plan) and t % every == 0:
            current = v if paid is None else _shrink(v, l1 * (owed - paid))
            average += factor * current
            average_rest += np.concatenate([b, extras])
            averaged += 1
    if averaged:
        w, b, extras = (
            average / averaged,
            average_rest[:outputs] / averaged,
            average_rest[outputs:] / averaged,
        )
    else:
        w = factor * (v if paid is None else _shrink(v, l1 * (owed - paid)))
    out = coef.copy()
    out[layout.weights] = w.ravel()
    if layout.fit_intercept:
        out[layout.intercepts] = b + w @ slope
    out[layout.extras] = extras
    return out


def _shrink(values: Array, threshold: Array) -> Array:
    return np.sign(values) * np.maximum(np.abs(values) - threshold, 0.0)
