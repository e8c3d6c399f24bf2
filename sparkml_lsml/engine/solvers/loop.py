"""The loop that every solver shares."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import (
    Answer,
    Array,
    Best,
    Callback,
    Iteration,
    Keeper,
    Query,
    Reason,
    Run,
    Solution,
    Solver,
)
from sparkml_lsml.engine.solvers.early_stopping import EarlyStopping

T = TypeVar("T")


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
    resume: Run | None = None,
    keep: Keeper | None = None,
    early_stopping: EarlyStopping | Sequence[EarlyStopping] | None = None,
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
    resume : Run, optional
        Where an earlier call stood: the rest of it is done. Its solvers take the place of
        ``solver``, and its states that of ``coef``.
    keep : callable, optional
        See `Keeper`.
    early_stopping : EarlyStopping, or one for each model; optional
        Each iteration is then measured on the validation rows of the objective, in one more pass
        over these alone, and the solution is that of the least validation loss.

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
    >>> from sparkml_lsml.engine.blocks import Block
    >>> from sparkml_lsml.engine.predictors import Layout, LinearPredictor, Standardization
    >>> from sparkml_lsml.losses import Squared
    >>> from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
    >>> from sparkml_lsml.engine.penalties import L2
    >>> from sparkml_lsml.engine.solvers import LBFGS, minimize
    >>> layout = Layout(features=2, fit_intercept=False)
    >>> blocks = LocalBlocks([Block(np.eye(2), np.array([1.0, 3.0]))])
    >>> units = Standardization.identity(layout)
    >>> objective = BlockObjective(blocks, Squared(), LinearPredictor(layout), units)
    >>> [solution] = minimize(objective, L2(0.0), LBFGS(), np.zeros((1, 2)))
    >>> solution.coef.round(6).tolist(), solution.reason.name
    ([1.0, 3.0], 'converged')
    """
    number = len(coef)
    solvers = _each(solver, number) if resume is None else list(resume.solvers)
    for one in solvers:
        if one.needs_smooth and not objective.loss.smooth:
            raise ValueError(
                f"solver '{one.name}' needs a loss with a continuous derivative, which "
                f"'{objective.loss.name}' does not have: use solver='auto'"
            )
    settings = zip(
        solvers,
        _each(penalty, number),
        _each(max_iter, number),
        _each(early_stopping, number),
        strict=True,
    )
    batch = [_Model(k, *own) for k, own in enumerate(settings)]
    for model in batch:
        model.begin(coef, objective, resume)
    spent = _Spent(objective, resume)
    while active := [model for model in batch if model.reason is None]:
        answers = _ask(objective, active)
        advanced = [model.take(answer) for model, answer in zip(active, answers, strict=True)]
        moved = [model for model in active if model.has_news]
        losses = _validate(objective, moved)
        for model in active:
            stop = model in moved and model.tell(spent, losses.pop(0), callbacks)
            model.judge(stop)
        if keep is not None and any(advanced):
            keep(spent.run(batch))
    _evaluate(objective, [model for model in batch if model.solver.estimates])
    late = [model for model in batch if model.has_news]
    for model, loss in zip(late, _validate(objective, late), strict=True):
        model.tell(spent, loss, callbacks)
    return [model.solution() for model in batch]


def _each(value: T | Sequence[T], number: int) -> list[T]:
    """A value for each model, from one for all or one each."""
    return list(value) if isinstance(value, Sequence) else [value] * number


