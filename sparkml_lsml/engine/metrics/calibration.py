"""From scores of a binary classifier to probabilities, by the labels that came with the scores.

Scores of any number of rows are first counted (`CalibrationCounts`), so that no row has to be kept.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from sparkml_lsml.engine.metrics.measures import Scores

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

EXACT_SCORES = 65_536
"""Different scores that are counted one by one; beyond it, in bins of a relative width of 2^-12."""

SCORE_BITS = 40
"""Bits of a score that are dropped then."""

NEWTON_STEPS = 100
HALVINGS = 60

DECREMENT = 1e-14
"""Share of the objective that another step of Newton's method would have to gain."""

_SIGN = np.int64(-(2**63))


def score_order(scores: Array) -> Integers:
    """Integers in the order of floating-point numbers; 0 for zeros of both signs."""
    bits = np.ascontiguousarray(scores).view(np.int64)
    return np.where(bits < 0, _SIGN - bits, bits)


@dataclass
class CalibrationCounts:
    """Weights of the rows of both classes at each score; merges, and needs no sort of the rows.

    With more than `EXACT_SCORES` different scores, those that differ by less than 1 in 4,096 are
    one, at their mean: a calibration is fitted to scores, where the areas of
    `~sparkml_lsml.engine.metrics.score_counts.ScoreCounts` ask for their order alone. Whether that
    is so does not depend on how the rows are partitioned.

    Attributes
    ----------
    scores : array of shape (scores,)
        In order.
    counts : array of shape (scores, 2)
        Weights of the rows of class 0 and 1.
    bits : int
        Bits of the scores that were dropped.
    rows : int
        Rows of a weight above 0.

    Examples
    --------
    >>> import numpy as np
    >>> found = CalibrationCounts()
    >>> raw = np.array([0.5, -1.0, 0.5])
    >>> found.add(np.array([1.0, 0.0, 0.0]), np.ones(3), {"raw": np.stack([-raw, raw], axis=1)})
    >>> found.scores.tolist(), found.counts.tolist()
    ([-1.0, 0.5], [[1.0, 0.0], [1.0, 1.0]])
    """

    scores: Array = field(default_factory=lambda: np.zeros(0))
    counts: Array = field(default_factory=lambda: np.zeros((0, 2)))
    bits: int = 0
    rows: int = 0

    def nbytes(self, classes: int) -> int:
        """See `~sparkml_lsml.engine.metrics.measures.Measure.nbytes`."""
        return 24 * EXACT_SCORES

    def add(self, y: Array, weight: Array, scores: Scores) -> None:
        """Add rows: labels, weights, and scores as `Scorer.score` gives them."""
        used = weight > 0.0
        self.rows += int(np.count_nonzero(used))
        found, positive, weight = scores["raw"][used, 1], y[used] == 1.0, weight[used]
        self._add(found, np.stack([weight * ~positive, weight * positive], axis=1))

    def merge(self, other: "CalibrationCounts") -> "CalibrationCounts":
        """Both together, in place."""
        self.bits = max(self.bits, other.bits)
        self.rows += other.rows
        self._add(other.scores, other.counts)
        return self

    def value(self) -> float:
        """Weight of all rows."""
        return float(self.counts.sum())

    def _add(self, scores: Array, counts: Array) -> None:
        scores = np.concatenate([self.scores, scores]) + 0.0  # the sum turns -0.0 into 0.0
        counts = np.concatenate([self.counts, counts])
        order = score_order(scores)
        bins, first, at = np.unique(order >> self.bits, return_index=True, return_inverse=True)
        if len(bins) > EXACT_SCORES and self.bits == 0:
            self.bits = SCORE_BITS
            bins, first, at = np.unique(order >> self.bits, return_index=True, return_inverse=True)
        sums = [np.bincount(at, weights=column, minlength=len(bins)) for column in counts.T]
        self.counts = np.stack(sums, axis=1)
        if self.bits == 0:
            self.scores = scores[first]
        else:
            weights = counts.sum(axis=1)
            self.scores = np.bincount(at, weights=weights * scores) / self.counts.sum(axis=1)


