"""Where the training of a network begins."""

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.predictors.activations import ACTIVATIONS
from sparkml_lsml.engine.predictors.dense import DensePredictor

Array = npt.NDArray[np.float64]


def start(predictor: DensePredictor, seed: int) -> Array:
    r"""Random weights, biases of 0, and constants of the loss of 1.

    Zeros would be a saddle: all units of a layer would stay the same. Weights of n inputs and m
    outputs are uniform in :math:`\pm\sqrt{6 / n}` before ReLU and GELU (He), which halve what they
    are given, and in :math:`\pm\sqrt{6 / (n + m)}` before others and the raw predictions (Glorot):
    of rows of unit variance what the layers hand on has about unit variance then, too.

    Parameters
    ----------
    predictor : DensePredictor
    seed : int

    Returns
    -------
    array of shape (layout.size,)
        In the units of a solver, where rows have unit variance.

    References
    ----------
    Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward neural
    networks, AISTATS; He et al. (2015), Delving deep into rectifiers, ICCV.

    Examples
    --------
    >>> coef = start(DensePredictor((2, 3, 1)), seed=1)
    >>> bool((abs(coef[:6]) < 3**0.5).all()), coef[6:9].tolist()
    (True, [0.0, 0.0, 0.0])
    """
    rng = np.random.default_rng(seed)
    coef = np.zeros(predictor.layout.size)
    coef[predictor.layout.extras] = 1.0
    maps = predictor.maps(coef)
    for number, (W, _) in enumerate(maps):
        outputs, inputs = W.shape
        head = number == len(maps) - 1
        he = not head and ACTIVATIONS[predictor.activation].start == "he"
        bound = (6.0 / (inputs if he else inputs + outputs)) ** 0.5
        W[:] = rng.uniform(-bound, bound, W.shape)
    return coef
