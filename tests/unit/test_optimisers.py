"""Optimisers and schedules of local steps against scikit-learn and their formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from sparkml_lsml.engine.kernels import optimisers
from sparkml_lsml.engine.kernels.optimisers import Adam, Optimiser, Sgd, in_chunks
from sparkml_lsml.engine.kernels.schedules import Schedule

Array = npt.NDArray[np.float64]

SIZE, STEPS, RATE = 50, 30, 0.03
RNG = np.random.default_rng(2)
START = RNG.normal(size=SIZE)
GRADIENTS = RNG.normal(size=(STEPS, SIZE))


def walk(optimiser: Optimiser, dtype: Any = np.float64, l1: Any = 0.0) -> Any:
    w = START.astype(dtype)
    memory = [np.zeros_like(w) for _ in range(optimiser.vectors)]
    for t, gradient in enumerate(GRADIENTS.astype(dtype), start=1):
        in_chunks(optimiser, w, gradient.copy(), RATE, t, memory, l1)
    return w


def walk_of_scikit_learn(reference: Any) -> Array:
    w = START.copy()
    for gradient in GRADIENTS:
        reference.update_params([w], [gradient])
    return w


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_that_of_scikit_learn(momentum: float, nesterov: bool) -> None:
    reference = SGDOptimizer([START], RATE, momentum=momentum, nesterov=nesterov)
    expected = walk_of_scikit_learn(reference)
    np.testing.assert_allclose(walk(Sgd(momentum, nesterov)), expected, rtol=1e-12)


def test_adam_is_that_of_scikit_learn() -> None:
    """Which adds its epsilon at another place: without one they are the same."""
    reference = AdamOptimizer([START], RATE, beta_1=0.8, beta_2=0.95, epsilon=0.0)
    expected = walk_of_scikit_learn(reference)
    np.testing.assert_allclose(walk(Adam(0.8, 0.95, 0.0)), expected, rtol=1e-12)


def test_adam_is_the_algorithm_of_its_paper() -> None:
    epsilon = 0.1
    expected = []
    for w, slopes in zip(START.tolist(), GRADIENTS.T.tolist(), strict=True):
        m = v = 0.0
        for t, g in enumerate(slopes, start=1):
            m = 0.9 * m + (1.0 - 0.9) * g
            v = 0.999 * v + (1.0 - 0.999) * g**2
            root = math.sqrt(v / (1.0 - 0.999**t)) + epsilon
            w -= RATE * (m / (1.0 - 0.9**t)) / root
        expected.append(w)
    np.testing.assert_allclose(walk(Adam(epsilon=epsilon)), expected, rtol=1e-12)


@pytest.mark.parametrize("optimiser", [Sgd(), Sgd(0.9), Sgd(0.9, True), Adam()])
def test_chunks_and_single_precision_change_nothing_else(
    optimiser: Optimiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = walk(optimiser)
    single = walk(optimiser, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(optimisers, "CHUNK", 7)
    np.testing.assert_array_equal(walk(optimiser), whole)


def test_an_l1_penalty_thresholds_by_the_length_of_the_step() -> None:
    """Soft thresholding: of Adam in the metric of its step, which is the rate over the root."""
    w, l1 = np.array([0.5, -0.5, 0.05]), np.array([1.0, 1.0, 0.0])
    in_chunks(Sgd(), w, np.array([1.0, 0.0, 0.0]), 0.1, 1, [], l1)
    np.testing.assert_allclose(w, [0.3, -0.4, 0.05], rtol=1e-12)
    w = np.array([0.5, -0.5, 0.05])
    memory = [np.zeros(3), np.zeros(3)]
    in_chunks(Adam(epsilon=0.0), w, np.array([2.0, 2.0, -1.0]), 0.1, 1, memory, l1)
    np.testing.assert_allclose(w, [0.5 - 0.1 - 0.05, -0.5 - 0.1 + 0.05, 0.15], rtol=1e-12)


def test_what_makes_up_for_averaging_is_the_number_of_partitions_or_its_root() -> None:
    assert [Sgd(0.9).scale(p) for p in (1, 4)] == [1.0, 4.0]
    assert [Adam().scale(p) for p in (1, 4)] == [1.0, 2.0]


def test_schedules_follow_their_formulas() -> None:
    epochs = [0.0, 0.25, 3.0, 10.0, 12.0]
    constant = Schedule(0.2)
    assert [constant.at(e) for e in epochs] == [0.2] * 5
    falling = Schedule(0.2, "invscaling", power=0.7)
    expected = [0.2 / (1.0 + e) ** 0.7 for e in epochs]
    assert [falling.at(e) for e in epochs] == pytest.approx(expected, rel=1e-14)
    cosine = Schedule(0.2, "cosine", epochs=10)
    expected = [0.1 * (1.0 + math.cos(math.pi * min(e, 10.0) / 10.0)) for e in epochs]
    assert [cosine.at(e) for e in epochs] == pytest.approx(expected, rel=1e-14)
    raised = Schedule(0.2, "cosine", epochs=10, floor=0.25)
    expected = [0.05 + 0.75 * each for each in expected]
    assert [raised.at(e) for e in epochs] == pytest.approx(expected, rel=1e-14)
    for shape in ("constant", "invscaling", "cosine"):
        warm, cold = (Schedule(0.2, shape, epochs=10, warmup=share) for share in (0.5, 0.0))
        assert warm.at(0.0) == 0.0
        assert warm.at(1.0) == pytest.approx(cold.at(1.0) / 5.0, rel=1e-14)
        assert [warm.at(e) for e in (5.0, 7.0)] == [cold.at(e) for e in (5.0, 7.0)]
