"""What is summed over rows, from which metrics follow: each part adds its rows, and parts merge.

Definitions are those of MLlib's summaries and evaluators.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MOST_SCORES = 8_192
"""Different scores that are kept with their weights; of more, what lies between them is summed."""

AT_ONCE = 2
"""Rows that wait to be added, in multiples of the scores that are kept."""

WIDEST = float(np.finfo(np.float64).max) / 4.0
"""Scores beyond are taken for this where weight is spread between two."""

FINEST = 1e-6
"""Share of a class, from the top, below which ranks are told apart no better than at this share."""

TINY = 1e-300

FEW_CLASSES = 16
"""Classes whose pairs take next to no room."""

LEAST_PROBABILITY = 1e-15
"""What a smaller probability counts as where its logarithm is taken, as in MLlib."""

_SIGN = np.int64(-(2**63))


def _ratio(part: Array, whole: Array, otherwise: float) -> Array:
    """Quotients, with another value where the denominator is 0."""
    return np.divide(part, whole, out=np.full_like(part, otherwise), where=whole > 0.0)


def f_measure(precision: Array, recall: Array, beta: float = 1.0) -> Array:
    """Weighted harmonic mean of precision and recall; 0 where both are 0."""
    square = beta**2
    return _ratio((1.0 + square) * precision * recall, square * precision + recall, 0.0)


def score_order(scores: Array) -> Integers:
    """Integers in the order of floating-point numbers; 0 for zeros of both signs."""
    bits = np.ascontiguousarray(scores).view(np.int64)
    return np.where(bits < 0, _SIGN - bits, bits)


def area(y: Array, x: Array) -> float:
    """Area below a line, by trapezoids: SciPy's takes half a second to import, in every worker."""
    return 0.5 * float(np.diff(x) @ (y[1:] + y[:-1]))


