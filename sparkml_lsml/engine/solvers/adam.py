"""Adam: mini-batch gradients, with a step for each coefficient."""

from dataclasses import dataclass, field

import numpy as np

from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Query, Reason
from sparkml_lsml.engine.solvers.sgd import Schedule
from sparkml_lsml.engine.solvers.steps import scheduled
from sparkml_lsml.engine.solvers.stochastic import StochasticState

UNIT = 0.1
"""The step of a ``step_size`` of 1. Coefficients of standardised features are of the order of 1,
and a step moves each by about this."""


@dataclass(frozen=True)
class AdamState(StochasticState):
    """State of `Adam`.

    Attributes
    ----------
    mean, square : arrays of shape (size,)
        Moving averages of the gradient and of its square, not corrected for their start at 0.
    """

    mean: Array = field(default_factory=lambda: np.zeros(0))
    square: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def candidates(self) -> Array:
        """The average of the later iterates, and the last of them."""
        return np.stack([self.coef, self.point])


@dataclass(frozen=True)
class Adam:
    r"""Adam: steps along the mean of the last gradients over the root of their mean square.

    With the gradient g of a mini-batch, and all operations by coordinate,

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        u \leftarrow u - \alpha
        \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}.

    The L2 penalty is part of g. The L1 penalty is not, or the mean of its signs would keep
    coefficients from 0: each step ends with the proximal step of its own metric, soft thresholding
    by :math:`\alpha\lambda_1 / (\sqrt{v / (1 - \beta_2^t)} + \epsilon)`.

    Each pass is one step, as of `MiniBatchSGD`. It pays where columns differ in how often they are
    not zero; on standardised dense features that solver, and L-BFGS above all, need fewer passes.

    Parameters
    ----------
    fraction : float
        Share of the rows a step, in (0, 1].
    step_size : float
        First :math:`\alpha`, in tenths: 1 moves a coefficient of a standardised feature by 0.1.
    schedule : {"adaptive", "constant", "invscaling", "optimal"}
        ``adaptive`` divides the step by 3 when the smoothed objective has not fallen for 20 steps;
        ``invscaling`` divides by ``(1 + t) ** power``, the paper's with the power 0.5; ``optimal``
        is :math:`1 / (\lambda (t_0 + t))`.
    power : float
    beta1, beta2 : float
        Shares of the former averages that are kept, in [0, 1).
    epsilon : float
    average : bool
        Let an average of the iterates that weighs later ones more compete with the last one.
    tol : float
        Stop when a step moves the coefficients by less than ``tol``, relative to them.
    seed : int

    References
    ----------
    Kingma and Ba (2015), Adam: A Method for Stochastic Optimization, ICLR; Yun, Lozano and Yang
    (2021), Adaptive proximal gradient methods for structured neural networks, NeurIPS 34 (the
    proximal step).

    Examples
    --------
    >>> Adam(fraction=0.1).name
    'adam'
    """

    fraction: float = 1.0
    step_size: float = 1.0
    schedule: Schedule = "adaptive"
    power: float = 0.5
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    average: bool = True
    tol: float = 1e-6
    seed: int = 0
    name: str = "adam"
    needs_smooth: bool = False
    estimates: bool = True

    def init(self, coef: Array, objective: Objective) -> AdamState:
        """The state before the first pass."""
        zeros = np.zeros_like(coef)
        return AdamState(coef, point=coef, mean=zeros, square=zeros, rate=self.step_size * UNIT)

    def query(self, state: AdamState, penalty: ElasticNet) -> Query:
        """Value and gradient over a sample."""
        return Query(state.point, fraction=self.fraction, seed=(self.seed, state.iteration))

    def step(self, state: AdamState, answer: Answer, penalty: ElasticNet) -> AdamState:
        """One step of the paper's algorithm 1."""
        value = answer.value + penalty.value(state.point)
        gradient = answer.result + penalty.smooth_value_and_gradient(state.point)[1]
        t = state.iteration + 1
        mean = self.beta1 * state.mean + (1.0 - self.beta1) * gradient
        square = self.beta2 * state.square + (1.0 - self.beta2) * np.square(gradient)
        root = np.sqrt(square / (1.0 - self.beta2**t)) + self.epsilon
        rate = scheduled(state.rate, self.schedule, self.power, state.iteration, penalty)
        goal = state.point - rate * (mean / (1.0 - self.beta1**t)) / root
        point = penalty.prox(goal, rate / root)
        return state.stepped(
            point,
            value,
            gradient,
            rate,
            average=self.average,
            adaptive=self.schedule == "adaptive",
            mean=mean,
            square=square,
        )

    def terminate(self, state: AdamState) -> Reason | None:
        """Stop when the coefficients stand still, or on divergence."""
        return state.ended(self.tol)
