"""Which part of a flat coefficient vector is what."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Named slices of the flat vector of one model: weights, intercepts, constants of the loss.

    Parameters
    ----------
    features : int
    outputs : int
        Linear predictors a model: 1, or the number of classes of a multinomial loss.
    fit_intercept : bool
    constants : int
        Parameters of the loss itself, one number each (Huber: its scale).

    Examples
    --------
    >>> layout = Layout(features=3, outputs=2, fit_intercept=True)
    >>> layout.size, layout.intercepts
    (8, slice(6, 8, None))
    """

    features: int
    outputs: int = 1
    fit_intercept: bool = True
    constants: int = 0

    @property
    def weights(self) -> slice:
        """The weights, output after output."""
        return slice(0, self.outputs * self.features)

    @property
    def intercepts(self) -> slice:
        """The intercepts, one an output; empty without intercept."""
        start = self.outputs * self.features
        return slice(start, start + (self.outputs if self.fit_intercept else 0))

    @property
    def extras(self) -> slice:
        """The constants of the loss."""
        return slice(self.size - self.constants, self.size)

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return int(self.intercepts.stop) + self.constants

    def weight_matrix(self, coef: Array) -> Array:
        """View of the weights of a batch of models, shape (models, outputs, features)."""
        return coef[:, self.weights].reshape(len(coef), self.outputs, self.features)
