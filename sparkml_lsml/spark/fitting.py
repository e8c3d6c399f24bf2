"""One fit from rows to coefficients: what the linear estimators share."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.blocks.pack import Report, Task
from sparkml_lsml.errors import DataError, DivergedError, ParamError
from sparkml_lsml.layout import Layout
from sparkml_lsml.losses import Loss
from sparkml_lsml.objective import BlockObjective
from sparkml_lsml.penalties import ElasticNet
from sparkml_lsml.reweighting import HeldOut, Poisson, Reweighting
from sparkml_lsml.solvers import LBFGSB, NormalEquations, Reason, Solution, Solver, minimize
from sparkml_lsml.solvers.base import Precision
from sparkml_lsml.solvers.warm_start import sample_rows, starts_warm, warm_start
from sparkml_lsml.spark.params import (
    FIRST_ORDER_SOLVERS,
    MAX_PROXIMAL,
    HasSolverSettings,
    build_solver,
)
from sparkml_lsml.spark.resident import IngestPlan, ResidentBlocks
from sparkml_lsml.spark.session import context, parallelism
from sparkml_lsml.spark.summary import TrainingSummary
from sparkml_lsml.standardization import Box, Standardization, standardize

log = logging.getLogger("sparkml_lsml")

Array = npt.NDArray[np.float64]

BATCH_BYTES = 512 * 2**20
"""Memory of the driver for the vectors of solvers that share their passes."""

VECTORS = 30
"""Vectors of coefficients that a model of a batch holds: twice the memory of L-BFGS, and more."""

SORTED_SHARE = 0.05
"""Share of the labels' variance that lies between partitions, from which rows count as sorted."""


@dataclass(frozen=True)
class Problem:
    """What is to be minimised, once the rows are known.

    Parameters
    ----------
    loss : Loss
    outputs : int
    l1, l2 : float
        Strengths of the penalty, see `Standardization.penalty`.
    solver, solver_reason : str
        The solver, and why it was chosen.
    build : callable
        Makes the model from a `LinearFit`.
    label_scale : float
        Standard deviation of the label of a regression, otherwise 1.
    sample_moments : bool
        Whether standard deviations are those of a sample (n - 1) or of the population (n).
    start : callable, optional
        Takes the layout and returns coefficients in the solver's units, shape (size,).
    bounds : Box, optional
        On the coefficients for the stored features, for the solver ``l-bfgs-b``.
    """

    loss: Loss
    outputs: int
    l1: float
    l2: float
    solver: str
    solver_reason: str
    build: "Callable[[LinearFit], Any]"
    label_scale: float = 1.0
    sample_moments: bool = True
    start: Callable[[Layout], Array] | None = None
    bounds: Box | None = None


@dataclass(frozen=True, eq=False)
class LinearFit:
    """The result of a fit, in the units of the rows.

    Attributes
    ----------
    coefficients : array of shape (outputs, features)
    intercepts : array of shape (outputs,)
    constants : array of shape (constants of the loss,)
    summary : TrainingSummary
    layout : Layout
    precision : Precision or None
        Of the normal equations.
    """

    coefficients: Array
    intercepts: Array
    constants: Array
    summary: TrainingSummary
    layout: Layout
    precision: Precision | None = None


Pose = Callable[[Report], Problem]
"""Makes the problem of a model from what the ingest learned of the rows."""


