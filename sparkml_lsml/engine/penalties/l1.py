"""The L1 penalty (lasso)."""

from sparkml_lsml.engine.penalties.base import Array
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet


class L1(ElasticNet):
    r"""Lasso penalty :math:`\sum_j a_j |w_j|`, which sets coefficients to exactly 0.

    Parameters
    ----------
    strength : array of shape (size,) or float
        Strength a coordinate, or one for all.

    References
    ----------
    Tibshirani (1996), Regression Shrinkage and Selection via the Lasso, JRSS B 58.

    Examples
    --------
    >>> import numpy as np
    >>> L1(2.0).value(np.array([-3.0]))
    6.0
    """

    def __init__(self, strength: Array | float) -> None:
        super().__init__(l1_strength=strength, l2_strength=0.0)