def log_odds(probability: float) -> float:
    """The margin of a probability, ``log(p / (1 - p))``; infinite for 0 and 1.

    Predictions compare margins with that of the threshold, as MLlib's do: a probability is rounded
    to 0 or 1 far out, and would then be on neither side of a threshold of 0 or 1.

    Examples
    --------
    >>> log_odds(0.5), log_odds(0.0)
    (0.0, -inf)
    """
    if probability <= 0.0 or probability >= 1.0:
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability / (1.0 - probability))


@dataclass(frozen=True)
class SigmoidCalibration:
    r"""Probability :math:`1 / (1 + e^{a f + b})` of a score f.

    Parameters
    ----------
    slope, intercept : float
        a, which is negative where higher scores mean class 1, and b.

    Examples
    --------
    >>> import numpy as np
    >>> SigmoidCalibration(-1.0, 0.0)(np.array([0.0])).tolist()
    [0.5]
    """

    slope: float
    intercept: float

    def __call__(self, score: Array) -> Array:
        """Probabilities of class 1; shape (rows,)."""
        found: Array = expit(-(self.slope * score + self.intercept))
        return found

    def exceeds(self, score: Array, threshold: float) -> npt.NDArray[np.bool_]:
        """Whether probabilities are above a threshold, see `log_odds`; shape (rows,)."""
        return np.asarray(-(self.slope * score + self.intercept) > log_odds(threshold))

    def to_array(self) -> Array:
        """What is saved; shape (2,)."""
        return np.array([self.slope, self.intercept])

    @staticmethod
    def from_array(values: Array) -> "SigmoidCalibration":
        """The inverse of `to_array`.

        Raises
        ------
        ValueError
            If these are not two finite numbers.
        """
        if values.shape != (2,) or not np.isfinite(values).all():
            raise ValueError(
                f"a sigmoid of shape {values.shape}: expected a slope and an intercept, finite"
            )
        return SigmoidCalibration(float(values[0]), float(values[1]))


@dataclass(frozen=True, eq=False)
class IsotonicCalibration:
    """Probability that never falls with the score: linear between knots, constant beyond them.

    Parameters
    ----------
    scores : array of shape (knots,)
        Increasing.
    probabilities : array of shape (knots,)
        Not decreasing, from 0 to 1.
    """

    scores: Array
    probabilities: Array

    def __call__(self, score: Array) -> Array:
        """Probabilities of class 1; shape (rows,)."""
        return np.interp(score, self.scores, self.probabilities)

    def exceeds(self, score: Array, threshold: float) -> npt.NDArray[np.bool_]:
        """Whether probabilities are above a threshold; shape (rows,)."""
        return np.asarray(self(score) > threshold)

    def to_array(self) -> Array:
        """What is saved; shape (2, knots)."""
        return np.stack([self.scores, self.probabilities])

    @staticmethod
    def from_array(values: Array) -> "IsotonicCalibration":
        """The inverse of `to_array`.

        Raises
        ------
        ValueError
            If these are no knots of such a function.
        """
        good = values.ndim == 2 and values.shape[0] == 2 and values.shape[1] > 0
        good = good and bool(np.isfinite(values).all() and (np.diff(values[0]) > 0.0).all())
        good = good and bool((np.diff(values[1]) >= 0.0).all())
        if not good or values[1, 0] < 0.0 or values[1, -1] > 1.0:
            raise ValueError(
                f"knots of shape {values.shape}: expected increasing scores, and probabilities "
                "from 0 to 1 that do not decrease"
            )
        return IsotonicCalibration(values[0].copy(), values[1].copy())


Calibration = SigmoidCalibration | IsotonicCalibration

METHODS: dict[str, type[SigmoidCalibration] | type[IsotonicCalibration]] = {
    "sigmoid": SigmoidCalibration,
    "isotonic": IsotonicCalibration,
}


def calibrate(method: str, found: CalibrationCounts) -> Calibration:
    """The calibration of a method for these scores.

    Parameters
    ----------
    method : {"sigmoid", "isotonic"}
    found : CalibrationCounts
        With rows of both classes.
    """
    if method == "sigmoid":
        total = found.value()
        if not (found.rows and total > 0.0):
            raise ValueError(f"{found.rows} rows of a total weight of {total:g}: expected some")
        # a weight of 1 on average, or the targets would depend on the unit of the weights
        return sigmoid(found.scores, found.counts * (found.rows / total))
    return isotonic(found.scores, found.counts)


