"""Nesterov's accelerated gradient method (FISTA), proximal where there is an L1 penalty."""

from dataclasses import dataclass, field, replace

import numpy as np

from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Progress, Query, Reason, Smooth
from sparkml_lsml.engine.solvers.search import Search, SearchState, below_bound
from sparkml_lsml.engine.solvers.steps import mapping_norm


@dataclass(frozen=True)
class AcceleratedState(SearchState):
    """State of `Accelerated`; ``here`` is at ``base``.

    Attributes
    ----------
    previous : array of shape (size,)
        The proximal point before the last.
    base : array of shape (size,)
        The extrapolated point where the last gradient was taken.
    """

    previous: Array = field(default_factory=lambda: np.zeros(0))
    base: Array = field(default_factory=lambda: np.zeros(0))
    theta: float = 1.0
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
        search = Search(trial=self.step_size * objective.step_unit())
        return AcceleratedState(coef, previous=coef, base=coef, search=search)

    def query(self, state: AcceleratedState, penalty: ElasticNet) -> Query:
        """Value and gradient at the next extrapolated point."""
        return Query(self._next(state, penalty)[1])

    def step(
        self, state: AcceleratedState, answer: Answer, penalty: ElasticNet
    ) -> AcceleratedState:
        """Move on, shorten the step, or restart the momentum."""
        proximal, point = self._next(state, penalty)
        there = Smooth.at(point, answer, penalty)
        here, search = state.here, state.search
        if here is None:
            return self._moved(state, proximal, point, there, 1.0, penalty, first=True)
        if not below_bound(here, there, point - state.base, search.trial):
            after = state.searched(search.halved(there.value), proposed=False)
            assert after is not None
            return after
        theta = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * state.theta**2))
        if float((state.base - proximal) @ (proximal - state.previous)) > 0.0:
            theta = 1.0  # the momentum points uphill: forget it
        return self._moved(state, proximal, point, there, float(theta), penalty, first=False)

    def terminate(self, state: AcceleratedState) -> Reason | None:
        """Stop at the tolerance, or on divergence."""
        return state.ended(self.tol)

    def _next(self, state: AcceleratedState, penalty: ElasticNet) -> tuple[Array, Array]:
        """The proximal point of the last base, and the extrapolation from it."""
        if state.here is None:
            return state.base, state.base
        length = state.search.trial
        proximal = penalty.prox(state.base - length * state.here.gradient, length)
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
        search = state.search
        length = mapping_norm(point, there, penalty, search.trial)
        # the step may grow again where the curvature is lower
        grow = 1.0 if first or search.trials else 1.1
        return replace(
            state,
            coef=point if better else state.coef,
            objective=min(there.value, state.objective),
            iteration=state.iteration + (0 if first else 1),
            gradient_norm=length,
            step_size=search.trial,
            previous=proximal,
            base=point,
            here=there,
            theta=theta,
            search=Search.along(there.value, -(length**2), grow * search.trial),
            progress=state.progress.record(min(there.value, state.objective)),
        )
