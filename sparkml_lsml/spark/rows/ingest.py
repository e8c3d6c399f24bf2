"""From a DataFrame to packed blocks: columns, the road into Arrow, and errors about rows."""

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

from sparkml_lsml.engine.blocks.files import FREE_SPACE_KEPT, BlockFiles, no_room
from sparkml_lsml.engine.blocks.folds import fold_reports
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.pack import PackSettings, pack
from sparkml_lsml.engine.blocks.report import PROBLEMS, Report, Task
from sparkml_lsml.engine.blocks.pack import PROBLEMS, Report, Task
from sparkml_lsml.errors import ColumnTypeError, DataError
from sparkml_lsml.spark.rows.frames import column_of, column_type

Factors = dict[float, float]
"""By label, what the weights of its rows are multiplied by."""


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


def weighed(weight: Column | None, label: Column, factors: Factors) -> Column:
    """The weight of each row times the factor of its class; 1 for a label that has none."""
    table = F.create_map(*(F.lit(each) for pair in factors.items() for each in pair))
    # the sum turns -0.0 into 0.0, which is another key
    factor = F.coalesce(table[label + F.lit(0.0)], F.lit(1.0)) if factors else F.lit(1.0)
    return factor if weight is None else weight * factor


def training_frame(
    dataset: DataFrame,
    features: str,
    label: str,
    weight: str | None,
    partitions: int,
    fold: Column | None = None,
    factors: Factors | None = None,
) -> DataFrame:
    """Features, label and weight, in at most as many partitions as there are cores.

    Partitions are joined, never split: that would be a shuffle that nobody asked for.
    """
    y = column_of(dataset, label).cast("double")
    columns = [
        feature_column(dataset, features).alias("features"),
        y.alias("label"),
    ]
    weights = None if weight is None else column_of(dataset, weight).cast("double")
    if factors is not None:
        weights = weighed(weights, y, factors)
    if weights is not None:
        columns.append(weights.alias("weight"))
    if fold is not None:
        # a fraction is the number of no fold, as null is
        whole = fold.cast("double") == F.floor(fold.cast("double"))
        columns.append(F.when(whole, fold.cast("int")).alias("fold"))
    return dataset.select(*columns).coalesce(partitions)


def raise_for_problems(
    report: Report,
    task: Task,
    label: str,
    features: str,
    *others: str | None,
    purpose: str = "trained on",
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
        columns = " or ".join(f"'{name}'" for name in (features, label, *others) if name)
        raise DataError(
            f"column {columns} cannot be {purpose}: found {'; '.join(found)}. "
            f"Expected finite features of one length, weights of 0 or more, and {expected}. "
            "Filter or repair these rows first"
        )
