"""What the driver learns of the rows while they are packed."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_lsml.engine.blocks.arrow import Features
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.moments import Moments
from sparkml_lsml.engine.blocks.origin import Origin

Array = npt.NDArray[np.float64]
Task = Literal["binary", "multiclass", "regression"]

MAX_LABELS_COUNTED = 100_000
"""Distinct labels that are counted; more of them means that these are not classes."""

PROBLEMS = {
    "null_labels": "rows whose label is null",
    "bad_labels": "rows whose label is NaN or infinite",
    "wrong_labels": "rows whose label is out of range",
    "null_weights": "rows whose weight is null",
    "bad_weights": "rows whose weight is NaN, infinite or negative",
    "null_features": "rows whose features are null",
    "bad_features": "rows whose features hold NaN, infinity or null",
    "bad_folds": "rows whose fold, or validation indicator, is null or not one of the folds",
    "bad_indices": "sparse rows whose indices are negative, too large, not increasing or not as "
    "many as the values",
}
"""What is counted of rows that cannot be used."""


@dataclass(eq=False)
class Report:
    """What the driver learns of the rows while they are packed; merges over partitions.

    Attributes
    ----------
    problems : dict of str to int
        Counts of unusable rows, by the keys of `PROBLEMS`.
    examples : dict of str to str
        One offending value for each.
    shortest, longest : int
        Number of features of the shortest and of the longest row; -1 before the first.
    moments, label_moments : Moments or None
        Of the features, where they were asked for, and of the labels as a single column.
    labels : dict of float to (int, float)
        Rows of positive weight, and their weight, of each class; empty for a regression.
    too_many_labels : bool
    label_means : list of (float, float)
        Weight and mean label of each partition: they show sorted rows.
    folds : list of Report
        Of the rows of each fold: lengths, moments and labels.
    origin : Origin or None
        What all these rows were packed less of; the driver knows.
    row_groups : list of (str, tuple of int, int)
        Of tasks that read Parquet files themselves: a file, its row groups that were read, and how
        many it has.
    unreadable : str
        Why such a task could not read its files; '' if all could.
    """

    problems: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    shortest: int = -1
    longest: int = -1
    moments: Moments | None = None
    label_moments: Moments | None = None
    labels: dict[float, tuple[int, float]] = field(default_factory=dict)
    too_many_labels: bool = False
    label_means: list[tuple[float, float]] = field(default_factory=list)
    handles: list[tuple[int, Handle]] = field(default_factory=list)
    folds: list["Report"] = field(default_factory=list)
    origin: Origin | None = None
    row_groups: list[tuple[str, tuple[int, ...], int]] = field(default_factory=list)
    unreadable: str = ""

    def merge(self, other: "Report") -> "Report":
        """Add the report of other partitions, in place."""
        for key, count in other.problems.items():
            self.problems[key] = self.problems.get(key, 0) + count
            self.examples.setdefault(key, other.examples.get(key, ""))
        if other.longest >= 0:
            self.see_lengths(other.shortest, other.longest)
        if self.shortest == self.longest:
            self.moments = merged(self.moments, other.moments)
        self.label_moments = merged(self.label_moments, other.label_moments)
        for label, (rows, weight) in other.labels.items():
            mine = self.labels.get(label, (0, 0.0))
            self.labels[label] = (mine[0] + rows, mine[1] + weight)
        self.too_many_labels |= other.too_many_labels or len(self.labels) > MAX_LABELS_COUNTED
        self.label_means += other.label_means
        if self.folds and other.folds:
            for fold, theirs in zip(self.folds, other.folds, strict=True):
                fold.merge(theirs)
        else:
            self.folds = self.folds or other.folds
        self.handles += other.handles
        self.origin = self.origin or other.origin
        self.row_groups += other.row_groups
        self.unreadable = self.unreadable or other.unreadable
        return self

    def count(self, problem: str, rows: npt.NDArray[np.bool_], values: Any = None) -> None:
        """Count the rows that have a problem, and keep one value as an example."""
        number = int(np.count_nonzero(rows))
        if number:
            self.problems[problem] = self.problems.get(problem, 0) + number
            if values is not None:
                self.examples.setdefault(problem, str(float(values[rows][0])))

    def labels_of(self, column: pa.Array, task: Task) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Labels, and which of them are usable; the others are counted."""
        valid = _valid(column)
        self.count("null_labels", ~valid)
        y = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        finite = np.isfinite(y)
        self.count("bad_labels", valid & ~finite, y)
        usable = valid & finite
        if task == "regression":
            return y, usable
        if task == "binary":
            wrong = usable & (y != 0.0) & (y != 1.0)
        else:
            wrong = usable & ((y < 0.0) | (y != np.floor(y)))
        self.count("wrong_labels", wrong, y)
        return y, usable & ~wrong

    def weights_of(self, column: pa.Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Weights, and which of them are usable; the others are counted."""
        valid = _valid(column)
        self.count("null_weights", ~valid)
        weight = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        good = np.isfinite(weight) & (weight >= 0.0)
        self.count("bad_weights", valid & ~good, weight)
        return weight, valid & good

    def see_features(self, features: Features) -> None:
        """Count rows without features or with bad indices, and note the lengths of the others."""
        self.count("null_features", ~features.present)
        if features.bad_indices:
            self.problems["bad_indices"] = (
                self.problems.get("bad_indices", 0) + features.bad_indices
            )
        if features.longest or features.X is not None:
            self.see_lengths(features.shortest, features.longest)

    def see_lengths(self, shortest: int, longest: int) -> None:
        """Note the numbers of features of more rows."""
        self.shortest = shortest if self.shortest < 0 else min(self.shortest, shortest)
        self.longest = max(self.longest, longest)

    @property
    def usable(self) -> bool:
        """Whether all rows seen so far can be trained on."""
        return not self.problems and self.shortest == self.longest and not self.too_many_labels


def note_labels(report: Report, y: Array, weight: Array | None, task: Task) -> None:
    """Add labels to a report: their moments, and where they are classes the count of each.

    Rows of weight 0 count for no class, as in MLlib: a class that has no others is not there.
    """
    report.label_moments = merged(report.label_moments, Moments.of_rows(y[:, None], weight))
    if task == "regression":
        return
    if weight is not None:
        y, weight = y[weight > 0.0], weight[weight > 0.0]
    values, at = np.unique(y, return_inverse=True)
    rows = np.bincount(at)
    weights = rows if weight is None else np.bincount(at, weights=weight)
    part = Report(
        labels={
            float(value): (int(count), float(total))
            for value, count, total in zip(values, rows, weights, strict=True)
        }
    )
    report.merge(part)


def merged(left: Moments | None, right: Moments | None) -> Moments | None:
    """Both together; None where there are none."""
    if left is None or right is None:
        return left if right is None else right
    return left.merge(right)


def _valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    valid: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid
