"""The contract of a model: the columns it adds, what it predicts, how it is kept."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyspark.sql.functions as F
import pytest
from pyspark.ml import Model, Pipeline, PipelineModel
from pyspark.ml.base import Predictor
from pyspark.ml.evaluation import MulticlassClassificationEvaluator, RegressionEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.ml.tuning import CrossValidator
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql.types import DoubleType

from tests.checks.subjects import (
    CLASSES,
    FEATURES,
    Subject,
    assert_same,
    assert_same_scores,
    needs,
    numbers_of,
    scores,
    state,
)
from tests.spark.helpers import cells, jobs_so_far, nothing_left


def column_of(model: Any, output: str) -> str:
    return str(model.getOrDefault(output))


# ---------------------------------------------------- what a model is


def check_types_of_a_model(subject: Subject) -> None:
    found, name = type(subject.model).__name__, subject.cls.__name__
    # MLlib has both ways of naming a model
    mllibs = name.replace("Classifier", "Classification").replace("Regressor", "Regression")
    assert found in (f"{name}Model", f"{mllibs}Model")
    for expected in (Model, MLReadable, MLWritable):
        assert isinstance(subject.model, expected)


def check_a_model_has_uid_and_params_of_its_estimator(subject: Subject) -> None:
    """The values that were set and the defaults, each as what it was."""
    made = subject.make(predictionCol="p", regParam=0.5)
    model = made.fit(subject.frame)
    assert model.uid == made.uid
    assert {param.parent for param in model.params} == {made.uid}
    for param in model.params:
        name = param.name
        assert model.isSet(name) == made.isSet(name), name
        assert model.hasDefault(name) == made.hasDefault(name), name
        if made.isDefined(name):
            assert model.getOrDefault(name) == made.getOrDefault(name), name
        if made.hasDefault(name):
            here, there = model._defaultParamMap, made._defaultParamMap
            assert here[param] == there[made.getParam(name)], name
    assert model.getPredictionCol() == "p"


@needs(Predictor)
def check_numbers_of_features_and_classes(subject: Subject) -> None:
    assert subject.model.numFeatures == FEATURES
    if subject.task in CLASSES:
        classes = CLASSES[subject.task]
        assert subject.model.numClasses == classes
        assert subject.scores["rawPrediction"].shape == (len(subject.rows.y), classes)


def check_copies_of_a_model(subject: Subject) -> None:
    model = subject.model
    before = state(model)
    copied = model.copy({model.predictionCol: "p"})
    assert type(copied) is type(model)
    uid, values, defaults = before
    assert state(copied) == (uid, values | {"predictionCol": "p"}, defaults)
    assert_same(copied, model, rtol=0.0)
    assert "p" in copied.transform(subject.frame).columns
    assert state(model) == before
    assert "p" not in model.transform(subject.frame).columns


@needs(Predictor)
def check_summary(subject: Subject) -> None:
    assert subject.model.hasSummary is True
    summary = subject.model.summary
    summary = summary() if callable(summary) else summary  # a method of MLlib's LinearSVCModel
    history = list(summary.objectiveHistory)
    assert history
    assert np.isfinite(history).all()
    assert type(summary.totalIterations) is int
    assert 0 <= summary.totalIterations <= max(1, subject.model.getOrDefault("maxIter"))


def check_pickles(subject: Subject) -> None:
    for kept in (subject.make(), subject.model):
        again = pickle.loads(pickle.dumps(kept))
        assert type(again) is type(kept)
        assert state(again)[:1] == state(kept)[:1]
    assert_same(again, subject.model, rtol=0.0)


# ---------------------------------------------------- columns


def check_columns_that_a_model_adds(subject: Subject) -> None:
    """Behind those that were there, which stay as they were with their rows."""
    noted = subject.frame.withMetadata("id", {"note": "kept"})
    found = subject.model.transform(noted)
    there = len(noted.columns)
    assert found.schema.fields[:there] == noted.schema.fields
    assert found.schema["id"].metadata == {"note": "kept"}
    expected = [
        (column_of(subject.model, name), DoubleType() if name == "predictionCol" else VectorUDT())
        for name in subject.outputs
    ]
    assert [(f.name, f.dataType) for f in found.schema.fields[there:]] == expected
    rows = [row[:there] for row in found.collect()]
    assert rows == [tuple(row) for row in noted.collect()]


@needs("classes")
def check_columns_tell_the_number_of_classes(subject: Subject) -> None:
    """As ML attributes, which transformers behind the model read."""
    classes = CLASSES[subject.task]
    for field in subject.model.transform(subject.frame).schema.fields[len(subject.frame.columns) :]:
        attribute = field.metadata["ml_attr"]
        if isinstance(field.dataType, VectorUDT):
            assert attribute == {"num_attrs": classes}
        else:
            assert attribute == {"type": "nominal", "num_vals": classes}


def check_columns_of_other_names(subject: Subject) -> None:
    """Of what is read, of what is added; and a label is not needed any more."""
    renamed = subject.frame.withColumnsRenamed({"label": "to learn", "features": "x y"})
    names = {name: f"my {name}" for name in subject.outputs}
    made = subject.make(featuresCol="x y", labelCol="to learn", **names)
    model = made.fit(renamed)
    assert_same(model, subject.model, rtol=1e-9)
    unlabelled = renamed.drop("to learn")
    found = model.transform(unlabelled)
    assert found.columns == [*unlabelled.columns, *names.values()]


def check_an_empty_name_leaves_the_column_out(subject: Subject) -> None:
    full = subject.model.transform(subject.frame).columns
    for name in subject.outputs:
        without = subject.model.copy({subject.model.getParam(name): ""})
        left = [column for column in full if column != column_of(subject.model, name)]
        assert without.transform(subject.frame).columns == left
    if "rawPredictionCol" in subject.outputs:
        alone = subject.model.copy({subject.model.rawPredictionCol: ""})
        found = scores(alone, subject.frame)["prediction"]
        assert found.tolist() == subject.scores["prediction"].tolist()


def check_columns_that_cannot_be_used(subject: Subject) -> None:
    """A name that is taken, or features that are not there, are refused before any job."""
    jobs = jobs_so_far(subject.spark)
    scored = subject.model.transform(subject.frame)
    with pytest.raises(Exception, match="rediction"):
        subject.model.transform(scored)
    with pytest.raises(Exception, match="features"):
        subject.model.transform(subject.frame.drop("features"))
    assert jobs_so_far(subject.spark) == jobs


# ---------------------------------------------------- rows


def check_transform_is_lazy_and_repeatable(subject: Subject) -> None:
    jobs = jobs_so_far(subject.spark)
    found = subject.model.transform(subject.frame)
    assert jobs_so_far(subject.spark) == jobs
    with nothing_left(subject.spark):
        assert found.collect() == found.collect()
    one = scores(subject.model, subject.frame.orderBy(F.desc("id")).coalesce(1))
    assert_same_scores(one, subject.scores, rtol=1e-12)
    assert subject.model.transform(subject.frame.limit(0)).collect() == []


def check_param_maps_of_a_transform(subject: Subject) -> None:
    before = state(subject.model)
    found = subject.model.transform(subject.frame, {subject.model.predictionCol: "p"})
    assert found.columns[-1] == "p"
    assert state(subject.model) == before


def check_rows_without_features_get_null(subject: Subject) -> None:
    """And leave the rows beside them alone."""
    holes = F.when(F.col("id") != 3, F.col("features")).alias("features")
    found = subject.model.transform(subject.frame.select("id", "label", holes, "weight"))
    predictions = [row["prediction"] for row in sorted(found.select("id", "prediction").collect())]
    expected = subject.scores["prediction"].tolist()
    assert predictions == [*expected[:3], None, *expected[4:]]


@needs(Predictor)
def check_one_vector_at_a_time(subject: Subject) -> None:
    """`predict` and its like say what `transform` says, of dense and of sparse vectors."""
    methods = {"predict": "prediction"}
    if subject.task in CLASSES:
        methods["predictRaw"] = "rawPrediction"
    if "probabilityCol" in subject.outputs:
        methods["predictProbability"] = "probability"
    for method, column in methods.items():
        call = getattr(subject.model, method)
        for kind in ("dense", "sparse"):
            found = np.array([call(vector) for vector in cells(subject.rows.X, kind)])
            np.testing.assert_allclose(found, subject.scores[column], rtol=1e-9, atol=1e-12)
    assert type(subject.model.predict(Vectors.dense(subject.rows.X[0]))) is float


def check_rows_of_another_length_are_refused(subject: Subject) -> None:
    longer = VectorAssembler(inputCols=["features", "weight"], outputCol="longer")
    wider = longer.transform(subject.frame).select("id", F.col("longer").alias("features"))
    with pytest.raises(Exception, match=rf"(?s)\b{FEATURES}\b.*\b{FEATURES + 1}\b"):
        subject.model.transform(wider).collect()


@needs("threshold", "binary")
def check_threshold_decides(subject: Subject) -> None:
    """Class 1 is predicted where its score is above the threshold."""
    probabilities = "probabilityCol" in subject.outputs
    score = subject.scores["probability" if probabilities else "rawPrediction"][:, 1]
    for share in (0.2, 0.8):
        threshold = float(np.quantile(score, share))
        model = subject.model.copy({subject.model.threshold: threshold})
        found = scores(model, subject.frame)["prediction"]
        assert found.tolist() == (score > threshold).astype(float).tolist()


@needs("thresholds")
def check_thresholds_divide_the_probabilities(subject: Subject) -> None:
    classes = CLASSES[subject.task]
    thresholds = np.linspace(0.2, 0.9, classes)
    model = subject.model.copy({subject.model.thresholds: thresholds.tolist()})
    scaled = subject.scores["probability"] / thresholds
    assert scores(model, subject.frame)["prediction"].tolist() == scaled.argmax(axis=1).tolist()
    assert scaled.argmax(axis=1).tolist() != subject.scores["prediction"].tolist()


# ---------------------------------------------------- kept, and built upon


def check_an_estimator_is_saved_and_loaded(subject: Subject) -> None:
    made = subject.make(predictionCol="p")
    path = str(subject.folder() / "estimator")
    made.save(path)
    with pytest.raises(Exception, match=r"exist|already"):
        made.save(path)
    made.setPredictionCol("q").write().overwrite().save(path)
    found = subject.cls.load(path)
    assert type(found) is subject.cls
    assert state(found) == state(made)
    assert {param.parent for param in found.params} == {made.uid}


def check_a_model_is_saved_and_loaded(subject: Subject) -> None:
    path = str(subject.folder() / "model")
    subject.model.save(path)
    found = type(subject.model).load(path)
    assert type(found) is type(subject.model)
    assert state(found) == state(subject.model)
    assert_same(found, subject.model, rtol=0.0)
    assert_same_scores(scores(found, subject.frame), subject.scores, rtol=0.0)
    if hasattr(found, "hasSummary"):
        assert not found.hasSummary


def check_pipelines(subject: Subject) -> None:
    """Fitted, saved and loaded as a stage."""
    assembler = VectorAssembler(inputCols=["features"], outputCol="x")
    pipeline = Pipeline(stages=[assembler, subject.make(featuresCol="x")])
    model = pipeline.fit(subject.frame)
    assert_same(model.stages[1], subject.model, rtol=1e-9)
    assert numbers_of(model.stages[1]).any()
    path = str(subject.folder() / "pipeline")
    model.save(path)
    found = PipelineModel.load(path)
    assert type(found.stages[1]) is type(subject.model)
    assert found.stages[1].uid == model.stages[1].uid
    expected = model.transform(subject.frame).select("prediction").collect()
    assert found.transform(subject.frame).select("prediction").collect() == expected


def check_cross_validation(subject: Subject) -> None:
    """MLlib's search tries its Params, and fits the best again to all rows."""
    made = subject.make()
    grid = [subject.changes(made, regParam=strength) for strength in (1e4, 0.1)]
    regression = subject.task == "regression"
    evaluator: Any = RegressionEvaluator() if regression else MulticlassClassificationEvaluator()
    search = CrossValidator(
        estimator=made, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=1
    )
    found = search.fit(subject.frame)
    assert np.isfinite(found.avgMetrics).all()
    choose = np.argmax if evaluator.isLargerBetter() else np.argmin
    best = grid[int(choose(found.avgMetrics))]
    assert_same(found.bestModel, made.fit(subject.frame, best), rtol=1e-9)
