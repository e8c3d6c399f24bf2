"""Metrics as sums over rows, beside scikit-learn's."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as reference

from sparkml_lsml.engine.metrics.measures import Confusion, Measure, Ranking, Residuals

Array = npt.NDArray[np.float64]

rng = np.random.default_rng(0)
ROWS = 4_000
Y = (rng.random(ROWS) < 0.3).astype(float)
RAW = np.round(rng.normal(size=ROWS) + Y, 1)  # with ties, and zeros of both signs
RAW[:50] = -0.0
CLASSES = rng.integers(0, 4, size=ROWS).astype(float)
FOUND = np.where(rng.random(ROWS) < 0.6, CLASSES, rng.integers(0, 5, size=ROWS)).astype(float)
WEIGHT = rng.random(ROWS) * (rng.random(ROWS) < 0.9)
_RAW_SCORES = {"raw": np.stack([-RAW, RAW], axis=1)}
PROBABILITY = rng.dirichlet(np.ones(5), size=ROWS)

both_weights = pytest.mark.parametrize("weight", [np.ones(ROWS), WEIGHT], ids=["", "weighted"])


def measured(measure: Any, y: Array, weight: Array, scores: dict[str, Array]) -> float:
    """Add the rows in three parts that are merged, one of them empty."""
    parts: list[Measure] = []
    for rows in (slice(0, 1_000), slice(1_000, 1_000), slice(1_000, ROWS)):
        part = copy.deepcopy(measure)
        if rows.start != rows.stop:
            part.add(y[rows], weight[rows], {name: score[rows] for name, score in scores.items()})
        parts.append(part)
    return parts[1].merge(parts[0]).merge(parts[2]).value()


@both_weights
def test_areas_under_curves(weight: Array) -> None:
    scores = {"raw": np.stack([-RAW, RAW], axis=1)}
    found = measured(Ranking("areaUnderROC"), Y, weight, scores)
    assert found == pytest.approx(reference.roc_auc_score(Y, RAW, sample_weight=weight), rel=1e-12)
    found = measured(Ranking("areaUnderPR"), Y, weight, scores)
    precision, recall, _ = reference.precision_recall_curve(Y, RAW, sample_weight=weight)
    # MLlib's curve begins with the precision of the highest scores, scikit-learn's with 1
    precision[-1] = precision[-2]
    assert found == pytest.approx(reference.auc(recall, precision), rel=1e-12)


def test_many_classes_take_room_on_their_way() -> None:
    classes = 100
    measure = Confusion("accuracy")
    pairs = np.divmod(np.arange(classes**2), classes)
    measure.add(pairs[0] + 0.0, np.ones(classes**2), {"prediction": pairs[1] + 0.0})
    assert len(pickle.dumps(measure)) <= measure.nbytes(classes) < 2 * len(pickle.dumps(measure))
    assert Confusion("accuracy").nbytes(2) == Residuals("rmse").nbytes(1) == 0


def test_scores_close_together_are_ranked_well() -> None:
    raw = rng.normal(size=ROWS) * 1e-3 + Y * 1e-3 + 1.0
    found = measured(Ranking("areaUnderROC"), Y, np.ones(ROWS), {"raw": np.stack([-raw, raw], 1)})
    assert found == pytest.approx(reference.roc_auc_score(Y, raw), abs=1e-12)
    raw = rng.normal(size=ROWS) + Y
    found = measured(Ranking("areaUnderROC"), Y, np.ones(ROWS), {"raw": np.stack([-raw, raw], 1)})
    assert found == pytest.approx(reference.roc_auc_score(Y, raw), abs=1e-5)


@both_weights
def test_metrics_of_classes(weight: Array) -> None:
    def found(metric: str, beta: float = 1.0) -> float:
        scores = {"prediction": FOUND, "probability": PROBABILITY}
        return measured(Confusion(metric, beta), CLASSES, weight, scores)

    how: dict[str, Any] = {"sample_weight": weight, "average": "weighted", "zero_division": 0}
    accuracy = reference.accuracy_score(CLASSES, FOUND, sample_weight=weight)
    assert found("accuracy") == pytest.approx(accuracy, rel=1e-12)
    assert found("hammingLoss") == pytest.approx(1.0 - accuracy, rel=1e-12)
    precision = reference.precision_score(CLASSES, FOUND, **how)
    assert found("weightedPrecision") == pytest.approx(precision, rel=1e-12)
    recall = reference.recall_score(CLASSES, FOUND, **how)
    assert found("weightedRecall") == pytest.approx(recall, rel=1e-12)
    f1 = reference.f1_score(CLASSES, FOUND, **how)
    assert found("f1", beta=2.0) == pytest.approx(f1, rel=1e-12)
    f2 = reference.fbeta_score(CLASSES, FOUND, beta=2.0, **how)
    assert found("weightedFMeasure", beta=2.0) == pytest.approx(f2, rel=1e-12)
    loss = reference.log_loss(CLASSES, PROBABILITY, sample_weight=weight, labels=range(5))
    assert found("logLoss") == pytest.approx(loss, rel=1e-12)


@both_weights
def test_metrics_of_a_regression(weight: Array) -> None:
    y = RAW + 1e6
    prediction = y + rng.normal(size=ROWS)
    wanted = {
        "mse": reference.mean_squared_error(y, prediction, sample_weight=weight),
        "rmse": reference.mean_squared_error(y, prediction, sample_weight=weight) ** 0.5,
        "mae": reference.mean_absolute_error(y, prediction, sample_weight=weight),
        "r2": reference.r2_score(y, prediction, sample_weight=weight),
    }
    for metric, value in wanted.items():
        found = measured(Residuals(metric), y, weight, {"prediction": prediction})
        assert found == pytest.approx(value, rel=1e-9), metric


def test_what_rows_do_not_define_is_no_number() -> None:
    """Areas need weight of both classes, r2 labels that vary, and every metric some weight."""
    row = np.array([1.0])
    scores = {"raw": np.array([[-0.3, 0.3]]), "prediction": row, "probability": np.eye(2)[1:]}
    for metric in ("areaUnderROC", "areaUnderPR"):
        assert np.isnan(measured(Ranking(metric), np.ones(ROWS), np.ones(ROWS), _RAW_SCORES))
        assert np.isnan(measured(Ranking(metric), Y, Y, _RAW_SCORES))  # class 0 has no weight
    assert np.isnan(measured(Residuals("r2"), np.full(ROWS, 0.1), np.ones(ROWS), {"prediction": Y}))
    confusion = [partial(Confusion, name) for name in ("accuracy", "f1", "logLoss", "hammingLoss")]
    residuals = [partial(Residuals, name) for name in ("rmse", "mse", "mae", "r2")]
    measures: list[Any] = [*confusion, *residuals, partial(Ranking, "areaUnderROC")]
    for make in measures:
        assert np.isnan(make().value())
        weightless = make()
        weightless.add(row, np.zeros(1), scores)
        assert np.isnan(weightless.value())
