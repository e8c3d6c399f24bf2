"""The logistic loss of binomial logistic regression."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from sparkml_lsml.losses.base import Array


@dataclass(frozen=True)
class Logistic:
    r"""Negative log-likelihood :math:`\log(1 + e^f) - y f` of a label y in {0, 1}.

    The derivative in f is :math:`1 / (1 + e^{-f}) - y`. Nothing overflows, however large f is:
    with s = 2y - 1 the value is :math:`\max(0, -s f) + \log(1 + e^{-|f|})`.

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, 4.4.1.

    Examples
    --------
    >>> import numpy as np
    >>> value, derivative = Logistic().value_and_derivative(np.array([1.0]), np.array([[[0.0]]]))
    >>> round(float(value[0, 0]), 6), float(derivative[0, 0, 0])
    (0.693147, -0.5)
    """

    name: str = "logistic"
    constants: tuple[str, ...] = ()
    smooth: bool = True
    curvature: float = 0.25

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        # y - sigmoid(f) cancels for a certain and right prediction; sigmoid(-s f) does not
        sign = (2.0 * y - 1.0)[:, None, None]
        margin = sign * raw
        value = np.logaddexp(0.0, -margin)
        return value[:, :, 0], -sign * expit(-margin)
