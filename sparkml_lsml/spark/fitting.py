"""One fit from rows to coefficients: what the linear estimators share."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.blocks.pack import Report, Task
from sparkml_lsml.errors import DataError, DivergedError
from sparkml_lsml.layout import Layout
from sparkml_lsml.losses import Loss
from sparkml_lsml.objective import BlockObjective
from sparkml_lsml.solvers import NormalEquations, Reason, Solution, minimize
from sparkml_lsml.spark.params import (
    FIRST_ORDER_SOLVERS,
    MAX_PROXIMAL,
    HasSolverSettings,
    build_solver,
)
from sparkml_lsml.spark.resident import IngestPlan, ResidentBlocks
from sparkml_lsml.spark.session import context, parallelism
from sparkml_lsml.spark.summary import TrainingSummary
from sparkml_lsml.standardization import standardize

log = logging.getLogger("sparkml_lsml")

Array = npt.NDArray[np.float64]

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
    label_scale : float
        Standard deviation of the label of a regression, otherwise 1.
    sample_moments : bool
        Whether standard deviations are those of a sample (n - 1) or of the population (n).
    start : callable, optional
        Takes the layout and returns coefficients in the solver's units, shape (size,).
    """

    loss: Loss
    outputs: int
    l1: float
    l2: float
    solver: str
    solver_reason: str
    label_scale: float = 1.0
    sample_moments: bool = True
    start: Callable[[Layout], Array] | None = None


@dataclass(frozen=True, eq=False)
class LinearFit:
    """The result of a fit, in the units of the rows.

    Attributes
    ----------
    coefficients : array of shape (outputs, features)
    intercepts : array of shape (outputs,)
    constants : array of shape (constants of the loss,)
    summary : TrainingSummary
    """

    coefficients: Array
    intercepts: Array
    constants: Array
    summary: TrainingSummary


def fit_linear(
    params: HasSolverSettings,
    dataset: DataFrame,
    task: Task,
    pose: Callable[[ResidentBlocks], Problem],
) -> LinearFit:
    """Read the rows, pose the problem, and minimise it.

    Parameters
    ----------
    params : the estimator, with Params that are checked
    dataset : DataFrame
    task : {"binary", "multiclass", "regression"}
    pose : callable
        Makes the problem from the blocks.

    Raises
    ------
    DataError, ColumnError
        If the rows cannot be trained on.
    DivergedError
        If the solver diverged; its message names the iteration.
    """
    started = time.perf_counter()
    name = type(params).__name__
    plan = IngestPlan(
        features=params.value("featuresCol"),
        label=params.value("labelCol"),
        weight=params.value("weightCol") or None,
        task=task,
        dtype=params.value("dtype"),
        execution=params.value("execution"),
        depth=params.value("aggregationDepth"),
        name=name,
    )
    blocks = ResidentBlocks(dataset, plan)
    notes: tuple[str, ...] = ()
    try:
        problem = pose(blocks)
        if problem.solver == "sgd" and not blocks.local and rows_are_sorted(blocks.report):
            # models of partitions that each hold one class average to nothing useful
            blocks.release()
            partitions = parallelism(context(dataset))
            blocks = ResidentBlocks(dataset.repartition(partitions), plan)
            problem = pose(blocks)
            notes = (f"rows were sorted by label: shuffled once into {partitions} partitions",)
            log.warning("%s: %s", name, notes[0])
        coef, solution, objective = _minimise(params, blocks, problem)
        where, why = _execution(plan, blocks)
        partitions = blocks.partitions
    finally:
        blocks.release()
    layout = objective.layout
    reason = solution.reason
    if reason.name == "diverged" or not np.isfinite(coef).all():
        raise DivergedError(f"{name}: {Reason('diverged', reason.iteration)}")
    if reason.name == "max_iter":
        log.warning("%s: %s", name, reason)
    summary = TrainingSummary(
        history=solution.history,
        objective=solution.objective,
        reason=reason,
        solver=problem.solver,
        solver_reason=problem.solver_reason,
        execution=where,
        execution_reason=why,
        rows=blocks.rows,
        features=layout.features,
        partitions=partitions,
        nbytes=blocks.nbytes,
        ingest_seconds=blocks.seconds,
        seconds=time.perf_counter() - started,
        passes=objective.passes,
        notes=notes,
    )
    intercepts = coef[layout.intercepts] if layout.fit_intercept else np.zeros(layout.outputs)
    return LinearFit(
        layout.weight_matrix(coef[None, :])[0], intercepts, coef[layout.extras], summary
    )


