"""Calibrated probabilities, beside scikit-learn's on the same folds."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.ml.classification as mllib
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import CrossValidatorModel, ParamGridBuilder
from pyspark.ml.util import MetaAlgorithmReadWrite
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, IntegerType
from sklearn import metrics
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import PredefinedSplit
from sklearn.svm import LinearSVC as SklearnSVC

from sparkml_lsml.classification import (
    CalibratedClassifier,
    CalibratedClassifierModel,
    LinearSVC,
    LogisticRegression,
    LogisticRegressionModel,
    OneVsRest,
)
from sparkml_lsml.engine.metrics.calibration import SigmoidCalibration
from sparkml_lsml.errors import DataError, ParamError, PersistenceError
from sparkml_lsml.spark.folders import composite
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit
from tests.spark.helpers import KINDS, cells, frame_of, nothing_left, numbers, refused

Array = npt.NDArray[np.float64]

RNG = np.random.default_rng(12)
ROWS = 180
X = RNG.normal(size=(ROWS, 3))
Y = (X @ [1.0, -1.5, 0.5] + RNG.logistic(size=ROWS) > 0.8).astype(float)
FOLD = RNG.integers(0, 3, size=ROWS)
WEIGHT = RNG.integers(1, 5, size=ROWS).astype(float)
SVC = LinearSVC(
    loss="squaredHinge", regParam=0.1, fitIntercept=False, standardization=False, tol=1e-12
)


def made(spark: SparkSession, y: Array, fold: Any) -> DataFrame:
    return frame_of(
        spark,
        {
            "id": (IntegerType(), list(range(len(y)))),
            "label": (DoubleType(), y.tolist()),
            "features": (KINDS["dense"], cells(X[: len(y)])),
            "weight": (DoubleType(), WEIGHT[: len(y)].tolist()),
            "fold": (IntegerType(), np.asarray(fold).tolist()),
        },
    )


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return made(spark, Y, FOLD)


def probabilities(model: Any, rows: DataFrame) -> Array:
    found = model.transform(rows).orderBy("id").select("probability").collect()
    return np.array([row.probability.toArray() for row in found])


@pytest.mark.parametrize("execution", ["local", "distributed"])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_probabilities_are_scikit_learns(
    spark: SparkSession, rows: DataFrame, method: str, execution: str
) -> None:
    # theirs is |w|^2 / 2 + C sum(squared hinge); C has the rows that each model sees, and there is
    # no one C for models of different folds: all folds have as many rows
    fold = np.arange(ROWS) % 3
    even = made(spark, Y, fold)
    fits = []
    for C in (1.0 / (0.1 * ROWS * 2.0 / 3.0), 1.0 / (0.1 * ROWS)):
        svc = SklearnSVC(C=C, fit_intercept=False, tol=1e-10, max_iter=1_000_000, dual=True)
        theirs = CalibratedClassifierCV(
            svc, method=method, cv=PredefinedSplit(fold), ensemble=False
        )
        [fitted] = theirs.fit(X, Y).calibrated_classifiers_
        fits.append(fitted)
    with nothing_left(spark):
        model = CalibratedClassifier(
            classifier=SVC.copy({SVC.execution: execution}),
            method=method,
            numFolds=3,
            foldCol="fold",
        ).fit(even)
    # their calibrator follows from the models of the folds, their machine from all rows
    np.testing.assert_allclose(model.coefficients, fits[1].estimator.coef_[0], rtol=1e-4)
    margins = X @ fits[1].estimator.coef_[0]
    expected = fits[0].calibrators[0].predict(margins)
    found = probabilities(model, even)
    np.testing.assert_allclose(found[:, 1], expected, atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert "one of 4 models that shared their passes" in model.summary.notes
    assert model.summary.execution == execution


def test_each_margin_is_of_a_model_that_did_not_see_its_row(rows: DataFrame) -> None:
    # fold by fold with our own estimator, then scikit-learn's calibrators on those margins
    from sklearn.calibration import _SigmoidCalibration
    from sklearn.isotonic import IsotonicRegression

    svc = LinearSVC(loss="squaredHinge", regParam=0.05, weightCol="weight", tol=1e-10)
    margins = np.zeros(ROWS)
    for number in range(3):
        model = svc.fit(rows.where(f"fold != {number}"))
        here = number == FOLD
        margins[here] = X[here] @ model.coefficients.toArray() + model.intercept
    last = svc.fit(rows)
    final = X @ last.coefficients.toArray() + last.intercept
    for method, theirs in (
        ("sigmoid", _SigmoidCalibration()),
        ("isotonic", IsotonicRegression(out_of_bounds="clip")),
    ):
        # theirs depends on the unit of the weights
        theirs.fit(margins, Y, sample_weight=WEIGHT / WEIGHT.mean())
        estimator = CalibratedClassifier(
            classifier=svc, method=method, numFolds=3, foldCol="fold", weightCol="weight"
        )
        found = probabilities(estimator.fit(rows), rows)
        np.testing.assert_allclose(found[:, 1], theirs.predict(final), atol=1e-4)


def test_weights_of_classes_do_not_move_the_probabilities(rows: DataFrame) -> None:
    svc = LogisticRegression(regParam=0.01, classWeight={0: 1.0, 1: 50.0}, weightCol="weight")
    plain = probabilities(svc.fit(rows), rows)[:, 1]
    found = probabilities(CalibratedClassifier(classifier=svc, seed=3).fit(rows), rows)[:, 1]
    share = float(WEIGHT @ Y / WEIGHT.sum())
    assert float(WEIGHT @ plain / WEIGHT.sum()) > 1.5 * share
    # the mean probability of a calibrated classifier is the share of class 1
    assert float(WEIGHT @ found / WEIGHT.sum()) == pytest.approx(share, abs=0.03)


def test_columns_and_predictions(rows: DataFrame) -> None:
    estimator = CalibratedClassifier(
        classifier=SVC, seed=1, threshold=0.3, predictionCol="class", probabilityCol="p"
    )
    model = estimator.fit(rows)
    scored = model.transform(rows)
    assert scored.columns == [*rows.columns, "rawPrediction", "p", "class"]
    assert scored.schema["p"].metadata == {"ml_attr": {"num_attrs": 2}}
    for row in scored.limit(20).collect():
        assert row["class"] == float(row["p"][1] > 0.3)
        assert model.predict(row["features"]) == row["class"]
        np.testing.assert_allclose(model.predictProbability(row["features"]), row["p"])
        np.testing.assert_allclose(model.predictRaw(row["features"]), row["rawPrediction"])
        assert row["rawPrediction"][1] == pytest.approx(row["features"].dot(model.coefficients))
    assert model.uid == estimator.uid
    assert model.getThreshold() == 0.3
    assert (model.numClasses, model.numFeatures, model.intercept) == (2, 3, 0.0)
    nan = model.predictProbability(Vectors.dense(math.nan, 0.0, 0.0))
    assert np.isnan(nan.toArray()).all()


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_are_those_of_the_calibrated_model(
    rows: DataFrame, method: str, weighted: bool
) -> None:
    """By scikit-learn, of what `transform` adds; the weights may be the classifier's own."""
    svc = LinearSVC(regParam=0.1, classWeight={0: 1.0, 1: 30.0})
    if weighted:
        svc.setWeightCol("weight")
    model = CalibratedClassifier(classifier=svc, method=method, numFolds=2, seed=1).fit(rows)
    for summary, frame in (
        (model.summary, rows),
        (model.evaluate(rows.where("fold > 0")), rows.where("fold > 0")),
        (model.copy({model.threshold: 0.2}).evaluate(rows), rows),
    ):
        evaluated = summary.predictions
        assert evaluated.count() == frame.count()
        local = evaluated.toPandas()
        y, found = local["label"].to_numpy(), local["prediction"].to_numpy()
        chance = np.stack([vector.toArray() for vector in local["probability"]])
        how: dict[str, Any] = {"sample_weight": local["weight"] if weighted else None}
        assert summary.accuracy == pytest.approx(metrics.accuracy_score(y, found, **how))
        expected = metrics.confusion_matrix(y, found, **how)
        np.testing.assert_allclose(summary.confusionMatrix, expected)
        assert summary.logLoss == pytest.approx(metrics.log_loss(y, chance, **how))
        area = metrics.roc_auc_score(y, chance[:, 1], **how)
        assert summary.areaUnderROC == pytest.approx(area)
        assert summary.scoreCol == "probability"
    # the classifier itself, whose classes are weighed, takes nearly all rows for class 1
    local = model.summary.predictions.toPandas()
    margin = np.array([vector[1] for vector in local["rawPrediction"]])
    assert np.mean((margin > 0.0) == local["prediction"]) < 0.8
    assert model.summary.totalIterations > 0
    assert "areaUnderROC" in str(model.summary)
    assert "CalibratedClassifierTrainingSummary" in model.summary._repr_html_()


