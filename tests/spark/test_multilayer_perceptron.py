"""MLlib's networks beside ours: Params, weights, starts, steps, and models that change sides."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml import PipelineModel
from pyspark.ml import classification as mllib
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.errors import ExportError, ParamError
from sparkml_lsml.export import to_mllib
from sparkml_lsml.neural import (
    MLPClassificationModel,
    MLPRegressionModel,
    MultilayerPerceptronClassificationModel,
    MultilayerPerceptronClassifier,
)
from sparkml_lsml.neural import summary as summaries
from tests.spark.helpers import frame

Array = npt.NDArray[np.float64]

LAYERS = [4, 5, 3, 3]
SIZE = 25 + 18 + 12
RNG = np.random.default_rng(11)
X = RNG.normal(size=(60, 4))
Y = np.digitize(np.abs(X[:, 0]) + X[:, 1], [0.3, 1.2]).astype(float)
START = Vectors.dense(RNG.uniform(-0.6, 0.6, size=SIZE))

GIVEN: dict[str, Any] = {"layers": LAYERS, "initialWeights": START}
OTHER_DEFAULTS = {"seed": "a hash of the class there, 0 as in our other estimators here"}


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    # of one partition: MLlib's objective is that of blocks, and this is one of them
    return frame(spark, X, Y, partitions=1)


@pytest.fixture(scope="module")
def theirs(rows: DataFrame) -> Any:
    return mllib.MultilayerPerceptronClassifier(**GIVEN, maxIter=20).fit(rows)


def columns(model: Any, rows: DataFrame) -> dict[str, Array]:
    found = model.transform(rows).collect()
    return {
        name: np.array([r[name] if name == "prediction" else r[name].toArray() for r in found])
        for name in ("rawPrediction", "probability", "prediction")
    }


def assert_same_scores(one: Any, two: Any, rows: DataFrame) -> None:
    here, there = columns(one, rows), columns(two, rows)
    for name, values in here.items():
        np.testing.assert_allclose(values, there[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_params_are_mllibs(spark: SparkSession) -> None:
    there, here = mllib.MultilayerPerceptronClassifier(), MultilayerPerceptronClassifier()
    for param in there.params:
        mine = here.getParam(param.name)
        assert mine.typeConverter == param.typeConverter, param.name
        assert here.hasDefault(mine) == there.hasDefault(param), param.name
        if there.hasDefault(param) and param.name not in OTHER_DEFAULTS:
            found, expected = here.getOrDefault(mine), there.getOrDefault(param)
            assert (found, type(found)) == (expected, type(expected)), param.name
    keywords = inspect.signature(mllib.MultilayerPerceptronClassifier.__init__).parameters
    assert set(keywords) <= set(inspect.signature(type(here).__init__).parameters)


@pytest.mark.parametrize("name", ["", "Model", "Summary", "TrainingSummary"])
def test_names_are_mllibs(name: str) -> None:
    known = {
        "": MultilayerPerceptronClassifier,
        "Model": MultilayerPerceptronClassificationModel,
        "Summary": summaries.MultilayerPerceptronClassificationSummary,
        "TrainingSummary": summaries.MultilayerPerceptronClassificationTrainingSummary,
    }
    stem = "MultilayerPerceptronClassif"
    there: Any = getattr(mllib, f"{stem}ier" if not name else f"{stem}ication{name}")
    here = known[name]
    fields = getattr(here, "__dataclass_fields__", {})
    public = {each for each in [*dir(here), *fields] if not each.startswith("_")}
    assert {each for each in dir(there) if not each.startswith("_")} - public == set()


def test_predictions_at_equal_weights_are_mllibs(
    spark: SparkSession, rows: DataFrame, theirs: Any, tmp_path: Path
) -> None:
    ours = MultilayerPerceptronClassificationModel.fromMLlib(theirs)
    assert_same_scores(ours, theirs, rows)
    assert len({*columns(ours, rows)["prediction"].tolist()}) == 3
    assert (ours.uid, ours.getLayers(), ours.getMaxIter()) == (theirs.uid, LAYERS, 20)
    assert ours.weights == theirs.weights
    assert ours.numClasses == theirs.numClasses == 3
    # and that which MLlib has saved
    theirs.save(str(tmp_path / "theirs"))
    loaded = mllib.MultilayerPerceptronClassificationModel.load(str(tmp_path / "theirs"))
    again = MultilayerPerceptronClassificationModel.fromMLlib(loaded)
    assert again.weights == theirs.weights
    vector = rows.first().features
    for method in ("predict", "predictRaw", "predictProbability"):
        mine, its = (np.asarray(getattr(m, method)(vector)) for m in (again, theirs))
        np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-12)
    with pytest.raises(TypeError, match="fromMLlib takes a pyspark"):
        MultilayerPerceptronClassificationModel.fromMLlib(ours)


def test_mllib_scores_and_saves_ours(rows: DataFrame, tmp_path: Path) -> None:
    given = {**GIVEN, "thresholds": [0.2, 0.5, 0.3], "predictionCol": "prediction"}
    ours = MultilayerPerceptronClassifier(**given, maxIter=15).fit(rows)
    made = ours.toMLlib()
    assert isinstance(made, mllib.MultilayerPerceptronClassificationModel)
    assert (made.uid, made.getLayers(), made.getMaxIter()) == (ours.uid, LAYERS, 15)
    assert_same_scores(made, ours, rows)
    made.save(str(tmp_path / "made"))
    loaded = mllib.MultilayerPerceptronClassificationModel.load(str(tmp_path / "made"))
    assert_same_scores(loaded, ours, rows)
    [stage] = to_mllib(PipelineModel([ours])).stages
    assert stage.weights == ours.weights


def test_networks_that_mllib_does_not_have(spark: SparkSession) -> None:
    numbers = np.arange(13.0)
    sigmoid = MLPClassificationModel([2, 3, 1][:2], np.arange(9.0), "relu").toMLlib()
    assert sigmoid.getLayers() == [2, 3]
    assert MLPClassificationModel([2, 2, 2], np.arange(12.0), "sigmoid").toMLlib().numFeatures == 2
    for model in (
        MLPClassificationModel([2, 2, 2], np.arange(12.0), "relu"),
        MLPRegressionModel([2, 3, 1], numbers, "sigmoid"),
    ):
        with pytest.raises(ExportError, match="sigmoid layers alone, found a MLP"):
            model.toMLlib()


def test_steps_of_gd_are_mllibs(rows: DataFrame) -> None:
    """From the same weights, along the gradient of all rows, for it is one block of MLlib's."""
    given = {**GIVEN, "solver": "gd", "maxIter": 7, "stepSize": 0.5, "tol": 0.0}
    found = MultilayerPerceptronClassifier(**given, dtype="float64").fit(rows)
    expected = mllib.MultilayerPerceptronClassifier(**given).fit(rows)
    apart = found.weights.toArray() - START.toArray()
    assert abs(apart).max() > 0.05
    np.testing.assert_allclose(
        found.weights.toArray(), expected.weights.toArray(), rtol=1e-9, atol=1e-9
    )


