"""From class names and Params to a `pyspark.ml.Pipeline`, and back from a saved model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

import pyspark.ml.feature
from pyspark.ml import Model, Pipeline, PipelineModel
from pyspark.ml.param import Param
from pyspark.ml.pipeline import PipelineSharedReadWrite
from pyspark.ml.regression import Regressor
from pyspark.ml.wrapper import JavaParams
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml import classification, neural, regression
from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.jobs.config import StageConfig, TrainConfig
from sparkml_lsml.jobs.errors import ConfigError, JobError, Path, Problem, one_line
from sparkml_lsml.jobs.loading import nearest
from sparkml_lsml.spark.folders.metadata import parse
from sparkml_lsml.spark.folders.paths import check_read_alike
from sparkml_lsml.spark.folders.pathtext import path_text
from sparkml_lsml.spark.folders.persistence import read_metadata, reading
from sparkml_lsml.spark.models.model import BlockModel
from sparkml_lsml.spark.rows.frames import folding, has_column
from sparkml_lsml.spark.training.estimator import BlockEstimator

_OUR_MODULES = (classification, regression, neural)
_PIPELINE_MODELS = {
    "org.apache.spark.ml.PipelineModel",
    "pyspark.ml.PipelineModel",
    "pyspark.ml.pipeline.PipelineModel",
}
_EXPECTED = {
    "toFloat": "a number",
    "toInt": "a whole number",
    "toBoolean": "true or false",
    "toString": "a text",
    "to_folder": "a text",
    "toList": "a list",
    "toListFloat": "a list of numbers",
    "toListInt": "a list of whole numbers",
    "toListString": "a list of texts",
    "toListListFloat": "a list of lists of numbers",
    "toVector": "a list of numbers",
}


VECTORS = ("featuresCol", "rawPredictionCol", "probabilityCol")
READ = ("inputCol", "inputCols", "featuresCol", "featuresCols", "weightCol")
WRITTEN = ("outputCol", "outputCols", "predictionCol", "rawPredictionCol", "probabilityCol")


def feature_stages() -> dict[str, type[Any]]:
    """Map the names of all feature stages that a configuration may name to their classes."""
    members = {name: getattr(pyspark.ml.feature, name) for name in pyspark.ml.feature.__all__}
    return {name: kind for name, kind in members.items() if not issubclass(kind, Model)}


def estimators() -> dict[str, type[Any]]:
    """Map the names of all estimators that a configuration may name to their classes."""
    members = {name: getattr(module, name) for module in _OUR_MODULES for name in module.__all__}
    return {
        name: kind
        for name, kind in members.items()
        if isinstance(kind, type) and issubclass(kind, BlockEstimator)
    }


def is_regression(config: TrainConfig) -> bool:
    """Tell whether the estimator predicts numbers, not classes."""
    kind = estimators().get(config.pipeline.estimator.class_name)
    return kind is not None and issubclass(kind, Regressor)


def params_of(kind: type[Any]) -> dict[str, Param[Any]]:
    """Map the names of a class's Params to the Params; needs no JVM.

    Examples
    --------
    >>> from pyspark.ml.feature import VectorAssembler
    >>> sorted(params_of(VectorAssembler))
    ['handleInvalid', 'inputCols', 'outputCol']
    """
    members = {name: getattr(kind, name, None) for name in dir(kind)}
    return {name: member for name, member in members.items() if isinstance(member, Param)}


def check_pipeline(config: TrainConfig) -> list[Problem]:
    """List what is wrong with the classes and Params of a pipeline; needs no JVM."""
    pipeline = config.pipeline
    problems: list[Problem] = []
    for index, stage in enumerate(pipeline.stages):
        problems += _check_stage(stage, ("pipeline", "stages", index), feature_stages(), "stages")
    path = ("pipeline", "estimator")
    problems += _check_stage(pipeline.estimator, path, estimators(), "estimators")
    params = pipeline.estimator.params
    for name, key, value in (
        ("labelCol", "label.column", _given_label(config)),
        ("weightCol", "weight", config.weight),
    ):
        if value is not None and name in params and params[name] != value:
            message = f"says '{params[name]}' but {key} says '{value}'; give one of them"
            problems.append(Problem((*path, "params", name), message))
    return problems + _check_predictions(config)


def _check_predictions(config: TrainConfig) -> list[Problem]:
    """List what is wrong with the columns of predictions, so far as the file tells."""
    output = getattr(config, "output", None)  # which a wrong file may not have
    predictions = output.predictions if output is not None else None
    if predictions is None:
        return []
    path = ("output", "predictions", "columns")
    columns = predictions.columns
    problems = [
        Problem(path, f"names '{name}' twice; give each column once")
        for name in dict.fromkeys(columns)
        if columns.count(name) > 1
    ]
    if predictions.format == "csv":
        if not columns:
            message = "is missing: CSV cannot hold vectors, so list the columns to write"
            problems.append(Problem(path, message))
        vectors = _vectors_of(config.pipeline.estimator)
        problems += [
            Problem(path, f"names '{name}', a vector, which CSV cannot hold; write Parquet")
            for name in columns
            if name in vectors
        ]
    return problems


def _vectors_of(stage: StageConfig) -> set[str]:
    """The columns of vectors that an estimator reads and adds."""
    kind = estimators().get(stage.class_name)
    if kind is None:
        return set()
    made = kind()
    names = [name for name in VECTORS if made.hasParam(name)]
    return {str(stage.params.get(name, made.getOrDefault(name))) for name in names}


def check_columns(whole: Pipeline, config: TrainConfig, rows: DataFrame, scored: DataFrame) -> None:
    """Check that rows to score have what the rows to train on have, and what is to be written.

    Parameters
    ----------
    whole
        As `build` made it.
    config
        What it was made of.
    rows, scored
        Rows to train on, and rows that will be scored with the model.

    Raises
    ------
    JobError
        If a column is missing, before hours go into a model that is then thrown away.
    """
    stages = whole.getStages()
    read = {name for stage in stages for name in _named(stage, READ)}
    missing = sorted(
        name for name in read if has_column(rows, name) and not has_column(scored, name)
    )
    if missing:
        raise JobError(
            f"evaluation_input: found no columns {', '.join(missing)}; expected those of input "
            "that the pipeline reads"
        )
    predictions = config.output.predictions
    added = [_named(stage, WRITTEN) for stage in stages]
    # a stage may add columns that no Param of it names
    if predictions is not None and all(added):
        fold = folding(scored)
        new = {fold(name) for names in added for name in names}
        unknown = [
            name
            for name in predictions.columns
            if fold(name) not in new and not has_column(scored, name)
        ]
        if unknown:
            raise JobError(
                f"output.predictions.columns: found no columns {', '.join(unknown)}; expected "
                "those of the rows, and those that the pipeline adds"
            )


def _named(stage: Any, names: Iterable[str]) -> list[str]:
    """The columns that Params of a stage name."""
    found: list[str] = []
    for name in names:
        if stage.hasParam(name) and stage.isDefined(name):
            value = stage.getOrDefault(name)
            found += [value] if isinstance(value, str) else value
    return [name for name in found if name]


def check_value(kind: type[Any], name: str, value: Any, path: Path) -> list[Problem]:
    """List what is wrong with the value of a Param that a class has; needs no JVM."""
    param = params_of(kind)[name]
    try:
        param.typeConverter(value)
    except (TypeError, ValueError):
        expected = _EXPECTED.get(getattr(param.typeConverter, "__name__", ""))
        message = f"expected {expected}, found {value!r}" if expected else f"found {value!r}"
        return [Problem(path, f"{message} ({param.doc})")]
    if not issubclass(kind, JavaParams):
        # Ours know their ranges without a JVM; for the others `build` asks it.
        try:
            kind(**{name: value})
        except (TypeError, ValueError) as error:
            return [Problem(path, one_line(error))]
    return []


def label_column(config: TrainConfig) -> str:
    """Name the label column: ``label.column``, or the estimator's labelCol."""
    return str(
        _given_label(config)
        or config.pipeline.estimator.params.get("labelCol")
        or config.label.column
    )


