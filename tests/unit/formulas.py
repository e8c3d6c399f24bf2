"""Textbook sums of losses over explicit rows: the references of the kernels.

A step of 1e-30 along the imaginary axis gives the derivative of these formulas to the last digit,
so none is written down here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.losses import Huber, Logistic, Loss, Multinomial, Squared

Array = npt.NDArray[np.float64]
Raw = npt.NDArray[Any]


def _huber(y: Array, raw: Raw) -> Raw:
    scale = raw[:, 1]
    z = (raw[:, 0] - y) / scale
    tail = 2.7 * z * np.sign(z.real) - 1.35**2
    return 0.5 * (scale + np.where(np.abs(z.real) <= 1.35, z**2, tail) * scale)


@dataclass(frozen=True)
class Formula:
    """A loss of the package, and its textbook value; raw has one column an output or constant."""

    loss: Loss
    value: Callable[[Array, Raw], Raw]
    outputs: int = 1
    classes: int = 0

    def layout(self, features: int, fit_intercept: bool) -> Layout:
        return Layout(features, self.outputs, fit_intercept, len(self.loss.constants))

    def labels(self, rng: np.random.Generator, rows: int) -> Array:
        if self.classes:
            return rng.integers(self.classes, size=rows).astype(np.float64)
        return 2.0 * rng.normal(size=rows)

    def coef(self, rng: np.random.Generator, layout: Layout, models: int = 1) -> Array:
        """Random coefficients; constants of a loss are positive."""
        coef = 0.5 * rng.normal(size=(models, layout.size))
        coef[:, layout.extras] = np.abs(coef[:, layout.extras]) + 0.5
        return coef

    def raw(self, X: Array, coef: Array, fit_intercept: bool) -> Array:
        """Raw predictions of explicit rows, the constants of the loss last."""
        split = self.outputs * X.shape[1]
        raw = X @ coef[:split].reshape(self.outputs, X.shape[1]).T
        rest = coef[split:]
        if fit_intercept:
            raw, rest = raw + rest[: self.outputs], rest[self.outputs :]
        return np.hstack([raw, np.tile(rest, (len(X), 1))])

    def total(
        self, X: Array, y: Array, weight: Array, coef: Array, fit_intercept: bool, unit: float = 1.0
    ) -> float:
        """Weighted sum of the losses of all rows; ``unit`` multiplies every raw prediction."""
        return float(weight @ self.value(y, unit * self.raw(X, coef, fit_intercept)))

    def gradient(
        self, X: Array, y: Array, weight: Array, coef: Array, fit_intercept: bool, unit: float = 1.0
    ) -> Array:
        """Derivative of `total` in every coefficient."""
        raw = unit * self.raw(X, coef, fit_intercept)
        steps = 1e-30j * np.eye(raw.shape[1])
        slopes = [unit * weight * self.value(y, raw + step).imag / 1e-30 for step in steps]
        parts = [slope @ X for slope in slopes[: self.outputs]]
        sums = [slope.sum(keepdims=True) for slope in slopes]
        return np.concatenate([*parts, *(sums if fit_intercept else sums[self.outputs :])])


FORMULAS = {
    "squared": Formula(Squared(), lambda y, raw: 0.5 * (raw[:, 0] - y) ** 2),
    "logistic": Formula(
        Logistic(), lambda y, raw: np.log(1.0 + np.exp(raw[:, 0])) - y * raw[:, 0], classes=2
    ),
    "multinomial": Formula(
        Multinomial(),
        lambda y, raw: np.log(np.exp(raw).sum(axis=1)) - raw[np.arange(len(y)), y.astype(int)],
        outputs=3,
        classes=3,
    ),
    "huber": Formula(Huber(), _huber),
}


def make_block(X: Array, y: Array, weight: Array | None, compressed: bool) -> Block:
    return Block(as_csr(X) if compressed else X, y, weight)


def ones_or(weight: Array | None, rows: int) -> Array:
    return np.ones(rows) if weight is None else weight