def fit_linear(
    models: Sequence[tuple[HasSolverSettings, Pose]], dataset: DataFrame, task: Task
) -> list[Any]:
    """Read the rows once, pose the problems of all models, and minimise them in shared passes.

    Parameters
    ----------
    models : sequence of (estimator, callable)
        The estimators have checked Params, and agree in all that the ingest depends on.
    dataset : DataFrame
    task : {"binary", "multiclass", "regression"}

    Returns
    -------
    list of models, without Params
        A `DivergedError`, which names the iteration, in place of one that diverged.

    Raises
    ------
    DataError, ColumnError
        If the rows cannot be trained on.
    """
    started = time.perf_counter()
    params, name = models[0][0], type(models[0][0]).__name__
    plan = ingest_plan(params, task)
    blocks = ResidentBlocks(dataset, plan)
    notes: list[str] = []
    try:
        problems = [pose(blocks.report) for _, pose in models]
        uses_sgd = any(problem.solver == "sgd" for problem in problems)
        if uses_sgd and not blocks.local and rows_are_sorted(blocks.report):
            # models of partitions that each hold one class average to nothing useful
            blocks.release()
            partitions = parallelism(context(dataset))
            blocks = ResidentBlocks(dataset.repartition(partitions), plan)
            problems = [pose(blocks.report) for _, pose in models]
            notes = [f"rows were sorted by label: shuffled once into {partitions} partitions"]
            log.warning("%s: %s", name, notes[0])
        members = [
            Member(params, problem, blocks.report)
            for (params, _), problem in zip(models, problems, strict=True)
        ]
        results = solve(members, blocks, plan, started, tuple(notes))
    finally:
        blocks.release()
    return results


def solve(
    members: "Sequence[Member]",
    blocks: ResidentBlocks,
    plan: IngestPlan,
    started: float,
    notes: tuple[str, ...] = (),
) -> list[Any]:
    """Models of a batch, in as few passes as their layouts allow; see `fit_linear`."""
    results: list[Any] = [None] * len(members)
    where, why = _execution(plan, blocks)
    for batch in batches(members):
        shared = (f"one of {len(batch)} models that shared their passes",) * (len(batch) > 1)
        before = blocks.sent
        solved, passes, told = minimise([members[k] for k in batch], blocks, plan.name)
        for k, (coef, solution) in zip(batch, solved, strict=True):
            member, reason = members[k], solution.reason
            if reason.name == "diverged" or not np.isfinite(coef).all():
                diverged = Reason("diverged", reason.iteration)
                results[k] = DivergedError(f"{plan.name}: {diverged}")
                continue
            if reason.name == "max_iter":
                log.warning("%s: %s", plan.name, reason)
            summary = TrainingSummary(
                history=solution.history,
                objective=solution.objective,
                reason=reason,
                solver=member.problem.solver,
                solver_reason=member.problem.solver_reason,
                execution=where,
                execution_reason=why,
                rows=blocks.rows,
                features=member.layout.features,
                partitions=blocks.partitions,
                nbytes=blocks.nbytes,
                ingest_seconds=blocks.seconds,
                seconds=time.perf_counter() - started,
                passes=passes,
                sent=blocks.sent - before,
                notes=(*notes, *told, *shared),
            )
            results[k] = member.problem.build(linear_fit(member.layout, coef, summary, solution))
    return results


def ingest_plan(params: HasSolverSettings, task: Task) -> IngestPlan:
    """How an estimator wants its rows packed."""
    return IngestPlan(
        features=params.value("featuresCol"),
        label=params.value("labelCol"),
        weight=params.value("weightCol") or None,
        task=task,
        dtype=params.value("dtype"),
        execution=params.value("execution"),
        depth=params.value("aggregationDepth"),
        name=type(params).__name__,
    )


def linear_fit(
    layout: Layout, coef: Array, summary: TrainingSummary, solution: Solution
) -> LinearFit:
    """The result in the units of the rows, from coefficients of shape (layout.size,)."""
    intercepts = coef[layout.intercepts] if layout.fit_intercept else np.zeros(layout.outputs)
    weights = layout.weight_matrix(coef[None, :])[0]
    constants = coef[layout.extras]
    return LinearFit(weights, intercepts, constants, summary, layout, solution.precision)


def rows_are_sorted(report: Report) -> bool:
    """Whether the mean label differs so much between partitions that rows must be sorted by it."""
    if report.label_moments is None or len(report.label_means) < 2:
        return False
    weights, means = np.array(report.label_means).T
    total = weights.sum()
    variance = float(report.label_moments.variance(sample=False)[0])
    between = float(weights @ np.square(means - weights @ means / total)) / total
    return between > SORTED_SHARE * variance


