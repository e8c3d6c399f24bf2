"""Resident blocks: the rows of one fit, packed once and kept where the executors are."""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pyspark import RDD, SparkContext, StorageLevel
from pyspark.sql import Column, DataFrame

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.origin import Origin, close_columns
from sparkml_lsml.engine.blocks.pack import PackSettings
from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.blocks.pack import PackSettings, Report, Task
from sparkml_lsml.engine.objective import LocalBlocks
from sparkml_lsml.engine.passes import Pass, RangePass, RangeSum, SamplePass
from sparkml_lsml.errors import BackendError, DataError, NoRowsError, SourceChangedError
from sparkml_lsml.spark.cluster.broadcasts import broadcast, broadcast_bytes
from sparkml_lsml.spark.cluster.causes import raise_for_disk, raise_for_loss, raise_for_source
from sparkml_lsml.spark.cluster.checks import check_executors
from sparkml_lsml.spark.cluster.jobs import JobGroup, surrounding_jobs
from sparkml_lsml.spark.cluster.session import context, flag
from sparkml_lsml.spark.cluster.sizing import executors, most_partitions, parallelism
from sparkml_lsml.spark.cluster.sweep import forget_blocks, remove_files
from sparkml_lsml.spark.cluster.trees import LAST_BYTES, aggregate
from sparkml_lsml.spark.rows.centring import lost_notes, rounded_notes
from sparkml_lsml.spark.rows.ingest import (
    Factors,
    raise_for_problems,
    training_frame,
)
from sparkml_lsml.spark.rows.validating import TRAINED, check_validation
from sparkml_lsml.worker.packing import HANDLE_SCHEMA, packer
from sparkml_lsml.worker.passing import Identity, collect, run_pass
from sparkml_lsml.worker.totals import PartitionFunction, Total

log = logging.getLogger("sparkml_lsml")

LOCAL_BYTES = 32 * 2**20
"""Data that packs to this or less is solved on the driver: a Spark job costs more than a pass."""

REBUILDS = 3
"""Times that all blocks are packed anew in one pass before the fit gives up."""

Execution = Literal["auto", "local", "distributed"]


@dataclass(frozen=True)
class IngestPlan:
    """Which columns of a frame to pack, and how.

    Parameters
    ----------
    features, label : str
    weight : str or None
    task : {"binary", "multiclass", "regression"}
    dtype : {"float64", "float32"}
    execution : {"auto", "local", "distributed"}
        Where passes run: ``auto`` takes the driver for data of at most 32 MB.
    depth : int
        Levels of the aggregation tree, at most.
    name : str
        What jobs are called.
    fold : Column or None
        Number of the fold that a row is held out in.
    folds : int
        Number of folds, 0 without.
    validation : str or None
        Column of booleans that the folds 0 and 1 come from.
    factors : dict, optional
        By label, what the weights of its rows are multiplied by.
    ordered : bool
        Whether the places of rows decide what a model sees of them: a block that is packed again
        in another order is then another block.
    centre : bool
        Whether columns whose values lie close together, and far from zero, may be packed less an
        `Origin`: only an intercept takes up what that changes.
    """

    features: str
    label: str
    weight: str | None
    task: Task
    dtype: str = "float64"
    execution: Execution = "auto"
    depth: int = 2
    name: str = "fit"
    fold: Column | None = None
    folds: int = 0
    validation: str | None = None
    factors: Factors | None = None
    ordered: bool = False
    centre: bool = False