def weight_column(config: TrainConfig) -> str | None:
    """Name the weight column: ``weight``, or the estimator's weightCol."""
    return config.weight or config.pipeline.estimator.params.get("weightCol")


def build(config: TrainConfig) -> Pipeline:
    """Build the pipeline that a configuration describes; no Spark job runs.

    Parameters
    ----------
    config
        A configuration in which `check_pipeline` finds nothing.

    Returns
    -------
    pyspark.ml.Pipeline
        Its stages and, last, its estimator, all Params set.

    Raises
    ------
    ConfigError
        If a stage that runs in the JVM has a Param outside its range, or the estimator Params that
        do not go together.
    """
    stages: list[Any] = []
    for index, stage in enumerate(config.pipeline.stages):
        kind = feature_stages()[stage.class_name]
        stages.append(_make(kind, stage.params, ("pipeline", "stages", index, "params")))
    estimator = config.pipeline.estimator
    params = {**estimator.params, "labelCol": label_column(config)}
    weight = weight_column(config)
    if weight is not None:
        params["weightCol"] = weight
    kind = estimators()[estimator.class_name]
    stages.append(_make(kind, params, ("pipeline", "estimator", "params")))
    return Pipeline(stages=stages)


def load_model(spark: SparkSession, path: str | os.PathLike[str]) -> Any:
    """Load a saved model without importing any class that is not a known one.

    `PipelineModel.load` imports whatever classes the folder names, which runs code of whoever wrote
    the folder; so the names are read and checked first.

    Parameters
    ----------
    spark
        A classic session.
    path
        Folder of a `PipelineModel` whose stages are from `pyspark.ml.feature` and ours, or of one
        of our models.

    Raises
    ------
    JobError
        If the folder holds no model, or one with another class.
    PersistenceError
        If the path of a pipeline, or the session, would let MLlib's readers read other files.
    """
    path = path_text(path, "load_model")
    metadata = _metadata(spark, path)
    name = metadata.get("class")
    allowed = _loadable()
    if name in _PIPELINE_MODELS:
        check_read_alike(spark, path)
        uids = metadata.get("paramMap", {}).get("stageUids")
        if not isinstance(uids, list) or not all(_is_uid(uid) for uid in uids):
            raise JobError(f"{path}: its metadata list no stages; expected a PipelineModel's")
        for index, uid in enumerate(uids):
            stage_path = PipelineSharedReadWrite.getStagePath(
                uid, index, len(uids), f"{path}/stages"
            )
            _check_class(_metadata(spark, stage_path).get("class"), allowed, path)
        return PipelineModel.load(path)
    return _check_class(name, allowed, path).load(path)


