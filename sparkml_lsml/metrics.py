"""Metrics as sums over rows: each block adds its rows, and the sums merge.

Definitions are those of MLlib's evaluators, so that a model is chosen the same way.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Scores = dict[str, Array]

SCORE_BITS = 40
"""Bits of a score that are dropped: scores that differ by less than 1 in 4,096 count as ties."""

LEAST_PROBABILITY = 1e-15


class Measure(Protocol):
    """Sums over rows from which a metric follows."""

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """Add rows: labels, weights, and scores as `Scorer.score` gives them."""
        ...

    def merge(self, other: Self) -> Self:
        """Both together, in place."""
        ...

    def value(self) -> float:
        """The metric."""
        ...


def _area(y: Array, x: Array) -> float:
    """Area below a line, by trapezoids: SciPy's takes half a second to import, in every worker."""
    return 0.5 * float(np.diff(x) @ (y[1:] + y[:-1]))


def score_order(scores: Array) -> npt.NDArray[np.int64]:
    """Integers in the order of floating-point numbers, none of which may be -0.0."""
    bits = np.ascontiguousarray(scores).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


@dataclass
class Ranking:
    """Areas under the curves of a binary classifier.

    Scores are counted in bins of a relative width of 2^-12, so that a billion rows need no sort;
    rows of one bin count as tied.

    Parameters
    ----------
    metric : {"areaUnderROC", "areaUnderPR"}

    References
    ----------
    Fawcett (2006), An introduction to ROC analysis, Pattern Recognition Letters 27.

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
    bins: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    counts: Array = field(default_factory=lambda: np.zeros((0, 2)))

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """See `Measure.add`."""
        order = score_order(scores["raw"][:, 1] + 0.0) >> SCORE_BITS
        self._add(order, np.stack([weight * (y != 1.0), weight * (y == 1.0)], axis=1))

    def merge(self, other: "Ranking") -> "Ranking":
        """See `Measure.merge`."""
        self._add(other.bins, other.counts)
        return self

    def _add(self, bins: npt.NDArray[np.int64], counts: Array) -> None:
        self.bins, at = np.unique(np.concatenate([self.bins, bins]), return_inverse=True)
        both = np.concatenate([self.counts, counts])
        sums = [np.bincount(at, weights=column, minlength=len(self.bins)) for column in both.T]
        self.counts = np.stack(sums, axis=1)

    def value(self) -> float:
        """See `Measure.value`; 0 or 1 where there is one class only, as in MLlib."""
        counts = self.counts[::-1]  # highest scores first
        negative, positive = np.cumsum(counts, axis=0).T
        negatives, positives = negative[-1], positive[-1]
        recall = positive / positives if positives > 0.0 else np.zeros_like(positive)
        if self.metric == "areaUnderROC":
            fallout = negative / negatives if negatives > 0.0 else np.zeros_like(negative)
            x = np.concatenate([[0.0], fallout, [1.0]])
            return _area(np.concatenate([[0.0], recall, [1.0]]), x)
        seen = positive + negative
        precision = np.divide(positive, seen, out=np.ones_like(seen), where=seen > 0.0)
        y = np.concatenate([precision[:1], precision])
        return _area(y, np.concatenate([[0.0], recall]))


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
    counts: dict[tuple[float, float], float] = field(default_factory=dict)
    loss: float = 0.0

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """See `Measure.add`."""
        pairs, at = np.unique(
            np.stack([y, scores["prediction"]], axis=1), axis=0, return_inverse=True
        )
        sums = np.bincount(at.reshape(-1), weights=weight, minlength=len(pairs))
        for (label, found), total in zip(pairs.tolist(), sums.tolist(), strict=True):
            self.counts[label, found] = self.counts.get((label, found), 0.0) + total
        if self.metric == "logLoss":
            chosen = scores["probability"][np.arange(len(y)), y.astype(np.intp)]
            chosen = np.clip(chosen, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
            self.loss -= float(weight @ np.log(chosen))

    def merge(self, other: "Confusion") -> "Confusion":
        """See `Measure.merge`."""
        for pair, total in other.counts.items():
            self.counts[pair] = self.counts.get(pair, 0.0) + total
        self.loss += other.loss
        return self

    def value(self) -> float:
        """See `Measure.value`."""
        total = sum(self.counts.values())
        if self.metric == "logLoss":
            return self.loss / total
        right = sum(count for (label, found), count in self.counts.items() if label == found)
        if self.metric in ("accuracy", "hammingLoss"):
            share = right / total
            return share if self.metric == "accuracy" else 1.0 - share
        of_labels = {label: 0.0 for label, _ in self.counts}
        result = 0.0
        for label in of_labels:
            truly = sum(c for (y, _), c in self.counts.items() if y == label)
            found = sum(c for (_, p), c in self.counts.items() if p == label)
            hit = self.counts.get((label, label), 0.0)
            precision = hit / found if found > 0.0 else 0.0
            recall = hit / truly if truly > 0.0 else 0.0
            result += self._of_label(precision, recall) * truly / total
        return result

    def _of_label(self, precision: float, recall: float) -> float:
        if self.metric == "weightedPrecision":
            return precision
        if self.metric == "weightedRecall":
            return recall
        square = (1.0 if self.metric == "f1" else self.beta) ** 2
        below = square * precision + recall
        return (1.0 + square) * precision * recall / below if below > 0.0 else 0.0


@dataclass
class Residuals:
    """Metrics of a regression.

    Parameters
    ----------
    metric : {"rmse", "mse", "mae", "r2"}
    """

    metric: str
    weight: float = 0.0
    squares: float = 0.0
    absolutes: float = 0.0
    mean: float = 0.0
    spread: float = 0.0

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """See `Measure.add`."""
        error = y - scores["prediction"]
        total = float(weight.sum())
        mean = float(weight @ y) / total if total > 0.0 else 0.0
        self.merge(
            Residuals(
                self.metric,
                total,
                float(weight @ np.square(error)),
                float(weight @ np.abs(error)),
                mean,
                float(weight @ np.square(y - mean)),
            )
        )

    def merge(self, other: "Residuals") -> "Residuals":
        """See `Measure.merge`."""
        total = self.weight + other.weight
        if other.weight <= 0.0:
            return self
        delta, share = other.mean - self.mean, other.weight / total
        self.spread += other.spread + delta**2 * self.weight * share
        self.mean += delta * share
        self.squares += other.squares
        self.absolutes += other.absolutes
        self.weight = total
        return self

    def value(self) -> float:
        """See `Measure.value`."""
        if self.metric == "r2":
            return 1.0 - self.squares / self.spread if self.spread > 0.0 else float("-inf")
        sums: dict[str, Any] = {"mae": self.absolutes, "mse": self.squares, "rmse": self.squares}
        mean = float(sums[self.metric] / self.weight)
        return float(np.sqrt(mean)) if self.metric == "rmse" else mean
