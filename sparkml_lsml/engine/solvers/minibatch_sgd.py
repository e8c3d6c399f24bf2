"""Stochastic gradient descent by gradient aggregation: one step a pass."""

from dataclasses import dataclass, field

import numpy as np

from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Query, Reason
from sparkml_lsml.engine.solvers.sgd import Schedule
from sparkml_lsml.engine.solvers.steps import scheduled
from sparkml_lsml.engine.solvers.stochastic import StochasticState


@dataclass(frozen=True)
class MiniBatchState(StochasticState):
    """State of `MiniBatchSGD`.

    Attributes
    ----------
    velocity : array of shape (size,)
        The momentum of the last iterate.
    unit : float
        A step that is safe.
    """

    velocity: Array = field(default_factory=lambda: np.zeros(0))
    unit: float = 1.0


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
        ``adaptive`` divides the step by 3 when the smoothed objective has not fallen for 20 steps;
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
            unit=objective.step_unit(),
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
        rate = state.rate * state.unit
        rate = scheduled(rate, self.schedule, self.power, state.iteration, penalty)
        gradient = answer.result + slope
        velocity = self.momentum * state.velocity - rate * gradient
        point = penalty.prox(state.point + velocity, rate)
        return state.stepped(
            point,
            value,
            gradient,
            rate,
            average=self.average,
            adaptive=self.schedule == "adaptive",
            velocity=point - state.point if self.momentum else velocity,
        )

    def terminate(self, state: MiniBatchState) -> Reason | None:
        """Stop when the coefficients stand still, or on divergence."""
        return state.ended(self.tol)