@dataclass(frozen=True, eq=False)
class Member:
    """A model of a batch: its estimator, its problem, and what is known of its rows.

    ``held_out`` is the fold whose rows it does not see, and ``replicate`` that of a bootstrap whose
    rows it sees; -1 where it sees all. ``positive`` is the class that it tells from the rest, -1
    where labels are what they are.
    """

    params: HasSolverSettings
    problem: Problem
    report: Report
    held_out: int = -1
    replicate: int = -1
    positive: int = -1

    @property
    def layout(self) -> Layout:
        """Where its coefficients are."""
        return Layout(
            features=self.report.longest,
            outputs=self.problem.outputs,
            fit_intercept=self.params.value("fitIntercept"),
            constants=len(self.problem.loss.constants),
        )

    def units(self) -> tuple[Standardization, ElasticNet]:
        """The units that its solver works in, and the penalty in them."""
        problem, moments = self.problem, self.report.moments
        if moments is None:  # pragma: no cover - blocks with rows always have moments
            raise AssertionError("no moments of the features")
        mean, deviation = moments.mean(), np.sqrt(moments.variance(problem.sample_moments))
        overflow = np.flatnonzero(~np.isfinite(mean) | ~np.isfinite(deviation))
        if len(overflow):
            raise DataError(
                f"{len(overflow)} features, the first of them number {overflow[0]}, have values so "
                "large that their variance overflows: rescale them to below 1e150"
            )
        standardized = self.params.value("standardization")
        units = standardize(
            self.layout,
            mean,
            deviation,
            curvature=problem.loss.curvature,
            l2=problem.l2,
            standardized=standardized,
            label_scale=problem.label_scale,
            about_zero=problem.solver in FIRST_ORDER_SOLVERS,
        )
        if problem.bounds is not None:
            intercepts = self.layout.intercepts
            ends = problem.bounds.lower[intercepts], problem.bounds.upper[intercepts]
            if np.isfinite(ends).any():
                # with centred features these would be bounds on all coefficients together
                units = replace(units, shift=np.zeros_like(units.shift))
        return units, units.penalty(problem.l1, problem.l2, deviation if standardized else 1.0)

    def solver(self, units: Standardization) -> Solver:
        """The iterative solver, in these units."""
        solver = build_solver(self.problem.solver, self.params, self.layout.size)
        if self.problem.bounds is None:
            return solver
        assert isinstance(solver, LBFGSB)
        box = units.box(self.problem.bounds)
        return replace(solver, lower=box.lower, upper=box.upper)

    def stored(self, units: Standardization, coef: Array) -> Array:
        """Coefficients for the stored features, from those of the solver."""
        [stored] = units.to_stored(coef[None, :])
        bounds = self.problem.bounds
        # what is at a bound may be a digit beyond it in other units
        return stored if bounds is None else np.clip(stored, bounds.lower, bounds.upper)

    def start(self) -> Array:
        """Coefficients to start from, in the solver's units."""
        layout = self.layout
        return np.zeros(layout.size) if self.problem.start is None else self.problem.start(layout)

    def coefficients_of(self, model: Any) -> Array:
        """The coefficients of a model, in the units of this one's solver."""
        layout, (units, _) = self.layout, self.units()
        parts = [model._coefficients.reshape(-1)]
        if layout.fit_intercept:
            parts.append(model._intercepts)
        if layout.constants:
            parts.append(np.array([model.scale]))
        found: Array = units.from_stored(np.concatenate(parts)[None, :])[0]
        return found


