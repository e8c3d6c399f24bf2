"""Networks without a cluster: weights, other libraries, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("pyspark")
from pyspark.ml.linalg import Vectors

from sparkml_lsml.engine.solvers import Reason
from sparkml_lsml.errors import ExportError, ParamError
from sparkml_lsml.neural import (
    MLPClassificationModel,
    MLPClassifier,
    MLPRegressionModel,
    MLPRegressor,
    MultilayerPerceptronClassifier,
)
from sparkml_lsml.neural.notes import noted
from sparkml_lsml.neural.weights import mllibs_start, network_of
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.rows.plan import LOCAL_BYTES
from sparkml_lsml.spark.training.plan import local_bytes

Array = npt.NDArray[np.float64]

ESTIMATORS = (MLPClassifier, MLPRegressor, MultilayerPerceptronClassifier)
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "identity")
RNG = np.random.default_rng(5)
X = RNG.normal(size=(50, 3)) * 3.0


def drawn(layers: list[int], seed: int = 0) -> Array:
    """Weights of a network of these layers."""
    size = sum((into + 1) * out for into, out in itertools.pairwise(layers))
    return np.random.default_rng(seed).normal(size=size)


def classifier(classes: int, activation: str = "relu", **params: Any) -> MLPClassificationModel:
    layers = [3, 5, 4, classes]
    return MLPClassificationModel(layers, drawn(layers), activation)._set(**params)


def regressor(activation: str = "relu") -> MLPRegressionModel:
    return MLPRegressionModel([3, 4, 1], drawn([3, 4, 1]), activation)


def scores(model: Any, rows: Array) -> dict[str, Array]:
    found: dict[str, Array] = model._scorer().score(rows)
    return found


# ---------------------------------------------------- weights


def test_weights_are_in_mllibs_order() -> None:
    """As `AffineLayerModel.unroll` has them: a matrix of columns, and the biases behind it."""
    weights = np.arange(1.0, 12.0)
    model = MLPClassificationModel([2, 1, 2, 2], np.arange(1.0, 14.0), "identity")
    first, second, third = model.coefficientMatrices
    assert first.toArray().tolist() == [[1.0, 2.0]]
    assert second.toArray().tolist() == [[4.0], [5.0]]
    assert third.toArray().tolist() == [[8.0, 10.0], [9.0, 11.0]]
    assert [b.tolist() for b in (each.toArray() for each in model.interceptVectors)] == [
        [3.0],
        [6.0, 7.0],
        [12.0, 13.0],
    ]
    assert model.weights.toArray().tolist() == np.arange(1.0, 14.0).tolist()
    # 1 + 2 + 3 = 6, then (4, 5) 6 + (6, 7) = (30, 37), then 8 30 + 10 37 + 12 and 9 30 + 11 37 + 13
    assert model.predictRaw(Vectors.dense(1.0, 1.0)).toArray().tolist() == [622.0, 690.0]
    with pytest.raises(ValueError, match=r"\(11,\) for layers \[2, 1, 2, 2\]: expected 13"):
        MLPClassificationModel([2, 1, 2, 2], weights)


def test_mllibs_start_is_as_wide_as_mllibs() -> None:
    network = network_of([100, 50, 3], "sigmoid")
    coef = mllibs_start(network, seed=3)
    for (W, b), inputs in zip(network.maps(coef), (100, 50), strict=True):
        every = np.append(W, b) * inputs**0.5
        assert 2.3 < np.abs(every).max() <= 2.4
        assert abs(every.mean()) < 0.3
    assert mllibs_start(network, seed=3).tobytes() == coef.tobytes()
    assert mllibs_start(network, seed=4).tobytes() != coef.tobytes()


# ---------------------------------------------------- other libraries


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "identity"])
@pytest.mark.parametrize("classes", [2, 4])
def test_scikit_learn_scores_the_same(classes: int, activation: str) -> None:
    pytest.importorskip("sklearn")
    model = classifier(classes, activation)
    found = model.toSklearn()
    mine = scores(model, X)
    np.testing.assert_allclose(found.predict_proba(X), mine["probability"], rtol=1e-9, atol=1e-12)
    assert found.predict(X).tolist() == mine["prediction"].tolist()
    assert len({*mine["prediction"].tolist()}) > 1
    values = regressor(activation)
    np.testing.assert_allclose(
        values.toSklearn().predict(X), scores(values, X)["prediction"], rtol=1e-9, atol=1e-12
    )


def test_scikit_learn_takes_the_threshold_of_two_classes() -> None:
    pytest.importorskip("sklearn")
    model = classifier(2, thresholds=[0.2, 0.8])
    found, usual = model.toSklearn(), classifier(2)
    assert found.predict(X).tolist() == scores(model, X)["prediction"].tolist()
    assert found.predict(X).tolist() != scores(usual, X)["prediction"].tolist()


def test_scikit_learn_has_no_gelu() -> None:
    pytest.importorskip("sklearn")
    for model in (classifier(3, "gelu"), regressor("gelu")):
        with pytest.raises(ExportError, match="activation='gelu': scikit-learn has identity, relu"):
            model.toSklearn()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnx_scores_the_same(activation: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rows = np.vstack([X, [[np.nan, 1.0, 2.0], [1e3, -1e3, 0.0]]])
    models = (
        classifier(3, activation),
        classifier(2, activation, thresholds=[0.2, 0.8]),
        regressor(activation),
        MLPClassificationModel([3, 2], drawn([3, 2]), activation),
    )
    for model in models:
        session = onnxruntime.InferenceSession(model.toONNX().SerializeToString())
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(names, {"features": rows}), strict=True))
        mine = scores(model, rows)
        columns = {"prediction": "prediction", "rawPrediction": "raw", "probability": "probability"}
        assert np.isnan(found["prediction"][50])
        for name, values in found.items():
            np.testing.assert_allclose(values, mine[columns[name]], rtol=1e-6, atol=1e-6)


# ---------------------------------------------------- Params


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize(
    "layers", [[], [4], [4, 0, 2], [4, -3, 2], [0, 2], [4, 3, 0], [4, 3, -1]], ids=str
)
def test_case_70_layers_that_are_none(cls: type[Any], layers: list[int]) -> None:
    with pytest.raises(ParamError, match=rf"{cls.__name__}: layers=.*expected a list of two or"):
        cls(layers=layers)


def test_case_70_layers_end_in_classes_or_in_one() -> None:
    with pytest.raises(ParamError, match=r"layers=\[4, 1\], expected .* 2 or more classes"):
        MLPClassifier(layers=[4, 1])
    with pytest.raises(ParamError, match=r"layers=\[4, 2\], expected .* and 1, for the prediction"):
        MLPRegressor(layers=[4, 2])


@pytest.mark.parametrize(
    "params",
    [
        {"activation": "softplus"},
        {"optimizer": "lion"},
        {"dropout": 1.0},
        {"warmup": 1.0},
        {"maxGradNorm": 0.0},
        {"learningRate": "step"},
        {"batchSize": 0},
        {"solver": "cocoa"},
    ],
    ids=str,
)
def test_values_out_of_range(params: dict[str, Any]) -> None:
    [name] = params
    for cls in (MLPClassifier, MLPRegressor):
        with pytest.raises(ParamError, match=f"{name}="):
            cls(**params)


def test_steps_are_those_that_are_usual() -> None:
    """Where none is given: of the optimizer, or of the solver."""

    def step(**params: Any) -> float | None:
        return MLPClassifier(layers=[3, 2], **params).settings().stepSize

    assert step() is None
    assert step(optimizer="sgd") == 0.1
    assert step(optimizer="nesterov") == 0.01
    assert step(optimizer="sgd", stepSize=0.5) == 0.5
    assert step(optimizer="sgd", solver="gradient-descent") is None
    theirs = MultilayerPerceptronClassifier(layers=[3, 2], solver="gd")
    assert (theirs.settings().stepSize, theirs.settings().lineSearch) == (0.03, "fixed")
    assert theirs.setSolver("local-steps").settings().stepSize is None


def test_rows_stay_at_home_that_train_in_a_second() -> None:
    """An epoch of a wide network takes longer, and more epochs do."""

    def rows(layers: list[int], **params: Any) -> float:
        estimator = MLPClassifier(layers=layers, **params)
        return local_bytes([estimator]) / (4 * layers[0])

    assert rows([784, 10], maxIter=1) == pytest.approx(LOCAL_BYTES / (4 * 784), rel=1e-9)
    # a second holds 100 epochs of so many rows of 1 us and 203,264 products
    assert rows([784, 256, 10]) == pytest.approx(1.0 / (100 * (1e-6 + 203_264 / 2e10)), rel=1e-3)
    assert rows([3, 4, 2]) == pytest.approx(1e4, rel=1e-2)
    assert rows([3, 4, 2], maxIter=1_000) == pytest.approx(1e3, rel=1e-2)


# ---------------------------------------------------- notes


def test_notes_tell_of_short_epochs_and_longer_steps() -> None:
    summary = TrainingSummary(
        history=(),
        objective=1.0,
        reason=Reason("max_iter", 1),
        solver="local-steps",
        solver_reason="",
        execution="distributed",
        execution_reason="",
        rows=40_000,
        features=3,
        partitions=4,
        nbytes=1,
        ingest_seconds=1.0,
        seconds=1.0,
        passes=1,
        notes=("one",),
    )
    first, scaled, short = noted(summary, 128, "adam").notes
    assert first == "one"
    assert "4 partitions were averaged" in scaled
    assert "multiplied by 2, the root of 4" in scaled
    assert "about 78 mini-batches of 128 rows" in short
    assert "multiplied by 4, their number" in noted(summary, 128, "momentum").notes[1]
    assert len(noted(summary, 64, "adam").notes) == 2
    for other in (replace(summary, partitions=1), replace(summary, solver="l-bfgs")):
        assert noted(other, 128, "adam").notes == ("one",)
