"""Bad input, case by case; the numbers are those of the project's list of cases."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.ml.classification import LogisticRegression as MLlibLogisticRegression
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.linalg import SparseVector, Vectors, VectorUDT
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, StructField, StructType
from scipy import optimize
from scipy.special import expit

from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.errors import DivergedError, SparkMLError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.models.scoring import SETTING
from tests.spark.helpers import (
    CLASSIFIERS,
    ESTIMATORS,
    EXECUTIONS,
    KINDS,
    binary_rows,
    cells,
    frame,
    frame_of,
    jobs_so_far,
    nothing_left,
    numbers,
    refused,
)

Array = npt.NDArray[np.float64]

X, Y = binary_rows()
NAN, INF = float("nan"), float("inf")

each_estimator = pytest.mark.parametrize("cls", ESTIMATORS)
each_classifier = pytest.mark.parametrize("cls", CLASSIFIERS)
each_execution = pytest.mark.parametrize("execution", EXECUTIONS)
# every estimator and both executions: what differs between the latter is the same for all of them
each_fit = pytest.mark.parametrize(
    ("cls", "execution"),
    [(LinearSVC, "local"), (LogisticRegression, "distributed"), (LinearRegression, "local")],
)


def smooth(cls: type[Any], **params: Any) -> Any:
    """Give an estimator whose path does not depend on how sums are rounded."""
    settings: dict[str, Any] = {"regParam": 0.1, "tol": 1e-10, "maxIter": 6}
    if cls is LinearSVC:
        settings["loss"] = "squaredHinge"
    return cls(**settings | params)


def every_kind_with(one: type[Any]) -> pytest.MarkDecorator:
    """Every kind of features with one estimator, and one kind with all."""
    pairs = [(one, kind) for kind in KINDS]
    pairs += [(cls, "mixed") for cls in ESTIMATORS if cls is not one]
    return pytest.mark.parametrize(("cls", "kind"), pairs)


def with_values(spark: SparkSession, column: str, values: dict[int, float | None]) -> DataFrame:
    """Give the rows, some of which have other values in a column of numbers."""
    data: dict[str, list[float | None]] = {
        "label": [float(y) for y in Y],
        "weight": [1.0] * len(Y),
    }
    for row, value in values.items():
        data[column][row] = value
    return frame_of(
        spark,
        {
            "label": (DoubleType(), data["label"]),
            "features": (VectorUDT(), cells(X)),
            "weight": (DoubleType(), data["weight"]),
        },
        partitions=2,
    )


def with_features(spark: SparkSession, kind: str, changes: dict[int, Any]) -> DataFrame:
    """Give the rows, some of which have other features."""
    features = cells(X, kind)
    for row, value in changes.items():
        features[row] = value
    columns = {"label": (DoubleType(), Y.tolist()), "features": (KINDS[kind], features)}
    return frame_of(spark, columns)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, X, Y)


# ---------------------------------------------------- rows and partitions


@each_fit
@pytest.mark.parametrize("partitions", [0, 2])
def test_case_01_no_rows(
    spark: SparkSession, cls: type[Any], execution: str, partitions: int
) -> None:
    schema = StructType([StructField("label", DoubleType()), StructField("features", VectorUDT())])
    source = spark.sparkContext.parallelize([], 2) if partitions else spark.sparkContext.emptyRDD()
    empty = spark.createDataFrame(source, schema)
    with refused(spark, f"0 rows in {partitions} partitions"):
        cls(execution=execution).fit(empty)


@each_fit
def test_case_02_empty_partitions(spark: SparkSession, cls: type[Any], execution: str) -> None:
    expected = numbers(smooth(cls, execution="local").fit(frame(spark, X[:40], Y[:40])))
    many = frame(spark, X[:40], Y[:40]).repartition(50)
    np.testing.assert_allclose(
        numbers(smooth(cls, execution=execution).fit(many)), expected, rtol=1e-9
    )
    # coalescing to the number of cores fills those 50: here one of two stays empty
    padded = frame(spark, np.vstack([X[:40], X[:40]]), np.append(np.full(40, 9.0), Y[:40]))
    half = padded.where("label < 9")
    assert half.rdd.glom().map(len).collect() == [0, 40]
    with nothing_left(spark):
        model = smooth(cls, execution=execution).fit(half)
    np.testing.assert_allclose(numbers(model), expected, rtol=1e-9)


@each_fit
def test_case_03_one_row(spark: SparkSession, cls: type[Any], execution: str) -> None:
    one = frame(spark, [[2.0, 3.0]], [1.0])
    with nothing_left(spark):
        model = cls(execution=execution).fit(one)
    assert model.transform(one).first()["prediction"] == pytest.approx(1.0)
    assert not np.isnan(numbers(model)).any()


@each_estimator
def test_case_03_one_feature(spark: SparkSession, cls: type[Any]) -> None:
    model = cls(regParam=0.01).fit(frame(spark, X[:, -1:], Y))
    assert model.numFeatures == 1
    # the labels fall where this feature grows
    assert model.coefficients[0] < 0.0
    if cls is LinearRegression:
        model = cls().fit(frame(spark, X[:, -1:], Y))
        slope, intercept = np.polyfit(X[:, -1], Y, 1)
        np.testing.assert_allclose(numbers(model), [slope, intercept], rtol=1e-9)


# ---------------------------------------------------- labels


@each_fit
def test_case_04_labels_null_or_not_finite(
    spark: SparkSession, cls: type[Any], execution: str
) -> None:
    bad = {0: None, 1: NAN, 2: INF, 30: -INF, 31: None}
    with refused(spark, "'label'", "2 rows whose label is null", "3 rows whose label is NaN"):
        cls(execution=execution).fit(with_values(spark, "label", bad))


@pytest.mark.parametrize("value", [None, NAN, INF, -INF])
@each_estimator
def test_case_04_one_such_label(spark: SparkSession, cls: type[Any], value: float | None) -> None:
    with refused(spark, "'label'", "1 rows whose label is"):
        cls().fit(with_values(spark, "label", {59: value}))


@each_execution
@pytest.mark.parametrize("value", [3.0, -1.0, 0.5])
@pytest.mark.parametrize("make", [LinearSVC, partial(LogisticRegression, family="binomial")])
def test_case_05_labels_that_are_not_binary(
    spark: SparkSession, make: Callable[..., Any], value: float, execution: str
) -> None:
    bad = with_values(spark, "label", {0: value, 59: value})
    with refused(spark, "'label'", "2 rows", str(value), "labels must be 0 or 1"):
        make(execution=execution).fit(bad)


@pytest.mark.parametrize("value", [-1.0, 0.5])
@pytest.mark.parametrize("family", ["auto", "multinomial"])
def test_case_06_labels_that_are_not_classes(
    spark: SparkSession, family: str, value: float
) -> None:
    bad = with_values(spark, "label", {0: value, 1: 2.0, 59: value})
    with refused(spark, "'label'", "2 rows", str(value), "labels must be 0, 1, 2"):
        LogisticRegression(family=family).fit(bad)


def test_case_06_a_label_beyond_those_declared(spark: SparkSession, rows: DataFrame) -> None:
    declared = rows.withMetadata("label", {"ml_attr": {"type": "nominal", "vals": ["a"]}})
    with refused(spark, "declares 1 classes", "label 1"):
        LogisticRegression().fit(declared)


@each_estimator
def test_case_07_a_label_of_strings(spark: SparkSession, rows: DataFrame, cls: type[Any]) -> None:
    strings = rows.withColumn("label", F.col("label").cast("string"))
    before = jobs_so_far(spark)
    with refused(spark, "labelCol='label'", "string", "expected a number"):
        cls().fit(strings)
    assert jobs_so_far(spark) == before


# ---------------------------------------------------- features


@each_execution
@every_kind_with(LinearSVC)
def test_case_09_features_null(
    spark: SparkSession, cls: type[Any], execution: str, kind: str
) -> None:
    with refused(spark, "'features'", "3 rows whose features are null"):
        cls(execution=execution).fit(with_features(spark, kind, {0: None, 7: None, 59: None}))


@each_execution
@every_kind_with(LogisticRegression)
def test_case_10_features_not_finite(
    spark: SparkSession, cls: type[Any], execution: str, kind: str
) -> None:
    values = [[NAN, 1.0, 1.0], [1.0, INF, 0.0], [0.0, 0.0, -INF], [NAN, NAN, NAN]]
    bad = with_features(spark, kind, dict(zip((0, 7, 40, 59), cells(values, kind), strict=True)))
    with refused(spark, "'features'", "4 rows whose features hold NaN, infinity or null"):
        cls(execution=execution).fit(bad)


def test_case_10_a_null_inside_an_array(spark: SparkSession) -> None:
    bad = with_features(spark, "double", {3: [1.0, None, 2.0]})
    with refused(spark, "'features'", "1 rows whose features hold NaN, infinity or null"):
        LinearRegression().fit(bad)


@each_estimator
@pytest.mark.parametrize("kind", ["dense", "mixed", "double"])
def test_case_11_nan_at_transform(
    spark: SparkSession, rows: DataFrame, cls: type[Any], kind: str
) -> None:
    model = smooth(cls).fit(rows)
    marked = with_features(spark, kind, {5: cells([[NAN, 1.0, 1.0]] * 2, kind)[1]})
    found = np.array([row.prediction for row in model.transform(marked).collect()])
    clean = np.array([row.prediction for row in model.transform(rows).collect()])
    assert np.flatnonzero(np.isnan(found)).tolist() == [5]
    np.testing.assert_allclose(np.delete(found, 5), np.delete(clean, 5), rtol=1e-12)


@each_execution
@every_kind_with(LinearRegression)
def test_case_12_rows_of_different_lengths(
    spark: SparkSession, cls: type[Any], execution: str, kind: str
) -> None:
    [longer] = cells([[1.0, 2.0, 3.0, 4.0]], kind)
    with refused(spark, "'features'", "shortest has 3 features", "longest 4"):
        cls(execution=execution).fit(with_features(spark, kind, {59: longer}))


@each_execution
def test_case_12_partitions_of_different_widths(spark: SparkSession, execution: str) -> None:
    features = [Vectors.dense(row[: 2 if n < 30 else 3]) for n, row in enumerate(X)]
    columns = {"label": (DoubleType(), Y.tolist()), "features": (VectorUDT(), features)}
    with refused(spark, "'features'", "shortest has 2 features", "longest 3"):
        LinearSVC(execution=execution).fit(frame_of(spark, columns))


@each_estimator
def test_case_13_another_number_of_features(
    spark: SparkSession, rows: DataFrame, cls: type[Any]
) -> None:
    model = smooth(cls).fit(rows)
    wider = frame(spark, np.ones((4, 5)), np.ones(4))
    # rows are only looked at in the job
    with pytest.raises(
        (PySparkException, Py4JJavaError), match=r"trained on 3 features, found rows with 5"
    ):
        model.transform(wider).collect()
    with pytest.raises(ValueError, match="trained on 3 features, found 2"):
        model.predict(Vectors.dense(1.0, 2.0))


@each_estimator
@pytest.mark.parametrize("param", ["featuresCol", "labelCol", "weightCol"])
def test_case_14_a_column_is_missing(
    spark: SparkSession, rows: DataFrame, cls: type[Any], param: str
) -> None:
    before = jobs_so_far(spark)
    with refused(spark, f"{param}='absent'", "label, features"):
        cls(**{param: "absent"}).fit(rows)
    assert jobs_so_far(spark) == before


@each_estimator
def test_case_14_columns_at_transform(spark: SparkSession, rows: DataFrame, cls: type[Any]) -> None:
    model = smooth(cls).fit(rows)
    before = jobs_so_far(spark)
    with refused(spark, "featuresCol='features'", "found label"):
        model.transform(rows.drop("features"))
    with refused(spark, "prediction", "found label, features, Prediction"):
        model.transform(rows.withColumn("Prediction", F.lit(1.0)))
    with refused(spark, "label", "found label, features"):
        model.copy({model.predictionCol: "label"}).transform(rows)
    assert jobs_so_far(spark) == before


@each_fit
def test_case_15_kinds_of_features(spark: SparkSession, cls: type[Any], execution: str) -> None:
    # numbers that float32 holds exactly, so that it must give the same model too
    rounded = np.round(X * 64.0) / 64.0
    expected = numbers(smooth(cls, execution="local").fit(frame(spark, rounded, Y)))
    for kind in ("dense", "double", "float"):
        same = frame(spark, rounded, Y, kind=kind)
        with nothing_left(spark):
            found = numbers(smooth(cls, execution=execution).fit(same))
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=kind)


def test_case_15_float_rounds_features(spark: SparkSession) -> None:
    expected = numbers(smooth(LogisticRegression).fit(frame(spark, X, Y)))
    found = numbers(smooth(LogisticRegression).fit(frame(spark, X, Y, kind="float")))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@each_estimator
@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("array('a', 'b')", "array<string>"),
        ("array(1, 2)", "array<int>"),
        ("named_struct('a', 1.0D, 'b', named_struct('c', 2.0D))", "struct<"),
        ("array(array(1.0D))", "array<array<double>>"),
        ("1.5D", "double"),
        ("'text'", "string"),
    ],
)
def test_case_16_types_that_are_no_features(
    spark: SparkSession, rows: DataFrame, cls: type[Any], expression: str, found: str
) -> None:
    before = jobs_so_far(spark)
    wrong = rows.withColumn("features", F.expr(expression))
    with refused(spark, "featuresCol='features'", found, "array<double>"):
        cls().fit(wrong)
    with pytest.raises(TypeError):
        cls().fit(wrong)
    assert jobs_so_far(spark) == before


@each_fit
def test_case_17_sparse_dense_and_mixed(
    spark: SparkSession, cls: type[Any], execution: str
) -> None:
    holes = np.where(np.random.default_rng(5).random(X.shape) < 0.7, 0.0, X)
    weight = np.linspace(0.5, 2.0, len(Y))
    fitted = {}
    for kind in ("dense", "sparse", "mixed"):
        rows = frame(spark, holes, Y, weight, kind=kind)
        with nothing_left(spark):
            model = smooth(cls, weightCol="weight", execution=execution).fit(rows)
        fitted[kind] = numbers(model)
    for kind in ("sparse", "mixed"):
        np.testing.assert_allclose(fitted[kind], fitted["dense"], rtol=1e-9, err_msg=kind)


@pytest.mark.parametrize(
    "execution", ["local", pytest.param("distributed", marks=pytest.mark.slow)]
)
def test_case_18_ten_million_features(spark: SparkSession, execution: str) -> None:
    rows, features, stored = 2_000, 10_000_000, 10
    rng = np.random.default_rng(3)
    columns = np.sort(rng.integers(0, features // stored, (rows, stored)), axis=1)
    columns += np.arange(stored) * (features // stored)
    values = rng.normal(size=(rows, stored))
    label = (values[:, 0] > 0.0).astype(np.float64)
    used, at = np.unique(columns, return_inverse=True)
    at = at.reshape(columns.shape)

    def sparse_rows(size: int, indices: npt.NDArray[np.int64]) -> DataFrame:
        vectors = [SparseVector(size, i, v) for i, v in zip(indices, values, strict=True)]
        data = {"label": (DoubleType(), label.tolist()), "features": (VectorUDT(), vectors)}
        return frame_of(spark, data)

    # columns without an entry change nothing
    small = LogisticRegression(regParam=0.01, maxIter=2).fit(sparse_rows(len(used), at))
    wide = sparse_rows(features, columns)
    estimator = LogisticRegression(regParam=0.01, maxIter=2, execution=execution)
    tracemalloc.start()
    try:
        with nothing_left(spark):
            model = estimator.fit(wide)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # rows x features would be 160 GB; a handful of vectors of coefficients is 80 MB each
    assert peak < 30 * 8 * features
    found = model.coefficients.toArray()
    np.testing.assert_allclose(found[used], small.coefficients.toArray(), rtol=1e-9)
    assert np.count_nonzero(found) == np.count_nonzero(found[used])
    assert np.count_nonzero(small.coefficients.toArray()) > len(used) / 2


def damaged(indices: list[int], values: list[float]) -> SparseVector:
    """Give a sparse vector of size 3 that its constructor would refuse."""
    vector = Vectors.sparse(3, [0], [1.0])
    vector.indices = np.array(indices, dtype=np.int32)
    vector.values = np.array(values)
    return vector


DAMAGES = {
    "too large": [damaged([0, 3], [1.0, 2.0])],
    "negative": [damaged([-1, 1], [1.0, 2.0])],
    "falling": [damaged([2, 0], [1.0, 2.0])],
    "twice": [damaged([1, 1], [1.0, 2.0])],
    "too few": [damaged([1], [1.0, 2.0])],
    # together the two rows have as many indices as values
    "shifted": [damaged([0], [1.0, 2.0]), damaged([0, 1, 2], [1.0, 2.0])],
}


@each_execution
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_case_19_sparse_vectors_with_bad_indices(
    spark: SparkSession, damage: str, kind: str, execution: str
) -> None:
    vectors = DAMAGES[damage]
    bad = with_features(spark, kind, dict(enumerate(vectors, start=4)))
    with refused(spark, "'features'", f"{len(vectors)} sparse rows whose indices"):
        LinearSVC(execution=execution).fit(bad)


@pytest.mark.parametrize("damage", DAMAGES)
def test_case_19_bad_indices_at_transform(
    spark: SparkSession, rows: DataFrame, damage: str
) -> None:
    model = smooth(LinearRegression).fit(rows)
    vectors = DAMAGES[damage]
    bad = with_features(spark, "sparse", dict(enumerate(vectors, start=4)))
    # MLlib's class refuses them, as it does for MLlib's models
    with pytest.raises(Py4JJavaError, match=r"[Ii]ndex|[Ii]ndices"):
        model.transform(bad).collect()
    spark.conf.set(SETTING, "python")
    try:
        with pytest.raises(PySparkException, match=f"{len(vectors)} sparse rows have indices"):
            model.transform(bad).collect()
    finally:
        spark.conf.unset(SETTING)


@each_fit
def test_case_20_zeros(spark: SparkSession, cls: type[Any], execution: str) -> None:
    plain = np.where(np.random.default_rng(6).random(X.shape) < 0.4, 0.0, X)
    plain[:5] = 0.0
    plain[:, 1] = 0.0
    stored = [Vectors.sparse(3, [0, 1, 2], row.tolist()) for row in plain]
    explicit = with_features(spark, "sparse", dict(enumerate(stored)))
    expected = numbers(smooth(cls).fit(frame(spark, plain[:, [0, 2]], Y)))
    for rows in (explicit, frame(spark, plain, Y, kind="sparse")):
        found = numbers(smooth(cls, execution=execution).fit(rows))
        assert found[1] == 0.0
        np.testing.assert_allclose(np.delete(found, 1), expected, rtol=1e-9)


@each_estimator
def test_case_20_nothing_but_zeros(spark: SparkSession, cls: type[Any]) -> None:
    for kind in ("dense", "sparse"):
        model = smooth(cls).fit(frame(spark, np.zeros((60, 3)), Y, kind=kind))
        assert model.coefficients.toArray().tolist() == [0.0, 0.0, 0.0]
        if cls is not LinearSVC:
            share = Y.mean()
            expected = share if cls is LinearRegression else np.log(share / (1.0 - share))
            assert model.intercept == pytest.approx(expected, rel=1e-6)


@each_estimator
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("value", [7.0, 0.1, 1e8])
def test_case_21_a_constant_column(
    spark: SparkSession, cls: type[Any], kind: str, intercept: bool, value: float
) -> None:
    constant = np.insert(X, 1, value, axis=1)
    estimator = smooth(cls, fitIntercept=intercept)
    found = numbers(estimator.fit(frame(spark, constant, Y, kind=kind)))
    assert found[1] == 0.0
    expected = numbers(estimator.fit(frame(spark, X, Y)))
    np.testing.assert_allclose(np.delete(found, 1), expected, rtol=1e-9)


# ---------------------------------------------------- values


@each_classifier
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_case_22_one_class(
    spark: SparkSession, cls: type[Any], label: float, caplog: pytest.LogCaptureFixture
) -> None:
    same = frame(spark, X, np.full(len(Y), label))
    with caplog.at_level(logging.WARNING, "sparkml_lsml"), nothing_left(spark):
        model = cls(regParam=0.1).fit(same)
    assert f"all 60 labels are {label:g}" in caplog.text
    np.testing.assert_allclose(model.coefficients.toArray(), 0.0, atol=1e-12)
    assert {row.prediction for row in model.transform(same).collect()} == {label}
    if cls is LogisticRegression:
        # MLlib's LinearSVC refuses zeros alone
        expected = MLlibLogisticRegression(regParam=0.1).fit(same)
        assert model.coefficients == expected.coefficients
        assert model.intercept == expected.intercept


def test_case_22_one_class_without_an_intercept(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    same = frame(spark, X + 1.0, np.ones(len(Y)))
    model = LogisticRegression(fitIntercept=False, regParam=0.1, tol=1e-10).fit(same)
    assert "all 60 labels are 1" in caplog.text
    expected = MLlibLogisticRegression(fitIntercept=False, regParam=0.1, tol=1e-10).fit(same)
    np.testing.assert_allclose(numbers(model), numbers(expected), rtol=1e-4)


@each_fit
@pytest.mark.parametrize("size", [1e300, 1e-300, 1e150, 1e-150])
def test_case_23_features_of_extreme_size(
    spark: SparkSession, cls: type[Any], execution: str, size: float
) -> None:
    extreme = frame(spark, X * [1.0, size, 1.0], Y)
    estimator = cls(regParam=0.1, maxIter=5, execution=execution)
    if size == 1e300:
        with refused(spark, "1 features", "number 1", "rescale"):
            estimator.fit(extreme)
        return
    with nothing_left(spark):
        model = estimator.fit(extreme)
    assert np.isfinite(numbers(model)).all()
    # the other features are learned as if this one were not there, or were of common size
    assert np.abs(model.coefficients.toArray()[[0, 2]]).min() > 0.01


@each_fit
@pytest.mark.parametrize(
    "settings",
    [
        {"solver": "gradient-descent", "lineSearch": "fixed"},
        {"solver": "sgd", "learningRate": "constant"},
        {"solver": "minibatch-sgd", "learningRate": "constant"},
    ],
    ids=lambda settings: settings["solver"],
)
def test_case_24_a_step_size_that_diverges(
    spark: SparkSession, rows: DataFrame, cls: type[Any], execution: str, settings: dict[str, Any]
) -> None:
    sizes = (1e5, 1e200) if execution == "local" else (1e5,)
    for size in sizes:
        with nothing_left(spark), pytest.raises(DivergedError, match=r"diverged at iteration \d"):
            cls(stepSize=size, execution=execution, **settings).fit(rows)


@each_estimator
def test_case_24_a_step_that_is_too_long_is_not_convergence(
    rows: DataFrame, cls: type[Any]
) -> None:
    # the objective stays finite: it leaps over the minimum again and again
    estimator = cls(solver="gradient-descent", lineSearch="fixed", stepSize=30.0, maxIter=50)
    try:
        summary = estimator.fit(rows).summary
    except DivergedError:
        return
    assert summary.objectiveHistory[-1] <= min(summary.objectiveHistory)
    assert summary.objectiveHistory[-1] < summary.objectiveHistory[0]


# ---------------------------------------------------- weights


@each_fit
def test_case_25_weights(spark: SparkSession, cls: type[Any], execution: str) -> None:
    bad = with_values(spark, "weight", {0: None, 1: NAN, 30: INF, 31: -1.0, 59: None})
    problems = ("2 rows whose weight is null", "3 rows whose weight is NaN, infinite or negative")
    with refused(spark, "'weight'", *problems):
        cls(weightCol="weight", execution=execution).fit(bad)


@pytest.mark.parametrize("value", [None, NAN, INF, -1e-9])
def test_case_25_one_such_weight(spark: SparkSession, value: float | None) -> None:
    with refused(spark, "'weight'", "1 rows whose weight is"):
        LinearRegression(weightCol="weight").fit(with_values(spark, "weight", {59: value}))


def test_case_25_weights_of_strings(spark: SparkSession, rows: DataFrame) -> None:
    with refused(spark, "weightCol='weight'", "string"):
        LinearSVC(weightCol="weight").fit(rows.withColumn("weight", F.lit("much")))


@each_fit
def test_case_26_all_weights_zero(spark: SparkSession, cls: type[Any], execution: str) -> None:
    with refused(spark, "all 60 weights", "'weight'", "are 0"):
        cls(weightCol="weight", execution=execution).fit(frame(spark, X, Y, np.zeros(60)))


@each_fit
def test_case_27_weight_2_is_the_row_twice(
    spark: SparkSession, cls: type[Any], execution: str
) -> None:
    weight = 1.0 + (np.arange(len(Y)) % 3 == 0)
    times = weight.astype(int)
    # the path of a solver depends on variances, whose formula knows the number of rows
    estimator = smooth(cls, standardization=False, maxIter=100, tol=1e-13)
    twice = estimator.fit(frame(spark, np.repeat(X, times, axis=0), np.repeat(Y, times)))
    weighted = estimator.copy({estimator.weightCol: "weight", estimator.execution: execution})
    found = numbers(weighted.fit(frame(spark, X, Y, weight)))
    np.testing.assert_allclose(found, numbers(twice), rtol=1e-5)


@each_estimator
def test_case_27_rows_of_next_to_no_weight(spark: SparkSession, cls: type[Any]) -> None:
    estimator = smooth(cls, maxIter=100, tol=1e-13, weightCol="weight")
    expected = numbers(estimator.fit(frame(spark, X, Y, np.ones(len(Y)))))
    wild, label = np.vstack([X, [[1e3, -1e3, 1e3]]]), np.append(Y, 1.0)
    for light in (1e-12, 0.0):
        rows = frame(spark, wild, label, np.append(np.ones(len(Y)), light))
        np.testing.assert_allclose(numbers(estimator.fit(rows)), expected, rtol=1e-4)


# ---------------------------------------------------- Params

BAD_PARAMS: list[tuple[str, Any]] = [
    ("regParam", NAN),
    ("regParam", INF),
    ("regParam", -1e-9),
    ("regParam", "much"),
    ("regParam", True),
    ("elasticNetParam", 1.5),
    ("maxIter", -1),
    ("maxIter", 1.5),
    ("maxIter", NAN),
    ("tol", -1e-3),
    ("tol", NAN),
    ("fitIntercept", "yes"),
    ("fitIntercept", 1),
    ("standardization", 0.0),
    ("aggregationDepth", 0),
    ("maxBlockSizeInMB", -1.0),
    ("featuresCol", ""),
    ("labelCol", 3),
    ("solver", "newton"),
    ("lineSearch", "exact"),
    ("learningRate", "fast"),
    ("stepSize", 0.0),
    ("powerT", 0.0),
    ("momentum", 1.0),
    ("nesterov", "no"),
    ("miniBatchFraction", 0.0),
    ("miniBatchFraction", 1.1),
    ("batchSize", 0),
    ("localEpochs", 0),
    ("seed", -1),
    ("dtype", "float16"),
    ("execution", "gpu"),
]

BAD_OWN_PARAMS: list[tuple[type[Any], str, Any]] = [
    (LinearSVC, "loss", "squared"),
    (LinearSVC, "threshold", NAN),
    (LogisticRegression, "family", "poisson"),
    (LogisticRegression, "threshold", 1.5),
    (LogisticRegression, "thresholds", [-1.0, 1.0]),
    (LogisticRegression, "thresholds", [0.0, 0.0]),
    (LogisticRegression, "thresholds", [NAN, 1.0]),
    (LinearRegression, "loss", "absolute"),
    (LinearRegression, "epsilon", 1.0),
    (LinearRegression, "epsilon", NAN),
]


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [(cls, name, value) for cls in ESTIMATORS for name, value in BAD_PARAMS] + BAD_OWN_PARAMS,
)
def test_case_28_params_out_of_range(
    spark: SparkSession, rows: DataFrame, cls: type[Any], name: str, value: Any
) -> None:
    estimator = cls()
    before = estimator.extractParamMap()
    setter = getattr(estimator, f"set{name[0].upper()}{name[1:]}")
    jobs = jobs_so_far(spark)
    for attempt in (
        lambda: cls(**{name: value}),
        lambda: setter(value),
        lambda: estimator.setParams(**{name: value}),
        # the maps of a grid pass by the setters
        lambda: estimator.fit(rows, {estimator.getParam(name): value}),
    ):
        with refused(spark, name):
            attempt()
        assert estimator.extractParamMap() == before
    assert jobs_so_far(spark) == jobs


@each_estimator
def test_case_28_the_message_names_the_range(cls: type[Any]) -> None:
    with pytest.raises(ValueError, match=r"regParam=-1\.0, expected .* 0 or more"):
        cls(regParam=-1.0)
    with pytest.raises(ValueError, match=r"elasticNetParam=2\.0, expected .* from 0 to 1"):
        cls().setElasticNetParam(2.0)
    with pytest.raises(ValueError, match="did you mean 'regParam'"):
        cls().setParams(regparam=1.0)
    with pytest.raises(TypeError, match="no Param 'regparam': did you mean 'regParam'"):
        cls(regparam=1.0)


def test_case_28_thresholds_for_other_classes(spark: SparkSession, rows: DataFrame) -> None:
    with refused(spark, "thresholds", "3 entries", "2 classes"):
        LogisticRegression(thresholds=[0.2, 0.3, 0.5]).fit(rows)


def test_case_28_huber_takes_no_l1(spark: SparkSession, rows: DataFrame) -> None:
    for params in ({"elasticNetParam": 0.5}, {"solver": "normal"}):
        with refused(spark, "huber", next(iter(params))):
            LinearRegression(loss="huber", regParam=0.1, **params).fit(rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("solver", ["accelerated"])
def test_case_28_a_solver_for_smooth_losses(
    spark: SparkSession, rows: DataFrame, solver: str
) -> None:
    with refused(spark, solver, "hinge"):
        LinearSVC(solver=solver).fit(rows)


@each_estimator
def test_case_28_numpy_scalars(rows: DataFrame, cls: type[Any]) -> None:
    settings: dict[str, Any] = {
        "regParam": np.float32(0.25),
        "tol": np.float64(1e-10),
        "maxIter": np.int64(4),
        "aggregationDepth": np.int32(3),
        "fitIntercept": np.bool_(False),
        "stepSize": np.int64(1),
        "seed": np.uint8(3),
    }
    if cls is LinearSVC:
        settings["loss"] = "squaredHinge"
    by_constructor = cls(**settings)
    assert by_constructor.getRegParam() == 0.25
    assert type(by_constructor.getRegParam()) is float
    assert type(by_constructor.getMaxIter()) is int
    assert by_constructor.getFitIntercept() is False
    by_map = cls()
    model = by_map.fit(rows, {by_map.getParam(name): value for name, value in settings.items()})
    assert type(model.getRegParam()) is float
    assert numbers(model).tolist() == numbers(by_constructor.fit(rows)).tolist()


# ---------------------------------------------------- the same again


@each_execution
@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (LinearSVC, {}),
        (LogisticRegression, {}),
        (LinearRegression, {"solver": "l-bfgs"}),
        (LinearRegression, {}),
        (LogisticRegression, {"solver": "sgd"}),
        (LinearSVC, {"solver": "sgd", "momentum": 0.5}),
        (LogisticRegression, {"solver": "minibatch-sgd", "miniBatchFraction": 0.5}),
    ],
    ids=str,
)
def test_case_29_twice_the_same(
    rows: DataFrame, execution: str, cls: type[Any], settings: dict[str, Any]
) -> None:
    estimator = cls(regParam=0.1, maxIter=4, seed=11, execution=execution, **settings)
    first, second = numbers(estimator.fit(rows)), numbers(estimator.fit(rows))
    np.testing.assert_allclose(second, first, rtol=1e-9)
    if "sgd" in str(settings.get("solver")):
        other = numbers(estimator.copy({estimator.seed: 12}).fit(rows))
        assert np.abs(other - first).max() > 1e-9


@each_estimator
def test_case_30_rows_in_another_order(
    spark: SparkSession, rows: DataFrame, cls: type[Any]
) -> None:
    expected = numbers(smooth(cls, tol=1e-12, maxIter=50).fit(rows))
    order = np.random.default_rng(9).permutation(len(Y))
    shuffled = frame(spark, X[order], Y[order], partitions=5)
    for execution, again in zip(EXECUTIONS, (shuffled, rows.repartition(3)), strict=True):
        estimator = smooth(cls, tol=1e-12, maxIter=50, execution=execution)
        np.testing.assert_allclose(numbers(estimator.fit(again)), expected, rtol=1e-6)


@each_fit
@pytest.mark.parametrize("cached", [True, False])
def test_case_31_a_fit_changes_nothing_around_it(
    spark: SparkSession, cls: type[Any], execution: str, cached: bool
) -> None:
    bad = with_values(spark, "label", {0: NAN})
    good = frame(spark, X, Y)
    try:
        for rows in (good, bad):
            if cached:
                rows.cache()
                rows.count()
            estimator = smooth(cls, maxIter=2, execution=execution)
            params = estimator.extractParamMap()
            level, properties = rows.storageLevel, local_properties(spark)
            with nothing_left(spark):
                if rows is good:
                    estimator.fit(rows, {estimator.regParam: np.float32(0.5)})
                else:
                    with pytest.raises(SparkMLError):
                        estimator.fit(rows)
            assert estimator.extractParamMap() == params
            assert rows.storageLevel == level
            assert rows.is_cached == cached
            assert local_properties(spark) == properties
    finally:
        for rows in (good, bad):
            rows.unpersist()


def local_properties(spark: SparkSession) -> tuple[str | None, set[str]]:
    """Give what jobs of this thread are called, and their tags."""
    sc = spark.sparkContext
    return sc.getLocalProperty("spark.job.description"), sc.getJobTags()


def test_case_32_four_fits_at_once(spark: SparkSession) -> None:
    wide, label = binary_rows(120, 4, seed=2)
    rows = frame(spark, wide, label).cache()
    rows.count()
    estimator = LogisticRegression(maxIter=3, execution="distributed")
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.0, 0.01, 0.1, 1.0]).build()
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy")
    found = []
    try:
        for parallelism in (4, 1):
            search = CrossValidator(
                estimator=estimator,
                estimatorParamMaps=grid,
                evaluator=evaluator,
                numFolds=2,
                seed=1,
                parallelism=parallelism,
            )
            with nothing_left(spark):
                found.append(search.fit(rows))
    finally:
        rows.unpersist()
    np.testing.assert_allclose(found[0].avgMetrics, found[1].avgMetrics, rtol=1e-9)
    np.testing.assert_allclose(numbers(found[0].bestModel), numbers(found[1].bestModel), rtol=1e-9)


@pytest.mark.parametrize("cls", [LinearSVC, LogisticRegression])
def test_case_33_sorted_labels(
    spark: SparkSession, cls: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    wide, label = binary_rows(2_000, 4, seed=4)
    order = np.argsort(label, kind="stable")
    settings = {"solver": "sgd", "regParam": 0.01, "maxIter": 8, "execution": "distributed"}
    with nothing_left(spark):
        by_label = cls(**settings).fit(frame(spark, wide[order], label[order]))
    [note] = by_label.summary.notes
    assert "sorted by label" in note
    assert "shuffled once" in note
    assert note in str(by_label.summary)
    assert "sorted by label" in caplog.text
    caplog.clear()
    mixed = cls(**settings).fit(frame(spark, wide, label))
    assert mixed.summary.notes == ()
    assert "sorted" not in caplog.text
    assert objective_of(cls, by_label, wide, label) <= 1.01 * objective_of(cls, mixed, wide, label)


def objective_of(cls: type[Any], model: Any, features: Array, label: Array) -> float:
    """Give the mean loss plus the L2 penalty of 0.01 on standardised coefficients."""
    coefficients = model.coefficients.toArray()
    margin = (2.0 * label - 1.0) * (features @ coefficients + model.intercept)
    loss = np.maximum(0.0, 1.0 - margin) if cls is LinearSVC else np.logaddexp(0.0, -margin)
    scaled = features.std(axis=0, ddof=1) * coefficients
    return float(loss.mean() + 0.005 * scaled @ scaled)


def test_case_33_sorted_labels_do_not_matter_elsewhere(spark: SparkSession) -> None:
    order = np.argsort(Y, kind="stable")
    by_label = frame(spark, X[order], Y[order])
    for settings in ({"solver": "sgd"}, {"solver": "l-bfgs", "execution": "distributed"}):
        model = LogisticRegression(maxIter=2, **settings).fit(by_label)  # type: ignore[arg-type]
        assert model.summary.notes == ()


@each_fit
def test_case_35_features_far_from_zero(
    spark: SparkSession, cls: type[Any], execution: str
) -> None:
    deviation = X.std(axis=0)
    far = frame(spark, X + 1e4 * deviation, Y)
    estimator = smooth(
        cls, regParam=0.05, standardization=False, maxIter=30, tol=1e-9, execution=execution
    )
    model = estimator.fit(far)
    centred = X - X.mean(axis=0)
    spread = Y.std()  # of the population, as the normal solver has it

    def objective(coef: Array) -> tuple[float, Array]:
        raw, sign = centred @ coef[:-1] + coef[-1], 2.0 * Y - 1.0
        strength = 0.05
        if cls is LinearSVC:
            slack = np.maximum(0.0, 1.0 - sign * raw)
            loss, slope = np.square(slack).mean(), -2.0 * sign * slack
        elif cls is LogisticRegression:
            loss, slope = np.logaddexp(0.0, -sign * raw).mean(), -sign * expit(-sign * raw)
        else:
            loss, slope = 0.5 * np.square(raw - Y).mean(), raw - Y
            strength /= spread
        gradient = np.append(slope @ centred / len(Y) + strength * coef[:-1], slope.mean())
        return float(loss + 0.5 * strength * coef[:-1] @ coef[:-1]), gradient

    best = optimize.minimize(objective, np.zeros(4), jac=True, options={"gtol": 1e-9}).x
    np.testing.assert_allclose(model.coefficients.toArray(), best[:-1], rtol=1e-4)
    assert model.summary.reason.converged


@each_execution
def test_case_36_a_class_of_a_billion(spark: SparkSession, execution: str) -> None:
    huge = with_values(spark, "label", {0: 1e9})
    tracemalloc.start()
    try:
        with refused(spark, "largest label is 1,000,000,000", "3 different labels"):
            LogisticRegression(execution=execution).fit(huge)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6


def test_case_36_more_labels_than_classes(spark: SparkSession) -> None:
    many = spark.range(0, 150_000, 1, 2).selectExpr(
        "cast(id as double) as label", "array(1.0D) as features"
    )
    with refused(spark, "'label'", "so many different labels"):
        LogisticRegression().fit(many)
