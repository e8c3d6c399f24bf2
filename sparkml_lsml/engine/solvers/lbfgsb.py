"""L-BFGS-B: L-BFGS for coefficients between bounds."""

from dataclasses import dataclass, field, replace

import numpy as np

from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Query, Reason, Smooth, norm
from sparkml_lsml.engine.solvers.compact import CompactMatrix
from sparkml_lsml.engine.solvers.lbfgs import Pair, remember
from sparkml_lsml.engine.solvers.search import Search, SearchState, first_step

MODEL_DECREASE = 0.01
"""Share of what the slope promises by which a step has to lower the quadratic model."""

FACES = 10
"""Faces of the box, at most, on which the model is minimised one after another."""

SHORTEST = 1e-10
"""A step on the model is not shortened below this part of its length."""


@dataclass(frozen=True)
class LBFGSBState(SearchState):
    """State of `LBFGSB`: the last accepted point, the memory, and the search under way.

    Attributes
    ----------
    goal : array of shape (size,)
        The minimum of the local model within the bounds; trial points lie between it and ``coef``.
    """

    pairs: tuple[Pair, ...] = ()
    goal: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class LBFGSB:
    r"""L-BFGS within a box: :math:`l_j \le u_j \le h_j` for each coefficient.

    Each iteration takes the quadratic model of L-BFGS to its minimum within the box, in two parts.
    A search along the negative gradient, bent where it meets bounds, decides which coefficients
    are at one (the Cauchy point); it alone makes the method converge. Then the model is minimised
    over the others. One pass evaluates the goal, and one more each shorter step, until the
    objective falls enough. Coefficients at a bound are exactly there.

    With an L1 penalty the box is narrowed to the orthant of the current point, where the penalty is
    linear, as in OWL-QN. With no bounds and no L1 penalty the steps are those of L-BFGS.

    Parameters
    ----------
    tol : float
        Relative tolerance, see `Progress`. The norm is that of the projected gradient
        :math:`u - P(u - g)`, with P the projection onto the box: zero at a minimum only.
    memory : int
        Pairs of steps and gradient differences that are kept; 4 x memory vectors.
    lower, upper : array of shape (size,) or float
        Bounds in the solver's units, infinite where there are none. A start outside is moved to
        the nearest point within.

    References
    ----------
    Byrd, Lu, Nocedal and Zhu (1995), A limited memory algorithm for bound constrained optimization,
    SIAM Journal on Scientific Computing 16; Lin and More (1999), Newton's method for large
    bound-constrained optimization problems, SIAM Journal on Optimization 9 (projected searches, in
    place of a walk from one bound to the next).

    Examples
    --------
    >>> import numpy as np
    >>> from sparkml_lsml.engine.blocks import Block
    >>> from sparkml_lsml.engine.predictors import Layout, LinearPredictor, Standardization
    >>> from sparkml_lsml.losses import Squared
    >>> from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
    >>> from sparkml_lsml.engine.penalties import L2
    >>> from sparkml_lsml.engine.solvers import minimize
    >>> layout = Layout(features=2, fit_intercept=False)
    >>> blocks = LocalBlocks([Block(np.eye(2), np.array([1.0, 3.0]))])
    >>> units = Standardization.identity(layout)
    >>> objective = BlockObjective(blocks, Squared(), LinearPredictor(layout), units)
    >>> [solution] = minimize(objective, L2(0.0), LBFGSB(upper=2.0), np.zeros((1, 2)))
    >>> solution.coef.round(6).tolist(), solution.reason.name
    ([1.0, 2.0], 'converged')
    """

    tol: float = 1e-6
    memory: int = 10
    lower: Array | float = field(default=-np.inf, repr=False, compare=False)
    upper: Array | float = field(default=np.inf, repr=False, compare=False)
    name: str = "l-bfgs-b"
    needs_smooth: bool = True
    estimates: bool = False

    def init(self, coef: Array, objective: Objective) -> LBFGSBState:
        """The state before the first pass."""
        return LBFGSBState(np.clip(coef, self.lower, self.upper))

    def query(self, state: LBFGSBState, penalty: ElasticNet) -> Query:
        """Value and gradient at the trial point."""
        return Query(self._point(state))

    def step(self, state: LBFGSBState, answer: Answer, penalty: ElasticNet) -> LBFGSBState:
        """Accept the trial point and find a new goal, or shorten the step."""
        point = self._point(state)
        there = Smooth.at(point, answer, penalty)
        here, pairs = state.here, state.pairs
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
            gradient_norm=self._projected_norm(point, there),
            step_size=state.search.trial,
            here=there,
            pairs=pairs,
            progress=state.progress.record(there.value),
        )
        return self._aim(moved, there, penalty) if np.isfinite(there.value) else moved

    def terminate(self, state: LBFGSBState) -> Reason | None:
        """Stop at the tolerance, or where no step lowers the objective."""
        return state.ended(self.tol)

    def _point(self, state: LBFGSBState) -> Array:
        if state.here is None:
            return state.coef
        if state.search.trial == 1.0:
            return state.goal
        # rounding could leave the box by one digit
        between = state.coef + state.search.trial * (state.goal - state.coef)
        return np.clip(between, self.lower, self.upper)

    def _projected_norm(self, coef: Array, here: Smooth) -> float:
        # u - P(u - g), without a difference that loses gradients which are small beside u
        gradient = here.subgradient
        down = np.minimum(gradient, coef - self.lower)
        return norm(np.where(gradient > 0.0, down, np.maximum(gradient, coef - self.upper)))

    def _aim(self, state: LBFGSBState, here: Smooth, penalty: ElasticNet) -> LBFGSBState:
        """The goal: the minimum of the local model, within the bounds and the orthant."""
        lower, upper = self._face(state.coef, here, penalty)
        for pairs in (state.pairs, ()):
            if pairs:
                matrix = CompactMatrix.of(pairs)
            else:
                matrix = CompactMatrix.multiple(1.0 / first_step(here), len(state.coef))
            goal = _minimum(_Model(state.coef, here.subgradient, matrix, lower, upper))
            slope = float(here.subgradient @ (goal - state.coef))
            search = Search.along(here.value, slope)
            if search.leads_down:
                break
        return replace(
            state,
            pairs=pairs,
            goal=goal,
            # the model's fall lies between half of the slope and the slope
            decrement=-slope if pairs else None,
            search=search,
            reason="" if search.leads_down else search.reason,
        )

    def _face(self, coef: Array, here: Smooth, penalty: ElasticNet) -> tuple[Array, Array]:
        """The box of this iteration; with L1 a coefficient may become zero, but not change sign."""
        lower = np.broadcast_to(self.lower, coef.shape)
        upper = np.broadcast_to(self.upper, coef.shape)
        penalised = np.broadcast_to(np.asarray(penalty.l1()) > 0.0, coef.shape)
        if not penalised.any():
            return lower, upper
        sign = np.where(coef != 0.0, coef, -here.subgradient)
        return (
            np.where(penalised & (sign >= 0.0), np.maximum(lower, 0.0), lower),
            np.where(penalised & (sign <= 0.0), np.minimum(upper, 0.0), upper),
        )


