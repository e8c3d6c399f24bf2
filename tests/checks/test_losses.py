"""The contract of a loss, checked for every loss that `sparkml_lsml.losses` lists."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from sparkml_lsml.losses import Loss
from tests.checks.references import FORMULAS, exact
from tests.checks.registry import (
    KINKED,
    LOSSES,
    SMOOTH,
    Array,
    domain,
    draw_labels,
    draw_raw,
)

every_loss = pytest.mark.parametrize("cls", LOSSES)

LINEAR = {"hinge", "huber", "logistic", "multinomial", "smoothedHinge"}
"""Losses that grow linearly, so that they are finite wherever their arguments are."""


def problem(cls: type, seed: int = 0, rows: int = 40, models: int = 3) -> tuple[Loss, Array, Array]:
    rng = np.random.default_rng(seed)
    loss: Loss = cls()
    return loss, draw_labels(loss, rng, rows), draw_raw(loss, rng, rows, models)


def test_the_losses_of_the_package_are_found() -> None:
    assert len(LOSSES) >= 6
    assert set(LOSSES) == set(SMOOTH) | set(KINKED)
    assert len({cls().name for cls in LOSSES}) == len(LOSSES)


@every_loss
def test_loss_follows_the_protocol_and_is_frozen(cls: type) -> None:
    loss = cls()
    assert isinstance(loss, Loss)
    assert loss.name
    assert isinstance(loss.constants, tuple)
    assert loss.curvature > 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.name = "other"


@every_loss
def test_loss_survives_pickling(cls: type) -> None:
    loss, y, raw = problem(cls)
    again = pickle.loads(pickle.dumps(loss))
    assert again == loss
    assert hash(again) == hash(loss)
    for ours, theirs in zip(
        loss.value_and_derivative(y, raw), again.value_and_derivative(y, raw), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@every_loss
@pytest.mark.parametrize(("rows", "models"), [(0, 1), (0, 3), (1, 1), (1, 4), (7, 1), (7, 5)])
def test_shapes_and_types(cls: type, rows: int, models: int) -> None:
    loss, y, raw = problem(cls, rows=rows, models=models)
    value, derivative = loss.value_and_derivative(y, raw)
    assert (value.shape, value.dtype) == ((rows, models), np.float64)
    assert (derivative.shape, derivative.dtype) == (raw.shape, np.float64)


@every_loss
def test_arguments_are_left_alone(cls: type) -> None:
    loss, y, raw = problem(cls)
    before = y.copy(), raw.copy()
    y.flags.writeable = raw.flags.writeable = False
    loss.value_and_derivative(y, raw)
    np.testing.assert_array_equal(y, before[0])
    np.testing.assert_array_equal(raw, before[1])


@every_loss
def test_models_and_rows_do_not_mix(cls: type) -> None:
    loss, y, raw = problem(cls, rows=9, models=4)
    value, derivative = loss.value_and_derivative(y, raw)
    for model in range(4):
        alone = loss.value_and_derivative(y, raw[:, model : model + 1])
        np.testing.assert_array_equal(value[:, model : model + 1], alone[0])
        np.testing.assert_array_equal(derivative[:, model : model + 1], alone[1])
    for row in range(9):
        alone = loss.value_and_derivative(y[row : row + 1], raw[row : row + 1])
        np.testing.assert_array_equal(value[row : row + 1], alone[0])
        np.testing.assert_array_equal(derivative[row : row + 1], alone[1])


@every_loss
def test_memory_order_of_the_raw_predictions_does_not_matter(cls: type) -> None:
    loss, y, raw = problem(cls)
    for ours, theirs in zip(
        loss.value_and_derivative(y, raw),
        loss.value_and_derivative(y, np.asfortranarray(raw)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_derivative_is_the_central_difference(cls: type, seed: int) -> None:
    loss, y, raw = problem(cls, seed)
    derivative = loss.value_and_derivative(y, raw)[1]
    step = 1e-6
    for k in range(raw.shape[2]):
        move = step * (np.arange(raw.shape[2]) == k)
        up, down = (loss.value_and_derivative(y, raw + sign * move)[0] for sign in (1.0, -1.0))
        np.testing.assert_allclose((up - down) / (2 * step), derivative[:, :, k], atol=1e-8)


def points(loss: Loss) -> list[tuple[float, Array]]:
    """Labels and raw predictions of single rows, ordinary and extreme, none of them at a kink."""
    rng = np.random.default_rng(7)
    sizes = (1e-9, 1e-3, 0.3, 3.0, 30.0, 36.7, 300.0, 745.2, 1e3, 1e6)
    found = []
    for size in sizes:
        for _ in range(4):
            y = draw_labels(loss, rng, 1)
            raw = draw_raw(loss, rng, 1, 1)[0, 0]
            outputs = domain(loss).outputs
            raw[:outputs] = size * rng.choice([-1.0, 1.0], size=outputs) * (1 + rng.random(outputs))
            found.append((float(y[0]), raw))
    return found


@every_loss
def test_value_and_derivative_agree_with_sixty_digits(cls: type) -> None:
    loss = cls()
    assert loss.name in FORMULAS, f"write the formula of {loss.name} into references.py"
    for y, raw in points(loss):
        value, derivative = loss.value_and_derivative(np.array([y]), raw[None, None, :])
        expected, slopes = exact(loss.name, y, raw)
        np.testing.assert_allclose(value[0, 0], expected, rtol=1e-14, atol=1e-15, err_msg=str(raw))
        np.testing.assert_allclose(derivative[0, 0], slopes, rtol=1e-14, atol=1e-15)


def test_logistic_keeps_all_digits_of_a_tiny_loss() -> None:
    # log(1 + e^-m) and 1 / (1 + e^m) have no digits left at m = 40 if 1 is added first
    [cls] = [cls for cls in LOSSES if cls().name == "logistic"]
    for m in (1.0, 20.0, 40.0, 100.0, 700.0):
        for y in (0.0, 1.0):
            raw = np.array([(2.0 * y - 1.0) * m])
            value, derivative = cls().value_and_derivative(np.array([y]), raw[None, None, :])
            expected, slopes = exact("logistic", y, raw)
            assert value[0, 0] == pytest.approx(expected, rel=1e-13, abs=0.0)
            assert derivative[0, 0, 0] == pytest.approx(slopes[0], rel=1e-13, abs=0.0)


def test_softmax_keeps_all_digits_of_a_tiny_loss() -> None:
    # p - 1 and the logarithm of a sum of 1 and less than 1e-16 have none from m = 37 on
    [cls] = [cls for cls in LOSSES if cls().name == "multinomial"]
    for m in (1.0, 20.0, 40.0, 100.0, 300.0):
        for y in range(3):
            raw = np.array([0.5, -0.25, 0.0])
            raw[y] += m
            value, derivative = cls().value_and_derivative(np.array([float(y)]), raw[None, None, :])
            expected, slopes = exact("multinomial", float(y), raw, digits=700)
            assert value[0, 0] == pytest.approx(expected, rel=1e-13, abs=0.0)
            np.testing.assert_allclose(derivative[0, 0], slopes, rtol=1e-13, atol=0.0)


@every_loss
@pytest.mark.parametrize("size", [1e3, -1e3, 1e8, -1e8, 1e150, -1e150])
def test_large_predictions_are_exact_and_warn_of_nothing(cls: type, size: float) -> None:
    check_extreme(cls(), size)


@pytest.mark.parametrize("cls", [cls for cls in LOSSES if cls().name in LINEAR])
@pytest.mark.parametrize("size", [1e300, -1e300])
def test_losses_that_grow_linearly_bear_predictions_near_the_largest_number(
    cls: type, size: float
) -> None:
    check_extreme(cls(), size)


@pytest.mark.parametrize("cls", [cls for cls in LOSSES if cls().name not in LINEAR])
@pytest.mark.parametrize("size", [1e300, -1e300])
def test_a_value_beyond_the_largest_number_is_infinite_and_its_derivative_exact(
    cls: type, size: float
) -> None:
    loss = cls()
    y = draw_labels(loss, np.random.default_rng(0), 6)
    raw = np.full((6, 1, 1), size)
    with np.errstate(over="ignore", invalid="raise", divide="raise"):
        value, derivative = loss.value_and_derivative(y, raw)
    for row in range(6):
        _, slopes = exact(loss.name, float(y[row]), raw[row, 0], digits=700)
        np.testing.assert_allclose(derivative[row, 0], slopes, rtol=1e-13)
        assert value[row, 0] == (np.inf if slopes[0] else 0.0)


@pytest.mark.parametrize("size", [0.0, 0.7, 37.0, 1e3, 1e8, 1e300])
def test_logarithms_of_probabilities_are_those_of_scipy(size: float) -> None:
    found = {cls().name: cls() for cls in LOSSES}
    for sign in (-1.0, 1.0):
        value, _ = found["logistic"].value_and_derivative(
            np.ones(1), np.full((1, 1, 1), sign * size)
        )
        assert value[0, 0] == pytest.approx(-special.log_expit(sign * size), rel=1e-14)
    raw = size * np.array([[[1.0, -1.0, 0.5]]])
    for label in range(3):
        value, derivative = found["multinomial"].value_and_derivative(np.array([float(label)]), raw)
        wanted = special.logsumexp(raw[0, 0]) - raw[0, 0, label]
        # SciPy's sum has the digits of the largest output, and the difference no more
        assert value[0, 0] == pytest.approx(wanted, rel=1e-14, abs=2e-16 * max(size, 5.0))
        probability = derivative[0, 0] + (np.arange(3) == label)
        np.testing.assert_allclose(probability, special.softmax(raw[0, 0]), rtol=1e-14, atol=1e-16)


def check_extreme(loss: Loss, size: float) -> None:
    rng = np.random.default_rng(0)
    y = draw_labels(loss, rng, 6)
    raw = draw_raw(loss, rng, 6, 2)
    raw[:, :, 0] = size
    value, derivative = loss.value_and_derivative(y, raw)
    for row in range(6):
        for model in range(2):
            expected, slopes = exact(loss.name, float(y[row]), raw[row, model], digits=400)
            np.testing.assert_allclose(value[row, model], expected, rtol=1e-13)
            np.testing.assert_allclose(derivative[row, model], slopes, rtol=1e-13, atol=1e-15)


@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_loss_is_convex_along_random_lines(cls: type, seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss, y, start = problem(cls, seed, rows=200)
    end = draw_raw(loss, rng, 200, 3, size=5.0)
    at_start, at_end = (loss.value_and_derivative(y, raw)[0] for raw in (start, end))
    for share in (0.1, 0.5, 0.8):
        between = loss.value_and_derivative(y, (1.0 - share) * start + share * end)[0]
        chord = (1.0 - share) * at_start + share * at_end
        assert (between <= chord + 1e-12 * (1.0 + np.abs(chord))).all()


@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_derivative_is_a_subgradient(cls: type, seed: int) -> None:
    # f(b) >= f(a) + f'(a) (b - a) also holds at a kink, where a central difference says nothing
    rng = np.random.default_rng(seed)
    loss, y, start = problem(cls, seed, rows=200)
    end = draw_raw(loss, rng, 200, 3)
    start[::4, :, 0] = (2.0 * y[::4] - 1.0)[:, None]  # margin 1: the kink of hinge losses
    value, derivative = loss.value_and_derivative(y, start)
    tangent = value + (derivative * (end - start)).sum(axis=2)
    assert (loss.value_and_derivative(y, end)[0] >= tangent - 1e-12 * (1.0 + np.abs(tangent))).all()


@pytest.mark.parametrize("cls", [cls for cls in LOSSES if np.isfinite(cls().curvature)])
def test_curvature_bounds_the_change_of_the_derivative(cls: type) -> None:
    loss = cls()
    rng = np.random.default_rng(1)
    y = draw_labels(loss, rng, 400)
    start = draw_raw(loss, rng, 400, 3)
    move = 10.0 ** rng.uniform(-4, 0, size=(400, 3, 1)) * rng.normal(size=start.shape)
    slopes = [loss.value_and_derivative(y, raw)[1] for raw in (start, start + move)]
    change = np.linalg.norm(slopes[1] - slopes[0], axis=2)
    assert (change <= loss.curvature * np.linalg.norm(move, axis=2) * (1 + 1e-9)).all()
    # and it is no looser than the steepest bend of a binary loss by more than rounding
    if domain(loss).outputs == 1:
        assert (change / np.linalg.norm(move, axis=2)).max() >= 0.9 * loss.curvature


@every_loss
def test_smooth_says_whether_the_derivative_jumps(cls: type) -> None:
    loss = cls()
    step = 1e-6
    grid = np.arange(-3.0, 3.0, step * 1000)
    kinks = np.array([-1.35, -1.0, 0.0, 1.0, 1.35])
    places = np.concatenate([grid, *(kinks + shift * step for shift in (-0.5, 0.0, 0.5))])
    largest = 0.0
    for label in (0.0, 1.0):
        raw = np.zeros((len(places), 1, domain(loss).outputs + len(loss.constants)))
        raw[:, 0, 0] = places
        raw[:, 0, domain(loss).outputs :] = 1.0
        y = np.full(len(places), label)
        ahead = raw.copy()
        ahead[:, :, 0] += step
        jump = loss.value_and_derivative(y, ahead)[1] - loss.value_and_derivative(y, raw)[1]
        largest = max(largest, float(np.abs(jump).max()))
    assert (largest < 1e-4) if loss.smooth else (largest > 0.1)


@pytest.mark.parametrize("cls", [cls for cls in LOSSES if "scale" in cls().constants])
def test_a_scale_that_is_not_positive_costs_infinitely_much(cls: type) -> None:
    loss, y, raw = problem(cls)
    raw[:, 0, -1], raw[:, 1, -1] = 0.0, -1.0
    value, derivative = loss.value_and_derivative(y, raw)
    assert np.isposinf(value[:, :2]).all()
    assert np.isfinite(value[:, 2]).all()
    assert not np.isnan(derivative).any()


def mean_log_loss(y: Array, raw: Array) -> float:
    probability = np.stack([special.expit(-raw[:, 0]), special.expit(raw[:, 0])], axis=1)
    return float(metrics.log_loss(y, probability, labels=[0, 1]))


def mean_softmax_loss(y: Array, raw: Array) -> float:
    return float(metrics.log_loss(y, special.softmax(raw, axis=1), labels=[0, 1, 2]))


def mean_huber(y: Array, raw: Array) -> float:
    # SciPy's is half of the H of Owen's formula
    scale = raw[:, 1]
    h = 2.0 * special.huber(1.35, (raw[:, 0] - y) / scale)
    return float(np.mean(0.5 * (scale + h * scale)))


LIBRARIES: dict[str, Callable[[Array, Array], float]] = {
    "hinge": lambda y, raw: float(metrics.hinge_loss(y, raw[:, 0], labels=[0, 1])),
    "huber": mean_huber,
    "logistic": mean_log_loss,
    "multinomial": mean_softmax_loss,
    "squaredError": lambda y, raw: 0.5 * float(metrics.mean_squared_error(y, raw[:, 0])),
}


@pytest.mark.parametrize("cls", [cls for cls in LOSSES if cls().name in LIBRARIES])
def test_mean_loss_is_that_of_scikit_learn_or_scipy(cls: type) -> None:
    loss, y, raw = problem(cls, rows=60, models=1)
    mean = float(loss.value_and_derivative(y, raw)[0].mean())
    assert mean == pytest.approx(LIBRARIES[loss.name](y, raw[:, 0]), rel=1e-12)


def test_multinomial_of_two_classes_is_logistic() -> None:
    found = {cls().name: cls() for cls in LOSSES}
    rng = np.random.default_rng(3)
    y, raw = rng.integers(2, size=50).astype(float), 3.0 * rng.normal(size=(50, 2, 2))
    value, derivative = found["multinomial"].value_and_derivative(y, raw)
    difference = raw[:, :, 1:] - raw[:, :, :1]
    expected, slope = found["logistic"].value_and_derivative(y, difference)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(derivative, np.concatenate([-slope, slope], axis=2), atol=1e-15)


@pytest.mark.parametrize("epsilon", [1.01, 1.35, 3.0])
def test_huber_uses_its_epsilon(epsilon: float) -> None:
    [cls] = [cls for cls in LOSSES if cls().name == "huber"]
    loss, y, raw = problem(cls, rows=80)
    loss = cls(epsilon=epsilon)
    value, derivative = loss.value_and_derivative(y, raw)
    z = (raw[:, :, 0] - y[:, None]) / raw[:, :, 1]
    scale = raw[:, :, 1]
    np.testing.assert_allclose(value, 0.5 * scale + scale * special.huber(epsilon, z), rtol=1e-13)
    np.testing.assert_allclose(derivative[:, :, 0], np.clip(z, -epsilon, epsilon), rtol=1e-13)
