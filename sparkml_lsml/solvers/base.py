"""The loop that every solver shares, and the protocol that a solver fills."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from sparkml_lsml.kernels.sdca import SdcaRound, SdcaTotals
from sparkml_lsml.kernels.sgd_steps import SgdEpochs
from sparkml_lsml.objective import Objective
from sparkml_lsml.penalties.elastic_net import ElasticNet

Array = npt.NDArray[np.float64]

ADVICE = {
    "converged": "the tolerance was reached",
    "max_iter": "maxIter was reached before the tolerance: raise maxIter or tol",
    "line_search": "no step along the search direction lowers the objective further: "
    "this is the precision of the arithmetic, or the data are badly scaled",
    "diverged": "the objective is not finite or grows without end: lower stepSize, or use "
    "solver='auto'",
    "callback": "a callback asked to stop",
    "direct": "solved directly, without iterations",
}
"""What each reason for stopping means and what to do."""


@dataclass(frozen=True)
class Reason:
    """Why a solver stopped.

    Attributes
    ----------
    name
        One of the keys of `ADVICE`.
    iteration : int
    """

    name: str
    iteration: int

    @property
    def converged(self) -> bool:
        """Whether the result is a minimum to within the tolerance."""
        return self.name in ("converged", "line_search", "direct")

    def __str__(self) -> str:
        return f"{self.name} at iteration {self.iteration}: {ADVICE[self.name]}"


@dataclass(frozen=True)
class Query:
    """What the next pass is to compute for one model.

    Attributes
    ----------
    coef : array of shape (size,)
    fraction : float
        Share of the rows that the value and gradient are taken over.
    epochs : SgdEpochs or None
        With settings, a round of local SGD from ``coef`` instead of a gradient.
    seed : tuple of int
    smoothing : float
        Width over which the kinks of the loss are smoothed; 0 for the loss itself.
    dual : SdcaRound or None
        A round of dual coordinate ascent instead of a gradient.
    """

    coef: Array
    fraction: float = 1.0
    epochs: SgdEpochs | None = None
    seed: tuple[int, ...] = ()
    smoothing: float = 0.0
    dual: SdcaRound | None = None


@dataclass(frozen=True)
class Answer:
    """What the pass computed.

    Attributes
    ----------
    value : float
        Mean loss at the query's coefficients.
    result : array of shape (size,)
        Its gradient there, or the averaged model after a round of local SGD.
    dual : SdcaTotals or None
        What a round of dual coordinate ascent did.
    """

    value: float
    result: Array
    dual: SdcaTotals | None = None


@dataclass(frozen=True)
class State:
    """Where a solver stands; the states of all solvers extend it.

    Attributes
    ----------
    coef : array of shape (size,)
        The best coefficients so far.
    objective : float
        Objective at ``coef``, penalty included; infinite before the first pass.
    iteration : int
        Iterations that are complete.
    gradient_norm : float
        Euclidean norm of the gradient (with an L1 part, of the smallest subgradient) at ``coef``.
    step_size : float
        Step of the last iteration.
    gap : float
        How far the objective is from its minimum at most, where the solver knows: the duality gap.
    """

    coef: Array
    objective: float = float("inf")
    iteration: int = 0
    gradient_norm: float = float("nan")
    step_size: float = float("nan")
    gap: float = float("nan")

    @property
    def candidates(self) -> Array:
        """Coefficients that may be the solution, shape (candidates, size): see `Solver`."""
        return self.coef[None, :]


@dataclass(frozen=True)
class Iteration:
    """One line of the history.

    Attributes
    ----------
    iteration : int
    objective : float
    gradient_norm : float
    step_size : float
    passes : int
        Passes over the data since the start.
    seconds : float
        Seconds since the start.
    gap : float
        The duality gap, NaN for a solver that has none.
    sent : int
        Bytes sent between the driver and executors since the start.
    """

    iteration: int
    objective: float
    gradient_norm: float
    step_size: float
    passes: int
    seconds: float
    gap: float = float("nan")
    sent: int = 0


@dataclass(frozen=True)
class Solution:
    """What `minimize` returns for one model.

    Attributes
    ----------
    coef : array of shape (size,)
        In the solver's units.
    objective : float
    history : tuple of Iteration
    reason : Reason
    """

    coef: Array
    objective: float
    history: tuple[Iteration, ...]
    reason: Reason


class Solver(Protocol):
    """An optimiser: frozen settings; all that changes is in the state it is handed.

    A solver is asked what the next pass is to compute (`query`) and told the answer (`step`). It
    never runs a pass itself: that is what lets many models share one.

    Attributes
    ----------
    name
        How the Param ``solver`` calls it.
    needs_smooth : bool
        Whether the loss must have a continuous derivative.
    estimates : bool
        Whether the objective in its states is only an estimate, so that at the end the
        candidates of the last state are evaluated over all rows, and the best is the solution.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def needs_smooth(self) -> bool:
        """See the class."""
        ...

    @property
    def estimates(self) -> bool:
        """See the class."""
        ...

    def init(self, coef: Array, objective: Objective) -> Any:
        """The state before the first pass."""
        ...

    def query(self, state: Any, penalty: ElasticNet) -> Query:
        """What the next pass is to compute."""
        ...

    def step(self, state: Any, answer: Answer, penalty: ElasticNet) -> Any:
        """The state after the pass."""
        ...

    def terminate(self, state: Any) -> Reason | None:
        """Why to stop here; None to go on."""
        ...


