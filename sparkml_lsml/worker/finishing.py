"""From the margins of a linear model to its predictions, as each kind of model has them.

A finish takes margins of shape (rows, outputs), see `Scorer`. A NaN gives NaN.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from sparkml_lsml.engine.metrics.calibration import Calibration, log_odds

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RegressionFinish:
    """Predictions of numbers, which margins are."""

    def __call__(self, margins: Array) -> dict[str, Array]:
        """The prediction of each row."""
        return {"prediction": margins[:, 0]}


@dataclass(frozen=True)
class MarginFinish:
    """Scores from margins of two classes, without probabilities."""

    threshold: float

    def __call__(self, margins: Array) -> dict[str, Array]:
        """Scores and prediction of each row."""
        prediction = np.where(margins[:, 0] > self.threshold, 1.0, 0.0)
        prediction[np.isnan(margins[:, 0])] = np.nan
        return {"raw": np.hstack([-margins, margins]), "prediction": prediction}


@dataclass(frozen=True, eq=False)
class BinaryFinish:
    """Scores from margins of two classes, with logistic probabilities."""

    threshold: float

    @property
    def margin(self) -> float:
        """The margin above which class 1 is predicted."""
        return log_odds(self.threshold)

    def __call__(self, margins: Array) -> dict[str, Array]:
        """Scores and prediction of each row."""
        prediction = np.where(margins[:, 0] > self.margin, 1.0, 0.0)
        prediction[np.isnan(margins[:, 0])] = np.nan
        return {
            "raw": np.hstack([-margins, margins]),
            # 1 - p cancels where p is close to 1
            "probability": expit(np.hstack([-margins, margins])),
            "prediction": prediction,
        }


@dataclass(frozen=True, eq=False)
class CalibratedFinish:
    """Scores from margins of two classes, with calibrated probabilities."""

    calibration: Calibration
    threshold: float

    def __call__(self, margins: Array) -> dict[str, Array]:
        """Scores and prediction of each row."""
        positive = self.calibration(margins[:, 0])
        chosen = self.calibration.exceeds(margins[:, 0], self.threshold)
        prediction = np.where(chosen, 1.0, 0.0)
        prediction[np.isnan(positive)] = np.nan
        return {
            "raw": np.hstack([-margins, margins]),
            "probability": np.column_stack([1.0 - positive, positive]),
            "prediction": prediction,
        }


@dataclass(frozen=True)
class HighestFinish:
    """Scores from margins of all classes, without probabilities."""

    def __call__(self, margins: Array) -> dict[str, Array]:
        """Scores and prediction of each row."""
        prediction = margins.argmax(axis=1).astype(np.float64)
        prediction[np.isnan(margins).any(axis=1)] = np.nan
        return {"raw": margins, "prediction": prediction}


@dataclass(frozen=True, eq=False)
class MultinomialFinish:
    """Scores from margins of all classes, with the probabilities of a softmax."""

    thresholds: Array | None

    @property
    def threshold(self) -> float:
        """Of two classes: the probability of class 1 above which it is predicted."""
        if self.thresholds is None:
            return 0.5
        # p / t1 > (1 - p) / t0
        return float(self.thresholds[1] / self.thresholds.sum())

    def __call__(self, margins: Array) -> dict[str, Array]:
        """Scores and prediction of each row."""
        probability = _softmax(margins)
        scaled = margins
        if self.thresholds is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                scaled = np.where(probability > 0.0, probability / self.thresholds, 0.0)
        prediction = scaled.argmax(axis=1).astype(np.float64)
        prediction[np.isnan(margins).any(axis=1)] = np.nan
        return {"raw": margins, "probability": probability, "prediction": prediction}


def _softmax(margins: Array) -> Array:
    """Probabilities of the classes; as in MLlib an infinite margin has all of it."""
    infinite = margins.max(axis=1) == np.inf
    if infinite.any():
        certain = np.arange(margins.shape[1]) == margins.argmax(axis=1)[:, None]
        margins = np.where(infinite[:, None], np.where(certain, 0.0, -np.inf), margins)
    probability: Array = softmax(margins, axis=1)
    return probability
