"""Scoring: an Arrow function over NumPy that adds columns and never collects."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pyspark.sql.functions as F
from pyspark import SparkContext
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DoubleType,
    StructField,
    StructType,
    UserDefinedType,
)

from sparkml_lsml.errors import ColumnError
from sparkml_lsml.spark.cluster.checks import check_executors
from sparkml_lsml.spark.cluster.session import is_local
from sparkml_lsml.spark.rows.columns import check_features, feature_column
from sparkml_lsml.spark.rows.frames import check_frame, column_of, folding
from sparkml_lsml.worker.scoring import Scorer, from_pandas

KINDS = ("raw", "probability", "prediction")


def add_scores(
    dataset: DataFrame, features: str, scorer: Scorer, outputs: dict[str, str], classes: int = 0
) -> DataFrame:
    """The frame with columns of scores.

    Parameters
    ----------
    dataset : DataFrame
    features : str
        Column of the features.
    scorer : Scorer
    outputs : dict
        Name of the new column for each of ``raw``, ``probability`` and ``prediction``; '' for none.
    classes : int
        Number of classes, which the columns then tell in their metadata as MLlib's do; 0 for none.

    Raises
    ------
    ColumnError
        If an output column is already there, or the features are not.
    TypeError
        If it is no frame.
    BackendError
        If the executors of a cluster lack packages.
    """
    check_frame(dataset, "transform", streaming=True)
    sc = getattr(dataset.sparkSession, "_sc", None)
    if isinstance(sc, SparkContext) and not is_local(sc):
        check_executors(sc)  # a cluster that only scores has the package to be shipped, too
    wanted = {kind: outputs[kind] for kind in KINDS if outputs.get(kind)}
    fold = folding(dataset)
    have, new = ({fold(name) for name in names} for names in (dataset.columns, wanted.values()))
    if have & new or len(new) < len(wanted):
        raise ColumnError(
            f"output columns {', '.join(wanted.values())} must be new and differ from each other: "
            f"found {', '.join(dataset.columns)}. Drop or rename, or set predictionCol and its like"
        )
    column = feature_column(dataset, features)
    if not wanted:
        return dataset
    kinds = tuple(wanted)
    types = [
        StructField(kind, DoubleType() if kind == "prediction" else ArrayType(DoubleType()))
        for kind in kinds
    ]
    function = _score_udf(scorer, kinds, StructType(types))
    name = "__sparkml_lsml_scores"
    scored = _as_rows(dataset, features).withColumn(name, function(column))
    columns: dict[str, Column] = {}
    for kind, output in wanted.items():
        values = F.col(name)[kind]
        if not hasattr(F, "arrow_udf"):
            values = _with_nan(values, kind, column_of(scored, features))
        if kind != "prediction":
            # the function fails on null, which without an otherwise stays null
            values = F.when(values.isNotNull(), array_to_vector(values))
        if classes:
            values = values.alias(output, metadata={"ml_attr": _attribute(kind, classes)})
        columns[output] = values
    return scored.withColumns(columns).drop(name)


def _attribute(kind: str, classes: int) -> dict[str, Any]:
    """What transformers of MLlib that read the column want to know of it."""
    if kind == "prediction":
        return {"type": "nominal", "num_vals": classes}
    return {"num_attrs": classes}


COLUMNAR_INPUT = "spark.sql.execution.arrow.pythonUDF.columnarInput.enabled"


def _as_rows(dataset: DataFrame, features: str) -> DataFrame:
    """The same frame, which Spark then hands over row by row.

    With this setting, which Spark 4.3 has on, a function right above the scan of a file takes its
    columns as they are, and fails where any of them is a vector. A condition that always holds,
    and that Spark cannot prove, comes between.
    """
    try:
        # a default given here would win over Spark's own
        columnar = dataset.sparkSession.conf.get(COLUMNAR_INPUT) == "true"
    except Exception:  # a Spark that does not know it, under an error of a class of its own
        columnar = False
    if not columnar:
        return dataset
    if not _holds_vectors(dataset.schema):
        return dataset
    column = column_of(dataset, features)
    if isinstance(check_features(dataset, features), VectorUDT):
        column = F.unwrap_udt(column)["values"]
    return dataset.where(F.coalesce(F.size(column), F.lit(0)) > -2)


def _holds_vectors(kind: DataType) -> bool:
    if isinstance(kind, StructType):
        return any(_holds_vectors(field.dataType) for field in kind.fields)
    return isinstance(kind, UserDefinedType)


def _score_udf(scorer: Scorer, kinds: tuple[str, ...], types: StructType) -> Any:
    """The user-defined function: Arrow in and out where Spark has it (4.1), else pandas."""
    arrow_udf = getattr(F, "arrow_udf", None)
    if arrow_udf is not None:

        def score_arrow(column: pa.Array) -> pa.Array:
            return scorer.score_arrow(column, kinds)

        return arrow_udf(score_arrow, types)

    def score_pandas(column: pd.Series) -> pd.DataFrame:
        scores = scorer.score_arrow(from_pandas(column), kinds)
        frame: pd.DataFrame = pa.RecordBatch.from_struct_array(scores).to_pandas()
        return frame

    return pandas_udf(score_pandas, types)  # type: ignore[call-overload]


def _with_nan(values: Column, kind: str, features: Column) -> Column:
    """Scores in which null is NaN where there are features: on its way pandas makes null of NaN."""
    nan = F.lit(float("nan"))
    if kind == "prediction":
        return F.when(features.isNotNull(), F.coalesce(values, nan))
    return F.transform(values, lambda value: F.coalesce(value, nan))
