"""Scoring, and what a Spark user does around it: pipelines, searches, copies, param maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark
import pytest
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml import classification as mllib_classification
from pyspark.ml import regression as mllib_regression
from pyspark.ml.classification import OneVsRest
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import DenseVector, Vectors, VectorUDT
from pyspark.ml.tuning import ParamGridBuilder, TrainValidationSplit
from pyspark.ml.wrapper import JavaParams
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StringType
from scipy.special import log_expit, log_softmax

from sparkml_lsml.classification import (
    CalibratedClassifierModel,
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    LogisticRegressionModel,
)
from sparkml_lsml.classification import OneVsRest as OurOneVsRest
from sparkml_lsml.engine.metrics.calibration import IsotonicCalibration, SigmoidCalibration
from sparkml_lsml.errors import ColumnError
from sparkml_lsml.regression import LinearRegressionModel
from sparkml_lsml.spark.models.scoring import SETTING
from tests.spark.helpers import (
    EXECUTIONS,
    KINDS,
    binary_rows,
    cells,
    frame,
    frame_of,
    numbers,
    refused,
)

Array = npt.NDArray[np.float64]

NAN = float("nan")
X, Y = binary_rows(60, 3, seed=5)
CLASSES3 = np.digitize(X @ [1.0, -0.5, 0.2], [-0.5, 0.6]).astype(np.float64)

# every model with dense rows, and one of them with every kind of features
KIND_OF_EACH = [
    *[(name, "dense") for name in ("svc", "multinomial", "linear")],
    *[("binomial", kind) for kind in KINDS],
]


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, X, Y)


@pytest.fixture(scope="module")
def three(spark: SparkSession) -> DataFrame:
    return frame(spark, X, CLASSES3)


@pytest.fixture(scope="module")
def pairs(rows: DataFrame, three: DataFrame) -> dict[str, tuple[Any, Any]]:
    """MLlib's models, and ours with the very same coefficients."""
    svc = mllib_classification.LinearSVC(regParam=0.1, maxIter=5).fit(rows)
    logistic = mllib_classification.LogisticRegression(regParam=0.1, maxIter=5)
    binomial, multinomial = logistic.fit(rows), logistic.fit(three)
    linear = mllib_regression.LinearRegression(regParam=0.1).fit(rows)
    ours = {
        "svc": LinearSVCModel(svc.coefficients.toArray()[None, :], np.array([svc.intercept])),
        "linear": LinearRegressionModel(
            linear.coefficients.toArray()[None, :], np.array([linear.intercept])
        ),
    }
    for name, model in (("binomial", binomial), ("multinomial", multinomial)):
        ours[name] = LogisticRegressionModel(
            model.coefficientMatrix.toArray(), model.interceptVector.toArray(), model.numClasses
        )
    theirs = {"svc": svc, "binomial": binomial, "multinomial": multinomial, "linear": linear}
    return {name: (theirs[name], ours[name]) for name in theirs}


def collected(model: Any, dataset: DataFrame) -> dict[str, Array]:
    """The columns that a model adds, one row a row."""
    found = model.transform(dataset)
    added = [name for name in found.columns if name not in dataset.columns]
    data = found.select(*added).collect()
    return {
        name: np.array(
            [r[name].toArray() if hasattr(r[name], "toArray") else r[name] for r in data]
        )
        for name in added
    }


def same_scores(theirs: Any, ours: Any, dataset: DataFrame) -> dict[str, Array]:
    """Compare all that two models add; what they predict must not be one class only."""
    expected, found = collected(theirs, dataset), collected(ours, dataset)
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12)
    assert len(np.unique(expected["prediction"])) > 1
    return found


