"""Proximal L-BFGS: a quasi-Newton method for an L1 penalty that wastes no pass."""

from dataclasses import dataclass, field, replace

import numpy as np

from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Query, Reason, Smooth, norm
from sparkml_lsml.engine.solvers.compact import CompactMatrix
from sparkml_lsml.engine.solvers.lbfgs import Pair, remember
from sparkml_lsml.engine.solvers.search import Search, SearchState, first_step

INNER_TOL = 1e-3
INNER_ITERATIONS = 2_000
POWER_ITERATIONS = 20


@dataclass(frozen=True)
class ProximalState(SearchState):
    """State of `ProximalLBFGS`: the last accepted point, the memory, and the search under way.

    Attributes
    ----------
    direction : array of shape (size,)
        From ``coef`` to the minimum of the local model.
    """

    pairs: tuple[Pair, ...] = ()
    direction: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class ProximalLBFGS:
    r"""Minimises a quadratic model of the smooth part plus the exact L1 penalty, then searches.

    The model's Hessian is that of L-BFGS in its compact form
    :math:`B = \sigma I - \Psi^T M \Psi`. Its minimum with the penalty is found by accelerated
    proximal gradients on the driver, without a pass; one pass then evaluates the step. OWL-QN, in
    contrast, only takes signs into account when it bends its direction, and backtracks: on
    ill-conditioned data it needs several times as many passes. The price is work on the driver,
    memory x size x inner iterations, so this is for up to some thousand coefficients.

    Parameters
    ----------
    tol : float
        Relative tolerance, see `Progress`.
    memory : int
        Pairs of steps and gradient differences that are kept.

    References
    ----------
    Lee, Sun and Saunders (2014), Proximal Newton-type methods for minimizing composite functions;
    Byrd, Nocedal and Schnabel (1994), Representations of quasi-Newton matrices and their use in
    limited memory methods, theorem 2.3.

    Examples
    --------
    >>> ProximalLBFGS().name
    'proximal-l-bfgs'
    """

    tol: float = 1e-6
    memory: int = 10
    name: str = "proximal-l-bfgs"
    needs_smooth: bool = True
    estimates: bool = False

    def init(self, coef: Array, objective: Objective) -> ProximalState:
        """The state before the first pass."""
        return ProximalState(coef)

    def query(self, state: ProximalState, penalty: ElasticNet) -> Query:
        """Value and gradient at the trial point."""
        return Query(_point(state))

    def step(self, state: ProximalState, answer: Answer, penalty: ElasticNet) -> ProximalState:
        """Accept the trial point and find a new direction, or shorten the step."""
        point = _point(state)
        there = Smooth.at(point, answer, penalty)
        here, pairs = state.here, state.pairs  # those of a wider smoothing, at the start
        if here is not None:
            if not state.search.lower_enough(there.value):
                search = state.search.too_long(there.value)
                after = state.searched(search, proposed=bool(pairs))
                # without the memory: from the gradient alone
                return after or self._aim(replace(state, pairs=()), here, penalty)
            change = there.gradient - here.gradient
            pairs = remember(pairs, point - state.coef, change, self.memory)
        moved = replace(
            state,
            coef=point,
            objective=there.value,
            iteration=state.iteration + (0 if here is None else 1),
            gradient_norm=norm(there.subgradient),
            step_size=state.search.trial,
            here=there,
            pairs=pairs,
            progress=state.progress.record(there.value),
        )
        return self._aim(moved, there, penalty)

    def terminate(self, state: ProximalState) -> Reason | None:
        """Stop at the tolerance, or where no step lowers the objective."""
        return state.ended(self.tol)

    def _aim(self, state: ProximalState, here: Smooth, penalty: ElasticNet) -> ProximalState:
        """The direction to the minimum of the local model."""
        l1 = np.asarray(penalty.l1())
        for pairs in (state.pairs, ()):
            if pairs:
                goal = _model_minimum(state.coef, here.gradient, penalty, pairs)
            else:
                step = first_step(here)
                goal = penalty.prox(state.coef - step * here.gradient, step)
            direction = goal - state.coef
            slope = float(here.gradient @ direction) + float(
                np.sum(l1 * (np.abs(goal) - np.abs(state.coef)))
            )
            search = Search.along(here.value, slope)
            if search.leads_down:
                break
        return replace(
            state,
            pairs=pairs,
            direction=direction,
            # the model's fall lies between half of the slope and the slope
            decrement=-slope if pairs else None,
            search=search,
            reason="" if search.leads_down else search.reason,
        )


def _point(state: ProximalState) -> Array:
    if state.here is None:
        return state.coef
    point: Array = state.coef + state.search.trial * state.direction
    return point


def _model_minimum(
    coef: Array, gradient: Array, penalty: ElasticNet, pairs: tuple[Pair, ...]
) -> Array:
    """Minimum of the quadratic model plus the L1 penalty, by FISTA with restarts."""
    matrix = CompactMatrix.of(pairs)
    # the largest eigenvalue, by power iteration from the last gradient difference
    _, vector, _ = pairs[-1]
    largest = matrix.size
    for _ in range(POWER_ITERATIONS):
        vector = matrix.times(vector / max(float(np.linalg.norm(vector)), 1e-300))
        largest = max(matrix.size, float(np.linalg.norm(vector)))
    step = 1.0 / (1.05 * largest)
    goal = ahead = coef
    theta, start = 1.0, 0.0
    for inner in range(INNER_ITERATIONS):
        moved = penalty.prox(ahead - step * (gradient + matrix.times(ahead - coef)), step)
        left = float(np.linalg.norm(moved - ahead)) / step
        start = left if inner == 0 else start
        grown = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * theta**2))
        if float((ahead - moved) @ (moved - goal)) > 0.0:
            theta, ahead = 1.0, moved  # the momentum points uphill: forget it
        else:
            ahead = moved + (theta - 1.0) / grown * (moved - goal)
            theta = grown
        goal = moved
        if left <= INNER_TOL * start:
            break
    return goal
