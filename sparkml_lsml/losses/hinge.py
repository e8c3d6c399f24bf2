"""The hinge loss of the linear support vector machine."""

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.losses.base import Array
from sparkml_lsml.losses.smoothed_hinge import SmoothedHinge


@dataclass(frozen=True)
class Hinge:
    r"""Hinge loss :math:`\max(0, 1 - m)` of the margin :math:`m = (2y - 1) f`, y in {0, 1}.

    The derivative in f is :math:`-(2y - 1)` where m < 1 and 0 elsewhere (a subgradient at 1).

    References
    ----------
    Cortes and Vapnik (1995), Support-Vector Networks, Machine Learning 20.

    Examples
    --------
    >>> import numpy as np
    >>> value, derivative = Hinge().value_and_derivative(np.array([1.0]), np.array([[[0.25]]]))
    >>> float(value[0, 0]), float(derivative[0, 0, 0])
    (0.75, -1.0)
    """

    name: str = "hinge"
    constants: tuple[str, ...] = ()
    smooth: bool = False
    curvature: float = float("inf")

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and subgradient; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        sign = (2.0 * y - 1.0)[:, None, None]
        slack = 1.0 - sign * raw
        return np.maximum(slack, 0.0)[:, :, 0], np.where(slack > 0.0, -sign, 0.0)

    def distance(self, y: Array, raw: Array) -> Array:
        """How far the margins are from 1."""
        return np.abs(1.0 - (2.0 * y - 1.0) * raw)

    def smoothed(self, width: Array) -> SmoothedHinge:
        """The hinge with a parabola of that width at its kink."""
        return SmoothedHinge(width)
