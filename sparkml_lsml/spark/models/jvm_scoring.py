"""Scoring where the vectors are: MLlib's functions of vectors in the JVM, and Spark's expressions.

MLlib's models hold the only functions that take a vector of a frame without a copy into Python, and
their constructors are the ones that `sparkml_lsml.export` calls, too. They are asked for margins
and for the softmax of several alone; see `expressions` for the rest.
"""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
from pyspark import SparkContext
from pyspark.ml.linalg import DenseMatrix, DenseVector, VectorUDT
from pyspark.ml.wrapper import JavaParams
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import StructField, StructType

from sparkml_lsml.spark.models.expressions import (
    FEATURES,
    MARGIN,
    MARGINS,
    PROBABILITY,
    RAW,
    SCALED,
    SOFTMAX,
    largest,
    of_one_margin,
    probability_of_all_margins,
    scaled,
    score,
)
from sparkml_lsml.spark.rows.frames import reference
from sparkml_lsml.worker.finishing import MultinomialFinish
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]

_CLASSES = "org.apache.spark.ml.classification"


def jvm_scores(
    dataset: DataFrame, features: str, scorer: Scorer, kinds: tuple[str, ...]
) -> tuple[DataFrame, dict[str, Column]]:
    """The frame with temporary columns, and the scores as expressions of them.

    Parameters
    ----------
    dataset : DataFrame
    features : str
        Column of vectors.
    scorer : Scorer
        Of a linear model, see `computes`.
    kinds : tuple of {"raw", "probability", "prediction"}
        Which scores.

    Returns
    -------
    DataFrame
        With some of the columns `TEMPORARY`.
    dict of str to Column
        The scores of each kind; null where the features are.
    """
    layout = scorer.predictor.layout
    weights = scorer.coef[layout.weights].reshape(layout.outputs, layout.features)
    intercepts = scorer.coef[layout.intercepts]
    column = reference(dataset, features)
    whole = _whole(dataset.sparkSession.sparkContext, column, layout.features)
    scored = dataset.withColumn(FEATURES, whole)
    if layout.outputs == 1:
        name = "org.apache.spark.ml.regression.LinearRegressionModel"
        model = _made(name, weights[0], float(intercepts[0]), 1.0)
        scored = _transformed(model.setFeaturesCol(FEATURES).setPredictionCol(MARGIN), scored)
        values = of_one_margin(scorer)
    else:
        scored, values = _of_all_margins(scored, weights, intercepts, scorer, kinds)
    there = F.col(column).isNotNull()
    return scored, {kind: F.when(there, score(values[kind], kind)) for kind in kinds}


@lru_cache(maxsize=64)
def _whole(sc: SparkContext, column: str, size: int) -> Column:
    """The features with zeros in place of null, on which MLlib's functions fail; or an error.

    Its nodes take as long to make as the rest of a `transform`, and outlive it with the context.
    """
    features = F.col(column)
    vector = F.unwrap_udt(features)
    stored = F.size(vector["values"])
    error = F.concat(
        F.lit(f"the model was trained on {size} features, found rows with "),
        F.coalesce(vector["size"], stored),
        F.lit(": score the features that it was trained on"),
    )
    # the usual case first, of dense vectors, whose values alone tell the size
    return (
        F.when(stored == size, features)
        .when(features.isNull(), _zeros(size))
        .when(vector["size"] == size, features)
        .otherwise(F.raise_error(error))
    )


def _zeros(size: int) -> Column:
    """A vector of zeros, which Spark makes once: it reads one from JSON as it plans."""
    zeros = {"type": 0, "size": size, "indices": [], "values": []}
    schema = StructType([StructField("vector", VectorUDT())])
    return F.from_json(F.lit(json.dumps({"vector": zeros})), schema)["vector"]


def _of_all_margins(
    dataset: DataFrame, weights: Array, intercepts: Array, scorer: Scorer, kinds: tuple[str, ...]
) -> tuple[DataFrame, dict[str, str]]:
    finish = scorer.finish
    thresholds = finish.thresholds if isinstance(finish, MultinomialFinish) else None
    model = _multinomial(weights, intercepts)
    model.setFeaturesCol(FEATURES).setRawPredictionCol(RAW).setPredictionCol("")
    softmax = "probability" in kinds or thresholds is not None
    model.setProbabilityCol(PROBABILITY if softmax else "")
    scored = _transformed(model, dataset)
    numbers = {MARGINS: _numbers(RAW)}
    if softmax:
        numbers[SOFTMAX] = _numbers(PROBABILITY)
    scored = scored.withColumns(numbers)
    probability = probability_of_all_margins()
    if thresholds is None:
        chosen = largest(MARGINS)
    else:
        scored = scored.withColumn(SCALED, F.expr(scaled(probability, thresholds)))
        chosen = largest(SCALED)
    return scored, {"raw": RAW, "probability": probability, "prediction": chosen}


def _numbers(column: str) -> Column:
    """The numbers of dense vectors."""
    return F.unwrap_udt(F.col(column))["values"]


def _multinomial(weights: Array, intercepts: Array) -> Any:
    outputs, features = weights.shape
    # row after row
    matrix = DenseMatrix(outputs, features, np.ascontiguousarray(weights).ravel(), True)
    name = f"{_CLASSES}.LogisticRegressionModel"
    return _made(name, matrix, intercepts, max(2, outputs), True)


def _made(name: str, *arguments: Any) -> Any:
    """A model of MLlib, by the constructor that its estimator calls."""
    vectors = [DenseVector(a) if isinstance(a, np.ndarray) else a for a in arguments]
    return JavaParams._new_java_obj(name, "sparkml_lsml", *vectors)


def _transformed(model: Any, dataset: DataFrame) -> DataFrame:
    return DataFrame(model.transform(dataset._jdf), dataset.sparkSession)
