"""One-vs-rest, beside MLlib's own around our classifiers and around MLlib's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.ml.classification as mllib
import pyspark.sql.functions as F
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import StringIndexer
from pyspark.sql import DataFrame, SparkSession
from sklearn.datasets import load_iris

from sparkml_lsml.classification import (
    LinearSVC,
    LogisticRegression,
    LogisticRegressionModel,
    OneVsRest,
    OneVsRestModel,
)
from sparkml_lsml.errors import DataError, DivergedError, ParamError
from sparkml_lsml.jobs.pipeline import estimators
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from tests.spark.helpers import frame, nothing_left, numbers

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def iris(spark: SparkSession) -> DataFrame:
    X, y = load_iris(return_X_y=True)
    return frame(spark, X, y, weight=1.0 + np.arange(len(y)) % 3)


@pytest.fixture
def ingests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list that grows with each time that rows are read."""
    seen: list[str] = []
    plain = ResidentBlocks.pack

    def pack(dataset: DataFrame, plan: IngestPlan) -> Any:
        seen.append(plan.name)
        return plain(dataset, plan)

    monkeypatch.setattr(ResidentBlocks, "pack", pack)
    return seen


def scores(model: Any, rows: DataFrame) -> tuple[Array, Array]:
    found = model.transform(rows).select("rawPrediction", "prediction").collect()
    return np.array([row[0].toArray() for row in found]), np.array([row[1] for row in found])


@pytest.mark.parametrize(
    ("classifier", "execution"),
    [
        (LogisticRegression(regParam=0.01, tol=1e-8), "local"),
        (LogisticRegression(regParam=0.01, elasticNetParam=0.7, tol=1e-8), "local"),
        (LogisticRegression(regParam=0.01, tol=1e-8), "distributed"),
        (LinearSVC(regParam=0.1, tol=1e-8, maxIter=500), "local"),
        (LinearSVC(regParam=0.1, tol=1e-8, loss="squaredHinge", standardization=False), "local"),
        (LogisticRegression(regParam=0.1, solver="minibatch-sgd", maxIter=30), "local"),
    ],
    ids=["logistic", "elastic net", "distributed", "hinge", "squared hinge", "mini-batches"],
)
def test_models_are_those_of_single_fits(
    spark: SparkSession, iris: DataFrame, ingests: list[str], classifier: Any, execution: str
) -> None:
    classifier = classifier.copy({classifier.execution: execution})
    with nothing_left(spark):
        ours = OneVsRest(classifier=classifier, weightCol="weight").fit(iris)
    assert ingests == ["OneVsRest"]
    theirs = mllib.OneVsRest(classifier=classifier, weightCol="weight").fit(iris)
    passes = [model.summary.passes for model in theirs.models]
    for mine, alone in zip(ours.models, theirs.models, strict=True):
        assert mine.summary.objective == pytest.approx(alone.summary.objective, rel=1e-8)
        np.testing.assert_allclose(numbers(mine), numbers(alone), rtol=1e-5, atol=1e-6)
        assert mine.uid == alone.uid
        assert mine.extractParamMap() == alone.extractParamMap()
        assert mine.summary.passes < 0.6 * sum(passes)
        assert "one of 3 models that shared their passes" in mine.summary.notes
    found, wanted = scores(ours, iris), scores(theirs, iris)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[1], wanted[1])
    assert ours.getWeightCol() == "weight"
    assert ours.getClassifier() is classifier


