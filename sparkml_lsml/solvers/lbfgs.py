"""L-BFGS, and OWL-QN where there is an L1 penalty."""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import linalg

from sparkml_lsml.objective import Objective
from sparkml_lsml.penalties.elastic_net import ElasticNet
from sparkml_lsml.solvers.base import Answer, Array, Progress, Query, Reason, Smooth, State

DECREASE, CURVATURE = 1e-4, 0.9
MAX_TRIALS = 30
EPSILON = float(np.finfo(np.float64).eps)

MEMORY_WITH_L1 = 10
"""Pairs at most with an L1 penalty: older ones are of other orthants, and mislead."""

SMALLEST_SQUARE = float(np.finfo(np.float64).tiny)
"""Gradients of rows that can be separated fall until their squares are 0."""

Pair = tuple[Array, Array, float]
"""A step, the change of the gradient along it, and their product."""


@dataclass(frozen=True)
class LBFGSState(State):
    """State of `LBFGS`: the last accepted point, the memory, and the search under way."""

    here: Smooth | None = None
    pairs: tuple[Pair, ...] = ()
    direction: Array = field(default_factory=lambda: np.zeros(0))
    trial: float = 0.0
    short: float = 0.0
    long: float = float("inf")
    trials: int = 0
    failed: bool = False
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class LBFGS:
    r"""Limited-memory BFGS; with an L1 penalty its orthant-wise variant OWL-QN.

    One pass a trial step; nearly always the first trial is accepted. Without L1 the step fulfils
    the weak Wolfe conditions, which also make sense for the hinge loss, whose derivative jumps.

    Parameters
    ----------
    tol : float
        Relative tolerance, see `Progress`.
    memory : int
        Pairs of steps and gradient differences that are kept; 2 x memory vectors.
    curvature : array of shape (size, size), optional
        Lower Cholesky factor of an estimate of the second derivatives, which the pairs then only
        correct. Not used with an L1 penalty.

    References
    ----------
    Nocedal and Wright (2006), Numerical Optimization, algorithm 7.4; Andrew and Gao (2007),
    Scalable training of L1-regularized log-linear models; Lewis and Overton (2013), Nonsmooth
    optimization via quasi-Newton methods (line search).

    Examples
    --------
    >>> LBFGS(tol=1e-8).name
    'l-bfgs'
    """

    tol: float = 1e-6
    memory: int = 10
    curvature: Array | None = field(default=None, repr=False, compare=False)
    name: str = "l-bfgs"
    needs_smooth: bool = False
    estimates: bool = False

    def init(self, coef: Array, objective: Objective) -> LBFGSState:
        """The state before the first pass."""
        return LBFGSState(coef)

    def query(self, state: LBFGSState, penalty: ElasticNet) -> Query:
        """Value and gradient at the trial point."""
        return Query(self._trial_point(state, penalty))

    def step(self, state: LBFGSState, answer: Answer, penalty: ElasticNet) -> LBFGSState:
        """Accept the trial point and find a new direction, or change the step."""
        point = self._trial_point(state, penalty)
        there = Smooth.at(point, answer, penalty)
        if state.here is None:
            return self._accept(state, point, there, penalty)
        slope = float(state.here.subgradient @ state.direction)
        l1 = _has_l1(penalty)
        if l1:
            bound = DECREASE * float(state.here.subgradient @ (point - state.coef))
        else:
            bound = DECREASE * state.trial * slope
        if not np.isfinite(there.value) or there.value > state.here.value + bound:
            return self._search(replace(state, long=state.trial), there, slope, l1)
        if not l1 and float(there.gradient @ state.direction) < CURVATURE * slope:
            return self._search(replace(state, short=state.trial), there, slope, l1)
        return self._accept(state, point, there, penalty)

    def terminate(self, state: LBFGSState) -> Reason | None:
        """Stop at the tolerance, or where no step lowers the objective."""
        if state.here is None:
            return None
        if not np.isfinite(state.objective):
            return Reason("diverged", state.iteration)
        if state.failed:
            return Reason("line_search", state.iteration)
        if state.trials == 0 and state.progress.converged(
            self.tol, state.objective, state.gradient_norm
        ):
            return Reason("converged", state.iteration)
        return None

    def _trial_point(self, state: LBFGSState, penalty: ElasticNet) -> Array:
        if state.here is None:
            return state.coef
        point: Array = state.coef + state.trial * state.direction
        if _has_l1(penalty):
            # OWL-QN never leaves the orthant of the current point: signs that flip become zero
            orthant = np.where(state.coef != 0.0, state.coef, -state.here.subgradient)
            penalised = np.asarray(penalty.l1()) > 0.0
            point[penalised & (point * orthant <= 0.0)] = 0.0
        return point

    def _accept(
        self, state: LBFGSState, point: Array, there: Smooth, penalty: ElasticNet
    ) -> LBFGSState:
        first = state.here is None
        pairs = state.pairs
        if state.here is not None:
            change = there.gradient - state.here.gradient
            memory = min(self.memory, MEMORY_WITH_L1) if _has_l1(penalty) else self.memory
            pairs = remember(pairs, point - state.coef, change, memory)
        l1 = _has_l1(penalty)
        curvature = None if l1 else self.curvature
        direction = _direction(there.subgradient, pairs, l1, curvature)
        norm = float(np.linalg.norm(there.subgradient))
        return replace(
            state,
            coef=point,
            objective=there.value,
            iteration=state.iteration + (0 if first else 1),
            gradient_norm=norm,
            step_size=state.trial,
            here=there,
            pairs=pairs,
            direction=direction,
            trial=first_step(there) if not pairs and curvature is None else 1.0,
            short=0.0,
            long=float("inf"),
            trials=0,
            progress=state.progress.record(there.value),
        )

    def _search(self, state: LBFGSState, there: Smooth, slope: float, l1: bool) -> LBFGSState:
        """Narrow the interval that holds an acceptable step, or give up on this direction."""
        assert state.here is not None
        closed = np.isfinite(state.long) and state.long - state.short <= 1e-16 * state.long
        # a shorter step lowers the objective by less than its own rounding, as at a minimum where a
        # fit began
        lost = state.short == 0.0 and np.isfinite(state.long)
        lost = lost and -slope * state.trial <= EPSILON * abs(state.here.value)
        if closed or lost or state.trials + 1 >= MAX_TRIALS:
            if not state.pairs:
                return replace(state, failed=True, trials=0)
            # the memory may be what is wrong: once more, along the negative gradient
            return replace(
                state,
                pairs=(),
                direction=-state.here.subgradient,
                trial=first_step(state.here),
                short=0.0,
                long=float("inf"),
                trials=1,
            )
        if not np.isfinite(state.long):
            trial = 2.0 * state.trial
        else:
            trial = 0.5 * (state.short + state.long)
            if np.isfinite(there.value) and state.short == 0.0:
                trial = parabola(state.here.value, slope, state.long, there.value)
        return replace(state, trial=trial, trials=state.trials + 1)


