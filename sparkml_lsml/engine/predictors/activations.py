"""What stands between two layers of a network, by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import erf, expit

Floats = npt.NDArray[np.floating[Any]]

ROOT_HALF = 0.5**0.5
ROOT_TWO_PI = (2.0 * math.pi) ** 0.5


@dataclass(frozen=True)
class Activation:
    """A function of each number that a layer returns, and its derivative.

    Parameters
    ----------
    function : callable
        Takes z.
    derivative : callable
        Takes z and what ``function`` made of it, of which most derivatives follow sooner.
    start : {"he", "glorot"}
        The spread of weights that keeps the size of what layers hand on, see `start`.

    Examples
    --------
    >>> import numpy as np
    >>> tanh = ACTIVATIONS["tanh"]
    >>> z = np.array([0.0, 50.0])
    >>> tanh.derivative(z, tanh.function(z)).tolist()
    [1.0, 0.0]
    """

    function: Callable[[Floats], Floats]
    derivative: Callable[[Floats, Floats], npt.NDArray[Any]]
    start: Literal["he", "glorot"]


def _relu(z: Floats) -> Floats:
    return np.maximum(z, 0.0)


def _relu_slope(z: Floats, a: Floats) -> npt.NDArray[np.bool_]:
    """1 or 0; at the kink the derivative from the left."""
    return a > 0.0


def _tanh_slope(z: Floats, a: Floats) -> Floats:
    return 1.0 - np.square(a)


def _sigmoid_slope(z: Floats, a: Floats) -> Floats:
    return a * (1.0 - a)


def _gelu(z: Floats) -> Floats:
    r""":math:`z \Phi(z)`, with the distribution function of a normal variable itself.

    Hendrycks and Gimpel (2016), Gaussian Error Linear Units.
    """
    value: Floats = z * _normal(z)
    return value


def _gelu_slope(z: Floats, a: Floats) -> Floats:
    density = np.exp(-0.5 * np.square(z)) / ROOT_TWO_PI
    slope: Floats = _normal(z) + z * density
    return slope


def _normal(z: Floats) -> Floats:
    found: Floats = 0.5 * (1.0 + erf(z * ROOT_HALF))
    return found


def _identity(z: Floats) -> Floats:
    return z


def _one(z: Floats, a: Floats) -> Floats:
    return np.ones_like(z)


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(_relu, _relu_slope, "he"),
    "tanh": Activation(np.tanh, _tanh_slope, "glorot"),
    "sigmoid": Activation(expit, _sigmoid_slope, "glorot"),
    "gelu": Activation(_gelu, _gelu_slope, "he"),
    "identity": Activation(_identity, _one, "glorot"),
}
"""All of them. They keep the type of what they are given, and overflow for no finite number."""
