"""The weights of a network as one vector, in MLlib's order and in that of the layout."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.predictors import DensePredictor

Array = npt.NDArray[np.float64]

MLLIB_SPREAD = 2.4
"""Largest weight that MLlib's networks start with, times the root of the inputs of its layer."""


def network_of(layers: Sequence[int], activation: str) -> DensePredictor:
    """The network that scores, in double precision, whatever it was trained in.

    Raises
    ------
    ValueError
        If the layers are no sizes of layers.
    """
    if not all(type(size) is int for size in layers):
        raise ValueError(f"layers={layers!r}: expected whole numbers")
    return DensePredictor(tuple(layers), activation, precision="float64")


def in_mllibs_order(network: DensePredictor, coef: Array) -> Array:
    """Layer after layer the weights, input after input, and the biases.

    Parameters
    ----------
    network : DensePredictor
    coef : array of shape (layout.size,)
    """
    return np.concatenate([p for W, b in network.maps(coef) for p in (W.ravel(order="F"), b)])


def in_own_order(network: DensePredictor, weights: Array) -> Array:
    """The inverse of `in_mllibs_order`.

    Raises
    ------
    ValueError
        If they are not as many as the network has.
    """
    # views of the places show which number goes where, whatever the layout
    places = in_mllibs_order(network, np.arange(network.layout.size, dtype=np.float64))
    if weights.shape != places.shape:
        raise ValueError(
            f"found weights of shape {weights.shape} for layers {list(network.sizes)}: expected "
            f"{len(places):,} numbers"
        )
    coef = np.empty(len(places))
    coef[places.astype(np.intp)] = weights
    return coef


def mllibs_start(network: DensePredictor, seed: int) -> Array:
    """Weights and biases that are drawn as MLlib draws them, from another generator.

    Uniform in plus and minus 2.4 over the root of the inputs of the layer.
    """
    rng = np.random.default_rng(seed)
    coef = np.zeros(network.layout.size)
    for W, b in network.maps(coef):
        spread = MLLIB_SPREAD / W.shape[1] ** 0.5
        W[:] = rng.uniform(-spread, spread, W.shape)
        b[:] = rng.uniform(-spread, spread, b.shape)
    return coef
