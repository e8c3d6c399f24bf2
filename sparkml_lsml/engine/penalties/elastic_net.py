"""The elastic net: L1 and L2 together."""

from dataclasses import dataclass, field

import numpy as np

from sparkml_lsml.engine.penalties.base import Array


@dataclass(frozen=True)
class ElasticNet:
    r"""Elastic net :math:`\sum_j \frac{1}{2} b_j w_j^2 + a_j |w_j|`.

    Parameters
    ----------
    l1_strength, l2_strength : array of shape (size,) or 0
        Strengths a coordinate: 0 where nothing is penalised, such as an intercept. Strengths a
        coordinate are how a penalty on the original features is written for features that are
        scaled.

    References
    ----------
    Zou and Hastie (2005), Regularization and variable selection via the elastic net, JRSS B 67.

    Examples
    --------
    >>> import numpy as np
    >>> penalty = ElasticNet(l1_strength=np.array([1.0, 0.0]), l2_strength=np.array([2.0, 0.0]))
    >>> penalty.value(np.array([-3.0, 100.0]))
    12.0
    >>> penalty.prox(np.array([-3.0, 100.0]), step=0.5).tolist()
    [-2.5, 100.0]
    """

    l1_strength: Array | float = field(default=0.0)
    l2_strength: Array | float = field(default=0.0)

    def value(self, coef: Array) -> float:
        """Penalty of ``coef``, shape (size,)."""
        return self.smooth_value_and_gradient(coef)[0] + float(
            np.sum(self.l1_strength * np.abs(coef))
        )

    def smooth_value_and_gradient(self, coef: Array) -> tuple[float, Array]:
        """Value and gradient of the L2 part."""
        gradient = np.asarray(self.l2_strength * coef)
        return 0.5 * float(gradient @ coef), gradient

    def l1(self) -> Array | float:
        """Strength of the L1 part a coordinate, or 0."""
        return self.l1_strength

    def l2(self) -> Array | float:
        """Strength of the L2 part a coordinate, or 0."""
        return self.l2_strength

    def prox(self, coef: Array, step: Array | float) -> Array:
        """Soft thresholding: each coordinate moves towards 0 by ``step * l1`` and stops there.

        With a step for each coordinate it is the proximal step in that diagonal metric.
        """
        threshold = step * np.asarray(self.l1_strength)
        return np.sign(coef) * np.maximum(np.abs(coef) - threshold, 0.0)