def test_a_threshold_of_zero_takes_every_margin(spark: SparkSession) -> None:
    """One rule with `LogisticRegressionModel`, which is MLlib's: margins are compared."""
    far = frame_of(spark, {"features": (KINDS["dense"], cells([[-800.0], [-1.0], [800.0]]))})
    calibrated = CalibratedClassifierModel(
        np.array([[1.0]]), np.zeros(1), SigmoidCalibration(-1.0, 0.0)
    )
    plain = LogisticRegressionModel(np.array([[1.0]]), np.zeros(1))
    for threshold in (0.0, 0.5, 1.0):
        calibrated._set(threshold=threshold)
        theirs = plain.setThreshold(threshold).toMLlib().transform(far)
        found = [row.prediction for row in calibrated.transform(far).collect()]
        assert found == [row.prediction for row in theirs.collect()]


def test_fits_are_the_same_and_change_nothing(rows: DataFrame) -> None:
    estimator = CalibratedClassifier(classifier=SVC, seed=5)
    before = estimator.explainParams(), estimator.getClassifier().explainParams()
    first, second = estimator.fit(rows), estimator.fit(rows)
    assert (estimator.explainParams(), estimator.getClassifier().explainParams()) == before
    np.testing.assert_array_equal(first.calibration.to_array(), second.calibration.to_array())
    other = estimator.copy({estimator.seed: 6}).fit(rows)
    assert (first.calibration.to_array() != other.calibration.to_array()).any()
    copied = estimator.copy({SVC.regParam: 3.0})
    assert copied.getClassifier().getRegParam() == 3.0
    assert estimator.getClassifier().getRegParam() == 0.1


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_estimators_and_models_are_saved(rows: DataFrame, tmp_path: Path, method: str) -> None:
    classifier = LogisticRegression(regParam=0.1, classWeight={0: 1.0, 1: 2.0})
    estimator = CalibratedClassifier(classifier=classifier, method=method, numFolds=3, seed=2)
    estimator.save(str(tmp_path / "estimator"))
    again = CalibratedClassifier.load(str(tmp_path / "estimator"))
    assert again.uid == estimator.uid
    assert again.explainParams() == estimator.explainParams()
    assert again.getClassifier().uid == classifier.uid
    assert again.getClassifier().explainParams() == classifier.explainParams()
    model = Pipeline(stages=[estimator]).fit(rows)
    model.save(str(tmp_path / "pipeline"))
    loaded = PipelineModel.load(str(tmp_path / "pipeline"))
    np.testing.assert_array_equal(probabilities(loaded, rows), probabilities(model, rows))
    [stage] = loaded.stages
    assert isinstance(stage, CalibratedClassifierModel)
    assert not stage.hasSummary
    stage.save(str(tmp_path / "model"))
    with pytest.raises(PersistenceError, match="holds the class"):
        LogisticRegression.load(str(tmp_path / "estimator"))
    with pytest.raises(PersistenceError, match="holds the class"):
        CalibratedClassifier.load(str(tmp_path / "model"))


