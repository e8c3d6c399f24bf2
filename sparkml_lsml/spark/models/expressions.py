"""What a model makes of its margins, as expressions of Spark.

What becomes of null, of NaN, of infinite margins and of thresholds is said here as the finishes of
`sparkml_lsml.worker.finishing` say it to NumPy. They are texts in SQL, which Spark parses at once:
their nodes, made in Python by a call of the JVM each, took longer than 100,000 rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
from pyspark.ml.functions import array_to_vector
from pyspark.sql import Column

from sparkml_lsml.engine.metrics.calibration import SigmoidCalibration, log_odds
from sparkml_lsml.engine.predictors import LinearPredictor
from sparkml_lsml.worker.finishing import (
    BinaryFinish,
    CalibratedFinish,
    HighestFinish,
    MarginFinish,
    MultinomialFinish,
    RegressionFinish,
)
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]

NAN, INFINITY = "double('NaN')", "double('Infinity')"

FEATURES, MARGIN, RAW, PROBABILITY, MARGINS, SOFTMAX, SCALED = TEMPORARY = tuple(
    f"__sparkml_lsml_{name}"
    for name in ("features", "margin", "raw", "probability", "margins", "softmax", "scaled")
)
"""Columns that the scores are made of, to be dropped behind them."""


@dataclass(frozen=True)
class TwoClasses:
    """When class 1 is predicted, and its probability.

    Parameters
    ----------
    bound : float
        What the margin, or the log-odds where there are some, has to exceed for class 1.
    slope, intercept : float, optional
        The log-odds of class 1 are ``slope * margin + intercept``; None without probabilities.
    """

    bound: float
    slope: float | None = None
    intercept: float = 0.0


def two_classes(finish: Any) -> TwoClasses | None:
    """What a finish makes of the one margin of two classes; None where expressions cannot."""
    match finish:
        case MarginFinish():
            return TwoClasses(finish.threshold)
        case BinaryFinish():
            return TwoClasses(finish.margin, 1.0)
        case CalibratedFinish(calibration=SigmoidCalibration() as found):
            return TwoClasses(log_odds(finish.threshold), -found.slope, -found.intercept)
    return None


def computes(scorer: Scorer) -> bool:
    """Whether there are expressions for what a model makes of its margins."""
    if not isinstance(scorer.predictor, LinearPredictor):
        return False
    if scorer.predictor.layout.outputs > 1:
        return isinstance(scorer.finish, HighestFinish | MultinomialFinish)
    return isinstance(scorer.finish, RegressionFinish) or two_classes(scorer.finish) is not None


def is_one_margin(scorer: Scorer) -> bool:
    """Whether there are expressions, and of a single margin."""
    return computes(scorer) and scorer.predictor.outputs == 1


def of_one_margin(scorer: Scorer) -> dict[str, str]:
    """The scores of each kind, of a column `MARGIN`, as `score` takes them."""
    two = two_classes(scorer.finish)
    if two is None:
        return {"prediction": MARGIN}
    value = MARGIN
    if two.slope is not None:
        value = f"({MARGIN} * {_number(two.slope)} + {_number(two.intercept)})"
    return {
        "raw": f"array(-{MARGIN}, {MARGIN})",
        # each for itself: 1 - p cancels where p is close to 1
        "probability": f"array(1D / (1D + exp({value})), 1D / (1D + exp(-{value})))",
        # NaN is larger than any number to Spark
        "prediction": f"CASE WHEN isnan({value}) THEN {NAN} "
        f"WHEN {value} > {_number(two.bound)} THEN 1D ELSE 0D END",
    }


def probability_of_all_margins() -> str:
    """The softmax of a column `MARGINS`, from that of MLlib, which knows no infinite margins."""
    highest = f"array_max({MARGINS})"  # NaN, where there is one
    certain = f"IF(n = {_position(MARGINS, highest)}, 1D, 0D)"
    return (
        # NaN is not below infinity, to Spark
        f"CASE WHEN {highest} < {INFINITY} THEN {SOFTMAX} "
        f"WHEN isnan({highest}) THEN transform({MARGINS}, m -> {NAN}) "
        f"ELSE transform({MARGINS}, (m, n) -> {certain}) END"
    )


def scaled(probability: str, thresholds: Array) -> str:
    """Probabilities by thresholds, of which the largest wins."""
    each = f"array({', '.join(map(_number, thresholds.tolist()))})"
    quotient = f"IF(t = 0D, {INFINITY}, p / t)"
    return f"zip_with({probability}, {each}, (p, t) -> IF(p > 0D, {quotient}, 0D))"


def largest(numbers: str) -> str:
    """The class with the largest of some numbers; NaN where a column `MARGINS` has one."""
    chosen = f"double({_position(numbers, f'array_max({numbers})')})"
    return f"CASE WHEN isnan(array_max({MARGINS})) THEN {NAN} ELSE {chosen} END"


def score(text: str, kind: str) -> Column:
    """The score of a text, which is of the numbers of a vector, or the name of one."""
    made = F.expr(text)
    return made if kind == "prediction" or text in TEMPORARY else array_to_vector(made)


def _position(numbers: str, number: str) -> str:
    """Where a number is for the first time, from 0."""
    return f"(array_position({numbers}, {number}) - 1)"


def _number(value: float) -> str:
    """A number in SQL, to the last digit."""
    return f"{value!r}D" if np.isfinite(value) else f"double('{value}')"
