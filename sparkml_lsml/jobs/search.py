"""The candidates of a search, what measures them, and what is told of them afterwards."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    Evaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)

from sparkml_lsml.jobs import pipeline
from sparkml_lsml.jobs.config import TuneConfig
from sparkml_lsml.jobs.errors import Problem
from sparkml_lsml.jobs.loading import nearest
from sparkml_lsml.jobs.search_config import Distribution
from sparkml_lsml.spark.training.trainable import INGEST_PARAMS
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit
from sparkml_lsml.tuning.search import CONFUSION_METRICS, RESIDUAL_METRICS, Search, best_of

Candidate = dict[str, Any]
"""Values of Params by name."""

RANKING_METRICS = ("areaUnderROC", "areaUnderPR")
MAX_CANDIDATES = 10_000
"""A model each and fold; beyond it a grid is taken for a mistake."""


def candidates(config: TuneConfig) -> list[Candidate]:
    """List the values to try; the same in every run.

    Of a grid all combinations, the last Param varying fastest; of distributions as many draws as
    ``iterations`` says.
    """
    search = config.search
    if search.grid is not None:
        return [
            dict(zip(search.grid, values, strict=True))
            for values in itertools.product(*search.grid.values())
        ]
    assert search.random is not None  # checked with the configuration
    rng = np.random.default_rng(search.seed)
    return [
        {name: draw(each, rng) for name, each in search.random.params.items()}
        for _ in range(search.random.iterations)
    ]


def draw(distribution: Distribution, rng: np.random.Generator) -> Any:
    """Draw one value.

    Examples
    --------
    >>> draw(Distribution(uniform=(2.0, 3.0)), np.random.default_rng(0)).__class__
    <class 'float'>
    """
    if distribution.choice is not None:
        return distribution.choice[int(rng.integers(len(distribution.choice)))]
    if distribution.uniform is not None:
        return float(rng.uniform(*distribution.uniform))
    assert distribution.loguniform is not None
    low, high = distribution.loguniform
    value = math.exp(rng.uniform(math.log(low), math.log(high)))
    return min(max(value, low), high)  # rounding may lead a little way out


def check_search(config: TuneConfig) -> list[Problem]:
    """List what is wrong with a search; needs no JVM.

    Parameters
    ----------
    config
        A configuration in which `pipeline.check_pipeline` may have found other problems.
    """
    stage, search = config.pipeline.estimator, config.search
    kind = pipeline.estimators().get(stage.class_name)
    if kind is None:
        return []  # told already
    problems = [*_check_metric(config)]
    space = "grid" if search.grid is not None else "random"
    values = search.grid if search.random is None else search.random.params
    known = pipeline.params_of(kind)
    for name, tried in (values or {}).items():
        path = ("search", *(("grid",) if space == "grid" else ("random", "params")), name)
        if name in INGEST_PARAMS:
            message = "decides how rows are read, and cannot be searched; set it in the estimator"
            problems.append(Problem(path, message))
        elif name not in known:
            guess = nearest(name, known) or ";"
            message = f"{stage.class_name} has no Param of this name{guess} it has: "
            problems.append(Problem(path, message + ", ".join(known)))
        elif name in stage.params:
            message = f"is also given in pipeline.estimator.params ({stage.params[name]!r})"
            problems.append(Problem(path, f"{message}; keep one"))
        else:
            problems += _check_values(kind, name, tried, path)
    count = math.prod(len(values) for values in (search.grid or {}).values())
    if count > MAX_CANDIDATES:
        message = f"has {count:,} combinations, expected at most {MAX_CANDIDATES:,}; use random"
        problems.append(Problem(("search", "grid"), message))
    return problems


def _check_values(kind: type[Any], name: str, tried: Any, path: Any) -> list[Problem]:
    """Try each value by itself, of a distribution its ends and a number between them."""
    which = ""
    if isinstance(tried, Distribution):
        which = next(iter(tried.model_fields_set))
        path, tried = (*path, which), getattr(tried, which)
    problems = []
    for index, value in enumerate(tried):
        problems += pipeline.check_value(kind, name, value, (*path, index))
    if which in ("uniform", "loguniform") and not problems:
        low, high = tried
        if pipeline.check_value(kind, name, low + (high - low) / math.pi, path):
            message = "draws fractions, and this Param takes none: list its values under choice"
            problems.append(Problem(path, message))
    return problems


def _check_metric(config: TuneConfig) -> list[Problem]:
    name, metric = config.pipeline.estimator.class_name, config.search.metric
    known = (
        RESIDUAL_METRICS if pipeline.is_regression(config) else RANKING_METRICS + CONFUSION_METRICS
    )
    if metric == "logLoss" and name == "LinearSVC":
        return [Problem(("search", "metric"), "LinearSVC has no probabilities; use areaUnderROC")]
    if metric in known:
        return []
    guess = nearest(metric, known) or ";"
    message = f"'{metric}' does not measure a {name}{guess} known: {', '.join(known)}"
    return [Problem(("search", "metric"), message)]


def worded(candidate: Candidate) -> str:
    """A candidate in one line.

    Examples
    --------
    >>> worded({"regParam": 0.0123456, "fitIntercept": True})
    'regParam=0.01235, fitIntercept=true'
    """
    return ", ".join(f"{name}={shown(value)}" for name, value in candidate.items())


def shown(value: Any) -> str:
    """A value as YAML has it, four digits of a float."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def build(config: TuneConfig, whole: Pipeline, tried: list[Candidate]) -> Any:
    """Make the search: a cross-validation, or one split, around a pipeline.

    Parameters
    ----------
    config
        What to search, and by what.
    whole
        As `pipeline.build` makes it.
    tried
        As `candidates` lists them.
    """
    search, last = config.search, whole.getStages()[-1]
    maps = [{last.getParam(name): value for name, value in each.items()} for each in tried]
    common: dict[str, Any] = {
        "estimator": whole,
        "estimatorParamMaps": maps,
        "evaluator": evaluator(config, last),
        "seed": search.seed,
    }
    if search.train_ratio is not None:
        return TrainValidationSplit(trainRatio=search.train_ratio, **common)
    if search.group is not None:
        return CrossValidator(groupCol=search.group, **common)
    return CrossValidator(numFolds=search.folds, **common)


