"""Reading rows, mapping labels, holding rows out, and writing predictions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    FloatType,
    MapType,
    NumericType,
    StringType,
    StructType,
    UserDefinedType,
)

from sparkml_lsml.errors import ColumnError
from sparkml_lsml.jobs.config import InputConfig, LabelConfig, PredictionsConfig, SplitConfig
from sparkml_lsml.jobs.errors import JobError
from sparkml_lsml.jobs.hashing import comparable, deciding
from sparkml_lsml.jobs.loading import nearest
from sparkml_lsml.jobs.redaction import resolve
from sparkml_lsml.jobs.storage import Place
from sparkml_lsml.spark.rows.frames import column_of, column_type, has_column, known_columns

_HASH_STEPS = 1_000_000


def read(spark: SparkSession, config: InputConfig) -> DataFrame:
    """Open an input; of most formats only names and types are read now.

    Parameters
    ----------
    spark
        A classic session.
    config
        What to read.

    Raises
    ------
    JobError
        If a path matches nothing, or a column of ``drop_nulls`` is missing.
    """
    reader = spark.read
    for key, value in config.options.items():
        reader = reader.option(key, resolve(value) if isinstance(value, str) else value)
    if config.num_features is not None:
        reader = reader.option("numFeatures", config.num_features)
    if config.schema_ddl is not None:
        reader = reader.schema(config.schema_ddl)
    if config.format == "table":
        frame = reader.table(resolve(config.table or ""))
    else:
        paths = [resolve(path) for path in config.path or ()]
        for path in paths:
            # Spark would log the path with a stack trace before it fails.
            if not Place(spark, path).matches():
                raise JobError(f"input.path: {path} does not exist")
        frame = reader.format(config.format).load(paths)
    if config.drop_nulls:
        require_columns(frame, config.drop_nulls, "input.drop_nulls")
        for name in config.drop_nulls:
            frame = frame.where(_has_value(frame, name))
    return frame


@contextlib.contextmanager
def opened(spark: SparkSession, config: InputConfig) -> Iterator[DataFrame]:
    """As `read`, and kept by Spark until the context is left where the configuration says so."""
    frame = read(spark, config)
    # rows that somebody else of the session has cached stay with them
    if config.cache is None or frame.storageLevel.useDisk or frame.storageLevel.useMemory:
        yield frame
        return
    disk_only = config.cache == "disk_only"
    frame.persist(StorageLevel.DISK_ONLY if disk_only else StorageLevel.MEMORY_AND_DISK)
    try:
        yield frame
    finally:
        frame.unpersist()


def _has_value(frame: DataFrame, name: str) -> Column:
    value = column_of(frame, name)
    if isinstance(column_type(frame, name, "column"), DoubleType | FloatType):
        return value.isNotNull() & ~F.isnan(value)
    return value.isNotNull()


def require_columns(frame: DataFrame, names: tuple[str, ...], key: str) -> None:
    """Check that columns are there.

    Raises
    ------
    JobError
        That names the missing column, its nearest known one, and all there are; or the column of
        which there are several.
    """
    for name in names:
        if not has_column(frame, name):
            known = known_columns(frame)
            guess = nearest(name, known) or ";"
            columns = ", ".join(known)
            raise JobError(f"{key}: there is no column '{name}'{guess} there are: {columns}")
        try:
            column_type(frame, name, key)
        except ColumnError as error:
            raise JobError(str(error)) from error


@dataclass(frozen=True)
class Split:
    """Rows to train on, rows held out from them, and the condition that divides them."""

    training: DataFrame
    held_out: DataFrame
    is_held_out: Column


def split(frame: DataFrame, config: SplitConfig) -> Split:
    """Hold rows out by a hash: the same in every run, for every partitioning and type of an id.

    `DataFrame.randomSplit` would sort every partition, depend on how the rows are partitioned,
    and could tear identical rows apart.

    Parameters
    ----------
    frame
        Rows as they were read, before any column is added.
    config
        Share, seed, and the columns that decide.

    Raises
    ------
    JobError
        If a column is missing, holds maps, which have no hash, or decides and is of a type that
        other files have otherwise.
    """
    names = config.by or tuple(sorted(frame.columns))
    require_columns(frame, config.by, "split.by")
    for name in names:
        if isinstance(column_type(frame, name, "split.by"), MapType):
            raise JobError(
                f"split: the column '{name}' holds maps, which cannot be hashed; "
                "name the columns that decide in split.by"
            )
    hashed: list[Column] = []
    for name in names:
        value, kind = column_of(frame, name), column_type(frame, name, "split.by")
        hashed += deciding(value, kind, name) if config.by else comparable(value, kind)
    digest = F.xxhash64(F.lit(config.seed), *hashed)
    held_out = F.pmod(digest, F.lit(_HASH_STEPS)) < F.lit(round(config.fraction * _HASH_STEPS))
    return Split(frame.where(~held_out), frame.where(held_out), held_out)


def map_labels(frame: DataFrame, column: str, config: LabelConfig) -> DataFrame:
    """Replace labels by those that ``label.map`` gives; nothing runs yet.

    A value that is not listed becomes null; `check_labels` counts those.

    Raises
    ------
    JobError
        If the column is missing, or its type fits none of the listed values.
    """
    require_columns(frame, (column,), "label.column")
    if config.map is None:
        return frame
    label = column_of(frame, column)
    kind = column_type(frame, column, "label.column")
    mapped: Column = F.lit(None).cast("double")
    for value, target in config.map.items():
        if isinstance(kind, StringType):
            matches = label == F.lit(_text(value))
        elif isinstance(kind, BooleanType) and isinstance(value, bool):
            matches = label == F.lit(value)
        elif (
            isinstance(kind, NumericType)
            and isinstance(value, int | float)
            and not isinstance(value, bool)
        ):
            matches = label.cast("double") == F.lit(float(value))
        else:
            raise JobError(
                f"label.map: {value!r} cannot be a value of the column '{column}', "
                f"which is of type {kind.simpleString()}"
            )
        mapped = F.when(matches, F.lit(float(target))).otherwise(mapped)
    return frame.withColumn(column, mapped)


def check_labels(source: DataFrame, column: str, config: LabelConfig) -> None:
    """Check that ``label.map`` lists every value of the label.

    Parameters
    ----------
    source
        The rows before `map_labels`.
    column
        Name of the label column.
    config
        The labels.

    Raises
    ------
    JobError
        That tells how many rows have another value, with examples.
    """
    if config.map is None:
        return
    original = "__original_label__"
    mapped = map_labels(source.withColumn(original, column_of(source, column)), column, config)
    missing = mapped.where(column_of(mapped, column).isNull())
    counts = missing.groupBy(original).count().orderBy(F.desc("count"), original)
    groups = counts.limit(5).collect()
    if groups:
        total = missing.count()
        found = ", ".join(f"{group[original]!r} ({group['count']} rows)" for group in groups)
        raise JobError(
            f"label.map lists no label for the value of {total} rows in column "
            f"'{column}': {found}; add them, or list the column in input.drop_nulls"
        )


def write(frame: DataFrame, config: PredictionsConfig, place: Place) -> None:
    """Write predictions to a place that is not there yet.

    Raises
    ------
    JobError
        If a column is missing, or CSV cannot hold one.
    """
    writer = select_output(frame, config).write.format(config.format)
    for key, value in config.options.items():
        writer = writer.option(key, resolve(value) if isinstance(value, str) else value)
    writer.save(place.full)


def select_output(frame: DataFrame, config: PredictionsConfig) -> DataFrame:
    """Select the columns to write, before any job runs.

    Raises
    ------
    JobError
        As `write`.
    """
    if config.columns:
        require_columns(frame, config.columns, "output.predictions.columns")
        frame = frame.select(*(column_of(frame, name) for name in config.columns))
    if config.format == "csv":
        nested = [field.name for field in frame.schema if _is_nested(field.dataType)]
        if nested:
            raise JobError(
                f"output.predictions: CSV cannot hold the columns {', '.join(nested)} (vectors, "
                "arrays, structs); list the others in output.predictions.columns, or write Parquet"
            )
    return frame


def _is_nested(kind: Any) -> bool:
    return isinstance(kind, ArrayType | MapType | StructType | UserDefinedType)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
