"""Models of all folds and param maps of a cross-validation, over one ingest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column, DataFrame

from sparkml_lsml.engine.blocks.folds import without
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.metrics.measures import Measure, Ranking
from sparkml_lsml.engine.passes.reweighting import HeldOut, Reweighting
from sparkml_lsml.engine.predictors.standardization import less_origin
from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.cluster.trees import LAST_BYTES
from sparkml_lsml.spark.rows.centring import can_centre
from sparkml_lsml.spark.rows.ingest import Factors
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from sparkml_lsml.spark.rows.shared import ResidentRows, frame_of
from sparkml_lsml.spark.training.estimator import BlockEstimator
from sparkml_lsml.spark.training.plan import local_bytes
from sparkml_lsml.spark.training.problem import Problem
from sparkml_lsml.spark.training.training import Training
from sparkml_lsml.worker.measuring import MeasurePass, Measures

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CrossFit:
    """What a cross-validation found.

    Attributes
    ----------
    metrics : array of shape (folds, param maps)
    models : list of lists of models
        One for each fold and param map.
    best_model
        Trained on all rows; None if none was chosen.
    """

    metrics: Array
    models: list[list[Any]]
    best_model: Any


def cross_fit(
    estimators: Sequence[BlockEstimator],
    rows: DataFrame | ResidentRows,
    fold: Column,
    folds: int,
    measure: Callable[[], Measure],
    *,
    weighted: bool,
    choose: Callable[[Array], int] | None,
    held_out: Sequence[int] | None = None,
    whole: DataFrame,
) -> CrossFit:
    """Train and measure all models in shared passes, choose, and train the best on all rows.

    Parameters
    ----------
    estimators : sequence of BlockEstimator
        One for each param map, with the same ingest.
    rows : DataFrame or ResidentRows
    fold : Column
        Number of the fold of each row.
    folds : int
    measure : callable
        Makes an empty measure.
    weighted : bool
        Whether the metric counts rows by their weights.
    choose : callable or None
        Takes the metrics and returns the number of the best param map, to be trained on all rows.
    held_out : sequence of int, optional
        The folds that models are trained without, and measured on; all by default.
    whole : DataFrame
        The rows as the user has them, for the summary of the best: ``rows``, but for a column
        of folds that a search has added.

    Raises
    ------
    DataError
        If a fold has no rows to train on, or none to measure.
    DivergedError
        If a model diverged.
    """
    members = [estimator.copy()._normalise() for estimator in estimators]
    for member in members:
        member._check_fit(frame_of(rows))
    if any(member.value("solver") == "cocoa" for member in members):
        rows = frame_of(rows)  # see `Training`, which knows the first of them
    tested = range(folds) if held_out is None else held_out
    centre = all(map(can_centre, members))
    plan: dict[str, Any] = {
        "fold": fold,
        "folds": folds,
        "centre": centre,
        "local_bytes": local_bytes(members),
    }
    with Training(members[0], rows, **plan) as training:
        check_measure(measure(), training.blocks.report, training.member(members[0]).problem)
        training.shuffle_for(members)
        blocks, batch = training.blocks, []
        for number in tested:
            report = without(blocks.report.folds, number)
            check_fold(number, report.moments, blocks.report.folds[number].moments)
            batch += [training.member(member, report, held_out=number) for member in members]
        models = training.models(batch)
        unseen = HeldOut(tuple(member.held_out for member in batch))
        metrics = measured(
            models, unseen, measure, blocks, weighted=weighted, factors=training.factors
        )
        metrics = metrics.reshape(len(tested), len(members))
        best_model = None
        if choose is not None:
            best = choose(metrics)
            [best_model] = training.models([training.member(members[best], rows=whole)])
    each = iter(models)
    by_fold = [[next(each) for _ in members] for _ in tested]
    return CrossFit(metrics, by_fold, best_model)


def check_fold(number: int, trained: Any, tested: Any) -> None:
    """Raise a `DataError` where moments show a fold without rows, or all rows in it."""
    for what, moments in (("train on", trained), ("measure", tested)):
        if moments is None or moments.weight <= 0.0:
            raise DataError(
                f"fold {number} has no rows to {what}: use fewer folds, or another foldCol or seed"
            )


def check_measure(measure: Measure, report: Report, problem: Problem) -> None:
    """Raise a `DataError` for areas under curves where there are more than two classes."""
    if not isinstance(measure, Ranking):
        return
    highest = max(report.labels, default=0.0)
    found = f"labels up to {highest:g}"
    if problem.predictor.outputs > 1 and highest <= 1.0:
        found = f"a model of {problem.predictor.outputs} classes: {'; '.join(problem.warnings)}"
    if problem.predictor.outputs > 1 or highest > 1.0:
        raise DataError(
            f"{measure.metric} ranks rows of two classes, found {found}: use "
            "MulticlassClassificationEvaluator, or train on labels 0 and 1"
        )


def measured(
    models: Sequence[Any],
    unseen: Reweighting,
    measure: Callable[[], Measure],
    blocks: ResidentBlocks,
    *,
    weighted: bool,
    factors: Factors | None = None,
) -> Array:
    """Metrics of models on the rows that they were not trained on, in one pass."""
    found = measures(models, unseen, measure, blocks, weighted=weighted, factors=factors)
    return np.array([one.value() for one in found])


def measures(
    models: Sequence[Any],
    unseen: Reweighting,
    measure: Callable[[], Measure],
    blocks: ResidentBlocks,
    *,
    weighted: bool,
    factors: Factors | None = None,
) -> tuple[Any, ...]:
    """Measures of models on the rows that they were not trained on, in one pass."""
    scorers = tuple(model._scorer() for model in models)
    origin = blocks.report.origin
    scorers = tuple(
        replace(one, coef=less_origin(one.coef, one.predictor.layout, origin)) for one in scorers
    )
    task = MeasurePass(scorers, unseen, tuple(measure() for _ in models), weighted, factors)
    sums: Measures = blocks.run(task, "metrics", LAST_BYTES)
    return sums.measures
