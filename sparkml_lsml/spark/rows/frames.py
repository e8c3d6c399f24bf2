"""What is a frame, and which of its columns a name means: told before anything is asked of it."""

from collections.abc import Callable
from typing import Any

import pyspark.sql.functions as F
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import DataType, StructField, StructType

from sparkml_lsml.errors import ColumnError, without_secrets

CONNECT = "pyspark.sql.connect."
"""Modules of Spark Connect, whose frames `session.context` refuses where it has to."""


def check_frame(found: Any, caller: str, *, streaming: bool = False) -> None:
    """Refuse what is no DataFrame of Spark, and what is one without an end.

    Parameters
    ----------
    found : anything
    caller : str
        Whom it was given to, for the error.
    streaming : bool
        Whether a streaming frame will do.

    Raises
    ------
    TypeError
        It says what was found, and which call makes a frame of it.
    """
    if type(found).__module__.startswith(CONNECT):
        return
    if not isinstance(found, DataFrame):
        what, how = _described(found)
        raise TypeError(f"{caller}: found {what}, expected a DataFrame of Spark. {how}")
    if not streaming and found.isStreaming:
        raise TypeError(
            f"{caller}: found a streaming DataFrame, expected one with an end. To learn from its "
            "micro-batches give a sparkml_lsml.streaming.StreamingTrainer to its "
            "writeStream.foreachBatch; or write it to a table, and take that (spark.table)"
        )


def _described(found: Any) -> tuple[str, str]:
    """What something is, in words, and how a frame comes of it."""
    kind = type(found)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if kind.__name__ == "ResidentRows":  # of a module that imports this one
        return "resident rows", "Give the frame that they are of: rows.frame"
    if found is None:
        return "None", "Make one: spark.createDataFrame(rows), spark.table(name) or spark.read"
    if isinstance(found, str):
        shown = without_secrets(repr(found))
        return (
            f"the text {shown}",
            f"Of a table or view: spark.table({shown}); of files: spark.read.parquet({shown}) and "
            "its like",
        )
    if kind.__module__.startswith("pyspark.pandas."):
        return f"a {kind.__qualname__} of pandas-on-Spark ({name})", "Call its to_spark()"
    if kind.__module__.startswith("pyspark.") and not hasattr(found, "toDF"):
        return f"a {name}", "Give the frame that it was made of"
    given = "an RDD" if kind.__module__.startswith("pyspark.") else f"a {name}"
    return (
        given,
        "Make one of it: spark.createDataFrame(it), with vectors or lists of numbers as features",
    )


def quoted(name: str) -> Column:
    """A column by its exact name, dots included."""
    return F.col(in_backticks(name))


def in_backticks(name: str) -> str:
    """An exact name, dots included, as Spark reads it."""
    return "`" + name.replace("`", "``") + "`"


def folding(dataset: DataFrame) -> Callable[[str], str]:
    """What makes names equal that mean the same column: of the session, at this moment."""
    sensitive = str(dataset.sparkSession.conf.get("spark.sql.caseSensitive")).lower() == "true"
    return str if sensitive else str.lower


def column_of(dataset: DataFrame, name: str) -> Column:
    """The column that a name means: one of the frame, or else what Spark makes of it.

    A column whose name has dots goes by that name, though MLlib wants it in backticks; these will
    do, too. Other names with dots are fields of structs, such as ``s.features``.
    """
    return F.col(reference(dataset, name))


def reference(dataset: DataFrame, name: str) -> str:
    """What `column_of` reads as the name of a column."""
    return in_backticks(name) if _named(dataset, name) else name


def has_column(dataset: DataFrame, name: str) -> bool:
    """Whether a name means a column, be there several of that name."""
    return bool(_named(dataset, name)) or _field(dataset, name) is not None


def column_field(dataset: DataFrame, name: str, role: str) -> StructField:
    """Type and metadata of the column that a name means.

    Raises
    ------
    ColumnError
        If there is no such column, or several; the message lists those there are.
    """
    matches = _named(dataset, name)
    found = matches[0] if matches else _field(dataset, name)
    if len(matches) > 1:
        raise ColumnError(
            f"{role}='{name}' fits {len(matches)} columns: expected one, found "
            f"{', '.join(dataset.columns)}"
        )
    if found is None:
        have = known_columns(dataset)
        near = [each for each in have if each.lower() == name.lower()]
        cases = f". Did you mean '{near[0]}'? spark.sql.caseSensitive is true" if near else ""
        raise ColumnError(
            f"{role}='{name}' is not a column: found {', '.join(have)}. Set {role}{cases}"
        )
    return found


def column_type(dataset: DataFrame, name: str, role: str) -> DataType:
    """Type of the column that a name means; raises as `column_field` does."""
    return column_field(dataset, name, role).dataType


def known_columns(dataset: DataFrame) -> list[str]:
    """Names that an error may list: columns, and after a struct its fields."""
    found = []
    for field in dataset.schema.fields:
        found.append(field.name)
        if isinstance(field.dataType, StructType):
            found += [f"{field.name}.{each}" for each in field.dataType.names]
    return found


def _named(dataset: DataFrame, name: str) -> list[StructField]:
    fold = folding(dataset)
    return [field for field in dataset.schema.fields if fold(field.name) == fold(name)]


def _field(dataset: DataFrame, name: str) -> StructField | None:
    """What Spark makes of a name that no column has: a field of a struct, or a quoted name."""
    if ("." not in name and "`" not in name) or name.endswith("*"):
        return None
    try:
        [field] = dataset.select(F.col(name)).schema.fields
    except AnalysisException:
        return None
    return field