Callback = Callable[[Iteration, int], bool | None]
"""Called with each line of the history and the number of its model; True stops that model."""


# a step that is too long overflows: solvers see it in the value, a warning would say it twice
@np.errstate(over="ignore", invalid="ignore")
def minimize(
    objective: Objective,
    penalty: ElasticNet | Sequence[ElasticNet],
    solver: Solver | Sequence[Solver],
    coef: Array,
    *,
    max_iter: int | Sequence[int] = 100,
    callbacks: Sequence[Callback] = (),
) -> list[Solution]:
    """Minimise the mean loss plus a penalty, for a batch of models in shared passes.

    Parameters
    ----------
    objective : Objective
    penalty : ElasticNet, or one for each model
    solver : Solver, or one for each model
    coef : array of shape (models, size)
        Where to start, in the solver's units.
    max_iter : int, or one for each model
        Iterations a model, at most; 0 only evaluates the start.
    callbacks : sequence of callables
        See `Callback`.

    Returns
    -------
    list of Solution, one a model
        Models that are done leave the batch; the others go on.

    Raises
    ------
    ValueError
        If the solver needs a smooth loss and this one is not.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkml_lsml.blocks import Block
    >>> from sparkml_lsml.layout import Layout
    >>> from sparkml_lsml.losses import Squared
    >>> from sparkml_lsml.objective import BlockObjective, LocalBlocks
    >>> from sparkml_lsml.penalties import L2
    >>> from sparkml_lsml.solvers import LBFGS, minimize
    >>> from sparkml_lsml.standardization import Standardization
    >>> layout = Layout(features=2, fit_intercept=False)
    >>> blocks = LocalBlocks([Block(np.eye(2), np.array([1.0, 3.0]))])
    >>> objective = BlockObjective(blocks, Squared(), layout, Standardization.identity(layout))
    >>> [solution] = minimize(objective, L2(0.0), LBFGS(), np.zeros((1, 2)))
    >>> solution.coef.round(6).tolist(), solution.reason.name
    ([1.0, 3.0], 'converged')
    """
    number = len(coef)
    penalties = [penalty] * number if isinstance(penalty, ElasticNet) else list(penalty)
    solvers = list(solver) if isinstance(solver, Sequence) else [solver] * number
    limits = [max_iter] * number if isinstance(max_iter, int) else list(max_iter)
    for each in solvers:
        if each.needs_smooth and not objective.loss.smooth:
            raise ValueError(
                f"solver '{each.name}' needs a loss with a continuous derivative, which "
                f"'{objective.loss.name}' does not have: use solver='auto'"
            )
    started, first_pass, first_sent = time.perf_counter(), objective.passes, objective.sent
    states = [solvers[k].init(coef[k], objective.of(k)) for k in range(number)]
    histories: list[list[Iteration]] = [[] for _ in states]
    reasons: list[Reason | None] = [None] * number
    # the first pass of a solver that estimates takes a step as well, and here none is wanted
    only_evaluate = {k for k in range(number) if solvers[k].estimates and limits[k] == 0}

    def record(k: int) -> bool:
        """Add a line to the history of a model; whether a callback asks to stop."""
        line = Iteration(
            states[k].iteration,
            states[k].objective,
            states[k].gradient_norm,
            states[k].step_size,
            objective.passes - first_pass,
            time.perf_counter() - started,
            states[k].gap,
            objective.sent - first_sent,
        )
        histories[k].append(line)
        # every callback sees the line, also behind one that asks to stop
        return sum(bool(callback(line, k)) for callback in callbacks) > 0

    while active := [k for k, r in enumerate(reasons) if r is None and k not in only_evaluate]:
        queries = [solvers[k].query(states[k], penalties[k]) for k in active]
        answers = _ask(objective, active, queries, penalties)
        for k, answer in zip(active, answers, strict=True):
            before = states[k]
            states[k] = state = solvers[k].step(before, answer, penalties[k])
            moved = state.iteration > before.iteration or not histories[k]
            stop = moved and np.isfinite(state.objective) and record(k)
            reasons[k] = solvers[k].terminate(state)
            if reasons[k] is None and stop:
                reasons[k] = Reason("callback", state.iteration)
            if reasons[k] is None and state.iteration >= limits[k]:
                reasons[k] = Reason("max_iter", state.iteration)
    if estimating := [k for k in range(number) if solvers[k].estimates]:
        for k, state in _evaluate(objective, estimating, states, penalties):
            states[k] = state
    for k in only_evaluate:
        finite = bool(np.isfinite(states[k].objective))
        if finite:
            record(k)
        reasons[k] = Reason("max_iter" if finite else "diverged", 0)
    return [
        Solution(state.coef, state.objective, tuple(history), reason)
        for state, history, reason in zip(states, histories, reasons, strict=True)
        if reason is not None
    ]


