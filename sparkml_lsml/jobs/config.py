"""The configurations of the four jobs: every key, its type, its default and what it does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sparkml_lsml.jobs.base import (
    EnvText,
    Labels,
    Names,
    Options,
    Params,
    Paths,
    PathText,
    Section,
    Text,
    fault,
)
from sparkml_lsml.jobs.search_config import SearchConfig


class InputConfig(Section):
    """Where rows come from."""

    format: Literal["parquet", "csv", "json", "orc", "libsvm", "table"] = Field(
        description="Format of the input; 'table' reads a table of Spark's catalog."
    )
    path: Paths | None = Field(
        default=None,
        description="Path, or list of paths, that Spark can read; globs are allowed. Relative "
        "ones are relative to Spark's working directory.",
    )
    table: EnvText | None = Field(
        default=None, description="Name of the table, e.g. lake.sales.orders, for format 'table'."
    )
    schema_ddl: Text | None = Field(
        default=None,
        alias="schema",
        description="Columns and types as in CREATE TABLE, e.g. 'age double, city string'. "
        "Without it Spark takes all CSV columns as strings unless options has inferSchema: true.",
    )
    options: Options = Field(
        default_factory=dict,
        description="Options of Spark's reader for this format, e.g. header: true.",
    )
    num_features: int | None = Field(
        default=None,
        gt=0,
        description="Number of features in LIBSVM files; without it Spark reads the input "
        "once more to find the largest index.",
    )
    drop_nulls: Names = Field(
        default=(),
        description="Columns in which a row must have a value: rows with null or NaN there are "
        "left out.",
    )
    cache: Literal["memory_and_disk", "disk_only"] | None = Field(
        default=None,
        description="Where Spark keeps the rows while the job runs. Without it every step reads "
        "the source once more, of a training some six times.",
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> InputConfig:
        if self.format == "table":
            for key in ("path", "schema"):
                if self.model_dump(by_alias=True)[key] is not None:
                    raise fault("a table has none; delete this key, or use another format", key)
            if self.table is None:
                raise fault("format 'table' needs the key 'table', the name of the table")
        elif self.table is not None:
            raise fault(f"is for format 'table' only, found format '{self.format}'", "table")
        elif self.path is None:
            raise fault(f"format '{self.format}' needs the key 'path'")
        if self.format == "libsvm":
            if self.schema_ddl is not None:
                raise fault("LIBSVM files always have the columns label and features", "schema")
            if self.num_features is not None and "numFeatures" in self.options:
                raise fault("is also given as options.numFeatures; keep one", "num_features")
        elif self.num_features is not None:
            raise fault(f"is for format 'libsvm' only, found '{self.format}'", "num_features")
        return self


class LabelConfig(Section):
    """The column with the known answers."""

    column: Text = Field(default="label", description="Name of the label column.")
    map: Labels | None = Field(
        default=None,
        min_length=1,
        description="New label for every value that the column has, e.g. {-1: 0, 1: 1} or "
        "{ham: 0, spam: 1}. A value that is not listed is an error.",
    )


class SplitConfig(Section):
    """Which rows are held out of the training.

    A hash of the row decides: the same rows in every run, on every cluster, however the data are
    partitioned; identical rows are never separated.
    """

    fraction: float = Field(gt=0, lt=1, description="Share of rows that is held out.")
    seed: int = Field(default=0, description="Another seed holds out other rows.")
    by: Names = Field(
        default=(),
        description="Columns whose hash decides, e.g. customer_id: rows that agree in them stay "
        "together. All columns by default.",
    )


class StageConfig(Section):
    """A stage of the pipeline."""

    class_name: Text = Field(
        alias="class",
        description="Name of the class: of a stage one of pyspark.ml.feature, of the estimator "
        "one of sparkml_lsml.classification or .regression.",
    )
    params: Params = Field(
        default_factory=dict, description="Params of the class by their Spark names."
    )


class PipelineConfig(Section):
    """What is fitted."""

    stages: Annotated[tuple[StageConfig, ...], Field(strict=False)] = Field(
        default=(), description="Feature stages, carried out in this order before the estimator."
    )
    estimator: StageConfig = Field(description="The estimator.")


class PredictionsConfig(Section):
    """Where predictions are written."""

    path: PathText = Field(description="Folder to write.")
    format: Literal["parquet", "csv", "json", "orc"] = Field(
        default="parquet", description="Format of the files."
    )
    options: Options = Field(
        default_factory=dict, description="Options of Spark's writer, e.g. compression: zstd."
    )
    columns: Names = Field(
        default=(), description="Columns to write; by default all. CSV cannot hold vectors."
    )


_OVERWRITE = Field(
    default=False,
    description="Whether existing outputs are replaced. They stay until the new ones are complete.",
)
_REPORT = "JSON file with configuration, rows, metrics and times. Written last."


class TrainOutput(Section):
    """What a training writes."""

    model: PathText = Field(description="Folder of the fitted PipelineModel.")
    report: PathText = Field(description=_REPORT)
    predictions: PredictionsConfig | None = Field(
        default=None, description="Predictions for the held-out rows; not written by default."
    )
    overwrite: bool = _OVERWRITE


class ScoreOutput(Section):
    """What a scoring writes."""

    predictions: PredictionsConfig = Field(description="Predictions for the input's rows.")
    report: PathText | None = Field(default=None, description=_REPORT)
    overwrite: bool = _OVERWRITE


class EvaluateOutput(Section):
    """What an evaluation writes."""

    report: PathText = Field(description=_REPORT)
    overwrite: bool = _OVERWRITE


class ColumnsConfig(Section):
    """Names of columns with predictions."""

    prediction: Text = Field(default="prediction", description="Predicted label.")
    raw_prediction: Text = Field(
        default="rawPrediction", description="Scores of the classes, if there."
    )
    probability: Text = Field(
        default="probability", description="Probabilities of the classes, if there."
    )


_LABEL = Field(default_factory=LabelConfig, description="The label column and its values.")
_IMPORTS = Field(
    default=(),
    description="Python modules to import first, such as one that registers a loss; files of yours "
    "go to spark-submit with --py-files.",
)
_WEIGHT = "Column with the weight of each row; by default every row has weight 1."


class TrainConfig(Section):
    """Configuration of jobs/train.py: fit a pipeline, judge it on held-out rows, save it.

    Examples
    --------
    >>> config = TrainConfig.model_validate(
    ...     {
    ...         "input": {"format": "parquet", "path": "train.parquet"},
    ...         "pipeline": {"estimator": {"class": "LinearSVC", "params": {"regParam": 0.1}}},
    ...         "output": {"model": "out/model", "report": "out/report.json"},
    ...     }
    ... )
    >>> config.pipeline.estimator.class_name
    'LinearSVC'
    """

    app_name: Text = Field(
        default="sparkml_lsml train", description="Name of the Spark application."
    )
    imports: Names = _IMPORTS
    input: InputConfig = Field(description="The rows to train on.")
    split: SplitConfig | None = Field(
        default=None, description="Rows of the input to hold out for the evaluation."
    )
    evaluation_input: InputConfig | None = Field(
        default=None, description="Held-out rows from elsewhere, instead of split."
    )
    label: LabelConfig = _LABEL
    weight: Text | None = Field(default=None, description=_WEIGHT)
    pipeline: PipelineConfig = Field(description="What is fitted.")
    output: TrainOutput = Field(description="What is written.")

    @model_validator(mode="after")
    def _check_consistency(self) -> TrainConfig:
        if self.split is not None and self.evaluation_input is not None:
            raise fault("give either this key or split, not both", "evaluation_input")
        if self.output.predictions and not (self.split or self.evaluation_input):
            raise fault(
                "output.predictions needs held-out rows: give split or evaluation_input", "output"
            )
        return self


class TuneConfig(TrainConfig):
    """Configuration of jobs/tune.py: search Params, and do with the best what jobs/train.py does.

    Examples
    --------
    >>> config = TuneConfig.model_validate(
    ...     {
    ...         "input": {"format": "parquet", "path": "train.parquet"},
    ...         "pipeline": {"estimator": {"class": "LogisticRegression"}},
    ...         "search": {"grid": {"regParam": [0.01, 0.1]}, "metric": "areaUnderROC"},
    ...         "output": {"model": "out/model", "report": "out/report.json"},
    ...     }
    ... )
    >>> config.search.folds
    3
    """

    app_name: Text = Field(
        default="sparkml_lsml tune", description="Name of the Spark application."
    )
    search: SearchConfig = Field(description="What is tried, and how it is measured.")


class ScoreConfig(Section):
    """Configuration of jobs/score.py: apply a saved model to rows.

    Examples
    --------
    >>> ScoreConfig.model_validate(
    ...     {
    ...         "input": {"format": "parquet", "path": "new.parquet"},
    ...         "model": "out/model",
    ...         "output": {"predictions": {"path": "out/new"}},
    ...     }
    ... ).output.predictions.format
    'parquet'
    """

    app_name: Text = Field(
        default="sparkml_lsml score", description="Name of the Spark application."
    )
    imports: Names = _IMPORTS
    input: InputConfig = Field(description="The rows to score; they need no label.")
    split: SplitConfig | None = Field(
        default=None,
        description="The split of the training, if only the rows it held out are to be scored.",
    )
    model: PathText = Field(description="Folder of a model that jobs/train.py wrote.")
    output: ScoreOutput = Field(description="What is written.")


class EvaluateConfig(Section):
    """Configuration of jobs/evaluate.py: judge predictions, or a saved model, on labelled rows.

    Examples
    --------
    >>> EvaluateConfig.model_validate(
    ...     {
    ...         "task": "binary",
    ...         "input": {"format": "parquet", "path": "out/new"},
    ...         "output": {"report": "out/evaluation.json"},
    ...     }
    ... ).columns.prediction
    'prediction'
    """

    app_name: Text = Field(
        default="sparkml_lsml evaluate", description="Name of the Spark application."
    )
    imports: Names = _IMPORTS
    task: Literal["binary", "multiclass", "regression"] = Field(description="Which metrics.")
    input: InputConfig = Field(description="Labelled rows, with predictions unless model is given.")
    split: SplitConfig | None = Field(
        default=None,
        description="The split of the training, if only the rows it held out are to be judged.",
    )
    label: LabelConfig = _LABEL
    weight: Text | None = Field(default=None, description=_WEIGHT)
    model: PathText | None = Field(
        default=None, description="Folder of a model to score the rows with first."
    )
    columns: ColumnsConfig = Field(
        default_factory=ColumnsConfig, description="Where the predictions are."
    )
    output: EvaluateOutput = Field(description="What is written.")

    @model_validator(mode="after")
    def _check_consistency(self) -> EvaluateConfig:
        if self.model is not None and "columns" in self.model_fields_set:
            raise fault("a model names its own columns; delete this key or model", "columns")
        if self.model is None and self.split is not None and not self.split.by:
            raise fault(
                "predictions have other columns than the training's input, so the hash of a whole "
                "row differs: give model, or name columns in split.by",
                "split",
            )
        return self
