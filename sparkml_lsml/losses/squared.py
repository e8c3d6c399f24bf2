"""The squared error of least squares."""

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.losses.base import Array


@dataclass(frozen=True)
class Squared:
    r"""Half the squared error, :math:`\frac{1}{2} (f - y)^2`, with derivative :math:`f - y`.

    The half is MLlib's; scikit-learn calls this the half squared error.

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> value, derivative = Squared().value_and_derivative(np.array([1.0]), np.array([[[3.0]]]))
    >>> float(value[0, 0]), float(derivative[0, 0, 0])
    (2.0, 2.0)
    """

    name: str = "squaredError"
    constants: tuple[str, ...] = ()
    smooth: bool = True
    curvature: float = 1.0

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        residual = raw - y[:, None, None]
        return 0.5 * np.square(residual)[:, :, 0], residual
