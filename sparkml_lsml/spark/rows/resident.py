"""Resident blocks: the rows of one fit, packed once and kept where the executors are."""

import logging
import time
import uuid
from copy import copy
from typing import Any

import numpy as np
from pyspark import RDD, SparkContext
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.origin import Origin, close_columns
from sparkml_lsml.engine.blocks.pack import PackSettings
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.objective import LocalBlocks
from sparkml_lsml.engine.passes import Pass, RangePass, RangeSum, SamplePass
from sparkml_lsml.errors import DataError, NoRowsError, SourceChangedError
from sparkml_lsml.spark.cluster.broadcasts import broadcast, broadcast_bytes
from sparkml_lsml.spark.cluster.causes import (
    raise_for_disk,
    raise_for_idle,
    raise_for_loss,
    raise_for_source,
)
from sparkml_lsml.spark.cluster.checks import check_executors
from sparkml_lsml.spark.cluster.jobs import JobGroup, surrounding_jobs
from sparkml_lsml.spark.cluster.placement import copies_wait
from sparkml_lsml.spark.cluster.reserve import disk_reserve
from sparkml_lsml.spark.cluster.session import context, flag
from sparkml_lsml.spark.cluster.sizing import (
    executors,
    most_partitions,
    parallelism,
    wait_for_executors,
)
from sparkml_lsml.spark.rows.centring import lost_notes, rounded_notes
from sparkml_lsml.spark.rows.healing import CachedHandles
from sparkml_lsml.spark.rows.ingest import raise_for_problems
from sparkml_lsml.spark.rows.packed import pack_rows
from sparkml_lsml.spark.rows.plan import LOCAL_BYTES, IngestPlan
from sparkml_lsml.spark.rows.validating import TRAINED, check_validation
from sparkml_lsml.worker.passing import Identity, run_pass

log = logging.getLogger("sparkml_lsml")

LENT = "rows were resident: packed by an earlier fit"
"""What the summary of a fit says that has read no rows."""