def log_loss(y: Array, weight: Array, probability: Array) -> float:
    """Weighted sum of minus the logarithm of the probability of the label.

    A label that the model has no class for has probability 0.
    """
    label = y.astype(np.intp)
    known = label < probability.shape[1]
    chosen = np.zeros(len(y))
    chosen[known] = probability[known, label[known]]
    chosen = np.clip(chosen, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return -float(weight @ np.log(chosen))


@dataclass(frozen=True, eq=False)
class Curve:
    """What a threshold on a score does: rows whose score is at least that count as positive.

    Attributes
    ----------
    threshold : array of shape (points,)
        Falling.
    true, false : array of shape (points,)
        Weight of the rows of class 1, and of class 0, that are found positive.

    References
    ----------
    Fawcett (2006), An introduction to ROC analysis, Pattern Recognition Letters 27.
    """

    threshold: Array
    true: Array
    false: Array

    @cached_property
    def recall(self) -> Array:
        """Share of class 1 that is found; 0 where there are no such rows."""
        return _ratio(self.true, np.full_like(self.true, self.true[-1]), 0.0)

    @cached_property
    def fallout(self) -> Array:
        """Share of class 0 that is found positive; 0 where there are no such rows."""
        return _ratio(self.false, np.full_like(self.false, self.false[-1]), 0.0)

    @cached_property
    def precision(self) -> Array:
        """Share of class 1 among the rows that are found positive; 1 where none is."""
        return _ratio(self.true, self.true + self.false, 1.0)

    def f_measure(self, beta: float = 1.0) -> Array:
        """F-measure at each threshold."""
        return f_measure(self.precision, self.recall, beta)

    def roc(self) -> tuple[Array, Array]:
        """False and true positive rates, from (0, 0) to (1, 1)."""
        x, y = (np.concatenate([[0.0], rate, [1.0]]) for rate in (self.fallout, self.recall))
        return x, y

    def precision_recall(self) -> tuple[Array, Array]:
        """Recall and precision, from recall 0 with the precision of the highest score."""
        recall = np.concatenate([[0.0], self.recall])
        return recall, np.concatenate([self.precision[:1], self.precision])

    @property
    def _has_both(self) -> bool:
        """Whether rows of both classes have weight."""
        return bool(len(self.true) and self.true[-1] > 0.0 and self.false[-1] > 0.0)

    @property
    def area_under_roc(self) -> float:
        """Area under the receiver operating characteristic; NaN without rows of both classes."""
        if not self._has_both:
            return float("nan")
        x, y = self.roc()
        return area(y, x)

    @property
    def area_under_precision_recall(self) -> float:
        """Area under precision over recall, by trapezoids as in MLlib; NaN as the other area."""
        if not self._has_both:
            return float("nan")
        x, y = self.precision_recall()
        return area(y, x)


@dataclass
class ScoreCounts:
    """Weights of both classes by score, in bounded memory and without a sort of all rows.

    While there are at most ``most`` different scores, each is kept with its weights. With more,
    some are kept, and of the others only the weight between two neighbours, which counts as spread
    evenly over the scores there. So a rank is off by less than what lies between two scores, and
    not always in the same direction, however rows are cut into parts that merge.

    Which scores are kept follows from ranks, half of them by the rank in either class and half by
    its logarithm from the top: the precision of the first rows that are found rests on the few rows
    of the other class above them, so that rows of a rare class keep their places.

    Parameters
    ----------
    most : int
        Scores that are kept, at most; 2 or more.

    Attributes
    ----------
    scores : array of shape (scores,)
        In ascending order.
    counts : array of shape (scores, 2)
        Weights of class 0 and 1 at each score.
    between : array of shape (scores, 2)
        Weights below each score and above the one before.
    waiting : list of (scores, weights of class 0, weights of class 1)
        Rows that are not in these yet.

    References
    ----------
    Ben-Haim and Tom-Tov (2010), A streaming parallel decision tree algorithm, JMLR 11, for
    histograms that merge by interpolation; Dunning and Ertl (2019), Computing extremely accurate
    quantiles using t-digests, for a resolution that grows towards an end of the ranks.

    Examples
    --------
    >>> import numpy as np
    >>> counts = ScoreCounts()
    >>> counts.add(np.array([0.0, 0.0, 1.0, 1.0]), np.ones(4), np.array([0.1, 0.4, 0.35, 0.8]))
    >>> counts.curve().area_under_roc
    0.75
    """

    most: int = MOST_SCORES
    scores: Array = field(default_factory=lambda: np.zeros(0))
    counts: Array = field(default_factory=lambda: np.zeros((0, 2)))
    between: Array = field(default_factory=lambda: np.zeros((0, 2)))
    waiting: list[tuple[Array, Array, Array]] = field(default_factory=list)

    @property
    def most_bytes(self) -> int:
        """Bytes of what is sent, at most."""
        return 40 * self.most

    def add(self, y: Array, weight: Array, score: Array) -> None:
        """Add rows of class 1, where y is 1, or else of class 0."""
        self.waiting.append((score.copy(), weight * (y != 1.0), weight * (y == 1.0)))
        # each time all that is kept is sorted, so rows wait until it is worth it
        if sum(len(each) for each, _, _ in self.waiting) >= AT_ONCE * self.most:
            self._settle()

    def merge(self, other: "ScoreCounts") -> Self:
        """Both together, in place."""
        self._settle()
        other._settle()
        self._add(other)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What is sent: no rows."""
        self._settle()
        return self.__dict__

    def _settle(self) -> None:
        """Add the rows that wait."""
        if not self.waiting:
            return
        score, *classes = map(np.concatenate, zip(*self.waiting, strict=True))
        self.waiting = []
        scores, at = np.unique(score, return_inverse=True)
        sums = [np.bincount(at, weights=each, minlength=len(scores)) for each in classes]
        counts = np.stack(sums, axis=1).astype(np.float64)
        self._add(ScoreCounts(self.most, scores, counts, np.zeros_like(counts)))

    def _add(self, other: "ScoreCounts") -> None:
        scores = np.union1d(self.scores, other.scores)
        mine, theirs = self._at(scores), other._at(scores)
        self.scores, self.counts, self.between = scores, mine[0] + theirs[0], mine[1] + theirs[1]
        if len(scores) > self.most:
            self._join()

    def _at(self, scores: Array) -> tuple[Array, Array]:
        """``counts`` and ``between`` for more scores, which hold all of its own."""
        counts, between = np.zeros((len(scores), 2)), np.zeros((len(scores), 2))
        counts[np.searchsorted(scores, self.scores)] = self.counts
        if self.between.any():
            # what lies between two of its scores is cut where others lie between them
            above = np.searchsorted(self.scores, scores)
            inside = (above > 0) & (above < len(self.scores))
            above = np.where(inside, above, 1)
            new, own = (np.clip(each, -WIDEST, WIDEST) for each in (scores, self.scores))
            width = own[above] - own[above - 1]
            last = (scores == self.scores[above]).astype(np.float64)
            share = np.divide(np.diff(new, prepend=new[0]), width, out=last, where=width > 0.0)
            between = self.between[above] * np.where(inside, share, 0.0)[:, None]
        return counts, between

    def _join(self) -> None:
        """Keep ``most`` of the scores, about evenly over the ranks; see the class."""
        totals = self.counts.sum(axis=0) + self.between.sum(axis=0)
        size = self.counts / np.where(totals > 0.0, totals, 1.0)
        gaps = self.between / np.where(totals > 0.0, totals, 1.0)
        # the share of each class above the middle of each score
        above = np.cumsum((size + np.roll(gaps, -1, axis=0))[::-1], axis=0)[::-1] - 0.5 * size
        above = np.clip(above, 0.0, 1.0)
        places = -(above + np.log1p(above / FINEST) / np.log1p(1.0 / FINEST)).sum(axis=1)
        places = (places - places[0]) / max(places[-1] - places[0], TINY)
        # as many parts as there is room for a score in each: some parts are empty
        fewest, parts = self.most // 2, 64 * self.most
        while parts - fewest > max(1, fewest // 64):
            middle = (fewest + parts) // 2
            used = 1 + np.count_nonzero(np.diff(np.floor(places * middle)))
            fewest, parts = (middle, parts) if used + 2 <= self.most else (fewest, middle)
        part = np.floor(places * fewest)
        starts = np.flatnonzero(np.diff(part, prepend=-1.0))
        lengths = np.diff(starts, append=len(part))
        # of those that weigh much the one in the middle of its part: to take the highest would
        # leave a gap of its class above each score that is kept, which is then filled again
        weight = size.sum(axis=1)
        heavy = weight >= 0.5 * np.repeat(np.maximum.reduceat(weight, starts), lengths)
        chosen = np.lexsort((-np.abs(places * fewest - part - 0.5), heavy, part))
        kept = np.union1d(chosen[starts + lengths - 1], [0, len(part) - 1])
        rest = self.counts.copy()
        rest[kept] = 0.0
        self.between = np.add.reduceat(rest + self.between, np.append(0, kept[:-1] + 1), axis=0)
        self.counts, self.scores = self.counts[kept], self.scores[kept]

    def curve(self) -> Curve:
        """The classes above each threshold: each score, and what is next above where rows were."""
        self._settle()
        steps = np.stack([np.roll(self.between, -1, axis=0), self.counts], axis=1)[::-1]
        steps = steps.reshape(-1, 2)
        threshold = np.repeat(self.scores[::-1], 2)
        threshold[::2] = np.nextafter(threshold[::2], np.inf)
        used = np.ones(len(steps), dtype=bool)
        used[::2] = (steps[::2] > 0.0).any(axis=1)
        false, true = np.cumsum(steps, axis=0)[used].T
        return Curve(threshold[used], true, false)


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
        return _ratio(self.hit, self.seen, 0.0)

    @property
    def recall(self) -> Array:
        """Share of the rows with a label that are found."""
        return _ratio(self.hit, self.truly, 0.0)

    @property
    def fallout(self) -> Array:
        """Share of the other rows that are taken for the label; NaN where there are no others."""
        return _ratio(self.seen - self.hit, self.total - self.truly, np.nan)

    @property
    def accuracy(self) -> float:
        """Share of the rows whose prediction is right."""
        return float(self.hit.sum() / self.total)

    def weighted(self, of_labels: Array) -> float:
        """Mean over the labels, weighted by their rows."""
        return float(self.truly @ of_labels) / self.total


@dataclass
class ResidualSums:
    """Moments of labels, predictions and residuals (label less prediction).

    Attributes
    ----------
    rows : int
    weight : float
    squares, absolutes : float
        Weighted sums over the residuals.
    mean, spread : float
        Mean of the label, and weighted sum of its squared deviations from that.
    centre, width : float
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
    mean: float = 0.0
    spread: float = 0.0
    centre: float = 0.0
    width: float = 0.0
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
        delta, step = other.mean - self.mean, other.centre - self.centre
        self.spread += other.spread + delta**2 * self.weight * share
        self.width += other.width + step**2 * self.weight * share
        self.mean += delta * share
        self.centre += step * share
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
        return self.width / self.weight + (self.centre - self.mean) ** 2

    def r2(self, through_origin: bool = False) -> float:
        """Coefficient of determination, about 0 instead of the mean label where asked to.

        NaN where the labels do not vary, as of one row; about 0, where all of them are 0.
        """
        # rounding may leave the spread of equal labels above 0
        varies = self.least < self.most or (through_origin and self.least == self.most != 0.0)
        about = self.spread + (self.weight * self.mean**2 if through_origin else 0.0)
        return 1.0 - self.squares / about if varies and about > 0.0 else float("nan")


@dataclass
class RowSample:
    """Some of the rows, drawn uniformly: those with the least of hashed keys.

    Parameters
    ----------
    size : int
        Rows that are kept, at most.

    References
    ----------
    Duffield, Lund and Thorup (2007), Priority sampling for estimation of arbitrary subset sums,
    Journal of the ACM 54; with equal weights.
    """

    size: int = 2_000
    rows: int = 0
    keys: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    values: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, columns: Sequence[Array]) -> None:
        """Add rows, a column for each of their values."""
        values = np.stack(columns, axis=1)
        # of values and number of the row, so that the same rows give the same sample
        keys = np.arange(self.rows, self.rows + len(values)).astype(np.uint64)
        for column in columns:
            keys = _mix(keys ^ column.view(np.uint64))
        self.rows += len(values)
        self._keep(keys, values)

    def merge(self, other: "RowSample") -> Self:
        """Both together, in place."""
        self.rows += other.rows
        self._keep(other.keys, other.values)
        return self

    def _keep(self, keys: npt.NDArray[np.uint64], values: Array) -> None:
        if not len(self.keys):
            self.values = values[:0]
        if len(keys):
            keys, values = np.concatenate([self.keys, keys]), np.concatenate([self.values, values])
            first = np.argsort(keys, kind="stable")[: self.size]
            self.keys, self.values = keys[first], values[first]


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hash 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
