"""Networks that learn from pieces of rows: how far they come, what they carry, what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from sklearn.preprocessing import StandardScaler

from sparkml_lsml.errors import DataError, DivergedError, NoRowsError, ParamError
from sparkml_lsml.neural import (
    MLPClassificationModel,
    MLPClassifier,
    MLPRegressor,
    MultilayerPerceptronClassifier,
)
from sparkml_lsml.streaming import StreamingTrainer
from tests.spark.helpers import Array, frame

PIECES, ROWS = 6, 200
RNG = np.random.default_rng(3)
X = RNG.normal(size=(PIECES * ROWS, 3)) * [1.0, 50.0, 0.02] + [0.0, 200.0, 1.0]
Z = (X - X.mean(axis=0)) / X.std(axis=0)
Y = np.digitize((Z**2).sum(axis=1), [1.5, 3.5]).astype(float)
VALUES = 1e6 + 3e5 * np.abs(Z[:, 0])


def part(number: int) -> slice:
    return slice(number * ROWS, (number + 1) * ROWS)


def cut(spark: SparkSession, y: Array) -> list[DataFrame]:
    found = [frame(spark, X[part(n)], y[part(n)], partitions=2).cache() for n in range(PIECES)]
    return found


@pytest.fixture(scope="module")
def pieces(spark: SparkSession) -> list[DataFrame]:
    return cut(spark, Y)


def classifier(**params: Any) -> MLPClassifier:
    given = {"layers": [3, 32, 3], "batchSize": 8, "stepSize": 0.01, "localEpochs": 5, "seed": 2}
    return MLPClassifier(**{"execution": "distributed", **given, **params})


@pytest.fixture(scope="module")
def first(pieces: list[DataFrame]) -> Any:
    return classifier().partialFit(pieces[0])


def accuracy(model: Any) -> float:
    scores = np.array([model.predict(Vectors.dense(row)) for row in X])
    return float((scores == Y).mean())


def learned(estimator: Any, rows: list[DataFrame]) -> Any:
    model = None
    for piece in rows:
        model = estimator.partialFit(piece, model)
    return model


def test_pieces_teach_what_all_rows_would(pieces: list[DataFrame]) -> None:
    """Five epochs over each of six pieces; a model of the largest class is right in half."""
    model = learned(classifier(), pieces)
    assert accuracy(model) > 0.9
    summary = model.summary
    assert summary.reason.name == "piece"
    assert (summary.solver, summary.solver_reason) == ("local-steps", "partialFit")
    assert summary.notes[0] == f"piece {PIECES}; {PIECES * ROWS:,} rows so far"
    assert [line.iteration for line in summary.history] == [0, 1]
    assert summary.history[1].objective < summary.history[0].objective


def test_a_regression_learns_from_pieces(spark: SparkSession) -> None:
    settings = {"layers": [3, 32, 1], "batchSize": 8, "stepSize": 0.01, "localEpochs": 5}
    model = learned(MLPRegressor(execution="distributed", seed=1, **settings), cut(spark, VALUES))
    found = np.array([model.predict(Vectors.dense(row)) for row in X])
    assert 1.0 - ((found - VALUES) ** 2).mean() / VALUES.var() > 0.9


def test_features_are_standardised_by_all_rows_so_far(pieces: list[DataFrame], first: Any) -> None:
    model = classifier().partialFit(pieces[1], first)
    packed = X.astype(np.float32).astype(np.float64)
    scaler = StandardScaler().partial_fit(packed[part(0)]).partial_fit(packed[part(1)])
    moments = model._pieces.features
    np.testing.assert_allclose(moments.mean(), scaler.mean_, rtol=1e-11)
    np.testing.assert_allclose(moments.variance(sample=False), scaler.var_, rtol=1e-9)


@pytest.mark.parametrize("kind", [MLPClassifier, MultilayerPerceptronClassifier])
def test_a_restart_goes_on_where_it_was(
    pieces: list[DataFrame], tmp_path: Path, kind: type[Any]
) -> None:
    given = {"layers": [3, 4, 3], "batchSize": 8, "execution": "distributed", "seed": 2}
    estimator = kind(solver="local-steps", **given)
    model = learned(estimator, pieces[:2])
    model.write().overwrite().save(str(tmp_path / "model"))
    loaded = type(model).load(str(tmp_path / "model"))
    again, expected = (estimator.partialFit(pieces[2], one) for one in (loaded, model))
    assert again.weights == expected.weights
    assert again._pieces.number == 3
    assert again.weights != model.weights


def test_each_piece_is_shuffled_by_itself(pieces: list[DataFrame], first: Any) -> None:
    """Or the same mini-batches would come again where a piece has as many rows as the last."""
    once = classifier(localEpochs=1, dropout=0.5).partialFit(pieces[0], first)
    fresh = MLPClassificationModel(first.getLayers(), first.weights, "relu")
    other = classifier(localEpochs=1, dropout=0.5).partialFit(pieces[0], fresh)
    assert once._pieces.number == 2
    assert other._pieces.number == 1
    # beside what the variances of 400 and of 200 rows differ by
    apart = np.abs(once.weights.toArray() - other.weights.toArray()).max()
    assert apart > 1.0


def test_a_column_that_is_constant_at_first_learns_later(spark: SparkSession) -> None:
    still = X.copy()
    still[: 2 * ROWS, 0] = 4.0
    rows = [frame(spark, still[part(n)], Y[part(n)], partitions=2) for n in range(3)]
    estimator = classifier()
    before = learned(estimator, rows[:2])
    assert not before.coefficientMatrices[0].toArray()[:, 0].any()
    after = estimator.partialFit(rows[2], before)
    assert after.coefficientMatrices[0].toArray()[:, 0].any()


def test_steps_follow_the_schedule_over_the_pieces(pieces: list[DataFrame]) -> None:
    estimator = classifier(learningRate="invscaling", powerT=1.0)
    model, steps = None, []
    for piece in pieces[:3]:
        model = estimator.partialFit(piece, model)
        steps.append(model.summary.history[-1].step_size)
    # five epochs a piece
    np.testing.assert_allclose(np.array(steps) / steps[0], [1.0, 1 / 6, 1 / 11], rtol=1e-12)


def test_what_pieces_cannot_be_learned_with(
    spark: SparkSession, pieces: list[DataFrame], first: Any
) -> None:
    for estimator, words in (
        (classifier(learningRate="cosine"), "expected 'constant' or 'invscaling'"),
        (classifier(solver="l-bfgs"), "set solver='auto' or 'local-steps'"),
        (classifier(validationIndicatorCol="held"), "keeps no best iteration"),
        (classifier(classWeight="balanced"), "give a map of labels to weights"),
        (MLPClassifier(), "layers is not set"),
        (classifier(layers=[4, 32, 3]), "the rows have 3 features"),
        (classifier(layers=[3, 8, 3]), r"has layers=\[3, 32, 3\]"),
    ):
        with pytest.raises(ParamError, match=words):
            estimator.partialFit(pieces[0], first if "has layers" in words else None)
    with pytest.raises(ParamError, match="classes=2, expected 3, in which layers end"):
        classifier().partialFit(pieces[0], classes=2)
    assert classifier().partialFit(pieces[0].limit(0), first) is first
    with pytest.raises(NoRowsError):
        classifier().partialFit(pieces[0].limit(0))
    with pytest.raises(DataError, match="label 3"):
        classifier().partialFit(frame(spark, X[:4], np.array([0.0, 1.0, 2.0, 3.0])), first)
    narrow = frame(spark, X[:4, :2], Y[:4])
    with pytest.raises(ParamError, match="has 3 features, the rows have 2"):
        classifier().partialFit(narrow, first)


def test_a_piece_whose_steps_diverge_says_so(pieces: list[DataFrame], first: Any) -> None:
    weights = first.weights
    with pytest.raises(DivergedError, match="round 1"):
        classifier(stepSize=1e30, optimizer="sgd").partialFit(pieces[1], first)
    assert first.weights == weights


def test_a_stream_trains_a_network(pieces: list[DataFrame], tmp_path: Path) -> None:
    trainer = StreamingTrainer(classifier(), tmp_path / "model")
    for number, piece in enumerate(pieces[:2]):
        trainer(piece, number)
    trainer(pieces[1], 1)  # it is in the model already
    model = MLPClassificationModel.load(str(tmp_path / "model"))
    assert model._pieces.number == 2
    assert model.weights == learned(classifier(), pieces[:2]).weights
