"""Scoring: adds columns of predictions, in the JVM or by an Arrow function over NumPy.

One function decides which (`in_python`). Nothing is ever collected.
"""

import hashlib
import logging
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd
import pyarrow as pa
import pyspark.sql.functions as F
from pyspark import SparkContext, cloudpickle
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    StructField,
    StructType,
)

from sparkml_lsml.display import text
from sparkml_lsml.errors import ColumnError
from sparkml_lsml.spark.cluster.checks import check_executors
from sparkml_lsml.spark.cluster.session import allowed, is_local
from sparkml_lsml.spark.models.expressions import (
    MARGIN,
    TEMPORARY,
    computes,
    is_one_margin,
    of_one_margin,
    score,
)
from sparkml_lsml.spark.models.jvm_scoring import jvm_scores
from sparkml_lsml.spark.params.feature_columns import Features
from sparkml_lsml.spark.rows.columns import are_there, check_features, feature_column
from sparkml_lsml.spark.rows.frames import check_frame, column_of, folding
from sparkml_lsml.worker.finishing import RegressionFinish
from sparkml_lsml.worker.scoring import Scorer, from_pandas

KINDS = ("raw", "probability", "prediction")

SETTING = "spark.sparkml_lsml.scoring"
"""Of a session: ``python`` to score vectors there, too, and not in the JVM."""

SCORES = "__sparkml_lsml_scores"

LARGE = 2**23
"""Bytes of coefficients beyond which Python scores, where one broadcast serves all tasks."""

BROADCAST = 2**19
"""Bytes of coefficients; functions of more than twice as many are sent as a broadcast."""

log = logging.getLogger("sparkml_lsml")

_functions: "WeakKeyDictionary[Any, tuple[bytes, SparkContext, Any]]" = WeakKeyDictionary()
"""The function of each model with many coefficients, and what it is a function of."""


def add_scores(
    dataset: DataFrame,
    features: Features,
    scorer: Scorer,
    outputs: dict[str, str],
    classes: int = 0,
    owner: object = None,
) -> DataFrame:
    """The frame with columns of scores.

    Parameters
    ----------
    dataset : DataFrame
    features : str or tuple of str
        See `Features`.
    scorer : Scorer
    outputs : dict
        Name of the new column for each of ``raw``, ``probability`` and ``prediction``; '' for none.
    classes : int
        Number of classes, which the columns then tell in their metadata as MLlib's do; 0 for none.
    owner : object, optional
        What keeps the function for the next time: the model.

    Raises
    ------
    ColumnError
        If an output column is already there, or the features are not.
    TypeError
        If it is no frame.
    BackendError
        If Python scores, and the executors of a cluster lack packages.
    """
    check_frame(dataset, "transform", streaming=True)
    wanted = {kind: outputs[kind] for kind in KINDS if outputs.get(kind)}
    fold = folding(dataset)
    have, new = ({fold(name) for name in names} for names in (dataset.columns, wanted.values()))
    if have & new or len(new) < len(wanted):
        raise ColumnError(
            f"output columns {', '.join(wanted.values())} must be new and differ from each other: "
            f"found {', '.join(dataset.columns)}. Drop or rename, or set predictionCol and its like"
        )
    check_features(dataset, features)
    if not wanted:
        return dataset
    kinds = tuple(wanted)

    def in_the_jvm() -> tuple[DataFrame, dict[str, Column]]:
        assert isinstance(features, str)
        return jvm_scores(dataset, features, scorer, kinds)

    def by_arrow() -> tuple[DataFrame, dict[str, Column]]:
        return _arrow_scores(dataset, features, scorer, kinds, owner)

    if why := in_python(dataset, features, scorer):
        log.debug("scoring in Python: %s", why)
        scored, scores = by_arrow()
    else:
        scored, scores = allowed(in_the_jvm, by_arrow)
    columns: dict[str, Column] = {}
    for kind, output in wanted.items():
        values = scores[kind]
        if classes:
            values = values.alias(output, metadata={"ml_attr": _attribute(kind, classes)})
        columns[output] = values
    return scored.withColumns(columns).drop(SCORES, *TEMPORARY)


def in_python(dataset: DataFrame, features: Features, scorer: Scorer) -> str:
    """Why rows are scored in Python; "" where the JVM does it.

    The JVM is the faster one, with vectors. Arrays it would have to make into vectors first, number
    by number, and Python takes them as they are.
    """
    if not isinstance(getattr(dataset.sparkSession, "_sc", None), SparkContext):
        return "a session of Spark Connect has no JVM"
    if not isinstance(check_features(dataset, features), VectorUDT):
        return "the features are arrays or columns of numbers"
    if not computes(scorer):
        return "Spark has no expressions for this model"
    if scorer.coef.nbytes > LARGE:
        return f"each task would be sent {text.size(scorer.coef.nbytes)} of coefficients"
    chosen = dataset.sparkSession.conf.get(SETTING, "jvm")
    if chosen not in ("jvm", "python"):
        raise ValueError(f"{SETTING} is {chosen!r}: expected 'jvm' or 'python'")
    return f"{SETTING} says so" if chosen == "python" else ""


