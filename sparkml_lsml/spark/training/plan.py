"""How the rows of a training are read, and whether they have to be shuffled before."""

from collections.abc import Sequence

import numpy as np
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.spark.params.fit_settings import FitSettings
from sparkml_lsml.spark.rows.assembled import assembled
from sparkml_lsml.spark.rows.frames import column_of
from sparkml_lsml.spark.rows.plan import LOCAL_BYTES, IngestPlan
from sparkml_lsml.spark.training.trainable import Trainable

SORTED_SHARE = 0.05
"""Share of the labels' variance that lies between partitions, from which rows count as sorted."""


def ingest_plan(
    settings: FitSettings, dataset: DataFrame, task: Task, *, centre: bool
) -> IngestPlan:
    """How an estimator wants its rows packed; see `IngestPlan` for ``task`` and ``centre``."""
    validation = settings.validationIndicatorCol
    given = tuple(settings.featuresCols or ())
    inputs = () if given else assembled(dataset, settings.featuresCol)
    return IngestPlan(
        features=given or inputs or settings.featuresCol,
        label=settings.labelCol,
        weight=settings.weightCol,
        task=task,
        dtype=settings.dtype,
        execution=settings.execution,
        depth=settings.aggregationDepth,
        name=settings.estimator,
        fold=None if validation is None else column_of(dataset, validation).cast("int"),
        folds=0 if validation is None else 2,
        validation=validation,
        centre=centre,
        assembled=bool(inputs),
    )


def local_bytes(estimators: Sequence[Trainable]) -> int:
    """Bytes up to which these are trained on the driver, by the one whose rows cost most."""
    return int(LOCAL_BYTES / max(1.0, *(each.row_cost() for each in estimators)))


def rows_are_sorted(report: Report) -> bool:
    """Whether the mean label differs so much between partitions that rows must be sorted by it."""
    if report.label_moments is None or len(report.label_means) < 2:
        return False
    weights, means = np.array(report.label_means).T
    total = weights.sum()
    variance = float(report.label_moments.variance(sample=False)[0])
    between = float(weights @ np.square(means - weights @ means / total)) / total
    return between > SORTED_SHARE * variance