@dataclass(eq=False)
class _Model:
    """A model of the batch: its settings, where it stands, and what was told of it."""

    number: int
    solver: Solver
    penalty: ElasticNet
    limit: int
    rule: EarlyStopping | None
    state: Any = None
    history: list[Iteration] = field(default_factory=list)
    reason: Reason | None = None
    best: Best | None = None

    def begin(self, coef: Array, objective: Objective, resume: Run | None) -> None:
        """Start at coefficients of shape (models, size), or go on from where a run stood."""
        k, own = self.number, objective.of(self.number)
        if resume is None:
            self.state = self.solver.init(coef[k], own)
        else:
            self.state = resume.states[k].resumed(own)
            self.history = list(resume.histories[k])
            self.reason = resume.reasons[k]
            self.best = resume.bests[k] if resume.bests else None
        if self.solver.estimates and self.limit == 0 and self.reason is None:
            # the first pass of a solver that estimates takes a step as well: the pass over the
            # candidates is all that is wanted here
            self.reason = Reason("max_iter", 0)

    def query(self) -> Query:
        """What the next pass is to compute."""
        query: Query = self.solver.query(self.state, self.penalty)
        return query

    def take(self, answer: Answer) -> bool:
        """Go on from what the pass computed; whether that ended an iteration."""
        before = self.state.iteration
        self.state = self.solver.step(self.state, answer, self.penalty)
        # iterations that were taken back, as all rows were no better off
        while self.history and self.history[-1].iteration > self.state.iteration:
            self.history.pop()
        return bool(self.state.iteration > before)

    @property
    def has_news(self) -> bool:
        """Whether there is an iteration that was not told yet."""
        told = self.history[-1].iteration if self.history else -1
        return bool(self.state.iteration > told and np.isfinite(self.state.objective))

    def tell(self, spent: "_Spent", validation: float, callbacks: Sequence[Callback]) -> bool:
        """Add a line to the history; whether a callback asks to stop."""
        state = self.state
        line = Iteration(
            state.iteration,
            state.objective,
            state.gradient_norm,
            state.step_size,
            spent.passes,
            spent.seconds,
            state.gap,
            spent.sent,
            validation,
        )
        self.history.append(line)
        # every callback sees the line, also behind one that asks to stop
        return sum(bool(callback(line, self.number)) for callback in callbacks) > 0

    def judge(self, asked: bool) -> None:
        """Whether to stop here, and why; ``asked`` says that a callback wants to."""
        iteration = self.state.iteration
        self.reason = self.solver.terminate(self.state)
        if self.reason is not None:
            return
        if self.rule is not None and self.best is not None and self.rule.stops(self.best):
            self.reason = Reason("early_stopping", iteration)
        elif asked:
            self.reason = Reason("callback", iteration)
        elif iteration >= self.limit:
            self.reason = Reason("max_iter", iteration)

    def candidates(self) -> Array:
        """Coefficients that may be the solution, shape (candidates, size)."""
        found: Array = self.state.candidates if self.best is None else self.best.coef[None, :]
        return found

    def choose(self, coef: Array, objective: float) -> None:
        """Take one of the candidates, whose objective over all rows is known now."""
        self.state = replace(self.state, coef=coef, objective=objective)
        told = self.reason is not None and self.reason.name == "diverged"
        if not (np.isfinite(objective) or told):
            self.reason = Reason("diverged", self.state.iteration)

    def solution(self) -> Solution:
        """The result."""
        assert self.reason is not None
        state, best = self.state, self.best
        coef, objective = state.coef, state.objective
        if best is not None:
            # what a solver that estimates has chosen is the same, evaluated over all rows
            coef = best.coef
            objective = objective if self.solver.estimates else best.objective
        return Solution(coef, objective, tuple(self.history), self.reason, best=best)


class _Spent:
    """Passes, bytes and seconds so far, those of an earlier call included."""

    def __init__(self, objective: Objective, resume: Run | None) -> None:
        self._objective = objective
        before = (0, 0, 0.0) if resume is None else (resume.passes, resume.sent, resume.seconds)
        self._passes = objective.passes - before[0]
        self._sent = objective.sent - before[1]
        self._started = time.perf_counter() - before[2]

    @property
    def passes(self) -> int:
        return self._objective.passes - self._passes

    @property
    def sent(self) -> int:
        return self._objective.sent - self._sent

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def run(self, batch: Sequence[_Model]) -> Run:
        """Where the minimisation stands."""
        validated = any(model.rule is not None for model in batch)
        return Run(
            tuple(model.solver for model in batch),
            tuple(model.state for model in batch),
            tuple(tuple(model.history) for model in batch),
            tuple(model.reason for model in batch),
            self.passes,
            self.sent,
            self.seconds,
            tuple(model.best for model in batch) if validated else (),
        )


