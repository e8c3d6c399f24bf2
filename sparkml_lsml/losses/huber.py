"""Huber's robust loss with concomitant scale."""

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.losses.base import Array


@dataclass(frozen=True)
class Huber:
    r"""Huber's loss of a prediction f and the scale s, which is estimated with it.

    .. math:: \frac{1}{2}\left(s + H\left(\frac{f - y}{s}\right) s\right),\quad
        H(z) = z^2 \text{ for } |z| \le \epsilon,\ 2 \epsilon |z| - \epsilon^2 \text{ otherwise.}

    Outliers weigh in linearly, and the result does not depend on the units of y. The loss is
    jointly convex in f and s > 0; where s <= 0 it is infinite.

    Parameters
    ----------
    epsilon : float
        Residuals of more than epsilon scales are outliers. Greater than 1; 1.35 keeps 95 % of the
        efficiency of least squares on normal errors.

    References
    ----------
    Owen (2007), A robust hybrid of lasso and ridge regression, equation 4; Huber and Ronchetti
    (2009), Robust Statistics, 7.7.

    Examples
    --------
    >>> import numpy as np
    >>> raw = np.array([[[3.0, 1.0]]])  # prediction 3, scale 1
    >>> value, derivative = Huber(epsilon=2.0).value_and_derivative(np.array([2.0]), raw)
    >>> float(value[0, 0]), derivative[0, 0].tolist()
    (1.0, [1.0, 0.0])
    """

    epsilon: float = 1.35
    name: str = "huber"
    constants: tuple[str, ...] = ("scale",)
    smooth: bool = True
    curvature: float = float("inf")

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        scale = raw[:, :, 1]
        valid = scale > 0.0
        safe = np.where(valid, scale, 1.0)
        residual = raw[:, :, 0] - y[:, None]
        with np.errstate(over="ignore"):  # an infinite ratio is clipped as any other
            z = np.clip(residual / safe, -self.epsilon, self.epsilon)
        # the square is taken of what was clipped: that of an outlier would overflow
        beyond = np.maximum(np.abs(residual) - self.epsilon * safe, 0.0)
        value = np.where(valid, 0.5 * safe * (1.0 + z**2) + self.epsilon * beyond, np.inf)
        derivative = np.empty_like(raw)
        derivative[:, :, 0] = z
        derivative[:, :, 1] = 0.5 - 0.5 * z**2
        return value, derivative
