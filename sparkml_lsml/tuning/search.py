"""What the searches share: when models can be trained together, and how they are measured."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
from pyspark import inheritable_thread_target
from pyspark.errors import AnalysisException
from pyspark.ml import Estimator, Pipeline, PipelineModel
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    Evaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.ml.param import Params
from pyspark.ml.tuning import _parallelFitTasks
from pyspark.sql import Column, DataFrame

from sparkml_lsml.engine.metrics.log_loss import LEAST_PROBABILITY
from sparkml_lsml.engine.metrics.measures import Confusion, Measure, Ranking, Residuals
from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.solvers import SAMPLING_SOLVERS
from sparkml_lsml.spark.rows.frames import column_of
from sparkml_lsml.spark.rows.shared import ResidentRows, frame_of
from sparkml_lsml.spark.training.cross_fitting import CrossFit, cross_fit
from sparkml_lsml.spark.training.estimator import BlockEstimator, own_fit

log = logging.getLogger("sparkml_lsml")

Array = npt.NDArray[np.float64]

SHOWN = 10
"""Folds that are named, at most."""

CONFUSION_METRICS = (
    "accuracy",
    "hammingLoss",
    "f1",
    "weightedPrecision",
    "weightedRecall",
    "weightedFMeasure",
    "logLoss",
)
RESIDUAL_METRICS = ("rmse", "mse", "mae", "r2")


@dataclass(frozen=True)
class Search:
    """A grid whose models can be trained together.

    Attributes
    ----------
    stages : list or None
        Stages of a pipeline before the estimator, which are fitted once a fold; None without a
        pipeline.
    members : list of BlockEstimator
        One for each param map.
    measure : callable
        Makes an empty measure of what the evaluator evaluates.
    weighted : bool
    """

    stages: list[Any] | None
    members: list[BlockEstimator]
    measure: Callable[[], Measure]
    weighted: bool

    @staticmethod
    def of(estimator: Estimator[Any], maps: Sequence[Any], evaluator: Evaluator) -> "Search | None":
        """The search, or None where models have to be trained and measured one by one."""
        stages: list[Any] | None = None
        last: Any = estimator
        if isinstance(estimator, Pipeline) and type(estimator) is Pipeline:
            *stages, last = estimator.getStages()
        if not isinstance(last, BlockEstimator) or own_fit(last):
            return None
        own = {param for extra in maps for param in extra}
        if any(not last.hasParam(p.name) or p.parent != last.uid for p in own):
            return None  # a Param of an earlier stage, or of the pipeline itself
        members = [last.copy(extra) for extra in maps]
        if len({member.ingest_key() for member in members}) > 1:
            return None
        if any(member.value("solver") in SAMPLING_SOLVERS for member in members):
            return None
        if members[0].value("validationIndicatorCol"):
            return None  # rows have one fold: that of the search, or that of the validation
        measure = measure_of(evaluator, members)
        if measure is None:
            return None
        weighted = is_weighted(evaluator, members[0])
        if weighted is None:
            return None
        return Search(stages, members, measure, weighted)

    def run(
        self,
        given: DataFrame | ResidentRows,
        fold: Column,
        folds: int,
        choose: Callable[[Array], int],
        held_out: Sequence[int] | None = None,
        *,
        whole: DataFrame,
    ) -> CrossFit | None:
        """Train and measure all models; the best is trained on all rows unless there are stages.

        ``fold`` is a column of the rows given, which are ``whole``, but for a column of folds that
        the search has added and stages are not to see. None where a stage drops that column.
        """
        fit = partial(
            cross_fit,
            self.members,
            fold=fold,
            folds=folds,
            measure=self.measure,
            weighted=self.weighted,
            whole=whole,
        )
        if not self.stages:
            for member in self.members:  # here, since errors list no column of the search's own
                member.copy()._normalise()._check_fit(whole)
            found = fit(given, choose=choose, held_out=held_out)
            return found if self.stages is None else _in_pipelines(found)
        dataset = frame_of(given)  # what stages make of it are other rows
        added = set(dataset.columns).difference(whole.columns)
        metrics, models = [], []
        for number in range(folds) if held_out is None else held_out:
            seen = dataset.where(fold != number).drop(*added)
            before = Pipeline(stages=self.stages).fit(seen)
            rows = before.transform(dataset)
            if not _has(rows, fold):
                return None
            part = fit(rows, choose=None, held_out=[number])
            metrics.append(part.metrics[0])
            models.append([PipelineModel([*before.stages, model]) for model in part.models[0]])
        return CrossFit(np.array(metrics), models, None)


def _in_pipelines(found: CrossFit) -> CrossFit:
    """The models as a pipeline of one stage gives them."""
    return replace(
        found,
        models=[[PipelineModel([model]) for model in part] for part in found.models],
        best_model=found.best_model and PipelineModel([found.best_model]),
    )


def _has(rows: DataFrame, column: Column) -> bool:
    try:
        rows.select(column)  # names are compared as Spark does
    except AnalysisException:
        return False
    return True


def measure_of(
    evaluator: Evaluator, members: Sequence[BlockEstimator]
) -> Callable[[], Measure] | None:
    """What the evaluator evaluates, if it looks at the columns that the models write."""
    first = members[0]
    if _param(evaluator, "labelCol") != first.value("labelCol"):
        return None
    metric = str(_param(evaluator, "metricName"))
    kind = type(evaluator)
    columns = {
        name: {m.value(name) for m in members if m.hasParam(name)}
        for name in ("predictionCol", "rawPredictionCol", "probabilityCol")
    }

    def same(of_evaluator: str, *of_model: str) -> bool:
        return any(columns[name] == {_param(evaluator, of_evaluator)} for name in of_model)

    if kind is BinaryClassificationEvaluator:
        # a probability ranks rows as the margin does
        if not same("rawPredictionCol", "rawPredictionCol", "probabilityCol"):
            return None
        return partial(Ranking, metric) if all(m._one_margin() for m in members) else None
    if kind is MulticlassClassificationEvaluator and metric in CONFUSION_METRICS:
        probable = same("probabilityCol", "probabilityCol")
        if metric == "logLoss" and not (probable and _param(evaluator, "eps") == LEAST_PROBABILITY):
            return None
        beta = float(_param(evaluator, "beta"))
        return partial(Confusion, metric, beta) if same("predictionCol", "predictionCol") else None
    if kind is RegressionEvaluator and metric in RESIDUAL_METRICS:
        if metric == "r2" and _param(evaluator, "throughOrigin"):
            return None
        return partial(Residuals, metric) if same("predictionCol", "predictionCol") else None
    return None


def is_weighted(evaluator: Evaluator, member: BlockEstimator) -> bool | None:
    """Whether a metric counts rows by their weights; None if it does by those of another column."""
    weight = _param(evaluator, "weightCol")
    if weight and weight != member.value("weightCol"):
        return None
    return bool(weight)


def _param(owner: Params, name: str) -> Any:
    if not owner.hasParam(name):
        return None  # an evaluator of the user's
    param = owner.getParam(name)
    return owner.getOrDefault(param) if owner.isDefined(param) else None


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the metrics of all folds say of the models.

    A fold that defines the metric for no model is left out: an area of rows of one class, or r2 of
    labels that do not vary, is no number to take a mean of.

    Parameters
    ----------
    evaluator : Evaluator
    metrics : array of shape (folds, models)
        NaN where the held-out rows do not define the metric.
    """

    evaluator: Evaluator
    metrics: Array

    @property
    def left_out(self) -> npt.NDArray[np.intp]:
        """Numbers of the folds that define the metric for no model."""
        return np.flatnonzero(np.isnan(self.metrics).all(axis=1))

    @property
    def _kept(self) -> Array:
        kept = np.delete(self.metrics, self.left_out, axis=0)
        return kept if len(kept) else np.full((1, self.metrics.shape[1]), np.nan)

    @property
    def means(self) -> list[float]:
        """The mean metric of each model, over the folds that define it."""
        return [float(mean) for mean in self._kept.mean(axis=0)]

    @property
    def spreads(self) -> list[float]:
        """The standard deviation of the metric of each model, over the same folds."""
        return [float(spread) for spread in self._kept.std(axis=0)]

    @property
    def best(self) -> int:
        """Number of the best model, the first of several.

        Raises
        ------
        DataError
            If no mean is a finite number, see `best_of`.
        """
        undefined = len(self.left_out) == len(self.metrics) > 1
        return best_of(self.means, self.evaluator, "any fold" if undefined else "what is held out")

    @property
    def note(self) -> str:
        """What was left out, in words; '' if nothing was."""
        left_out, folds = self.left_out, len(self.metrics)
        if not len(left_out):
            return ""
        shown = ", ".join(map(str, left_out[:SHOWN])) + ", ..." * (len(left_out) > SHOWN)
        return (
            f"{_metric(self.evaluator)} is undefined in {len(left_out)} of {folds} folds ({shown})"
            f"{_why(self.evaluator)}: means are over the other {folds - len(left_out)}"
        )

    def tell(self, name: str, model: Any) -> None:
        """Log what was left out, and note it in the summary of the model that was chosen."""
        if not self.note:
            return
        log.warning("%s: %s", name, self.note)
        last: Any = model.stages[-1] if isinstance(model, PipelineModel) else model
        if getattr(last, "hasSummary", False) and isinstance(last.summary, TrainingSummary):
            last._summary = replace(last.summary, notes=(*last.summary.notes, self.note))


