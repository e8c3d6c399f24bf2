"""What is no frame or no path is told in every entry point, before anything is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.classification import NaiveBayes
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import SQLTransformer
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.classification import (
    CalibratedClassifier,
    CalibratedClassifierModel,
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    LogisticRegressionModel,
    OneVsRest,
    OneVsRestModel,
)
from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.jobs import TrainConfig, load_config, pipeline
from sparkml_lsml.regression import LinearRegression, LinearRegressionModel
from sparkml_lsml.streaming import StreamingTrainer
from sparkml_lsml.tuning import (
    CrossValidator,
    TrainValidationSplit,
    bootstrap,
    regularization_path,
)
from tests.spark.helpers import binary_rows, frame, jobs_so_far

ROOT = Path(__file__).resolve().parents[2]
X, Y = binary_rows(20)
C, B = np.array([[1.0, -2.0, 0.5]]), np.zeros(1)

LOGISTIC = LogisticRegression
MODELS = (LinearSVCModel, LogisticRegressionModel, LinearRegressionModel)


def search_of(cls: type[Any], **params: Any) -> Any:
    estimator = LinearSVC()
    return cls(
        estimator=estimator,
        estimatorParamMaps=ParamGridBuilder().addGrid(estimator.regParam, [0.1, 1.0]).build(),
        evaluator=BinaryClassificationEvaluator(),
        **params,
    )


def trainers() -> dict[str, Callable[[Any], Any]]:
    """Give everything that learns from a frame or measures it, by its name in the errors."""
    found: dict[str, Callable[[Any], Any]] = {}
    for cls in (LinearSVC, LogisticRegression, LinearRegression):
        found[f"{cls.__name__}: fit"] = cls().fit
        found[f"{cls.__name__}: piece"] = cls().partialFit
        found[f"{cls.__name__}: maps"] = partial(cls().fit, params=[{}, {}])
        found[f"{cls.__name__}: fitMultiple"] = partial(cls().fitMultiple, paramMaps=[{}])
    for model in MODELS:
        found[f"{model.__name__}.evaluate: "] = model(C, B).evaluate
    found["CalibratedClassifier: fit"] = CalibratedClassifier().fit
    found["OneVsRest: fit"] = OneVsRest(classifier=LinearSVC()).fit
    found["OneVsRest: of MLlib's"] = OneVsRest(classifier=NaiveBayes()).fit
    found["CrossValidator: fit"] = search_of(CrossValidator).fit
    found["CrossValidator: groups"] = search_of(CrossValidator, groupCol="g").fit
    found["CrossValidator: folds"] = search_of(CrossValidator, foldCol="f").fit
    found["TrainValidationSplit: fit"] = search_of(TrainValidationSplit).fit
    found["LinearSVC: pipeline"] = Pipeline(stages=[LinearSVC()]).fit
    found["regularization_path: "] = lambda rows: regularization_path(LinearSVC(), rows, [0.1])
    found["bootstrap: "] = lambda rows: bootstrap(LinearSVC(), rows, n=2)
    found["StreamingTrainer: "] = lambda rows: StreamingTrainer(LinearSVC(), "/none")(rows, 0)
    return found


def scorers() -> dict[str, Callable[[Any], Any]]:
    found: dict[str, Callable[[Any], Any]] = {m.__name__: m(C, B).transform for m in MODELS}
    found["one-vs-rest"] = OneVsRestModel([LinearSVCModel(C, B), LinearSVCModel(C, B)]).transform
    return found


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, X, Y)


@pytest.fixture(scope="module")
def strangers(spark: SparkSession, rows: DataFrame) -> dict[str, tuple[Any, list[str]]]:
    """Give things that are no frames, and what the error has to say of them."""
    pandas_on_spark = pytest.importorskip("pyspark.pandas")
    make = "spark.createDataFrame"
    found = rows.toPandas()
    return {
        "pandas": (found, ["a pandas.core.frame.DataFrame", make]),
        "array": (X, ["a numpy.ndarray", make]),
        "rdd": (rows.rdd, ["an RDD", make]),
        "list": (rows.collect(), ["a list", make]),
        "none": (None, ["None", "spark.table"]),
        "view": ("rows", ["the text 'rows'", "spark.table('rows')"]),
        "pandas-on-spark": (
            pandas_on_spark.Series([1.0]).to_frame(),
            ["pandas-on-Spark", "to_spark"],
        ),
        "grouped": (rows.groupBy("label"), ["GroupedData", "the frame that it was made of"]),
    }


def refusals(calls: dict[str, Callable[[Any], Any]], thing: Any, *parts: str) -> None:
    """Check that each call raises a TypeError that begins with its name and has all parts."""
    for name, call in calls.items():
        with pytest.raises(TypeError) as caught:
            call(thing)
        message = str(caught.value)
        start, _, _ = name.partition(":")
        assert message.startswith(f"{start}: found "), (name, message)
        for part in (*parts, "expected a DataFrame"):
            assert part in message, (name, message)


def test_what_is_no_frame_is_refused_by_all(
    spark: SparkSession, strangers: dict[str, tuple[Any, list[str]]]
) -> None:
    before = jobs_so_far(spark)
    transforms = {f"transform: {name}": call for name, call in scorers().items()}
    for thing, parts in strangers.values():
        refusals({**trainers(), **transforms}, thing, *parts)
    assert jobs_so_far(spark) == before


def test_a_text_shows_no_password() -> None:
    with pytest.raises(TypeError, match=r"spark.read.parquet\('s3a://\*\*\*@bucket/rows'\)"):
        LinearSVC().fit("s3a://key:secret@bucket/rows")  # type: ignore[call-overload]


def test_a_streaming_frame_is_for_the_trainer(spark: SparkSession, rows: DataFrame) -> None:
    stream = spark.readStream.format("rate").load()
    streamed = SQLTransformer(
        statement="SELECT array(1.0D, 2.0D, 3.0D) AS features, 1.0D AS label FROM __THIS__"
    ).transform(stream)
    for name, call in trainers().items():
        with pytest.raises(TypeError, match=r"a streaming DataFrame.*StreamingTrainer") as caught:
            call(streamed)
        assert str(caught.value).startswith(name.partition(":")[0])
    for call in scorers().values():
        assert call(streamed).isStreaming


# ---------------------------------------------------- paths


def test_paths_of_pathlib(rows: DataFrame, tmp_path: Path) -> None:
    """Save and load estimators, models, searches and one-vs-rest, with ``Path`` everywhere."""
    svc = LinearSVC(maxIter=5, checkpointDir=tmp_path / "checkpoints")
    assert svc.getOrDefault("checkpointDir") == str(tmp_path / "checkpoints")
    svc.fit(rows, {svc.checkpointDir: tmp_path / "others"})
    assert (tmp_path / "others").is_dir()
    assert not (tmp_path / "checkpoints").exists()
    for thing in (svc, search_of(TrainValidationSplit), OneVsRest(classifier=LinearSVC())):
        path = tmp_path / type(thing).__name__
        thing.save(path)
        assert type(thing).load(path).uid == thing.uid
    svc.write().overwrite().save(tmp_path / "LinearSVC")
    assert LinearSVC.read().load(tmp_path / "LinearSVC").uid == svc.uid
    assert StreamingTrainer(LinearSVC(), tmp_path / "model")(rows, 0) is None
    assert pipeline.load_model(rows.sparkSession, tmp_path / "model").numFeatures == 3


def test_configurations_take_paths_of_pathlib() -> None:
    file = ROOT / "conf" / "train-classification.yaml"
    tree = load_config(TrainConfig, file).model_dump(by_alias=True, exclude_unset=True)
    tree["output"]["model"] = Path("models", "spam")
    tree["input"]["path"] = Path("rows")
    config = TrainConfig.model_validate(tree)
    assert config.output.model == str(Path("models", "spam"))
    assert config.input.path == ("rows",)


@pytest.mark.parametrize("path", [None, b"/tmp/model", 7, ["/tmp/model"]])
def test_what_is_no_path(path: Any) -> None:
    found = "None" if path is None else f"a {type(path).__name__}"
    calls: list[Callable[[], Any]] = [
        lambda: LinearSVC().save(path),
        lambda: LinearSVCModel(C, B).write().overwrite().save(path),
        lambda: search_of(CrossValidator).save(path),
        lambda: OneVsRest(classifier=LinearSVC()).save(path),
        lambda: StreamingTrainer(LinearSVC(), path),
    ]
    for owner in (
        LinearSVC,
        LogisticRegressionModel,
        CalibratedClassifierModel,
        CrossValidator,
        TrainValidationSplit,
        OneVsRest,
        OneVsRestModel,
    ):
        calls.append(lambda owner=owner: owner.load(path))  # type: ignore[misc]
    for call in calls:
        with pytest.raises(TypeError, match=f"found {found}, expected the path as a text"):
            call()
    if path is not None:
        with pytest.raises(TypeError, match="checkpointDir"):
            LinearSVC(checkpointDir=path)


def test_a_uri_that_pathlib_has_changed() -> None:
    uri = PurePosixPath("s3a://bucket/model")  # has become s3a:/bucket/model
    for call in (LinearSVC().save, LinearSVC.load, CrossValidator.load):
        with pytest.raises(TypeError, match=r"'s3a:/bucket/model'.*give a URI as a text"):
            call(uri)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give a URI as a text"):
        LinearSVC(checkpointDir=uri)  # type: ignore[arg-type]
    with pytest.raises(PersistenceError, match="an empty path"):
        LinearSVC().save("")
