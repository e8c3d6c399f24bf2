"""Rounds of mini-batches over the rows of one block, with any predictor and optimiser."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.optimisers import Adam, Floats, Optimiser
from sparkml_lsml.engine.kernels.schedules import Schedule
from sparkml_lsml.engine.kernels.sgd_steps import counted
from sparkml_lsml.engine.kernels.training import Training
from sparkml_lsml.engine.kernels.wide_training import WideTraining, pays
from sparkml_lsml.engine.predictors.standardization import Standardization

RAMP_SHARE = 1.0 / 3.0
"""Share of a round, at most, over which its steps grow."""

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Failure:
    """Why the steps of a block came to nothing.

    Attributes
    ----------
    partition : int
    step : int
        Of the round, from 0.
    what : str
    """

    partition: int
    step: int
    what: str

    def __str__(self) -> str:
        return f"{self.what} in mini-batch {self.step + 1} of partition {self.partition}"


@dataclass
class StepsSum:
    """Weighted sums over blocks whose steps came to something.

    The coefficients of a single block are those themselves, of the predictor's type: half as much
    travels from it.

    Attributes
    ----------
    coef : array of shape (size,)
    weight : float
        Of the rows of these blocks.
    loss : float
        Sum over these blocks of the mean loss of their mini-batches times the weight.
    first : float
        The same of the first mini-batch alone.
    steps : int
        Mini-batches that were stepped along.
    failures : tuple of Failure
        Of all other blocks.
    single : bool
    """

    coef: Floats
    weight: float
    loss: float
    first: float
    steps: int
    failures: tuple[Failure, ...] = ()
    single: bool = True

    def merge(self, other: "StepsSum") -> "StepsSum":
        """Add another sum."""
        self.coef = self.total() + other.total()
        self.single = False
        self.weight += other.weight
        self.loss += other.loss
        self.first += other.first
        self.steps += other.steps
        self.failures += other.failures
        return self

    def total(self) -> Array:
        """Sum of the coefficients by weight."""
        coef = self.coef.astype(np.float64, copy=False)
        return self.weight * coef if self.single else coef


@dataclass(frozen=True)
class Round:
    """What a round of local steps came to.

    Attributes
    ----------
    coef : array of shape (size,)
        The average, by weight, of the coefficients of the blocks.
    loss : float
        Mean loss of the mini-batches, each before its step.
    first : float
        The same of the first of each block.
    steps : int
        Mini-batches of all blocks.
    failures : tuple of Failure
        By partition. Where there are any, the average is of the others alone.
    """

    coef: Array
    loss: float
    first: float
    steps: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, eq=False)
class OptimiserSteps:
    """A round: epochs of mini-batches on each block, or a part of one.

    Parameters
    ----------
    optimiser : Optimiser
        What it remembers begins at 0 in each round: nothing of it travels.
    schedule : Schedule
    begins : float
        Epochs before this round.
    epochs : int
        Of this round.
    part, parts : int
        With ``parts`` above 1 the round takes one of so many equal parts of an epoch, from 0.
    batch_size : int
    max_norm : float
        Gradients that are longer are shortened to this length.
    """

    optimiser: Optimiser = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=lambda: Schedule(1e-3))
    begins: float = 0.0
    epochs: int = 1
    part: int = 0
    parts: int = 1
    batch_size: int = 128
    max_norm: float = float("inf")
    needs_loss: ClassVar[bool] = False
    vectors: ClassVar[int] = 1

    def run(
        self, block: Block, partition: int, model: LocalModel, coef: Array, seed: tuple[int, ...]
    ) -> StepsSum:
        """See `LocalUpdate.run`."""
        wide = pays(block, model, self.optimiser, self.batch_size, self.max_norm)
        kind = WideTraining if wide else Training
        training = kind(block, model, self.optimiser, coef, self.max_norm)
        try:
            # another stream than that of the order
            training.run(self._steps(block, seed), np.random.default_rng((*seed, self.part, 1)))
        except FloatingPointError as error:
            failure = Failure(partition, training.t, str(error))
            nothing = np.zeros(len(coef), dtype=model.predictor.dtype)
            return StepsSum(nothing, 0.0, 0.0, 0.0, 0, (failure,))
        weight = block.weight_sum
        loss, first = (weight * each for each in (training.mean_loss, training.first))
        return StepsSum(training.w, weight, loss, first, training.t)

    def finish(self, total: StepsSum, units: Standardization, weight: float) -> Round:
        """See `LocalUpdate.finish`."""
        seen = total.weight if total.weight > 0.0 else float("nan")
        failures = tuple(sorted(total.failures, key=lambda each: each.partition))
        coef = total.total() / seen
        return Round(coef, total.loss / seen, total.first / seen, total.steps, failures)

    def _steps(self, block: Block, seed: tuple[int, ...]) -> list[tuple[float, Numbers]]:
        """How long each step of the round is, and its rows."""
        plan = list(self.plan(block, seed))
        ramp = max(1.0, min(self.optimiser.ramp, RAMP_SHARE * len(plan)))
        return [
            (self.schedule.at(epoch) * min(1.0, (t + 1) / ramp), rows)
            for t, (epoch, rows) in enumerate(plan)
        ]

    def plan(self, block: Block, seed: tuple[int, ...]) -> Iterator[tuple[float, Numbers]]:
        """Mini-batches of the round: the epochs before each, and its rows.

        Each epoch takes all rows that have a weight once, in an order of its own.
        """
        rng, rows = np.random.default_rng(seed), counted(block)
        batches = -(-len(rows) // self.batch_size)
        first, last = (batches * part // self.parts for part in (self.part, self.part + 1))
        before = self.begins - self.part / self.parts
        for epoch in range(self.epochs):
            order = rng.permutation(len(rows))
            order = order if isinstance(rows, range) else rows[order]
            for number in range(first, last):
                start = number * self.batch_size
                done = before + epoch + number / batches
                yield done, order[start : start + self.batch_size]