def batches(members: Sequence[Member]) -> list[list[int]]:
    """Numbers of the models that share their passes.

    They have the same loss and layout, and for the normal equations the same rows and columns.
    Batches are split where the vectors of their solvers would take more than `BATCH_BYTES`.
    """
    found: dict[Any, list[list[int]]] = {}
    for k, member in enumerate(members):
        direct: Any = None
        if member.problem.solver == "normal":
            direct = member.held_out, member.replicate, member.params.value("standardization")
        layout = member.layout
        room = max(1, BATCH_BYTES // (8 * VECTORS * layout.size))
        group = found.setdefault((repr(member.problem.loss), layout, direct), [[]])
        if len(group[-1]) >= room:
            group.append([])
        group[-1].append(k)
    return [batch for group in found.values() for batch in group]


def minimise(
    members: Sequence[Member], blocks: ResidentBlocks, name: str
) -> tuple[list[tuple[Array, Solution]], int, tuple[str, ...]]:
    """Coefficients for the stored features and the solution of each model, passes and notes."""
    first, rows = members[0], 0
    notes: tuple[str, ...] = ()
    units, penalties = zip(*(member.units() for member in members), strict=True)
    objective = BlockObjective(
        blocks,
        first.problem.loss,
        first.layout,
        units,
        name,
        reweighting=_reweighting(members),
        classes=None if first.positive < 0 else tuple(member.positive for member in members),
    )
    if first.problem.solver == "normal":
        labels = first.report.label_moments
        label_mean = 0.0 if labels is None else float(labels.mean()[0])
        solver = NormalEquations(tol=min(member.params.value("tol") for member in members))
        solutions = solver.solve(objective, penalties, label_mean)
    else:
        solvers = [member.solver(one) for member, one in zip(members, units, strict=True)]
        start = np.stack([member.start() for member in members])
        limits = [member.params.value("maxIter") for member in members]
        if not blocks.local and min(limits) > 0 and all(map(starts_warm, solvers, penalties)):
            rows = sample_rows(objective, blocks.nbytes)
        if rows:
            start, solvers = warm_start(objective, penalties, solvers, start, rows, limits)
            notes += (f"started from the solution for a sample of some {rows:,} rows",)
        solutions = minimize(objective, penalties, solvers, start, max_iter=limits)
    coef = [
        member.stored(one, solution.coef)
        for member, one, solution in zip(members, units, solutions, strict=True)
    ]
    return list(zip(coef, solutions, strict=True)), objective.passes, notes


def _reweighting(members: Sequence[Member]) -> Reweighting | None:
    if any(member.held_out >= 0 for member in members):
        return HeldOut(tuple(member.held_out for member in members))
    if any(member.replicate >= 0 for member in members):
        seed = members[0].params.value("seed")
        return Poisson(seed, tuple(member.replicate for member in members))
    return None


def _execution(plan: IngestPlan, blocks: ResidentBlocks) -> tuple[str, str]:
    """Where passes ran, and why there."""
    where = "local" if blocks.local else "distributed"
    if plan.execution != "auto":
        return where, f"execution='{plan.execution}'"
    size = f"{blocks.nbytes / 2**20:.1f} MB"
    return where, f"{size} fit the driver" if blocks.local else f"{size} are more than 32 MB"


def choose_solver(
    params: HasSolverSettings, smooth: bool, l1: float, coefficients: int, bounded: bool = False
) -> tuple[str, str]:
    """The iterative solver of an estimator, and why.

    ``l-bfgs`` stands for the quasi-Newton method that fits the loss and the penalty.

    Parameters
    ----------
    params : the estimator
    smooth : bool
        Whether the loss has a continuous derivative.
    l1 : float
        Strength of the L1 penalty.
    coefficients : int
        Number of them.
    bounded : bool
        Whether there are bounds on them; only the quasi-Newton method takes those.

    Raises
    ------
    ParamError
        If the solver cannot minimise an objective with this penalty.
    """
    asked: str = params.value("solver")
    if asked == "cocoa" and (l1 > 0.0 or params.value("regParam") == 0.0):
        raise ParamError(
            f"{type(params).__name__}: solver='cocoa' takes an L2 penalty alone, found "
            f"regParam={params.value('regParam')!r} and "
            f"elasticNetParam={params.value('elasticNetParam')!r}: set regParam > 0 and "
            "elasticNetParam=0, or use solver='auto'"
        )
    why = "auto" if asked == "auto" else f"solver='{asked}'"
    if asked not in ("auto", "l-bfgs"):
        return asked, why
    if bounded:
        return "l-bfgs-b", f"{why}: coefficients have bounds"
    if not smooth:
        return "smoothed-l-bfgs", f"{why}: the loss has kinks"
    if l1 == 0.0:
        return "l-bfgs", f"{why}: the loss is smooth and the penalty is L2"
    if coefficients <= MAX_PROXIMAL:
        return "proximal-l-bfgs", f"{why}: an L1 penalty and few coefficients"
    return "l-bfgs", f"{why}: OWL-QN, for an L1 penalty and many coefficients"
