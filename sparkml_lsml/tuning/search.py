"""What the searches share: when models can be trained together, and how they are measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.errors import AnalysisException
from pyspark.ml import Estimator, Pipeline, PipelineModel
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    Evaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.ml.param import Params
from pyspark.sql import Column, DataFrame

from sparkml_lsml.errors import DataError
from sparkml_lsml.metrics import Confusion, Measure, Ranking, Residuals
from sparkml_lsml.spark.cross_fitting import CrossFit, cross_fit
from sparkml_lsml.spark.estimator import LinearEstimator, own_fit
from sparkml_lsml.spark.params import SAMPLING_SOLVERS
from sparkml_lsml.tallies import LEAST_PROBABILITY

Array = npt.NDArray[np.float64]

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
    members : list of LinearEstimator
        One for each param map.
    measure : callable
        Makes an empty measure of what the evaluator evaluates.
    weighted : bool
    """

    stages: list[Any] | None
    members: list[LinearEstimator]
    measure: Callable[[], Measure]
    weighted: bool

    @staticmethod
    def of(estimator: Estimator[Any], maps: Sequence[Any], evaluator: Evaluator) -> "Search | None":
        """The search, or None where models have to be trained and measured one by one."""
        stages: list[Any] | None = None
        last: Any = estimator
        if isinstance(estimator, Pipeline) and type(estimator) is Pipeline:
            *stages, last = estimator.getStages()
        if not isinstance(last, LinearEstimator) or own_fit(last):
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
        dataset: DataFrame,
        fold: Column,
        folds: int,
        choose: Callable[[Array], int],
        held_out: Sequence[int] | None = None,
        *,
        whole: DataFrame,
    ) -> CrossFit | None:
        """Train and measure all models; the best is trained on all rows unless there are stages.

        ``fold`` is a column of the dataset, which is ``whole``, but for a column of folds that the
        search has added and stages are not to see. None where a stage drops the column ``fold``.
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
                member.copy()._normalise()._check_columns(whole)
            found = fit(dataset, choose=choose, held_out=held_out)
            return found if self.stages is None else _in_pipelines(found)
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
    evaluator: Evaluator, members: Sequence[LinearEstimator]
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
        binary = all(m._task() == "binary" or m.value("family") != "multinomial" for m in members)
        return partial(Ranking, metric) if binary else None
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


def is_weighted(evaluator: Evaluator, member: LinearEstimator) -> bool | None:
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


def best(evaluator: Evaluator) -> Callable[[Array], int]:
    """What chooses the best mean metric, the first of several, from one row a fold.

    It raises a `DataError` where no mean is a number, see `best_of`.
    """

    def choose(metrics: Array) -> int:
        undefined = np.flatnonzero(~np.isfinite(metrics).any(axis=1))
        folds = ", ".join(map(str, undefined[:10])) if len(metrics) > 1 else ""
        return best_of(metrics.mean(axis=0), evaluator, folds)

    return choose


def best_of(means: npt.ArrayLike, evaluator: Evaluator, folds: str = "") -> int:
    """Position of the best mean, the first of several; those that are no numbers have no part.

    Raises
    ------
    DataError
        If none is a number: a model would be chosen by its place in the grid.
    """
    found = np.asarray(means, dtype=np.float64)
    if not np.isfinite(found).any():
        where = f" in fold {folds}" if folds else ""
        raise DataError(
            f"{_param(evaluator, 'metricName') or evaluator} is not a finite number{where}, for "
            "any of the models. Areas need both classes and r2 labels that vary in what is held "
            "out: use another metric, fewer folds or larger groups"
        )
    worst = -np.inf if evaluator.isLargerBetter() else np.inf
    found = np.where(np.isfinite(found), found, worst)
    return int(np.argmax(found) if evaluator.isLargerBetter() else np.argmin(found))


def check_chosen(means: Sequence[float], evaluator: Evaluator) -> None:
    """Raise a `DataError` where MLlib has chosen by a metric that is not a finite number.

    Its choice is the first NaN, or the first of infinities that are all the same.
    """
    chosen = np.argmax(means) if evaluator.isLargerBetter() else np.argmin(means)
    if not np.isfinite(means[int(chosen)]):
        best_of([np.nan], evaluator)
