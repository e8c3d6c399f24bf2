"""Leave one group out: numbers for the groups that a column names."""

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import (
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from sparkml_lsml.errors import ColumnTypeError, DataError
from sparkml_lsml.spark.rows.frames import column_of, column_type

MAX_GROUPS = 1_000
"""Each group is a fold: a model for each param map, and moments of its own on the executors."""

ATOMIC = (
    BinaryType,
    BooleanType,
    DateType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)


def group_numbers(dataset: DataFrame, name: str) -> tuple[Column, int]:
    """The number of each row's group, in the order of the groups' values, and how many there are.

    It takes one Spark job, which reads the column.

    Parameters
    ----------
    dataset : DataFrame
    name : str
        The column, of any atomic type.

    Returns
    -------
    Column
        Numbers 0, 1, ... as int.
    int
        Number of groups.

    Raises
    ------
    ColumnError, ColumnTypeError
        If there is no such column, or it holds arrays, maps or structs.
    DataError
        If rows have no group, or there are fewer than 2 groups or more than `MAX_GROUPS`.

    Examples
    --------
    >>> df = spark.createDataFrame([("b",), ("a",), ("b",)], ["site"])
    >>> number, groups = group_numbers(df, "site")
    >>> [row[0] for row in df.select(number).collect()], groups
    ([1, 0, 1], 2)
    """
    kind = column_type(dataset, name, "groupCol")
    if not isinstance(kind, ATOMIC):
        raise ColumnTypeError(
            f"groupCol='{name}' is {kind.simpleString()}: expected strings, numbers, booleans, "
            "dates, timestamps or bytes"
        )
    value = column_of(dataset, name)
    key = _key(value, kind)
    found = (
        dataset.select(value.alias("value"), key.alias("key"))
        .groupBy("key")
        .agg(F.min("value").alias("value"), F.count(F.lit(1)).alias("rows"))
        .orderBy(F.col("key").isNotNull(), "value")
        .limit(MAX_GROUPS + 2)
        .collect()
    )
    missing = sum(row["rows"] for row in found if row["key"] is None)
    if missing:
        raise DataError(
            f"groupCol='{name}' is null or NaN in {missing:,} rows: expected a group for every "
            "row. Filter these rows, or give them a group"
        )
    keys = [row["key"] for row in found]
    if len(keys) > MAX_GROUPS:
        raise DataError(
            f"groupCol='{name}' has more than {MAX_GROUPS:,} different values: expected at most "
            f"{MAX_GROUPS:,} groups, each of which is held out once. Put groups together, or use "
            "numFolds"
        )
    if len(keys) < 2:
        raise DataError(
            f"groupCol='{name}' has {len(keys)} different values: expected at least 2 groups, one "
            "to hold out and one to train on"
        )
    # not a join, which would shuffle where the groups are not small enough to broadcast
    numbers = F.create_map(*[F.lit(each) for pair in enumerate(keys) for each in reversed(pair)])
    return numbers[key], len(keys)


def _key(value: Column, kind: DataType) -> Column:
    """A string or an integer for each value, which survives its way through Python."""
    if isinstance(kind, TimestampType):
        return F.unix_micros(value)  # as text, an hour of each autumn is there twice
    if isinstance(kind, BinaryType):
        return F.hex(value)
    if isinstance(kind, FloatType | DoubleType):
        value = F.when(~F.isnan(value), value + F.lit(0.0))  # -0.0 is 0.0
    return value.cast("string")
