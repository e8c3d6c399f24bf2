"""Models of a class each: the numbers of rows that were relabelled one class at a time."""

from __future__ import annotations

import importlib.util
import pickle
from typing import Any

import numpy as np
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.kernels import compiled, value_and_gradient
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses import Hinge, Logistic, SmoothedHinge, SquaredHinge
from sparkml_lsml.losses.one_vs_rest import OneVsRestLoss
from tests.unit.formulas import Array, make_block

CLASSES = (2, 0, 1, 7)
LAYOUT = Layout(features=3)

rng = np.random.default_rng(4)
X = rng.normal(size=(50, 3)) * (rng.random((50, 3)) < 0.7)
Y = rng.integers(0, 3, 50).astype(np.float64)
WEIGHT = rng.uniform(0.1, 2.0, 50)
COEF = rng.normal(size=(4, 4))

each_loss = pytest.mark.parametrize(
    "loss", [Hinge(), SquaredHinge(), Logistic(), SmoothedHinge(0.5)], ids=lambda loss: loss.name
)


def relabelled(k: int, compressed: bool = False) -> Block:
    return make_block(X, (CLASSES[k] == Y).astype(np.float64), WEIGHT, compressed)


@each_loss
def test_the_loss_is_that_of_the_relabelled_row(loss: Any) -> None:
    raw = rng.normal(size=(50, 4, 1))
    rest = pickle.loads(pickle.dumps(OneVsRestLoss(loss, CLASSES)))
    value, derivative = rest.value_and_derivative(Y, raw)
    for k, number in enumerate(CLASSES):
        y = (number == Y).astype(np.float64)
        wanted = loss.value_and_derivative(y, raw[:, k : k + 1])
        np.testing.assert_array_equal(value[:, k], wanted[0][:, 0])
        np.testing.assert_array_equal(derivative[:, k], wanted[1][:, 0])
    assert (rest.name, rest.smooth, rest.curvature) == (loss.name, loss.smooth, loss.curvature)


@each_loss
@pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("fast", [False, True], ids=["numpy", "compiled"])
@pytest.mark.parametrize("models", [1, 4])
def test_sums_are_those_of_relabelled_rows(
    monkeypatch: pytest.MonkeyPatch, loss: Any, compressed: bool, fast: bool, models: int
) -> None:
    if fast and importlib.util.find_spec("numba") is None:
        pytest.skip("needs Numba")
    block = make_block(X, Y, WEIGHT, compressed)
    wanted = [
        value_and_gradient(
            relabelled(k, compressed), loss, LinearPredictor(LAYOUT), COEF[k : k + 1]
        )
        for k in range(models)
    ]
    monkeypatch.setattr(compiled, "LARGE", 0 if fast else 10**9)
    found = value_and_gradient(
        block, OneVsRestLoss(loss, CLASSES[:models]), LinearPredictor(LAYOUT), COEF[:models]
    )
    for number, part in enumerate(found):
        alone = np.concatenate([each[number] for each in wanted])
        np.testing.assert_allclose(part, alone, rtol=1e-12, atol=1e-12)


def test_the_objective_knows_the_class_of_each_model() -> None:
    blocks = LocalBlocks([make_block(X, Y, WEIGHT, False)])
    units = Standardization.identity(LAYOUT)
    together = BlockObjective(blocks, Hinge(), LinearPredictor(LAYOUT), units, classes=CLASSES)
    widths = np.array([0.3, 2.0])
    values, gradients = together.value_and_gradient(COEF[[2, 1]], smoothing=widths, models=[2, 1])
    for at, k in enumerate((2, 1)):
        alone = BlockObjective(
            LocalBlocks([relabelled(k)]), Hinge(), LinearPredictor(LAYOUT), units
        )
        value, gradient = alone.value_and_gradient(COEF[[k]], smoothing=widths[[at]])
        np.testing.assert_allclose(values[at], value[0], rtol=1e-13)
        np.testing.assert_allclose(gradients[at], gradient[0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            together.of(k).value_and_gradient(COEF[[k]])[0],
            alone.value_and_gradient(COEF[[k]])[0],
            rtol=1e-13,
        )
        bend: Array = alone.curvature(COEF[k], 0.3, 0)
        np.testing.assert_allclose(together.curvature(COEF[k], 0.3, k), bend, rtol=1e-9)
    sample = together.sample(1e9)
    np.testing.assert_allclose(
        sample.value_and_gradient(COEF)[0], together.value_and_gradient(COEF)[0], rtol=1e-13
    )