def best_of(means: npt.ArrayLike, evaluator: Evaluator, where: str = "what is held out") -> int:
    """Position of the best mean, the first of several; those that are no numbers have no part.

    Raises
    ------
    DataError
        If none is a number: a model would be chosen by its place in the grid.
    """
    found = np.asarray(means, dtype=np.float64)
    if not np.isfinite(found).any():
        raise DataError(
            f"{_metric(evaluator)} is not a finite number in {where}, for any of the models. Areas "
            "need both classes and r2 labels that vary in what is held out: use another metric, "
            "fewer folds or larger groups"
        )
    worst = -np.inf if evaluator.isLargerBetter() else np.inf
    found = np.where(np.isfinite(found), found, worst)
    return int(np.argmax(found) if evaluator.isLargerBetter() else np.argmin(found))


def fit_one_by_one(
    search: Any, folds: Sequence[tuple[DataFrame, DataFrame]], dataset: DataFrame
) -> CrossFit:
    """MLlib's road: models are fitted to each fold and measured there, in ``parallelism`` threads.

    Parameters
    ----------
    search : CrossValidator or TrainValidationSplit
    folds : sequence of (training, held out)
    dataset : DataFrame
        All rows.
    """
    maps, evaluator = search.getEstimatorParamMaps(), Defined(search.getEvaluator())
    collect = search.getCollectSubModels()
    metrics = np.full((len(folds), len(maps)), np.nan)
    models: list[list[Any]] = [[None] * len(maps) for _ in folds]
    threads = min(search.getParallelism(), len(maps))
    with contextlib.closing(ThreadPool(threads)) as pool:
        for number, (trained, held_out) in enumerate(folds):
            frames = trained.persist(), held_out.persist()
            try:
                tasks = _parallelFitTasks(
                    search.getEstimator(), frames[0], evaluator, frames[1], maps, collect
                )
                # here, and not in the pool's own thread, which knows no job group
                wrap = inheritable_thread_target(dataset.sparkSession)
                wrapped = [wrap(task) for task in tasks]
                for k, metric, model in pool.imap_unordered(_call, wrapped):
                    metrics[number, k], models[number][k] = metric, model
            finally:
                for one in frames:
                    one.unpersist()
    return CrossFit(metrics, models, None)


def _call(task: Callable[[], Any]) -> Any:
    return task()


class Defined(Evaluator):
    """An evaluator whose metric is NaN where the rows do not define it.

    MLlib's own give 0 or 1 for areas of rows of one class, and minus infinity or what rounding
    leaves for r2 of labels that do not vary.

    Parameters
    ----------
    evaluator : Evaluator
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__()
        self._evaluator = evaluator

    def isLargerBetter(self) -> bool:
        """As the evaluator says."""
        return bool(self._evaluator.isLargerBetter())

    def _evaluate(self, dataset: DataFrame) -> float:
        value = float(self._evaluator.evaluate(dataset))
        # what is undefined is never a number between them, and most metrics are: no job is needed
        if 0.0 < value < 1.0 or self._varies(dataset):
            return value
        return float("nan")

    def _varies(self, dataset: DataFrame) -> bool:
        evaluator = self._evaluator
        area = isinstance(evaluator, BinaryClassificationEvaluator)
        share = isinstance(evaluator, RegressionEvaluator) and _metric(evaluator) == "r2"
        if not area and not share:
            return True
        label = column_of(dataset, _param(evaluator, "labelCol")).cast("double")
        if area:
            label = (label > 0.5).cast("double")  # MLlib's class 1
        weight = _param(evaluator, "weightCol")
        rows = dataset.where(column_of(dataset, weight) > 0.0) if weight else dataset
        found = rows.agg(F.min(label).alias("least"), F.max(label).alias("most")).first()
        assert found is not None  # an aggregate without groups has one row
        about_zero = share and _param(evaluator, "throughOrigin")
        return bool(found["least"] != found["most"] or (about_zero and found["least"]))


def _metric(evaluator: Evaluator) -> str:
    return str(_param(evaluator, "metricName") or evaluator)


def _why(evaluator: Evaluator) -> str:
    if isinstance(evaluator, BinaryClassificationEvaluator):
        return ", which hold out one class only"
    return ", which hold out labels that do not vary" if _metric(evaluator) == "r2" else ""
