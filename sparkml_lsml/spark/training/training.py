"""One training from rows to models: what the linear estimators and the searches share."""

import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.solvers import Iteration, Reason
from sparkml_lsml.errors import DivergedError
from sparkml_lsml.spark.cluster.interrupts import heeded
from sparkml_lsml.spark.cluster.jobs import JobGroup, surrounding_jobs
from sparkml_lsml.spark.cluster.session import context
from sparkml_lsml.spark.cluster.sizing import parallelism
from sparkml_lsml.spark.folders.checkpoint import Checkpoint, Checkpoints
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.class_weight import BALANCED
from sparkml_lsml.spark.params.solvers import AVERAGING_SOLVERS
from sparkml_lsml.spark.rows.centring import can_centre, centred_notes
from sparkml_lsml.spark.rows.class_weights import check_class_weight, class_factors
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.rows.ingest import Factors
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from sparkml_lsml.spark.rows.shared import ResidentRows, frame_of, remembered
from sparkml_lsml.spark.rows.validating import TRAINED, validation_notes
from sparkml_lsml.spark.training.batch import Batch, batches, minimise
from sparkml_lsml.spark.training.custom_losses import check_losses
from sparkml_lsml.spark.training.custom_networks import check_networks
from sparkml_lsml.spark.training.fingerprints import fingerprint_of
from sparkml_lsml.spark.training.member import Member
from sparkml_lsml.spark.training.memory import check_memory
from sparkml_lsml.spark.training.plan import ingest_plan, local_bytes, rows_are_sorted
from sparkml_lsml.spark.training.trainable import Trainable
from sparkml_lsml.spark.watching.callbacks import Fit, ModelOfFit, Watch
from sparkml_lsml.spark.watching.progress import progress_of

log = logging.getLogger("sparkml_lsml")

Array = npt.NDArray[np.float64]


