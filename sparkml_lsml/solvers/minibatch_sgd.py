"""Stochastic gradient descent by gradient aggregation: one step a pass."""

from dataclasses import dataclass, field, replace

import numpy as np

from sparkml_lsml.objective import Objective
from sparkml_lsml.penalties.elastic_net import ElasticNet
from sparkml_lsml.solvers.base import Answer, Array, Query, Reason, State
from sparkml_lsml.solvers.sgd import Schedule
from sparkml_lsml.solvers.steps import GROWTH_LIMIT, safe_step, scheduled

PATIENCE = 20


@dataclass(frozen=True)
class MiniBatchState(State):
    """State of `MiniBatchSGD`.

    Attributes
    ----------
    point, velocity : arrays of shape (size,)
        The last iterate, and its momentum. ``coef`` is the average of the later iterates.
    smoothed, best : float
        Moving average of the estimated objective, and its lowest value.
    """

    point: Array = field(default_factory=lambda: np.zeros(0))
    velocity: Array = field(default_factory=lambda: np.zeros(0))
    rate: float = 1.0
    unit: float = 1.0
    start: float = float("inf")
    smoothed: float = float("inf")
    best: float = float("inf")
    waited: int = 0
    moved: float = float("inf")
    reason: str = ""


@dataclass(frozen=True)
class MiniBatchSGD:
    r"""Mini-batch SGD: each pass sums the gradient over a random share of all rows.

    On Spark a step costs a job, so this is the choice where the data of the partitions differ (see
    `LocalSGD` otherwise), and the classic algorithm of ``pyspark.mllib``.

    Parameters
    ----------
    fraction : float
        Share of the rows a step, in (0, 1].
    step_size : float
        First step, in units of the inverse curvature bound (see `GradientDescent`).
    schedule : {"adaptive", "constant", "invscaling", "optimal"}
        ``adaptive`` divides the step by 3 when the smoothed objective has not fallen for 5 steps;
        ``invscaling`` divides by ``(1 + t) ** power``; ``optimal`` is
        :math:`1 / (\lambda (t_0 + t))`.
    power : float
    momentum : float
    nesterov : bool
    average : bool
        Return an average of the iterates that weighs later ones more.
    tol : float
        Stop when a step moves the coefficients by less than ``tol``, relative to them.
    seed : int

    References
    ----------
    Bottou, Curtis and Nocedal (2018), Optimization Methods for Large-Scale Machine Learning;
    Lacoste-Julien, Schmidt and Bach (2012), A simpler approach to obtaining an O(1/t) convergence
    rate for the projected stochastic subgradient method (weighted average).

    Examples
    --------
    >>> MiniBatchSGD(fraction=0.1).name
    'minibatch-sgd'
    """

    fraction: float = 1.0
    step_size: float = 1.0
    schedule: Schedule = "adaptive"
    power: float = 0.5
    momentum: float = 0.0
    nesterov: bool = False
    average: bool = True
    tol: float = 1e-6
    seed: int = 0
    name: str = "minibatch-sgd"
    needs_smooth: bool = False
    estimates: bool = True

    def init(self, coef: Array, objective: Objective) -> MiniBatchState:
        """The state before the first pass."""
        return MiniBatchState(
            coef,
            point=coef,
            velocity=np.zeros_like(coef),
            rate=self.step_size,
            unit=safe_step(objective),
        )

    def query(self, state: MiniBatchState, penalty: ElasticNet) -> Query:
        """Value and gradient over a sample."""
        at = state.point
        if self.nesterov:
            at = at + self.momentum * state.velocity
        return Query(at, fraction=self.fraction, seed=(self.seed, state.iteration))

    def step(self, state: MiniBatchState, answer: Answer, penalty: ElasticNet) -> MiniBatchState:
        """One step against the gradient."""
        at = self.query(state, penalty).coef
        slope = penalty.smooth_value_and_gradient(at)[1]
        value = answer.value + penalty.value(at)
        start = state.start if np.isfinite(state.start) else value
        rate = state.rate * state.unit
        rate = scheduled(rate, self.schedule, self.power, state.iteration, penalty)
        gradient = answer.result + slope
        velocity = self.momentum * state.velocity - rate * gradient
        point = penalty.prox(state.point + velocity, rate)
        # weights proportional to t: the average is that of the later half, without a start
        share = 2.0 / (state.iteration + 2.0) if self.average else 1.0
        coef = state.coef + share * (point - state.coef)
        grown = not np.isfinite(value) or value > GROWTH_LIMIT * max(abs(start), 1.0)
        if grown or not np.isfinite(coef).all():
            return replace(
                state,
                iteration=state.iteration + 1,
                objective=value,
                start=start,
                reason="diverged",
            )
        smoothed = value if state.iteration == 0 else 0.8 * state.smoothed + 0.2 * value
        waited = 0 if smoothed < state.best else state.waited + 1
        shrink = self.schedule == "adaptive" and waited >= PATIENCE
        moved = float(np.linalg.norm(point - state.point))
        return replace(
            state,
            coef=coef,
            objective=value,
            iteration=state.iteration + 1,
            gradient_norm=float(np.linalg.norm(gradient)),
            step_size=rate,
            point=point,
            velocity=point - state.point if self.momentum else velocity,
            rate=state.rate / 3.0 if shrink else state.rate,
            start=start,
            smoothed=smoothed,
            best=min(state.best, smoothed),
            waited=0 if shrink else waited,
            moved=moved / max(float(np.linalg.norm(point)), 1.0),
        )

    def terminate(self, state: MiniBatchState) -> Reason | None:
        """Stop when the coefficients stand still, or on divergence."""
        if state.reason:
            return Reason(state.reason, state.iteration)
        if state.moved <= self.tol:
            return Reason("converged", state.iteration)
        return None