def test_a_search_reaches_the_classifier(rows: DataFrame, tmp_path: Path) -> None:
    estimator = CalibratedClassifier(classifier=SVC, numFolds=2, seed=2)
    grid = ParamGridBuilder().addGrid(SVC.regParam, [0.01, 100.0]).build()
    estimated = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=grid,
        evaluator=BinaryClassificationEvaluator(numBins=0),
        numFolds=2,
        seed=4,
    )
    search = estimated.fit(rows)
    assert isinstance(search.bestModel, CalibratedClassifierModel)
    # what was fitted is saved and loaded, and still reaches the classifier
    estimated.save(str(tmp_path / "search"))
    search.save(str(tmp_path / "model"))
    model = CrossValidatorModel.load(str(tmp_path / "model"))
    assert model.avgMetrics == search.avgMetrics
    np.testing.assert_array_equal(numbers(model.bestModel), numbers(search.bestModel))
    for loaded in (CrossValidator.load(str(tmp_path / "search")), model):
        again = [loaded.getEstimator().copy(extra) for extra in loaded.getEstimatorParamMaps()]
        assert [one.getClassifier().getRegParam() for one in again] == [0.01, 100.0]
    weak = estimator.fit(rows, {SVC.regParam: 100.0})
    strong = estimator.fit(rows, {SVC.regParam: 0.01})
    assert np.abs(numbers(weak)).max() < 0.1 * np.abs(numbers(strong)).max()


