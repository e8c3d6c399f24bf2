"""Users' losses without Spark: the registry, what is tried of them, kinks and parabolas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import QuantileRegressor

from sparkml_lsml import losses
from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.penalties import L2, ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.engine.solvers import ProximalLBFGS, SmoothedLBFGS, minimize
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import Hinge, KinkedLoss, Loss, SmoothedHinge
from sparkml_lsml.losses.custom import CustomKinkedLoss, CustomLoss, samples
from sparkml_lsml.losses.registry import find, is_registered, reserved
from sparkml_lsml.losses.verification import faults

Array = npt.NDArray[np.float64]
RNG = np.random.default_rng(0)

LABELS = {
    "classes": np.array([0.0, 1.0]),
    "reals": RNG.normal(size=32),
    "large": 1e6 + 1e5 * RNG.normal(size=32),
    "small": 1e-4 * RNG.normal(size=32),
    "counts": RNG.poisson(3.0, size=32).astype(float),
    "one": np.full(5, 3.0),
}


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for name in losses.registered():
        losses.unregister(name)


def made(value: Any, derivative: Any, **more: Any) -> CustomLoss:
    losses.loss("mine", value=value, derivative=derivative, **more)
    found = find("mine", {})
    assert isinstance(found, CustomLoss)
    return found


def pinball(**more: Any) -> CustomLoss:
    return made(
        lambda y, f: np.maximum(0.9 * (y - f), 0.1 * (f - y)),
        lambda y, f: np.where(f < y, -0.9, 0.1),
        smooth=False,
        **more,
    )


GOOD: dict[str, Callable[[], CustomLoss]] = {
    "pinball": lambda: pinball(kinks=lambda y: y),
    "poisson": lambda: made(lambda y, f: np.exp(f) - y * f, lambda y, f: np.exp(f) - y),
    "log-cosh": lambda: made(
        lambda y, f: np.logaddexp(f - y, y - f) - np.log(2.0),
        lambda y, f: np.tanh(f - y),
        curvature=1.0,
    ),
    "gamma": lambda: made(lambda y, f: y * np.exp(-f) + f, lambda y, f: 1.0 - y * np.exp(-f)),
    "steep": lambda: made(
        lambda y, f: np.logaddexp(0.0, 100.0 * (f - y)) / 100.0,
        lambda y, f: 1.0 / (1.0 + np.exp(-100.0 * (f - y))),
        curvature=25.0,
    ),
    "insensitive": lambda: made(
        lambda y, f: np.maximum(0.0, np.abs(f - y) - 0.5),
        lambda y, f: np.where(np.abs(f - y) > 0.5, np.sign(f - y), 0.0),
        smooth=False,
        kinks=lambda y: [y - 0.5, y + 0.5],
    ),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", GOOD)
def test_a_loss_without_fault_passes(name: str, labels: str) -> None:
    assert faults(GOOD[name](), LABELS[labels]) == []


def random_noise(y: Array, f: Array) -> Array:
    return (f - y) ** 2 + np.random.default_rng().random(f.shape)


WRONG: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "factor": (lambda y, f: (f - y) ** 2, lambda y, f: f - y, {}, "the central difference"),
    "sign": (lambda y, f: (f - y) ** 2, lambda y, f: 2.0 * (y - f), {}, "central difference"),
    "kink": (
        lambda y, f: np.abs(f - y),
        lambda y, f: np.sign(f - y),
        {},
        "claims smooth=True: set smooth=False",
    ),
    "small kink": (
        lambda y, f: 0.5 * (f - y) ** 2 + 0.02 * np.abs(f - 1.0),
        lambda y, f: f - y + 0.02 * np.sign(f - 1.0),
        {},
        "at the prediction 1, but it claims smooth=True",
    ),
    "curvature": (
        lambda y, f: (f - y) ** 2,
        lambda y, f: 2.0 * (f - y),
        {"curvature": 1.9},
        "is about 2, but curvature=1.9 claims",
    ),
    "mean": (
        lambda y, f: (f - y) ** 2 * np.mean(y**2),
        lambda y, f: 2.0 * (f - y) * np.mean(y**2),
        {},
        "depends on the other rows",
    ),
    "random": (random_noise, lambda y, f: 2.0 * (f - y), {}, "is another at each call"),
    "logarithm": (lambda y, f: np.log(f) * y, lambda y, f: y / f, {}, "expected finite numbers"),
    "number": (
        lambda y, f: 1.0,
        lambda y, f: f - y,
        {},
        "value(y, raw) returned an array of shape",
    ),
    "error": (lambda y, f: [][0], lambda y, f: f - y, {}, "failed for labels of shape"),
    "kinks elsewhere": (
        lambda y, f: np.abs(f - y),
        lambda y, f: np.sign(f - y),
        {"smooth": False, "kinks": lambda y: y[:, None]},
        "kinks(y) returned shapes",
    ),
}


@pytest.mark.parametrize("labels", ["classes", "reals"])
@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_found_and_told(name: str, labels: str) -> None:
    value, derivative, more, told = WRONG[name]
    [fault] = faults(made(value, derivative, **more), LABELS[labels])
    assert told in fault


def test_a_loss_that_changes_its_arguments_is_found() -> None:
    class Changing:
        name, smooth = "changing", True

        def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
            raw -= y[:, None, None]
            return 0.5 * np.square(raw)[:, :, 0], raw.copy()

    losses.register(Changing())
    found = find("changing", {})
    assert isinstance(found, CustomLoss)
    [fault] = faults(found, LABELS["reals"])
    assert "changes its arguments" in fault


def test_kinks_become_the_parabolas_of_the_smoothed_hinge() -> None:
    # SmoothedHinge is a formula of its own, checked with sixty digits in tests/checks
    hinge = made(
        lambda y, f: np.maximum(0.0, 1.0 - (2.0 * y - 1.0) * f),
        lambda y, f: np.where((2.0 * y - 1.0) * f < 1.0, 1.0 - 2.0 * y, 0.0),
        smooth=False,
        kinks=lambda y: 2.0 * y - 1.0,
    )
    assert isinstance(hinge, KinkedLoss)
    y = np.repeat([0.0, 1.0], 100)
    raw = RNG.uniform(-3.0, 3.0, size=(200, 3, 1))
    width = np.array([0.0, 0.5, 2.0])
    ours, theirs = (
        loss.value_and_derivative(y, raw) for loss in (hinge.smoothed(width), SmoothedHinge(width))
    )
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-12)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-12)
    at_kink = np.repeat([-1.0, 1.0], 100)[:, None, None] * np.ones((1, 2, 1))
    at_kink[0, 0, 0] = -1.0
    slope = hinge.smoothed(width[1:]).value_and_derivative(y, at_kink)[1]
    np.testing.assert_allclose(slope[:, 0, 0], np.repeat([0.5, -0.5], 100), atol=1e-12)


def test_two_kinks_of_the_insensitive_loss() -> None:
    # about each kink a parabola; in between and outside the loss itself
    loss = GOOD["insensitive"]()
    assert isinstance(loss, KinkedLoss)
    at = np.array([0.0, 0.45, 0.5, 0.55, 2.0])
    raw = np.concatenate([at, -at])[:, None, None]
    value, slope = loss.smoothed(np.array([0.2])).value_and_derivative(np.zeros(10), raw)
    # (u + 0.1)^2 / 0.4 for u from -0.1 to 0.1
    expected = [0.0, 0.05**2 / 0.4, 0.025, 0.15**2 / 0.4, 1.5]
    np.testing.assert_allclose(value[:, 0], expected * 2, atol=1e-9)
    slopes = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(slope[:, 0, 0], np.concatenate([slopes, -slopes]), atol=1e-7)


def test_kinks_that_are_not_all_named() -> None:
    loss = made(
        lambda y, f: np.maximum(np.abs(f - y) - 0.5, 0.0),
        lambda y, f: np.where(np.abs(f - y) > 0.5, np.sign(f - y), 0.0),
        smooth=False,
        kinks=lambda y: y + 0.5,
    )
    [fault] = faults(loss, LABELS["reals"])
    assert fault.startswith("its smoothed form is wrong: its derivative")
    assert "kinks(y) must name all kinks" in fault


@dataclass(frozen=True)
class Absolute:
    """The absolute error, with its Moreau envelope: from below, unlike parabolas at kinks."""

    shift: float = 0.0
    width: Any = None
    name: str = "absolute"
    smooth: bool = False
    curvature: float = float("inf")
    constants: tuple[str, ...] = ()

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        apart = raw[:, :, 0] - y[:, None]
        if self.width is None:
            return np.abs(apart), np.sign(apart)[:, :, None]
        width = np.maximum(self.width, 1e-300)
        inside = np.abs(apart) <= width
        value = np.where(inside, apart**2 / (2.0 * width), np.abs(apart) - width / 2.0)
        slope = np.where(inside, apart / width, np.sign(apart))
        return value + self.shift, slope[:, :, None]

    def smoothed(self, width: Array) -> Absolute:
        return replace(self, width=width, smooth=True)


def test_a_smoothed_form_that_lies_below() -> None:
    """The median regression of scikit-learn, whose linear program knows no widths."""
    X = RNG.normal(size=(300, 3))
    y = X @ [1.0, -2.0, 0.5] + RNG.standard_t(2, size=300)
    loss = CustomKinkedLoss(Absolute(), "absolute", False, float("inf"))
    assert faults(loss, y) == []
    layout = Layout(3)
    objective = BlockObjective(
        LocalBlocks([Block(X, y)]), loss, LinearPredictor(layout), Standardization.identity(layout)
    )
    solver = SmoothedLBFGS(tol=1e-7)
    [found] = minimize(objective, L2(0.0), solver, np.zeros((1, 4)), max_iter=500)
    least = QuantileRegressor(quantile=0.5, alpha=0.0, solver="highs").fit(X, y)
    least_value = np.abs(y - least.predict(X)).mean()
    value = np.abs(y - X @ found.coef[:3] - found.coef[3]).mean()
    assert value == pytest.approx(least_value, rel=1e-5)
    assert found.objective == pytest.approx(value, rel=1e-12)


def test_a_smoothed_form_of_another_loss() -> None:
    loss = CustomKinkedLoss(Absolute(shift=0.5), "absolute", False, float("inf"))
    [fault] = faults(loss, LABELS["reals"])
    assert fault.startswith("its smoothed form is wrong: of width")
    assert "approaches the loss" in fault


def test_names() -> None:
    pinball()
    assert losses.registered() == ("mine",)
    assert is_registered("mine")
    losses.unregister("mine")
    assert losses.registered() == ()
    losses.unregister("mine")
    for name in ("hinge", "squaredError", "multinomial", "smoothedHinge", "huber"):
        with pytest.raises(ParamError, match=f"a loss named '{name}' itself"):
            losses.loss(name, value=np.add, derivative=np.add)
    for name in ("", "1st", "a b", "../x", "a" * 65):
        with pytest.raises(ParamError, match="expected a letter"):
            losses.loss(name, value=np.add, derivative=np.add)
    with pytest.raises(ParamError, match=r"'hinge' nor registered: call sparkml_lsml.losses.reg"):
        find("mine", {"hinge": Hinge()})


def test_every_loss_of_the_package_has_a_name_that_is_taken() -> None:
    exported = [getattr(losses, name) for name in losses.__all__]
    own = {
        cls().name for cls in exported if isinstance(cls, type) and cls not in (Loss, KinkedLoss)
    }
    assert own == reserved()


def test_a_second_loss_of_a_name_takes_the_place_of_the_first() -> None:
    first = GOOD["poisson"]()
    second = GOOD["gamma"]()
    assert find("mine", {}) is second
    assert samples(first) != samples(second)
    assert repr(first) != repr(second)


class Base:
    name, smooth = "mine", True

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        return raw[:, :, 0], np.ones_like(raw)


def variant(**attributes: Any) -> Any:
    return type("Variant", (Base,), attributes)()


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (Base, "is a class"),
        (object(), "lacks name, smooth, value_and_derivative"),
        (variant(smooth="yes"), "smooth='yes', expected True or False"),
        (variant(curvature=0.0), "curvature=0.0, expected a number greater than 0"),
        (variant(curvature=float("nan")), "curvature=nan"),
        (variant(constants=("scale",)), r"constants \('scale',\)"),
        (variant(name=7), "named 7"),
    ],
)
def test_what_is_no_loss_is_refused(loss: Any, told: str) -> None:
    with pytest.raises(ParamError, match=told):
        losses.register(loss)
    assert losses.registered() == ()


def test_functions_are_checked() -> None:
    with pytest.raises(ParamError, match=r"derivative=1\.0, expected a function"):
        losses.loss("mine", value=np.add, derivative=1.0)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="expected smooth=False and a function"):
        losses.loss("mine", value=np.add, derivative=np.add, kinks=np.asarray)


def test_defaults_of_a_class() -> None:
    losses.register(variant())
    loss = find("mine", {})
    assert (loss.smooth, loss.curvature, loss.constants) == (True, float("inf"), ())
    assert not isinstance(loss, KinkedLoss)


def test_a_start_at_the_minimum_of_every_width_ends_there() -> None:
    # labels come in pairs about 0: no width has a direction that leads down from there
    rng = np.random.default_rng(2)
    half = rng.normal(size=50)
    X, y = rng.normal(size=(100, 3)), np.concatenate([half, -half])
    loss = made(
        lambda y, f: np.abs(f - y),
        lambda y, f: np.sign(f - y),
        smooth=False,
        kinks=lambda y: y,
    )
    layout = Layout(features=3, fit_intercept=True)
    units = Standardization(layout, np.ones(3), np.zeros(3))
    objective = BlockObjective(LocalBlocks([Block(X, y)]), loss, LinearPredictor(layout), units)
    penalty = ElasticNet(l1_strength=np.array([10.0, 10.0, 10.0, 0.0]))
    solver = SmoothedLBFGS(tol=1e-8, inner=ProximalLBFGS())
    [found] = minimize(objective, [penalty], [solver], np.zeros((1, 4)), max_iter=500)
    assert found.reason.name == "converged"
    np.testing.assert_array_equal(found.coef[:3], 0.0)
    assert found.objective == pytest.approx(float(np.abs(half).mean()), rel=1e-6)
