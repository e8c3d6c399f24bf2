"""Rounds of mini-batches over the rows of one block, with any predictor and optimiser."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import blas

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Rows
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.optimisers import Adam, Floats, Optimiser, in_chunks
from sparkml_lsml.engine.kernels.schedules import Schedule
from sparkml_lsml.engine.kernels.sgd_steps import counted, mean_weight
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
        training = _Training(block, model, self, coef, seed)
        try:
            training.run()
        except FloatingPointError as error:
            failure = Failure(partition, training.t, str(error))
            return StepsSum(np.zeros_like(training.w), 0.0, 0.0, 0.0, 0, (failure,))
        weight = block.weight_sum
        loss, first = (weight * each for each in (training.mean_loss, training.first))
        return StepsSum(training.w, weight, loss, first, training.t)

    def finish(self, total: StepsSum, units: Standardization, weight: float) -> Round:
        """See `LocalUpdate.finish`."""
        seen = total.weight if total.weight > 0.0 else float("nan")
        failures = tuple(sorted(total.failures, key=lambda each: each.partition))
        coef = total.total() / seen
        return Round(coef, total.loss / seen, total.first / seen, total.steps, failures)

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


class _Training:
    """The steps of one block: batch, gradient, penalty, clipping, optimiser."""

    def __init__(
        self,
        block: Block,
        model: LocalModel,
        settings: OptimiserSteps,
        coef: Array,
        seed: tuple[int, ...],
    ) -> None:
        self._block, self._model, self._settings, self._seed = block, model, settings, seed
        dtype = model.predictor.dtype
        self.w: npt.NDArray[Any] = coef.astype(dtype)
        self.t = 0
        self._gradient: npt.NDArray[Any] = np.zeros_like(self.w)
        self._memory = [np.zeros_like(self.w) for _ in range(settings.optimiser.vectors)]
        self._unit = model.predictor.step_unit(model.loss.curvature, model.units, 1)
        strengths = (model.penalty.l1(), model.penalty.l2())
        self._l1, self._l2 = (np.asarray(self._unit * s, dtype=dtype) for s in strengths)
        self.first = self._loss = self._seen = 0.0
        self._mean_weight = mean_weight(block) if len(counted(block)) else 1.0
        units = model.units
        self._plain = not units.shift.any() and bool((units.scale == 1.0).all())
        # centred, sparse rows would be dense: the first map takes up the means instead
        self._folded = isinstance(block.X, CsrRows) and bool(units.shift.any())
        kind = np.float64 if isinstance(block.X, CsrRows) else block.X.dtype
        self._shift, self._scale = (each.astype(kind) for each in (units.shift, units.scale))

    @property
    def mean_loss(self) -> float:
        """Mean loss of the mini-batches, each before its step."""
        return self._loss / self._seen if self._seen else 0.0

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def run(self) -> None:
        """All steps of the round."""
        settings, optimiser = self._settings, self._settings.optimiser
        decayed = bool(self._l2.any())
        # another stream than that of the order
        rng = np.random.default_rng((*self._seed, settings.part, 1))
        plan = list(settings.plan(self._block, self._seed))
        ramp = max(1.0, min(optimiser.ramp, RAMP_SHARE * len(plan)))
        for epoch, rows in plan:
            rate = settings.schedule.at(epoch) * min(1.0, (self.t + 1) / ramp)
            gradient = self._gradient
            gradient[:] = 0.0
            self._add_slopes(rows, rng)
            if decayed and not optimiser.decoupled:
                gradient += self._l2 * self.w
            self._clip()
            if decayed and optimiser.decoupled:
                self.w -= rate * self._l2 * self.w
            self.t += 1
            in_chunks(optimiser, self.w, gradient, rate, self.t, self._memory, self._l1)
        if not np.isfinite(self.w).all():
            raise FloatingPointError("coefficients are not finite")
        # of gradients that overflow Adam takes no steps: coefficients would stand still in silence
        if not all(np.isfinite(each).all() for each in self._memory):
            raise FloatingPointError("gradients or their squares are not finite")

    def _add_slopes(self, rows: Numbers, rng: np.random.Generator) -> None:
        """Gradient of the mean loss of a mini-batch."""
        model, units = self._model, self._model.units
        X, y, weight = self._block.take(rows)
        point, gradient = self.w[None, :], self._gradient[None, :]
        if self._folded:
            point = units.to_stored(point)
        raw, pull = model.predictor.raw_and_pullback(self._scaled(X), point, rng)
        scale = 1.0 if self._folded else units.label_scale
        raw *= scale
        losses, derivative = model.loss.value_and_derivative(y, raw)
        value = float(losses.sum() if weight is None else weight @ losses[:, 0])
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        seen = float(len(y) if weight is None else weight.sum())
        self._loss += value
        self._seen += seen
        if self.t == 0:
            self.first = value / seen
        shares = 1.0 if weight is None else (weight / self._mean_weight)[:, None, None]
        pull(derivative * (scale * self._unit / len(y) * shares), gradient)
        if self._folded:
            self._gradient[:] = units.gradient(gradient)[0]

    def _scaled(self, X: Rows) -> Rows:
        """Rows in the units of the solver, of the predictor's type."""
        dtype = self.w.dtype
        if self._plain or self._folded:
            return X.astype(dtype, copy=False)
        units = self._model.units
        if sparse.issparse(X):
            X.data = (X.data * units.scale[X.indices]).astype(dtype, copy=False)
            return X
        # in the type of the rows: what is subtracted from them may be as large as they are
        X -= self._shift
        X *= self._scale
        return X.astype(dtype, copy=False)

    def _clip(self) -> None:
        """Shorten the gradient, where it is too long."""
        if not np.isfinite(self._settings.max_norm):
            return
        norm = blas.snrm2 if self.w.dtype == np.float32 else blas.dnrm2
        length = float(norm(self._gradient))
        if length > self._settings.max_norm:
            self._gradient *= self._settings.max_norm / length
