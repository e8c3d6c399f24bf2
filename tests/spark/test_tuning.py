"""Grids trained together, beside single fits and beside MLlib's own searches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.ml.tuning as mllib
import pyspark.sql.functions as F
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml import classification as mllib_classification
from pyspark.ml import regression as mllib_regression
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    MulticlassClassificationEvaluator,
    RegressionEvaluator,
)
from pyspark.ml.feature import SQLTransformer, StandardScaler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.metrics import roc_auc_score

from sparkml_lsml.classification import CalibratedClassifier, LinearSVC, LogisticRegression
from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.passes.reweighting import Poisson
from sparkml_lsml.errors import DataError, DivergedError, ParamError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit, bootstrap
from sparkml_lsml.tuning.search import Defined, Search
from tests.references.stored import stored
from tests.spark.helpers import frame, jobs_so_far, nothing_left, numbers

Array = npt.NDArray[np.float64]


def rows_of(spark: SparkSession, load: Any, weighted: bool = False) -> DataFrame:
    X, y = load(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    rows = frame(spark, X, y, partitions=3)
    if weighted:
        rows = rows.withColumn("weight", F.lit(1.0) + (F.col("label") > y.mean()).cast("double"))
    rows = rows.cache()
    rows.count()
    return rows


ROWS: dict[str, Callable[[SparkSession], DataFrame]] = {
    "cancer": lambda spark: rows_of(spark, load_breast_cancer, weighted=True),
    "diabetes": lambda spark: rows_of(spark, load_diabetes),
    "iris": lambda spark: rows_of(spark, load_iris),
}


@pytest.fixture(scope="module")
def cancer(spark: SparkSession) -> DataFrame:
    return ROWS["cancer"](spark)


@pytest.fixture(scope="module")
def diabetes(spark: SparkSession) -> DataFrame:
    return ROWS["diabetes"](spark)


@pytest.fixture(scope="module")
def iris(spark: SparkSession) -> DataFrame:
    return ROWS["iris"](spark)


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


# ---------------------------------------------------- fitMultiple


@pytest.mark.parametrize("execution", ["local", "distributed"])
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(tol=1e-9, maxIter=30, weightCol="weight"),
        LinearSVC(tol=1e-7, maxIter=30),
        pytest.param(LinearSVC(loss="squaredHinge", tol=1e-9, maxIter=30), marks=pytest.mark.slow),
    ],
    ids=["logistic", "hinge", "squaredHinge"],
)
def test_models_of_a_grid_are_those_of_single_fits(
    cancer: DataFrame, ingests: list[str], estimator: Any, execution: str
) -> None:
    estimator = estimator.copy({estimator.execution: execution})
    grid = ParamGridBuilder().addGrid(estimator.regParam, [1.0, 0.01])
    if execution == "local":
        grid = grid.addGrid(estimator.elasticNetParam, [0.0, 0.5])
        grid = grid.addGrid(estimator.fitIntercept, [True, False])
        grid = grid.addGrid(estimator.standardization, [True, False])
    maps = [*grid.build(), {estimator.maxIter: 3, estimator.threshold: 0.7}, {estimator.tol: 1e-3}]
    together = dict(estimator.fitMultiple(cancer, maps))
    assert len(ingests) == 1
    assert sorted(together) == list(range(len(maps)))
    for number, extra in enumerate(maps):
        alone = estimator.copy(extra).fit(cancer)
        model = together[number]
        shared, single = model.summary, alone.summary
        if single.reason.name == "max_iter" and execution == "distributed":
            # a hinge alone takes the rows near its kink, and is cut off further down
            assert single.objective <= shared.objective * (1.0 + 1e-8)
            assert shared.objective == pytest.approx(single.objective, rel=1e-2)
        else:
            assert shared.objective == pytest.approx(single.objective, rel=1e-8)
        assert model.uid == estimator.uid
        for param in extra:
            assert model.getOrDefault(param.name) == extra[param]
    passes = together[0].summary.passes
    assert "shared their passes" in together[0].summary.notes[-1]
    assert passes < sum(len(together[n].summary.history) for n in together)


def test_grids_of_regressions(diabetes: DataFrame, ingests: list[str]) -> None:
    estimator = LinearRegression(tol=1e-9)
    maps = [
        {estimator.solver: solver, estimator.regParam: strength}
        for solver in ("normal", "l-bfgs")
        for strength in (0.1, 10.0)
    ]
    maps += [{estimator.loss: "huber", estimator.regParam: 0.1}]
    together = dict(estimator.fitMultiple(diabetes, maps))
    assert len(ingests) == 1
    for number, extra in enumerate(maps):
        alone = estimator.copy(extra).fit(diabetes)
        assert together[number].summary.objective == pytest.approx(
            alone.summary.objective, rel=1e-8
        )
        np.testing.assert_allclose(numbers(together[number]), numbers(alone), rtol=1e-4, atol=1e-6)
    assert together[0].summary.notes == ("one of 2 models that shared their passes",)
    assert together[1].summary.passes == 1


def test_sgd_in_a_grid(cancer: DataFrame) -> None:
    estimator = LogisticRegression(solver="sgd", maxIter=4, seed=5, regParam=0.1)
    maps = [{estimator.stepSize: 0.5}, {estimator.regParam: 0.01, estimator.maxIter: 2}]
    for number, model in estimator.fitMultiple(cancer, maps):
        alone = estimator.copy(maps[number]).fit(cancer)
        np.testing.assert_allclose(numbers(model), numbers(alone), rtol=1e-9)


def test_what_the_ingest_depends_on_splits_a_grid(cancer: DataFrame, ingests: list[str]) -> None:
    estimator = LogisticRegression(maxIter=2)
    maps = [
        {estimator.weightCol: "weight"},
        {estimator.regParam: 0.1},
        {estimator.weightCol: "weight", estimator.regParam: 0.1},
    ]
    models = dict(estimator.fitMultiple(cancer, maps))
    assert len(ingests) == 2
    for number, extra in enumerate(maps):
        np.testing.assert_allclose(
            numbers(models[number]), numbers(estimator.copy(extra).fit(cancer)), rtol=1e-9
        )


def test_nothing_is_read_before_the_first_model(spark: SparkSession, cancer: DataFrame) -> None:
    estimator = LogisticRegression(maxIter=2)
    before = jobs_so_far(spark)
    iterator = estimator.fitMultiple(cancer, [{}, {estimator.regParam: 0.1}])
    assert jobs_so_far(spark) == before
    found: list[int] = []

    def work() -> None:
        found.extend(number for number, _ in iterator)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1]


def test_a_batch_is_split_by_its_memory(cancer: DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparkml_lsml.spark.training.batch.BATCH_BYTES", 31 * 8 * 30 * 2)
    estimator = LogisticRegression(maxIter=3)
    maps = [{estimator.regParam: 0.1 * (number + 1)} for number in range(5)]
    notes = [model.summary.notes for _, model in estimator.fitMultiple(cancer, maps)]
    shared = ("one of 2 models that shared their passes",)
    assert notes == [shared, shared, shared, shared, ()]


def test_a_model_that_diverges_does_not_take_the_others(cancer: DataFrame) -> None:
    estimator = LogisticRegression(solver="gradient-descent", lineSearch="fixed", maxIter=200)
    iterator = estimator.fitMultiple(cancer, [{estimator.stepSize: 0.1}, {estimator.stepSize: 1e9}])
    number, model = next(iterator)
    assert (number, model.summary.reason.name) == (0, "max_iter")
    with pytest.raises(DivergedError, match="diverged at iteration"):
        next(iterator)


# ---------------------------------------------------- searches beside MLlib's

AREA = partial(BinaryClassificationEvaluator)
CLASSES = partial(MulticlassClassificationEvaluator)
SEARCHES: dict[str, tuple[str, str, Any]] = {
    "logistic-roc": ("cancer", "logistic", AREA),
    "logistic-pr": ("cancer", "logistic", partial(AREA, metricName="areaUnderPR")),
    "logistic-loss": ("cancer", "logistic", partial(CLASSES, metricName="logLoss")),
    "logistic-iris-f1": ("iris", "logistic", CLASSES),
    "svc-accuracy": ("cancer", "svc", partial(CLASSES, metricName="accuracy")),
    "linear-rmse": ("diabetes", "linear", partial(RegressionEvaluator)),
    "linear-r2": ("diabetes", "linear", partial(RegressionEvaluator, metricName="r2")),
}
SLOW = ("logistic-pr", "logistic-loss", "logistic-iris-f1", "svc-accuracy", "linear-r2")
STORED = ("logistic-pr", "logistic-loss", "logistic-iris-f1")
"""Searches of MLlib's that are kept, as `tests.references.make` found them."""

each_search = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in SEARCHES],
)
ESTIMATORS: dict[str, tuple[type[Any], type[Any]]] = {
    "logistic": (mllib_classification.LogisticRegression, LogisticRegression),
    # MLlib's hinge stalls, in minutes: its search trains ours, fold by fold
    "svc": (LinearSVC, LinearSVC),
    "linear": (mllib_regression.LinearRegression, LinearRegression),
}


FOLDS = {"numFolds": 2, "seed": 11}


def searched(search: Any, cls: Any, rows: DataFrame, evaluator: Any, **settings: Any) -> Any:
    estimator = cls(tol=1e-9, maxIter=300)
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 0.3, 10.0]).build()
    return search(
        estimator=estimator, estimatorParamMaps=grid, evaluator=evaluator, **settings
    ).fit(rows)


@dataclass(frozen=True)
class Theirs:
    """What a cross-validation of MLlib's found, as a rule with its estimator."""

    avgMetrics: list[float]
    stdMetrics: list[float]
    regParam: float


def theirs_of(name: str, rows: DataFrame) -> Theirs:
    _, kind, evaluator = SEARCHES[name]
    found = searched(mllib.CrossValidator, ESTIMATORS[kind][0], rows, evaluator(), **FOLDS)
    best = found.bestModel.getRegParam()
    return Theirs([*map(float, found.avgMetrics)], [*map(float, found.stdMetrics)], best)


@each_search
def test_cross_validation_is_mllibs(
    spark: SparkSession, request: pytest.FixtureRequest, ingests: list[str], name: str
) -> None:
    data, kind, evaluator = SEARCHES[name]
    rows = request.getfixturevalue(data)
    with nothing_left(spark):
        known = Theirs(**stored("searches")[name]) if name in STORED else None
        theirs = known or theirs_of(name, rows)
        ours = searched(CrossValidator, ESTIMATORS[kind][1], rows, evaluator(), **FOLDS)
    # in MLlib's search ours read the rows of each fold, and then all
    assert len(ingests) == (3 if kind == "svc" else 0) + 1
    # the hinge has no curvature: where rows of the other fold lie is not determined
    close = 5e-3 if kind == "svc" else 1e-4
    np.testing.assert_allclose(ours.avgMetrics, theirs.avgMetrics, rtol=close)
    np.testing.assert_allclose(ours.stdMetrics, theirs.stdMetrics, rtol=0.1, atol=close)
    assert ours.bestModel.getRegParam() == theirs.regParam
    assert isinstance(ours, mllib.CrossValidatorModel)
    again = ESTIMATORS[kind][1](tol=1e-9, maxIter=300, regParam=ours.bestModel.getRegParam())
    assert ours.bestModel.summary.objective == pytest.approx(
        again.fit(rows).summary.objective, rel=1e-8
    )


@pytest.mark.parametrize("execution", ["local", "distributed"])
def test_models_of_folds_are_those_of_their_rows(cancer: DataFrame, execution: str) -> None:
    rows = cancer.withColumn("fold", F.pmod(F.xxhash64("features"), F.lit(3)))
    estimator = LogisticRegression(tol=1e-9, execution=execution, weightCol="weight")
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 0.1]).build()
    evaluator = BinaryClassificationEvaluator(weightCol="weight")
    search = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=grid,
        evaluator=evaluator,
        numFolds=3,
        foldCol="fold",
        collectSubModels=True,
    ).fit(rows)
    metrics = np.zeros((3, 2))
    for fold in range(3):
        for number, extra in enumerate(grid):
            alone = estimator.copy(extra).fit(rows.where(F.col("fold") != fold))
            model = search.subModels[fold][number]
            assert model.summary.objective == pytest.approx(alone.summary.objective, rel=1e-8)
            np.testing.assert_allclose(numbers(model), numbers(alone), rtol=1e-3, atol=1e-4)
            held_out = alone.transform(rows.where(F.col("fold") == fold))
            metrics[fold, number] = evaluator.evaluate(held_out)
    np.testing.assert_allclose(search.avgMetrics, metrics.mean(axis=0), rtol=1e-5)


def test_split_is_mllibs(diabetes: DataFrame, ingests: list[str]) -> None:
    searches = (mllib.TrainValidationSplit, TrainValidationSplit)
    theirs, ours = (
        searched(search, cls, diabetes, RegressionEvaluator(), trainRatio=0.6, seed=4)
        for search, cls in zip(searches, ESTIMATORS["linear"], strict=True)
    )
    assert len(ingests) == 1
    np.testing.assert_allclose(ours.validationMetrics, theirs.validationMetrics, rtol=1e-6)
    assert ours.bestModel.getRegParam() == theirs.bestModel.getRegParam()


