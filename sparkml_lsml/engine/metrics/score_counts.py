"""Weights of the rows of two classes by score, in bounded memory."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.metrics.curve import Curve

Array = npt.NDArray[np.float64]

MOST_SCORES = 8_192
"""Different scores that are kept with their weights; of more, what lies between them is summed."""

AT_ONCE = 2
"""Rows that wait to be added, in multiples of the scores that are kept."""

WIDEST = float(np.finfo(np.float64).max) / 4.0
"""Scores beyond are taken for this where weight is spread between two."""

FINEST = 1e-6
"""Share of a class, from the top, below which ranks are told apart no better than at this share."""

TINY = 1e-300


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
