"""Epochs of mini-batch gradient descent over the rows of one block."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Rows
from sparkml_lsml.engine.kernels.compiled import Compiled, compiled, fixed, flat_rows
from sparkml_lsml.engine.kernels.sgd_steps import (
    SgdEpochs,
    batches,
    epoch_plans,
    mean_derivative,
    mean_weight,
    start_gradient,
)
from sparkml_lsml.engine.kernels.value_gradient import raw_predictions
from sparkml_lsml.engine.kernels.wide_sgd import wide_epochs
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]

WIDE = 4_096
"""Sparse rows with more features than this are updated entry by entry, not as dense rows."""


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
    centred batch by batch; wide sparse rows see `wide_epochs`. Large blocks and the usual losses
    take the compiled loops of `sparkml_lsml.engine.kernels.loops`, which scale and centre the
    coefficients instead of the rows.

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
    Bottou (2012), Stochastic gradient descent tricks; Johnson and Zhang (2013), Accelerating
    stochastic gradient descent using predictive variance reduction.
    """
    if block.rows == 0:
        return coef
    if isinstance(block.X, CsrRows) and block.features > WIDE:
        return wide_epochs(block, loss, layout, standardization, penalty, settings, coef, seed)
    return _dense_epochs(block, loss, layout, standardization, penalty, settings, coef, seed)


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
    anchor = None
    if settings.variance_reduction:
        slope = start_gradient(block, loss, layout, standardization, coef)
        anchor = standardization.gradient(slope[None, :])[0]
    fast = compiled(loss, layout, 1, block.stored)
    if fast is not None:
        return _compiled_epochs(fast, block, standardization, penalty, settings, coef, anchor, seed)
    w = coef.copy()
    velocity = np.zeros_like(w)
    gradient = np.zeros_like(w)
    average = np.zeros_like(w)
    averaged = 0
    weight_a_row = mean_weight(block)
    l2, l1 = penalty.l2(), np.asarray(penalty.l1())
    has_l1 = bool(l1.any())
    label_scale = standardization.label_scale
    plan = list(batches(block, settings, seed))
    for t, rows in enumerate(plan):
        X, y, weight = block.take(rows)
        scaled = _standardize(X, standardization)
        rate = settings.rate(t)
        at = w + settings.momentum * velocity if settings.nesterov else w
        points = at[None, :] if anchor is None else np.stack([at, coef])
        raw = raw_predictions(scaled, layout, points * label_scale)
        derivative = mean_derivative(loss, y, weight, raw, weight_a_row)
        if anchor is not None:
            derivative = derivative[:, :1] - derivative[:, 1:]
        outputs = derivative[:, 0, : layout.outputs]
        gradient[layout.weights] = (outputs.T @ scaled).ravel()
        if layout.fit_intercept:
            gradient[layout.intercepts] = outputs.sum(axis=0)
        if layout.constants:
            gradient[layout.extras] = derivative[:, 0, layout.outputs :].sum(axis=0)
        slope = gradient * label_scale + l2 * at
        if anchor is not None:
            slope += anchor
        before = w
        w = w - rate * slope + settings.momentum * velocity
        if has_l1:
            w = penalty.prox(w, rate)
        if settings.momentum:
            velocity = w - before
        if settings.average and 2 * t >= len(plan):
            average += w
            averaged += 1
    return average / averaged if averaged else w


def _compiled_epochs(
    fast: Compiled,
    block: Block,
    standardization: Standardization,
    penalty: ElasticNet,
    settings: SgdEpochs,
    coef: Array,
    anchor: Array | None,
    seed: tuple[int, ...],
) -> Array:
    w, velocity, average, averaged = coef.copy(), np.zeros_like(coef), np.zeros_like(coef), 0
    strengths = (np.broadcast_to(one, coef.shape) for one in (penalty.l1(), penalty.l2()))
    momentum = float(settings.momentum)
    rows = (*flat_rows(block), mean_weight(block))
    given = (
        fixed(standardization.scale, standardization.shift, float(standardization.label_scale)),
        fixed(*strengths),
        (fast.code, float(fast.parameter[0])),
        fixed(coef[:0], np.zeros_like(coef)) if anchor is None else fixed(coef, anchor),
        (momentum, momentum if settings.nesterov else 0.0),
    )
    for order, size, rates, kept in epoch_plans(block, settings, seed):
        plan = fixed(order, size, rates, kept)
        fast.loops.narrow_epoch(rows, plan, *given, (w, velocity, average))
        averaged += int(kept.sum())
    return average / averaged if averaged else w


def _standardize(X: Rows, standardization: Standardization) -> Array:
    dense = X.toarray() if sparse.issparse(X) else X
    scaled: Array = (dense - standardization.shift) * standardization.scale
    return scaled
