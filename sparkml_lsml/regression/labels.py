"""What the labels of a regression say of the units that it is solved in."""

import numpy as np

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.losses import Huber, Loss, Squared

LOSSES: dict[str, Loss] = {"squaredError": Squared(), "huber": Huber()}
"""The losses of regressions, beside those of users."""


def label_moments(report: Report, sample: bool) -> tuple[float, float, int]:
    """Weighted mean and standard deviation of the label, and the number of rows."""
    moments = report.label_moments
    if moments is None:  # pragma: no cover - blocks with rows always have moments
        raise AssertionError("no moments of the label")
    deviation = float(np.sqrt(moments.variance(sample)[0]))
    return float(moments.mean()[0]), deviation, moments.rows


def label_units(loss: Loss, mean: float, deviation: float) -> tuple[float, float]:
    """The unit of the labels that a solver works in, and where it starts, in that unit.

    The way to the minimum depends on them, not the minimum.

    Parameters
    ----------
    loss : Loss
    mean, deviation : float
        Of the labels.
    """
    if deviation == 0.0:
        deviation = abs(mean) or 1.0  # a constant label: MLlib's unit is its size
    if loss.name in LOSSES or _predicts_labels(loss, mean, deviation):
        return deviation, mean / deviation
    return 1.0, 0.0


def _predicts_labels(loss: Loss, mean: float, deviation: float) -> bool:
    """Whether a user's loss is least where the prediction is the label, and not a function of it.

    Otherwise, as with Poisson's loss, its unit is not the label's.
    """
    points = mean + deviation * np.array([-1.0, 0.0, 1.0])
    value, _ = loss.value_and_derivative(np.array([mean]), points[None, :, None])
    left, middle, right = value[0]
    return bool(middle < min(left, right))
