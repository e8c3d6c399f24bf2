"""The roads from a source to packed rows: tasks of Spark, files read in tasks, files read here."""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from pyspark import RDD
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.pack import PackSettings
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.spark.cluster.causes import raise_for_disk
from sparkml_lsml.spark.cluster.session import context, is_local
from sparkml_lsml.spark.cluster.trees import LAST_BYTES
from sparkml_lsml.spark.rows.healing import CachedHandles
from sparkml_lsml.spark.rows.ingest import training_frame
from sparkml_lsml.spark.rows.parquet import ParquetScan, parquet_scan
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.worker.packing import HANDLE_SCHEMA, packer
from sparkml_lsml.worker.passing import collect

log = logging.getLogger("sparkml_lsml")


@dataclass(frozen=True, eq=False)
class Packed:
    """Rows that were packed by one of the roads.

    Attributes
    ----------
    report : Report
    reading : str
        Who read the rows, and why.
    handles : CachedHandles or None
        None where the rows are in this process, in the handles of the report.
    """

    report: Report
    reading: str
    handles: CachedHandles | None


def pack_rows(
    dataset: DataFrame,
    plan: IngestPlan,
    settings: PackSettings,
    partitions: int,
    cached: Callable[["RDD[Any]", str], CachedHandles],
) -> Packed:
    """Pack all rows of a frame, in one read of the source.

    Parameters
    ----------
    dataset : DataFrame
    plan : IngestPlan
    settings : PackSettings
    partitions : int
        Most partitions.
    cached : callable
        The handles of an RDD of packed rows, and the name of their folder: whoever asks for the
        rows has them from now on, and releases them when all tasks have ended.

    Raises
    ------
    DiskError
        If an executor's local disk, or the address space of its Python worker, is too small.
    """
    scan = parquet_scan(dataset, plan, partitions)
    why = scan if isinstance(scan, str) else ""
    if isinstance(scan, ParquetScan):
        reading = f"from {scan.files:,} Parquet file{'s' * (scan.files != 1)}, past Spark"
        report = _packed_here(dataset, plan, scan, settings)
        if report is not None:
            return Packed(report, reading, None)
        handles = cached(scan.packed(context(dataset), settings), settings.fit)
        report = _report_of(handles)
        why = scan.missed(report)
        if not why:
            report.row_groups = []
            return Packed(report, reading, handles)
        # what is wrong with a file is Spark's to say, in its own words
        handles.release()
        log.info("%s: rows are read by Spark: %s", plan.name, why)
        settings = replace(settings, fit=uuid.uuid4().hex)
    frame = training_frame(
        dataset, plan.features, plan.label, plan.weight, partitions, plan.fold, plan.factors
    )
    handles = cached(frame.mapInArrow(packer(settings), HANDLE_SCHEMA).rdd, settings.fit)
    return Packed(_report_of(handles), f"by Spark ({why})", handles)


def _packed_here(
    dataset: DataFrame, plan: IngestPlan, scan: ParquetScan, settings: PackSettings
) -> Report | None:
    """Pack small files in this process, where that is also the executor; None if they are not.

    A job would take longer than to read them.
    """
    if plan.execution == "distributed" or not is_local(context(dataset)):
        return None
    parts = scan.packed_here(settings, plan.local_bytes)
    if parts is None:
        return None
    report = reduce(Report.merge, parts, Report())
    nbytes = sum(handle.nbytes for _, handle in report.handles)
    if scan.missed(report) or nbytes > plan.local_bytes:
        return None
    report.row_groups = []
    return report


def _report_of(handles: CachedHandles) -> Report:
    """What all tasks have learned."""
    if not handles.partitions:
        return Report()

    def read(*, wide: bool, nbytes: int) -> Report:
        found = handles.run(collect(wide=wide), nbytes, LAST_BYTES).value
        assert isinstance(found, Report)
        return found

    try:
        report = read(wide=False, nbytes=0)
        nbytes = max((handle.report_bytes for _, handle in report.handles), default=0)
        # in a tree, and together with the handles: blocks may be packed anew meanwhile
        return read(wide=True, nbytes=nbytes) if nbytes else report
    except Exception as error:
        raise_for_disk(error)
        raise
