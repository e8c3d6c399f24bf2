"""The Param of the weights of classes."""

import math
from typing import Any, ClassVar

from pyspark.ml.param import Param, Params

from sparkml_lsml.spark.params.bases import CheckedParams
from sparkml_lsml.spark.params.ranges import Range

BALANCED = "balanced"


def to_class_weight(value: Any) -> Any:
    """'', 'balanced', or a map from labels to weights, as floats; the converter of the Param.

    Examples
    --------
    >>> to_class_weight({1: 5, "0": 0.5})
    {0.0: 0.5, 1.0: 5.0}
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise TypeError(f"Could not convert {value!r} to '', 'balanced' or a map of labels")
    try:
        # JSON has strings for keys
        return dict(sorted((float(label), float(weight)) for label, weight in value.items()))
    except (TypeError, ValueError) as error:
        raise TypeError(f"Could not convert {value!r} to a map from labels to weights") from error


def _accepts(value: Any) -> bool:
    if not isinstance(value, dict):
        return value in ("", BALANCED)
    return len(value) > 0 and all(
        label >= 0 and float(label).is_integer() and math.isfinite(weight) and weight > 0
        for label, weight in value.items()
    )


CLASS_WEIGHT = Range(
    _accepts,
    "'' for none, 'balanced', or a map from labels 0, 1, 2, ... to finite weights greater than 0",
)

BINARY_CLASS_WEIGHT = Range(
    lambda v: _accepts(v) and (isinstance(v, str) or set(v) == {0.0, 1.0}),
    "'' for none, 'balanced', or a map from both labels 0 and 1 to finite weights greater than 0",
)


class HasClassWeight(CheckedParams):
    """Mixin for the Param ``classWeight``."""

    classWeight: Param[Any] = Param(
        Params._dummy(),
        "classWeight",
        "What multiplies the weights of the rows of each class: a map from labels to weights, "
        "'balanced' for classes of equal weight in all, '' for none.",
        typeConverter=to_class_weight,
    )

    _ranges: ClassVar[dict[str, Range]] = {}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(classWeight="")