@pytest.fixture(params=["jvm", "python"])
def road(spark: SparkSession, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where vectors are scored."""
    spark.conf.set(SETTING, request.param)
    yield request.param
    spark.conf.unset(SETTING)


# ---------------------------------------------------- columns and values


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("name", ["svc", "binomial", "multinomial", "linear"])
def test_columns_and_values_are_mllibs(
    rows: DataFrame, pairs: dict[str, tuple[Any, Any]], name: str
) -> None:
    theirs, ours = pairs[name]
    expected, found = theirs.transform(rows).schema, ours.transform(rows).schema
    assert [(f.name, f.dataType) for f in found] == [(f.name, f.dataType) for f in expected]
    # the columns that were there are as they were
    assert found.fields[: len(rows.columns)] == rows.schema.fields
    vectors = {"rawPrediction", "probability"}
    for column in found.fields[len(rows.columns) :]:
        assert column.dataType == (VectorUDT() if column.name in vectors else DoubleType())
    same_scores(theirs, ours, rows)
    if name != "linear":
        assert isinstance(ours.transform(rows).first()["rawPrediction"], DenseVector)


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("threshold", [0.3, float("inf"), float("-inf")])
def test_threshold_of_the_svc(
    rows: DataFrame, pairs: dict[str, tuple[Any, Any]], threshold: float
) -> None:
    theirs, ours = (model.copy().setThreshold(threshold) for model in pairs["svc"])
    expected, found = collected(theirs, rows), collected(ours, rows)
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    plain = collected(pairs["svc"][1], rows)["prediction"]
    assert found["prediction"].tolist() != plain.tolist()
    np.testing.assert_allclose(found["rawPrediction"], expected["rawPrediction"], rtol=1e-9)


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("threshold", [0.0, 0.8, 1.0])
def test_threshold_of_logistic_regression(
    rows: DataFrame, pairs: dict[str, tuple[Any, Any]], threshold: float
) -> None:
    theirs, ours = (model.copy().setThreshold(threshold) for model in pairs["binomial"])
    expected, found = collected(theirs, rows), collected(ours, rows)
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    assert (
        found["prediction"].tolist() != collected(pairs["binomial"][1], rows)["prediction"].tolist()
    )


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("thresholds", [[0.3, 0.7], [0.8, 0.4], [0.0, 1.0], [0.5, 0.0]])
def test_thresholds_of_two_classes(
    rows: DataFrame, pairs: dict[str, tuple[Any, Any]], thresholds: list[float]
) -> None:
    theirs, ours = (model.copy().setThresholds(thresholds) for model in pairs["binomial"])
    expected, found = collected(theirs, rows), collected(ours, rows)
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    assert ours.getThreshold() == pytest.approx(thresholds[1] / sum(thresholds))


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("thresholds", [[0.6, 0.1, 0.3], [0.2, 0.0, 0.9], [0.1, 0.5, 0.4]])
def test_thresholds_of_three_classes(
    three: DataFrame, pairs: dict[str, tuple[Any, Any]], thresholds: list[float]
) -> None:
    theirs, ours = (model.copy().setThresholds(thresholds) for model in pairs["multinomial"])
    expected, found = collected(theirs, three), collected(ours, three)
    assert found["prediction"].tolist() == expected["prediction"].tolist()
    plain = collected(pairs["multinomial"][1], three)["prediction"]
    assert found["prediction"].tolist() != plain.tolist()


def test_thresholds_of_the_estimator_reach_the_model(rows: DataFrame) -> None:
    for cls in (mllib_classification.LogisticRegression, LogisticRegression):
        model = cls(thresholds=[0.25, 0.75]).fit(rows)
        assert model.getThreshold() == 0.75
        assert model.getThresholds() == [0.25, 0.75]
    probability = collected(model, rows)["probability"][:, 1]
    assert collected(model, rows)["prediction"].tolist() == (probability > 0.75).tolist()


@pytest.mark.usefixtures("road")
def test_probabilities_far_out(spark: SparkSession) -> None:
    """A margin of 800 overflows exp; MLlib's own values are the reference."""
    far = frame(spark, [[800.0], [-800.0], [40.0], [0.0]], [1.0, 0.0, 1.0, 0.0])
    model = LogisticRegressionModel(np.array([[1.0]]), np.array([0.0]))
    found = collected(model, far)
    assert found["probability"][:, 1].tolist() == [1.0, 0.0, 1.0 / (1.0 + np.exp(-40.0)), 0.5]
    # 1 - p would have no digits left
    assert found["probability"][2, 0] == pytest.approx(np.exp(-40.0), rel=1e-12)
    assert found["prediction"].tolist() == [1.0, 0.0, 1.0, 0.0]
    # MLlib compares margins: those above minus infinity, though a probability is rounded to 0
    for chosen in (model.copy().setThreshold(0.0), model.copy().setThresholds([1.0, 0.0])):
        expected = collected(chosen.toMLlib(), far)["prediction"].tolist()
        assert collected(chosen, far)["prediction"].tolist() == expected == [1.0] * 4
        assert chosen.predict(Vectors.dense(-800.0)) == 1.0
    many = LogisticRegressionModel(np.array([[1.0], [0.0], [-1.0]]), np.zeros(3), 3)
    found = collected(many, far)
    np.testing.assert_allclose(found["probability"].sum(axis=1), 1.0)
    assert found["prediction"].tolist() == [0.0, 2.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [0.0, 1.0, 36.7, 745.2, 1e3, 1e8, 1e300])
def test_probabilities_add_up_to_one_whatever_the_margins(size: float) -> None:
    margins = size * np.array([[1.0, -1.0, 0.3], [-1.0, -1.0, -1.0], [0.0, 1.0, 1.0]])
    many = LogisticRegressionModel(np.eye(3), np.zeros(3), 3)
    two = LogisticRegressionModel(np.array([[1.0]]), np.zeros(1))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = many._finish()(margins)["probability"]
        pairs = two._finish()(margins.reshape(-1, 1))["probability"]
    np.testing.assert_allclose(found, np.exp(log_softmax(margins, axis=1)), rtol=1e-13)
    np.testing.assert_allclose(pairs[:, 1], np.exp(log_expit(margins.ravel())), rtol=1e-13)
    for probability in (found, pairs):
        assert (probability >= 0.0).all()
        np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=0.0, atol=4e-16)


