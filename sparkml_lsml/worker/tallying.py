"""What is summed over rows for the summaries of models; it travels to the executors and back."""

from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from sparkml_lsml.engine.metrics.class_counts import ClassCounts
from sparkml_lsml.engine.metrics.curve import Curve
from sparkml_lsml.engine.metrics.log_loss import log_loss
from sparkml_lsml.engine.metrics.residual_sums import ResidualSums
from sparkml_lsml.engine.metrics.row_sample import RowSample
from sparkml_lsml.engine.metrics.score_counts import ScoreCounts

Array = npt.NDArray[np.float64]

Link = Literal["binomial", "multinomial", ""]


@dataclass
class ClassificationTally:
    """Sums over rows from which the metrics of a classifier follow.

    Parameters
    ----------
    binary : bool
        Whether to count scores too.
    link : {"binomial", "multinomial", ""}
        What turns half the difference of raw predictions into a probability.
    number : int
        Of classes that the model knows.
    ranked : {"raw", "probability"}
        What rows are ranked by.
    """

    binary: bool
    link: Link = ""
    number: int = 2
    ranked: Literal["raw", "probability"] = "raw"
    rows: int = 0
    classes: ClassCounts = field(default_factory=ClassCounts)
    scores: ScoreCounts = field(default_factory=ScoreCounts)
    loss: float = 0.0

    @property
    def nbytes(self) -> int:
        """See `Tally.nbytes`."""
        pairs = ClassCounts.most_bytes(self.number)
        return pairs + (self.scores.most_bytes if self.binary else 0)

    def add(self, y: Array, weight: Array, scores: dict[str, Array]) -> None:
        """See `Tally.add`."""
        self.rows += len(y)
        self.classes.add(y, weight, scores["prediction"])
        if self.binary and self.ranked == "probability":
            self.scores.add(y, weight, scores["probability"][:, 1])
        elif self.binary:
            raw = scores["raw"]
            # half the difference: of margins (-m, m) it is m, of two outputs half the log odds
            self.scores.add(y, weight, 0.5 * (raw[:, 1] - raw[:, 0]))
        if "probability" in scores:
            self.loss += log_loss(y, weight, scores["probability"])

    def merge(self, other: "ClassificationTally") -> Self:
        """See `Tally.merge`."""
        self.rows += other.rows
        self.classes.merge(other.classes)
        self.scores.merge(other.scores)
        self.loss += other.loss
        return self

    def curve(self) -> Curve:
        """The curve over scores, its thresholds in the units of ``scoreCol``."""
        found = self.scores.curve()
        if not self.link:
            return found
        threshold = expit(found.threshold * (1.0 if self.link == "binomial" else 2.0))
        return Curve(threshold, found.true, found.false)


@dataclass
class RegressionTally:
    """Sums over rows from which the metrics of a regression follow, and some rows to draw.

    Parameters
    ----------
    intercept : bool
        Whether the model has one; without, R2 is about 0 instead of the mean label.
    """

    intercept: bool
    sums: ResidualSums = field(default_factory=ResidualSums)
    sample: RowSample = field(default_factory=RowSample)

    @property
    def rows(self) -> int:
        """See `Tally.rows`."""
        return self.sums.rows

    @property
    def nbytes(self) -> int:
        """See `Tally.nbytes`."""
        return 24 * self.sample.size

    def add(self, y: Array, weight: Array, scores: dict[str, Array]) -> None:
        """See `Tally.add`."""
        self.sums.add(y, weight, scores["prediction"])
        self.sample.add((scores["prediction"], y))

    def merge(self, other: "RegressionTally") -> Self:
        """See `Tally.merge`."""
        self.sums.merge(other.sums)
        self.sample.merge(other.sample)
        return self
