"""What Params may be: their ranges, in words for errors."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """What a Param may be.

    Parameters
    ----------
    accepts : callable
    expected : str
        The range in words, for the error.
    """

    accepts: Callable[[Any], bool]
    expected: str


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(*names: str) -> Range:
    """A range of names."""
    return Range(lambda v: v in names, "one of " + ", ".join(repr(name) for name in names))


NON_NEGATIVE = Range(lambda v: _number(v) and v >= 0, "a finite number of 0 or more")
POSITIVE = Range(lambda v: _number(v) and v > 0, "a finite number greater than 0")
SHARE = Range(lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1")
FRACTION = Range(lambda v: _number(v) and 0 < v <= 1, "a number greater than 0 and at most 1")
BELOW_ONE = Range(lambda v: _number(v) and 0 <= v < 1, "a number from 0 to below 1")
COUNT = Range(lambda v: _integer(v) and v >= 1, "an integer of 1 or more")
COUNT_OR_ZERO = Range(lambda v: _integer(v) and v >= 0, "an integer of 0 or more")
FLAG = Range(lambda v: isinstance(v, bool), "True or False")
NAME = Range(lambda v: isinstance(v, str) and v != "", "the name of a column")
NAMES = Range(
    lambda v: (
        isinstance(v, list)
        and all(isinstance(name, str) and name for name in v)
        and len({*v}) == len(v)
    ),
    "a list of different names of columns",
)
OPTIONAL_NAME = Range(lambda v: isinstance(v, str), "the name of a column, or '' for none")
ANY_NUMBER = Range(
    lambda v: isinstance(v, int | float) and not isinstance(v, bool) and not math.isnan(v),
    "a number or an infinity",
)
THRESHOLDS = Range(
    lambda v: (
        isinstance(v, list)
        and len(v) > 0
        and all(_number(x) and x >= 0 for x in v)
        and sum(x == 0 for x in v) <= 1
        and sum(v) > 0
    ),
    "a list of finite numbers of 0 or more, at most one of them 0",
)

PASSWORD = re.compile(r"://[^/?#\s]*:[^/?#\s]*@")
"""In a URI, where everybody would see it who sees the Param."""

RANGES = {
    "featuresCol": NAME,
    "featuresCols": NAMES,
    "labelCol": NAME,
    "predictionCol": OPTIONAL_NAME,
    "rawPredictionCol": OPTIONAL_NAME,
    "probabilityCol": OPTIONAL_NAME,
    "weightCol": OPTIONAL_NAME,
    "maxIter": COUNT_OR_ZERO,
    "regParam": NON_NEGATIVE,
    "elasticNetParam": SHARE,
    "tol": NON_NEGATIVE,
    "fitIntercept": FLAG,
    "standardization": FLAG,
    "aggregationDepth": Range(lambda v: _integer(v) and v >= 1, "an integer of 1 or more"),
    "maxBlockSizeInMB": NON_NEGATIVE,
    "thresholds": THRESHOLDS,
    "stepSize": POSITIVE,
    "lineSearch": one_of("backtracking", "fixed"),
    "learningRate": one_of("adaptive", "constant", "invscaling", "optimal"),
    "powerT": POSITIVE,
    "momentum": BELOW_ONE,
    "nesterov": FLAG,
    "averaging": FLAG,
    "varianceReduction": FLAG,
    "miniBatchFraction": FRACTION,
    "batchSize": COUNT,
    "localEpochs": COUNT,
    "seed": COUNT_OR_ZERO,
    "dtype": one_of("float64", "float32"),
    "execution": one_of("auto", "local", "distributed"),
    "checkpointDir": Range(
        lambda v: isinstance(v, str) and not PASSWORD.search(v),
        "a folder, or '' for no checkpoints; passwords belong into Hadoop's configuration",
    ),
    "checkpointInterval": Range(
        lambda v: _integer(v) and (v >= 1 or v == -1), "an integer of 1 or more, or -1 for never"
    ),
    "validationIndicatorCol": OPTIONAL_NAME,
    "patience": COUNT,
    "validationTol": NON_NEGATIVE,
}
"""The ranges of Params whose meaning is the same in every estimator."""