class ResidentBlocks:
    """The blocks of one fit; a context manager that releases them on every way out.

    Attributes
    ----------
    report : Report
        What was learned of the rows while they were packed.
    seconds : float
        Seconds that the packing took.
    local : bool
        Whether the rows came to the driver.
    passes : int
        Passes that were run over the blocks.
    notes : tuple of str
        What a summary is to say of the packing.

    Raises
    ------
    DataError, ColumnError
        If the rows cannot be trained on.
    DiskError
        If an executor's local disk, or the address space of its Python worker, is too small.
    """

    def __init__(self, dataset: DataFrame, plan: IngestPlan) -> None:
        started = time.perf_counter()
        self._dataset, self._plan = dataset, plan
        self._sc: SparkContext = context(dataset)
        self._jobs = JobGroup(self._sc, plan.name, surrounding_jobs())
        self._encrypted = flag(self._sc, "spark.io.encryption.enabled")
        self._fit = uuid.uuid4().hex
        self._rdd: RDD[Any] | None = None
        self._local: LocalBlocks | None = None
        self._known: dict[int, tuple[Identity, str]] = {}
        self._weight = 0.0
        self._nbytes = 0
        self.passes = 0
        self._written = False
        self._executors = executors(self._sc)
        self.sent = 0
        self.notes: tuple[str, ...] = ()
        try:
            check_executors(self._sc)
            self.report = self._ingest()
            self._check()
            self._centre()
            if self._bring_home():
                self._release_rdd()
        except BaseException:
            self.release()
            raise
        self.seconds = time.perf_counter() - started

    def __enter__(self) -> "ResidentBlocks":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def local(self) -> bool:
        """Whether the rows are in the driver's memory."""
        return self._local is not None

    @property
    def partitions(self) -> int:
        """Number of blocks that have rows."""
        return 1 if self.local else len(self._known)

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
        sums (see `aggregate`) are merged in the order of the partitions.

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
        with broadcast(self._sc, (task, self._known)) as sent, self._jobs.job(description):
            try:
                total = self._run(run_pass(sent), task.nbytes, small)
                self.sent += self._executors * broadcast_bytes(sent) + total.nbytes
                return total.value
            except Exception as error:
                raise_for_disk(error)
                raise_for_loss(error)
                raise_for_source(error)
                raise

    def release(self) -> None:
        """End the jobs of the fit and remove its files, broadcasts and cached handles."""
        try:
            self._jobs.cancel()
        finally:  # also where somebody interrupts a second time, while the last tasks end
            self._local = None
            self._release_rdd()

    def _centre(self) -> None:
        """Pack the rows again, less an `Origin`, where columns need it.

        Which these are is known when all rows are packed. That takes a second read of the source,
        which is one more than others need.
        """
        plan, report = self._plan, self.report
        trained = report.folds[TRAINED] if plan.validation is not None else report
        assert trained.moments is not None
        columns = close_columns(trained.moments, plan.dtype)
        if not plan.centre:
            self.notes = lost_notes(trained.moments, columns)
            return
        origin = None
        if len(columns):
            ranges: RangeSum = self.run(RangePass(columns), f"{plan.name} ranges")
            differ = (ranges.low < ranges.high) | (plan.dtype == "float32")
            if differ.any():
                origin = Origin(columns[differ], ranges.low[differ].astype(np.float64))
        if origin is None:
            self.notes = rounded_notes(trained.moments)
            return
        features = report.longest
        self._release_rdd()
        self._fit = uuid.uuid4().hex
        self.report = report = self._ingest(origin)
        self._check()
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
        self.notes = rounded_notes(trained.moments)

    def _ingest(self, origin: Origin | None = None) -> Report:
        """Pack all rows: one job, one read of the source."""
        plan, target = self._plan, most_partitions(self._sc)
        # with an execution of "distributed" nothing may stay inline, or little would be tested
        inline = 0 if plan.execution == "distributed" and not self._encrypted else LOCAL_BYTES
        settings = PackSettings(
            plan.task,
            plan.dtype,
            plan.weight is not None or plan.factors is not None,
            inline if plan.execution == "local" else inline // target,
            self._fit,
            on_disk=not self._encrypted,
            folds=plan.folds,
            ordered=plan.ordered,
            origin=origin,
        )
        report = self._pack(settings, target)
        handles = [handle for _, handle in report.handles]
        self._known = {n: (h.identity, h.folder) for n, h in report.handles if h.rows}
        self._weight = sum(handle.weight for handle in handles)
        self._nbytes = sum(handle.nbytes for handle in handles)
        self._written = any(handle.folder for handle in handles)
        return report

    def _pack(self, settings: PackSettings, partitions: int) -> Report:
        plan = self._plan
        # the source may run jobs, for its shuffles, before its RDD is there
        with self._jobs.job(f"{plan.name} ingest"):
            frame = training_frame(
                self._dataset,
                plan.features,
                plan.label,
                plan.weight,
                partitions,
                plan.fold,
                plan.factors,
            )
            packed = frame.mapInArrow(packer(settings), HANDLE_SCHEMA)
            self._rdd = packed.rdd.persist(StorageLevel.MEMORY_AND_DISK)
            if self._rdd.getNumPartitions() == 0:
                return Report()
            self._written = True  # not known otherwise until the job is done
            try:
                report = self._reports(wide=False, nbytes=0)
                nbytes = max((handle.report_bytes for _, handle in report.handles), default=0)
                if nbytes:
                    # in a tree, and together with the handles: blocks may be packed anew meanwhile
                    report = self._reports(wide=True, nbytes=nbytes)
            except Exception as error:
                raise_for_disk(error)
                raise
        return report

    def _reports(self, *, wide: bool, nbytes: int) -> Report:
        found = self._run(collect(wide=wide), nbytes, LAST_BYTES).value
        assert isinstance(found, Report)
        return found

    def _check(self) -> None:
        plan, report = self._plan, self.report
        raise_for_problems(
            report, plan.task, plan.label, plan.features, plan.weight, plan.validation
        )
        if not self._known:
            raise NoRowsError(
                f"the frame has no rows: found 0 rows in {len(report.handles)} partitions, "
                "expected at least one row to train on"
            )
        if self._weight <= 0.0:
            raise DataError(
                f"all {self.rows:,} weights in column '{plan.weight}' are 0: expected at least "
                "one positive weight"
            )
        if plan.validation is not None:
            check_validation(plan.validation, report)
        cores = parallelism(self._sc)
        if len(self._known) < cores and self.nbytes > LOCAL_BYTES:
            log.warning(
                "%s: the rows lie in %d partitions, fewer than the %d cores: repartition the "
                "frame before the fit to use them all",
                plan.name,
                len(self._known),
                cores,
            )

    def _bring_home(self) -> bool:
        """Move small data to the driver; True if it went."""
        execution, nbytes = self._plan.execution, self.nbytes
        if execution == "distributed" or (execution == "auto" and nbytes > LOCAL_BYTES):
            return False
        handles = [handle for _, handle in sorted(self.report.handles, key=lambda pair: pair[0])]
        blocks = [handle.block for handle in handles if handle.block is not None]
        if any(handle.files is not None for handle in handles):
            rows = self.run(SamplePass(), f"{self._plan.name} collect").block()
        else:
            rows = Block.concat(blocks)
        self._local = LocalBlocks([rows])
        self.passes = 0
        self.report.handles.clear()
        return True

    def _run(self, function: PartitionFunction, nbytes: int, small: int | None = None) -> Total:
        """Run a function on every partition, rebuilding blocks that were lost.

        ``nbytes`` is that of what it returns for one partition.
        """
        for _ in range(REBUILDS):
            assert self._rdd is not None
            total = aggregate(self._rdd, function, self._plan.depth, nbytes, self._plan.name, small)
            if total.changed:
                raise SourceChangedError(
                    f"partitions {sorted(total.changed)} were read again and hold other rows than "
                    "at first: the source is not deterministic (rand(), limit, files rewritten "
                    "during the fit, a join or window without a full order). Write the frame to "
                    "a table, or checkpoint() it, and fit on that"
                )
            if not total.missing:
                self._note_rebuilt(total.rebuilt)
                return total
            log.warning(
                "%s: blocks %s were lost, packing them anew", self._plan.name, total.missing
            )
            self._forget(total.missing)
        raise BackendError(
            f"{self._plan.name}: blocks of training rows were lost {REBUILDS} times in one pass. "
            "Expected executors that keep their local folders (spark.local.dir) during a fit"
        )

    def _forget(self, partitions: Iterable[int]) -> None:
        """Have Spark's lineage pack these blocks again on their next use, and no others."""
        assert self._rdd is not None
        try:
            forget_blocks(self._rdd, partitions)
        except Exception as error:  # of Spark's insides, which not every platform lets Python call
            log.warning("%s: packing all rows anew: %s", self._plan.name, error)
            # the files that are left would only take disk space until all are packed again
            self._rdd.unpersist(blocking=True)
            remove_files(self._sc, self._plan.name, self._fit)
            self._rdd.persist(StorageLevel.MEMORY_AND_DISK)

    def _note_rebuilt(self, rebuilt: Iterable[tuple[int, str]]) -> None:
        partitions = dict(rebuilt)
        for number, folder in partitions.items():
            self._known[number] = (self._known[number][0], folder)
        if partitions and self._rdd is not None:
            log.warning(
                "%s: blocks %s were lost and packed anew, with the same rows",
                self._plan.name,
                sorted(partitions),
            )
            # whoever unpersisted it would have it packed anew in every pass from now on
            self._rdd.persist(StorageLevel.MEMORY_AND_DISK)

    def _release_rdd(self) -> None:
        rdd, self._rdd = self._rdd, None
        if rdd is None:
            return
        with contextlib.suppress(Exception):  # best effort: the context may have been stopped
            rdd.unpersist(blocking=False)
        with contextlib.suppress(Exception):
            if self._written:
                remove_files(self._sc, self._plan.name, self._fit)