def _arrow_scores(
    dataset: DataFrame, features: Features, scorer: Scorer, kinds: tuple[str, ...], owner: object
) -> tuple[DataFrame, dict[str, Column]]:
    """The frame with a column of all scores, and each of them as an expression of it."""
    if not is_one_margin(scorer):
        return _by_python(dataset, features, scorer, kinds, owner)
    # one number comes back, and Spark makes vectors of it in half the time that lists take
    margin = Scorer(scorer.predictor, scorer.coef, RegressionFinish())
    scored, found = _by_python(dataset, features, margin, ("prediction",), owner)
    scored, values = scored.withColumn(MARGIN, found["prediction"]), of_one_margin(scorer)
    there = F.col(MARGIN).isNotNull()
    return scored, {kind: F.when(there, score(values[kind], kind)) for kind in kinds}


def _by_python(
    dataset: DataFrame, features: Features, scorer: Scorer, kinds: tuple[str, ...], owner: object
) -> tuple[DataFrame, dict[str, Column]]:
    types = [
        StructField(kind, DoubleType() if kind == "prediction" else ArrayType(DoubleType()))
        for kind in kinds
    ]
    sc = getattr(dataset.sparkSession, "_sc", None)
    if isinstance(sc, SparkContext) and not is_local(sc):
        check_executors(sc)  # a cluster that only scores has the package to be shipped, too
    function = _function(owner, sc, scorer, kinds, StructType(types))
    column = feature_column(dataset, features)
    scored = _as_rows(dataset, features).withColumn(SCORES, function(column))
    found: dict[str, Column] = {}
    for kind in kinds:
        values = F.col(SCORES)[kind]
        if not hasattr(F, "arrow_udf"):
            values = _with_nan(values, kind, are_there(scored, features))
        if kind != "prediction":
            # the function fails on null, which without an otherwise stays null
            values = F.when(values.isNotNull(), array_to_vector(values))
        found[kind] = values
    return scored, found


def _attribute(kind: str, classes: int) -> dict[str, Any]:
    """What transformers of MLlib that read the column want to know of it."""
    if kind == "prediction":
        return {"type": "nominal", "num_vals": classes}
    return {"num_attrs": classes}


COLUMNAR_INPUT = "spark.sql.execution.arrow.pythonUDF.columnarInput.enabled"


def _as_rows(dataset: DataFrame, features: Features) -> DataFrame:
    """The same frame, which Spark then hands over row by row.

    With this setting, which Spark 4.3 has on, a function right above a scan takes its columns as
    they are. That fails where any of them is a vector, and where they come from Arrow (its cache,
    sources of the second kind) of all but the last batch: it is freed when the next one is read,
    before columns that only pass by are. A condition that always holds, and that Spark cannot
    prove, comes between; it takes no time that could be measured.
    """
    try:
        # a default given here would win over Spark's own
        columnar = dataset.sparkSession.conf.get(COLUMNAR_INPUT) == "true"
    except Exception:  # a Spark that does not know it, under an error of a class of its own
        columnar = False
    if not columnar:
        return dataset
    if not isinstance(features, str):
        return dataset.where(F.pmod(F.hash(column_of(dataset, features[0])), F.lit(2)) < 2)
    column = column_of(dataset, features)
    if isinstance(check_features(dataset, features), VectorUDT):
        column = F.unwrap_udt(column)["values"]
    return dataset.where(F.coalesce(F.size(column), F.lit(0)) > -2)


def _function(
    owner: object, sc: Any, scorer: Scorer, kinds: tuple[str, ...], types: StructType
) -> Any:
    """The user-defined function, the same one as long as the model predicts the same.

    The file of its broadcast stays on the driver until the session ends: a model that scores batch
    after batch would fill the disk with its coefficients.
    """
    if owner is None or not isinstance(sc, SparkContext) or scorer.coef.nbytes < BROADCAST:
        return _score_udf(scorer, kinds, types)
    mark = hashlib.sha256(cloudpickle.dumps((scorer, kinds))).digest()
    found = _functions.get(owner)
    if found is None or found[:2] != (mark, sc):
        found = _functions[owner] = (mark, sc, _score_udf(scorer, kinds, types))
    return found[2]


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


def _with_nan(values: Column, kind: str, there: Column) -> Column:
    """Scores in which null is NaN where there are features: on its way pandas makes null of NaN."""
    nan = F.lit(float("nan"))
    if kind == "prediction":
        return F.when(there, F.coalesce(values, nan))
    return F.when(there, F.transform(values, lambda value: F.coalesce(value, nan)))