# ---------------------------------------------------- names of columns


def test_columns_of_other_names(rows: DataFrame) -> None:
    renamed = rows.withColumnRenamed("features", "x y").withColumnRenamed("label", "target")
    model = LogisticRegression(
        featuresCol="x y",
        labelCol="target",
        rawPredictionCol="r",
        probabilityCol="q",
        predictionCol="p",
        maxIter=3,
    ).fit(renamed)
    assert model.transform(renamed).columns == ["target", "x y", "r", "q", "p"]
    expected = collected(LogisticRegression(maxIter=3).fit(rows), rows)["prediction"]
    # scoring needs no label
    assert collected(model, renamed.drop("target"))["p"].tolist() == expected.tolist()


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize(
    ("dropped", "left"),
    [
        (["rawPredictionCol"], ["probability", "prediction"]),
        (["probabilityCol", "rawPredictionCol"], ["prediction"]),
        (["predictionCol"], ["rawPrediction", "probability"]),
        (["rawPredictionCol", "probabilityCol", "predictionCol"], []),
    ],
)
def test_an_empty_name_drops_the_column(
    rows: DataFrame, pairs: dict[str, tuple[Any, Any]], dropped: list[str], left: list[str]
) -> None:
    expected: list[str] = []
    found: list[str] = []
    for columns, model in zip((expected, found), pairs["binomial"], strict=True):
        changed = model.copy()
        for name in dropped:
            changed.set(changed.getParam(name), "")
        columns += changed.transform(rows).columns
    assert found == expected == ["label", "features", *left]


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("name", ["rawPredictionCol", "predictionCol"])
def test_an_empty_name_drops_the_column_of_the_svc(
    rows: DataFrame, pairs: dict[str, tuple[Any, Any]], name: str
) -> None:
    found = []
    for model in pairs["svc"]:
        changed = model.copy()
        changed.set(changed.getParam(name), "")
        found.append(changed.transform(rows).columns)
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_columns_that_cannot_be_added(rows: DataFrame, pairs: dict[str, tuple[Any, Any]]) -> None:
    _, model = pairs["binomial"]
    scored = model.transform(rows)
    with pytest.raises(ColumnError, match="prediction must be new"):
        model.transform(scored)
    with pytest.raises(ColumnError, match="differ from each other"):
        model.copy().setProbabilityCol("prediction").transform(rows)
    with pytest.raises(ColumnError, match="featuresCol='features'"):
        model.transform(rows.drop("features"))
    with pytest.raises(TypeError, match="featuresCol='label' is double"):
        model.copy().setFeaturesCol("label").transform(rows)


# ---------------------------------------------------- one vector


