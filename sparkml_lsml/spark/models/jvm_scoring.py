"""Scoring where the vectors are: MLlib's functions of vectors in the JVM, and Spark's expressions.

MLlib's models hold the only functions that take a vector of a frame without a copy into Python, and
their constructors are the ones that `sparkml_lsml.export` calls, too. They are asked for margins
and for the softmax alone. What becomes of null, of NaN, of infinite margins and of thresholds is
said here, as the finishes of `sparkml_lsml.worker.finishing` say it to NumPy.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseMatrix, DenseVector, VectorUDT
from pyspark.ml.wrapper import JavaParams
from pyspark.sql import Column, DataFrame
from pyspark.sql.types import StructField, StructType

from sparkml_lsml.engine.metrics.calibration import SigmoidCalibration, log_odds
from sparkml_lsml.engine.predictors import LinearPredictor
from sparkml_lsml.spark.rows.frames import column_of
from sparkml_lsml.worker.finishing import (
    BinaryFinish,
    CalibratedFinish,
    HighestFinish,
    MarginFinish,
    MultinomialFinish,
    RegressionFinish,
)
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]

NAN, INFINITY = float("nan"), float("inf")

FEATURES, RAW, PROBABILITY, MARGIN = TEMPORARY = tuple(
    f"__sparkml_lsml_{name}" for name in ("features", "raw", "probability", "margin")
)
"""Columns that the scores are made of, to be dropped behind them."""

_CLASSES = "org.apache.spark.ml.classification"


@dataclass(frozen=True)
class TwoClasses:
    """When class 1 is predicted, and its probability.

    Parameters
    ----------
    bound : float
        What the margin, or the log-odds where there are some, has to exceed for class 1.
    slope, intercept : float, optional
        The log-odds of class 1 are ``slope * margin + intercept``; None without probabilities.
    """

    bound: float
    slope: float | None = None
    intercept: float = 0.0


def two_classes(finish: Any) -> TwoClasses | None:
    """What a finish makes of the one margin of two classes; None where expressions cannot."""
    match finish:
        case MarginFinish():
            return TwoClasses(finish.threshold)
        case BinaryFinish():
            return TwoClasses(finish.margin, 1.0)
        case CalibratedFinish(calibration=SigmoidCalibration() as found):
            return TwoClasses(log_odds(finish.threshold), -found.slope, -found.intercept)
    return None


def computes(scorer: Scorer) -> bool:
    """Whether there are expressions for what a model makes of its margins."""
    if not isinstance(scorer.predictor, LinearPredictor):
        return False
    if scorer.predictor.layout.outputs > 1:
        return isinstance(scorer.finish, HighestFinish | MultinomialFinish)
    return isinstance(scorer.finish, RegressionFinish) or two_classes(scorer.finish) is not None


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
    scored = dataset.withColumn(FEATURES, _whole(column_of(dataset, features), layout.features))
    if layout.outputs == 1:
        scored, values = _of_one_margin(scored, weights[0], float(intercepts[0]), scorer, kinds)
    else:
        scored, values = _of_all_margins(scored, weights, intercepts, scorer, kinds)
    there = column_of(scored, features).isNotNull()
    return scored, {kind: F.when(there, values[kind]) for kind in kinds}


def _whole(features: Column, size: int) -> Column:
    """The features with zeros in place of null, on which MLlib's functions fail; or an error."""
    vector = F.unwrap_udt(features)
    # of dense vectors only the values tell it
    found = F.coalesce(vector["size"], F.size(vector["values"]))
    error = F.concat(
        F.lit(f"the model was trained on {size} features, found rows with "),
        found,
        F.lit(": score the features that it was trained on"),
    )
    return (
        F.when(features.isNull(), _zeros(size))
        .when(found == size, features)
        .otherwise(F.raise_error(error))
    )


def _zeros(size: int) -> Column:
    """A vector of zeros, which Spark makes once: it reads one from JSON as it plans."""
    zeros = {"type": 0, "size": size, "indices": [], "values": []}
    schema = StructType([StructField("vector", VectorUDT())])
    return F.from_json(F.lit(json.dumps({"vector": zeros})), schema)["vector"]