def test_stages_before_are_fitted_once_a_fold(
    cancer: DataFrame, ingests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[int] = []
    plain = StandardScaler._fit

    def fit(self: StandardScaler, dataset: DataFrame) -> Any:
        fits.append(1)
        return plain(self, dataset)

    monkeypatch.setattr(StandardScaler, "_fit", fit)
    found = []
    for search, cls in zip(
        (mllib.CrossValidator, CrossValidator), ESTIMATORS["logistic"], strict=True
    ):
        scaler = StandardScaler(inputCol="features", outputCol="scaled", withMean=True)
        estimator = cls(featuresCol="scaled", tol=1e-9, maxIter=300, standardization=False)
        grid = ParamGridBuilder().addGrid(estimator.regParam, [0.1, 10.0]).build()
        fits.clear()
        found.append(
            search(
                estimator=Pipeline(stages=[scaler, estimator]),
                estimatorParamMaps=grid,
                evaluator=BinaryClassificationEvaluator(),
                numFolds=2,
                seed=2,
                collectSubModels=True,
            ).fit(cancer)
        )
    assert len(fits) == 3  # two folds, and all rows
    assert len(ingests) == 3
    theirs, ours = found
    np.testing.assert_allclose(ours.avgMetrics, theirs.avgMetrics, rtol=1e-4)
    assert isinstance(ours.bestModel, PipelineModel)
    assert isinstance(ours.subModels[1][0], PipelineModel)
    assert ours.subModels[1][0].stages[1].getRegParam() == 0.1
    np.testing.assert_allclose(
        numbers(ours.bestModel.stages[1]), numbers(theirs.bestModel.stages[1]), rtol=1e-3
    )


@pytest.mark.parametrize(
    "searches",
    [
        (mllib.CrossValidator, CrossValidator),
        (mllib.TrainValidationSplit, TrainValidationSplit),
    ],
    ids=["folds", "split"],
)
def test_a_pipeline_of_one_stage_stays_a_pipeline(
    diabetes: DataFrame, ingests: list[str], searches: tuple[Any, Any]
) -> None:
    found = []
    for search, cls in zip(searches, ESTIMATORS["linear"], strict=True):
        linear = cls(solver="l-bfgs", tol=1e-9)
        model = search(
            estimator=Pipeline(stages=[linear]),
            estimatorParamMaps=ParamGridBuilder().addGrid(linear.regParam, [0.1, 100.0]).build(),
            evaluator=RegressionEvaluator(),
            seed=2,
            collectSubModels=True,
        ).fit(diabetes)
        found.append(model)
    assert len(ingests) == 1
    theirs, ours = found
    for model in (ours.bestModel, np.ravel(ours.subModels)[0]):
        assert isinstance(model, PipelineModel)
        assert len(model.stages) == 1
    np.testing.assert_allclose(
        numbers(ours.bestModel.stages[0]), numbers(theirs.bestModel.stages[0]), rtol=1e-4
    )


@pytest.mark.parametrize("by", ["numFolds", "foldCol", "split"])
def test_a_stage_that_drops_columns(cancer: DataFrame, ingests: list[str], by: str) -> None:
    """MLlib splits the rows before the stages see them."""
    rows = cancer.select("label", "features", F.expr("pmod(hash(features), 2) AS n"))
    rows = rows.coalesce(1)
    narrow = SQLTransformer(statement="SELECT label, features FROM __THIS__")
    settings: dict[str, Any] = {
        "estimator": Pipeline(stages=[narrow, LogisticRegression(maxIter=3)]),
        "estimatorParamMaps": [{}],
        "evaluator": BinaryClassificationEvaluator(),
        "seed": 3,
    }
    if by == "split":
        metrics = TrainValidationSplit(**settings).fit(rows).validationMetrics
    else:
        column = {"foldCol": "n"} if by == "foldCol" else {}
        metrics = CrossValidator(**settings, numFolds=2, **column).fit(rows).avgMetrics
    assert 0.98 < metrics[0] < 1.0
    assert len(ingests) == (2 if by == "split" else 3)  # nothing is read twice


@pytest.mark.parametrize("by", ["numFolds", "groupCol", "split", "calibrated"])
def test_the_summary_of_the_best_is_of_the_rows_as_they_are(cancer: DataFrame, by: str) -> None:
    rows = cancer.withColumn("n", F.expr("pmod(hash(features), 2)"))
    estimator = LinearSVC(maxIter=3)
    settings: dict[str, Any] = {
        "estimator": estimator,
        "estimatorParamMaps": [{}],
        "evaluator": BinaryClassificationEvaluator(),
    }
    if by == "calibrated":
        model = CalibratedClassifier(classifier=estimator, numFolds=2).fit(rows)
    elif by == "split":
        model = TrainValidationSplit(**settings).fit(rows).bestModel
    else:
        column = {"groupCol": "n"} if by == "groupCol" else {"numFolds": 2}
        model = CrossValidator(**settings, **column).fit(rows).bestModel
    found = model.summary.predictions.columns
    probability = ["probability"] if by == "calibrated" else []
    assert found == [*rows.columns, "rawPrediction", *probability, "prediction"]


def test_other_searches_take_mllibs_road(cancer: DataFrame) -> None:
    foreign = mllib_classification.LogisticRegression(maxIter=5)
    scaler = StandardScaler(inputCol="features", outputCol="scaled")
    ours = LogisticRegression(featuresCol="scaled", maxIter=5, solver="sgd")
    for estimator, grid in (
        (foreign, ParamGridBuilder().addGrid(foreign.regParam, [0.1, 1.0]).build()),
        (
            Pipeline(stages=[scaler, ours]),
            ParamGridBuilder().addGrid(scaler.withMean, [True, False]).build(),
        ),
    ):
        model = CrossValidator(
            estimator=estimator,
            estimatorParamMaps=grid,
            evaluator=BinaryClassificationEvaluator(),
            numFolds=2,
            seed=2,
        ).fit(cancer)
        assert len(model.avgMetrics) == 2
        assert min(model.avgMetrics) > 0.9


def test_metrics_that_are_not_measured_in_shared_passes(spark: SparkSession) -> None:
    """What an evaluator is asked beyond its metric must not be lost."""
    linear, logistic = LinearRegression(), LogisticRegression()
    for estimator, evaluator in (
        (linear, RegressionEvaluator(metricName="r2", throughOrigin=True)),
        (linear, RegressionEvaluator(metricName="var")),
        (linear, BinaryClassificationEvaluator(rawPredictionCol="prediction")),
        (logistic, MulticlassClassificationEvaluator(metricName="logLoss", eps=1e-3)),
        (logistic, MulticlassClassificationEvaluator(metricName="recallByLabel")),
        (logistic, MulticlassClassificationEvaluator(labelCol="other")),
        (logistic, BinaryClassificationEvaluator(weightCol="weight")),
    ):
        assert Search.of(estimator, [{}], evaluator) is None
    assert Search.of(linear, [{}], RegressionEvaluator(metricName="r2")) is not None
    assert Search.of(logistic, [{}], MulticlassClassificationEvaluator()) is not None


def test_folds_that_cannot_be_used(spark: SparkSession, cancer: DataFrame) -> None:
    estimator = LogisticRegression(maxIter=5)

    def search(fold: Any) -> None:
        rows = cancer.withColumn("fold", fold)
        with nothing_left(spark):
            CrossValidator(
                estimator=estimator,
                estimatorParamMaps=[{}],
                evaluator=BinaryClassificationEvaluator(),
                numFolds=2,
                foldCol="fold",
            ).fit(rows)

    with pytest.raises(
        DataError, match="rows whose fold, or validation indicator, is null or not one"
    ):
        search(F.when(F.col("label") > 0.0, 0).otherwise(2))
    for fraction in (-0.5, 0.5):
        with pytest.raises(DataError, match="is null or not one"):
            search(F.when(F.col("label") > 0.0, fraction).otherwise(1.0))
    with pytest.raises(DataError, match="fold 0 has no rows to train on"):
        search(F.lit(0))


def test_areas_of_more_than_two_classes_are_refused(iris: DataFrame) -> None:
    """As by MLlib, whose evaluator takes vectors of two scores alone."""
    settings: dict[str, Any] = {
        "estimator": LogisticRegression(maxIter=5),
        "estimatorParamMaps": [{}],
        "evaluator": BinaryClassificationEvaluator(),
    }
    for search in (CrossValidator(**settings, numFolds=2), TrainValidationSplit(**settings)):
        with pytest.raises(DataError, match="two classes, found labels up to 2: use Multiclass"):
            search.fit(iris)
    with pytest.raises(DataError, match="two classes"):
        bootstrap(settings["estimator"], iris, n=2, evaluator=settings["evaluator"])


def one_class_in_a_fold(spark: SparkSession) -> DataFrame:
    """Three folds; the held-out rows of the last are of class 1."""
    rng = np.random.default_rng(7)
    y = (rng.random(90) < 0.5).astype(float)
    fold = np.arange(90) % 3
    y[fold == 2] = 1.0
    X = np.stack([y + rng.normal(size=90), rng.normal(size=90)], axis=1)
    rows = frame(spark, np.column_stack([X, fold]), y)
    cells = vector_to_array("features")
    rows = rows.select("label", F.array(cells[0], cells[1]).alias("x"), cells[2].alias("fold"))
    return rows.select("label", array_to_vector("x").alias("features"), "fold").localCheckpoint()


def on(road: str, cls: type[Any]) -> Pipeline:
    """An estimator that takes this road through a search."""
    if road == "one by one":
        return Pipeline(stages=[cls(regParam=0.1, solver="sgd", maxIter=5, seed=1)])
    if road == "together":
        return Pipeline(stages=[cls(regParam=0.1, tol=1e-9)])
    scaler = StandardScaler(inputCol="features", outputCol="scaled")
    return Pipeline(stages=[scaler, cls(regParam=0.1, tol=1e-9, featuresCol="scaled")])


@pytest.mark.parametrize(
    ("road", "metric"),
    [("together", "areaUnderROC"), ("one by one", "areaUnderPR"), ("stages", "r2")],
)
def test_folds_that_do_not_define_the_metric_are_left_out(
    spark: SparkSession, caplog: pytest.LogCaptureFixture, road: str, metric: str
) -> None:
    """The mean is that of MLlib's evaluator over the folds that do: it gives others 1 or -inf."""
    rows = one_class_in_a_fold(spark)
    kind, cls = AREA, LogisticRegression
    if metric == "r2":
        kind, cls = RegressionEvaluator, LinearRegression
    evaluator = kind(metricName=metric)
    pipeline = on(road, cls)
    search = CrossValidator(
        estimator=pipeline,
        estimatorParamMaps=[{}],
        evaluator=evaluator,
        numFolds=3,
        foldCol="fold",
        collectSubModels=True,
    )
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        found = search.fit(rows)
    expected = [
        evaluator.evaluate(model.transform(rows.where(F.col("fold") == fold)))
        for fold, [model] in enumerate(found.subModels)
    ]
    assert not 0.0 < expected[2] < 1.0
    assert found.avgMetrics == pytest.approx([np.mean(expected[:2])], rel=1e-6)
    assert found.stdMetrics == pytest.approx([np.std(expected[:2])], rel=1e-4)
    told = f"{metric} is undefined in 1 of 3 folds (2)"
    assert told in caplog.text
    assert found.bestModel.stages[-1].summary.notes[-1].startswith(told)


@pytest.mark.parametrize("road", ["together", "one by one"])
def test_no_fold_defines_the_metric(spark: SparkSession, road: str) -> None:
    rows = one_class_in_a_fold(spark)
    common: dict[str, Any] = {"estimator": on(road, LogisticRegression), "estimatorParamMaps": [{}]}
    common["evaluator"] = BinaryClassificationEvaluator()
    split = TrainValidationSplit(**common, seed=5, trainRatio=0.7)
    # the split's own random numbers: it holds out rows of class 1 alone
    label = F.when(F.rand(5) >= 0.7, 1.0).otherwise(F.col("label"))
    with nothing_left(spark), pytest.raises(DataError, match="areaUnderROC is not a finite number"):
        split.fit(rows.withColumn("label", label))
    apart = rows.withColumn("fold", F.col("label"))
    folds = CrossValidator(**common, foldCol="fold", numFolds=2)
    with pytest.raises(DataError, match="areaUnderROC is not a finite number in any fold"):
        folds.fit(apart)


def test_mllibs_metrics_that_rows_do_not_define(spark: SparkSession) -> None:
    """Models that are fitted one by one are measured by MLlib's evaluators, whatever they say."""

    def rows(labels: list[float], weights: list[float]) -> DataFrame:
        cells = [(y, 0.25, Vectors.dense(-y, y), v) for y, v in zip(labels, weights, strict=True)]
        names = ["label", "prediction", "rawPrediction", "weight"]
        return spark.createDataFrame(cells, names).localCheckpoint()

    weights = {"weightCol": "weight"}
    r2 = partial(RegressionEvaluator, metricName="r2")
    areas = [partial(AREA, metricName=name) for name in ("areaUnderROC", "areaUnderPR")]
    both, one = rows([0.0, 1.0], [1.0, 1.0]), rows([0.0, 1.0], [0.0, 1.0])
    equal = rows([0.1, 0.1, 0.1], [0.1, 0.3, 0.7])
    for make in (*areas, r2):
        assert Defined(make())._evaluate(both) == make().evaluate(both)
        assert np.isnan(Defined(make(**weights))._evaluate(one))
        assert np.isnan(Defined(make(**weights))._evaluate(equal))
    assert not np.isnan(Defined(r2(throughOrigin=True))._evaluate(equal))
    assert Defined(RegressionEvaluator())._evaluate(equal) == pytest.approx(0.15, rel=1e-12)


# ---------------------------------------------------- bootstrap


def test_standard_errors_of_least_squares_are_those_of_the_formula(
    spark: SparkSession, ingests: list[str]
) -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(1_500, 3)) @ np.diag([1.0, 3.0, 0.2])
    y = X @ [1.0, -2.0, 3.0] + 4.0 + 1.5 * rng.normal(size=1_500)
    found = bootstrap(LinearRegression(), frame(spark, X, y), n=400, seed=3)
    assert len(ingests) == 1
    Z = np.hstack([X, np.ones((1_500, 1))])
    residual = y - Z @ np.linalg.lstsq(Z, y, rcond=None)[0]
    covariance = np.linalg.inv(Z.T @ Z) * (residual @ residual) / (1_500 - 4)
    wanted = np.sqrt(np.diag(covariance))
    # 400 replicates know a standard error to within 3.5 %, one standard deviation
    np.testing.assert_allclose(found.standard_errors[0], wanted[:3], rtol=0.14)
    np.testing.assert_allclose(found.intercept_standard_errors, wanted[3:], rtol=0.14)
    low, high = found.interval(0.95)
    center = numbers(found.model)[:3]
    np.testing.assert_allclose(high[0] - low[0], 2 * 1.96 * wanted[:3], rtol=0.2)
    assert ((low[0] < center) & (center < high[0])).all()


