"""What the epochs of SGD share, whatever the form of the rows: settings, order, weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.kernels.value_gradient import value_and_gradient
from sparkml_lsml.engine.predictors.base import Predictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]

MIN_STEPS = 16
"""Batches of a convex predictor are made smaller on a block with fewer than this many of them."""


@dataclass(frozen=True, eq=False)
class Epochs:
    """How the mini-batches of a round are drawn and stepped.

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
    variance_reduction : bool
        Correct the gradient of each mini-batch by the difference between the gradient of all rows
        and of this mini-batch at the start of the round, so that its noise vanishes as the round
        nears a minimum (SVRG).
    """

    epochs: int = 1
    batch_size: int = 128
    step_size: float = 0.01
    decay: float = 0.0
    power: float = 1.0
    momentum: float = 0.0
    nesterov: bool = False
    average: bool = True
    variance_reduction: bool = False

    def rate(self, t: int) -> float:
        """Step size of mini-batch ``t`` of the round."""
        return float(self.step_size / (1.0 + self.decay * t) ** self.power)


def batch_rows(batch_size: int, rows: float, predictor: Predictor) -> int:
    """Rows of a mini-batch on a block of this many rows.

    What is convex gets `MIN_STEPS` steps an epoch on small blocks too: more of them only bring it
    nearer to the minimum. Where a network ends depends on the size, which is left as it was asked.
    """
    steps = MIN_STEPS if predictor.convex else 1
    return int(max(1, min(batch_size, rows // steps)))


def batches(
    block: Block, predictor: Predictor, settings: Epochs, seed: tuple[int, ...]
) -> Iterator[npt.NDArray[np.intp]]:
    """Row numbers of the mini-batches of a round, each epoch in a new random order."""
    size = batch_rows(settings.batch_size, len(counted(block)), predictor)
    for order in _orders(block, settings, seed):
        for start in range(0, len(order), size):
            yield order[start : start + size]


def epoch_plans(
    block: Block, predictor: Predictor, settings: Epochs, seed: tuple[int, ...], every: int = 1
) -> Iterator[tuple[Any, ...]]:
    """The mini-batches of `batches` epoch by epoch, as the compiled loops take them.

    Yields
    ------
    order : int array of shape (rows that count,)
    size : int
        Rows a mini-batch; the last one has what is left.
    rates : array of shape (steps,)
    averages : bool array of shape (steps,)
        Whether the iterate after the step is averaged: in the second half of the round, one in
        ``every``.
    """
    rows = len(counted(block))
    size = batch_rows(settings.batch_size, rows, predictor)
    steps = -(-rows // size)
    for epoch, order in enumerate(_orders(block, settings, seed)):
        t = np.arange(epoch * steps, (epoch + 1) * steps)
        averages = settings.average & (2 * t >= settings.epochs * steps) & (t % every == 0)
        yield order, size, np.array([settings.rate(step) for step in t.tolist()]), averages


def _orders(
    block: Block, settings: Epochs, seed: tuple[int, ...]
) -> Iterator[npt.NDArray[np.intp]]:
    rng, rows = np.random.default_rng(seed), counted(block)
    for _ in range(settings.epochs):
        order = rng.permutation(len(rows))
        yield order if isinstance(rows, range) else rows[order]


def counted(block: Block) -> range | npt.NDArray[np.intp]:
    """Numbers of the rows that have a weight: one of weight 0, such as of a validation, is none."""
    if block.weight is None or block.weight.all():
        return range(block.rows)
    return np.flatnonzero(block.weight)


def mean_derivative(
    loss: Loss, y: Array, weight: Array | None, raw: Array, mean_weight: float
) -> Array:
    """Derivatives a row, divided so that their sum is the gradient of the mean loss."""
    derivative = loss.value_and_derivative(y, raw)[1]
    if weight is None:
        return derivative / len(y)
    return derivative * (weight / (len(y) * mean_weight))[:, None, None]


def mean_weight(block: Block) -> float:
    """Mean weight of the rows of a block that have one, of which there are some."""
    return block.weight_sum / len(counted(block))


def start_gradient(
    block: Block, loss: Loss, predictor: Predictor, units: Standardization, coef: Array
) -> Array:
    """Gradient of the mean loss of a block, in the units of the stored features; shape (size,)."""
    stored = units.to_stored(coef[None, :])
    _, gradient, weight = value_and_gradient(block, loss, predictor, stored)
    result: Array = gradient[0] / (weight[0] if weight[0] > 0.0 else 1.0)
    return result
