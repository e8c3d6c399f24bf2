"""What a model computes, in numbers, from which each library makes a model of its own."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Kind = Literal["regression", "svc", "binomial", "multinomial", "one-vs-rest"]


@dataclass(frozen=True, eq=False)
class Hidden:
    """The hidden layers of a network.

    Parameters
    ----------
    activation : str
        What stands behind each of them.
    maps : tuple of (weights, biases)
        Shapes (outputs, inputs) and (outputs,); none where features go into the last map.
    """

    activation: str
    maps: tuple[tuple[Array, Array], ...]


@dataclass(frozen=True, eq=False)
class Form:
    """The function from features to predictions that a model stands for.

    Parameters
    ----------
    kind : {"regression", "svc", "binomial", "multinomial", "one-vs-rest"}
        What margins become: themselves, classes, or classes with probabilities.
    coefficients : array of shape (outputs, features)
        Of a network those of its last map, which sees the last of its hidden layers.
    intercepts : array of shape (outputs,)
        May be infinite after a fit on one class.
    threshold : float
        Of ``svc`` and ``binomial``: the margin above which the class is 1; may be infinite.
    thresholds : array of shape (classes,), optional
        What ``multinomial`` probabilities are divided by before the largest is taken.
    hidden : Hidden, optional
        Of a network.
    """

    kind: Kind
    coefficients: Array
    intercepts: Array
    threshold: float = 0.0
    thresholds: Array | None = None
    hidden: Hidden | None = None

    @property
    def features(self) -> int:
        """Features of a row."""
        maps = () if self.hidden is None else self.hidden.maps
        first = maps[0][0] if maps else self.coefficients
        return int(first.shape[1])


class HasForm:
    """A model that says what it computes."""

    def _form(self) -> Form:
        """What this model computes; each model defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _form")


def missing(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error for a library that is not installed, with what to install."""
    return ModuleNotFoundError(
        f"this export needs the module {error.name}: pip install 'sparkml_lsml[export]'",
        name=error.name,
    )
