"""Networks in fits: what mini-batches on every partition learn, and what is around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
import pytest
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml import losses
from sparkml_lsml.errors import DivergedError, ParamError, PersistenceError
from sparkml_lsml.neural import (
    MLPClassificationModel,
    MLPClassifier,
    MLPRegressionModel,
    MLPRegressor,
    MultilayerPerceptronClassifier,
)
from sparkml_lsml.spark.folders.metadata import checksum
from sparkml_lsml.tuning import CrossValidator
from tests.faults import hook_passes
from tests.spark.helpers import cells, frame, frame_of, nothing_left, refused

Array = npt.NDArray[np.float64]

ROWS, FEATURES, CLASSES = 600, 3, 3
RNG = np.random.default_rng(9)
X = RNG.normal(size=(ROWS, FEATURES)) * [1.0, 50.0, 0.02] + [0.0, 200.0, 1.0]
Z = (X - X.mean(axis=0)) / X.std(axis=0)
Y = np.digitize((Z**2).sum(axis=1), [1.5, 3.5]).astype(float)
VALUES = 1e6 + 3e5 * np.abs(Z[:, 0])
WEIGHT = RNG.integers(1, 4, size=ROWS).astype(float)

EXECUTIONS = ("local", "distributed")
both_ways = pytest.mark.parametrize("execution", EXECUTIONS)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    found = frame(spark, X, Y, WEIGHT, partitions=2)
    return found.withColumn("held", F.col("weight") > 2.5)


@pytest.fixture(scope="module")
def values(spark: SparkSession) -> DataFrame:
    return frame(spark, X, VALUES, partitions=2)


def classifier(**params: Any) -> MLPClassifier:
    given = {"layers": [3, 16, 3], "batchSize": 16, "stepSize": 0.01, "seed": 2}
    more = {"maxIter": 4, "aggregationDepth": 1, "execution": "distributed"}
    return MLPClassifier(**given | more | params)


def regressor(**params: Any) -> MLPRegressor:
    given = {"layers": [3, 16, 1], "batchSize": 16, "stepSize": 0.01, "seed": 2, "maxIter": 20}
    return MLPRegressor(**given | params)


def weights(model: Any) -> Array:
    found: Array = model.weights.toArray()
    return found


# ---------------------------------------------------- fits


@both_ways
def test_the_defaults_learn_spheres(rows: DataFrame, execution: str) -> None:
    """No plane tells them apart: the largest class is about half of the rows."""
    model = classifier(execution=execution, maxIter=30).fit(rows)
    summary = model.summary
    assert (summary.solver, summary.execution) == ("local-steps", execution)
    assert summary.reason.name == "completed"
    assert len(summary.history) == 30
    assert summary.accuracy > 0.9
    first, *_, last = summary.objectiveHistory
    assert last < 0.5 * first
    assert model.evaluate(rows.where("held")).accuracy > 0.85
    notes = [note for note in summary.notes if "partitions were averaged" in note]
    assert len(notes) == (execution == "distributed")


def test_rows_of_a_regression_need_no_scaling(values: DataFrame) -> None:
    for params in ({}, {"loss": "huber"}, {"optimizer": "momentum"}):
        model = regressor(execution="local", **params).fit(values)
        assert model.summary.r2 > 0.98, params
        assert (model.scale > 1e3) == ("loss" in params)
        assert model.evaluate(values).meanAbsoluteError < 4e4
        # a start at its own end stays there
        again = regressor(maxIter=0, **params).setInitialModel(model).fit(values)
        np.testing.assert_allclose(weights(again), weights(model), rtol=1e-6, atol=1e-6)


def test_two_fits_are_the_same_to_the_bit(rows: DataFrame) -> None:
    one, two = (classifier(dropout=0.3, weightCol="weight").fit(rows) for _ in range(2))
    other = classifier(dropout=0.3, weightCol="weight", seed=3).fit(rows)
    assert weights(one).tobytes() == weights(two).tobytes()
    assert weights(one).tobytes() != weights(other).tobytes()
    assert one.summary.objectiveHistory == two.summary.objectiveHistory


def test_a_registered_loss_is_learned(values: DataFrame) -> None:
    """The median of what has no noise is the value itself."""
    losses.loss(
        "absolute",
        value=lambda y, f: np.abs(y - f),
        derivative=lambda y, f: np.sign(f - y),
        smooth=False,
    )
    try:
        model = regressor(loss="absolute", execution="local").fit(values)
    finally:
        losses.unregister("absolute")
    assert model.summary.r2 > 0.98


def test_sparse_rows_are_those_of_dense_vectors(spark: SparkSession) -> None:
    """With zeros, so that sparse rows are not centred as they stand."""
    holes = np.where(np.abs(Z) > 0.8, X, 0.0)
    dense, sparse = (
        frame(spark, holes, Y, kind=kind, partitions=2) for kind in ("dense", "sparse")
    )
    one, two = (classifier(dtype="float64", maxIter=2).fit(each) for each in (dense, sparse))
    np.testing.assert_allclose(weights(two), weights(one), rtol=1e-6, atol=1e-8)


def test_class_weights_are_weights_of_rows(rows: DataFrame) -> None:
    given = {0.0: 2.0, 1.0: 1.0, 2.0: 0.5}
    factor = F.when(F.col("label") == 0, 2.0).when(F.col("label") == 2, 0.5).otherwise(1.0)
    weighed = rows.withColumn("product", F.col("weight") * factor)
    by_class = classifier(weightCol="weight", classWeight=given).fit(rows)
    by_row = classifier(weightCol="product").fit(weighed)
    np.testing.assert_allclose(weights(by_class), weights(by_row), rtol=1e-9)


def test_rows_that_are_sorted_by_label_are_shuffled(spark: SparkSession) -> None:
    order = np.argsort(Y, kind="stable")
    by_label = frame(spark, X[order], Y[order], partitions=2)
    summary = classifier().fit(by_label).summary
    assert [note for note in summary.notes if "rows were sorted by label: shuffled once" in note]


def test_averages_within_an_epoch_are_as_many_as_parts_of_it(rows: DataFrame) -> None:
    """300 rows a partition are 19 mini-batches of 16: about four times 5, or once."""
    for steps, rounds in ((5, 4), (19, 1), (0, 1), (1_000, 1)):
        summary = classifier(localSteps=steps, maxIter=3).fit(rows).summary
        # and one pass for the loss of all rows
        assert summary.passes == 3 * rounds + 1
        assert summary.totalIterations == 3
    whole, parts = (classifier(localSteps=k).fit(rows) for k in (0, 19))
    np.testing.assert_array_equal(weights(parts), weights(whole))


def test_classes_start_at_their_frequencies(spark: SparkSession) -> None:
    """By weights, whatever their unit; and a ten-thousandth more of each, for there may be none."""
    found = []
    for unit in (1.0, 1e3):
        rows = frame(spark, X, np.minimum(Y, 1.0), unit * WEIGHT, partitions=1)
        model = classifier(layers=[3, 3], weightCol="weight", maxIter=0).fit(rows)
        raw = np.array([model.predictRaw(vector).toArray() for vector in cells(X)])
        mean = np.average(raw, axis=0, weights=WEIGHT)
        found.append(mean - mean.mean())
    share = np.array([WEIGHT[Y == 0].sum(), WEIGHT[Y > 0].sum(), 0.0]) / WEIGHT.sum()
    expected = np.log(share + 1e-4)
    # features have mean 0 in the units of the first map
    for each in found:
        np.testing.assert_allclose(each, expected - expected.mean(), rtol=1e-6, atol=1e-6)


# ---------------------------------------------------- what is inherited


def test_grids_share_rounds_and_are_what_fits_alone_are(rows: DataFrame) -> None:
    estimator = classifier(dropout=0.2)
    maps = [{estimator.regParam: 0.0}, {estimator.regParam: 0.1, estimator.stepSize: 0.01}]
    for number, model in estimator.fitMultiple(rows, maps):
        alone = estimator.fit(rows, maps[number])
        np.testing.assert_allclose(weights(model), weights(alone), rtol=1e-6, atol=1e-8)
        assert [note for note in model.summary.notes if "one of 2 models" in note]
        assert model.summary.passes == alone.summary.passes


def test_searches_leave_folds_out_of_mini_batches(spark: SparkSession, rows: DataFrame) -> None:
    estimator = classifier(maxIter=15)
    maps = [{estimator.stepSize: step} for step in (0.01, 1e-6)]
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy")
    search = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=maps,
        evaluator=evaluator,
        numFolds=2,
        seed=3,
        collectSubModels=True,
    )
    with nothing_left(spark):
        found = search.fit(rows)
    assert found.avgMetrics[0] > 0.75 > found.avgMetrics[1]
    assert found.bestModel.summary.accuracy > 0.75
    [note] = [n for n in found.subModels[0][0].summary.notes if "one of" in n]
    assert note == "one of 4 models that shared their passes"


def test_case_76_a_fit_that_died_goes_on_to_the_bit(
    rows: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def hook(_: Any, passes: int) -> None:
        if passes == 5:
            raise Died

    given: dict[str, Any] = {"maxIter": 8, "dropout": 0.2, "warmup": 0.25, "weightCol": "weight"}
    whole = classifier(**given).fit(rows)
    kept = {"checkpointDir": str(tmp_path / "checkpoints"), "checkpointInterval": 2}
    with monkeypatch.context() as context:
        hook_passes(context, hook)
        with pytest.raises(Died):
            classifier(**given, **kept).fit(rows)
    other = classifier(**given, **kept, optimizer="sgd").fit(rows)
    assert not [note for note in other.summary.notes if "resumed" in note]
    again = classifier(**given, **kept).fit(rows)
    assert [note for note in again.summary.notes if "resumed at iteration" in note]
    assert weights(again).tobytes() == weights(whole).tobytes()
    assert again.summary.objectiveHistory == whole.summary.objectiveHistory


@both_ways
def test_a_validation_keeps_the_best_epoch(rows: DataFrame, execution: str) -> None:
    """Of a step that is too long after the first epochs."""
    given: dict[str, Any] = {"stepSize": 0.2, "learningRate": "constant", "maxIter": 60}
    estimator = classifier(validationIndicatorCol="held", patience=3, execution=execution, **given)
    model = estimator.fit(rows)
    summary = model.summary
    assert summary.reason.name == "early_stopping"
    held = WEIGHT > 2.5
    found = np.array([model.predictProbability(Vectors.dense(x)).toArray() for x in X[held]])
    chosen = found[np.arange(held.sum()), Y[held].astype(int)]
    least = min(line.validation for line in summary.history)
    assert least == pytest.approx(-np.log(chosen).mean(), rel=1e-4)
    assert summary.rows == int((~held).sum())


def test_callbacks_stop_a_fit(rows: DataFrame) -> None:
    class Stop:
        def on_iteration(self, fit: Any, model: int, line: Any) -> bool:
            return bool(line.iteration == 2)

    model = classifier(maxIter=9).setCallbacks([Stop()]).fit(rows)
    assert (model.summary.reason.name, model.summary.reason.iteration) == ("callback", 2)


def test_features_that_are_nan_or_null_get_that(spark: SparkSession, rows: DataFrame) -> None:
    model = classifier(maxIter=1).fit(rows)
    features = [Vectors.dense(X[0]), Vectors.dense([np.nan, 1.0, 2.0]), None, Vectors.dense(X[1])]
    odd = frame_of(spark, {"features": (VectorUDT(), features)}, partitions=1)
    first, nan, null, last = model.transform(odd).select("prediction", "probability").collect()
    assert np.isnan(nan.prediction)
    assert np.isnan(nan.probability.toArray()).all()
    assert (null.prediction, null.probability) == (None, None)
    for row, x in ((first, X[0]), (last, X[1])):
        assert row.prediction == model.predict(Vectors.dense(x))


# ---------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("made", "parts"),
    [
        (classifier(layers=[4, 8, 3]), ["layers=[4, 8, 3] begin with 4", "have 3 features"]),
        (classifier(layers=[3, 8, 2]), ["layers=[3, 8, 2] end in 2", "of 3 classes"]),
        (MultilayerPerceptronClassifier(layers=[3, 2]), ["layers=[3, 2] end in 2", "3 classes"]),
        (MultilayerPerceptronClassifier(layers=[2, 3]), ["begin with 2", "have 3 features"]),
        (regressor(layers=[5, 1]), ["layers=[5, 1] begin with 5", "have 3 features"]),
        (MLPClassifier(), ["layers is not set", "a list of two or more whole numbers"]),
        (classifier(learningRate="optimal"), ["learningRate='optimal'", "cosine, constant"]),
        (classifier(dropout=0.1, solver="l-bfgs"), ["dropout=0.1 with solver='l-bfgs'"]),
        (classifier(localSteps=3, localEpochs=2), ["localSteps=3 and localEpochs=2"]),
        (classifier(thresholds=[0.5, 0.5]), ["thresholds has 2 entries", "3 classes"]),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, list) else each[0],
)
def test_case_70_layers_that_do_not_fit(
    spark: SparkSession,
    rows: DataFrame,
    made: Any,
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hook(_: Any, passes: int) -> None:
        raise AssertionError("a pass was begun")

    hook_passes(monkeypatch, hook)
    with refused(spark, *parts):
        made.fit(rows)


def test_outputs_beyond_the_classes_are_told(rows: DataFrame) -> None:
    model = classifier(layers=[3, 4, 5], maxIter=1).fit(rows)
    assert model.numClasses == 5
    [note] = [note for note in model.summary.notes if "layers end in 5" in note]
    assert "no row has a label of 3 or more" in note


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@both_ways
def test_case_71_steps_that_are_too_long(
    spark: SparkSession, rows: DataFrame, optimizer: str, execution: str
) -> None:
    """An error that names the round, or finite weights."""
    estimator = classifier(stepSize=1e6, optimizer=optimizer, execution=execution)
    with nothing_left(spark):
        try:
            model = estimator.fit(rows)
        except DivergedError as error:
            assert "round" in str(error)  # noqa: PT017
        else:
            assert np.isfinite(weights(model)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_case_71_features_of_1e30(spark: SparkSession, dtype: str) -> None:
    """They are scaled: in units of their deviation they are as others."""
    large = frame(spark, 1e30 * X, Y, partitions=2)
    model = classifier(dtype=dtype, maxIter=15).fit(large)
    assert np.isfinite(weights(model)).all()
    assert model.summary.accuracy > 0.7


def test_case_72_a_loss_that_is_not_finite_in_one_partition(
    spark: SparkSession, values: DataFrame
) -> None:
    """For the label of one row, and only away from the prediction 0, where losses are tried."""
    odd = float(VALUES[ROWS - 1])

    def value(y: Array, f: Array) -> Array:
        return np.where((y == odd) & (f > 1.0), np.nan, 0.5 * (f - y) ** 2)

    losses.loss("odd", value=value, derivative=lambda y, f: f - y, curvature=1.0)
    try:
        with nothing_left(spark), pytest.raises(DivergedError, match=r"partition 1\b") as caught:
            regressor(loss="odd", execution="distributed", batchSize=100).fit(values)
    finally:
        losses.unregister("odd")
    assert "round 1" in str(caught.value)


CHANGES: dict[str, Any] = {
    "other layers": lambda m: m["facts"].update(layers=[3, 8, 3]),
    "one layer": lambda m: m["facts"].update(layers=[3]),
    "a layer of 0": lambda m: m["facts"].update(layers=[3, 0, 3]),
    "huge layers": lambda m: m["facts"].update(layers=[10**12, 10**12, 3]),
    "layers of text": lambda m: m["facts"].update(layers=["3", "16", "3"]),
    "no activation": lambda m: m["facts"].pop("activation"),
    "a module": lambda m: m["facts"].update(activation="os.system"),
    "one fact more": lambda m: m["facts"].update(module="os"),
    "other Params": lambda m: m["paramMap"].update(layers=[3, 5, 3]),
    "another activation": lambda m: m["paramMap"].update(activation="tanh"),
    "another name": lambda m: m["arrays"].update(coef=m["arrays"].pop("weights")),
    "another shape": lambda m: m["arrays"]["weights"].update(shape=[23, 5]),
}


@pytest.fixture(scope="module")
def saved(rows: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks") / "model"
    classifier(maxIter=0).fit(rows).save(folder)
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_case_75_saved_networks_that_were_changed(saved: Path, tmp_path: Path, change: str) -> None:
    """With a checksum that fits, as somebody would who means it."""
    assert MLPClassificationModel.load(saved).numFeatures == 3
    [file] = list((saved / "metadata").glob("part-*"))
    metadata = json.loads(file.read_text())
    metadata.pop("checksum")
    CHANGES[change](metadata)
    copy = tmp_path / "model"
    (copy / "metadata").mkdir(parents=True)
    (copy / "data").symlink_to(saved / "data")
    line = json.dumps(metadata | {"checksum": checksum(metadata)})
    (copy / "metadata" / "part-00000").write_text(line + "\n")
    with pytest.raises(PersistenceError):
        MLPClassificationModel.load(copy)


def test_case_75_saved_networks_of_another_class_or_cut(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(PersistenceError, match=r"expected a sparkml_lsml\.neural"):
        MLPRegressionModel.load(saved)
    copy = tmp_path / "model"
    (copy / "data").mkdir(parents=True)
    (copy / "metadata").symlink_to(saved / "metadata")
    [data] = list((saved / "data").glob("*.parquet"))
    (copy / "data" / data.name).write_bytes(data.read_bytes()[:-100])
    with pytest.raises(PersistenceError):
        MLPClassificationModel.load(copy)


def test_models_to_start_from_fit(rows: DataFrame) -> None:
    model = classifier(maxIter=0).fit(rows)
    for other in (classifier(layers=[3, 8, 3]), classifier(activation="tanh")):
        with pytest.raises(ParamError, match="the model to start from, MLPClassifier_"):
            other.setInitialModel(model).fit(rows)
    broken = MLPClassificationModel([3, 16, 3], np.full(115, np.nan))
    with pytest.raises(ParamError, match="weights that are not finite"):
        classifier().setInitialModel(broken).fit(rows)


def test_a_regression_is_saved_with_its_scale(values: DataFrame, tmp_path: Path) -> None:
    model = regressor(loss="huber", activation="gelu", maxIter=2).fit(values)
    model.save(tmp_path / "model")
    found = MLPRegressionModel.load(tmp_path / "model")
    assert found.scale == model.scale
    assert weights(found).tobytes() == weights(model).tobytes()
    vector = cells(X[:1])[0]
    assert found.predict(vector) == model.predict(vector)


def test_wide_sparse_rows_are_centred_where_most_of_them_have_a_value(spark: SparkSession) -> None:
    """So that a mini-batch does not touch all columns; they learn what dense rows do."""
    rng = np.random.default_rng(5)
    count, features = 400, 2_000
    y = rng.integers(2, size=count).astype(float)
    texts = np.zeros((count, features))
    texts[np.arange(count), rng.integers(1, 1_000, size=count) + 999 * y.astype(int)] = 1.0
    texts[:, 0] = 3.0 + y
    rows = frame(spark, texts, y, kind="sparse", partitions=2)
    given = {"layers": [features, 8, 2], "batchSize": 8, "maxIter": 3, "seed": 2}
    model = MLPClassifier(execution="distributed", **given).fit(rows)
    assert model.evaluate(rows).accuracy > 0.9
    begun = MLPClassifier(execution="distributed", **given | {"maxIter": 1, "stepSize": 1e-12})
    start = begun.fit(rows)
    weights, *_ = (each.toArray() for each in start.coefficientMatrices)
    biases, *_ = (each.toArray() for each in start.interceptVectors)
    # they begin at 0 in the units of the solver: the mean of the first column alone is in them
    np.testing.assert_allclose(biases, -weights[:, 0] * texts[:, 0].mean(), rtol=1e-5)