@pytest.mark.parametrize(
    "execution", ["local", pytest.param("distributed", marks=pytest.mark.slow)]
)
def test_replicates_of_a_classifier(cancer: DataFrame, ingests: list[str], execution: str) -> None:
    estimator = LogisticRegression(regParam=0.1, tol=1e-10, execution=execution)
    area = BinaryClassificationEvaluator()
    found = bootstrap(estimator, cancer, n=8, seed=2, evaluator=area)
    assert len(ingests) == 1
    assert found.coefficients.shape == (8, 1, 30)
    again = bootstrap(estimator, cancer, n=3, seed=2)
    np.testing.assert_allclose(again.coefficients, found.coefficients[:3], rtol=1e-4, atol=1e-6)
    assert not np.allclose(found.coefficients[0], found.coefficients[1], rtol=1e-2)
    np.testing.assert_allclose(numbers(found.model), numbers(estimator.fit(cancer)), rtol=1e-9)
    assert found.metrics.shape == (8,)
    low, high = found.metric_interval()
    assert 0.97 < low < high <= 1.0
    if execution == "local":
        # a replicate is the fit of the rows with its weights, and is measured on those without
        X, y = load_breast_cancer(return_X_y=True)
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        order = [X.tolist().index(list(row.features)) for row in cancer.collect()]
        X, y = X[order], y[order]
        block = Block(X, y.astype(float))
        drawn = Poisson(2, (0,)).factors(block, 0, 0, len(y))[:, 0]
        margins = X @ found.coefficients[0, 0] + found.intercepts[0, 0]
        slope = drawn * (expit(margins) - y)
        penalty = 0.1 * found.coefficients[0, 0] * X.var(axis=0, ddof=1)
        np.testing.assert_allclose(X.T @ slope / drawn.sum() + penalty, 0.0, atol=1e-7)
        unseen = drawn == 0.0
        assert found.metrics[0] == pytest.approx(
            roc_auc_score(y[unseen], margins[unseen]), abs=1e-4
        )