def _validate(objective: Objective, models: Sequence[_Model]) -> list[float]:
    """Validation losses of models, which may be their best; NaN without early stopping."""
    if not models or models[0].rule is None:
        return [float("nan")] * len(models)
    coefs = np.stack([model.state.coef for model in models])
    losses = objective.validation_loss(coefs, [model.number for model in models]).tolist()
    for model, loss in zip(models, losses, strict=True):
        assert model.rule is not None
        state = model.state
        model.best = model.rule.record(
            model.best, state.coef, state.objective, state.iteration, loss
        )
    return list(losses)


def _evaluate(objective: Objective, models: Sequence[_Model]) -> None:
    """Choose the best candidate of each model by the objective over all rows: one pass."""
    if not models:
        return
    candidates = [model.candidates() for model in models]
    owners = [model.number for model, each in zip(models, candidates, strict=True) for _ in each]
    values, _ = objective.value_and_gradient(np.concatenate(candidates), models=owners)
    for model, coefs in zip(models, candidates, strict=True):
        mine, values = values[: len(coefs)], values[len(coefs) :]
        totals = [
            float(value) + model.penalty.value(coef)
            for value, coef in zip(mine, coefs, strict=True)
        ]
        # a value that is not finite is never the best, but it is told if there is no other
        best = int(np.argmin(np.where(np.isfinite(totals), totals, np.inf)))
        model.choose(coefs[best], totals[best])


def _ask(objective: Objective, models: Sequence[_Model]) -> list[Answer]:
    """Answer the queries of models in as few passes as there are kinds of them."""
    answers: dict[int, Answer] = {}
    queries = [model.query() for model in models]
    kinds: dict[tuple[bool, float, tuple[int, ...]], list[int]] = {}
    for i, query in enumerate(queries):
        if query.anchor is not None:
            answers[i] = _near(objective, query)
            continue
        kinds.setdefault((query.local is None, query.fraction, query.seed), []).append(i)
    for (gradient, fraction, seed), members in kinds.items():
        asking = [queries[i] for i in members]
        numbers = [models[i].number for i in members]
        if gradient:
            found = _gradients(objective, asking, numbers, fraction, seed)
        else:
            values, results = objective.local_update(
                np.stack([query.coef for query in asking]),
                [models[i].penalty for i in members],
                [query.local for query in asking if query.local is not None],
                seed,
                numbers,
            )
            found = [Answer(float(v), result) for v, result in zip(values, results, strict=True)]
        answers |= dict(zip(members, found, strict=True))
    return [answers[i] for i in range(len(queries))]


def _near(objective: Objective, query: Query) -> Answer:
    """Answer a query for the loss of the near rows, and tangents of the others."""
    assert query.anchor is not None
    value, gradient, radius = objective.near(query.coef, query.smoothing, query.anchor)
    finite = bool(np.isfinite(gradient @ gradient))
    return Answer(value if finite else float("inf"), gradient, radius=radius)


def _gradients(
    objective: Objective,
    queries: Sequence[Query],
    numbers: Sequence[int],
    fraction: float,
    seed: tuple[int, ...],
) -> list[Answer]:
    """Answer queries for values and gradients, and values at further points, in one pass."""
    counts = [1 + len(query.others) for query in queries]
    ends = np.cumsum(counts)
    coef = np.stack([point for query in queries for point in (query.coef, *query.others)])
    widths = np.repeat([query.smoothing for query in queries], counts)
    values, gradients = objective.value_and_gradient(
        coef, fraction, seed, widths if widths.any() else None, np.repeat(numbers, counts).tolist()
    )
    # no solver can go on from where the gradient or its square overflows
    squares = np.einsum("ij,ij->i", gradients, gradients)
    values = np.where(np.isfinite(squares), values, np.inf)
    return [
        Answer(float(values[first]), gradients[first], others=tuple(values[first + 1 : end]))
        for first, end in zip(ends - counts, ends, strict=True)
    ]