def test_the_start_is_drawn_as_mllibs(spark: SparkSession) -> None:
    """Which shows in what MLlib's steps of no length leave of it."""
    layers = [200, 50, 2]
    rng = np.random.default_rng(0)
    rows = frame(spark, rng.normal(size=(4, 200)), np.array([0.0, 1.0, 0.0, 1.0]))
    given = {"layers": layers, "solver": "gd", "maxIter": 1, "stepSize": 1e-12, "seed": 3}
    kinds = (mllib.MultilayerPerceptronClassifier, MultilayerPerceptronClassifier)
    theirs, ours = (kind(**given).fit(rows).weights.toArray() for kind in kinds)
    first = 201 * 50
    for part in (slice(first), slice(first, None)):
        one, two = np.abs(theirs[part]), np.abs(ours[part])
        assert two.max() == pytest.approx(one.max(), rel=0.1)
        assert two.mean() == pytest.approx(one.mean(), rel=0.2)


@pytest.mark.parametrize("standardization", [False, True])
def test_the_start_is_the_one_that_is_given(rows: DataFrame, standardization: bool) -> None:
    params = {**GIVEN, "maxIter": 0, "dtype": "float64", "standardization": standardization}
    model = MultilayerPerceptronClassifier(**params).fit(rows)
    np.testing.assert_allclose(model.weights.toArray(), START.toArray(), rtol=1e-12, atol=1e-14)
    with pytest.raises(ParamError, match=r"initialWeights has 3 numbers, layers=.* have 55"):
        MultilayerPerceptronClassifier(layers=LAYERS, initialWeights=[1.0, 2.0, 3.0]).fit(rows)


def test_l_bfgs_finds_no_worse_than_mllib(rows: DataFrame, theirs: Any) -> None:
    ours = MultilayerPerceptronClassifier(**GIVEN, maxIter=20, dtype="float64").fit(rows)
    assert ours.summary.objectiveHistory[0] == pytest.approx(
        theirs.summary().objectiveHistory[0], rel=1e-9
    )
    assert ours.summary.objective <= theirs.summary().objectiveHistory[-1] * 1.05
    assert ours.summary.solver == "l-bfgs"
    assert ours.summary().accuracy == ours.evaluate(rows).accuracy
