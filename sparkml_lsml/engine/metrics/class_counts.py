"""Weights of the rows by label and prediction, and the metrics of classes that follow.

Definitions are those of MLlib's summaries and evaluators.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.metrics.rates import ratio

Array = npt.NDArray[np.float64]

FEW_CLASSES = 16
"""Classes whose pairs take next to no room."""


@dataclass
class ClassCounts:
    """Weights of the rows by label and prediction.

    Examples
    --------
    >>> import numpy as np
    >>> counts = ClassCounts()
    >>> counts.add(np.array([0.0, 1.0, 1.0]), np.ones(3), np.array([0.0, 1.0, 0.0]))
    >>> counts.metrics().recall.tolist()
    [1.0, 0.5]
    """

    counts: dict[tuple[float, float], float] = field(default_factory=dict)

    @staticmethod
    def most_bytes(classes: int) -> int:
        """Bytes that the counts take on their way, at most; next to none for a few classes."""
        return 32 * classes**2 if classes > FEW_CLASSES else 0

    def add(self, y: Array, weight: Array, prediction: Array) -> None:
        """Add rows."""
        labels, label_at = np.unique(y, return_inverse=True)
        found, found_at = np.unique(prediction, return_inverse=True)
        pairs, at = np.unique(label_at * len(found) + found_at, return_inverse=True)
        sums = np.bincount(at, weights=weight, minlength=len(pairs))
        for pair, total in zip(pairs.tolist(), sums.tolist(), strict=True):
            key = float(labels[pair // len(found)]), float(found[pair % len(found)])
            self.counts[key] = self.counts.get(key, 0.0) + total

    def merge(self, other: "ClassCounts") -> Self:
        """Both together, in place."""
        for pair, total in other.counts.items():
            self.counts[pair] = self.counts.get(pair, 0.0) + total
        return self

    def matrix(self) -> tuple[Array, Array]:
        """Classes, of labels and predictions, and the weights with a row for each label."""
        classes = np.unique(list(self.counts))
        matrix = np.zeros((len(classes), len(classes)))
        for (label, found), total in self.counts.items():
            matrix[np.searchsorted(classes, label), np.searchsorted(classes, found)] = total
        return classes, matrix

    def metrics(self) -> "ClassMetrics":
        """What the counts say of each label."""
        pairs = np.array(list(self.counts)).reshape(-1, 2)
        totals = np.array(list(self.counts.values()), dtype=np.float64)
        classes, at = np.unique(pairs, return_inverse=True)
        label, found = at.reshape(-1, 2).T
        right = label == found
        truly, seen, hit = (
            np.bincount(where, weights=weights, minlength=len(classes)).astype(np.float64)
            for where, weights in ((label, totals), (found, totals), (label[right], totals[right]))
        )
        known = np.isin(np.arange(len(classes)), label)
        return ClassMetrics(classes[known], truly[known], seen[known], hit[known])


@dataclass(frozen=True, eq=False)
class ClassMetrics:
    """Metrics of each label that rows have, in ascending order.

    Attributes
    ----------
    labels : array of shape (labels,)
    truly, seen, hit : array of shape (labels,)
        Weight of the rows with the label, of those with such a prediction, and of those with both.
    """

    labels: Array
    truly: Array
    seen: Array
    hit: Array

    @property
    def total(self) -> float:
        """Weight of all rows."""
        return float(self.truly.sum())

    @property
    def precision(self) -> Array:
        """Share of the predictions of a label that are right; 0 for a label never predicted."""
        return ratio(self.hit, self.seen, 0.0)

    @property
    def recall(self) -> Array:
        """Share of the rows with a label that are found."""
        return ratio(self.hit, self.truly, 0.0)

    @property
    def fallout(self) -> Array:
        """Share of the other rows that are taken for the label; NaN where there are no others."""
        return ratio(self.seen - self.hit, self.total - self.truly, np.nan)

    @property
    def accuracy(self) -> float:
        """Share of the rows whose prediction is right."""
        return float(self.hit.sum() / self.total)

    def weighted(self, of_labels: Array) -> float:
        """Mean over the labels, weighted by their rows."""
        return float(self.truly @ of_labels) / self.total