def _of_one_margin(
    dataset: DataFrame, weights: Array, intercept: float, scorer: Scorer, kinds: tuple[str, ...]
) -> tuple[DataFrame, dict[str, Column]]:
    two = two_classes(scorer.finish)
    if two is None or kinds == ("prediction",):
        model = _made(
            "org.apache.spark.ml.regression.LinearRegressionModel", weights, intercept, 1.0
        )
        scored = _transformed(model.setFeaturesCol(FEATURES).setPredictionCol(MARGIN), dataset)
        margin = F.col(MARGIN)
        return scored, {"prediction": margin if two is None else _chosen(margin, two)}
    model = _made(f"{_CLASSES}.LinearSVCModel", weights, intercept)
    model.setFeaturesCol(FEATURES).setRawPredictionCol(RAW).setPredictionCol("")
    scored = _transformed(model, dataset)
    margin = _numbers(RAW)[1]
    found = {"raw": F.col(RAW), "prediction": _chosen(margin, two)}
    if "probability" in kinds:
        # a softmax of both halves: 1 - p cancels where p is close to 1
        assert two.slope is not None
        half = np.array([[0.0, -two.slope / 2.0], [0.0, two.slope / 2.0]])
        shift = np.array([-two.intercept / 2.0, two.intercept / 2.0])
        model = _multinomial(half, shift)
        model.setFeaturesCol(RAW).setRawPredictionCol("").setProbabilityCol(PROBABILITY)
        scored = _transformed(model.setPredictionCol(""), scored)
        log_odds = margin * two.slope + two.intercept
        certain = F.when(log_odds > 0.0, 1.0).otherwise(0.0)
        found["probability"] = F.when(
            F.abs(log_odds) == INFINITY, array_to_vector(F.array(1.0 - certain, certain))
        ).otherwise(F.col(PROBABILITY))
    return scored, found


def _chosen(margin: Column, two: TwoClasses) -> Column:
    """The class of a margin. NaN is larger than any number to Spark."""
    value = margin if two.slope is None else margin * two.slope + two.intercept
    return F.when(F.isnan(value), NAN).when(value > two.bound, 1.0).otherwise(0.0)


def _of_all_margins(
    dataset: DataFrame, weights: Array, intercepts: Array, scorer: Scorer, kinds: tuple[str, ...]
) -> tuple[DataFrame, dict[str, Column]]:
    finish = scorer.finish
    thresholds = finish.thresholds if isinstance(finish, MultinomialFinish) else None
    model = _multinomial(weights, intercepts)
    model.setFeaturesCol(FEATURES).setRawPredictionCol(RAW).setPredictionCol("")
    softmax = "probability" in kinds or thresholds is not None
    model.setProbabilityCol(PROBABILITY if softmax else "")
    scored = _transformed(model, dataset)
    margins = _numbers(RAW)
    highest = F.array_max(margins)  # NaN, where there is one
    found = {"raw": F.col(RAW)}
    if softmax:
        at = _position(margins, highest)
        certain = F.transform(margins, lambda _, n: F.when(n == at, 1.0).otherwise(0.0))
        limit = F.when(F.isnan(highest), F.transform(margins, lambda _: F.lit(NAN)))
        found["probability"] = F.when(
            highest < INFINITY,
            F.col(PROBABILITY),  # NaN is not, to Spark
        ).otherwise(array_to_vector(limit.otherwise(certain)))
    if thresholds is None:
        largest = _position(margins, highest)
    else:
        each = F.array(*[F.lit(float(threshold)) for threshold in thresholds])
        numbers = F.unwrap_udt(found["probability"])["values"]
        scaled = F.zip_with(numbers, each, _scaled)
        largest = _position(scaled, F.array_max(scaled))
    found["prediction"] = F.when(F.isnan(highest), NAN).otherwise(largest.cast("double"))
    return scored, found


def _scaled(probability: Column, threshold: Column) -> Column:
    quotient = F.when(threshold == 0.0, INFINITY).otherwise(probability / threshold)
    return F.when(probability > 0.0, quotient).otherwise(0.0)


def _position(numbers: Column, number: Column) -> Column:
    """Where a number is for the first time, from 0."""
    # before 4.0 `array_position` takes no column
    return F.call_function("array_position", numbers, number) - 1


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