@pytest.mark.parametrize("name", ["svc", "binomial", "multinomial", "linear"])
def test_one_vector(pairs: dict[str, tuple[Any, Any]], name: str) -> None:
    theirs, ours = pairs[name]
    assert {ours.predict(Vectors.dense(row)) for row in X} != {ours.predict(Vectors.dense(X[0]))}
    for row in [*X[:6], np.zeros(3)]:
        for vector in (Vectors.dense(row), Vectors.sparse(3, [(0, row[0]), (2, row[2])])):
            assert type(ours.predict(vector)) is float
            assert ours.predict(vector) == pytest.approx(theirs.predict(vector), rel=1e-9)
            for method in ("predictRaw", "predictProbability"):
                if hasattr(theirs, method):
                    found, expected = getattr(ours, method)(vector), getattr(theirs, method)(vector)
                    assert isinstance(found, DenseVector)
                    np.testing.assert_allclose(found.toArray(), expected.toArray(), rtol=1e-9)
    with pytest.raises(ValueError, match="3 features, found 2"):
        ours.predict(Vectors.dense(1.0, 2.0))


# ---------------------------------------------------- features


@pytest.mark.parametrize(("name", "kind"), KIND_OF_EACH)
def test_features_of_every_kind(
    spark: SparkSession, pairs: dict[str, tuple[Any, Any]], name: str, kind: str
) -> None:
    # numbers that float32 holds exactly
    values = np.round(X * 8.0) / 8.0 * (np.abs(X) > 0.4)
    expected = collected(pairs[name][0], frame(spark, values, Y))
    found = collected(pairs[name][1], frame(spark, values, Y, kind=kind))
    for column in expected:
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_features_straight_from_a_file(
    spark: SparkSession, pairs: dict[str, tuple[Any, Any]], tmp_path: Path, kind: str
) -> None:
    """Spark 4.3 hands the columns of a file over as they are, and fails on vectors among them."""
    values = np.round(X * 8.0) / 8.0 * (np.abs(X) > 0.4)
    rows = frame(spark, values, Y, kind=kind).withColumn("also", F.lit(None).cast(VectorUDT()))
    rows.write.parquet(str(tmp_path / "rows"))
    stored = spark.read.parquet(str(tmp_path / "rows"))
    for theirs, ours in pairs.values():
        found = ours.transform(stored).select("prediction").toPandas()["prediction"]
        expected = theirs.transform(frame(spark, values, Y)).toPandas()["prediction"]
        # a file may give its rows in another order
        np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-6)


def test_a_wide_model_is_sent_once(spark: SparkSession) -> None:
    """The file of a broadcast stays until the session ends."""
    folder = Path(spark.sparkContext._temp_dir)
    size = 1_200_000  # 9.6 MB of coefficients, which Python is sent
    features = [Vectors.sparse(size, [at], [value]) for at, value in ((0, 1.0), (size - 1, 3.0))]
    rows = frame_of(spark, {"features": (VectorUDT(), features)}, 1)
    model = LinearSVCModel(np.ones((1, size)), np.array([0.0]))

    def files() -> set[Path]:
        return {path for path in folder.iterdir() if path.stat().st_size > 8 * size}

    def predictions() -> list[float]:
        return [row.prediction for row in model.transform(rows).select("prediction").collect()]

    before = files()
    assert predictions() == [1.0, 1.0]
    [first] = files() - before
    assert predictions() == [1.0, 1.0]
    assert files() - before == {first}
    # Spark compares with the threshold, so that the function stays the same
    model.setThreshold(2.0)
    assert predictions() == [0.0, 1.0]
    assert files() - before == {first}
    model = LinearSVCModel(np.ones((1, size)), np.array([-2.0]))
    assert predictions() == [0.0, 1.0]
    assert len(files() - before) == 2


@pytest.fixture
def arrow_cache(spark: SparkSession) -> Iterator[None]:
    """Frames that are cached from here on are kept as Arrow, as a session can be started with."""
    columnar: Any = spark._jvm.org.apache.spark.sql.execution.columnar
    relation = getattr(getattr(columnar, "InMemoryRelation$"), "MODULE$")
    name = "org.apache.spark.sql.execution.columnar.ArrowCachedBatchSerializer"
    conf, key = spark._jsparkSession.sessionState().conf(), "spark.sql.cache.serializer"
    sizes = ("inMemoryColumnarStorage.batchSize", "execution.arrow.maxRecordsPerBatch")
    for size in sizes:
        spark.conf.set(f"spark.sql.{size}", "100")
    conf.setConfString(key, name)
    relation.clearSerializer()
    try:
        yield
    finally:
        conf.unsetConf(key)
        for size in sizes:
            spark.conf.unset(f"spark.sql.{size}")
        relation.clearSerializer()


