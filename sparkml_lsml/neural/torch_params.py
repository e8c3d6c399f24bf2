"""Params of networks of PyTorch."""

import json
from typing import Any, ClassVar

from pyspark.ml.param import Param, Params, TypeConverters

from sparkml_lsml.engine.predictors.module import PRECISIONS
from sparkml_lsml.networks import registry
from sparkml_lsml.neural.params import NetworkParams
from sparkml_lsml.spark.params.ranges import Range, one_of


def _plain(value: Any) -> bool:
    """Whether JSON gives back a map of keywords as it is."""
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return False
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


NETWORK = Range(
    registry.is_known,
    f"one of {', '.join(map(repr, registry.READY))}, or the name of a network that was registered "
    "with sparkml_lsml.neural.register",
)
NETWORK_PARAMS = Range(
    _plain, "a map from names of keywords to numbers, strings, booleans, None, or lists of these"
)
SHAPE = Range(
    lambda v: isinstance(v, list) and len(v) >= 1 and all(type(n) is int and n >= 1 for n in v),
    "a list of whole numbers greater than 0, such as [1, 28, 28]",
)


class TorchParams(NetworkParams):
    """Params of networks of PyTorch and of their estimators."""

    network: Param[str] = Param(
        Params._dummy(),
        "network",
        "The network: " + ", ".join(registry.READY) + ", or the name of one that was registered.",
        typeConverter=TypeConverters.toString,
    )
    networkParams: Param[Any] = Param(
        Params._dummy(),
        "networkParams",
        "Keywords of the network: a map from names to values.",
        typeConverter=TypeConverters.identity,
    )
    inputShape: Param[list[int]] = Param(
        Params._dummy(),
        "inputShape",
        "Shape of a row for the network, such as [channels, height, width]; where it is not set, "
        "[features].",
        typeConverter=TypeConverters.toListInt,
    )
    precision: Param[str] = Param(
        Params._dummy(),
        "precision",
        "What products are computed in: " + " or ".join(PRECISIONS) + ".",
        typeConverter=TypeConverters.toString,
    )

    _ranges: ClassVar[dict[str, Range]] = {
        **NetworkParams._ranges,
        "network": NETWORK,
        "networkParams": NETWORK_PARAMS,
        "inputShape": SHAPE,
        "precision": one_of(*PRECISIONS),
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(precision="float32")
