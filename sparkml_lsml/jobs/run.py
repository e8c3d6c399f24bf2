"""The four jobs as functions of a configuration."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Concatenate, ParamSpec, TypeVar

from pyspark.ml import Pipeline, PipelineModel
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.jobs import data, metrics, pipeline, search
from sparkml_lsml.jobs.base import Section
from sparkml_lsml.jobs.config import (
    EvaluateConfig,
    InputConfig,
    ScoreConfig,
    TrainConfig,
    TuneConfig,
)
from sparkml_lsml.jobs.errors import ConfigError, JobError, Problem, one_line
from sparkml_lsml.jobs.loading import environment_problems, import_problems
from sparkml_lsml.jobs.redaction import Redactor, resolve
from sparkml_lsml.jobs.report import Report, training_summary
from sparkml_lsml.jobs.storage import Outputs

S = TypeVar("S", bound=Section)
P = ParamSpec("P")
Say = Callable[[str], None]


def _silent(message: str) -> None:
    """Say nothing."""


def _guarded(
    job: Callable[Concatenate[S, P], dict[str, Any]],
) -> Callable[Concatenate[S, P], dict[str, Any]]:
    """Let a job fail with its own errors only, from which the configuration's secrets are gone."""

    @functools.wraps(job)
    def guarded(config: S, /, *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        problems = environment_problems(config) or import_problems(config)
        if problems:
            raise ConfigError(problems)
        redact = Redactor(config.model_dump(by_alias=True))
        try:
            return job(config, *args, **kwargs)
        except ConfigError:
            raise
        except Exception as error:
            secret = redact(text := "".join(traceback.format_exception(error))) != text
            # The chain would print the original message, secrets and all.
            raise JobError(redact(one_line(error))) from (None if secret else error)

    return guarded


@_guarded
def train(
    config: TrainConfig, spark: SparkSession | None = None, say: Say = _silent
) -> dict[str, Any]:
    """Fit a pipeline, evaluate it on held-out rows, and write model, predictions and report.

    Parameters
    ----------
    config
        What to do.
    spark
        A classic session; by default the active one, or a new one.
    say
        Called with a line for every step.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    ConfigError
        If a class or Param of the pipeline is wrong; nothing was read.
    JobError
        If anything else fails; all outputs are then as they were before.

    Examples
    --------
    >>> from sparkml_lsml.jobs import TrainConfig, load_config, train
    >>> train(load_config(TrainConfig, "conf/train-classification.yaml"))  # doctest: +SKIP
    """
    _refuse(pipeline.check_pipeline(config))

    def fit(whole: Pipeline, rows: DataFrame, report: Report) -> PipelineModel:
        with report.timed("fit"):
            model = whole.fit(rows)
        report.training = training_summary(model.stages[-1], dict(config.pipeline.estimator.params))
        return model

    return _trained("train", config, spark, say, fit)


@_guarded
def tune(
    config: TuneConfig, spark: SparkSession | None = None, say: Say = _silent
) -> dict[str, Any]:
    """Search the Params of an estimator, and do with the best what `train` does.

    Parameters
    ----------
    config
        What to do.
    spark
        A classic session; by default the active one, or a new one.
    say
        Called with a line for every step.

    Returns
    -------
    dict
        The report; ``search`` in it lists all candidates.

    Raises
    ------
    ConfigError
        If a class or Param of the pipeline, or of the search, is wrong; nothing was read.
    JobError
        If anything else fails; all outputs are then as they were before.

    Examples
    --------
    >>> from sparkml_lsml.jobs import TuneConfig, load_config, tune
    >>> tune(load_config(TuneConfig, "conf/tune.yaml"))  # doctest: +SKIP
    """
    _refuse([*pipeline.check_pipeline(config), *search.check_search(config)])
    tried = search.candidates(config)

    def fit(whole: Pipeline, rows: DataFrame, report: Report) -> PipelineModel:
        searching = search.build(config, whole, tried)
        with report.timed("search"):
            found = searching.fit(rows)
        report.search = search.summary(found, searching, tried)
        best = tried[report.search["best"]]
        say(f"best of {len(tried)}: {search.worded(best)}")
        model = found.bestModel
        if not isinstance(model, PipelineModel):
            model = PipelineModel([model])  # of a pipeline without other stages
        report.training = training_summary(
            model.stages[-1], {**config.pipeline.estimator.params, **best}
        )
        return model

    return _trained("tune", config, spark, say, fit)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(problems)


def _trained(
    job: str,
    config: TrainConfig,
    spark: SparkSession | None,
    say: Say,
    fit: Callable[[Pipeline, DataFrame, Report], PipelineModel],
) -> dict[str, Any]:
    """Do what a training does, whichever way its model is found."""
    spark = _session(spark, config.app_name)
    report = Report(job, config, spark)
    predictions = config.output.predictions
    outputs = {"output.model": config.output.model}
    if predictions is not None:
        outputs["output.predictions.path"] = predictions.path
    outputs["output.report"] = config.output.report
    inputs = [*_paths(config.input), *_paths(config.evaluation_input)]
    with _outputs(spark, outputs, config.output.overwrite, inputs) as places, ExitStack() as kept:
        whole = pipeline.build(config)
        with report.timed("read"):
            training, held_out = _training_rows(spark, config, report, kept)
        if held_out is not None:
            pipeline.check_columns(whole, config, training, held_out)
        say(f"training on {report.rows['training']:,} rows")
        model = fit(whole, training, report)
        with report.timed("save"):
            staged = places.staged("output.model").full
            model.write().save(staged)
            pipeline.load_model(spark, staged)  # MLlib's writers do not read back what they wrote
        if held_out is not None:
            say(f"evaluating on {report.rows['held_out']:,} held-out rows")
            scored = model.transform(held_out)
            columns = _scored_columns(
                model, pipeline.label_column(config), pipeline.weight_column(config)
            )
            with report.timed("evaluate"):
                report.metrics = metrics.compute(scored, columns, _task(config, model))
            if predictions is not None:
                with report.timed("predict"):
                    data.write(scored, predictions, places.staged("output.predictions.path"))
        return _finish(report, outputs, places)


@_guarded
def score(
    config: ScoreConfig, spark: SparkSession | None = None, say: Say = _silent
) -> dict[str, Any]:
    """Apply a saved model to rows and write the predictions.

    Parameters
    ----------
    config
        What to do.
    spark
        A classic session; by default the active one, or a new one.
    say
        Called with a line for every step.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    JobError
        If anything fails, the model folder naming foreign classes included; all outputs are then
        as they were before.
    """
    spark = _session(spark, config.app_name)
    report = Report("score", config, spark)
    outputs = {"output.predictions.path": config.output.predictions.path}
    if config.output.report is not None:
        outputs["output.report"] = config.output.report
    inputs = [*_paths(config.input), resolve(config.model)]
    with (
        _outputs(spark, outputs, config.output.overwrite, inputs) as places,
        data.opened(spark, config.input) as source,
    ):
        model = pipeline.load_model(spark, resolve(config.model))
        frame = _selected(source, config)
        scored = model.transform(frame)
        data.select_output(scored, config.output.predictions)
        say("scoring")
        # Counted while they are written: a count of its own would read everything once more.
        rows = Observation("rows")
        scored = scored.observe(rows, F.count(F.lit(1)).alias("scored"))
        with report.timed("predict"):
            place = places.staged("output.predictions.path")
            data.write(scored, config.output.predictions, place)
        report.rows.update(rows.get)
        return _finish(report, outputs, places)


@_guarded
def evaluate(
    config: EvaluateConfig, spark: SparkSession | None = None, say: Say = _silent
) -> dict[str, Any]:
    """Compare predictions with labels and write the metrics.

    Parameters
    ----------
    config
        What to do.
    spark
        A classic session; by default the active one, or a new one.
    say
        Called with a line for every step.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    JobError
        If anything fails; all outputs are then as they were before.
    """
    spark = _session(spark, config.app_name)
    report = Report("evaluate", config, spark)
    outputs = {"output.report": config.output.report}
    inputs = [*_paths(config.input)]
    if config.model is not None:
        inputs.append(resolve(config.model))
    with (
        _outputs(spark, outputs, config.output.overwrite, inputs) as places,
        data.opened(spark, config.input) as rows,
    ):
        source = _selected(rows, config)
        column = config.label.column
        frame = data.map_labels(source, column, config.label)
        data.check_labels(source, column, config.label)
        if config.model is not None:
            model = pipeline.load_model(spark, resolve(config.model))
            frame = model.transform(frame)
            columns = _scored_columns(model, column, config.weight)
        else:
            columns = metrics.ScoredColumns(
                label=column,
                prediction=config.columns.prediction,
                raw_prediction=config.columns.raw_prediction,
                probability=config.columns.probability,
                weight=config.weight,
            )
        with report.timed("evaluate"):
            report.rows["evaluated"] = source.count()
            say(f"evaluating on {report.rows['evaluated']:,} rows")
            report.metrics = metrics.compute(frame, columns, config.task)
        return _finish(report, outputs, places)


def _session(spark: SparkSession | None, app_name: str) -> SparkSession:
    return spark or SparkSession.builder.appName(app_name).getOrCreate()


def _paths(config: InputConfig | None) -> list[str]:
    return [resolve(path) for path in config.path or ()] if config is not None else []


def _outputs(
    spark: SparkSession, paths: dict[str, str], overwrite: bool, inputs: list[str]
) -> Outputs:
    resolved = {key: resolve(path) for key, path in paths.items()}
    return Outputs(spark, resolved, overwrite=overwrite, inputs=inputs)


def _selected(frame: DataFrame, config: ScoreConfig | EvaluateConfig) -> DataFrame:
    return frame if config.split is None else data.split(frame, config.split).held_out


def _training_rows(
    spark: SparkSession, config: TrainConfig, report: Report, kept: ExitStack
) -> tuple[DataFrame, DataFrame | None]:
    """Read the rows, map their labels, divide and count them."""
    column = pipeline.label_column(config)
    source = kept.enter_context(data.opened(spark, config.input))
    data.require_columns(source, (column,), "label.column")
    weight = pipeline.weight_column(config)
    if weight is not None:
        data.require_columns(source, (weight,), "weight")
    training, held_out = source, None
    if config.split is not None:
        parts = data.split(source, config.split)
        training, held_out = parts.training, parts.held_out
        # One job for both counts.
        groups = source.groupBy(parts.is_held_out.alias("held_out")).count().collect()
        counts = {group["held_out"]: group["count"] for group in groups}
        report.rows = {"training": counts.get(False, 0), "held_out": counts.get(True, 0)}
    else:
        report.rows["training"] = training.count()
    data.check_labels(source, column, config.label)
    if config.evaluation_input is not None:
        held_out = kept.enter_context(data.opened(spark, config.evaluation_input))
        report.rows["held_out"] = held_out.count()
        data.check_labels(held_out, column, config.label)
    if held_out is not None:
        held_out = data.map_labels(held_out, column, config.label)
    for part, count in report.rows.items():
        if count == 0:
            raise JobError(
                f"there are no {part.replace('_', '-')} rows; look at input, input.drop_nulls "
                "and split.fraction"
            )
    return data.map_labels(training, column, config.label), held_out


def _task(config: TrainConfig, model: PipelineModel) -> str:
    if pipeline.is_regression(config):
        return "regression"
    classes = getattr(model.stages[-1], "numClasses", 2)
    return "binary" if classes <= 2 else "multiclass"


def _scored_columns(model: Any, label: str, weight: str | None) -> metrics.ScoredColumns:
    """Ask a model for the columns that it adds; the last stage of a pipeline knows."""
    last = model.stages[-1] if isinstance(model, PipelineModel) else model

    def column(name: str) -> str | None:
        # An empty name is Spark's way to say that the column is not wanted.
        return (last.getOrDefault(name) or None) if last.hasParam(name) else None

    return metrics.ScoredColumns(
        label=label,
        prediction=column("predictionCol") or "prediction",
        raw_prediction=column("rawPredictionCol"),
        probability=column("probabilityCol"),
        weight=weight,
    )


def _finish(report: Report, outputs: dict[str, str], places: Outputs) -> dict[str, Any]:
    report.outputs = outputs
    if "output.report" in outputs:
        places.staged("output.report").write_text(report.to_json())
    places.publish()
    return report.to_dict()
