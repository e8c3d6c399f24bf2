"""The loop that every solver shares."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sparkml_lsml.objective import Objective
from sparkml_lsml.penalties.elastic_net import ElasticNet
from sparkml_lsml.solvers.base import (
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
from sparkml_lsml.solvers.early_stopping import EarlyStopping


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
    rules = [early_stopping] * number if isinstance(early_stopping, EarlyStopping) else []
    if isinstance(early_stopping, Sequence):
        rules = list(early_stopping)
    for each in solvers:
        if each.needs_smooth and not objective.loss.smooth:
            raise ValueError(
                f"solver '{each.name}' needs a loss with a continuous derivative, which "
                f"'{objective.loss.name}' does not have: use solver='auto'"
            )
    if resume is None:
        states = [solvers[k].init(coef[k], objective.of(k)) for k in range(number)]
        nothing = ((),) * number, (None,) * number
        resume = Run(tuple(solvers), tuple(states), *nothing, passes=0, sent=0, seconds=0.0)
    else:
        solvers = list(resume.solvers)
        states = [state.resumed(objective.of(k)) for k, state in enumerate(resume.states)]
    histories = [list(history) for history in resume.histories]
    reasons = list(resume.reasons)
    bests: list[Best | None] = list(resume.bests) or [None] * number
    # what was done before counts as well
    started = time.perf_counter() - resume.seconds
    first_pass, first_sent = objective.passes - resume.passes, objective.sent - resume.sent
    # the first pass of a solver that estimates takes a step as well, and here none is wanted
    only_evaluate = {k for k in range(number) if solvers[k].estimates and limits[k] == 0}

    def record(k: int, validation: float) -> bool:
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
            validation,
        )
        histories[k].append(line)
        # every callback sees the line, also behind one that asks to stop
        return sum(bool(callback(line, k)) for callback in callbacks) > 0

    def validate(models: Sequence[int]) -> dict[int, float]:
        """Validation losses of models, which may be the best so far; NaN without early stopping."""
        if not rules or not models:
            return dict.fromkeys(models, float("nan"))
        coefs = np.stack([states[k].coef for k in models])
        losses = dict(
            zip(models, map(float, objective.validation_loss(coefs, models)), strict=True)
        )
        for k, loss in losses.items():
            state = states[k]
            bests[k] = rules[k].record(bests[k], state.coef, state.objective, state.iteration, loss)
        return losses

    while active := [k for k, r in enumerate(reasons) if r is None and k not in only_evaluate]:
        queries = [solvers[k].query(states[k], penalties[k]) for k in active]
        answers = _ask(objective, active, queries, penalties)
        advanced, moved = False, []
        for k, answer in zip(active, answers, strict=True):
            before = states[k]
            states[k] = state = solvers[k].step(before, answer, penalties[k])
            further = state.iteration > before.iteration
            advanced |= further
            if (further or not histories[k]) and np.isfinite(state.objective):
                moved.append(k)
        validation = validate(moved)
        for k in active:
            state, best = states[k], bests[k]
            stop = k in validation and record(k, validation[k])
            reasons[k] = solvers[k].terminate(state)
            if reasons[k] is None and best is not None and rules[k].stops(best):
                reasons[k] = Reason("early_stopping", state.iteration)
            if reasons[k] is None and stop:
                reasons[k] = Reason("callback", state.iteration)
            if reasons[k] is None and state.iteration >= limits[k]:
                reasons[k] = Reason("max_iter", state.iteration)
        if keep is not None and advanced:
            keep(
                Run(
                    tuple(solvers),
                    tuple(states),
                    tuple(tuple(history) for history in histories),
                    tuple(reasons),
                    objective.passes - first_pass,
                    objective.sent - first_sent,
                    time.perf_counter() - started,
                    tuple(bests) if rules else (),
                )
            )
    for k, best in enumerate(bests):
        if best is not None:
            states[k] = replace(states[k], coef=best.coef, objective=best.objective)
    if estimating := [k for k in range(number) if solvers[k].estimates]:
        chosen = [bests[k] for k in estimating]
        candidates = [
            states[k].candidates if best is None else best.coef[None, :]
            for k, best in zip(estimating, chosen, strict=True)
        ]
        for k, state in _evaluate(objective, estimating, states, candidates, penalties):
            states[k] = state
            if not np.isfinite(state.objective):
                reasons[k] = Reason("diverged", state.iteration)
    for k in only_evaluate:
        finite = bool(np.isfinite(states[k].objective))
        if finite:
            record(k, validate([k])[k])
        reasons[k] = Reason("max_iter" if finite else "diverged", 0)
    return [
        Solution(state.coef, state.objective, tuple(history), reason, best=best)
        for state, history, reason, best in zip(states, histories, reasons, bests, strict=True)
        if reason is not None
    ]


def _evaluate(
    objective: Objective,
    models: Sequence[int],
    states: Sequence[Any],
    candidates: Sequence[Array],
    penalties: Sequence[ElasticNet],
) -> Iterator[tuple[int, Any]]:
    """States at the best of their candidates, with the objective over all rows: one pass."""
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
            # no solver can go on from where the gradient or its square overflows
            squares = np.einsum("ij,ij->i", results, results)
            values = np.where(np.isfinite(squares), values, np.inf)
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
