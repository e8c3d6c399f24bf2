"""Models in other libraries: scikit-learn, ONNX Runtime and MLlib score the same rows the same."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import scipy.sparse as sp
import sklearn.utils.validation
from pyspark.ml import PipelineModel
from pyspark.ml import classification as mllib
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import VectorUDT
from pyspark.ml.regression import LinearRegressionModel as TheirLinearRegressionModel
from pyspark.ml.tuning import CrossValidatorModel, TrainValidationSplitModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DataType, DoubleType

import sparkml_lsml
from sparkml_lsml.classification import (
    CalibratedClassifierModel,
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    LogisticRegressionModel,
    OneVsRestModel,
)
from sparkml_lsml.engine.metrics.calibration import SigmoidCalibration
from sparkml_lsml.errors import ExportError
from sparkml_lsml.export import to_mllib
from sparkml_lsml.regression import LinearRegressionModel

from .helpers import cells, frame_of

Array = npt.NDArray[np.float64]

FEATURES = 3


def _numbers(outputs: int, seed: int) -> tuple[Array, Array]:
    """Coefficients and intercepts in quarters, whose margins for whole numbers are exact."""
    rng = np.random.default_rng(seed)
    return rng.integers(-8, 9, (outputs, FEATURES)) / 4, rng.integers(-4, 5, outputs) / 4


def _svc(threshold: float = 0.0) -> Any:
    return LinearSVCModel(*_numbers(1, 1))._set(threshold=threshold)


def _binomial(threshold: float = 0.5) -> Any:
    return LogisticRegressionModel(*_numbers(1, 2))._set(threshold=threshold)


def _multinomial(classes: int, thresholds: list[float] | None = None) -> Any:
    model = LogisticRegressionModel(*_numbers(classes, 3), classes)
    return model if thresholds is None else model._set(thresholds=thresholds)


def _certain(classes: int, label: int) -> Any:
    """What a fit on one class gives."""
    outputs = classes if classes > 2 else 1
    intercepts = np.zeros(outputs)
    intercepts[label if outputs > 1 else 0] = np.inf if outputs > 1 or label else -np.inf
    return LogisticRegressionModel(np.zeros((outputs, FEATURES)), intercepts, classes)


def _regression(loss: str) -> Any:
    model = LinearRegressionModel(*_numbers(1, 4), 2.5 if loss == "huber" else 1.0)
    return model._set(loss=loss)


def _one_vs_rest(kind: type[Any], classes: int) -> Any:
    coefficients, intercepts = _numbers(classes, 5)
    if classes > 2:  # two classes tie on every row, and often are the best
        coefficients[2], intercepts[2] = coefficients[1], intercepts[1]
    pairs = zip(coefficients, intercepts, strict=True)
    models = [kind(row[None], intercept[None]) for row, intercept in pairs]
    classifier = LinearSVC() if kind is LinearSVCModel else LogisticRegression(threshold=0.3)
    return OneVsRestModel(models)._set(classifier=classifier)


MODELS: dict[str, Any] = {
    "svc": lambda: _svc(),
    "svc-threshold": lambda: _svc(0.75),
    "binomial": lambda: _binomial(),
    "binomial-threshold": lambda: _binomial(0.3),
    "binomial-always": lambda: _binomial(1.0),
    "binomial-one-class": lambda: _certain(2, 1),
    "binomial-other-class": lambda: _certain(2, 0),
    # rows whose probability is rounded to 0 or 1 are on the side of their margin
    "binomial-threshold-0": lambda: _binomial().setThreshold(0.0),
    "binomial-thresholds-0": lambda: _binomial().setThresholds([1.0, 0.0]),
    "binomial-thresholds-1": lambda: _binomial().setThresholds([0.0, 1.0]),
    "binomial-threshold-tiny": lambda: _binomial().setThreshold(1e-300),
    "binomial-one-class-threshold-0": lambda: _certain(2, 0).setThreshold(0.0),
    "binomial-one-class-threshold-1": lambda: _certain(2, 1).setThreshold(1.0),
    "svc-threshold-infinite": lambda: _svc().setThreshold(np.inf),
    "multinomial-2": lambda: _multinomial(2),
    "multinomial-2-thresholds": lambda: _multinomial(2, [0.6, 0.2]),
    "multinomial-3": lambda: _multinomial(3),
    "multinomial-2-thresholds-0": lambda: _multinomial(2, [1.0, 0.0]),
    "multinomial-2-thresholds-1": lambda: _multinomial(2, [0.0, 1.0]),
    "multinomial-equal-thresholds": lambda: _multinomial(3, [0.4, 0.4, 0.4]),
    "multinomial-thresholds": lambda: _multinomial(3, [0.0, 0.9, 0.3]),
    "multinomial-one-class": lambda: _certain(3, 1),
    "squared": lambda: _regression("squaredError"),
    "huber": lambda: _regression("huber"),
    "one-vs-rest-svc": lambda: _one_vs_rest(LinearSVCModel, 3),
    "one-vs-rest-logistic": lambda: _one_vs_rest(LogisticRegressionModel, 4),
    "one-vs-rest-2": lambda: _one_vs_rest(LinearSVCModel, 2),
}

both = pytest.mark.parametrize("name", MODELS)


def _rows() -> Array:
    """Random rows, ties (whole numbers and zeros), many zeros, and numbers of all sizes."""
    rng = np.random.default_rng(0)
    whole = np.stack(np.meshgrid(*[np.arange(-2.0, 3.0)] * FEATURES), -1).reshape(-1, FEATURES)
    sizes = np.array([1e-320, 1e-160, 1e-12, 1.0, 30.0, 700.0, 1e6, 1e160, 1e300])
    sizes = np.concatenate([sizes, -sizes])
    # one number a row: sums of such numbers would depend on their order
    extreme = np.concatenate([np.outer(sizes, axis) for axis in np.eye(FEATURES)])
    return np.concatenate([rng.standard_normal((100, FEATURES)), whole, extreme])


def _ours(model: Any, X: Array) -> dict[str, Array]:
    """Scores as `transform` gives them."""
    if not isinstance(model, OneVsRestModel):
        found: dict[str, Array] = model._scorer().score(X)
        return found
    # each class by its own model: nothing here is shared with the form that is exported
    margins = np.stack([part._scorer().score(X)["raw"][:, 1] for part in model.models], axis=1)
    return {"raw": margins, "prediction": margins.argmax(axis=1).astype(np.float64)}


def _close(found: npt.ArrayLike, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def _run(graph: onnx.ModelProto, X: Array) -> dict[str, Array]:
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"features": X}), strict=True))


@both
def test_onnx_runtime_gives_our_scores(name: str) -> None:
    model = MODELS[name]()
    X = _rows()
    expected, found = _ours(model, X), _run(model.toONNX(), X)
    np.testing.assert_array_equal(found.pop("prediction"), expected.pop("prediction"))
    _close(found.pop("rawPrediction", 0.0), expected.pop("raw", np.zeros(1)))
    if "probability" in expected:
        _close(found["probability"], expected["probability"])
        assert found["probability"].min() >= 0.0
    assert found.keys() == expected.keys()


@both
def test_onnx_gives_nan_for_nan(name: str) -> None:
    X = np.ones((3, FEATURES))
    X[1, 2] = np.nan
    for found in _run(MODELS[name]().toONNX(), X).values():
        np.testing.assert_array_equal(np.isnan(found[1]), True)
        assert not np.isnan(found[[0, 2]]).any()


def test_onnx_takes_any_number_of_rows_and_says_where_it_comes_from() -> None:
    model = _multinomial(3)
    made = model.toONNX()
    assert [len(scores) for scores in _run(made, np.zeros((0, FEATURES))).values()] == [0, 0, 0]
    facts = {prop.key: prop.value for prop in made.metadata_props}
    assert facts["uid"] == model.uid
    assert facts["version"] == made.producer_version == sparkml_lsml.__version__
    assert facts["class"].endswith(".LogisticRegressionModel")
    shape = made.graph.input[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param, shape[1].dim_value) == ("rows", FEATURES)


def test_onnx_keeps_small_probabilities_small() -> None:
    """The less likely class: 1 - p would be 0, or off by the rounding of p."""
    X = np.array([[37.0, 0.0, 0.0], [-37.0, 0.0, 0.0]])
    model = LogisticRegressionModel(np.array([[1.0, 0.0, 0.0]]), np.zeros(1))
    expected = np.exp(-37.0) / (1.0 + np.exp(-37.0))
    found = _run(model.toONNX(), X)["probability"]
    np.testing.assert_allclose([found[0, 0], found[1, 1]], expected, rtol=1e-12)


@both
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_sklearn_gives_our_scores(name: str, sparse: bool) -> None:
    model = MODELS[name]()
    if name == "multinomial-thresholds":
        with pytest.raises(ExportError, match=r"\[0\.0, 0\.9, 0\.3\].*toONNX"):
            model.toSklearn()
        return
    X = _rows()
    expected, made = _ours(model, X), model.toSklearn()
    sklearn.utils.validation.check_is_fitted(made)
    rows = sp.csr_matrix(X) if sparse else X
    found = made.predict(rows)
    if "raw" not in expected:
        _close(found, expected["prediction"])
        return
    np.testing.assert_array_equal(found, expected["prediction"])
    assert made.classes_.tolist() == list(range(expected["raw"].shape[1]))
    raw = expected["raw"]
    if name.startswith("multinomial-2"):
        raw = raw[:, 1] - raw[:, 0]
    elif not isinstance(model, OneVsRestModel) and raw.shape[1] == 2:
        raw = raw[:, 1]
    # scikit-learn's softmax cannot take infinity: the largest number stands for it
    raw = np.nan_to_num(raw) if name == "multinomial-one-class" else raw
    _close(made.decision_function(rows), raw)
    if "probability" in expected:
        _close(made.predict_proba(rows), expected["probability"])


def test_sklearn_models_are_of_the_class_that_the_documentation_names() -> None:
    names = {
        name: type(MODELS[name]().toSklearn()).__name__ for name in MODELS if "-th" not in name
    }
    assert names["svc"] == names["one-vs-rest-svc"] == "LinearSVC"
    assert names["binomial"] == names["multinomial-3"] == "LogisticRegression"
    assert names["one-vs-rest-logistic"] == "SGDClassifier"
    assert names["squared"] == "LinearRegression"
    huber = _regression("huber")._set(epsilon=1.7).toSklearn()
    assert (type(huber).__name__, huber.scale_, huber.epsilon) == ("HuberRegressor", 2.5, 1.7)


@pytest.mark.parametrize("name", ["svc", "squared"])
def test_what_is_exported_is_a_copy(name: str) -> None:
    model = MODELS[name]()
    before = model.coefficients.toArray().copy()
    model.toSklearn().coef_[:] = 0.0
    np.testing.assert_array_equal(model.coefficients.toArray(), before)


def test_a_one_vs_rest_model_of_one_class_is_nothing_for_sklearn() -> None:
    with pytest.raises(ExportError, match="one class"):
        _one_vs_rest(LinearSVCModel, 1).toSklearn()


def test_models_of_others_cannot_be_exported(spark: SparkSession) -> None:
    model = OneVsRestModel([_svc().toMLlib(), _svc().toMLlib()])
    with pytest.raises(ExportError, match="expected binary models of this package"):
        model.toONNX()


@pytest.mark.parametrize(("method", "module"), [("toSklearn", "sklearn"), ("toONNX", "onnx")])
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, method: str, module: str
) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **settings: Any) -> Any:
        if name == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **settings)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ModuleNotFoundError, match=rf"{module}: pip install .*\[export\]"):
        getattr(_svc(), method)()


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    """The rows as dense and sparse vectors in turn, and as columns x0, x1, ..."""
    X = _rows()
    columns: dict[str, tuple[DataType, list[Any]]] = {
        f"x{j}": (DoubleType(), X[:, j].tolist()) for j in range(FEATURES)
    }
    columns["features"] = (VectorUDT(), cells(X, "mixed"))
    return frame_of(spark, columns, partitions=1)


def _check(model: Any, frame: DataFrame, expected: dict[str, Array]) -> None:
    """Compare what a model of MLlib adds to the frame with our scores."""
    columns = {"raw": "rawPrediction", "probability": "probability", "prediction": "prediction"}
    done = model.transform(frame)
    assert ("probability" in done.columns) == ("probability" in expected)
    done = done.select([columns[kind] for kind in expected])
    found = zip(*done.collect(), strict=True)
    for (kind, scores), column in zip(expected.items(), found, strict=True):
        _close(np.array(column if kind == "prediction" else [v.toArray() for v in column]), scores)


@both
def test_mllib_gives_our_scores(frame: DataFrame, name: str) -> None:
    model = MODELS[name]()
    made = model.toMLlib()
    assert type(made).__module__.startswith("pyspark.ml.")
    assert type(made).__name__ == type(model).__name__
    assert made.uid == model.uid
    _check(made, frame, _ours(model, _rows()))


@pytest.mark.parametrize("name", ["svc-threshold", "multinomial-thresholds", "huber"])
def test_mllib_saves_and_loads_what_it_was_given(
    frame: DataFrame, name: str, tmp_path: Path
) -> None:
    model = MODELS[name]()
    made = model.toMLlib()
    made.save(str(tmp_path / "model"))
    loaded = type(made).load(str(tmp_path / "model"))
    assert loaded.uid == model.uid
    _check(loaded, frame, _ours(model, _rows()))


def test_mllibs_model_has_our_params(spark: SparkSession) -> None:
    ours = LinearSVC(
        featuresCol="x", predictionCol="p", regParam=0.25, maxIter=7, solver="sgd", seed=3
    )
    model = LinearSVCModel(*_numbers(1, 1))
    ours.adopt(model)
    made = model.toMLlib()
    assert (made.getFeaturesCol(), made.getPredictionCol()) == ("x", "p")
    assert (made.getRegParam(), made.getMaxIter()) == (0.25, 7)
    assert made._java_obj.getRegParam() == 0.25
    assert not made.hasParam("seed")
    for mine, loss in (("accelerated", "squaredError"), ("l-bfgs", "huber")):
        regression = LinearRegressionModel(*_numbers(1, 4), 2.5)
        regression._set(solver=mine, loss=loss, aggregationDepth=1, tol=1e-3)
        theirs = regression.toMLlib()
        assert isinstance(theirs, TheirLinearRegressionModel)
        assert theirs.getSolver() == ("auto" if mine == "accelerated" else "l-bfgs")
        assert (theirs.getLoss(), theirs.scale, theirs.getTol()) == (loss, 2.5, 1e-3)
        assert theirs.getAggregationDepth() == 2  # MLlib takes 2 or more


def test_a_pipeline_becomes_one_of_mllib_alone(frame: DataFrame, tmp_path: Path) -> None:
    names = [f"x{j}" for j in range(FEATURES)]
    assembler = VectorAssembler(inputCols=names, outputCol="features")
    ours = _one_vs_rest(LogisticRegressionModel, 3)
    # fitted class by class, models of ours end in MLlib's one-vs-rest model
    mixed = mllib.OneVsRestModel(ours.models)._resetUid(ours.uid)._set(classifier=LinearSVC())
    assert isinstance(to_mllib(mixed).getClassifier(), mllib.LinearSVC)
    assert isinstance(to_mllib(mixed).models[2], mllib.LogisticRegressionModel)

    pipeline = PipelineModel([PipelineModel([assembler]), ours])
    made = to_mllib(pipeline)
    made.save(str(tmp_path / "pipeline"))
    loaded = PipelineModel.load(str(tmp_path / "pipeline"))
    last = loaded.stages[1]
    assert (loaded.uid, last.uid) == (pipeline.uid, ours.uid)
    assert isinstance(last, mllib.OneVsRestModel)
    assert isinstance(last.models[2], mllib.LogisticRegressionModel)
    assert isinstance(last.getClassifier(), mllib.LogisticRegression)
    assert last.getClassifier().getThreshold() == 0.3
    _check(loaded, frame.drop("features"), _ours(ours, _rows()))


def test_mllibs_own_models_stay_as_they_are(spark: SparkSession) -> None:
    theirs = mllib.OneVsRestModel([_svc().toMLlib(), _svc().toMLlib()])
    assert to_mllib(theirs) is theirs
    assert to_mllib(theirs.models[0]) is theirs.models[0]


def test_what_mllib_has_no_model_for() -> None:
    calibrated = CalibratedClassifierModel(*_numbers(1, 1), SigmoidCalibration(-1.0, 0.0))
    for model in (calibrated, PipelineModel([calibrated])):
        with pytest.raises(ExportError, match="CalibratedClassifierModel has no counterpart"):
            to_mllib(model)


def test_of_a_search_the_best_model_is_taken(spark: SparkSession) -> None:
    for search in (CrossValidatorModel(_svc()), TrainValidationSplitModel(_svc())):
        made = to_mllib(PipelineModel([search])).stages[0]
        assert isinstance(made, mllib.LinearSVCModel)
        assert made.coefficients.toArray().tolist() == _svc().coefficients.toArray().tolist()