class Training:
    """The rows of one training, packed, and the models that are fitted to them.

    A context manager: rows are released on every way out, checkpoints removed after success.

    Parameters
    ----------
    params : the estimator
        Says which columns to pack, how, where checkpoints are kept, and what is called as fits go
        on; those of the models agree with it.
    rows : DataFrame or ResidentRows
    task : {"binary", "multiclass", "regression"}, optional
        Which labels are valid; by default that of the estimator.
    classes : int
        Number of classes that are known before the rows are read.
    **plan
        Fields of the `IngestPlan` that are not the estimator's.

    Attributes
    ----------
    blocks : ResidentBlocks
    report : Report
        What was learned of the rows, those of a validation aside, while they were packed.

    Raises
    ------
    DataError, ColumnError
        If the rows cannot be trained on.
    PersistenceError
        If ``checkpointDir`` cannot be written to.
    """

    @heeded()
    def __init__(
        self,
        params: Trainable,
        rows: DataFrame | ResidentRows,
        task: Task | None = None,
        *,
        classes: int = 0,
        **plan: Any,
    ) -> None:
        self._started = time.perf_counter()
        # duals are files beside the blocks, which would meet those of another fit
        alone = params.value("solver") == "cocoa"
        self._resident = rows if isinstance(rows, ResidentRows) and not alone else None
        dataset = frame_of(rows)
        own = ingest_plan(
            params.settings(), dataset, task or params._task(), centre=can_centre(params)
        )
        self._plan = replace(own, **plan)
        self._dataset = dataset
        self._callbacks = params.callbacks
        self._declared = DeclaredClasses()
        if self._plan.task != "regression":
            self._declared = DeclaredClasses.of(dataset, self._plan.label)
        self._notes: tuple[str, ...] = ()
        self._warned: set[str] = set()
        self._checkpoints = Checkpoints(
            dataset.sparkSession,
            params.value("checkpointDir"),
            params.value("checkpointInterval"),
            self._plan.name,
        )
        self._plan = replace(self._plan, factors=self._factors(params, rows))
        # around those of the blocks, which are packed anew where they are shuffled
        self._jobs = JobGroup(context(dataset), self._plan.name, surrounding_jobs())
        self._progress = progress_of(dataset.sparkSession, self._plan.name, self._jobs.tag)
        try:
            self.blocks = self._pack(dataset, self._resident)
            try:
                check_class_weight(params, self.report, classes)
            except BaseException:
                self.blocks.release()
                raise
        except BaseException as error:
            self._progress.close(error)
            raise

    def _pack(self, dataset: DataFrame, resident: ResidentRows | None = None) -> ResidentBlocks:
        with self._jobs.around():
            if resident is not None:
                return resident.blocks(self._plan)
            return ResidentBlocks.pack(dataset, self._plan)

    def _factors(self, params: Trainable, rows: DataFrame | ResidentRows) -> Factors | None:
        def find() -> Factors | None:
            return class_factors(params, self._dataset, self._plan.name)

        def count() -> Factors | None:
            self._notes += ("the classes were counted first, which took a read of the rows",)
            return find()

        if not params.hasParam("classWeight") or params.value("classWeight") != BALANCED:
            return find()
        columns = self._plan.label, self._plan.weight, self._plan.validation
        return remembered(rows, (BALANCED, *columns), count)

    @property
    def factors(self) -> Factors | None:
        """By label, what the weights of its rows were multiplied by."""
        return self._plan.factors

    def __enter__(self) -> Self:
        self._heeded = heeded()
        self._heeded.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # the last first, and each of them whatever becomes of the others
        with contextlib.ExitStack() as stack:
            stack.callback(self._heeded.__exit__, kind, error, trace)
            stack.callback(self._checkpoints.__exit__, kind, error, trace)
            stack.callback(self.blocks.release)
            stack.callback(self._progress.close, error)

    @property
    def report(self) -> Report:
        """See the class."""
        report = self.blocks.report
        return report.folds[TRAINED] if self._plan.validation else report

    def shuffle_for(self, estimators: Sequence[Trainable]) -> None:
        """Shuffle rows that are sorted by label for estimators whose solvers average models.

        Models of partitions that each hold one class average to nothing useful.
        """
        if self.sorted and any(
            self.member(each).problem.solver in AVERAGING_SOLVERS for each in estimators
        ):
            self.shuffle()

    @property
    def sorted(self) -> bool:
        """Whether rows are in several blocks, sorted by label."""
        return not self.blocks.local and rows_are_sorted(self.report)

    def shuffle(self) -> None:
        """Shuffle the rows, and pack them again."""
        self.blocks.release()
        partitions = parallelism(context(self._dataset))
        self.blocks = self._pack(self._dataset.repartition(partitions))
        self._notes += (f"rows were sorted by label: shuffled once into {partitions} partitions",)
        log.warning("%s: %s", self._plan.name, self._notes[-1])

    def member(
        self,
        estimator: Trainable,
        report: Report | None = None,
        *,
        held_out: int = -1,
        replicate: int = -1,
        positive: int = -1,
        rows: DataFrame | None = None,
    ) -> Member:
        """A model that is to be fitted to the rows, with the problem that its estimator poses.

        Parameters
        ----------
        estimator : Trainable
            One with checked Params, which agrees in all that the ingest depends on.
        report : Report, optional
            Of the rows that it is trained on; all by default.
        held_out, replicate, positive, rows
            See `Member`.
        """
        report = self.report if report is None else report
        # a class against the rest is one of two, whatever the column of labels declares
        declared = self._declared if positive < 0 else DeclaredClasses()
        problem = estimator.problem(report, declared)
        return Member(estimator, problem, report, held_out, replicate, positive, rows)

    def models(self, members: Sequence[Member]) -> list[Any]:
        """Models, in as few passes as their layouts allow.

        Raises
        ------
        DivergedError
            If one of them diverged, once all are done.
        """
        found = self.solve(members)
        raise_diverged(found)
        return found

    def solve(self, members: Sequence[Member]) -> list[Any]:
        """The same, with a `DivergedError`, which names the iteration, in place of such a model."""
        with self.watch(members) as watch:
            return self._solve(members, watch)

    def watch(self, members: Sequence[Member]) -> Watch:
        """What tells callbacks, and the line of progress, how the models get on."""
        where, _ = _execution(self._plan, self.blocks)
        models = tuple(map(ModelOfFit.of, members))
        fit = Fit(self._plan.name, models, self._rows, self.report.longest, where)
        return Watch((*self._callbacks, self._progress), fit)

    def _solve(self, members: Sequence[Member], watch: Watch) -> list[Any]:
        results: list[Any] = [None] * len(members)
        blocks, name = self.blocks, self._plan.name
        check_losses([member.problem.loss for member in members], blocks, name)
        check_networks([member.predictor for member in members], blocks, name)
        for warning in dict.fromkeys(w for member in members for w in member.problem.warnings):
            if warning not in self._warned:
                self._warned.add(warning)
                log.warning("%s: %s", name, warning)
        validated = self._plan.validation is not None
        where, why = _execution(self._plan, blocks)
        for batch in batches(members):
            number = len(batch.members)
            shared = (f"one of {number} models that shared their passes",) * (number > 1)
            before = blocks.sent
            if not blocks.local:
                size = batch.predictor.layout.size
                check_memory(context(self._dataset), name, size, number)
            found = minimise(
                batch,
                blocks,
                name,
                self._checkpoint(batch),
                validated=validated,
                callback=partial(_tell, watch, batch.numbers),
            )
            for k, member, coef, solution in zip(
                batch.numbers, batch.members, found.coefficients, found.solutions, strict=True
            ):
                reason = solution.reason
                if reason.name == "diverged" or not np.isfinite(coef).all():
                    diverged = Reason("diverged", reason.iteration, reason.detail)
                    results[k] = DivergedError(f"{name}: {diverged}")
                    continue
                if reason.fell_short:
                    log.warning("%s: %s", name, reason)
                kept = validation_notes(solution.best, blocks.rows - self._rows)
                centred = centred_notes(member.report.origin, member.layout, coef)
                summary = TrainingSummary(
                    history=solution.history,
                    objective=solution.objective,
                    reason=reason,
                    solver=member.problem.solver,
                    solver_reason=member.problem.solver_reason,
                    execution=where,
                    execution_reason=why,
                    rows=self._rows,
                    features=member.layout.features,
                    partitions=blocks.partitions,
                    nbytes=blocks.nbytes,
                    ingest_seconds=blocks.seconds,
                    seconds=time.perf_counter() - self._started,
                    passes=found.passes,
                    sent=blocks.sent - before,
                    reading=blocks.reading,
                    notes=(
                        *self._notes,
                        *blocks.notes,
                        *member.problem.warnings,
                        *centred,
                        *found.notes,
                        *kept,
                        *shared,
                    ),
                )
                watch.summaries[k] = summary
                results[k] = member.model(coef, summary, solution)
        return results

    @property
    def _rows(self) -> int:
        """Rows that are trained on."""
        moments = self.report.label_moments
        return self.blocks.rows if moments is None else moments.rows

    def _checkpoint(self, batch: Batch) -> Checkpoint | None:
        """Where a batch keeps how far it is; None if it keeps nothing."""
        if not self._checkpoints.kept or batch.direct:
            return None  # the normal equations take one pass: there is nothing to go on from
        return self._checkpoints.of(
            fingerprint_of(batch, self._plan, self._dataset, self.blocks, self.report)
        )