@pytest.mark.skipif(
    tuple(map(int, pyspark.__version__.split(".")[:2])) < (4, 3), reason="has no cache in Arrow"
)
@pytest.mark.usefixtures("arrow_cache")
@pytest.mark.parametrize("kind", ["array", "vector", "columns"])
def test_rows_of_several_batches_of_arrow(spark: SparkSession, kind: str) -> None:
    """Columns that only pass by are read late, when Spark 4.3 has freed their batch."""
    x = (F.col("id") % 101).cast("double")
    column = F.array(x, -x)
    rows = spark.range(1000, numPartitions=2).select(
        "id",
        F.concat(F.lit("n"), F.col("id")).alias("name"),
        (array_to_vector(column) if kind == "vector" else column).alias("features"),
        x.alias("x"),
        (-x).alias("minus"),
    )
    # margin 2 x - 100: positive from 51 on
    model = LinearSVCModel(np.array([[1.0, -1.0]]), np.array([-100.0]))
    if kind == "columns":
        model.setFeaturesCols(["x", "minus"])
    cached = rows.cache()
    try:
        plan: Any = cached._jdf.queryExecution().withCachedData()
        kept = plan.collectLeaves().head().cacheBuilder().serializer()
        assert kept.getClass().getSimpleName() == "ArrowCachedBatchSerializer"
        scored = model.transform(cached).select("id", "name", "features", "prediction")
        for how in (scored, scored.sort("name"), scored.repartition(3, "name")):
            found = sorted(how.collect())
            assert [row.id for row in found] == list(range(1000))
            for row in found:
                assert row.name == f"n{row.id}"
                assert list(row.features) == [row.id % 101, -(row.id % 101)]
                assert row.prediction == float(row.id % 101 > 50)
    finally:
        cached.unpersist()


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize(("name", "kind"), KIND_OF_EACH)
def test_null_and_nan_features(
    spark: SparkSession, pairs: dict[str, tuple[Any, Any]], name: str, kind: str
) -> None:
    values = np.round(X[:6] * 8.0) / 8.0
    features = cells(values, kind)
    features[1] = None
    broken = values[4].copy()
    broken[1] = NAN
    features[4] = cells(broken[None, :], kind)[0]
    data = frame_of(spark, {"features": (KINDS[kind], features)})
    model = pairs[name][1]
    scores = [column for column in model.transform(data).columns if column != "features"]
    whole = collected(model, frame(spark, values, np.zeros(6)))
    found = model.transform(data).collect()
    for column in scores:
        assert found[1][column] is None
        assert np.isnan(np.ravel(found[4][column])).any()
        for n in (0, 2, 3, 5):
            value = found[n][column]
            value = value.toArray() if hasattr(value, "toArray") else value
            np.testing.assert_allclose(value, whole[column][n], rtol=1e-9)
    assert np.isnan(found[4]["prediction"])


@pytest.mark.parametrize(
    ("name", "kind"), [("multinomial", "mixed"), ("binomial", "float"), ("linear", "dense")]
)
def test_null_and_nan_features_without_arrow_functions(
    monkeypatch: pytest.MonkeyPatch,
    spark: SparkSession,
    pairs: dict[str, tuple[Any, Any]],
    name: str,
    kind: str,
) -> None:
    """Before Spark 4.1 features and scores pass through pandas, which has its own idea of NaN."""
    monkeypatch.setattr("sparkml_lsml.spark.models.scoring.computes", lambda scorer: False)
    monkeypatch.delattr(F, "arrow_udf", raising=False)
    test_null_and_nan_features(spark, pairs, name, kind)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_case_09_null_below_dense_rows(spark: SparkSession, execution: str) -> None:
    """The first row decides how vectors reach Arrow: what is dense there may be null below."""
    features = [*cells(X[:8]), None, None]
    label = [0.0, 1.0] * 5
    data = frame_of(spark, {"label": (DoubleType(), label), "features": (VectorUDT(), features)})
    with refused(spark, "'features'", "2 rows whose features are null"):
        LogisticRegression(execution=execution).fit(data)


@pytest.mark.usefixtures("road")
def test_only_null_features(spark: SparkSession, pairs: dict[str, tuple[Any, Any]]) -> None:
    data = frame_of(spark, {"features": (VectorUDT(), [None, None])})
    for _, model in pairs.values():
        assert all(row["prediction"] is None for row in model.transform(data).collect())
        assert model.transform(data.limit(0)).collect() == []


