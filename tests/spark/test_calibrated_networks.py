"""Calibrated networks, and folds of networks whose rows are sorted by label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from sklearn.model_selection import PredefinedSplit

from sparkml_lsml.classification import CalibratedClassifier
from sparkml_lsml.neural import (
    CalibratedNetworkModel,
    MLPClassificationModel,
    MLPClassifier,
    MultilayerPerceptronClassifier,
)
from sparkml_lsml.tuning import CrossValidator
from tests.spark.helpers import frame, nothing_left, refused

Array = npt.NDArray[np.float64]

ROWS, FOLDS = 300, 3
RNG = np.random.default_rng(21)
X = RNG.normal(size=(ROWS, 2))
# inside of a circle, but for one row of six
Y = ((X**2).sum(axis=1) < 1.4) ^ (RNG.uniform(size=ROWS) < 1.0 / 6.0)
FOLD = np.arange(ROWS) % FOLDS


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, X, Y.astype(float), FOLD.astype(float), partitions=2)


def network(**params: Any) -> MLPClassifier:
    given = {"layers": [2, 32, 2], "batchSize": 8, "stepSize": 0.02, "maxIter": 60, "seed": 3}
    return MLPClassifier(**given | {"execution": "distributed"} | params)


def probabilities(model: Any, rows: DataFrame) -> Array:
    found = model.transform(rows).select("probability").collect()
    return np.array([row.probability.toArray() for row in found])


def log_loss(model: Any, rows: DataFrame) -> float:
    return float(model.evaluate(rows).logLoss)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_a_network_without_hidden_layers_is_calibrated_as_a_logistic_model(
    rows: DataFrame, method: str
) -> None:
    """Of weights W0 and W1 = -W0, which have the least penalty, w = 2 W1 is that model's."""
    penalty = 0.05
    line = MLPClassifier(
        layers=[2, 2],
        solver="l-bfgs",
        tol=1e-12,
        maxIter=200,
        regParam=penalty,
        standardization=False,
        dtype="float64",
    )
    calibrated = CalibratedClassifier(classifier=line, method=method, numFolds=3, foldCol="weight")
    model = calibrated.fit(rows)
    # half of the penalty of both rows of W is a quarter of that of w; folds are of equal size
    fits = []
    for seen in (ROWS * (1.0 - 1.0 / FOLDS), ROWS):
        theirs = CalibratedClassifierCV(
            SklearnLogistic(C=1.0 / (0.5 * penalty * seen), tol=1e-12, max_iter=1_000),
            method=method,
            cv=PredefinedSplit(FOLD),
            ensemble=False,
        )
        [fitted] = theirs.fit(X, Y).calibrated_classifiers_
        fits.append(fitted)
    margins = fits[1].estimator.decision_function(X)
    found = model.transform(rows).select("rawPrediction").collect()
    raw = np.array([row.rawPrediction.toArray() for row in found])
    np.testing.assert_allclose(raw[:, 1], margins, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(raw[:, 0], -raw[:, 1], rtol=1e-12)
    expected = fits[0].calibrators[0].predict(margins)
    np.testing.assert_allclose(probabilities(model, rows)[:, 1], expected, atol=1e-4)


def test_an_overconfident_network_becomes_right(spark: SparkSession, rows: DataFrame) -> None:
    """Rows that it has not seen have the frequencies that it tells."""
    rng = np.random.default_rng(22)
    others = rng.normal(size=(2_000, 2))
    label = ((others**2).sum(axis=1) < 1.4) ^ (rng.uniform(size=2_000) < 1.0 / 6.0)
    unseen = frame(spark, others, label.astype(float), partitions=2)
    with nothing_left(spark):
        model = CalibratedClassifier(classifier=network(), numFolds=3, seed=5).fit(rows)
    assert isinstance(model, CalibratedNetworkModel)
    assert "one of 4 models that shared their passes" in model.summary.notes
    plain = MLPClassificationModel([2, 32, 2], model.weights)
    told = probabilities(model, unseen)[:, 1]
    assert told.max() < 0.95  # the truth is 5/6
    assert log_loss(model, unseen) < 0.95 * log_loss(plain, unseen)
    # the same margins
    one = MLPClassificationModel([2, 32, 2], model.weights).predictRaw(unseen.first().features)
    raw = model.predictRaw(unseen.first().features)
    assert raw[1] == pytest.approx(one[1] - one[0], rel=1e-12, abs=0)


@pytest.mark.parametrize("kind", [MLPClassifier, MultilayerPerceptronClassifier])
def test_calibrated_networks_are_saved(
    spark: SparkSession, rows: DataFrame, tmp_path: Path, kind: Any
) -> None:
    classifier = kind(layers=[2, 4, 2], maxIter=2, tol=1e-3)
    estimator = CalibratedClassifier(classifier=classifier, method="isotonic", numFolds=2)
    estimator.save(str(tmp_path / "estimator"))
    again = CalibratedClassifier.load(str(tmp_path / "estimator"))
    assert type(again.getClassifier()) is kind
    assert again.getClassifier().explainParams() == classifier.explainParams()
    model = again.fit(rows)
    model.save(str(tmp_path / "model"))
    loaded = CalibratedNetworkModel.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(probabilities(loaded, rows), probabilities(model, rows))
    assert loaded.network == model.network
    assert loaded.explainParams() == model.explainParams()
    assert repr(loaded) == f"CalibratedNetworkModel: uid={model.uid}, layers=[2, 4, 2]"
    assert "2 → 4 → 2" in loaded._repr_html_()


def test_networks_that_cannot_be_calibrated_are_refused(
    spark: SparkSession, rows: DataFrame
) -> None:
    with refused(spark, "layers=[2, 8, 3]: expected layers that end in 2 classes"):
        CalibratedClassifier(classifier=network(layers=[2, 8, 3])).fit(rows)
    with refused(spark, "layers is not set"):
        CalibratedClassifier(classifier=MLPClassifier()).fit(rows)


def test_case_33_folds_of_sorted_rows_are_shuffled(spark: SparkSession) -> None:
    """Otherwise every model of the search averages one of each class, and none is any good."""
    inside = (X**2).sum(axis=1) < 1.4
    order = np.argsort(inside, kind="stable")
    by_label = frame(spark, X[order], inside[order].astype(float), partitions=2)
    search = CrossValidator(
        estimator=network(maxIter=20),
        estimatorParamMaps=[{}],
        evaluator=MulticlassClassificationEvaluator(metricName="accuracy"),
        numFolds=2,
        seed=1,
    )
    with nothing_left(spark):
        found = search.fit(by_label)
        calibrated = CalibratedClassifier(classifier=network(maxIter=20), numFolds=2).fit(by_label)
    shuffled = "rows were sorted by label: shuffled once"
    for summary in (found.bestModel.summary, calibrated.summary):
        assert [note for note in summary.notes if shuffled in note]
        assert summary.accuracy > 0.9
    assert found.avgMetrics[0] > 0.9
    assert by_label.where(F.col("label") > 0).count() == inside.sum()
