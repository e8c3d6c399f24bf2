"""The L2 penalty (ridge)."""

from sparkml_lsml.engine.penalties.base import Array
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet


class L2(ElasticNet):
    r"""Ridge penalty :math:`\sum_j \frac{1}{2} b_j w_j^2`.

    Parameters
    ----------
    strength : array of shape (size,) or float
        Strength a coordinate, or one for all.

    References
    ----------
    Hoerl and Kennard (1970), Ridge Regression, Technometrics 12.

    Examples
    --------
    >>> import numpy as np
    >>> L2(2.0).value(np.array([3.0]))
    9.0
    """

    def __init__(self, strength: Array | float) -> None:
        super().__init__(l1_strength=0.0, l2_strength=strength)