class ResidentBlocks:
    """The blocks of one fit, see `pack`; a context manager that releases them on every way out.

    Attributes
    ----------
    report : Report
        What was learned of the rows while they were packed.
    seconds : float
        Seconds that the packing took.
    reading : str
        Who read the rows, and why.
    passes : int
        Passes that were run over the blocks.
    sent : int
        Bytes that passes have sent between the driver and executors so far.
    """

    def __init__(self, sc: SparkContext, plan: IngestPlan) -> None:
        self.report = Report()
        self.seconds = 0.0
        self.passes = 0
        self.sent = 0
        self.reading = ""
        self._notes: tuple[str, ...] = ()
        self._sc, self._plan = sc, plan
        self._jobs = JobGroup(sc, plan.name, surrounding_jobs())
        self._executors = executors(sc)
        self._handles: CachedHandles | None = None
        self._local: LocalBlocks | None = None
        # what the driver has packed itself, as `CachedHandles.known`
        self._here: dict[int, tuple[Identity, str]] = {}
        self._nbytes = 0
        self._keep, self._before = False, (0, 0.0)

    @classmethod
    def pack(cls, dataset: DataFrame, plan: IngestPlan) -> "ResidentBlocks":
        """Pack the rows of a frame, on the executors or, where that is faster, on the driver.

        What was packed before an error is released.

        Raises
        ------
        DataError, ColumnError
            If the rows cannot be trained on.
        DiskError
            If an executor's local disk, or the address space of its Python worker, is too small.
        SourceChangedError
            If the source was read twice, and was another then.
        """
        started = time.perf_counter()
        blocks = cls(context(dataset), plan)
        try:
            wait_for_executors(blocks._sc)
            check_executors(blocks._sc)
            blocks._ingest(dataset)
            blocks._check()
            blocks._centre(dataset)
            blocks._bring_home()
        except BaseException:
            blocks.release()
            raise
        blocks.seconds = time.perf_counter() - started
        return blocks

    def __enter__(self) -> "ResidentBlocks":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def stopped(self) -> bool:
        """Whether the context that keeps them has ended."""
        return self._sc._jsc is None

    @property
    def local(self) -> bool:
        """Whether the rows are in the driver's memory."""
        return self._local is not None

    @property
    def partitions(self) -> int:
        """Number of blocks that have rows."""
        return 1 if self.local else len(self._known)

    @property
    def notes(self) -> tuple[str, ...]:
        """What summaries are to say of the rows, and of what befell their blocks so far."""
        return self._notes + (() if self._handles is None else self._handles.notes(*self._before))

    @property
    def _known(self) -> dict[int, tuple[Identity, str]]:
        return self._here if self._handles is None else self._handles.known

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(rows for (rows, _), _ in self._known.values())

    @property
    def checksum(self) -> int:
        """Of all rows, the same for every order and partitioning of them."""
        return sum(checksum for (_, checksum), _ in self._known.values()) % 2**64

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return self._nbytes

    def run(self, task: Pass, description: str, small: int | None = None) -> Any:
        """Run a pass over every block, on the executors or on the driver; the merged sum.

        Blocks that were lost with their executor are packed again first. Up to ``small`` bytes of
        sums (see `totals`) are merged in the order of the partitions.

        Raises
        ------
        DiskError
            If an executor's local disk, or the address space of its Python worker, is too small.
        SourceChangedError
            If a block that was packed again holds other rows, or the source is gone by then.
        """
        self.passes += 1
        if self._local is not None:
            self._jobs.check()
            return self._local.run(task, description)
        assert self._handles is not None
        table, elsewhere = self._handles.table, copies_wait(self._sc)
        with (
            broadcast(self._sc, (task, table)) as sent,
            self._jobs.job(description),
        ):
            try:
                function = run_pass(sent, elsewhere)
                total = self._handles.run(function, task.nbytes, small, self._jobs.check)
                self.sent += self._executors * broadcast_bytes(sent) + total.nbytes
                return total.value
            except Exception as error:
                raise_for_disk(error)
                raise_for_loss(error)
                raise_for_source(error)
                raise_for_idle(error)
                raise

    def lent(self, plan: IngestPlan, *, again: bool) -> "ResidentBlocks":
        """The same blocks for one fit, whose release leaves them; ``again`` if they were there."""
        blocks = copy(self)
        blocks._plan, blocks._keep = plan, True
        blocks._jobs = JobGroup(self._sc, plan.name, surrounding_jobs())
        blocks.passes = blocks.sent = 0
        if again and self._handles is not None:
            blocks._before = self._handles.rebuilt, self._handles.waited
        if again:
            blocks.seconds = 0.0
            blocks._notes = (*self._notes, LENT)
        return blocks

    def release(self) -> None:
        """End the jobs of the fit and remove its files, broadcasts and cached handles."""
        try:
            self._jobs.cancel()
        finally:  # also where somebody interrupts a second time, while the last tasks end
            self._local = None
            if not self._keep:
                self._drop()

    def _drop(self) -> None:
        if self._handles is not None:
            self._handles.release()

    def _ingest(self, dataset: DataFrame, origin: Origin | None = None) -> None:
        """Pack all rows: one job, one read of the source."""
        plan = self._plan
        partitions = most_partitions(self._sc)
        encrypted = flag(self._sc, "spark.io.encryption.enabled")
        # with an execution of "distributed" nothing may stay inline, or little would be tested
        inline = 0 if plan.execution == "distributed" else plan.local_bytes
        if encrypted:
            inline = LOCAL_BYTES
        settings = PackSettings(
            plan.task,
            plan.dtype,
            plan.weight is not None or plan.factors is not None,
            inline if plan.execution == "local" else inline // partitions,
            uuid.uuid4().hex,
            encrypted=encrypted,
            reserve=disk_reserve(dataset.sparkSession),
            folds=plan.folds,
            ordered=plan.ordered,
            origin=origin,
            moments=plan.moments,
            assembled=plan.assembled,
        )
        # the source may run jobs, for its shuffles, before its RDD is there
        with self._jobs.job(f"{plan.name} ingest"):
            packed = pack_rows(dataset, plan, settings, partitions, self._cached)
        self.report, self.reading, self._handles = packed.report, packed.reading, packed.handles
        handles = packed.report.handles
        self._nbytes = sum(handle.nbytes for _, handle in handles)
        if packed.handles is not None:
            packed.handles.note(handles)
            return
        self._here = {number: (each.identity, "") for number, each in handles if each.rows}
        blocks = [each.block for _, each in handles if each.block is not None]
        self._local = LocalBlocks([Block.concat(blocks)]) if blocks else None

    def _cached(self, packed: "RDD[Any]", fit: str) -> CachedHandles:
        plan = self._plan
        self._handles = CachedHandles(packed, fit, plan.depth, plan.name, self._jobs.check)
        return self._handles

    def _check(self) -> None:
        plan, report = self._plan, self.report
        columns = plan.label, plan.features, plan.weight, plan.validation
        raise_for_problems(report, plan.task, *columns)
        if not self._known:
            raise NoRowsError(
                f"the frame has no rows: found 0 rows in {len(report.handles)} partitions, "
                "expected at least one row to train on"
            )
        if sum(handle.weight for _, handle in report.handles) <= 0.0:
            raise DataError(
                f"all {self.rows:,} weights in column '{plan.weight}' are 0: expected at least "
                "one positive weight"
            )
        if plan.validation is not None:
            check_validation(plan.validation, report)
        cores = parallelism(self._sc)
        if len(self._known) < cores and self.nbytes > plan.local_bytes:
            log.warning(
                "%s: the rows lie in %d partitions, fewer than the %d cores: repartition the "
                "frame before the fit to use them all",
                plan.name,
                len(self._known),
                cores,
            )

    def _centre(self, dataset: DataFrame) -> None:
        """Pack the rows again, less an `Origin`, where columns need it.

        Which these are is known when all rows are packed. That takes a second read of the source,
        which is one more than others need.
        """
        plan, report = self._plan, self.report
        if not plan.moments:
            return
        trained = report.folds[TRAINED] if plan.validation is not None else report
        assert trained.moments is not None
        columns = close_columns(trained.moments, plan.dtype)
        if not plan.centre:
            self._notes = lost_notes(trained.moments, columns)
            return
        origin = None
        if len(columns):
            ranges: RangeSum = self.run(RangePass(columns), f"{plan.name} ranges")
            differ = (ranges.low < ranges.high) | (plan.dtype == "float32")
            if differ.any():
                origin = Origin(columns[differ], ranges.low[differ].astype(np.float64))
        if origin is None:
            self._notes = rounded_notes(trained.moments)
            return
        features = report.longest
        self._drop()
        self._ingest(dataset, origin)
        self._check()
        report = self.report
        if report.longest != features:
            raise SourceChangedError(
                f"the source was read twice, and gave rows of {features:,} features and then of "
                f"{report.longest:,}: write the frame to a table, or checkpoint() it, and fit on "
                "that"
            )
        for one in (report, *report.folds):
            one.origin = origin
        trained = report.folds[TRAINED] if plan.validation is not None else report
        assert trained.moments is not None
        self._notes = rounded_notes(trained.moments)

    def _bring_home(self) -> None:
        """Move small data to the driver."""
        execution = self._plan.execution
        if execution == "distributed":
            return
        if self._local is not None:
            self.passes = 0
            self.report.handles.clear()
            return
        if execution == "auto" and self.nbytes > self._plan.local_bytes:
            return
        handles = [handle for _, handle in sorted(self.report.handles, key=lambda pair: pair[0])]
        blocks = [handle.block for handle in handles if handle.block is not None]
        if any(handle.files is not None for handle in handles):
            rows = self.run(SamplePass(), f"{self._plan.name} collect").block()
        else:
            rows = Block.concat(blocks)
        self._local = LocalBlocks([rows])
        self.passes = 0
        self.report.handles.clear()
        self._drop()
