"""What a user's loss says of itself, tried out on labels and random predictions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses.base import Array, Loss
from sparkml_lsml.losses.custom import LEAST, CustomLoss

NEAR = 3.0
"""Raw predictions up to this size must have a finite loss, whatever the label."""

DRAWS = 24
"""Raw predictions that are tried for each label."""

GRID = 300
"""Points of a line on which the derivative is looked at, for each of `LINES` labels."""

LINES = 8

HALVINGS = 45
"""Times that an interval is halved: a jump that is still there is one of the derivative."""

SLACK = 1e-4
"""Relative error of a derivative that central differences cannot tell from rounding."""


FAR = 100.0
"""Widths, times the largest slope, that a smoothed loss may be away from the loss."""

NARROW = 1e-6
"""Width, in spreads of the labels, at which a smoothed loss must be close to the loss itself."""


@dataclass(frozen=True)
class _Smoothed:
    """The smoothed form of a loss, with the same width for any number of models."""

    of: Any
    width: float
    smooth: ClassVar[bool] = True
    curvature: ClassVar[float] = float("inf")

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        softer: Loss = self.of.smoothed(np.full(raw.shape[1], self.width))
        return softer.value_and_derivative(y, raw)


def faults(loss: CustomLoss, labels: Array) -> list[str]:
    """What is wrong with a loss for these labels, in words; the first fault alone, or none.

    Raw predictions are drawn about 0 and about the labels. The derivative has to be the central
    difference of the value. Where the derivative still differs between the ends of an interval
    that was halved `HALVINGS` times, it jumps. Its difference quotients must not exceed
    ``curvature``.

    Parameters
    ----------
    loss : CustomLoss
    labels : array of shape (rows,)
        At least one.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkml_lsml.losses.custom import CustomLoss, FunctionLoss
    >>> wrong = FunctionLoss("square", lambda y, f: (f - y) ** 2, lambda y, f: f - y)
    >>> [fault] = faults(CustomLoss(wrong, "square", True, float("inf")), np.array([0.0, 1.0]))
    >>> fault.startswith("the derivative for label")
    True
    """
    rng = np.random.default_rng(0)
    spread = float(labels.std()) or max(1.0, float(np.abs(labels).max()))
    near = NEAR * rng.uniform(-1.0, 1.0, size=(len(labels), DRAWS // 2))
    about = labels[:, None] + spread * rng.normal(size=(len(labels), DRAWS - DRAWS // 2))
    raw = np.concatenate([near, about], axis=1)[:, :, None]
    try:
        fault = (
            _results(loss, labels, raw)
            or _mixing(loss, labels, raw)
            or _derivative(loss, labels, raw)
            or _lines(loss, labels, spread)
        )
        if not fault and hasattr(loss, "smoothed"):
            softer = _Smoothed(loss, spread / 10.0)
            fault = (
                _derivative(softer, labels, raw)
                or _lines(softer, labels, spread)
                or _distance(loss, labels, raw, NARROW * spread)
            )
            fault = fault and f"its smoothed form is wrong: {fault}"
    except ParamError as error:
        fault = str(error)
    return [fault] if fault else []


def not_finite(loss: Loss, labels: Array) -> Any:
    """Which labels have a loss or derivative that is not finite where the prediction is 0."""
    value, derivative = loss.value_and_derivative(labels, np.zeros((len(labels), 1, 1)))
    return ~(np.isfinite(value[:, 0]) & np.isfinite(derivative[:, 0, 0]))


def _results(loss: CustomLoss, labels: Array, raw: Array) -> str:
    before = labels.copy(), raw.copy()
    value, derivative = loss.value_and_derivative(labels, raw)
    if not (np.array_equal(before[0], labels) and np.array_equal(before[1], raw)):
        return "it changes its arguments in place: expected new arrays"
    for what, found in (("value", value), ("derivative", derivative[:, :, 0])):
        bad = ~np.isfinite(found) & (np.abs(raw[:, :, 0]) <= NEAR)
        if bad.any():
            row, draw = np.argwhere(bad)[0]
            return (
                f"the {what} for label {labels[row]:g} and prediction {raw[row, draw, 0]:.6g} is "
                f"{found[row, draw]}: expected finite numbers for predictions up to {NEAR:g}"
            )
    return ""


def _mixing(loss: CustomLoss, labels: Array, raw: Array) -> str:
    together = loss.value_and_derivative(labels, raw)
    # fewer neighbours, and in another order, among the rows and the models
    apart = loss.value_and_derivative(labels[::-2].copy(), raw[::-2, ::-2].copy())
    for what, one, other in zip(("value", "derivative"), together, apart, strict=True):
        if not np.allclose(one[::-2, ::-2], other, rtol=1e-9, atol=0.0, equal_nan=True):
            return (
                f"the {what} of a row depends on the other rows, or is another at each call: "
                "expected a function of each label and prediction alone"
            )
    return ""


def _derivative(loss: CustomLoss | _Smoothed, labels: Array, raw: Array) -> str:
    step = 1e-5 * np.maximum(1.0, np.abs(raw))
    points = [loss.value_and_derivative(labels, raw + move) for move in (-step, 0.0 * step, step)]
    values = [value for value, _ in points]
    slopes = np.stack([slope[:, :, 0] for _, slope in points])
    step = step[:, :, 0]
    with np.errstate(all="ignore"):
        difference = (values[2] - values[0]) / (2.0 * step)
        rounding = 20.0 * np.finfo(np.float64).eps * np.max(np.abs(values), axis=0) / step
        slack = SLACK * np.abs(slopes).max(axis=0) + rounding + 1e-7
        # between the slopes at its ends, also where there is a kink in between
        off = (difference < slopes.min(axis=0) - slack) | (difference > slopes.max(axis=0) + slack)
    off &= np.isfinite(difference) & np.isfinite(slopes).all(axis=0)
    if not off.any():
        return ""
    row, draw = np.argwhere(off)[0]
    return (
        f"the derivative for label {labels[row]:g} and prediction {raw[row, draw, 0]:.6g} is "
        f"{slopes[1, row, draw]:.6g}, but the central difference of its values is "
        f"{difference[row, draw]:.6g}"
    )


def _lines(loss: CustomLoss | _Smoothed, labels: Array, spread: float) -> str:
    """What ``smooth`` and ``curvature`` claim, along lines of predictions."""
    y = np.unique(labels)
    y = y[np.linspace(0, len(y) - 1, min(LINES, len(y))).astype(int)]
    about = np.linspace(-4.0, 4.0, GRID // 2)
    points = np.sort(
        np.concatenate(
            [np.tile(1.01 * about, (len(y), 1)), y[:, None] + 0.99 * spread * about], axis=1
        )
    )

    def slopes(at: Array) -> Array:
        return loss.value_and_derivative(y, at[:, :, None])[1][:, :, 0]

    found = slopes(points)
    size = float(np.abs(found[np.isfinite(found)]).max(initial=LEAST))
    left, right = points[:, :-1].copy(), points[:, 1:].copy()
    at_left, at_right = found[:, :-1].copy(), found[:, 1:].copy()
    with np.errstate(all="ignore"):
        bend = np.where(right > left, (at_right - at_left) / (right - left), 0.0)
        rounding = 1e-9 * size / np.maximum(right - left, LEAST)
        bent = bend > loss.curvature * (1.0 + 1e-6) + rounding
    if bent.any():
        line, k = np.argwhere(bent)[0]
        return (
            f"its second derivative for label {y[line]:g} near the prediction {left[line, k]:.6g} "
            f"is about {bend[line, k]:.6g}, but curvature={loss.curvature:g} claims that it is no "
            "larger"
        )
    if not loss.smooth:
        return ""
    for _ in range(HALVINGS):
        middle = 0.5 * (left + right)
        between = slopes(middle)
        with np.errstate(all="ignore"):
            first = np.abs(between - at_left) > np.abs(at_right - between)
        left, right = np.where(first, left, middle), np.where(first, middle, right)
        at_left, at_right = np.where(first, at_left, between), np.where(first, between, at_right)
    with np.errstate(all="ignore"):
        jump = np.abs(at_right - at_left)
    jumps = np.isfinite(jump) & (jump > 1e-3 * size)
    if not jumps.any():
        return ""
    line, k = np.argwhere(jumps)[0]
    claim = (
        "although it has no kinks by definition: kinks(y) must name all kinks of the loss"
        if isinstance(loss, _Smoothed)
        else "but it claims smooth=True: set smooth=False, and say where its kinks are"
    )
    return (
        f"its derivative for label {y[line]:g} jumps from {at_left[line, k]:.6g} to "
        f"{at_right[line, k]:.6g} at the prediction {left[line, k]:.6g}, {claim}"
    )


def _distance(loss: Any, labels: Array, raw: Array, width: float) -> str:
    """Whether the smoothed form approaches the loss."""
    value, slope = loss.value_and_derivative(labels, raw)
    softer = _Smoothed(loss, width).value_and_derivative(labels, raw)[0]
    with np.errstate(all="ignore"):
        apart = np.abs(softer - value)
        size = np.abs(slope[:, :, 0])
        most = FAR * width * float(size[np.isfinite(size)].max(initial=1.0))
        far = np.isfinite(value) & ~(apart <= most + 1e-9 * np.abs(value))
    if not far.any():
        return ""
    row, draw = np.argwhere(far)[0]
    return (
        f"of width {width:.3g} it is {softer[row, draw]:.6g} for label {labels[row]:g} and "
        f"prediction {raw[row, draw, 0]:.6g}, where the loss is {value[row, draw]:.6g}: expected "
        "that it approaches the loss as the width goes to 0"
    )
