"""The contract of a penalty, checked for every one that `sparkml_lsml.engine.penalties` lists."""

from __future__ import annotations

import dataclasses
import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize

from sparkml_lsml.engine.penalties import L1, L2, ElasticNet, Penalty
from tests.checks.registry import PENALTIES, Array, make_penalty

every_penalty = pytest.mark.parametrize("cls", PENALTIES)

SIZE = 7
FREE = 4
"""A coordinate that is not penalised, as an intercept is not."""


def random_penalty(cls: type, seed: int = 0) -> ElasticNet:
    """Draw strengths a coordinate; the one at FREE is 0."""
    rng = np.random.default_rng(seed)

    def strengths(name: str) -> Array:
        drawn = rng.uniform(0.1, 2.0, size=SIZE)
        drawn[FREE] = 0.0
        return drawn

    return make_penalty(cls, strengths)


def points(seed: int = 1, number: int = 20) -> Array:
    found = 2.0 * np.random.default_rng(seed).normal(size=(number, SIZE))
    found[::3, 2] = 0.0
    return found


def strengths(penalty: ElasticNet) -> tuple[Array, Array]:
    return (
        np.broadcast_to(np.asarray(penalty.l1(), dtype=float), (SIZE,)),
        np.broadcast_to(np.asarray(penalty.l2(), dtype=float), (SIZE,)),
    )


def test_the_penalties_of_the_package_are_found() -> None:
    assert {L1, L2, ElasticNet} <= set(PENALTIES)


@every_penalty
def test_penalty_follows_the_protocol_and_is_frozen(cls: type) -> None:
    penalty = random_penalty(cls)
    assert isinstance(penalty, Penalty)
    with pytest.raises(dataclasses.FrozenInstanceError):
        penalty.l1_strength = 1.0  # type: ignore[misc]


@every_penalty
def test_penalty_survives_pickling(cls: type) -> None:
    penalty, coef = random_penalty(cls), points()[0]
    again = pickle.loads(pickle.dumps(penalty))
    assert type(again) is cls
    assert again.value(coef) == penalty.value(coef)
    np.testing.assert_array_equal(again.prox(coef, 0.3), penalty.prox(coef, 0.3))


@pytest.mark.parametrize(
    ("penalty", "value", "gradient", "prox"),
    [
        # by hand at (-3, 0.5) with a step of 2
        (L1(1.5), 5.25, [0.0, 0.0], [0.0, 0.0]),
        (L1(0.2), 0.7, [0.0, 0.0], [-2.6, 0.1]),
        (L2(4.0), 18.5, [-12.0, 2.0], [-3.0, 0.5]),
        (ElasticNet(0.2, 4.0), 19.2, [-12.0, 2.0], [-2.6, 0.1]),
        (ElasticNet(np.array([0.2, 0.0]), np.array([0.0, 4.0])), 1.1, [0.0, 2.0], [-2.6, 0.5]),
    ],
)
def test_values_by_hand(
    penalty: ElasticNet, value: float, gradient: list[float], prox: list[float]
) -> None:
    coef = np.array([-3.0, 0.5])
    assert penalty.value(coef) == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(penalty.smooth_value_and_gradient(coef)[1], gradient, rtol=1e-14)
    np.testing.assert_allclose(penalty.prox(coef, 2.0), prox, rtol=1e-14, atol=1e-15)


@every_penalty
def test_value_is_the_sum_over_coordinates(cls: type) -> None:
    penalty = random_penalty(cls)
    l1, l2 = strengths(penalty)
    for coef in points():
        expected = sum(0.5 * b * w * w + a * abs(w) for a, b, w in zip(l1, l2, coef, strict=True))
        assert penalty.value(coef) == pytest.approx(expected, rel=1e-13)


@every_penalty
def test_gradient_is_the_central_difference_of_the_smooth_value(cls: type) -> None:
    penalty, step = random_penalty(cls), 1e-5
    for coef in points():
        gradient = penalty.smooth_value_and_gradient(coef)[1]
        for j, direction in enumerate(np.eye(SIZE)):
            up, down = (
                penalty.smooth_value_and_gradient(coef + sign * step * direction)[0]
                for sign in (1.0, -1.0)
            )
            assert gradient[j] == pytest.approx((up - down) / (2.0 * step), abs=1e-8)


@every_penalty
def test_smooth_part_and_l1_part_make_up_the_value(cls: type) -> None:
    penalty = random_penalty(cls)
    l1, _ = strengths(penalty)
    for coef in points():
        smooth = penalty.smooth_value_and_gradient(coef)[0]
        assert penalty.value(coef) == pytest.approx(smooth + float(l1 @ np.abs(coef)), rel=1e-13)


@every_penalty
def test_penalty_is_convex_not_negative_and_zero_at_zero(cls: type) -> None:
    penalty = random_penalty(cls)
    assert penalty.value(np.zeros(SIZE)) == 0.0
    starts, ends = points(2), points(3)
    for start, end in zip(starts, ends, strict=True):
        chord = 0.5 * (penalty.value(start) + penalty.value(end))
        assert 0.0 <= penalty.value(0.5 * (start + end)) <= chord * (1.0 + 1e-12)


