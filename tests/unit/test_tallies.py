"""Sums over rows, beside scikit-learn's metrics: any parts, in any order, in bounded memory."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as reference
from scipy import stats
from scipy.integrate import trapezoid

from sparkml_lsml.engine.metrics.class_counts import ClassCounts
from sparkml_lsml.engine.metrics.log_loss import log_loss
from sparkml_lsml.engine.metrics.rates import f_measure
from sparkml_lsml.engine.metrics.residual_sums import ResidualSums
from sparkml_lsml.engine.metrics.row_sample import RowSample
from sparkml_lsml.engine.metrics.score_counts import ScoreCounts

Array = npt.NDArray[np.float64]

rng = np.random.default_rng(1)
ROWS = 5_000
Y = (rng.random(ROWS) < 0.4).astype(float)
SCORE = rng.normal(size=ROWS) + Y
WEIGHT = rng.random(ROWS)


def in_parts(empty: Any, columns: tuple[Array, ...], order: tuple[int, ...]) -> Any:
    """Add the rows in four parts, one of them empty, and merge those in an order."""
    parts = []
    for start, stop in pairwise((0, 700, 700, 2_500, ROWS)):
        part = copy.deepcopy(empty)
        part.add(*(column[start:stop] for column in columns))
        parts.append(part)
    total = copy.deepcopy(empty)
    for number in order:
        total.merge(parts[number])
    return total


ORDERS = pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)], ids=str)


@ORDERS
def test_curves_are_exact_while_scores_have_bins(order: tuple[int, ...]) -> None:
    score = np.round(SCORE, 2)
    score[:40] = -0.0  # the same score as 0.0
    score[40] = 1e300
    curve = in_parts(ScoreCounts(), (Y, WEIGHT, score), order).curve()
    assert curve.threshold.tolist() == np.unique(score)[::-1].tolist()
    # an infinite threshold of scikit-learn's stands for the point (0, 0)
    fpr, tpr, _ = reference.roc_curve(Y, score, sample_weight=WEIGHT, drop_intermediate=False)
    found = curve.roc()
    np.testing.assert_allclose(np.stack(found)[:, : len(fpr)], [fpr, tpr], atol=1e-12)
    precision, recall, thresholds = reference.precision_recall_curve(Y, score, sample_weight=WEIGHT)
    # without the points that scikit-learn adds or leaves out: those behind recall 1, and (0, 1)
    inside = np.isin(curve.threshold, thresholds)
    np.testing.assert_allclose(curve.precision[inside], precision[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(curve.recall[inside], recall[:-1][::-1], atol=1e-12)
    at = 250
    positive = score >= curve.threshold[at]
    for beta in (1.0, 2.0):
        expected = reference.fbeta_score(Y, positive, beta=beta, sample_weight=WEIGHT)
        assert curve.f_measure(beta)[at] == pytest.approx(expected, rel=1e-12)


MOST = 500


@ORDERS
@pytest.mark.parametrize("shift", [0.0, 1e6, -1e6])
def test_many_scores_share_bins(order: tuple[int, ...], shift: float) -> None:
    score = SCORE + shift
    counts = in_parts(ScoreCounts(most=MOST), (Y, WEIGHT, score), order)
    assert 0.8 * MOST < len(counts.scores) <= MOST
    curve = counts.curve()
    assert (np.diff(curve.threshold) < 0.0).all()
    # a row is at most a few bins from its place, and a bin holds two parts of a class at most
    near = 4.0 / MOST
    for at in range(0, len(curve.threshold), 50):
        positive = score >= curve.threshold[at]
        for found, rows in ((curve.true, Y), (curve.false, 1.0 - Y)):
            assert abs(found[at] - WEIGHT @ (positive * rows)) < near * (WEIGHT @ rows)
    assert curve.true[-1] == pytest.approx(WEIGHT @ Y, rel=1e-12)
    exact = reference.roc_auc_score(Y, score, sample_weight=WEIGHT)
    assert abs(curve.area_under_roc - exact) < 1e-4


@pytest.mark.parametrize("kind", ["close together", "rare", "sorted"])
def test_areas_do_not_depend_on_where_scores_lie(kind: str) -> None:
    """Bins by rank: one row in fifty far away from all others left one bin for those once."""
    own = np.random.default_rng(7)
    rows = 40_000
    z = own.normal(size=rows)
    bias = -6.0 if kind == "rare" else -1.0
    y = (own.random(rows) < 1.0 / (1.0 + np.exp(-bias - 1.5 * z))).astype(float)
    far = own.random(rows) < 0.02
    score = np.where(far, 300.0 * z, -6.9 + 1e-3 * z) if kind == "close together" else z
    parts = np.array_split(np.argsort(score) if kind == "sorted" else np.arange(rows), 9)
    whole = ScoreCounts(most=MOST)
    for part in parts:
        mine = ScoreCounts(most=MOST)
        for chunk in np.array_split(part, 3):
            mine.add(y[chunk], np.ones(len(chunk)), score[chunk])
        whole.merge(mine)
    curve = whole.curve()
    assert abs(curve.area_under_roc - reference.roc_auc_score(y, score)) < 1.0 / MOST
    precision, recall, _ = reference.precision_recall_curve(y, score)
    expected = -trapezoid(precision[:-1], recall[:-1])
    # the curve of scikit-learn ends at (0, 1), that of MLlib at the first precision; between the
    # first rows of a rare class a bin of the other is wide
    near = 2e-2 if kind == "rare" else 2e-3
    assert abs(curve.area_under_precision_recall - expected) < near


@pytest.mark.parametrize("how", ["one after the other", "in pairs", "batches", "by label"])
@pytest.mark.parametrize(
    ("positives", "slope", "shape"),
    [
        (0.001, 3.0, "normal"),
        (0.015, 1.0, "weighted"),
        (0.3, 2.0, "normal"),
        (0.01, 2.0, "far"),
        (0.01, 2.0, "lump"),
        (0.01, 3.0, "certain"),
    ],
)
def test_areas_of_many_scores_are_exact_in_any_order(
    positives: float, slope: float, shape: str, how: str
) -> None:
    """Within 1e-5 of scikit-learn's; MLlib's area begins at the precision of the first rows."""
    own = np.random.default_rng(3)
    rows = 80_000
    score = own.normal(size=rows)
    bias = np.log(positives / (1.0 - positives)) - 0.5 * slope**2
    y = (own.random(rows) < 1.0 / (1.0 + np.exp(-bias - slope * score))).astype(float)
    weight = own.random(rows) if shape == "weighted" else np.ones(rows)
    if shape == "far":
        score = np.where(own.random(rows) < 0.01, 1e3, 1.0) * score
    elif shape == "lump":
        score[::7] = 1.0
    elif shape == "certain":
        score = 1.0 / (1.0 + np.exp(-20.0 * score))
    order = np.argsort(y, kind="stable") if how == "by label" else np.arange(rows)
    parts = [ScoreCounts() for _ in range(1 if how == "batches" else 24)]
    for number, chunk in enumerate(np.array_split(order, 24)):
        parts[number % len(parts)].add(y[chunk], weight[chunk], score[chunk])
    while len(parts) > 1:
        step = 2 if how == "in pairs" else len(parts)
        for start in range(0, len(parts), step):
            for other in parts[start + 1 : start + step]:
                parts[start].merge(other)
        parts = parts[::step]
    curve = parts[0].curve()
    assert len(parts[0].scores) <= 8_192
    expected = reference.roc_auc_score(y, score, sample_weight=weight)
    assert abs(curve.area_under_roc - expected) < 1e-5
    precision, recall, _ = reference.precision_recall_curve(y, score, sample_weight=weight)
    precision[-1] = precision[-2]
    assert abs(curve.area_under_precision_recall - reference.auc(recall, precision)) < 1e-5


def test_infinite_and_extreme_scores() -> None:
    extreme = np.concatenate([SCORE, [-np.inf, np.inf, -1e300, 1e300, 5e-324, 0.0]])
    y = np.append(Y, np.ones(6))
    for most in (3, 100):
        counts = ScoreCounts(most=most)
        for rows in np.array_split(rng.permutation(len(y)), 7):
            counts.add(y[rows], np.ones(len(rows)), extreme[rows])
        curve = counts.curve()
        assert len(counts.scores) <= most
        assert len(curve.threshold) < 2 * most  # each score, and what lies between two
        assert (np.diff(curve.threshold) < 0.0).all()
        totals = y.sum(), (1.0 - y).sum()
        assert (curve.true[-1], curve.false[-1]) == pytest.approx(totals, rel=1e-12)


def test_rows_without_weight_have_no_part() -> None:
    counts = ScoreCounts(most=10)
    counts.add(Y[:100], np.zeros(100), SCORE[:100])
    counts.add(Y, WEIGHT, SCORE)
    curve = counts.curve()
    assert curve.true[-1] + curve.false[-1] == pytest.approx(WEIGHT.sum(), rel=1e-12)


def test_one_class() -> None:
    counts = ScoreCounts()
    counts.add(np.ones(3), np.ones(3), np.array([1.0, 2.0, 3.0]))
    # rates as MLlib's BinaryClassificationMetrics
    assert counts.curve().fallout.tolist() == [0.0, 0.0, 0.0]
    # it has areas of 1 and 0 here; scikit-learn's roc_auc_score says NaN, and why
    assert np.isnan(counts.curve().area_under_roc)
    assert np.isnan(counts.curve().area_under_precision_recall)
    # a row without weight makes no class
    counts.add(np.zeros(1), np.zeros(1), np.array([2.5]))
    assert np.isnan(counts.curve().area_under_roc)
    counts = ScoreCounts()
    assert np.isnan(counts.curve().area_under_roc)
    counts.add(np.zeros(3), np.ones(3), np.array([1.0, 2.0, 3.0]))
    assert np.isnan(counts.curve().area_under_roc)
    assert np.isnan(counts.curve().area_under_precision_recall)
    assert counts.curve().recall.tolist() == [0.0, 0.0, 0.0]
    assert counts.curve().precision.tolist() == [0.0, 0.0, 0.0]


@ORDERS
def test_classes(order: tuple[int, ...]) -> None:
    y = rng.integers(0, 4, ROWS).astype(float)
    found = np.where(rng.random(ROWS) < 0.5, y, rng.integers(0, 6, ROWS)).astype(float)
    counts = in_parts(ClassCounts(), (y, WEIGHT, found), order)
    classes, matrix = counts.matrix()
    assert classes.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    expected = reference.confusion_matrix(y, found, sample_weight=WEIGHT)
    np.testing.assert_allclose(matrix, expected, rtol=1e-12)
    metrics = counts.metrics()
    assert metrics.labels.tolist() == [0.0, 1.0, 2.0, 3.0]  # those of rows, as in MLlib
    precision, recall, f2, support = reference.precision_recall_fscore_support(
        y, found, beta=2.0, labels=range(4), sample_weight=WEIGHT
    )
    np.testing.assert_allclose(metrics.precision, precision, rtol=1e-12)
    np.testing.assert_allclose(metrics.recall, recall, rtol=1e-12)
    np.testing.assert_allclose(f_measure(metrics.precision, metrics.recall, 2.0), f2, rtol=1e-12)
    np.testing.assert_allclose(metrics.truly, support, rtol=1e-12)
    for label, fallout in enumerate(metrics.fallout):
        others = y != label
        wrong = WEIGHT[others] @ (found[others] == label) / WEIGHT[others].sum()
        assert fallout == pytest.approx(wrong, rel=1e-12)
    accuracy = reference.accuracy_score(y, found, sample_weight=WEIGHT)
    assert metrics.accuracy == pytest.approx(accuracy, rel=1e-12)
    assert metrics.weighted(metrics.recall) == pytest.approx(accuracy, rel=1e-12)


def test_a_label_without_a_class_has_probability_zero() -> None:
    probability = np.array([[0.25, 0.75], [0.5, 0.5]])
    found = log_loss(np.array([1.0, 2.0]), np.array([1.0, 2.0]), probability)
    assert found == pytest.approx(-np.log(0.75) - 2.0 * np.log(1e-15))


@ORDERS
@pytest.mark.parametrize("weight", [np.ones(ROWS), WEIGHT], ids=["", "weighted"])
def test_residuals(order: tuple[int, ...], weight: Array) -> None:
    y = SCORE + 1e5
    found = y + 0.3 * rng.normal(size=ROWS) + 0.1
    sums = in_parts(ResidualSums(), (y, weight, found), order)
    how: dict[str, Any] = {"sample_weight": weight}
    assert sums.rows == ROWS
    expected = reference.mean_squared_error(y, found, **how)
    assert sums.mean_squared_error == pytest.approx(expected, rel=1e-9)
    expected = reference.mean_absolute_error(y, found, **how)
    assert sums.mean_absolute_error == pytest.approx(expected, rel=1e-9)
    assert sums.r2() == pytest.approx(reference.r2_score(y, found, **how), rel=1e-9)
    about_zero = 1.0 - weight @ (y - found) ** 2 / (weight @ y**2)
    assert sums.r2(through_origin=True) == pytest.approx(about_zero, rel=1e-12)
    explained = np.average((found - np.average(y, weights=weight)) ** 2, weights=weight)
    assert sums.explained_variance == pytest.approx(explained, rel=1e-9)
    scaled = np.sqrt(weight) * (y - found)
    assert (sums.low, sums.high) == (scaled.min(), scaled.max())


@pytest.mark.parametrize("label", [0.1, 1e9, 0.0])
def test_labels_that_do_not_vary_have_no_r2(label: float) -> None:
    """By scikit-learn's r2_score that of one row is NaN; sums of equal labels are not exact."""
    sums = ResidualSums()
    assert np.isnan(sums.r2())
    sums.add(np.array([label]), np.array([3.0]), np.array([0.7]))
    assert np.isnan(sums.r2())
    for weight in (0.1, 0.3):
        other = ResidualSums()
        other.add(np.full(3, label), np.full(3, weight), np.array([0.7, 0.1, 0.2]))
        sums.merge(other)
    other = ResidualSums()
    other.add(np.array([label + 1.0]), np.zeros(1), np.array([0.7]))  # counts for nothing
    assert np.isnan(sums.merge(other).r2())
    # about 0 they vary, unless all of them are 0: 1 - sum v (y - f)^2 / sum v y^2
    assert np.isnan(sums.r2(through_origin=True)) == (label == 0.0)


def test_a_sample_is_uniform() -> None:
    sample = RowSample(size=400)
    parts = [RowSample(size=400) for _ in range(3)]
    # of sorted rows too: a sample of the first of them would show
    for part, rows in zip(parts, np.array_split(np.argsort(SCORE), 3), strict=True):
        part.add((SCORE[rows], Y[rows]))
        sample.merge(part)
    assert sample.rows == ROWS
    assert sample.values.shape == (400, 2)
    pairs = set(zip(SCORE.tolist(), Y.tolist(), strict=True))
    assert all(tuple(row) in pairs for row in sample.values.tolist())
    assert stats.ks_2samp(sample.values[:, 0], SCORE).pvalue > 0.01
    few = RowSample(size=400)
    few.add((SCORE[:5], Y[:5]))
    assert sorted(few.values[:, 0]) == sorted(SCORE[:5])
