"""The protocol of a penalty."""

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@runtime_checkable
class Penalty(Protocol):
    """A convex function of the coefficients of one model, known on the driver only.

    A penalty has a smooth part (value and gradient) and an L1 part (thresholds a coordinate), each
    possibly zero. Coordinates that are not penalised, such as intercepts, have strength 0.
    """

    def value(self, coef: Array) -> float:
        """Penalty of ``coef``, shape (size,), smooth part and L1 part together."""
        ...

    def smooth_value_and_gradient(self, coef: Array) -> tuple[float, Array]:
        """Value and gradient, shape (size,), of the smooth part."""
        ...

    def l1(self) -> Array | float:
        """Strength of the L1 part a coordinate, shape (size,); the number 0 without one."""
        ...

    def l2(self) -> Array | float:
        """Curvature of the smooth part a coordinate, shape (size,); the number 0 without one."""
        ...

    def prox(self, coef: Array, step: float) -> Array:
        """``argmin_u |u - coef|^2 / 2 + step * l1(u)``: the proximal step of the L1 part."""
        ...
