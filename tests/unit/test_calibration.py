"""Calibration of scores, beside scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from sparkml_lsml.engine.metrics import calibration
from sparkml_lsml.engine.metrics.calibration import (
    CalibrationCounts,
    IsotonicCalibration,
    SigmoidCalibration,
    calibrate,
    isotonic,
    sigmoid,
)

Array = npt.NDArray[np.float64]

RNG = np.random.default_rng(3)
ROWS = 3_000
SCORE = RNG.normal(size=ROWS)
Y = (RNG.random(ROWS) < 1.0 / (1.0 + np.exp(-2.0 * SCORE**3 + 0.5))).astype(float)
WEIGHT = RNG.integers(1, 6, size=ROWS).astype(float)
GRID = np.linspace(-5.0, 5.0, 501)


def counted(score: Array, y: Array, weight: Array, parts: int = 1) -> CalibrationCounts:
    total = CalibrationCounts()
    for rows in np.array_split(np.arange(len(y)), parts):
        part = CalibrationCounts()
        raw = np.stack([-score[rows], score[rows]], axis=1)
        part.add(y[rows], weight[rows], {"raw": raw})
        total.merge(part)
    return total


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_sigmoid_is_scikit_learns(scale: float) -> None:
    # with integer weights theirs has the same targets as with rows repeated
    theirs = _SigmoidCalibration().fit(SCORE, Y, sample_weight=WEIGHT)
    ours = sigmoid(*_parts(counted(scale * SCORE, Y, WEIGHT)))
    np.testing.assert_allclose(ours(scale * GRID), theirs.predict(GRID), atol=1e-5)
    assert ours.slope * scale == pytest.approx(theirs.a_, rel=1e-4)
    assert ours.intercept == pytest.approx(theirs.b_, rel=1e-4)


def _parts(found: CalibrationCounts) -> tuple[Array, Array]:
    return found.scores, found.counts


def test_sigmoid_solves_the_equations_of_its_likelihood() -> None:
    # the derivatives of the likelihood in slope and intercept, row by row
    found = sigmoid(*_parts(counted(SCORE, Y, WEIGHT)))
    positives = float(WEIGHT @ Y)
    target = np.where(
        Y == 1.0,
        (positives + 1.0) / (positives + 2.0),
        1.0 / (float(WEIGHT.sum()) - positives + 2.0),
    )
    error = WEIGHT * (found(SCORE) - target)
    assert abs(error.sum()) < 1e-6 * WEIGHT.sum()
    assert abs(error @ SCORE) < 1e-6 * WEIGHT.sum()


@pytest.mark.parametrize("unit", [1e-6, 1.0 / ROWS, 1e6])
def test_the_unit_of_weights_does_not_matter(unit: float) -> None:
    # scikit-learn's targets, for weights of 1 on average
    theirs = _SigmoidCalibration().fit(SCORE, Y, sample_weight=WEIGHT / WEIGHT.mean())
    ours = calibrate("sigmoid", counted(SCORE, Y, unit * WEIGHT, parts=3))
    np.testing.assert_allclose(ours(GRID), theirs.predict(GRID), atol=1e-5)


def test_sigmoid_of_classes_that_can_be_separated_is_finite() -> None:
    # Platt's targets: 3 rows each mean 4 / 5 and 1 / 5, which a line through them reaches
    score = np.array([-2.0, -2.0, -2.0, 1.0, 1.0, 1.0])
    y = (score > 0.0).astype(float)
    found = sigmoid(*_parts(counted(score, y, np.ones(6))))
    np.testing.assert_allclose(found(np.array([-2.0, 1.0])), [0.2, 0.8], rtol=1e-6)


@pytest.mark.parametrize("size", [1e-150, 1e-12, 1.0, 1e12, 1e150])
def test_sigmoid_bears_scores_of_any_size(size: float) -> None:
    found = sigmoid(np.array([-size, size]), np.array([[3.0, 1.0], [1.0, 3.0]]))
    # targets are 5/6 and 1/6 with 3 of 4 rows: (3 * 5/6 + 1/6) / 4 = 2/3
    np.testing.assert_allclose(found(np.array([-size, size])), [1 / 3, 2 / 3], rtol=1e-6)


def test_sigmoid_of_equal_scores_is_the_share() -> None:
    found = sigmoid(np.array([2.0]), np.array([[8.0, 3.0]]))
    # the mean of the targets: (3 * 4/5 + 8 * 1/10) / 11
    assert float(found(np.array([2.0]))[0]) == pytest.approx(3.2 / 11.0, rel=1e-6)


@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_isotonic_is_scikit_learns(decimals: int) -> None:
    score = np.round(SCORE, decimals)  # with ties, and without
    theirs = IsotonicRegression(out_of_bounds="clip").fit(score, Y, sample_weight=WEIGHT)
    ours = isotonic(*_parts(counted(score, Y, WEIGHT)))
    np.testing.assert_allclose(ours(GRID), theirs.predict(GRID), atol=1e-12)
    np.testing.assert_allclose(ours.scores, theirs.X_thresholds_)
    np.testing.assert_allclose(ours.probabilities, theirs.y_thresholds_, atol=1e-12)


def test_isotonic_of_one_score() -> None:
    found = isotonic(np.array([1.0]), np.array([[1.0, 3.0]]))
    np.testing.assert_allclose(found(np.array([-9.0, 1.0, 9.0])), 0.75)


def test_counts_do_not_depend_on_the_partitions() -> None:
    one, many = counted(SCORE, Y, WEIGHT), counted(SCORE, Y, WEIGHT, parts=7)
    assert len(one.scores) == ROWS
    np.testing.assert_array_equal(one.scores, many.scores)
    np.testing.assert_allclose(one.counts, many.counts)
    assert one.value() == WEIGHT.sum()
    zero = counted(np.array([0.0, -0.0]), np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    assert (zero.scores.tolist(), zero.counts.tolist()) == ([0.0], [[1.0, 2.0]])
    none = counted(SCORE, Y, np.zeros(ROWS))
    assert len(none.scores) == 0


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_many_scores_are_counted_in_bins(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    exact = calibrate(method, counted(SCORE, Y, WEIGHT))
    monkeypatch.setattr(calibration, "EXACT_SCORES", 400)
    # parts of fewer scores, of which no part is coarse but the whole
    binned = counted(SCORE, Y, WEIGHT, parts=10)
    assert binned.bits > 0
    assert 400 < len(binned.scores) < ROWS
    assert (np.diff(binned.scores) > 0.0).all()
    np.testing.assert_allclose(binned.counts.sum(axis=0), counted(SCORE, Y, WEIGHT).counts.sum(0))
    assert binned.scores @ binned.counts.sum(axis=1) == pytest.approx(WEIGHT @ SCORE, abs=1e-9)
    whole = counted(SCORE, Y, WEIGHT)
    np.testing.assert_allclose(whole.scores, binned.scores, rtol=1e-12)
    found = calibrate(method, binned)
    monkeypatch.undo()
    # bins that are few stay bins
    assert CalibrationCounts().merge(binned).bits == binned.bits
    # a bin is 1 in 4,096 wide, and so is what a step of the isotonic function moves
    off = np.abs(found(SCORE) - exact(SCORE))
    assert np.mean(off) < 2e-3
    assert np.max(off) < (1e-6 if method == "sigmoid" else 0.1)


def test_arrays() -> None:
    line = SigmoidCalibration(-1.5, 0.25)
    assert SigmoidCalibration.from_array(line.to_array()) == line
    steps = IsotonicCalibration(np.array([0.0, 1.0]), np.array([0.25, 0.5]))
    again = IsotonicCalibration.from_array(steps.to_array())
    np.testing.assert_array_equal(again.to_array(), steps.to_array())
    assert np.isnan(line(np.array([np.nan]))).all()
    assert np.isnan(steps(np.array([np.nan]))).all()
    lines: list[Any] = [[1.0], [1.0, np.inf], [[1.0, 2.0]]]
    for bad in lines:
        with pytest.raises(ValueError, match="expected a slope"):
            SigmoidCalibration.from_array(np.array(bad))
    knots: list[Any] = [
        [0.0, 1.0],
        [[1.0, 0.0], [0.0, 1.0]],
        [[0.0, 1.0], [0.5, 0.25]],
        [[0.0, 1.0], [0.0, 1.5]],
        [[0.0, 1.0], [-0.5, 1.0]],
        [[0.0, np.inf], [0.5, 1.0]],
        [[], []],
    ]
    for bad in knots:
        with pytest.raises(ValueError, match="expected increasing scores"):
            IsotonicCalibration.from_array(np.array(bad))
