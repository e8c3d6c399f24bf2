"""What thresholds on a score do, and the areas below the curves that follow.

Definitions are those of MLlib's summaries and evaluators.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.metrics.rates import f_measure, ratio

Array = npt.NDArray[np.float64]


def area(y: Array, x: Array) -> float:
    """Area below a line, by trapezoids: SciPy's takes half a second to import, in every worker."""
    return 0.5 * float(np.diff(x) @ (y[1:] + y[:-1]))


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
        return ratio(self.true, np.full_like(self.true, self.true[-1]), 0.0)

    @cached_property
    def fallout(self) -> Array:
        """Share of class 0 that is found positive; 0 where there are no such rows."""
        return ratio(self.false, np.full_like(self.false, self.false[-1]), 0.0)

    @cached_property
    def precision(self) -> Array:
        """Share of class 1 among the rows that are found positive; 1 where none is."""
        return ratio(self.true, self.true + self.false, 1.0)

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