@dataclass(frozen=True, eq=False)
class _Model:
    """The quadratic model of the objective around ``coef``, and the box that it holds in."""

    coef: Array
    gradient: Array
    matrix: CompactMatrix
    lower: Array
    upper: Array

    def at(self, point: Array) -> tuple[float, Array]:
        """What the objective would change by, and its gradient."""
        step = point - self.coef
        bend = self.matrix.times(step)
        return float(self.gradient @ step + 0.5 * step @ bend), self.gradient + bend

    def project(self, point: Array) -> Array:
        """The nearest point of the box."""
        return np.clip(point, self.lower, self.upper)


def _minimum(model: _Model) -> Array:
    """The Cauchy point, then the minimum on its face of the box and on those that follow."""
    goal = _cauchy_point(model)
    value, slope = model.at(goal)
    for _ in range(FACES):
        free = (goal > model.lower) & (goal < model.upper)
        if not free.any():
            break
        direction = np.zeros_like(goal)
        direction[free] = -model.matrix.solve(slope[free], free)
        length = 1.0
        while length > SHORTEST:
            moved = model.project(goal + length * direction)
            lowered, slope_there = model.at(moved)
            if lowered <= value + MODEL_DECREASE * float(slope @ (moved - goal)):
                break
            length *= 0.5
        else:
            break
        goal, value, slope = moved, lowered, slope_there
        if ((goal > model.lower) & (goal < model.upper))[free].all():
            break  # no bound was met: this is the minimum on the face
    return goal


def _cauchy_point(model: _Model) -> Array:
    """A point on the path of steepest descent that lowers the model enough."""

    def enough(point: Array) -> bool:
        promised = MODEL_DECREASE * float(model.gradient @ (point - model.coef))
        return model.at(point)[0] <= promised

    length = 1.0 / model.matrix.size
    point = model.project(model.coef - length * model.gradient)
    if not enough(point):
        while length > SHORTEST / model.matrix.size:
            length *= 0.1
            point = model.project(model.coef - length * model.gradient)
            if enough(point):
                break
        return point
    # the length may be far too short where the pairs saw other directions
    while True:
        length *= 10.0
        farther = model.project(model.coef - length * model.gradient)
        if not enough(farther) or np.array_equal(farther, point):
            return point
        point = farther
