"""Columns of features, labels and the like: which types they may have, and how Arrow takes them."""

from functools import reduce
from operator import and_

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
from sparkml_lsml.spark.params.feature_columns import Features
from sparkml_lsml.spark.rows.frames import column_of, column_type


def check_features(dataset: DataFrame, features: Features) -> DataType:
    """Type of the features: vectors, arrays of float or double, or columns of numbers as an array.

    Raises
    ------
    ColumnTypeError
        If they are of another type.
    ColumnError
        If there is no such column, or several.
    """
    if not isinstance(features, str):
        for name in features:
            check_numeric(dataset, name, "featuresCols")
        return ArrayType(DoubleType())
    found = column_type(dataset, features, "featuresCol")
    if isinstance(found, VectorUDT):
        return found
    if isinstance(found, ArrayType) and isinstance(found.elementType, FloatType | DoubleType):
        return found
    raise ColumnTypeError(
        f"featuresCol='{features}' is {found.simpleString()}: expected a vector, array<double> or "
        "array<float>. Give columns of numbers as featuresCols, or assemble them with "
        "pyspark.ml.feature.VectorAssembler"
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


def feature_column(dataset: DataFrame, features: Features) -> Column:
    """The features as Arrow is to have them: arrays as they are, vectors as their struct."""
    if not isinstance(features, str):
        check_features(dataset, features)
        numbers = F.array(*(column_of(dataset, name).cast("double") for name in features))
        return F.when(are_there(dataset, features), numbers)
    column = column_of(dataset, features)
    if not isinstance(check_features(dataset, features), VectorUDT):
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


def are_there(dataset: DataFrame, features: Features) -> Column:
    """Whether a row has features: columns of numbers have them where all of them have a number."""
    names = (features,) if isinstance(features, str) else features
    return reduce(and_, (column_of(dataset, name).isNotNull() for name in names))