def test_searches_over_nested_stages_are_saved(spark: SparkSession, tmp_path: Path) -> None:
    svc = LinearSVC()
    calibrated = CalibratedClassifier(classifier=svc)
    grid = ParamGridBuilder().addGrid(svc.regParam, [0.5]).build()
    for number, estimator in enumerate(
        (Pipeline(stages=[calibrated]), Pipeline(stages=[OneVsRest(classifier=svc)]))
    ):
        path = str(tmp_path / str(number))
        search = TrainValidationSplit(
            estimator=estimator,
            estimatorParamMaps=grid,
            evaluator=BinaryClassificationEvaluator(),
        )
        search.save(path)
        loaded = TrainValidationSplit.load(path)
        [stage] = loaded.getEstimator().copy(loaded.getEstimatorParamMaps()[0]).getStages()
        assert stage.getClassifier().uid == svc.uid
        assert stage.getClassifier().getRegParam() == 0.5


def test_stages_within_are_found_once_though_modules_are_imported_again() -> None:
    # as notebooks do when code changes; MLlib's own answer stays behind ours
    classifier = OneVsRest(classifier=CalibratedClassifier(classifier=SVC))
    stages = MetaAlgorithmReadWrite.getAllNestedStages(classifier)
    kept = sys.modules[composite.__name__]
    before = MetaAlgorithmReadWrite.getAllNestedStages
    try:
        importlib.reload(composite)
        del sys.modules[composite.__name__]
        importlib.import_module(composite.__name__)
        assert MetaAlgorithmReadWrite.getAllNestedStages(classifier) == stages
    finally:
        sys.modules[composite.__name__] = kept
        MetaAlgorithmReadWrite.getAllNestedStages = staticmethod(before)  # type: ignore[assignment, method-assign]
    assert [type(stage) for stage in stages] == [OneVsRest, CalibratedClassifier, LinearSVC]


def test_classifiers_that_cannot_be_calibrated_are_refused(
    spark: SparkSession, rows: DataFrame
) -> None:
    for classifier, told in (
        (mllib.LinearSVC(), "pyspark.ml.classification.LinearSVC: expected a sparkml_lsml.class"),
        (OneVsRest(), "OneVsRest: expected a sparkml_lsml.classification.LinearSVC or a sparkml"),
        (LogisticRegression(family="multinomial"), "family='multinomial'"),
        (LinearSVC(solver="sgd"), "solver='sgd', which draws rows by itself"),
        (LinearSVC(solver="adam"), "solver='adam', which draws rows by itself"),
        (LinearSVC(validationIndicatorCol="held"), "validationIndicatorCol, found 'held'"),
    ):
        with refused(spark, told):
            CalibratedClassifier(classifier=classifier).fit(rows)
    with pytest.raises(ParamError, match="cannot be saved"):
        CalibratedClassifier(classifier=mllib.LinearSVC()).save("never")
    for name, value in (("method", "temperature"), ("numFolds", 1), ("threshold", 1.5)):
        with pytest.raises(ParamError, match=name):
            CalibratedClassifier(**{name: value})


def test_rows_that_cannot_be_used_are_told(spark: SparkSession, rows: DataFrame) -> None:
    plain = CalibratedClassifier(classifier=SVC, numFolds=3, foldCol="fold")
    with refused(spark, "the rows have the label 0 alone"):
        plain.fit(rows.where("label = 0"))
    # class 1 in one fold only
    with refused(spark, "outside of fold 2 have the label 0 alone", "both classes outside"):
        plain.fit(made(spark, (FOLD == 2).astype(float), FOLD))
    with refused(spark, "fold 1 has no rows"):
        plain.fit(rows.where("fold != 1"))
    with refused(spark, "foldCol='nowhere'"):
        plain.copy({plain.foldCol: "nowhere"}).fit(rows)
    with pytest.raises(DataError, match="labels must be 0 or 1"):
        plain.fit(made(spark, np.arange(30.0) % 3, np.arange(30) % 3))