def sigmoid(scores: Array, counts: Array) -> SigmoidCalibration:
    r"""The sigmoid of greatest likelihood, by Newton's method with backtracking.

    Targets are :math:`(n_1 + 1) / (n_1 + 2)` and :math:`1 / (n_0 + 2)` in place of 1 and 0, with
    the weights of the classes: the Bayesian estimate under a uniform prior, with which the
    parameters stay finite where the classes can be separated.

    Parameters
    ----------
    scores : array of shape (scores,)
    counts : array of shape (scores, 2)
        Weights of the rows of class 0 and 1.

    References
    ----------
    Platt (1999), Probabilistic outputs for support vector machines; Lin, Lin and Weng (2007), A
    note on Platt's probabilistic outputs for support vector machines, Machine Learning 68.

    Examples
    --------
    >>> import numpy as np
    >>> found = sigmoid(np.array([-1.0, 1.0]), np.array([[3.0, 1.0], [1.0, 3.0]]))
    >>> round(float(found(np.array([1.0]))[0]), 3)
    0.667
    """
    negatives, positives = counts.sum(axis=0)
    low, high = 1.0 / (negatives + 2.0), (positives + 1.0) / (positives + 2.0)
    weight = counts.sum(axis=1)
    hits = counts @ np.array([low, high])
    # in units in which both parameters bend the objective about equally
    total = weight.sum()
    mean = float(weight @ scores / total)
    spread = float(np.sqrt(weight @ np.square(scores - mean) / total)) or 1.0
    z = (scores - mean) / spread

    def objective(at: Array) -> float:
        margin = at[0] * z + at[1]
        # log(1 + e^m) - t m, with no difference of large numbers
        return float(weight @ np.logaddexp(0.0, margin) - hits @ margin)

    point = np.array([0.0, np.log((positives + 1.0) / (negatives + 1.0))])
    value = objective(point)
    for _ in range(NEWTON_STEPS):
        chance = expit(point[0] * z + point[1])
        slope = weight * chance - hits
        gradient = np.array([slope @ z, slope.sum()])
        bend = weight * chance * (1.0 - chance)
        cross = float(bend @ z)
        hessian = np.array([[bend @ np.square(z), cross], [cross, bend.sum()]])
        hessian += 1e-12 * total * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        if decrement <= DECREMENT * abs(value):
            break
        size = 1.0
        for _ in range(HALVINGS):
            trial = objective(point - size * step)
            if trial <= value - 1e-4 * size * decrement:
                break
            size *= 0.5
        else:
            break  # no digit is left to gain
        point, value = point - size * step, trial
    slope_of_score = point[0] / spread
    return SigmoidCalibration(-float(slope_of_score), -float(point[1] - slope_of_score * mean))


def isotonic(scores: Array, counts: Array) -> IsotonicCalibration:
    """Least squares among the functions that do not fall, by pooling adjacent violators.

    Parameters
    ----------
    scores : array of shape (scores,)
        Increasing.
    counts : array of shape (scores, 2)
        Weights of the rows of class 0 and 1.

    References
    ----------
    Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass probability
    estimates; Best and Chakravarti (1990), Active set algorithms for isotonic regression.

    Examples
    --------
    >>> import numpy as np
    >>> found = isotonic(np.arange(4.0), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]]))
    >>> found.scores.tolist(), found.probabilities.tolist()
    ([0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 0.5, 1.0])
    """
    weights: list[float] = []
    hits: list[float] = []
    starts: list[int] = []
    rows = zip(counts.sum(axis=1).tolist(), counts[:, 1].tolist(), strict=True)
    for start, (weight, hit) in enumerate(rows):
        # shares are compared as products: pools whose share is the same become one
        while weights and hits[-1] * weight >= hit * weights[-1]:
            weight += weights.pop()
            hit += hits.pop()
            start = starts.pop()
        weights.append(weight)
        hits.append(hit)
        starts.append(start)
    first = np.array(starts)
    last = np.append(first[1:], len(scores)) - 1
    shares = np.clip(np.array(hits) / np.array(weights), 0.0, 1.0)
    wide = last > first
    at = np.concatenate([first, last[wide]])
    order = np.argsort(at, kind="stable")
    # rounding must not make what does not fall fall
    values = np.maximum.accumulate(np.concatenate([shares, shares[wide]])[order])
    return IsotonicCalibration(scores[at[order]], values)
