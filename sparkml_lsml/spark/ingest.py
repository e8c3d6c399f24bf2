"""From a DataFrame to packed blocks: columns, the road into Arrow, and errors about rows."""

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyspark.sql.functions as F
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import DenseVector, VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DoubleType,
    FloatType,
    NumericType,
)

from sparkml_lsml.blocks.pack import PROBLEMS, Handle, PackSettings, Report, Task, pack
from sparkml_lsml.errors import ColumnError, ColumnTypeError, DataError

HANDLE_SCHEMA = "handle binary, report binary"

SMALL_REPORT = 64 * 1024
"""Bytes of a report that may stay in the cached row of its block."""

MAX_DENSE_ROUTE = 4_096
"""Widest vectors that are expanded on the JVM: wider ones might be sparse in later rows."""

CHEAP_NODES = (
    "Project",
    "Filter",
    "SubqueryAlias",
    "LogicalRelation",
    "LocalRelation",
    "InMemoryRelation",
    "DataSourceV2ScanRelation",
    "ResolvedHint",
)
"""Plans of these nodes alone give their first row without computing the others."""


def column_type(dataset: DataFrame, name: str, role: str) -> DataType:
    """Type of a column.

    Raises
    ------
    ColumnError
        If there is no such column; the message lists those there are.
    """
    matches = [f.dataType for f in dataset.schema.fields if f.name.lower() == name.lower()]
    if len(matches) == 1:
        return matches[0]
    have = ", ".join(dataset.columns)
    if matches:
        raise ColumnError(
            f"{role}='{name}' fits {len(matches)} columns: expected one, found {have}"
        )
    raise ColumnError(f"{role}='{name}' is not a column: found {have}. Set {role}")


def check_features(dataset: DataFrame, name: str) -> DataType:
    """Type of the features, which must be vectors or arrays of float or double."""
    found = column_type(dataset, name, "featuresCol")
    if isinstance(found, VectorUDT):
        return found
    if isinstance(found, ArrayType) and isinstance(found.elementType, FloatType | DoubleType):
        return found
    raise ColumnTypeError(
        f"featuresCol='{name}' is {found.simpleString()}: expected a vector, array<double> or "
        "array<float>. Assemble columns with pyspark.ml.feature.VectorAssembler"
    )


def check_numeric(dataset: DataFrame, name: str, role: str) -> None:
    """Raise unless a column holds numbers or booleans."""
    found = column_type(dataset, name, role)
    if not isinstance(found, NumericType | BooleanType):
        raise ColumnTypeError(
            f"{role}='{name}' is {found.simpleString()}: expected a number or a boolean. Index "
            "strings with pyspark.ml.feature.StringIndexer"
        )


def quoted(name: str) -> Column:
    """A column by its exact name, dots included."""
    return F.col("`" + name.replace("`", "``") + "`")


def looks_dense(dataset: DataFrame, name: str) -> bool:
    """Whether features are dense vectors that should reach Arrow as arrays.

    The JVM expands them to arrays, which is three times faster than to send their struct; wide or
    sparse ones must not be, so one row is looked at where that costs nothing.
    """
    found = check_features(dataset, name)
    if not isinstance(found, VectorUDT):
        return False
    plan = dataset._jdf.queryExecution().optimizedPlan()
    if not _is_cheap(plan):
        return False
    row = dataset.select(quoted(name)).first()
    return row is not None and isinstance(row[0], DenseVector) and len(row[0]) <= MAX_DENSE_ROUTE


def feature_column(dataset: DataFrame, name: str, *, dense: bool) -> Column:
    """The features as Arrow is to have them: arrays as they are, vectors as arrays or structs."""
    column = quoted(name)
    if not isinstance(check_features(dataset, name), VectorUDT):
        return column
    if not dense:
        return vector_struct(column)
    # the function fails on null, which without an otherwise stays null
    return F.when(column.isNotNull(), vector_to_array(column))


def vector_struct(column: Column) -> Column:
    """A vector column as its struct; before Spark 4 vectors reach Arrow so by themselves."""
    unwrap: Callable[[Column], Column] | None = getattr(F, "unwrap_udt", None)
    return unwrap(column) if unwrap is not None else column


def _is_cheap(plan: Any) -> bool:
    name = plan.nodeName().split(" ")[0]
    if name == "LogicalRDD":
        # one from Python would lose a worker, whose next start takes longer than a small fit
        return bool(plan.rdd().isCheckpointed())
    if name not in CHEAP_NODES:
        return False
    children = plan.children()
    return all(_is_cheap(children.apply(i)) for i in range(children.length()))


def training_frame(
    dataset: DataFrame,
    features: str,
    label: str,
    weight: str | None,
    partitions: int,
    *,
    dense: bool,
) -> DataFrame:
    """Features, label and weight, in at most as many partitions as there are cores.

    Partitions are joined, never split: that would be a shuffle that nobody asked for.
    """
    columns = [
        feature_column(dataset, features, dense=dense).alias("features"),
        quoted(label).cast("double").alias("label"),
    ]
    if weight is not None:
        columns.append(quoted(weight).cast("double").alias("weight"))
    return dataset.select(*columns).coalesce(partitions)


def packer(
    settings: PackSettings,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that `mapInArrow` runs on each partition."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        handle, report = pack(batches, settings)
        saved = pickle.dumps(report)
        if handle.files is not None and len(saved) > SMALL_REPORT:
            # this row is cached and read in every pass: moments of wide rows stay out of it
            write_report(handle.files.folder, saved)
            saved = b""
        columns = [pa.array([value], pa.binary()) for value in (pickle.dumps(handle), saved)]
        yield pa.RecordBatch.from_arrays(columns, names=["handle", "report"])

    return run


def write_report(folder: str, saved: bytes) -> None:
    """Leave the report of a block beside its rows."""
    with os.fdopen(os.open(Path(folder) / "report", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(saved)


def read_report(handle: Handle, saved: bytes) -> Report:
    """The report of a block; `FileNotFoundError` if its files are gone."""
    if not saved and handle.files is not None:
        saved = (Path(handle.files.folder) / "report").read_bytes()
    report: Report = pickle.loads(saved)
    return report


def raise_for_problems(
    report: Report, task: Task, label: str, features: str, weight: str | None
) -> None:
    """Raise one error about all rows that cannot be used.

    Raises
    ------
    DataError
        It says how many rows have which problem.
    """
    found = []
    expected = {
        "binary": "labels must be 0 or 1",
        "multiclass": "labels must be 0, 1, 2, ...",
        "regression": "labels must be finite numbers",
    }[task]
    for problem, count in report.problems.items():
        example = report.examples.get(problem)
        found.append(
            f"{count:,} {PROBLEMS[problem]}" + (f" (such as {example})" if example else "")
        )
    if report.longest >= 0 and report.shortest != report.longest:
        found.append(
            f"rows of different lengths: the shortest has {report.shortest:,} features, the "
            f"longest {report.longest:,}"
        )
    if report.too_many_labels:
        found.append("so many different labels that they are not classes")
    if found:
        columns = " or ".join(f"'{name}'" for name in (features, label, weight) if name)
        raise DataError(
            f"column {columns} cannot be trained on: found {'; '.join(found)}. "
            f"Expected finite features of one length, weights of 0 or more, and {expected}. "
            "Filter or repair these rows first"
        )
