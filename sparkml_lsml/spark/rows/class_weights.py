"""What the weights of classes multiply the weight of each row by."""

import math

import pyspark.sql.functions as F
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.cluster.jobs import JobGroup, surrounding_jobs
from sparkml_lsml.spark.cluster.session import context
from sparkml_lsml.spark.params.bases import CheckedParams
from sparkml_lsml.spark.params.class_weight import BALANCED
from sparkml_lsml.spark.rows.frames import column_of
from sparkml_lsml.spark.rows.ingest import Factors

MAX_CLASSES = 100_000
"""Different labels that are weighed against each other, at most."""


def class_factors(params: CheckedParams, dataset: DataFrame, name: str) -> Factors | None:
    """What multiplies the weights of each class; None where there is no such Param or value.

    'balanced' takes one Spark job more, which reads labels and weights: with the sum n_k of the
    weights of class k, n of all, and K classes that have rows, the factor is n / (K n_k).

    Parameters
    ----------
    params : the estimator
    dataset : DataFrame
    name : str
        What jobs are called.

    Raises
    ------
    DataError
        If there are more than `MAX_CLASSES` different labels.

    References
    ----------
    King and Zeng (2001), Logistic regression in rare events data, Political Analysis 9; this is
    also what scikit-learn's ``compute_class_weight`` returns.
    """
    value = params.value("classWeight") if params.hasParam("classWeight") else ""
    if isinstance(value, dict):
        return value
    if value != BALANCED:
        return None
    held = params.value("validationIndicatorCol")
    if held:
        dataset = dataset.where(~column_of(dataset, held))  # nothing is learned from these rows
    weight = params.value("weightCol")
    label = column_of(dataset, params.value("labelCol")).cast("double")
    mass = column_of(dataset, weight).cast("double") if weight else F.lit(1.0)
    sums = dataset.groupBy(label.alias("label")).agg(F.sum(mass).alias("weight"))
    jobs = JobGroup(context(dataset), name, surrounding_jobs())
    try:
        with jobs.job(f"{name} weights of classes"):
            found = sums.limit(MAX_CLASSES + 1).collect()
    except BaseException:
        jobs.cancel()
        raise
    if len(found) > MAX_CLASSES:
        raise DataError(
            f"classWeight='balanced' found more than {MAX_CLASSES:,} different labels in column "
            f"'{params.value('labelCol')}': expected classes 0, 1, 2, ..."
        )
    # the ingest will tell what is wrong with other labels and weights
    masses = {
        row["label"]: row["weight"]
        for row in found
        if row["label"] is not None
        and math.isfinite(row["label"])
        and row["weight"] is not None
        and math.isfinite(row["weight"])
        and row["weight"] > 0.0
    }
    total = math.fsum(masses.values())
    return {label: total / (len(masses) * mass) for label, mass in sorted(masses.items())}


def check_class_weight(params: CheckedParams, report: Report, known: int = 0) -> None:
    """Compare a map of weights with the labels that were found, and with the classes known before.

    Raises
    ------
    DataError
        If a label of the rows has no weight, or a weight is that of a label beyond the classes.
    """
    value = params.value("classWeight") if params.hasParam("classWeight") else ""
    if not isinstance(value, dict) or not report.labels:
        return
    missing = {label: rows for label, (rows, _) in report.labels.items() if label not in value}
    if missing:
        shown = ", ".join(f"{label:g}" for label in sorted(missing)[:10])
        raise DataError(
            f"classWeight has no weight for the labels {shown}, found in "
            f"{sum(missing.values()):,} rows: expected a weight for each of the "
            f"{len(report.labels)} labels, or 'balanced'"
        )
    classes = max(2, known, int(max(report.labels)) + 1)
    unknown = [label for label in value if label >= classes]
    if unknown:
        raise DataError(
            f"classWeight has a weight for the label {unknown[0]:g}, of which there are no rows: "
            f"found labels from 0 to {classes - 1}"
        )