def _evaluate(
    objective: Objective,
    models: Sequence[int],
    states: Sequence[Any],
    penalties: Sequence[ElasticNet],
) -> Iterator[tuple[int, Any]]:
    """States at the best of their candidates, with the objective over all rows: one pass."""
    candidates = [states[k].candidates for k in models]
    owners = [k for k, coefs in zip(models, candidates, strict=True) for _ in coefs]
    values, _ = objective.value_and_gradient(np.concatenate(candidates), models=owners)
    for k, coefs in zip(models, candidates, strict=True):
        mine, values = values[: len(coefs)], values[len(coefs) :]
        totals = [float(v) + penalties[k].value(coef) for v, coef in zip(mine, coefs, strict=True)]
        # a value that is not finite is never the best, but it is told if there is no other
        best = int(np.argmin(np.where(np.isfinite(totals), totals, np.inf)))
        yield k, replace(states[k], coef=coefs[best], objective=totals[best])


def _ask(
    objective: Objective,
    models: Sequence[int],
    queries: Sequence[Query],
    penalties: Sequence[ElasticNet],
) -> list[Answer]:
    """Answer the queries of models in as few passes as there are kinds of them."""
    answers: dict[int, Answer] = {}
    kinds: dict[tuple[bool, float, tuple[int, ...]], list[int]] = {}
    for number, query in enumerate(queries):
        if query.dual is not None:
            # the duals of a model are its own: there is nothing that models could share
            k = models[number]
            value, totals = objective.dual_round(
                query.coef, penalties[k], query.dual, query.seed, k
            )
            answers[number] = Answer(value, query.coef, totals)
            continue
        kind = (query.epochs is None, query.fraction, query.seed)
        kinds.setdefault(kind, []).append(number)
    for (gradient, fraction, seed), members in kinds.items():
        coef = np.stack([queries[i].coef for i in members])
        asking = [models[i] for i in members]
        if gradient:
            widths = np.array([queries[i].smoothing for i in members])
            smoothing = widths if widths.any() else None
            values, results = objective.value_and_gradient(coef, fraction, seed, smoothing, asking)
        else:
            settings = [s for i in members if (s := queries[i].epochs) is not None]
            values, results = objective.local_sgd(
                coef, [penalties[k] for k in asking], settings, seed, asking
            )
        answers |= {
            i: Answer(float(value), result)
            for i, value, result in zip(members, values, results, strict=True)
        }
    return [answers[i] for i in range(len(queries))]


@dataclass(frozen=True)
class Smooth:
    """Objective and gradient at a point, penalty included.

    Attributes
    ----------
    value : float
        The whole objective.
    smooth : float
        The objective without its L1 part.
    gradient : array of shape (size,)
        Gradient of the smooth part.
    subgradient : array of shape (size,)
        The subgradient of the whole objective that has the smallest norm: zero at a minimum.
    """

    value: float
    smooth: float
    gradient: Array
    subgradient: Array

    @staticmethod
    def at(coef: Array, answer: Answer, penalty: ElasticNet) -> "Smooth":
        """Add the penalty to the answer of a gradient pass at ``coef``."""
        extra, slope = penalty.smooth_value_and_gradient(coef)
        smooth, gradient = answer.value + extra, answer.result + slope
        l1 = np.asarray(penalty.l1())
        if not l1.any():
            return Smooth(smooth, smooth, gradient, gradient)
        value = smooth + float(np.sum(l1 * np.abs(coef)))
        at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0.0)
        subgradient = np.where(coef != 0.0, gradient + l1 * np.sign(coef), at_zero)
        return Smooth(value, smooth, gradient, subgradient)


@dataclass(frozen=True)
class Progress:
    """Whether iterations still pay: the rule for stopping that the solvers share.

    A solver has converged when the norm of its (sub)gradient is at most ``tol`` times the
    objective, or when the last ``window`` iterations together lowered the objective by less than
    a fiftieth of ``tol``, relative to it.

    Attributes
    ----------
    window : int
        Longer for a method whose objective may rise for a while.
    recent : tuple of float
        Objectives of the last iterations.
    """

    window: int = 4
    recent: tuple[float, ...] = ()

    def record(self, objective: float) -> Self:
        """Progress after one more iteration."""
        return replace(self, recent=(*self.recent, objective)[-(self.window + 1) :])

    def converged(self, tol: float, objective: float, gradient_norm: float) -> bool:
        """Whether to stop."""
        size = max(abs(objective), 1e-300)
        if gradient_norm <= tol * size:
            return True
        full = len(self.recent) > self.window
        # the whole range: an objective that swings or rises has not come to rest
        return full and max(self.recent) - min(self.recent) <= 0.02 * tol * size