@pytest.mark.usefixtures("road")
def test_rows_of_another_length(spark: SparkSession, pairs: dict[str, tuple[Any, Any]]) -> None:
    data = frame(spark, X[:4, :2], Y[:4], partitions=1)
    _, model = pairs["binomial"]
    with pytest.raises((PySparkException, Py4JJavaError), match="3 features, found rows with 2"):
        model.transform(data).collect()


# ---------------------------------------------------- in the JVM or in Python


def test_who_scores(
    spark: SparkSession, pairs: dict[str, tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen in the plan: Python gets the features of arrays only, unless it is asked for."""

    def by_python(model: Any, kind: str) -> bool:
        scored = model.transform(frame(spark, X[:4], Y[:4], kind=kind))
        plan = scored._jdf.queryExecution().optimizedPlan().toString()
        return "score_arrow" in plan or "score_pandas" in plan

    for _, model in pairs.values():
        assert not by_python(model, "dense")
        assert not by_python(model, "sparse")
        assert by_python(model, "float")
    isotonic = CalibratedClassifierModel(
        X[:1], np.zeros(1), IsotonicCalibration(np.array([-1.0, 1.0]), np.array([0.2, 0.7]))
    )
    assert by_python(isotonic, "dense")
    _, model = pairs["svc"]
    # more coefficients than each task should be sent
    monkeypatch.setattr("sparkml_lsml.spark.models.scoring.LARGE", 16)
    assert by_python(model, "dense")
    monkeypatch.undo()
    spark.conf.set(SETTING, "python")
    try:
        assert by_python(model, "dense")
        spark.conf.set(SETTING, "scala")
        with pytest.raises(ValueError, match=f"{SETTING} is 'scala': expected 'jvm' or 'python'"):
            model.transform(frame(spark, X[:4], Y[:4]))
    finally:
        spark.conf.unset(SETTING)


def test_python_scores_where_the_jvm_may_not_be_called(
    rows: DataFrame, pairs: dict[str, tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared clusters of Databricks allow Py4J some methods only."""
    theirs, ours = pairs["binomial"]
    expected = collected(theirs, rows)
    calls = []

    def refused_call(*args: Any) -> Any:
        calls.append(args)
        raise Py4JError("py4j.security.Py4JSecurityException: not whitelisted")

    monkeypatch.setattr(JavaParams, "_new_java_obj", staticmethod(refused_call))
    found = collected(ours, rows)
    assert len(calls) == 1
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12)


FAR = [-np.inf, -1e300, -800.0, -40.0, -1e-300, 0.0, 0.5, 40.0, 800.0, 1e300, np.inf, NAN]


def _far_models() -> list[tuple[str, Any]]:
    one, none = np.array([[1.0]]), np.zeros(1)
    three = np.array([[1.0], [-0.5], [0.25]])
    shifts = np.array([0.3, -0.7, 0.1])
    certain = np.array([np.inf, 0.0, -np.inf])
    binomial = LogisticRegressionModel(one, none, 2)
    multinomial = LogisticRegressionModel(three, shifts, 3)
    return [
        ("regression", LinearRegressionModel(one, np.array([0.5]))),
        ("svc", LinearSVCModel(one, none).setThreshold(0.5)),
        ("svc, infinite", LinearSVCModel(one, none).setThreshold(float("inf"))),
        ("binomial", binomial),
        ("binomial, 0.9", binomial.copy().setThreshold(0.9)),
        ("binomial, 0", binomial.copy().setThreshold(0.0)),
        ("binomial, one class", LogisticRegressionModel(one, np.array([np.inf]), 2)),
        ("multinomial", multinomial),
        ("multinomial, thresholds", multinomial.copy().setThresholds([0.6, 0.0, 0.3])),
        ("multinomial, one class", LogisticRegressionModel(three, certain, 3)),
        ("two outputs", LogisticRegressionModel(three[:2], shifts[:2], 2)),
        ("calibrated", CalibratedClassifierModel(one, none, SigmoidCalibration(-1.7, 0.4))),
        ("falling", CalibratedClassifierModel(one, none, SigmoidCalibration(2.0, -0.1))),
    ]


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("model", [pytest.param(model, id=name) for name, model in _far_models()])
def test_margins_that_are_infinite_huge_or_no_numbers(
    spark: SparkSession, model: Any, kind: str, road: str
) -> None:
    """The finish of each model, which NumPy computes and other tests hold, is the reference."""
    values = np.array(FAR)[:, None]
    with np.errstate(all="ignore"):
        expected = model._scorer().score(values)
    found = collected(model, frame(spark, values, np.zeros(len(FAR)), kind=kind, partitions=1))
    names = {"rawPrediction": "raw", "probability": "probability", "prediction": "prediction"}
    for column, scores in found.items():
        # the calibrated NumPy has 1 - p, which is rounded
        atol = 4e-16 if isinstance(model, CalibratedClassifierModel) else 0.0
        np.testing.assert_allclose(scores, expected[names[column]], rtol=4e-15, atol=atol)


def test_one_vs_rest_models_score_in_both_roads(three: DataFrame, road: str) -> None:
    model = OurOneVsRest(classifier=LinearSVC(maxIter=3)).fit(three)
    margins = X @ np.concatenate([part._coefficients for part in model.models]).T
    margins += [part.intercept for part in model.models]
    found = collected(model, three)
    np.testing.assert_allclose(found["rawPrediction"], margins, rtol=1e-12)
    assert found["prediction"].tolist() == margins.argmax(axis=1).tolist()
    assert len(np.unique(found["prediction"])) == 3


# ---------------------------------------------------- what is built of estimators


def test_pipeline(spark: SparkSession) -> None:
    names = ["no", "yes"]
    data = frame_of(
        spark,
        {
            "answer": (StringType(), [names[int(y)] for y in Y]),
            **{f"x{n}": (DoubleType(), X[:, n].tolist()) for n in range(3)},
        },
    )
    estimator = LogisticRegression(regParam=0.1, maxIter=5)
    pipeline = Pipeline(
        stages=[
            StringIndexer(inputCol="answer", outputCol="label", stringOrderType="alphabetAsc"),
            VectorAssembler(inputCols=["x0", "x1", "x2"], outputCol="features"),
            estimator,
        ]
    )
    model = pipeline.fit(data)
    assert isinstance(model, PipelineModel)
    direct = estimator.fit(frame(spark, X, Y))
    np.testing.assert_allclose(numbers(model.stages[-1]), numbers(direct), rtol=1e-9)
    found = [row.prediction for row in model.transform(data).collect()]
    expected = collected(direct, frame(spark, X, Y))["prediction"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Params of a stage in a map for the pipeline
    other: Any = pipeline.fit(data, {estimator.regParam: 5.0})
    assert other.stages[-1].getRegParam() == 5.0
    assert estimator.getRegParam() == 0.1


def test_a_search_chooses_the_better(rows: DataFrame) -> None:
    estimator = LogisticRegression(maxIter=10)
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 100.0]).build()
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy")
    found = TrainValidationSplit(
        estimator=estimator,
        estimatorParamMaps=grid,
        evaluator=evaluator,
        seed=3,
        trainRatio=0.6,
    ).fit(rows)
    assert isinstance(found.bestModel, LogisticRegressionModel)
    assert found.bestModel.getRegParam() == 0.01
    assert found.validationMetrics[0] > found.validationMetrics[1]
    # the best one was fitted again, to all rows
    again = estimator.copy({estimator.regParam: 0.01}).fit(rows)
    np.testing.assert_allclose(numbers(found.bestModel), numbers(again), rtol=1e-9)
    assert "prediction" in found.transform(rows).columns


@pytest.mark.parametrize("cls", [LinearSVC, LogisticRegression])
def test_one_vs_rest(spark: SparkSession, three: DataFrame, cls: type[Any]) -> None:
    settings: dict[str, Any] = {"regParam": 0.1, "tol": 1e-9}
    model = OneVsRest(classifier=cls(**settings)).fit(three)
    # each is the model of one class against all others
    margins = []
    for number, one in enumerate(model.models):
        alone = cls(**settings).fit(frame(spark, X, np.equal(CLASSES3, number)))
        np.testing.assert_allclose(numbers(one), numbers(alone), rtol=1e-6)
        margins.append(X @ alone.coefficients.toArray() + alone.intercept)
    assert len(margins) == 3
    predicted = collected(model, three)["prediction"]
    assert predicted.tolist() == np.argmax(margins, axis=0).tolist()
    assert len(set(predicted)) > 1
    if cls is LogisticRegression:
        mllib = mllib_classification.LogisticRegression(**settings)
        expected = collected(OneVsRest(classifier=mllib).fit(three), three)["prediction"]
        assert predicted.tolist() == expected.tolist()
