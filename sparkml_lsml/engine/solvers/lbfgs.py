"""L-BFGS, and OWL-QN where there is an L1 penalty."""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import linalg

from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Query, Reason, Smooth, norm
from sparkml_lsml.engine.solvers.search import Search, SearchState, first_step

LEAST_COSINE = 1e-12
"""Between a step and the change of the gradient, below which the pair is rounding."""

MEMORY_WITH_L1 = 10
"""Pairs at most with an L1 penalty: older ones are of other orthants, and mislead."""

SMALLEST_SQUARE = float(np.finfo(np.float64).tiny)
"""Gradients of rows that can be separated fall until their squares are 0."""

Pair = tuple[Array, Array, float]
"""A step, the change of the gradient along it, and their product."""


@dataclass(frozen=True)
class LBFGSState(SearchState):
    """State of `LBFGS`: the last accepted point, the memory, and the search under way.

    Attributes
    ----------
    curved : bool
        Whether the estimate of the second derivatives serves; one that misled does no more.
    compared : bool
        Whether it was seen already that the start is no worse than the cold one.
    """

    pairs: tuple[Pair, ...] = ()
    curved: bool = True
    compared: bool = False
    direction: Array = field(default_factory=lambda: np.zeros(0))


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
    cold : array of shape (size,), optional
        Where to begin, without ``curvature``, if the objective is lower there than at the start
        that comes with it: a start from a sample may mislead.

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
    cold: Array | None = field(default=None, repr=False, compare=False)
    name: str = "l-bfgs"
    needs_smooth: bool = False
    estimates: bool = False

    def init(self, coef: Array, objective: Objective) -> LBFGSState:
        """The state before the first pass."""
        return LBFGSState(coef)

    def query(self, state: LBFGSState, penalty: ElasticNet) -> Query:
        """Value and gradient at the trial point; first also the value at the cold start."""
        cold = self._cold(state)
        others = () if cold is None else (cold,)
        return Query(self._trial_point(state, penalty), others=others)

    def step(self, state: LBFGSState, answer: Answer, penalty: ElasticNet) -> LBFGSState:
        """Accept the trial point and find a new direction, or change the step."""
        point = self._trial_point(state, penalty)
        there = Smooth.at(point, answer, penalty)
        here, search = state.here, state.search
        if here is None:
            cold = self._cold(state)
            if cold is not None and not there.value <= answer.others[0] + penalty.value(cold):
                return replace(state, coef=cold, curved=False)
            return self._accept(state, point, there, penalty)
        l1 = _has_l1(penalty)
        promised = float(here.subgradient @ (point - state.coef)) if l1 else None
        slope = float(there.gradient @ state.direction)
        if not search.lower_enough(there.value, promised):
            search = search.too_long(there.value)
        elif not l1 and search.steep(slope):
            search = search.too_short(there.value, slope)
        else:
            return self._accept(state, point, there, penalty)
        proposed = bool(state.pairs) or (state.curved and self.curvature is not None)
        after = state.searched(search, proposed)
        if after is not None:
            return after
        # once more, along the negative gradient
        slope = -float(here.subgradient @ here.subgradient)
        return replace(
            state,
            pairs=(),
            curved=False,
            direction=-here.subgradient,
            decrement=None,
            informed=False,
            search=Search.along(here.value, slope, first_step(here)),
        )

    def terminate(self, state: LBFGSState) -> Reason | None:
        """Stop at the tolerance, or where no step lowers the objective."""
        return state.ended(self.tol)

    def _cold(self, state: LBFGSState) -> Array | None:
        """The cold start, where it is still to be compared with the start that was given."""
        begins = state.here is None and state.curved and not state.compared
        return self.cold if begins else None

    def _trial_point(self, state: LBFGSState, penalty: ElasticNet) -> Array:
        if state.here is None:
            return state.coef
        point: Array = state.coef + state.search.trial * state.direction
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
        curvature = self.curvature if state.curved and not l1 else None
        direction = _direction(there.subgradient, pairs, l1, curvature)
        slope = float(there.subgradient @ direction)
        known = bool(pairs) or curvature is not None
        return replace(
            state,
            coef=point,
            objective=there.value,
            iteration=state.iteration + (0 if first else 1),
            gradient_norm=norm(there.subgradient),
            step_size=state.search.trial,
            here=there,
            pairs=pairs,
            direction=direction,
            decrement=-0.5 * slope if known else None,
            informed=curvature is not None,
            search=Search.along(there.value, slope, 1.0 if known else first_step(there)),
            progress=state.progress.record(there.value),
        )


def remember(pairs: tuple[Pair, ...], step: Array, change: Array, memory: int) -> tuple[Pair, ...]:
    """The pairs with one more, unless it shows no curvature: the matrix must stay definite."""
    product, square = float(step @ change), float(change @ change)
    if product <= LEAST_COSINE * norm(step) * norm(change) or square < SMALLEST_SQUARE:
        return pairs
    return (*pairs, (step, change, product))[-memory:]


def _has_l1(penalty: ElasticNet) -> bool:
    return bool(np.any(penalty.l1()))


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
    # also where it is no number
    return direction if float(direction @ gradient) < 0.0 else -gradient