def test_models_are_mllibs(iris: DataFrame) -> None:
    found = []
    for search, cls in (
        (mllib.OneVsRest, mllib.LogisticRegression),
        (OneVsRest, LogisticRegression),
    ):
        classifier = cls(regParam=0.01, tol=1e-12, maxIter=500)
        found.append(search(classifier=classifier, weightCol="weight").fit(iris))
    theirs, ours = found
    for mine, other in zip(ours.models, theirs.models, strict=True):
        np.testing.assert_allclose(numbers(mine), numbers(other), rtol=1e-4)
    raw, prediction = scores(ours, iris)
    np.testing.assert_allclose(raw, scores(theirs, iris)[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(prediction, scores(theirs, iris)[1])


def test_all_classes_are_scored_as_one_by_one(iris: DataFrame) -> None:
    ours = OneVsRest(classifier=LinearSVC(regParam=0.1, maxIter=5)).fit(iris)
    theirs = ours._copyValues(mllib.OneVsRestModel(ours.models))
    added = [model.transform(iris).schema.fields for model in (ours, theirs)]
    assert [(f.name, f.dataType) for f in added[0]] == [(f.name, f.dataType) for f in added[1]]
    np.testing.assert_allclose(scores(ours, iris)[0], scores(theirs, iris)[0], rtol=1e-12)
    np.testing.assert_array_equal(scores(ours, iris)[1], scores(theirs, iris)[1])
    empty = iris.limit(1).withColumn("features", F.lit(None).cast(iris.schema["features"].dataType))
    assert ours.transform(empty).first()[3:] == (None, None)
    named = ours.copy({ours.rawPredictionCol: "", ours.predictionCol: "class"})
    assert named.transform(iris).columns == [*iris.columns, "class"]


def test_a_class_without_rows_is_never_predicted(
    iris: DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    two = iris.where("label != 1")
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        ours = OneVsRest(classifier=LogisticRegression(regParam=0.1)).fit(two)
    assert "no row has the label 1, yet labels go up to 2" in caplog.text
    theirs = mllib.OneVsRest(classifier=mllib.LogisticRegression(regParam=0.1)).fit(two)
    assert ours.models[1].intercept == theirs.models[1].intercept == -np.inf
    np.testing.assert_array_equal(scores(ours, two)[1], scores(theirs, two)[1])


def test_labels_of_an_indexer_in_a_pipeline_are_saved_and_loaded(
    iris: DataFrame, tmp_path: Path
) -> None:
    rows = iris.withColumn("name", F.concat(F.lit("species "), F.col("label"))).drop("label")
    classifier = LogisticRegression(regParam=0.1, maxIter=20, rawPredictionCol="margin")
    stages = [
        StringIndexer(inputCol="name", outputCol="class", stringOrderType="alphabetAsc"),
        OneVsRest(classifier=classifier, labelCol="class", rawPredictionCol="margin"),
    ]
    model = Pipeline(stages=stages).fit(rows)
    wanted = model.transform(rows).select("margin", "prediction").collect()
    model.save(str(tmp_path / "model"))
    loaded = PipelineModel.load(str(tmp_path / "model"))
    assert type(loaded.stages[1]) is OneVsRestModel
    assert loaded.stages[1].uid == model.stages[1].uid
    assert [type(each) for each in loaded.stages[1].models] == [LogisticRegressionModel] * 3
    assert loaded.transform(rows).select("margin", "prediction").collect() == wanted
    stages[1].save(str(tmp_path / "estimator"))
    again = OneVsRest.load(str(tmp_path / "estimator"))
    assert type(again) is OneVsRest
    assert (again.uid, again.getLabelCol()) == (stages[1].uid, "class")
    assert again.getClassifier().getRegParam() == 0.1


@pytest.mark.slow
def test_what_mllibs_class_has_saved_is_loaded(iris: DataFrame, tmp_path: Path) -> None:
    """By Python with our classifier, and by the JVM with MLlib's."""
    for number, classifier in enumerate(
        (LinearSVC(regParam=0.1, maxIter=5), mllib.LinearSVC(regParam=0.1, maxIter=5))
    ):
        theirs = mllib.OneVsRest(classifier=classifier)
        theirs.save(str(tmp_path / f"e{number}"))
        again = OneVsRest.load(str(tmp_path / f"e{number}"))
        assert type(again) is OneVsRest
        assert type(again.getClassifier()) is type(classifier)
        model = theirs.fit(iris)
        model.save(str(tmp_path / f"m{number}"))
        loaded = OneVsRestModel.load(str(tmp_path / f"m{number}"))
        assert type(loaded) is OneVsRestModel
        np.testing.assert_allclose(scores(loaded, iris)[0], scores(model, iris)[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["mllib", "multinomial", "sgd", "cocoa"])
def test_other_classifiers_take_mllibs_road(iris: DataFrame, ingests: list[str], kind: str) -> None:
    classifier: Any = {
        "mllib": mllib.LogisticRegression(maxIter=2),
        "multinomial": LogisticRegression(family="multinomial", maxIter=2),
        "sgd": LogisticRegression(solver="sgd", maxIter=2),
        "cocoa": LogisticRegression(solver="cocoa", regParam=0.1, maxIter=2),
    }[kind]
    model = OneVsRest(classifier=classifier).fit(iris)
    assert len(model.models) == 3
    assert len(ingests) == (0 if kind == "mllib" else 3)


def test_what_cannot_be_trained(spark: SparkSession, iris: DataFrame) -> None:
    def refuses(error: type[Exception], message: str, rows: DataFrame, classifier: Any) -> None:
        with nothing_left(spark), pytest.raises(error) as caught:
            OneVsRest(classifier=classifier).fit(rows)
        assert message in str(caught.value)

    plain = LinearSVC(maxIter=2)
    half = iris.withColumn("label", F.col("label") + 0.5)
    refuses(DataError, "150 rows", half, plain)
    refuses(DataError, "which would mean", iris.withColumn("label", F.col("label") * 1e9), plain)
    three = LogisticRegression(thresholds=[0.2, 0.3, 0.5])
    refuses(ParamError, "expected one for each of the 2 classes", iris, three)
    wild = LogisticRegression(
        solver="gradient-descent", lineSearch="fixed", stepSize=1e9, maxIter=200
    )
    refuses(DivergedError, "OneVsRest: diverged", iris, wild)


def test_jobs_offer_only_what_a_configuration_can_describe() -> None:
    """A classifier is no value of a Param that YAML has."""
    assert set(estimators()) == {
        "LinearRegression",
        "LinearSVC",
        "LogisticRegression",
        "MLPClassifier",
        "MLPRegressor",
        "MultilayerPerceptronClassifier",
        "TorchClassifier",
        "TorchRegressor",
    }
