"""The softmax cross-entropy of multinomial logistic regression."""

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.losses.base import Array


@dataclass(frozen=True)
class Multinomial:
    r"""Softmax cross-entropy :math:`\log \sum_k e^{f_k} - f_y` of a label y in {0, 1, ...}.

    The derivative in :math:`f_k` is :math:`p_k - [k = y]` with
    :math:`p_k = e^{f_k} / \sum_j e^{f_j}`. The largest output is subtracted first, so that
    nothing overflows.

    References
    ----------
    Bishop (2006), Pattern Recognition and Machine Learning, 4.3.4.

    Examples
    --------
    >>> import numpy as np
    >>> raw = np.zeros((1, 1, 4))
    >>> value, derivative = Multinomial().value_and_derivative(np.array([2.0]), raw)
    >>> round(float(value[0, 0]), 6), derivative[0, 0].tolist()
    (1.386294, [0.25, 0.25, -0.75, 0.25])
    """

    name: str = "multinomial"
    constants: tuple[str, ...] = ()
    smooth: bool = True
    curvature: float = 0.5

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        rows = np.arange(len(y))
        # rows of other classes than the model's have no weight in it
        label = np.minimum(y.astype(np.intp), raw.shape[2] - 1)
        shifted = raw - raw.max(axis=2, keepdims=True)
        # fancy indexing copies, so the labels' outputs are kept before exp works in place
        chosen = shifted[rows, :, label]
        probability = np.exp(shifted, out=shifted)
        # p - 1 and the logarithm of a sum near 1 cancel where a prediction is certain and right:
        # what the other classes have stays exact
        own = probability[rows, :, label]
        probability[rows, :, label] = 0.0
        others = probability.sum(axis=2)
        total = own + others
        value = np.where(chosen == 0.0, np.log1p(others), np.log(total) - chosen)
        probability[rows, :, label] = -others
        probability /= total[:, :, None]
        return value, probability
