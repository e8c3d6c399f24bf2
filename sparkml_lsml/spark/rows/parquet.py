"""Frames that are a bare scan of Parquet files, whose tasks read the row groups themselves."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import RDD, SparkContext
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame
from pyspark.sql.types import DataType

from sparkml_lsml.engine.blocks.pack import PackSettings
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.cluster.interrupts import was_interrupted
from sparkml_lsml.spark.cluster.session import context
from sparkml_lsml.spark.rows.frames import column_field, column_of
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.worker.packing import file_packer, pack_with_folds
from sparkml_lsml.worker.reading import (
    LISTS,
    NUMBERS,
    RowGroupReader,
    SourceColumns,
    Split,
    UnreadableError,
)

SETTING = "spark.sparkml_lsml.directParquet"

BATCH = "spark.sql.execution.arrow.maxRecordsPerBatch"
"""Rows that Spark sends to Python at once. Ours are as long: sums are merged batch by batch."""

MOST_FILES = 20_000
"""More are left to Spark: the driver would send the names of all with each packing."""

FORMAT = "org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat"
IGNORING = ("ignoreCorruptFiles", "ignoreMissingFiles")
"""Options, and settings of ``spark.sql.files``, with which Spark reads what is left."""

FIELD_IDS = "spark.sql.parquet.fieldId.read.enabled"
NOT_BARE = "not a bare scan of Parquet files"
PASSING = ("Project", "Repartition", "SubqueryAlias", "View")
"""Steps of a plan that leave all rows of their only child, once Spark has optimised them."""

FILE = re.compile(r"path: (\S+), range: (\d+)-(\d+), partition values: ")
"""How Spark writes a part of a file; paths are URLs there, and have no blanks."""


class _BySparkError(Exception):
    """Why Spark has to read the rows."""


@dataclass(frozen=True)
class ParquetScan:
    """Parts of Parquet files, in the partitions that Spark would read them in.

    Attributes
    ----------
    columns : SourceColumns
    partitions : tuple of tuple of Split
    batch : int
        Rows of a batch.
    """

    columns: SourceColumns
    partitions: tuple[tuple[Split, ...], ...]
    batch: int

    @property
    def files(self) -> int:
        """Number of files."""
        return len({path for splits in self.partitions for path, _, _ in splits})

    def packed(self, sc: SparkContext, settings: PackSettings) -> "RDD[Any]":
        """One row a partition, as of a frame that `packer` has packed."""
        splits = sc.parallelize(self.partitions, len(self.partitions))
        return splits.mapPartitions(file_packer(settings, self.columns, self.batch))

    def packed_here(self, settings: PackSettings, most: int) -> list[Report] | None:
        """The reports of all partitions, with handles of rows in memory; None if not small.

        Parameters
        ----------
        settings : PackSettings
        most : int
            Bytes of rows as they are read that are small.
        """
        if sum(end - start for splits in self.partitions for _, start, end in splits) > most:
            return None
        settings = replace(settings, inline_bytes=sys.maxsize)
        reports = []
        for number, splits in enumerate(self.partitions):
            reader = RowGroupReader(splits, self.columns, self.batch)
            try:
                handle, report = pack_with_folds(_at_most(reader, most), settings)
            except (UnreadableError, MemoryError):
                return None  # tasks will find so, too, or that rows take more than their files
            report.row_groups = reader.read
            report.handles = [(number, handle)]
            reports.append(report)
        return reports

    def missed(self, report: Report) -> str:
        """Why what was read is not what Spark would have read; '' if it is.

        Each row group of each file has to be read, and once: that is all rows, whatever the parts
        of files are.
        """
        if report.unreadable:
            return report.unreadable
        found: dict[str, list[int]] = {}
        sizes: dict[str, int] = {}
        for path, groups, number in report.row_groups:
            found.setdefault(path, []).extend(groups)
            if sizes.setdefault(path, number) != number:
                return f"{path}: it was replaced while it was read"
        for path, taken in found.items():
            if sorted(taken) != list(range(sizes[path])):
                return f"{path}: its parts are not those of its {sizes[path]:,} row groups"
        return ""


def parquet_scan(dataset: DataFrame, plan: IngestPlan, partitions: int) -> ParquetScan | str:
    """How tasks are to read the rows of a frame themselves; or why Spark has to read them.

    They may where Spark would do no more than read columns of local Parquet files. Whatever else
    there is in its plan, or unknown, is left to it.

    Parameters
    ----------
    dataset : DataFrame
    plan : IngestPlan
    partitions : int
        Most partitions.

    Raises
    ------
    ParamError
        If the setting is neither true nor false.
    """
    try:
        _check_asked(dataset)
        return _scan(dataset, plan, partitions)
    except _BySparkError as why:
        return str(why)
    except Py4JError as error:  # Spark's insides, which not every platform lets Python call
        if was_interrupted(error):
            raise
        return "this platform does not tell which files it reads"


def _check_asked(dataset: DataFrame) -> None:
    found = str(dataset.sparkSession.conf.get(SETTING, "true")).lower()
    if found not in ("true", "false"):
        raise ParamError(f"{SETTING} is {found!r}: expected true or false")
    if found == "false":
        raise _BySparkError(f"{SETTING} is false")


def _scan(dataset: DataFrame, plan: IngestPlan, partitions: int) -> ParquetScan:
    if plan.fold is not None and plan.validation is None:
        raise _BySparkError("rows have the folds of a search")
    _check_plan(dataset)
    names = [plan.features] if isinstance(plan.features, str) else list(plan.features)
    features = len(names)
    names += [name for name in (plan.label, plan.weight, plan.validation) if name]
    kinds = [_kind(column_field(dataset, name, "column").dataType, name) for name in names]
    chosen = dataset.select(*(column_of(dataset, name) for name in names)).coalesce(partitions)
    execution: Any = chosen._jdf.queryExecution()
    sources = _sources(execution.optimizedPlan(), len(names))
    for source, name in zip(sources, names, strict=True):
        if source == "":
            raise _BySparkError(f"'{name}' is computed, no column of the files")
    _check_settings(dataset)
    splits = _splits(execution, context(dataset)._jvm)
    first, (label, *others) = sources[:features], sources[features:]
    return ParquetScan(
        SourceColumns(
            first[0] if isinstance(plan.features, str) else tuple(first),
            label,
            others[0] if plan.weight else None,
            others[-1] if plan.validation else None,
            dict(zip(sources, kinds, strict=True)),
            plan.factors,
        ),
        splits,
        _batch(dataset),
    )


def _check_plan(dataset: DataFrame) -> None:
    """Refuse a plan with more to it than columns before Spark optimises it, which takes time."""
    step: Any = dataset._jdf.queryExecution().analyzed()
    while (name := _name(step)) in PASSING:
        step = step.child()
    if name != "LogicalRelation":
        raise _BySparkError(f"{NOT_BARE}: found {name}")


def _kind(found: DataType, name: str) -> str:
    kind = "vector" if isinstance(found, VectorUDT) else found.simpleString()
    if kind != "vector" and kind not in NUMBERS and kind not in LISTS:
        raise _BySparkError(f"'{name}' is {kind}")
    return kind


def _sources(optimized: Any, columns: int) -> list[str]:
    """The column of the files that each column of a plan is; '' for what is computed.

    Raises
    ------
    _BySparkError
        If the plan has more to it than columns of Parquet files.
    """
    if _name(optimized) != "Repartition" or optimized.shuffle():
        raise _BySparkError(f"{NOT_BARE}: found {_name(optimized)}")
    shown = node = optimized.child()
    if _name(node) == "Project":
        shown = node.child()
    if _name(shown) != "LogicalRelation" or _name(shown.relation()) != "HadoopFsRelation":
        raise _BySparkError(f"{NOT_BARE}: found {_name(shown)}")
    relation = shown.relation()
    written = str(relation.fileFormat().getClass().getName())
    if written != FORMAT:
        raise _BySparkError(f"the files are read by {written.rpartition('.')[2]}")
    listed = node.projectList() if node is not shown else node.output()
    if listed.size() != columns:
        raise _BySparkError("the plan has other columns than were asked for")
    parted = {str(name) for name in relation.partitionSchema().fieldNames()}
    options = str(relation.options().mkString(" ; ")).lower()
    for name in IGNORING:
        if f"{name.lower()} -> true" in options:
            raise _BySparkError(f"the option {name} is true")
    found = []
    for number in range(columns):
        expression = listed.apply(number)
        if _name(expression) == "Alias":
            expression = expression.child()
        name = str(expression.name()) if _name(expression) == "AttributeReference" else ""
        if name in parted:
            raise _BySparkError(f"'{name}' is a column of partitions, not of the files")
        found.append(name)
    return found


def _check_settings(dataset: DataFrame) -> None:
    conf = dataset.sparkSession.conf
    for name in (FIELD_IDS, *(f"spark.sql.files.{name}" for name in IGNORING)):
        if str(conf.get(name, "false")).lower() == "true":
            raise _BySparkError(f"{name} is true")


def _batch(dataset: DataFrame) -> int:
    rows = int(dataset.sparkSession.conf.get(BATCH, "10000") or 10_000)
    return rows if rows > 0 else 10_000


def _splits(execution: Any, jvm: Any) -> tuple[tuple[Split, ...], ...]:
    """The parts of files that each partition reads, as Spark has planned it."""
    planned = execution.executedPlan()
    rows, leaves = planned.execute(), planned.collectLeaves()
    names = _name(rows), *(_name(leaves.apply(k)) for k in range(min(2, leaves.size())))
    if names != ("CoalescedRDD", "FileSourceScanExec"):
        raise _BySparkError(f"Spark plans to read with {', '.join(names)}")
    string_of = jvm.scala.runtime.ScalaRunTime.stringOf
    scanned = []
    count = 0
    for partition in leaves.head().inputRDD().partitions():
        files = partition.files()
        count += len(files)
        if count > MOST_FILES:
            raise _BySparkError(f"there are more than {MOST_FILES:,} parts of files")
        splits = list(_parsed(str(string_of(files, len(files)))))
        if len(splits) != len(files):
            raise _BySparkError("this platform does not tell which files it reads")
        scanned.append(splits)
    if not count:
        raise _BySparkError("there are no files")
    return tuple(
        tuple(split for number in partition.parentsIndices() for split in scanned[number])
        for partition in rows.partitions()
    )


def _parsed(told: str) -> Iterable[Split]:
    for path, start, end in FILE.findall(told):
        url = urlsplit(path)
        if url.scheme != "file" or url.netloc:
            raise _BySparkError(f"the files are on {url.scheme or 'a file system of Spark'}")
        yield unquote(url.path), int(start), int(end)


def _at_most(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    left = most
    for batch in batches:
        left -= batch.nbytes
        if left < 0:
            raise MemoryError
        yield batch


def _name(node: Any) -> str:
    return str(node.getClass().getSimpleName())
