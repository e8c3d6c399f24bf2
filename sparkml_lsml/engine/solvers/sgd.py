"""Stochastic gradient descent on every partition at once: local SGD with model averaging."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from sparkml_lsml.engine.kernels.sgd import SgdEpochs
from sparkml_lsml.engine.kernels.sgd_steps import batch_rows
from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Query, Reason, State
from sparkml_lsml.engine.solvers.steps import GROWTH_LIMIT

Schedule = Literal["constant", "invscaling", "optimal", "adaptive"]

SHRINK = 3.0
MIN_SHARE = 1e-6
PATIENCE = 6


@dataclass(frozen=True)
class SgdState(State):
    """State of `LocalSGD`.

    Attributes
    ----------
    point : array of shape (size,)
        Where the next round starts; ``coef`` is the best point so far.
    rate : float
        Step of the next round (schedule "adaptive").
    unit : float
        What a ``step_size`` of 1 means.
    batches : float
        Mini-batches an epoch of a partition, on average.
    returned : bool
        The last round was undone, so this one starts where an earlier one did.
    """

    point: Array = field(default_factory=lambda: np.zeros(0))
    rate: float = 1.0
    unit: float = 1.0
    growing: bool = True
    rounds: int = 0
    batches: float = 1.0
    start: float = float("inf")
    stalled: int = 0
    returned: bool = False
    reason: str = ""


@dataclass(frozen=True)
class LocalSGD:
    r"""Local SGD: each round, every partition runs epochs of mini-batches; models are averaged.

    A round is one pass. It also sums the loss at the model it starts from, so the history holds
    the objective over all rows, not a running estimate, and the best model is kept.

    Parameters
    ----------
    step_size : float
        First step, in units of the inverse mean curvature of a row. 1 is a good start for
        standardised features.
    schedule : {"adaptive", "constant", "invscaling", "optimal"}
        ``adaptive`` (the default) doubles the step while the objective falls, and from the first
        round that does not lower it goes back to the best model and divides the step by 3;
        ``constant``; ``invscaling`` divides by ``(1 + t) ** power``, t in epochs; ``optimal`` is
        :math:`1 / (\lambda (t_0 + t))` with t in mini-batches (Bottou), for an L2 penalty.
    power : float
        Exponent of ``invscaling``.
    epochs : int
        Epochs a round.
    batch_size : int
        Rows a mini-batch, at most.
    momentum : float
    nesterov : bool
    average : bool
        Average the iterates of the second half of a round.
    variance_reduction : bool
        SVRG: worth its double cost where data are ill-conditioned or the answer must be precise.
    tol : float
        Stop after six rounds in a row in which the objective did not fall by ``tol``, relative to
        it.
    seed : int

    References
    ----------
    Zinkevich et al. (2010), Parallelized Stochastic Gradient Descent; Stich (2019), Local SGD
    Converges Fast and Communicates Little; Bottou (2012), Stochastic Gradient Descent Tricks.

    Examples
    --------
    >>> LocalSGD(schedule="constant", step_size=0.1).name
    'sgd'
    """

    step_size: float = 1.0
    schedule: Schedule = "adaptive"
    power: float = 0.5
    epochs: int = 1
    batch_size: int = 128
    momentum: float = 0.0
    nesterov: bool = False
    average: bool = True
    variance_reduction: bool = False
    tol: float = 1e-6
    seed: int = 0
    name: str = "sgd"
    needs_smooth: bool = False
    estimates: bool = False

    def init(self, coef: Array, objective: Objective) -> SgdState:
        """The state before the first pass."""
        size = batch_rows(self.batch_size, objective.rows_per_block, objective.predictor)
        unit = objective.step_unit(size)
        batches = max(1.0, objective.rows_per_block / size)
        return SgdState(coef, point=coef, rate=self.step_size, unit=unit, batches=batches)

    def query(self, state: SgdState, penalty: ElasticNet) -> Query:
        """A round of epochs from the current point."""
        decay, power, rate = 0.0, 1.0, state.rate * state.unit
        if self.schedule == "invscaling":
            rate /= (1.0 + state.rounds * self.epochs) ** self.power
        elif self.schedule == "optimal":
            # the decay of 1 / (lambda (t0 + t)), continued over the rounds
            strength = max(float(np.max(penalty.l2())), 1e-6)
            rate = 1.0 / (1.0 / rate + strength * state.rounds * self.epochs * state.batches)
            decay = strength * rate
        settings = SgdEpochs(
            epochs=self.epochs,
            batch_size=self.batch_size,
            step_size=rate,
            decay=decay,
            power=power,
            momentum=self.momentum,
            nesterov=self.nesterov,
            average=self.average,
            variance_reduction=self.variance_reduction,
        )
        return Query(state.point, local=settings, seed=(self.seed, state.rounds))

    def step(self, state: SgdState, answer: Answer, penalty: ElasticNet) -> SgdState:
        """Judge the point that the round started from, and go on or go back."""
        value = answer.value + penalty.value(state.point)
        first = not np.isfinite(state.objective)
        limit = GROWTH_LIMIT * max(abs(state.start), 1.0)
        iteration = state.rounds
        broken = not np.isfinite(value) or value > limit
        if first and broken:
            return replace(state, objective=value, reason="diverged")
        if broken and self.schedule != "adaptive":
            return replace(state, reason="diverged", iteration=iteration)
        better = value < state.objective
        enough = state.objective - value > self.tol * abs(value)
        settled = self.schedule != "adaptive" or not state.growing
        counts = settled and not broken  # what overflows does not stand still
        stalled = 0 if first or enough or not counts else state.stalled + (not state.returned)
        state = replace(
            state,
            iteration=iteration,
            rounds=state.rounds + 1,
            start=value if first else state.start,
            stalled=stalled,
            step_size=state.rate * state.unit,
        )
        if better or first:
            state = replace(state, coef=state.point, objective=value)
        if self.schedule != "adaptive" or state.returned:
            return replace(state, point=answer.result, returned=False)
        if better or first:
            rate = state.rate * (2.0 if state.growing and not first else 1.0)
            if not state.growing and not enough:
                rate /= SHRINK
            return replace(state, point=answer.result, rate=rate)
        rate = state.rate / SHRINK
        # every step that was tried was too long
        lost = broken and rate < MIN_SHARE * self.step_size and state.objective >= state.start
        return replace(
            state,
            point=state.coef,
            rate=rate,
            growing=False,
            returned=True,
            reason="diverged" if lost else "",
        )

    def terminate(self, state: SgdState) -> Reason | None:
        """Stop on a standstill, a vanishing step, or divergence."""
        if state.reason:
            return Reason(state.reason, state.iteration)
        # nothing that a round sums says how far the minimum is
        if state.stalled >= PATIENCE or state.rate < MIN_SHARE * self.step_size:
            return Reason("stalled", state.iteration)
        return None
