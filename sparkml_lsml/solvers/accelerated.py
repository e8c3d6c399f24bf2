"""Nesterov's accelerated gradient method (FISTA), proximal where there is an L1 penalty."""

from dataclasses import dataclass, field, replace

import numpy as np

from sparkml_lsml.objective import Objective
from sparkml_lsml.penalties.elastic_net import ElasticNet
from sparkml_lsml.solvers.base import Answer, Array, Progress, Query, Reason, Smooth, State
from sparkml_lsml.solvers.steps import mapping_norm, safe_step

MAX_TRIALS = 50


@dataclass(frozen=True)
class AcceleratedState(State):
    """State of `Accelerated`.

    Attributes
    ----------
    previous : array of shape (size,)
        The proximal point before the last.
    base : array of shape (size,)
        The extrapolated point where the last gradient was taken.
    base_values : Smooth
        Objective and gradient there.
    """

    previous: Array = field(default_factory=lambda: np.zeros(0))
    base: Array = field(default_factory=lambda: np.zeros(0))
    base_values: Smooth | None = None
    theta: float = 1.0
    trial: float = 1.0
    trials: int = 0
    reason: str = ""
    progress: Progress = field(default_factory=lambda: Progress(window=30))


@dataclass(frozen=True)
class Accelerated:
    r"""FISTA with a step that adapts and a restart where momentum overshoots.

    Each pass takes value and gradient at the extrapolated point
    :math:`y_k = x_k + \beta_k (x_k - x_{k-1})` only; the next point is
    :math:`x_{k+1} = \mathrm{prox}(y_k - t \nabla f(y_k))`. Whether t was short enough is seen from
    the value at the next extrapolated point, so that a step that is accepted costs one pass, not
    two.

    Parameters
    ----------
    step_size : float
        First step, in units of the inverse curvature bound (see `GradientDescent`).
    tol : float
        Relative tolerance, see `Progress`.

    References
    ----------
    Beck and Teboulle (2009), A fast iterative shrinkage-thresholding algorithm for linear inverse
    problems; O'Donoghue and Candes (2015), Adaptive restart for accelerated gradient schemes.

    Examples
    --------
    >>> Accelerated().needs_smooth
    True
    """

    step_size: float = 1.0
    tol: float = 1e-6
    name: str = "accelerated"
    needs_smooth: bool = True
    estimates: bool = False

    def init(self, coef: Array, objective: Objective) -> AcceleratedState:
        """The state before the first pass."""
        return AcceleratedState(
            coef, previous=coef, base=coef, trial=self.step_size * safe_step(objective)
        )

    def query(self, state: AcceleratedState, penalty: ElasticNet) -> Query:
        """Value and gradient at the next extrapolated point."""
        return Query(self._next(state, penalty)[1])

    def step(
        self, state: AcceleratedState, answer: Answer, penalty: ElasticNet
    ) -> AcceleratedState:
        """Move on, shorten the step, or restart the momentum."""
        proximal, point = self._next(state, penalty)
        there = Smooth.at(point, answer, penalty)
        if state.base_values is None:
            return self._moved(state, proximal, point, there, 1.0, penalty, first=True)
        move = point - state.base
        model = state.base_values.smooth + float(state.base_values.gradient @ move)
        bound = model + 0.5 / state.trial * float(move @ move)
        if not np.isfinite(there.value) or there.smooth > bound + 1e-12 * abs(bound):
            if state.trials + 1 >= MAX_TRIALS:
                return replace(state, reason="line_search")
            return replace(state, trial=0.5 * state.trial, trials=state.trials + 1)
        theta = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * state.theta**2))
        if float((state.base - proximal) @ (proximal - state.previous)) > 0.0:
            theta = 1.0  # the momentum points uphill: forget it
        return self._moved(state, proximal, point, there, float(theta), penalty, first=False)

    def terminate(self, state: AcceleratedState) -> Reason | None:
        """Stop at the tolerance, or on divergence."""
        if state.base_values is not None and not np.isfinite(state.objective):
            return Reason("diverged", state.iteration)
        if state.reason:
            return Reason(state.reason, state.iteration)
        done = state.base_values is not None and state.trials == 0
        if done and state.progress.converged(self.tol, state.objective, state.gradient_norm):
            return Reason("converged", state.iteration)
        return None

    def _next(self, state: AcceleratedState, penalty: ElasticNet) -> tuple[Array, Array]:
        """The proximal point of the last base, and the extrapolation from it."""
        if state.base_values is None:
            return state.base, state.base
        step = state.base - state.trial * state.base_values.gradient
        proximal = penalty.prox(step, state.trial)
        grown = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * state.theta**2))
        return proximal, proximal + (state.theta - 1.0) / grown * (proximal - state.previous)

    def _moved(
        self,
        state: AcceleratedState,
        proximal: Array,
        point: Array,
        there: Smooth,
        theta: float,
        penalty: ElasticNet,
        first: bool,
    ) -> AcceleratedState:
        better = there.value <= state.objective
        norm = mapping_norm(point, there, penalty, state.trial)
        return replace(
            state,
            coef=point if better else state.coef,
            objective=min(there.value, state.objective),
            iteration=state.iteration + (0 if first else 1),
            gradient_norm=norm,
            step_size=state.trial,
            previous=proximal,
            base=point,
            base_values=there,
            theta=theta,
            # the step may grow again where the curvature is lower
            trial=state.trial * (1.0 if first or state.trials else 1.1),
            trials=0,
            progress=state.progress.record(min(there.value, state.objective)),
        )
