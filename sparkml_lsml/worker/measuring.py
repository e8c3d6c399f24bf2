"""Scoring blocks with models that have not seen their rows, for the metrics of a search."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.passes.reweighting import Reweighting
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]

SCORED_ROWS = 32_768
"""Rows that are scored at a time, for all models, at most."""

SCORED_BYTES = 32 * 2**20
"""Of those rows, and of the scores that one model gives them."""


@dataclass
class Measures:
    """Measures of several models; merges."""

    measures: tuple[Any, ...]

    def merge(self, other: "Measures") -> "Measures":
        """Add what other blocks hold, in place."""
        for mine, theirs in zip(self.measures, other.measures, strict=True):
            mine.merge(theirs)
        return self


@dataclass(frozen=True, eq=False)
class MeasurePass:
    """Metrics of models on the rows that have no weight in their training.

    Parameters
    ----------
    scorers : sequence of Scorer
    unseen : Reweighting
        Of the training.
    measures : sequence of Measure
        Empty ones.
    weighted : bool
        Whether the metric counts rows by their weights.
    factors : dict, optional
        What the weights of each class were multiplied by, and that the metric is not to see.
    """

    scorers: tuple[Scorer, ...]
    unseen: Reweighting
    measures: tuple[Any, ...]
    weighted: bool
    factors: dict[float, float] | None = None

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        pairs = zip(self.measures, self.scorers, strict=True)
        return sum(measure.nbytes(scorer.predictor.outputs) for measure, scorer in pairs)

    def __call__(self, block: Block, partition: int) -> Measures:
        """Sums of one block."""
        # a worker keeps this pass for all its blocks
        measures = copy.deepcopy(self.measures)
        step = self._rows_at_a_time(block)
        for start in range(0, block.rows, step):
            stop = min(start + step, block.rows)
            factors = self.unseen.factors(block, partition, start, stop)
            chosen, part = None, block
            for k, scorer in enumerate(self.scorers):
                rows = factors[:, k] == 0.0
                # models of one fold, which are neighbours, share its rows
                if chosen is None or not np.array_equal(rows, chosen):
                    chosen, part = rows, block.subset(np.flatnonzero(rows) + start)
                if part.rows:
                    weight = part.weight if self.weighted else None
                    weight = np.ones(part.rows) if weight is None else self._own(part.y, weight)
                    X: Any = part.X
                    X = X.rows(0, part.rows) if isinstance(X, CsrRows) else X
                    measures[k].add(part.y, weight, scorer.score(X))
        return Measures(measures)

    def _rows_at_a_time(self, block: Block) -> int:
        classes = max(scorer.predictor.width for scorer in self.scorers)
        row_bytes = 8 * classes + block.nbytes // max(block.rows, 1)
        return max(32, min(SCORED_ROWS, SCORED_BYTES // row_bytes))

    def _own(self, y: Array, weight: Array) -> Array:
        """The weights of rows as their column has them."""
        own = weight.copy()
        for label, factor in (self.factors or {}).items():
            own[y == label] /= factor
        return own