@pytest.mark.parametrize("balanced", [False, True])
def test_a_weighted_metric_of_replicates(cancer: DataFrame, balanced: bool) -> None:
    """It counts rows by their own weights, whatever the training multiplies those by."""
    large = vector_to_array("features")[0] > 0.0
    rows = cancer.withColumn("times", F.when(large, 5.0).otherwise(1.0))
    estimator = LogisticRegression(regParam=10.0, weightCol="times", execution="local")
    if balanced:
        estimator.setClassWeight("balanced")
    area = BinaryClassificationEvaluator(weightCol="times")
    found = bootstrap(estimator, rows, n=2, seed=2, evaluator=area)
    local = rows.collect()
    X = np.array([row.features.toArray() for row in local])
    y, weight = np.array([(row.label, row.times) for row in local]).T
    drawn = Poisson(2, (0, 1)).factors(Block(X, y, weight), 0, 0, len(y))
    for k in range(2):
        unseen = drawn[:, k] == 0.0
        margins = X[unseen] @ found.coefficients[k, 0]
        expected = roc_auc_score(y[unseen], margins, sample_weight=weight[unseen])
        assert found.metrics[k] == pytest.approx(expected, abs=1e-4)
        assert abs(roc_auc_score(y[unseen], margins) - expected) > 1e-3


