"""The logarithmic loss of probabilities, as a sum over rows."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST_PROBABILITY = 1e-15
"""What a smaller probability counts as where its logarithm is taken, as in MLlib."""


def log_loss(y: Array, weight: Array, probability: Array) -> float:
    """Weighted sum of minus the logarithm of the probability of the label.

    A label that the model has no class for has probability 0.
    """
    label = y.astype(np.intp)
    known = label < probability.shape[1]
    chosen = np.zeros(len(y))
    chosen[known] = probability[known, label[known]]
    chosen = np.clip(chosen, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return -float(weight @ np.log(chosen))
