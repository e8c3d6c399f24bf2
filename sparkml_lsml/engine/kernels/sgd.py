"""Epochs of mini-batch gradient descent over the rows of one block."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Rows
from sparkml_lsml.engine.kernels.compiled import Compiled, compiled, fixed, flat_rows
from sparkml_lsml.engine.kernels.local import LocalModel, ModelSum
from sparkml_lsml.engine.kernels.sgd_steps import (
    Epochs,
    batches,
    counted,
    epoch_plans,
    mean_derivative,
    mean_weight,
    start_gradient,
)
from sparkml_lsml.engine.kernels.wide_sgd import wide_epochs
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization

Array = npt.NDArray[np.float64]

WIDE = 4_096
"""Sparse rows with more features than this are updated entry by entry, not as dense rows."""


@dataclass(frozen=True, eq=False)
class SgdEpochs(Epochs):
    """A round of local SGD: epochs over each block, and the average of the blocks' models.

    See `Epochs` for the settings and `LocalUpdate` for the methods.
    """

    needs_loss: ClassVar[bool] = True
    vectors: ClassVar[int] = 1

    def run(
        self, block: Block, partition: int, model: LocalModel, coef: Array, seed: tuple[int, ...]
    ) -> ModelSum:
        """See `LocalUpdate.run`."""
        weight = block.weight_sum
        return ModelSum(weight * sgd_epochs(block, model, self, coef, seed), weight)

    def finish(self, total: ModelSum, units: Standardization, weight: float) -> Array:
        """See `LocalUpdate.finish`: the averaged model."""
        return total.mean()


def sgd_epochs(
    block: Block, model: LocalModel, settings: Epochs, coef: Array, seed: tuple[int, ...]
) -> Array:
    """Coefficients after the epochs of one round, in the solver's (standardised) units.

    Rows are visited in a random order that follows from ``seed``. Dense rows are scaled and
    centred batch by batch; wide sparse rows see `wide_epochs`. Large blocks and the usual losses
    take the compiled loops of `kernels.loops`, which scale and centre the coefficients instead of
    the rows.

    Parameters
    ----------
    block : Block
    model : LocalModel
    settings : Epochs
    coef : array of shape (size,)
    seed : tuple of int

    Returns
    -------
    array of shape (size,)

    References
    ----------
    Bottou (2012), Stochastic gradient descent tricks; Johnson and Zhang (2013), Accelerating
    stochastic gradient descent using predictive variance reduction.
    """
    if len(counted(block)) == 0:
        return coef
    linear = isinstance(model.predictor, LinearPredictor)
    if linear and isinstance(block.X, CsrRows) and block.features > WIDE:
        return wide_epochs(block, model, settings, coef, seed)
    return _dense_epochs(block, model, settings, coef, seed)


def _dense_epochs(
    block: Block, model: LocalModel, settings: Epochs, coef: Array, seed: tuple[int, ...]
) -> Array:
    loss, predictor, units, penalty = model.loss, model.predictor, model.units, model.penalty
    anchor = None
    if settings.variance_reduction:
        slope = start_gradient(block, loss, predictor, units, coef)
        anchor = units.gradient(slope[None, :])[0]
    fast = compiled(loss, predictor, 1, block.stored)
    if fast is not None:
        return _compiled_epochs(fast, block, model, settings, coef, anchor, seed)
    w = coef.copy()
    velocity = np.zeros_like(w)
    average = np.zeros_like(w)
    averaged = 0
    weight_a_row = mean_weight(block)
    l2, l1 = penalty.l2(), np.asarray(penalty.l1())
    has_l1 = bool(l1.any())
    scale, head = units.label_scale, predictor.layout.head
    plan = list(batches(block, predictor, settings, seed))
    for t, rows in enumerate(plan):
        X, y, weight = block.take(rows)
        scaled = _standardize(X, units).astype(predictor.dtype, copy=False)
        rate = settings.rate(t)
        at = w + settings.momentum * velocity if settings.nesterov else w
        points = at[None, :].copy() if anchor is None else np.stack([at, coef])
        points[:, head] *= scale
        raw, pull = predictor.raw_and_pullback(scaled, points)
        derivative = mean_derivative(loss, y, weight, raw, weight_a_row)
        gradients = np.zeros_like(points)
        linear = predictor if isinstance(predictor, LinearPredictor) else None
        if linear is not None and anchor is not None:
            # the pullback of both is the same, so that of their difference is enough
            linear.pull(scaled, derivative[:, :1] - derivative[:, 1:], gradients[:1])
        else:
            pull(derivative, gradients)
        gradients[:, head] *= scale
        slope = gradients[0] + l2 * at
        if anchor is not None:
            slope += anchor if linear is not None else anchor - gradients[1]
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
    model: LocalModel,
    settings: Epochs,
    coef: Array,
    anchor: Array | None,
    seed: tuple[int, ...],
) -> Array:
    units, penalty = model.units, model.penalty
    w, velocity, average, averaged = coef.copy(), np.zeros_like(coef), np.zeros_like(coef), 0
    strengths = (np.broadcast_to(one, coef.shape) for one in (penalty.l1(), penalty.l2()))
    momentum = float(settings.momentum)
    data, indices, indptr, y, weight = flat_rows(block)
    rows = (data, indices, indptr)
    given = (
        fixed(units.scale, units.shift, float(units.label_scale)),
        fixed(*strengths),
        (fast.code, float(fast.parameter[0]), y, weight, mean_weight(block)),
        fixed(coef[:0], np.zeros_like(coef)) if anchor is None else fixed(coef, anchor),
        (momentum, momentum if settings.nesterov else 0.0),
    )
    for order, size, rates, averages in epoch_plans(block, model.predictor, settings, seed):
        plan = fixed(order, size, rates, averages)
        fast.loops.narrow_epoch(rows, plan, *given, (w, velocity, average))
        averaged += int(averages.sum())
    return average / averaged if averaged else w


def _standardize(X: Rows, units: Standardization) -> Array:
    dense = X.toarray() if sparse.issparse(X) else X
    scaled: Array = (dense - units.shift) * units.scale
    return scaled