def rows_are_sorted(report: Report) -> bool:
    """Whether the mean label differs so much between partitions that rows must be sorted by it."""
    if report.label_moments is None or len(report.label_means) < 2:
        return False
    weights, means = np.array(report.label_means).T
    total = weights.sum()
    variance = float(report.label_moments.variance(sample=False)[0])
    between = float(weights @ np.square(means - weights @ means / total)) / total
    return between > SORTED_SHARE * variance


def _minimise(
    params: HasSolverSettings, blocks: ResidentBlocks, problem: Problem
) -> tuple[Array, Solution, BlockObjective]:
    """Coefficients for the stored features, the solution, and the objective it came from."""
    moments = blocks.report.moments
    if moments is None:  # pragma: no cover - blocks with rows always have moments
        raise AssertionError("no moments of the features")
    mean, deviation = moments.mean(), np.sqrt(moments.variance(problem.sample_moments))
    overflow = np.flatnonzero(~np.isfinite(mean) | ~np.isfinite(deviation))
    if len(overflow):
        raise DataError(
            f"{len(overflow)} features, the first of them number {overflow[0]}, have values so "
            "large that their variance overflows: rescale them to below 1e150"
        )
    standardized = params.value("standardization")
    layout = Layout(
        features=len(mean),
        outputs=problem.outputs,
        fit_intercept=params.value("fitIntercept"),
        constants=len(problem.loss.constants),
    )
    standardization = standardize(
        layout,
        mean,
        deviation,
        curvature=problem.loss.curvature,
        l2=problem.l2,
        standardized=standardized,
        label_scale=problem.label_scale,
        about_zero=problem.solver in FIRST_ORDER_SOLVERS,
    )
    objective = BlockObjective(blocks, problem.loss, layout, standardization, type(params).__name__)
    penalty = standardization.penalty(problem.l1, problem.l2, deviation if standardized else 1.0)
    if problem.solver == "normal":
        labels = blocks.report.label_moments
        label_mean = 0.0 if labels is None else float(labels.mean()[0])
        solver = NormalEquations(tol=params.value("tol"))
        solution = solver.solve(objective, penalty, label_mean)
    else:
        start = np.zeros(layout.size) if problem.start is None else problem.start(layout)
        [solution] = minimize(
            objective,
            penalty,
            build_solver(problem.solver, params, layout.size),
            start[None, :],
            max_iter=params.value("maxIter"),
        )
    return standardization.to_stored(solution.coef[None, :])[0], solution, objective


def _execution(plan: IngestPlan, blocks: ResidentBlocks) -> tuple[str, str]:
    """Where passes ran, and why there."""
    where = "local" if blocks.local else "distributed"
    if plan.execution != "auto":
        return where, f"execution='{plan.execution}'"
    size = f"{blocks.nbytes / 2**20:.1f} MB"
    return where, f"{size} fit the driver" if blocks.local else f"{size} are more than 32 MB"


def choose_solver(
    params: HasSolverSettings, smooth: bool, l1: float, coefficients: int
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
    """
    asked: str = params.value("solver")
    why = "auto" if asked == "auto" else f"solver='{asked}'"
    if asked not in ("auto", "l-bfgs"):
        return asked, why
    if not smooth:
        return "smoothed-l-bfgs", f"{why}: the loss has kinks"
    if l1 == 0.0:
        return "l-bfgs", f"{why}: the loss is smooth and the penalty is L2"
    if coefficients <= MAX_PROXIMAL:
        return "proximal-l-bfgs", f"{why}: an L1 penalty and few coefficients"
    return "l-bfgs", f"{why}: OWL-QN, for an L1 penalty and many coefficients"
