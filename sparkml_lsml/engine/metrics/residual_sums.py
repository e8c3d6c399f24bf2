"""Sums over labels, predictions and residuals, and the metrics of a regression that follow.

Definitions are those of MLlib's summaries and evaluators.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass
class ResidualSums:
    """Moments of labels, predictions and residuals (label less prediction).

    Attributes
    ----------
    rows : int
    weight : float
    squares, absolutes : float
        Weighted sums over the residuals.
    label_mean, label_m2 : float
        Mean of the label, and weighted sum of its squared deviations from that.
    prediction_mean, prediction_m2 : float
        The same of the prediction.
    low, high : float
        Extremes of the residuals times the square root of the weight.
    least, most : float
        Extremes of the label among rows that have weight.
    """

    rows: int = 0
    weight: float = 0.0
    squares: float = 0.0
    absolutes: float = 0.0
    label_mean: float = 0.0
    label_m2: float = 0.0
    prediction_mean: float = 0.0
    prediction_m2: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    least: float = np.inf
    most: float = -np.inf

    def add(self, y: Array, weight: Array, prediction: Array) -> None:
        """Add rows."""
        if not len(y):
            return
        counted = y[weight > 0.0]
        error = y - prediction
        total = float(weight.sum())
        mean, centre = (float(weight @ v) / total if total > 0.0 else 0.0 for v in (y, prediction))
        scaled = np.sqrt(weight) * error
        self.merge(
            ResidualSums(
                len(y),
                total,
                float(weight @ np.square(error)),
                float(weight @ np.abs(error)),
                mean,
                float(weight @ np.square(y - mean)),
                centre,
                float(weight @ np.square(prediction - centre)),
                float(scaled.min()),
                float(scaled.max()),
                float(counted.min(initial=np.inf)),
                float(counted.max(initial=-np.inf)),
            )
        )

    def merge(self, other: "ResidualSums") -> Self:
        """Both together, in place."""
        self.rows += other.rows
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        if other.weight <= 0.0:
            return self
        total = self.weight + other.weight
        share = other.weight / total
        # about the means of both, as in Chan, Golub and LeVeque (1983)
        delta = other.label_mean - self.label_mean
        step = other.prediction_mean - self.prediction_mean
        self.label_m2 += other.label_m2 + delta**2 * self.weight * share
        self.prediction_m2 += other.prediction_m2 + step**2 * self.weight * share
        self.label_mean += delta * share
        self.prediction_mean += step * share
        self.squares += other.squares
        self.absolutes += other.absolutes
        self.weight = total
        return self

    @property
    def mean_squared_error(self) -> float:
        """Mean of the squared residuals."""
        return self.squares / self.weight

    @property
    def mean_absolute_error(self) -> float:
        """Mean size of the residuals."""
        return self.absolutes / self.weight

    @property
    def explained_variance(self) -> float:
        """Mean squared deviation of the predictions from the mean label, as MLlib defines it."""
        return self.prediction_m2 / self.weight + (self.prediction_mean - self.label_mean) ** 2

    def r2(self, through_origin: bool = False) -> float:
        """Coefficient of determination, about 0 instead of the mean label where asked to.

        NaN where the labels do not vary, as of one row; about 0, where all of them are 0.
        """
        # rounding may leave the spread of equal labels above 0
        varies = self.least < self.most or (through_origin and self.least == self.most != 0.0)
        about = self.label_m2 + (self.weight * self.label_mean**2 if through_origin else 0.0)
        return 1.0 - self.squares / about if varies and about > 0.0 else float("nan")
