"""Batch gradient descent, proximal where there is an L1 penalty."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from sparkml_lsml.objective import Objective
from sparkml_lsml.penalties.elastic_net import ElasticNet
from sparkml_lsml.solvers.base import Answer, Array, Progress, Query, Reason, Smooth, State
from sparkml_lsml.solvers.steps import GROWTH_LIMIT, mapping_norm, safe_step

MAX_TRIALS = 50


@dataclass(frozen=True)
class GradientDescentState(State):
    """State of `GradientDescent`: the last accepted point and the step that is tried.

    Attributes
    ----------
    point : array of shape (size,)
        The last accepted point. A fixed step may climb, so ``coef`` can be an earlier one.
    smooth : bool
        Whether the loss has no kinks, where an objective that stands still may yet fall.
    """

    point: Array = field(default_factory=lambda: np.zeros(0))
    here: Smooth | None = None
    trial: float = 1.0
    trials: int = 0
    start: float = float("inf")
    smooth: bool = True
    reason: str = ""
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class GradientDescent:
    r"""Gradient descent: ``w <- prox(w - step * gradient)``, one pass a step that is tried.

    Parameters
    ----------
    step_size : float
        The step, in units of the inverse curvature bound of the standardised problem: 1 is a step
        that cannot diverge for a smooth loss. With a line search it is where the search starts.
    line_search : {"backtracking", "fixed"}
        ``backtracking`` halves a step that does not lower the objective enough and doubles one
        that did, so that the step follows the curvature; ``fixed`` always takes ``step_size``.
    tol : float
        Relative tolerance, see `Progress`.

    References
    ----------
    Parikh and Boyd (2014), Proximal Algorithms, 4.2; Beck and Teboulle (2009), section 3
    (backtracking).

    Examples
    --------
    >>> GradientDescent(step_size=0.5, line_search="fixed").name
    'gradient-descent'
    """

    step_size: float = 1.0
    line_search: Literal["backtracking", "fixed"] = "backtracking"
    tol: float = 1e-6
    name: str = "gradient-descent"
    needs_smooth: bool = False
    estimates: bool = False

    def init(self, coef: Array, objective: Objective) -> GradientDescentState:
        """The state before the first pass."""
        trial = self.step_size * safe_step(objective)
        return GradientDescentState(coef, point=coef, trial=trial, smooth=objective.loss.smooth)

    def query(self, state: GradientDescentState, penalty: ElasticNet) -> Query:
        """Value and gradient at the trial point."""
        return Query(self._trial_point(state, penalty))

    def step(
        self, state: GradientDescentState, answer: Answer, penalty: ElasticNet
    ) -> GradientDescentState:
        """Accept the trial point, or shorten the step."""
        point = self._trial_point(state, penalty)
        there = Smooth.at(point, answer, penalty)
        if state.here is None:
            return replace(
                state,
                objective=there.value,
                here=there,
                start=there.value,
                gradient_norm=mapping_norm(point, there, penalty, state.trial),
                progress=state.progress.record(there.value),
            )
        if self.line_search == "fixed":
            limit = GROWTH_LIMIT * max(abs(state.start), 1.0)
            if not np.isfinite(there.value) or there.value > limit:
                return replace(state, reason="diverged", iteration=state.iteration + 1)
        else:
            move = point - state.point
            model = state.here.smooth + float(state.here.gradient @ move)
            bound = model + 0.5 / state.trial * float(move @ move)
            slack = 1e-12 * abs(bound)
            if not np.isfinite(there.value) or there.smooth > bound + slack:
                if state.trials + 1 >= MAX_TRIALS:
                    return replace(state, reason="line_search" if state.smooth else "stalled")
                return replace(state, trial=0.5 * state.trial, trials=state.trials + 1)
        grow = 2.0 if self.line_search == "backtracking" and state.trials == 0 else 1.0
        better = there.value <= state.objective
        return replace(
            state,
            coef=point if better else state.coef,
            objective=min(there.value, state.objective),
            iteration=state.iteration + 1,
            gradient_norm=mapping_norm(point, there, penalty, state.trial),
            step_size=state.trial,
            point=point,
            here=there,
            trial=grow * state.trial,
            trials=0,
            progress=state.progress.record(min(there.value, state.objective)),
        )

    def terminate(self, state: GradientDescentState) -> Reason | None:
        """Stop at the tolerance, on divergence, or where the steps end at a kink of the loss."""
        if state.here is not None and not np.isfinite(state.objective):
            return Reason("diverged", state.iteration)
        if state.reason:
            return Reason(state.reason, state.iteration)
        done = state.here is not None and state.trials == 0
        if done and state.progress.converged(self.tol, state.objective, state.gradient_norm):
            # a fixed step that is too long stands still as well, but above where it started
            above = state.here is not None and state.here.value > state.start * (1.0 + 1e-6)
            flat = state.smooth or state.gradient_norm <= self.tol * abs(state.objective)
            name = "diverged" if above else "converged" if flat else "stalled"
            return Reason(name, state.iteration)
        return None

    def _trial_point(self, state: GradientDescentState, penalty: ElasticNet) -> Array:
        if state.here is None:
            return state.point
        return penalty.prox(state.point - state.trial * state.here.gradient, state.trial)
