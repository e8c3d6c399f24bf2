"""Networks of PyTorch in fits; skipped without torch."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml import neural
from sparkml_lsml.errors import DivergedError, ParamError, PersistenceError
from sparkml_lsml.neural import (
    TorchClassificationModel,
    TorchClassifier,
    TorchRegressionModel,
    TorchRegressor,
)
from sparkml_lsml.spark.folders.metadata import checksum
from sparkml_lsml.tuning import CrossValidator
from tests.faults import hook_passes
from tests.spark.helpers import frame, frame_of, nothing_left, refused

torch = pytest.importorskip("torch", reason="torch is not installed: ./dev/test --torch")

Array = npt.NDArray[np.float64]

RNG = np.random.default_rng(11)
ROWS, LENGTH = 600, 6
# whether 1 comes before 2 among other tokens: no count of them tells
X = RNG.integers(3, 8, size=(ROWS, LENGTH)).astype(float)
Y = RNG.integers(0, 2, size=ROWS).astype(float)
for row, label in zip(X, Y, strict=True):
    early, late = sorted(RNG.choice(LENGTH, size=2, replace=False))
    row[early], row[late] = (1, 2) if label else (2, 1)
WEIGHT = RNG.integers(1, 4, size=ROWS).astype(float)
VALUES = 1e6 + 3e5 * np.argmax(X == 1, axis=1)

WORDS = {"vocabulary": 8, "embedding": 8}
EXECUTIONS = ("local", "distributed")
both_ways = pytest.mark.parametrize("execution", EXECUTIONS)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    found = frame(spark, X, Y, WEIGHT, partitions=2)
    return found.withColumn("held", F.col("weight") > 2.5)


@pytest.fixture(scope="module")
def values(spark: SparkSession) -> DataFrame:
    return frame(spark, X, VALUES, partitions=2)


def classifier(**params: Any) -> TorchClassifier:
    given = {"network": "gru", "networkParams": {"units": 12, **WORDS}, "batchSize": 20}
    more = {"stepSize": 0.02, "maxIter": 3, "seed": 1, "execution": "distributed"}
    return TorchClassifier(**given | more | params)


def weights(model: Any) -> Array:
    found: Array = model._coef
    return found


# ---------------------------------------------------- fits


@both_ways
def test_a_recurrent_network_learns_what_only_order_tells(rows: DataFrame, execution: str) -> None:
    with nothing_left(rows.sparkSession):
        model = classifier(maxIter=15, execution=execution).fit(rows)
    assert model.summary.accuracy > 0.99
    assert model.evaluate(rows).accuracy == model.summary.accuracy
    assert model.summary.execution == execution
    assert model.numFeatures == LENGTH
    assert (model.numClasses, model.getInputShape(), model.getNetwork()) == (2, [LENGTH], "gru")


def test_a_regression_needs_no_scaling(values: DataFrame) -> None:
    for loss in ("squaredError", "huber"):
        estimator = TorchRegressor(
            network="attention",
            networkParams={"units": 16, "heads": 2, "layers": 1, "dropout": 0.0, **WORDS},
            loss=loss,
            batchSize=20,
            stepSize=0.01,
            maxIter=25,
        )
        model = estimator.fit(values)
        assert model.summary.r2 > 0.95
        assert (model.scale == 1.0) == (loss == "squaredError")
        assert model.labelCentre == pytest.approx(VALUES.mean(), rel=1e-9)
        assert model.labelScale == pytest.approx(VALUES.std(ddof=1), rel=1e-9)


def test_two_fits_are_the_same_to_the_bit(rows: DataFrame) -> None:
    estimator = classifier(networkParams={"units": 6, "dropout": 0.3, **WORDS})
    found = [weights(estimator.fit(rows)) for _ in range(2)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (weights(estimator.fit(rows, {estimator.seed: 2})) != found[0]).any()


def test_the_start_is_torchs_own_and_knows_the_classes(rows: DataFrame) -> None:
    model = classifier(maxIter=0, networkParams={"units": 4, **WORDS}, seed=5).fit(rows)
    from sparkml_lsml.networks.sequences import gru

    torch.manual_seed(5)
    expected = dict(gru((LENGTH,), 2, units=4, **WORDS).named_parameters())
    share = np.log(np.bincount(Y.astype(int)) / ROWS + 1e-4)
    for name, values in model.tensors.items():
        its = expected[name].detach().numpy().astype(float)
        if name == "head.bias":
            its = its + share - share.mean()
        np.testing.assert_allclose(values, its, rtol=1e-6, atol=1e-7)


def test_class_weights_are_weights_of_rows(rows: DataFrame) -> None:
    weighed = rows.withColumn(
        "product", F.col("weight") * F.when(F.col("label") > 0, 3.0).otherwise(1.0)
    )
    by_class = classifier(weightCol="weight", classWeight={0.0: 1.0, 1.0: 3.0}, maxIter=2).fit(rows)
    by_row = classifier(weightCol="product", maxIter=2).fit(weighed)
    np.testing.assert_allclose(weights(by_class), weights(by_row), rtol=1e-6, atol=1e-7)


def test_rows_that_are_sorted_by_label_are_shuffled(spark: SparkSession) -> None:
    order = np.argsort(Y, kind="stable")
    summary = classifier(maxIter=1).fit(frame(spark, X[order], Y[order], partitions=2)).summary
    assert [note for note in summary.notes if "rows were sorted by label: shuffled once" in note]


# ---------------------------------------------------- networks of users


def bag(shape: tuple[int, ...], outputs: int, *, size: int = 5) -> Any:
    """Counts of tokens in a dense layer, behind running means."""
    from torch import nn

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(8)
            self.inner = nn.Linear(8, size)
            self.head = nn.Linear(size, outputs)

        def forward(self, x: Any) -> Any:
            counts = nn.functional.one_hot(x.long(), 8).sum(dim=1).float()
            return self.head(nn.functional.relu(self.inner(self.norm(counts))))

    return Counts()


@pytest.fixture
def registered() -> Iterator[None]:
    neural.register("bag", bag)
    yield
    neural.unregister("bag")


@pytest.mark.usefixtures("registered")
def test_a_network_of_the_users_travels_and_keeps_its_running_means(rows: DataFrame) -> None:
    model = classifier(network="bag", networkParams={"size": 4}, maxIter=4).fit(rows)
    assert model.tensors["inner.weight"].shape == (4, 8)
    counts = np.stack([(token == X).sum(axis=1) for token in range(8)], axis=1)
    mean, tracked = model.tensors["norm.running_mean"], model.tensors["norm.num_batches_tracked"]
    # 15 mini-batches a partition and epoch, each a tenth of the way, and averages of both
    assert tracked == 60.0
    np.testing.assert_allclose(mean[3:], counts.mean(axis=0)[3:], rtol=0.2)
    assert mean[0] == 0.0
    # 1 and 2 are in each row once
    np.testing.assert_allclose(mean[1:3], 1.0, rtol=0.01)


@pytest.mark.usefixtures("registered")
def test_models_give_their_module_back(rows: DataFrame) -> None:
    for made in (classifier(), classifier(network="bag", networkParams={})):
        model = made.fit(rows)
        module = model.toTorch()
        assert not module.training
        with torch.inference_mode():
            raw = module(torch.from_numpy(X.astype(np.float32))).numpy()
        found = np.array([model.predictRaw(Vectors.dense(x)).toArray() for x in X[:20]])
        np.testing.assert_allclose(found, raw[:20], rtol=1e-5, atol=1e-6)
        predicted = model.transform(rows.limit(5)).select("features", "prediction").collect()
        for each in predicted:
            assert each.prediction == model.predict(each.features)


# ---------------------------------------------------- what is inherited


def test_grids_share_rounds_and_are_what_fits_alone_are(rows: DataFrame) -> None:
    estimator = classifier(networkParams={"units": 6, "dropout": 0.2, **WORDS})
    maps = [{estimator.regParam: 0.0}, {estimator.regParam: 0.1, estimator.stepSize: 0.01}]
    for number, model in estimator.fitMultiple(rows, maps):
        alone = estimator.fit(rows, maps[number])
        np.testing.assert_allclose(weights(model), weights(alone), rtol=1e-5, atol=1e-7)
        assert [note for note in model.summary.notes if "one of 2 models" in note]


def test_searches_compare_networks(rows: DataFrame) -> None:
    estimator = classifier(maxIter=12)
    bags = {"network": "embeddings", "networkParams": WORDS}
    maps = [{}, {estimator.getParam(name): value for name, value in bags.items()}]
    search = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=maps,
        evaluator=MulticlassClassificationEvaluator(metricName="accuracy"),
        numFolds=2,
        seed=3,
    )
    found = search.fit(rows)
    # means of embeddings know no order
    assert found.avgMetrics[0] > 0.9 > 0.65 > found.avgMetrics[1]
    assert found.bestModel.getNetwork() == "gru"


def test_case_76_a_fit_that_died_goes_on_to_the_bit(rows: DataFrame, tmp_path: Path) -> None:
    params = {"units": 6, "dropout": 0.3, **WORDS}
    expected = classifier(networkParams=params, maxIter=6).fit(rows)
    noted = classifier(
        networkParams=params, maxIter=6, checkpointDir=str(tmp_path), checkpointInterval=2
    )

    class Died(BaseException):
        pass

    def die(_: Any, passes: int) -> None:
        if passes == 5:
            raise Died

    with pytest.MonkeyPatch.context() as patch:
        hook_passes(patch, die)
        with pytest.raises(Died):
            noted.fit(rows)
    again = noted.fit(rows)
    np.testing.assert_array_equal(weights(again), weights(expected))
    assert [note for note in again.summary.notes if "resumed at iteration" in note]


def test_a_validation_keeps_the_best_epoch(rows: DataFrame) -> None:
    model = classifier(validationIndicatorCol="held", maxIter=8).fit(rows)
    losses = [line.validation for line in model.summary.history]
    assert model.summary.rows == int((WEIGHT < 2.5).sum())
    assert [n for n in model.summary.notes if f"iteration {int(np.nanargmin(losses)) + 1}," in n]


def test_models_go_on_from_models_and_from_pieces(rows: DataFrame) -> None:
    first = classifier(maxIter=3).fit(rows)
    kept = classifier(maxIter=0).setInitialModel(first).fit(rows)
    np.testing.assert_allclose(weights(kept), weights(first), rtol=1e-6)
    other = classifier(networkParams={"units": 5, **WORDS}).setInitialModel(first)
    with pytest.raises(ParamError, match="expected the same tensors"):
        other.fit(rows)
    model = None
    estimator = classifier(localEpochs=4)
    for piece in rows.randomSplit([1.0, 1.0, 1.0], seed=1):
        model = estimator.partialFit(piece, model, classes=2)
    assert model is not None
    assert model.evaluate(rows).accuracy > 0.9


def test_features_that_are_nan_or_null_get_that(spark: SparkSession, values: DataFrame) -> None:
    params = {"network": "cnn", "inputShape": [1, 2, 3]}
    image = {"channels": [2], "kernel": 1, "units": [4], "padding": 1}
    model = TorchRegressor(networkParams=image, maxIter=1, **params).fit(values)
    features = [Vectors.dense(X[0]), Vectors.dense([np.nan] * LENGTH), None, Vectors.dense(X[1])]
    odd = frame_of(spark, {"features": (VectorUDT(), features)}, partitions=1)
    first, nan, null, last = (row.prediction for row in model.transform(odd).collect())
    assert np.isnan(nan)
    assert null is None
    for found, x in ((first, X[0]), (last, X[1])):
        assert found == pytest.approx(model.predict(Vectors.dense(x)), rel=1e-6)


# ---------------------------------------------------- saving


@pytest.mark.usefixtures("registered")
def test_networks_are_saved_by_their_names(rows: DataFrame, tmp_path: Path) -> None:
    estimator = classifier(network="bag", networkParams={"size": 3}, maxIter=1)
    model = Pipeline(stages=[estimator]).fit(rows)
    model.save(str(tmp_path / "pipeline"))
    estimator.save(str(tmp_path / "estimator"))
    loaded = PipelineModel.load(str(tmp_path / "pipeline"))
    for mine, its in zip(model.stages, loaded.stages, strict=True):
        assert isinstance(its, TorchClassificationModel)
        np.testing.assert_array_equal(weights(its), weights(mine))
        assert its.explainParams() == mine.explainParams()
    columns = ("prediction", "rawPrediction")
    assert (
        loaded.transform(rows).select(*columns).collect()
        == model.transform(rows).select(*columns).collect()
    )
    again = TorchClassifier.load(str(tmp_path / "estimator"))
    assert again.getNetworkParams() == {"size": 3}
    neural.unregister("bag")
    for cls, name in (
        (TorchClassifier, "estimator"),
        (TorchClassificationModel, "pipeline/stages/0*"),
    ):
        [path] = tmp_path.glob(name)
        with pytest.raises(PersistenceError, match=r"bag"):
            cls.load(str(path))


def test_a_regression_is_saved_with_its_labels(values: DataFrame, tmp_path: Path) -> None:
    estimator = TorchRegressor(
        network="embeddings", networkParams=WORDS, loss="huber", maxIter=2, batchSize=50
    )
    model = estimator.fit(values)
    model.save(tmp_path / "model")
    loaded = TorchRegressionModel.load(tmp_path / "model")
    assert (loaded.scale, loaded.labelScale, loaded.labelCentre) == (
        model.scale,
        model.labelScale,
        model.labelCentre,
    )
    assert loaded.predict(Vectors.dense(X[0])) == model.predict(Vectors.dense(X[0]))


CHANGES = {
    "another network": lambda facts, params: facts.update(network="lstm"),
    "other keywords": lambda facts, params: facts.update(networkParams='{"vocabulary": 9}'),
    "no keywords": lambda facts, params: facts.update(networkParams="{}"),
    "text for keywords": lambda facts, params: facts.update(networkParams="["),
    "another shape": lambda facts, params: facts.update(inputShape=[7]),
    "no shape": lambda facts, params: facts.update(inputShape="6"),
    "more outputs": lambda facts, params: facts.update(outputs=3),
    "a tensor less": lambda facts, params: facts["tensors"].pop(),
    "a tensor renamed": lambda facts, params: facts["tensors"][0].__setitem__(0, "other"),
    "no precision": lambda facts, params: facts.update(precision="float16"),
    "no scale": lambda facts, params: facts.pop("scale"),
    "another Param": lambda facts, params: params.update(networkParams={"vocabulary": 10}),
    "a module path": lambda facts, params: facts.update(network="os.path"),
}


@pytest.fixture(scope="module")
def saved(rows: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks") / "model"
    params = {"vocabulary": 8, "embedding": 3}
    classifier(network="embeddings", networkParams=params, maxIter=0).fit(rows).save(folder)
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_case_75_saved_networks_that_were_changed(saved: Path, tmp_path: Path, change: str) -> None:
    """With a checksum that fits, as somebody would who means it."""
    [file] = list((saved / "metadata").glob("part-*"))
    metadata = json.loads(file.read_text())
    metadata.pop("checksum")
    CHANGES[change](metadata["facts"], metadata["paramMap"])
    copy = tmp_path / "model"
    (copy / "metadata").mkdir(parents=True)
    (copy / "data").symlink_to(saved / "data")
    line = json.dumps(metadata | {"checksum": checksum(metadata)})
    (copy / "metadata" / "part-00000").write_text(line + "\n")
    with pytest.raises(PersistenceError):
        TorchClassificationModel.load(copy)


# ---------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"network": None}, "network is not set"),
        ({"inputShape": [2, 4]}, "inputShape=[2, 4] has 8 numbers, the rows have 6 features"),
        ({"networkParams": {}}, "expected inputShape=[length, features], or [length] and a voc"),
        ({"networkParams": {"unit": 3, **WORDS}}, "unexpected keyword argument 'unit'"),
        ({"networkParams": {"vocabulary": 5}}, "expected 0, for padding, to 4"),
    ],
    ids=["none", "shape", "vocabulary", "keyword", "tokens"],
)
def test_case_70_networks_that_do_not_fit(
    spark: SparkSession, rows: DataFrame, params: dict[str, Any], told: str
) -> None:
    with refused(spark, told):
        classifier(**params).fit(rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", "nobody's"),
        ("networkParams", {"a": {1, 2}}),
        ("networkParams", {1: 2}),
        ("networkParams", [1]),
        ("networkParams", {"a": float("nan")}),
        ("inputShape", []),
        ("inputShape", [0]),
        ("precision", "float16"),
        ("layers", [1]),
    ],
)
def test_case_28_params_out_of_range(name: str, value: Any) -> None:
    with pytest.raises((ParamError, TypeError)):
        classifier(**{name: value})


@pytest.mark.parametrize("kind", [TorchClassifier, TorchRegressor])
def test_keywords_have_the_defaults_of_the_params(kind: Any) -> None:
    made = kind()
    keywords = inspect.signature(kind.__init__).parameters
    assert {*keywords} - {"self"} == {param.name for param in made.params}
    for param in made.params:
        expected = made.getOrDefault(param) if made.isDefined(param) else None
        assert keywords[param.name].default == expected, param.name


def test_case_73_a_network_that_is_another_one_on_executors(rows: DataFrame) -> None:
    import os

    driver = os.getpid()

    def drawn(shape: tuple[int, ...], outputs: int) -> Any:
        from torch import nn

        return nn.Linear(shape[0], outputs, bias=os.getpid() == driver)

    neural.register("drawn", drawn)
    try:
        with pytest.raises(ParamError, match=r"made another module here than on the driver"):
            classifier(network="drawn", networkParams={}).fit(rows)
    finally:
        neural.unregister("drawn")


def test_case_73_a_network_that_cannot_be_sent(rows: DataFrame) -> None:
    import threading

    lock = threading.Lock()

    def locked(shape: tuple[int, ...], outputs: int) -> Any:
        with lock:
            return torch.nn.Linear(shape[0], outputs)

    neural.register("locked", locked)
    try:
        with pytest.raises(ParamError, match=r"network 'locked' cannot be sent to executors"):
            classifier(network="locked", networkParams={}).fit(rows)
    finally:
        neural.unregister("locked")


@both_ways
def test_case_71_steps_that_are_too_long(rows: DataFrame, execution: str) -> None:
    estimator = classifier(optimizer="sgd", stepSize=1e30, execution=execution)
    with pytest.raises(DivergedError, match=r"diverged"):
        estimator.fit(rows)