def evaluator(config: TuneConfig, estimator: Any) -> Evaluator:
    """Make what measures a model, on the columns that the estimator's models write."""
    metric: Any = config.search.metric
    label, weight = pipeline.label_column(config), pipeline.weight_column(config)
    weights: dict[str, Any] = {} if weight is None else {"weightCol": weight}
    if metric in RANKING_METRICS:
        raw = estimator.getRawPredictionCol()
        if not estimator._one_margin():
            raw = estimator.getProbabilityCol()
        return BinaryClassificationEvaluator(
            metricName=metric, labelCol=label, rawPredictionCol=raw, **weights
        )
    prediction = estimator.getPredictionCol()
    if metric in RESIDUAL_METRICS:
        return RegressionEvaluator(
            metricName=metric, labelCol=label, predictionCol=prediction, **weights
        )
    if estimator.hasParam("probabilityCol"):
        weights["probabilityCol"] = estimator.getProbabilityCol()
    return MulticlassClassificationEvaluator(
        metricName=metric, labelCol=label, predictionCol=prediction, **weights
    )


def summary(found: Any, search: Any, tried: list[Candidate]) -> dict[str, Any]:
    """What the report says of a search.

    Parameters
    ----------
    found
        The fitted search.
    search
        As `build` made it.
    tried
        The candidates, in the order of the search.

    Returns
    -------
    dict
        ``metric``, ``larger_is_better``, ``folds`` (1 for one split), ``together`` (whether all
        models shared their passes over the rows), ``best`` (a position among the candidates) and
        ``candidates``: for each its ``params``, the ``mean`` of the metric over the folds and its
        ``spread``, the standard deviation over the folds; None for one split.
    """
    judge = search.getEvaluator()
    several = isinstance(search, CrossValidator)
    means = found.avgMetrics if several else found.validationMetrics
    spreads = found.stdMetrics if several else [None] * len(tried)
    larger = judge.isLargerBetter()
    best = best_of(means, judge)
    maps = search.getEstimatorParamMaps()
    return {
        "metric": judge.getMetricName(),
        "larger_is_better": larger,
        "folds": found.getNumFolds() if several else 1,
        "together": Search.of(search.getEstimator(), maps, judge) is not None,
        "best": best,
        "candidates": [
            {"params": params, "mean": mean, "spread": spread}
            for params, mean, spread in zip(tried, means, spreads, strict=True)
        ],
    }
