"""How good predictions are; every sum is weighted, and computed by Spark where the rows are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from sparkml_lsml.jobs.data import require_columns
from sparkml_lsml.jobs.errors import JobError
from sparkml_lsml.spark.rows.frames import column_of, column_type, has_column

# More pairs of label and prediction than this are no classes, and would not fit a report.
_MOST_PAIRS = 100_000
# The largest index of an array.
_MOST_CLASSES = 2**31 - 1
# MLlib's own bound on a probability, below which its logarithm is taken there.
_SMALLEST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class ScoredColumns:
    """Names of the columns that metrics are computed from.

    Attributes
    ----------
    label, prediction
        Numbers; required.
    raw_prediction, probability
        A vector with one entry for each class, where the frame has them; a column of another type
        is left alone.
    weight
        Weight of each row; every row has weight 1 where it is None.
    """

    label: str = "label"
    prediction: str = "prediction"
    raw_prediction: str | None = None
    probability: str | None = None
    weight: str | None = None


def compute(frame: DataFrame, columns: ScoredColumns, task: str) -> dict[str, Any]:
    """Compute the metrics of a task.

    Parameters
    ----------
    frame
        Rows with labels and predictions.
    columns
        Where they are.
    task
        ``binary`` (labels 0 and 1), ``multiclass`` or ``regression``.

    Returns
    -------
    dict
        Numbers by the names that MLlib's evaluators give them; ready for JSON. A metric that these
        rows do not define (an area of rows of one class, r2 of labels that do not vary) is None.

    Raises
    ------
    JobError
        If there are no rows, a column is missing, a label, prediction or weight is null, NaN or
        negative where it may not be, or the labels do not fit the task.
    """
    used = tuple(
        name for name in (columns.label, columns.prediction, columns.weight) if name is not None
    )
    require_columns(frame, used, "evaluation")
    narrow = [
        column_of(frame, columns.label).cast("double").alias("label"),
        column_of(frame, columns.prediction).cast("double").alias("prediction"),
        (column_of(frame, columns.weight).cast("double") if columns.weight else F.lit(1.0)).alias(
            "weight"
        ),
    ]
    vectors = {"raw": columns.raw_prediction, "probability": columns.probability}
    if task == "regression":
        vectors.clear()
    # what is no vector, as after a way through JSON, ranks nothing; the class is there all the same
    present = {
        key: name
        for key, name in vectors.items()
        if name and has_column(frame, name) and isinstance(column_type(frame, name, key), VectorUDT)
    }
    narrow += [column_of(frame, name).alias(key) for key, name in present.items()]
    # Several passes follow, and each would read and score everything anew.
    scored = frame.select(*narrow).persist()
    try:
        sums = _check_numbers(scored, probability="probability" in present)
        if task == "regression":
            return _regression(scored, sums)
        result = _classification(scored, present, binary=task == "binary")
        if sums["losses"] is not None:
            result["logLoss"] = sums["losses"] / sums["total"]
        return result
    finally:
        scored.unpersist()


def _check_numbers(scored: DataFrame, *, probability: bool) -> Row:
    """Check the rows, and compute the weighted sums that need no other pass."""
    label, prediction, weight = F.col("label"), F.col("prediction"), F.col("weight")
    counts = scored.agg(
        F.count(F.lit(1)).alias("rows"),
        *(
            F.count(F.when(bad, True)).alias(name)
            for name, bad in (
                ("label", _not_finite(label)),
                ("prediction", _not_finite(prediction)),
                ("weight", _not_finite(weight) | (weight < 0)),
            )
        ),
        F.sum(weight).alias("total"),
        F.sum(weight * label).alias("labels"),
        (F.sum(weight * _log_loss()) if probability else F.lit(None)).alias("losses"),
    ).first()
    assert counts is not None  # an aggregate without groups has one row
    if counts["rows"] == 0:
        raise JobError("evaluation: there are no rows; expected at least one")
    for name, advice in (
        ("label", "the label is null, NaN or infinite; list its column in input.drop_nulls"),
        ("prediction", "the prediction is null, NaN or infinite; look for NaN in the features"),
        ("weight", "the weight is null, NaN, infinite or negative; repair the weights"),
    ):
        if counts[name]:
            raise JobError(f"evaluation: in {counts[name]} of {counts['rows']} rows {advice}")
    if counts["total"] <= 0:
        raise JobError("evaluation: the weights sum to 0; expected a positive sum")
    return counts


def _not_finite(column: Column) -> Column:
    return column.isNull() | F.isnan(column) | (F.abs(column) == F.lit(math.inf))


def _regression(scored: DataFrame, sums: Row) -> dict[str, Any]:
    weight, label, prediction = F.col("weight"), F.col("label"), F.col("prediction")
    total, mean = sums["total"], sums["labels"] / sums["total"]
    # Around the mean, in a second pass: sums of squares of large labels would cancel.
    second = scored.agg(
        F.sum(weight * (label - prediction) ** 2).alias("squared"),
        F.sum(weight * F.abs(label - prediction)).alias("absolute"),
        F.sum(weight * (label - mean) ** 2).alias("spread"),
        F.sum(weight * (prediction - mean) ** 2).alias("explained"),
        # rounding may leave the spread of equal labels above 0
        F.min(F.when(weight > 0, label)).alias("least"),
        F.max(F.when(weight > 0, label)).alias("most"),
    ).first()
    assert second is not None
    mse, varies = second["squared"] / total, second["least"] < second["most"]
    return {
        "rmse": math.sqrt(mse),
        "mse": mse,
        "mae": second["absolute"] / total,
        "r2": 1 - second["squared"] / second["spread"] if varies else None,
        "explainedVariance": second["explained"] / total,
    }


def _classification(scored: DataFrame, present: Collection[str], *, binary: bool) -> dict[str, Any]:
    groups = scored.groupBy("label", "prediction").agg(F.sum("weight").alias("weight"))
    rows = groups.limit(_MOST_PAIRS + 1).collect()
    if len(rows) > _MOST_PAIRS:
        raise JobError(
            f"evaluation: more than {_MOST_PAIRS} pairs of label and prediction are no classes; "
            "is this a regression?"
        )
    pairs = {(row["label"], row["prediction"]): row["weight"] for row in rows}
    labels = sorted({label for pair in pairs for label in pair})
    if any(label < 0 or label != int(label) for label in labels):
        wrong = next(label for label in labels if label < 0 or label != int(label))
        raise JobError(
            f"evaluation: found the class {wrong:g}; expected 0, 1, 2, ...; "
            "give other labels a number in label.map"
        )
    if not binary:
        metrics = _multiclass(pairs, labels)
    elif labels[-1] > 1:
        raise JobError(
            f"evaluation: found the class {labels[-1]:g}; expected 0 or 1; "
            "set task: multiclass, or map the labels in label.map"
        )
    else:
        metrics = _binary(pairs)
        score = next((key for key in ("raw", "probability") if key in present), None)
        if score is not None:
            classes = {label for (label, _), weight in pairs.items() if weight > 0}
            metrics.update(_areas(scored, score, one_class=len(classes) == 1))
    return metrics


def _binary(pairs: dict[tuple[float, float], float]) -> dict[str, Any]:
    true_positive = pairs.get((1.0, 1.0), 0.0)
    false_positive = pairs.get((0.0, 1.0), 0.0)
    true_negative = pairs.get((0.0, 0.0), 0.0)
    false_negative = pairs.get((1.0, 0.0), 0.0)
    return {
        "accuracy": (true_positive + true_negative) / sum(pairs.values()),
        **_rates(true_positive, false_positive, false_negative),
        "confusion": {
            "truePositive": true_positive,
            "falsePositive": false_positive,
            "trueNegative": true_negative,
            "falseNegative": false_negative,
        },
    }


def _multiclass(pairs: dict[tuple[float, float], float], labels: Iterable[float]) -> dict[str, Any]:
    total = sum(pairs.values())
    hits = dict.fromkeys(labels, 0.0)
    actual, predicted = dict(hits), dict(hits)
    for (label, prediction), weight in pairs.items():
        actual[label] += weight
        predicted[prediction] += weight
        if label == prediction:
            hits[label] += weight
    by_label = {
        label: {
            **_rates(hits[label], predicted[label] - hits[label], actual[label] - hits[label]),
            "weight": actual[label],
        }
        for label in hits
    }

    def mean(name: str) -> float:
        return sum(rates[name] * rates["weight"] for rates in by_label.values()) / total

    return {
        "accuracy": sum(hits.values()) / total,
        "weightedPrecision": mean("precision"),
        "weightedRecall": mean("recall"),
        "weightedF1": mean("f1"),
        "labels": {f"{label:g}": rates for label, rates in by_label.items()},
    }


def _rates(hits: float, false_alarms: float, misses: float) -> dict[str, float]:
    """Compute precision, recall and F1; 0 where a denominator is 0, as MLlib has it."""
    precision = hits / (hits + false_alarms) if hits + false_alarms > 0 else 0.0
    recall = hits / (hits + misses) if hits + misses > 0 else 0.0
    both = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both if both > 0 else 0.0,
    }


def _areas(scored: DataFrame, score: str, *, one_class: bool) -> dict[str, Any]:
    if one_class:
        return {"areaUnderROC": None, "areaUnderPR": None}
    if score == "raw":
        # of a network two outputs, of which only the difference ranks rows; of margins it is theirs
        raw = vector_to_array(F.col("raw"))
        scored = scored.withColumn("raw", 0.5 * F.get(raw, 1) - 0.5 * F.get(raw, 0))
    # Without bins: MLlib's default of 1,000 moves the areas in the fourth digit.
    evaluator = BinaryClassificationEvaluator(
        rawPredictionCol=score, labelCol="label", weightCol="weight", numBins=0
    )
    # The evaluator's Python side sorts all rows anew for each of the two; its JVM side need not.
    evaluator._transfer_params_to_java()
    java: Any = evaluator._java_obj
    curves = java.getMetrics(scored._jdf)
    try:
        return {"areaUnderROC": curves.areaUnderROC(), "areaUnderPR": curves.areaUnderPR()}
    finally:
        curves.unpersist()


def _log_loss() -> Column:
    # rows that cannot be used are counted beside it, and must not end the job before
    label = F.col("label")
    usable = (label >= 0) & (label < _MOST_CLASSES) & F.col("probability").isNotNull()
    entry = F.get(vector_to_array(F.col("probability")), label.cast("int"))
    of_label = F.when(usable, entry)
    return -F.log(F.greatest(F.coalesce(of_label, F.lit(0.0)), F.lit(_SMALLEST_PROBABILITY)))
