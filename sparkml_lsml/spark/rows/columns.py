"""Columns of features, labels and the like: which types they may have, and how Arrow takes them."""

import pyspark.sql.functions as F
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DoubleType,
    FloatType,
    NumericType,
)

from sparkml_lsml.errors import ColumnTypeError
from sparkml_lsml.spark.rows.frames import column_of, column_type


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


def check_boolean(dataset: DataFrame, name: str, role: str) -> None:
    """Raise unless a column holds booleans."""
    found = column_type(dataset, name, role)
    if not isinstance(found, BooleanType):
        raise ColumnTypeError(
            f"{role}='{name}' is {found.simpleString()}: expected a boolean, true for the rows of "
            "the validation. Compare it with what these rows have, as in F.col('split') == 'test'"
        )


def feature_column(dataset: DataFrame, name: str) -> Column:
    """The features as Arrow is to have them: arrays as they are, vectors as their struct."""
    column = column_of(dataset, name)
    if not isinstance(check_features(dataset, name), VectorUDT):
        return column
    vector = F.unwrap_udt(column)
    # dense vectors have no indices, and null lists take Spark four times as long to write to
    # Arrow as all their values
    indices = F.coalesce(vector["indices"], F.array().cast("array<int>"))
    fields = {
        "type": vector["type"],
        "size": vector["size"],
        "indices": indices,
        "values": vector["values"],
    }
    struct = F.struct(*(field.alias(key) for key, field in fields.items()))
    return F.when(column.isNotNull(), struct)
