"""Metrics that a search compares models by, each from sums over rows that merge.

Definitions are those of MLlib's evaluators, so that a model is chosen the same way.
"""

from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.metrics.class_counts import ClassCounts
from sparkml_lsml.engine.metrics.log_loss import log_loss
from sparkml_lsml.engine.metrics.rates import f_measure
from sparkml_lsml.engine.metrics.residual_sums import ResidualSums
from sparkml_lsml.engine.metrics.score_counts import ScoreCounts

Array = npt.NDArray[np.float64]
Scores = dict[str, Array]


class Measure(Protocol):
    """Sums over rows from which a metric follows."""

    def nbytes(self, classes: int) -> int:
        """Bytes that the sums of a partition take, at most, for a model of so many classes."""
        ...

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """Add rows: labels, weights, and scores as `Scorer.score` gives them."""
        ...

    def merge(self, other: Self) -> Self:
        """Both together, in place."""
        ...

    def value(self) -> float:
        """The metric; NaN where the rows do not define it."""
        ...


@dataclass
class Ranking:
    """Areas under the curves of a binary classifier, see `ScoreCounts`.

    Parameters
    ----------
    metric : {"areaUnderROC", "areaUnderPR"}

    Examples
    --------
    >>> import numpy as np
    >>> ranking = Ranking("areaUnderROC")
    >>> raw = np.array([0.1, 0.4, 0.35, 0.8])
    >>> ranking.add(np.array([0.0, 0.0, 1.0, 1.0]), np.ones(4), {"raw": np.stack([-raw, raw], 1)})
    >>> ranking.value()
    0.75
    """

    metric: str
    counts: ScoreCounts = field(default_factory=ScoreCounts)

    def nbytes(self, classes: int) -> int:
        """See `Measure.nbytes`."""
        return self.counts.most_bytes

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """See `Measure.add`."""
        self.counts.add(y, weight, scores["raw"][:, 1])

    def merge(self, other: "Ranking") -> "Ranking":
        """See `Measure.merge`."""
        self.counts.merge(other.counts)
        return self

    def value(self) -> float:
        """See `Measure.value`: an area needs rows of both classes."""
        curve = self.counts.curve()
        if self.metric == "areaUnderROC":
            return curve.area_under_roc
        return curve.area_under_precision_recall


@dataclass
class Confusion:
    """Metrics of the predicted class.

    Parameters
    ----------
    metric : str
        accuracy, hammingLoss, f1, weightedPrecision, weightedRecall, weightedFMeasure or logLoss.
    beta : float
        Weight of the recall in the F-measure.
    """

    metric: str
    beta: float = 1.0
    counts: ClassCounts = field(default_factory=ClassCounts)
    loss: float = 0.0

    def nbytes(self, classes: int) -> int:
        """See `Measure.nbytes`; each pair of classes has a count."""
        return self.counts.most_bytes(classes)

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """See `Measure.add`."""
        self.counts.add(y, weight, scores["prediction"])
        if self.metric == "logLoss":
            self.loss += log_loss(y, weight, scores["probability"])

    def merge(self, other: "Confusion") -> "Confusion":
        """See `Measure.merge`."""
        self.counts.merge(other.counts)
        self.loss += other.loss
        return self

    def value(self) -> float:
        """See `Measure.value`: these need rows that have weight."""
        found = self.counts.metrics()
        if not found.total > 0.0:
            return float("nan")
        if self.metric == "logLoss":
            return self.loss / found.total
        if self.metric in ("accuracy", "hammingLoss"):
            return found.accuracy if self.metric == "accuracy" else 1.0 - found.accuracy
        if self.metric == "weightedPrecision":
            return found.weighted(found.precision)
        if self.metric == "weightedRecall":
            return found.weighted(found.recall)
        beta = 1.0 if self.metric == "f1" else self.beta
        return found.weighted(f_measure(found.precision, found.recall, beta))


@dataclass
class Residuals:
    """Metrics of a regression.

    Parameters
    ----------
    metric : {"rmse", "mse", "mae", "r2"}
    """

    metric: str
    sums: ResidualSums = field(default_factory=ResidualSums)

    def nbytes(self, classes: int) -> int:
        """See `Measure.nbytes`; a few numbers."""
        return 0

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """See `Measure.add`."""
        self.sums.add(y, weight, scores["prediction"])

    def merge(self, other: "Residuals") -> "Residuals":
        """See `Measure.merge`."""
        self.sums.merge(other.sums)
        return self

    def value(self) -> float:
        """See `Measure.value`: these need weight, and r2 labels that vary."""
        if not self.sums.weight > 0.0:
            return float("nan")
        if self.metric == "r2":
            return self.sums.r2()
        if self.metric == "mae":
            return self.sums.mean_absolute_error
        mean = self.sums.mean_squared_error
        return float(np.sqrt(mean)) if self.metric == "rmse" else mean