def _check_class(name: Any, allowed: dict[str, type[Any]], path: str) -> Any:
    if name not in allowed:
        raise JobError(
            f"{path}: refused, its metadata name the class {name!r}; expected a model of "
            "sparkml_lsml, or a PipelineModel of such a model and stages of pyspark.ml.feature"
        )
    return allowed[name]


def _loadable() -> dict[str, type[Any]]:
    classes: dict[str, type[Any]] = {}
    for name in pyspark.ml.feature.__all__:
        for package in ("org.apache.spark", "pyspark"):
            classes[f"{package}.ml.feature.{name}"] = getattr(pyspark.ml.feature, name)
    for module in _OUR_MODULES:
        for name in module.__all__:
            kind = getattr(module, name)
            if isinstance(kind, type) and issubclass(kind, BlockModel):
                classes[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return classes


def _is_uid(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\w[\w-]*", value) is not None


def _metadata(spark: SparkSession, path: str) -> dict[str, Any]:
    # as strictly as our own reader: what is checked here is what MLlib's reader will then see
    try:
        with reading(f"{path}/metadata"):
            return parse(read_metadata(spark, path, unpacked=True))
    except PersistenceError as error:
        raise JobError(f"{path}: holds no saved model ({one_line(error)})") from error


def _given_label(config: TrainConfig) -> str | None:
    return config.label.column if "column" in config.label.model_fields_set else None


def _check_stage(
    stage: StageConfig, path: Path, known: dict[str, type[Any]], what: str
) -> list[Problem]:
    kind = known.get(stage.class_name)
    if kind is None:
        guess = nearest(stage.class_name, known) or ";"
        message = f"unknown class '{stage.class_name}'{guess} known {what}: {', '.join(known)}"
        return [Problem((*path, "class"), message)]
    problems = []
    params = params_of(kind)
    for name, value in stage.params.items():
        here = (*path, "params", name)
        if name not in params:
            guess = nearest(name, params) or ";"
            message = f"{stage.class_name} has no Param of this name{guess} it has: "
            problems.append(Problem(here, message + ", ".join(params)))
            continue
        problems += check_value(kind, name, value, here)
    return problems


def _make(kind: type[Any], params: dict[str, Any], path: Path) -> Any:
    try:
        stage = kind(**params)
        if isinstance(stage, JavaParams):
            # Spark checks ranges in the JVM, and by default only when the stage is used.
            stage._transfer_params_to_java()
    except Exception as error:
        named = [name for name in params if name in str(error)]
        where = (*path, named[0]) if len(named) == 1 else path
        raise ConfigError([Problem(where, one_line(error))]) from error
    return stage