def remember(pairs: tuple[Pair, ...], step: Array, change: Array, memory: int) -> tuple[Pair, ...]:
    """The pairs with one more, unless it shows no curvature: the matrix must stay definite."""
    product, square = float(step @ change), float(change @ change)
    if product <= 1e-12 * square or square < SMALLEST_SQUARE:
        return pairs
    return (*pairs, (step, change, product))[-memory:]


def first_step(here: Smooth) -> float:
    """A first step along the negative gradient that moves by at most 1."""
    return min(1.0, 1.0 / max(float(np.linalg.norm(here.subgradient)), 1e-300))


def _has_l1(penalty: ElasticNet) -> bool:
    return bool(np.any(penalty.l1()))


def parabola(value: float, slope: float, step: float, there: float) -> float:
    """Minimum of the parabola through both values, kept inside the middle of the interval."""
    bend = there - value - slope * step
    best = -0.5 * slope * step**2 / bend if bend > 0.0 else 0.5 * step
    return float(min(max(best, 0.1 * step), 0.5 * step))


def _direction(
    gradient: Array, pairs: tuple[Pair, ...], l1: bool, curvature: Array | None = None
) -> Array:
    """The two-loop recursion; with L1, components against the descent direction are dropped."""
    q = gradient.copy()
    shares = []
    for s, y, sy in reversed(pairs):
        share = float(s @ q) / sy
        q -= share * y
        shares.append(share)
    if curvature is not None:
        q = linalg.cho_solve((curvature, True), q)
    elif pairs:
        _, y, sy = pairs[-1]
        q *= sy / float(y @ y)
    for (s, y, sy), share in zip(pairs, reversed(shares), strict=True):
        q += (share - float(y @ q) / sy) * s
    direction: Array = -q
    if l1:
        direction[direction * gradient >= 0.0] = 0.0
    if float(direction @ gradient) >= 0.0:
        return -gradient
    return direction
