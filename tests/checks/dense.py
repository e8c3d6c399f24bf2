"""A network of dense layers, as a test double: the engine must take more than linear maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sparkml_lsml.engine.blocks.block import Rows
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import transposed_product, with_constants
from sparkml_lsml.engine.predictors.standardization import Standardization

Array = npt.NDArray[np.float64]

ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, lambda out: 1.0 - out**2),
    "sigmoid": (lambda x: 1.0 / (1.0 + np.exp(-x)), lambda out: out * (1.0 - out)),
}
"""Functions, and their derivatives in terms of what they return."""


@dataclass(frozen=True)
class DensePredictor:
    """Layers of the given sizes, features first and raw predictions last."""

    sizes: tuple[int, ...]
    activation: str = "tanh"
    constants: int = 0
    precision: str = "float64"
    convex: ClassVar[bool] = False

    @property
    def layout(self) -> Layout:
        return Layout.dense(self.sizes, self.constants)

    @property
    def outputs(self) -> int:
        return self.sizes[-1]

    @property
    def dtype(self) -> np.dtype[np.floating]:
        return np.dtype(self.precision)

    @property
    def width(self) -> int:
        return sum(self.sizes[1:])

    def maps(self, coef: Array) -> list[tuple[Array, Array]]:
        """Weights of shape (outputs, inputs) and biases of each layer of one model."""
        layout = self.layout
        found = [(coef[layout.weights].reshape(-1, layout.features), coef[layout.intercepts])]
        pairs = zip(layout.slots[::2], layout.slots[1::2], strict=True)
        sizes = zip(self.sizes[1:-1], self.sizes[2:], strict=True)
        for (weights, biases), (into, out) in zip(pairs, sizes, strict=True):
            found.append((coef[weights].reshape(out, into), coef[biases]))
        return found

    def layers(self, X: Rows, coef: Array) -> list[Array]:
        """What each layer returns, for one model."""
        function, _ = ACTIVATIONS[self.activation]
        found: list[Array] = []
        for number, (weights, biases) in enumerate(self.maps(coef.astype(self.dtype))):
            into = X if number == 0 else found[-1]
            out = np.asarray(into @ weights.T) + biases
            found.append(out if number == len(self.sizes) - 2 else function(out))
        return found

    def raw(self, X: Rows, coef: Array) -> Array:
        assert X.dtype == self.dtype
        raw = np.stack([self.layers(X, one)[-1].astype(np.float64) for one in coef], axis=1)
        return with_constants(raw, self.layout, coef)

    def scoring(self, coef: Array) -> Callable[[Rows], Array]:
        return lambda X: self.layers(X, coef)[-1].astype(np.float64)

    def raw_and_pullback(
        self, X: Rows, coef: Array
    ) -> tuple[Array, Callable[[Array, Array], None]]:
        layers = [self.layers(X, one) for one in coef]
        raw = np.stack([each[-1].astype(np.float64) for each in layers], axis=1)

        def pull(derivative: Array, out: Array) -> None:
            layout = self.layout
            out[:, layout.extras] += derivative[:, :, self.outputs :].sum(axis=0)
            for k, one in enumerate(coef):
                self._pull(X, layers[k], one, derivative[:, k, : self.outputs], out[k])

        return with_constants(raw, self.layout, coef), pull

    def _pull(self, X: Rows, layers: list[Array], coef: Array, slope: Array, out: Array) -> None:
        _, derivative = ACTIVATIONS[self.activation]
        maps, gradients = self.maps(coef.astype(self.dtype)), self.maps(out)
        slope = slope.astype(self.dtype)
        for number in reversed(range(len(maps))):
            weights, biases = gradients[number]
            into = X if number == 0 else layers[number - 1]
            weights += transposed_product(into, slope)
            biases += slope.sum(axis=0)
            if number:
                slope = (slope @ maps[number][0]) * derivative(layers[number - 1])

    def step_unit(self, curvature: float, units: Standardization, batch: int) -> float:
        return 1.0

    def start(self, seed: int) -> Array:
        """Glorot and Bengio (2010): 0 would be a saddle."""
        rng = np.random.default_rng(seed)
        coef = np.zeros(self.layout.size)
        for weights, _ in self.maps(coef):
            out, into = weights.shape
            weights += rng.uniform(-1.0, 1.0, weights.shape) * np.sqrt(6.0 / (into + out))
        coef[self.layout.extras] = 1.0
        return coef


def explicit_raw(predictor: DensePredictor, X: Rows, coef: Array) -> Array:
    """Raw predictions of one model row by row, from the textbook's sums; shape (rows, outputs)."""
    dense = X.toarray() if sparse.issparse(X) else X
    function, _ = ACTIVATIONS[predictor.activation]
    found = []
    for row in dense:
        values = [float(v) for v in row]
        at = 0
        for number, (into, out) in enumerate(
            zip(predictor.sizes[:-1], predictor.sizes[1:], strict=True)
        ):
            weights = [coef[at + k * into : at + (k + 1) * into] for k in range(out)]
            at += into * out
            biases = coef[at : at + out]
            at += out
            sums = [
                sum(w * v for w, v in zip(weights[k], values, strict=True)) + biases[k]
                for k in range(out)
            ]
            last = number == len(predictor.sizes) - 2
            values = sums if last else [float(function(np.float64(s))) for s in sums]
        found.append(values)
    return np.array(found)