def test_replicates_that_lack_a_class_are_left_out(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    """And metrics of one class; which they are follows from the draws alone."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(30, 2)), np.zeros(30)
    y[[3, 17]] = 1.0
    X[y == 1.0] += 6.0
    rows, n = frame(spark, X, y, partitions=1), 40
    drawn = Poisson(5, tuple(range(n))).factors(Block(X, y), 0, 0, 30)
    lacking = (drawn[y == 1.0] == 0.0).all(axis=0)
    unmeasured = lacking | (drawn[y == 1.0] > 0.0).all(axis=0)
    assert lacking.any()
    assert (unmeasured & ~lacking).any()
    estimator = LogisticRegression(regParam=0.1, tol=1e-9, execution="local")
    area = BinaryClassificationEvaluator()
    with caplog.at_level(logging.WARNING, "sparkml_lsml"), nothing_left(spark):
        found = bootstrap(estimator, rows, n=n, seed=5, evaluator=area)
    assert found.coefficients.shape == (n, 1, 2)
    for values in (found.coefficients[:, 0, 0], found.intercepts[:, 0]):
        np.testing.assert_array_equal(np.isnan(values), lacking)
    np.testing.assert_array_equal(np.isnan(found.metrics), unmeasured)
    assert found.metric_interval() == (1.0, 1.0)  # the classes lie apart
    known = found.coefficients[~lacking]
    np.testing.assert_allclose(found.standard_errors, known.std(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(found.interval(0.5)[0], np.quantile(known, 0.25, axis=0), rtol=1e-12)
    first = np.flatnonzero(lacking)[0]
    assert found.notes[0].startswith(f"{lacking.sum()} of {n} replicates ({first}, ")
    assert found.notes[1].startswith(f"{(unmeasured & ~lacking).sum()} of {n} replicates")
    assert all(note in caplog.text for note in found.notes)
    np.testing.assert_array_equal(found.converged, ~lacking)
    # the others are what they are without them: weights of rows, as for scikit-learn
    one = int(np.flatnonzero(~lacking)[0])
    margins = X @ found.coefficients[one, 0] + found.intercepts[one, 0]
    assert (drawn[:, one] @ (expit(margins) - y)) == pytest.approx(0.0, abs=1e-5)


def test_replicates_that_do_not_converge_are_named(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that can be separated have no minimum without a penalty (Albert and Anderson, 1984)."""
    X = np.array([[-2.0], [-1.5], [-1.0], [-0.2], [0.2], [1.0], [1.5], [2.0]])
    y = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    estimator = LogisticRegression(maxIter=30, execution="local")
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        found = bootstrap(estimator, frame(spark, X, y, partitions=1), n=20, seed=2)
    drawn = Poisson(2, tuple(range(20))).factors(Block(X, y), 0, 0, 8)
    separable = (drawn[3:5] == 0.0).any(axis=0)
    assert separable.any()
    assert not separable.all()
    assert not found.converged[separable].any()
    assert found.converged[~separable].all()
    assert f"{separable.sum()} of 20 replicates" in found.notes[-1]
    assert "did not converge (max_iter)" in caplog.text


def test_a_bootstrap_of_too_few_rows(spark: SparkSession) -> None:
    X, y = np.arange(3.0)[:, None], np.array([0.0, 1.0, 2.0])
    rows = frame(spark, X, y, partitions=1)
    with nothing_left(spark), pytest.raises(DataError, match="of 3 replicates have rows of each"):
        bootstrap(LogisticRegression(regParam=1.0), rows, n=3, seed=1)
    r2 = RegressionEvaluator(metricName="r2")
    with pytest.raises(DataError, match="define no metric, in none of 3"):
        bootstrap(LinearRegression(), rows.where("label > 1"), n=3, seed=1, evaluator=r2)


def test_a_bootstrap_that_cannot_be(cancer: DataFrame) -> None:
    with pytest.raises(ParamError, match="at least 2 replicates"):
        bootstrap(LogisticRegression(), cancer, n=1)
    with pytest.raises(ParamError, match="solver='sgd' draws rows by itself"):
        bootstrap(LogisticRegression(solver="sgd"), cancer)
    with pytest.raises(ParamError, match="is not measured here"):
        bootstrap(LogisticRegression(), cancer, evaluator=RegressionEvaluator(metricName="var"))
    weighted = BinaryClassificationEvaluator(weightCol="weight")
    with pytest.raises(ParamError, match="another weightCol than the estimator"):
        bootstrap(LogisticRegression(), cancer, evaluator=weighted)
