"""Batch gradient descent, proximal where there is an L1 penalty."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Query, Reason, Smooth
from sparkml_lsml.engine.solvers.search import Search, SearchState, below_bound
from sparkml_lsml.engine.solvers.steps import GROWTH_LIMIT, mapping_norm


@dataclass(frozen=True)
class GradientDescentState(SearchState):
    """State of `GradientDescent`: the last accepted point and the step that is tried.

    Attributes
    ----------
    point : array of shape (size,)
        The last accepted point. A fixed step may climb, so ``coef`` can be an earlier one.
    smooth : bool
        Whether the loss has no kinks, where an objective that stands still may yet fall.
    """

    point: Array = field(default_factory=lambda: np.zeros(0))
    start: float = float("inf")
    smooth: bool = True


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
        trial = self.step_size * objective.step_unit()
        search = Search(trial=trial)
        return GradientDescentState(coef, point=coef, search=search, smooth=objective.loss.smooth)

    def query(self, state: GradientDescentState, penalty: ElasticNet) -> Query:
        """Value and gradient at the trial point."""
        return Query(self._trial_point(state, penalty))

    def step(
        self, state: GradientDescentState, answer: Answer, penalty: ElasticNet
    ) -> GradientDescentState:
        """Accept the trial point, or shorten the step."""
        point = self._trial_point(state, penalty)
        there = Smooth.at(point, answer, penalty)
        here, search = state.here, state.search
        length = mapping_norm(point, there, penalty, search.trial)
        if here is None:
            return replace(
                state,
                objective=there.value,
                here=there,
                start=there.value,
                gradient_norm=length,
                search=Search.along(there.value, -(length**2), search.trial),
                progress=state.progress.record(there.value),
            )
        if self.line_search == "fixed":
            limit = GROWTH_LIMIT * max(abs(state.start), 1.0)
            if not np.isfinite(there.value) or there.value > limit:
                return replace(state, reason="diverged", iteration=state.iteration + 1)
        elif not below_bound(here, there, point - state.point, search.trial):
            after = state.searched(search.halved(there.value), proposed=False)
            assert after is not None
            return after if state.smooth or not after.reason else replace(after, reason="stalled")
        grow = 2.0 if self.line_search == "backtracking" and search.trials == 0 else 1.0
        better = there.value <= state.objective
        return replace(
            state,
            coef=point if better else state.coef,
            objective=min(there.value, state.objective),
            iteration=state.iteration + 1,
            gradient_norm=length,
            step_size=search.trial,
            point=point,
            here=there,
            search=Search.along(there.value, -(length**2), grow * search.trial),
            progress=state.progress.record(min(there.value, state.objective)),
        )

    def terminate(self, state: GradientDescentState) -> Reason | None:
        """Stop at the tolerance, on divergence, or where the steps end at a kink of the loss."""
        reason = state.ended(self.tol)
        if reason is None or state.here is None or reason.name not in ("converged", "stalled"):
            return reason
        if state.here.value > state.start * (1.0 + 1e-6):
            # a fixed step that is too long stands still as well, but above where it started
            return Reason("diverged", state.iteration)
        kinks = not state.smooth and state.gradient_norm > self.tol * abs(state.objective)
        if reason.name == "converged" and kinks:
            return Reason("stalled", state.iteration)
        return reason

    def _trial_point(self, state: GradientDescentState, penalty: ElasticNet) -> Array:
        if state.here is None:
            return state.point
        return penalty.prox(
            state.point - state.search.trial * state.here.gradient, state.search.trial
        )
