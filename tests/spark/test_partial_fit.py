"""Models that learn from pieces: how close they come, what they carry, what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyspark.ml.classification as mllib
import pyspark.ml.regression as mllib_regression
import pytest
from pyspark.sql import DataFrame, SparkSession
from sklearn.preprocessing import StandardScaler

from sparkml_lsml.classification import (
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    LogisticRegressionModel,
)
from sparkml_lsml.errors import DataError, NoRowsError, ParamError, PersistenceError
from sparkml_lsml.regression import LinearRegression, LinearRegressionModel
from sparkml_lsml.spark.models.pieces import Pieces
from tests.spark.helpers import Array, frame, numbers

PIECES, ROWS = 8, 300
CLOSE = 0.02
"""Relative excess of the objective over all rows, after 8 pieces of 300 rows in random order."""


def rows(task: str) -> tuple[Array, Array]:
    """Correlated columns of very different scales, far from zero."""
    rng = np.random.default_rng(0)
    count, features = PIECES * ROWS, 5
    mix = np.eye(features) + 0.5 * rng.normal(size=(features, features))
    Z = rng.normal(size=(count, features)) @ mix
    Z /= Z.std(axis=0)
    X = Z * [0.01, 1.0, 1.0, 10.0, 100.0] + [1.0, 0.0, 5.0, -3.0, 1000.0]
    raw = Z @ rng.normal(size=(features, 3))
    if task == "regression":
        return X, 50.0 + 3.0 * raw[:, 0] + rng.normal(size=count)
    if task == "classes":
        return X, np.argmax(raw + rng.gumbel(size=raw.shape), axis=1).astype(np.float64)
    return X, (raw[:, 0] + rng.logistic(size=count) > 0.3).astype(np.float64)


def part(number: int) -> slice:
    return slice(number * ROWS, (number + 1) * ROWS)


CASES: dict[str, tuple[Any, Any, Any, str]] = {
    "hinge": (LinearSVC, mllib.LinearSVC, LinearSVCModel, "binary"),
    "multinomial": (
        LogisticRegression,
        mllib.LogisticRegression,
        LogisticRegressionModel,
        "classes",
    ),
    "squared error": (
        LinearRegression,
        mllib_regression.LinearRegression,
        LinearRegressionModel,
        "regression",
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "multinomial" else pytest.mark.slow) for name in CASES],
)
def test_pieces_come_close_to_the_solution_for_all_rows(spark: SparkSession, name: str) -> None:
    ours, theirs, kind, task = CASES[name]
    X, y = rows(task)
    df = frame(spark, X, y)
    estimator, model = ours(regParam=0.01), None
    for number in range(PIECES):
        model = estimator.partialFit(frame(spark, X[part(number)], y[part(number)]), model)

    def objective(of: Any) -> float:
        start = estimator.copy().setParams(maxIter=0, solver="l-bfgs").setInitialModel(of)
        return float(start.fit(df).summary.objective)

    best = numbers(theirs(regParam=0.01).fit(df))
    outputs = 3 if task == "classes" else 1
    facts = {"numClasses": 3} if outputs > 1 else {}
    W, b = best[:-outputs].reshape(outputs, -1), best[-outputs:]
    least = objective(kind(W, b, **facts))
    found = objective(model)
    assert least * (1.0 - 1e-6) <= found <= least * (1.0 + CLOSE)
    assert model.uid == estimator.uid
    assert model.getOrDefault("regParam") == 0.01
    assert model.summary.reason.name == "piece"
    assert model.summary.notes == (f"piece {PIECES}; {PIECES * ROWS:,} rows so far",)


@pytest.fixture(scope="module")
def pieces(spark: SparkSession) -> list[DataFrame]:
    X, y = rows("binary")
    return [frame(spark, X[part(k)], y[part(k)]) for k in range(3)]


@pytest.fixture(scope="module")
def first(pieces: list[DataFrame]) -> Any:
    return LogisticRegression(regParam=0.01).partialFit(pieces[0])


def test_moments_are_those_of_all_rows_so_far(pieces: list[DataFrame], first: Any) -> None:
    second = LogisticRegression(regParam=0.01).partialFit(pieces[1], first)
    X, _ = rows("binary")
    scaler = StandardScaler().partial_fit(X[part(0)]).partial_fit(X[part(1)])
    np.testing.assert_allclose(second._pieces.features.mean(), scaler.mean_, rtol=1e-12)
    variance = second._pieces.features.variance(sample=False)
    np.testing.assert_allclose(variance, scaler.var_, rtol=1e-9)
    assert second._pieces.features.rows == scaler.n_samples_seen_
    # the model before is as it was
    assert first._pieces.features.rows == ROWS


@pytest.mark.parametrize("kind", [LogisticRegression, LinearRegression])
def test_a_restart_goes_on_where_it_was(
    pieces: list[DataFrame], tmp_path: Path, kind: type[Any]
) -> None:
    estimator, model = kind(regParam=0.01), None
    for number, piece in enumerate(pieces):
        model = estimator.partialFit(piece, model)
        if number == 1:
            model.save(str(tmp_path / "model"))
    loaded = type(model).load(str(tmp_path / "model"))
    again = estimator.partialFit(pieces[2], loaded)
    np.testing.assert_array_equal(numbers(again), numbers(model))
    np.testing.assert_array_equal(again._pieces.iterate, model._pieces.iterate)
    saved, kept = again._saved_arrays(), model._saved_arrays()
    assert saved.keys() == kept.keys()
    for name, values in kept.items():
        np.testing.assert_array_equal(saved[name], values)


def test_what_is_carried_is_checked_when_it_is_loaded(first: Any) -> None:
    good = first._saved_arrays()
    sizes = good["coefficients"].shape[1], good["coefficients"].size
    assert Pieces.of_arrays({"coefficients": good["coefficients"]}, *sizes) is None
    for name, wrong in (
        ("pieceCounts", -good["pieceCounts"]),
        ("pieceCounts", good["pieceCounts"][1:]),
        ("pieceFeatures", good["pieceFeatures"][:, 1:]),
        ("pieceIterate", good["pieceIterate"] * np.inf),
    ):
        with pytest.raises(ValueError, match=r"damaged|unpack"):
            Pieces.of_arrays({**good, name: wrong}, *sizes)
    assert issubclass(PersistenceError, ValueError)


def test_an_empty_piece_leaves_the_model_as_it_is(pieces: list[DataFrame], first: Any) -> None:
    empty = pieces[0].limit(0)
    assert LogisticRegression().partialFit(empty, first) is first
    with pytest.raises(NoRowsError, match="no rows"):
        LogisticRegression().partialFit(empty)


def test_a_bad_piece_raises_and_the_model_stays(spark: SparkSession, first: Any) -> None:
    before = {name: values.copy() for name, values in first._saved_arrays().items()}
    X, _ = rows("binary")
    for features, label, error, words in (
        (np.full((4, 5), np.nan), 1.0, DataError, "4 "),
        (X[:4], 2.0, DataError, r"label 2.*knows 2 classes.*classes="),
        (X[:4, :3], 1.0, ParamError, "5 features, the rows have 3"),
    ):
        bad = frame(spark, features, np.full(4, label))
        with pytest.raises(error, match=words):
            LogisticRegression().partialFit(bad, first)
    for name, values in first._saved_arrays().items():
        np.testing.assert_array_equal(values, before[name])


def test_classes_that_come_later(spark: SparkSession) -> None:
    X, y = rows("classes")
    estimator = LogisticRegression(regParam=0.01)
    alone = estimator.partialFit(frame(spark, X[y == 1.0][:50], np.ones(50)), classes=3)
    assert alone.numClasses == 3
    assert np.isfinite(numbers(alone)).all()
    both = estimator.partialFit(frame(spark, X[:100], y[:100]), alone)
    assert both.numClasses == 3
    # a binomial model of one class so far stays finite too
    one = estimator.partialFit(frame(spark, X[:50], np.zeros(50)))
    assert (one.numClasses, np.isfinite(numbers(one)).all()) == (2, True)


def test_class_weights_of_classes_that_come_later(spark: SparkSession) -> None:
    X, y = rows("classes")
    weighted = LogisticRegression(regParam=0.01, classWeight={0: 1.0, 1: 2.0, 2: 3.0})
    column = LogisticRegression(regParam=0.01, weightCol="weight")
    few, all_ = y[:100] < 2.0, slice(100, 200)
    one, other = None, None
    for part in (np.flatnonzero(few), np.arange(100)[~few], np.arange(200)[all_]):
        piece = frame(spark, X[part], y[part], weight=1.0 + y[part])
        one = weighted.partialFit(piece, one, classes=3 if one is None else None)
        other = column.partialFit(piece, other, classes=3 if other is None else None)
    np.testing.assert_allclose(numbers(one), numbers(other), rtol=1e-12)


def test_a_column_that_is_constant_in_a_piece_keeps_its_coefficient(spark: SparkSession) -> None:
    """A model of a fit knows of the column; its part of the margins is a constant here."""
    X, y = rows("binary")
    X = X[:200].copy()
    X[:, 1] = 4.0
    start = LinearSVC(regParam=0.01).fit(frame(spark, *rows("binary")))
    found = LinearSVC(regParam=0.01, stepSize=1e-9).partialFit(frame(spark, X, y[:200]), start)
    # such a short step changes nothing else either, the intercept included
    np.testing.assert_allclose(numbers(found), numbers(start), rtol=1e-5)
    assert numbers(found)[1] == numbers(start)[1] != 0.0


def test_steps_follow_the_schedule_over_the_pieces(pieces: list[DataFrame]) -> None:
    estimator = LinearSVC(learningRate="invscaling", powerT=0.75, localEpochs=2, regParam=0.01)
    steps, model = [], None
    for _ in range(3):
        model = estimator.partialFit(pieces[0], model)
        steps.append(model.summary.history[1].step_size)
    expected = [(1.0 + 2.0 * k) ** -0.75 for k in range(3)]
    np.testing.assert_allclose(np.array(steps) / steps[0], expected, rtol=1e-12)


def test_what_pieces_cannot_be_learned_with(pieces: list[DataFrame], first: Any) -> None:
    with pytest.raises(ParamError, match="solver='l-bfgs'"):
        LogisticRegression(solver="l-bfgs").partialFit(pieces[0])
    with pytest.raises(ParamError, match="validationIndicatorCol='held'"):
        LinearSVC(validationIndicatorCol="held").partialFit(pieces[0])
    with pytest.raises(ParamError, match="classWeight='balanced'"):
        LinearSVC(classWeight="balanced").partialFit(pieces[0])
    with pytest.raises(ParamError, match="classes=3, expected 2"):
        LinearSVC().partialFit(pieces[0], classes=3)
    with pytest.raises(ParamError, match="a regression has none"):
        LinearRegression().partialFit(pieces[0], classes=2)
    with pytest.raises(TypeError, match="partialFit takes a LinearSVCModel or None"):
        LinearSVC().partialFit(pieces[0], first)


# ---------------------------------------------------- pieces that are sorted by label


@pytest.mark.parametrize("task", ["binary", "classes", "regression"])
def test_pieces_that_are_sorted_are_told(
    spark: SparkSession, caplog: pytest.LogCaptureFixture, tmp_path: Path, task: str
) -> None:
    X, y = rows(task)
    order = np.argsort(y, kind="stable")
    # a piece of the classes 0 and 2 has the mean of one of class 1
    if task == "classes":
        order = np.argsort(np.array([0.0, 2.0, 1.0])[y.astype(int)], kind="stable")
    kind = LinearRegression if task == "regression" else LogisticRegression
    estimator, model = kind(regParam=0.01), None
    classes = 3 if task == "classes" else 2 if task == "binary" else None
    for number in range(4):
        chosen = order[number * 600 : (number + 1) * 600]
        known = classes if model is None else None
        model = estimator.partialFit(frame(spark, X[chosen], y[chosen]), model, known)
        if number == 1:
            model.save(str(tmp_path / "m"))
            model = type(model).load(str(tmp_path / "m"))
    [told] = [text for each in caplog.records if "between" in (text := each.getMessage())]
    assert "Shuffle the rows before they are cut into pieces" in told
    assert any("lies between the pieces" in note for note in model.summary.notes)
    # the share of the variance, or of Gini's impurity, by its definition
    parts = [y[order[k * 600 : (k + 1) * 600]] for k in range(4)]
    if task == "regression":
        share = 1.0 - np.mean([part.var() for part in parts]) / y.var()
    else:
        share = 1.0 - np.mean([impurity(part) for part in parts]) / impurity(y)
    assert model._pieces.share == pytest.approx(share, rel=1e-9)


def impurity(labels: Array) -> float:
    return 1.0 - float(np.square(np.unique(labels, return_counts=True)[1] / len(labels)).sum())


def test_pieces_that_are_mixed_are_close_and_not_told(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Within 5 % of the least objective, which MLlib finds; small pieces differ by chance alone."""
    X, y = rows("binary")
    df, estimator, model = frame(spark, X, y), LogisticRegression(regParam=0.01), None
    for number in (*range(6), 7):
        chosen = np.arange(20 * number, 20 * number + 20) if number < 6 else np.arange(120, 2400)
        model = estimator.partialFit(frame(spark, X[chosen], y[chosen]), model)
    assert len(model.summary.notes) == 1
    assert "between the pieces" not in caplog.text
    best = mllib.LogisticRegression(regParam=0.01, tol=1e-10).fit(df)
    start = estimator.copy().setParams(maxIter=0)
    theirs = LogisticRegressionModel(best.coefficients.toArray()[None, :], [best.intercept], 2)
    found, least = (
        float(start.setInitialModel(each).fit(df).summary.objective) for each in (model, theirs)
    )
    assert least * (1.0 - 1e-6) <= found <= 1.05 * least


def test_models_of_before_pieces_were_compared(first: Any) -> None:
    """Saved by a version that did not keep the spread: nothing is said of its pieces."""
    arrays = first._saved_arrays()
    del arrays["pieceSpread"]
    found = Pieces.of_arrays(arrays, first.numFeatures, first._coefficients.size)
    assert found is not None
    assert (found.spread, found.sorted) == (None, False)
    assert "pieceSpread" not in found.arrays()
