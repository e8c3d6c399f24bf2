"""The hinge loss with a parabola in place of its kink."""

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.losses.base import Array

LEAST = 1e-300
"""A width that only keeps 0 / 0 from happening."""


@dataclass(frozen=True)
class SmoothedHinge:
    r"""Hinge loss whose derivative is continuous.

    With the slack :math:`s = 1 - m` it is

    .. math:: 0 \text{ if } s \le -\frac{\gamma}{2}, \quad
        \frac{(s + \gamma / 2)^2}{2 \gamma} \text{ if } s < \frac{\gamma}{2}, \quad
        s \text{ otherwise.}

    It differs from the hinge only around the kink, where it is above it by at most
    :math:`\gamma / 8`.

    Parameters
    ----------
    width : float or array of shape (models,)
        :math:`\gamma`, the same for all models or one each; 0 is the hinge itself.

    References
    ----------
    Shalev-Shwartz and Zhang (2013), Stochastic dual coordinate ascent methods for regularized loss
    minimization, JMLR 14, section 6; Chapelle (2007), Training a support vector machine in the
    primal, Neural Computation 19.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SmoothedHinge(width=0.5)
    >>> value, derivative = loss.value_and_derivative(np.array([1.0]), np.array([[[1.0]]]))
    >>> float(value[0, 0]), float(derivative[0, 0, 0])
    (0.0625, -0.5)
    """

    width: Array | float = 1.0
    name: str = "smoothedHinge"
    constants: tuple[str, ...] = ()
    smooth: bool = True

    @property
    def curvature(self) -> float:
        """See :class:`~sparkml_lsml.losses.base.Loss`."""
        least = float(np.min(self.width))
        return 1.0 / least if least > 0.0 else float("inf")

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        sign = (2.0 * y - 1.0)[:, None]
        slack = np.maximum(1.0 + 0.5 * np.asarray(self.width) - sign * raw[:, :, 0], 0.0)
        slope = np.minimum(slack / np.maximum(self.width, LEAST), 1.0)
        value = slope * (slack - 0.5 * self.width * slope)
        return value, (-sign * slope)[:, :, None]