@every_penalty
@pytest.mark.parametrize("step", [1e-3, 0.4, 3.0])
def test_prox_is_the_minimum_that_a_scalar_minimiser_finds(cls: type, step: float) -> None:
    penalty = random_penalty(cls)
    l1, _ = strengths(penalty)
    for coef in points(number=6):
        moved = penalty.prox(coef, step)
        for j in range(SIZE):
            center, threshold = float(coef[j]), step * float(l1[j])

            def cost(u: float, center: float = center, threshold: float = threshold) -> float:
                return 0.5 * (u - center) ** 2 + threshold * abs(u)

            reach = abs(center) + 1.0
            found = optimize.minimize_scalar(
                cost, bounds=(-reach, reach), method="bounded", options={"xatol": 1e-12}
            )
            # flat near the minimum, so the value is the sharper test
            assert cost(float(moved[j])) <= found.fun + 1e-15
            assert moved[j] == pytest.approx(found.x, abs=1e-6)


@every_penalty
@given(
    coef=hnp.arrays(np.float64, SIZE, elements=st.floats(-1e6, 1e6)),
    step=st.floats(1e-6, 1e3),
)
@settings(max_examples=60, deadline=None)
def test_prox_meets_its_optimality_condition(cls: type, coef: Array, step: float) -> None:
    # 0 is in u - c + step * l1 * sign(u): equality off zero, an interval at zero
    penalty = random_penalty(cls)
    l1, _ = strengths(penalty)
    moved = penalty.prox(coef, step)
    threshold = step * l1
    slack = 1e-12 * (1.0 + np.abs(coef) + threshold)
    residual = coef - moved
    off = moved != 0.0
    assert (np.abs(residual - threshold * np.sign(moved))[off] <= slack[off]).all()
    assert (np.abs(residual)[~off] <= (threshold + slack)[~off]).all()


@every_penalty
def test_prox_never_spreads_points(cls: type) -> None:
    penalty = random_penalty(cls)
    for left, right in zip(points(4), points(5), strict=True):
        gap = np.linalg.norm(penalty.prox(left, 0.7) - penalty.prox(right, 0.7))
        assert gap <= np.linalg.norm(left - right) * (1.0 + 1e-12)


@every_penalty
def test_a_strong_l1_part_gives_exact_zeros_and_no_other_part_does(cls: type) -> None:
    penalty = random_penalty(cls)
    l1, _ = strengths(penalty)
    moved = penalty.prox(points()[1], 1e6)
    np.testing.assert_array_equal(moved == 0.0, l1 > 0.0)


@every_penalty
def test_a_coordinate_of_strength_zero_is_left_alone(cls: type) -> None:
    penalty = random_penalty(cls)
    coef = points()[1]
    far = coef.copy()
    far[FREE] = 1e9
    assert penalty.value(far) == penalty.value(coef)
    assert penalty.smooth_value_and_gradient(far)[1][FREE] == 0.0
    assert penalty.prox(far, 5.0)[FREE] == 1e9


@every_penalty
@pytest.mark.parametrize("zero", [0.0, np.zeros(SIZE)], ids=["number", "array"])
def test_strength_zero_is_no_penalty(cls: type, zero: Array | float) -> None:
    penalty = make_penalty(cls, lambda name: zero)
    for coef in points():
        assert penalty.value(coef) == 0.0
        smooth, gradient = penalty.smooth_value_and_gradient(coef)
        assert smooth == 0.0
        np.testing.assert_array_equal(gradient, np.zeros(SIZE))
        np.testing.assert_array_equal(penalty.prox(coef, 2.0), coef)


@every_penalty
def test_one_strength_is_the_same_as_that_strength_for_every_coordinate(cls: type) -> None:
    number = make_penalty(cls, lambda name: 0.7)
    array = make_penalty(cls, lambda name: np.full(SIZE, 0.7))
    for coef in points():
        assert number.value(coef) == pytest.approx(array.value(coef), rel=1e-14)
        np.testing.assert_array_equal(
            number.smooth_value_and_gradient(coef)[1], array.smooth_value_and_gradient(coef)[1]
        )
        np.testing.assert_array_equal(number.prox(coef, 0.5), array.prox(coef, 0.5))


@every_penalty
def test_arguments_are_left_alone(cls: type) -> None:
    penalty, coef = random_penalty(cls), points()[0]
    before = coef.copy()
    penalty.value(coef)
    penalty.smooth_value_and_gradient(coef)
    moved = penalty.prox(coef, 1.0)
    moved += 1.0
    np.testing.assert_array_equal(coef, before)


@every_penalty
def test_strengths_are_named_as_the_parts_they_scale(cls: type) -> None:
    names = list(inspect.signature(cls).parameters)
    for name in names:
        alone = make_penalty(cls, lambda other, name=name: 1.0 if other == name else 0.0)
        parts = np.any(alone.l1()), np.any(alone.l2())
        assert parts.count(True) == 1 if len(names) == 1 else parts == ("l1" in name, "l2" in name)


def test_l1_and_l2_are_elastic_nets() -> None:
    coef, strength = points()[0], np.linspace(0.0, 2.0, SIZE)
    for special, general in (
        (L1(strength), ElasticNet(l1_strength=strength)),
        (L2(strength), ElasticNet(l2_strength=strength)),
    ):
        assert special.value(coef) == general.value(coef)
        np.testing.assert_array_equal(special.prox(coef, 0.2), general.prox(coef, 0.2))