def _tell(watch: Watch, numbers: Sequence[int], line: Iteration, number: int) -> bool:
    """Tell of an iteration of a model, which has this number in its batch."""
    return watch.iteration(numbers[number], line)


def fit_linear(estimators: Sequence[Trainable], rows: DataFrame | ResidentRows) -> list[Any]:
    """Read the rows once, pose the problems of all models, and minimise them in shared passes.

    Parameters
    ----------
    estimators : sequence of Trainable
        With checked Params, which agree in all that the ingest depends on.
    rows : DataFrame or ResidentRows

    Returns
    -------
    list of models
        A `DivergedError`, which names the iteration, in place of one that diverged.

    Raises
    ------
    DataError, ColumnError
        If the rows cannot be trained on.
    """
    centre = all(map(can_centre, estimators))
    small = local_bytes(estimators)
    dataset = frame_of(rows)
    if any(each.value("solver") == "cocoa" for each in estimators):
        rows = dataset
    with Training(estimators[0], rows, centre=centre, local_bytes=small) as training:
        training.shuffle_for(estimators)
        members = [training.member(each, rows=dataset) for each in estimators]
        return training.solve(members)


def raise_diverged(found: Sequence[Any]) -> None:
    """Raise the first `DivergedError` that stands in place of a model."""
    for model in found:
        if isinstance(model, DivergedError):
            raise model


def _execution(plan: IngestPlan, blocks: ResidentBlocks) -> tuple[str, str]:
    """Where passes ran, and why there."""
    where = "local" if blocks.local else "distributed"
    if plan.execution != "auto":
        return where, f"execution='{plan.execution}'"
    size = f"{blocks.nbytes / 2**20:.1f} MB"
    most = f"{plan.local_bytes / 2**20:g} MB"
    return where, f"{size} fit the driver" if blocks.local else f"{size} are more than {most}"
