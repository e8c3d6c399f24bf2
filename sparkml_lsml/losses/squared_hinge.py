"""The squared hinge loss of the linear support vector machine."""

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.losses.base import Array


@dataclass(frozen=True)
class SquaredHinge:
    r"""Squared hinge loss :math:`\max(0, 1 - m)^2` of the margin :math:`m = (2y - 1) f`.

    The derivative in f is :math:`-2 (2y - 1) \max(0, 1 - m)`. LIBLINEAR's C for the same solution
    is ``1 / (regParam * rows)``, without an intercept, which it penalises.

    References
    ----------
    Fan et al. (2008), LIBLINEAR: A Library for Large Linear Classification, JMLR 9.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredHinge()
    >>> value, derivative = loss.value_and_derivative(np.array([0.0]), np.array([[[0.5]]]))
    >>> float(value[0, 0]), float(derivative[0, 0, 0])
    (2.25, 3.0)
    """

    name: str = "squaredHinge"
    constants: tuple[str, ...] = ()
    smooth: bool = True
    curvature: float = 2.0

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        sign = (2.0 * y - 1.0)[:, None, None]
        slack = np.maximum(1.0 - sign * raw, 0.0)
        return np.square(slack)[:, :, 0], -2.0 * sign * slack
