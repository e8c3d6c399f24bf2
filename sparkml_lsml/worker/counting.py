"""Scoring the rows of a frame, and adding up what the metrics of a summary follow from."""

import copy
import pickle  # nosec B403
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_lsml.engine.blocks.arrow import to_features
from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.worker.keeping import settle
from sparkml_lsml.worker.scoring import Scorer
from sparkml_lsml.worker.totals import Total

Array = npt.NDArray[np.float64]


class Tally(Protocol):
    """Sums over rows from which the metrics of a summary follow."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that the sums of a partition take, at most."""
        ...

    def add(self, y: Array, weight: Array, scores: dict[str, Array]) -> None:
        """Add rows: labels, weights, and scores as `Scorer.score` gives them."""
        ...

    def merge(self, other: Self) -> Self:
        """Both together, in place."""
        ...


@dataclass
class Counted:
    """What one pass finds: the tally, and what is wrong with rows."""

    tally: Any
    report: Report = field(default_factory=Report)
    rows: int = 0
    weight: float = 0.0

    def merge(self, other: "Counted") -> Self:
        """Add what was found in other partitions, in place."""
        self.tally.merge(other.tally)
        self.report.merge(other.report)
        self.rows += other.rows
        self.weight += other.weight
        return self

    def add(self, batch: pa.RecordBatch, scorer: Scorer, task: Task) -> None:
        """Score and add the rows of a batch: features, label, and weight where there is one."""
        if not batch.num_rows:
            return
        report = self.report
        self.rows += batch.num_rows
        y, usable = report.labels_of(batch.column(1), task)
        weight = np.ones(len(y))
        if batch.num_columns > 2:
            weight, valid = report.weights_of(batch.column(2))
            usable &= valid
        features = to_features(batch.column(0))
        report.see_features(features)
        expected = scorer.predictor.layout.features
        if features.X is None or not (usable & features.present).all():
            return
        if report.problems or features.longest != expected:
            return
        self.weight += float(weight.sum())
        start = 0
        for X, labels, _ in Block(features.X, y).chunks(scorer.predictor.width):
            scores = scorer.score(X)
            bad = np.isnan(scores["prediction"])
            report.count("bad_features", bad)
            stop = start + len(labels)
            if not bad.any():
                self.tally.add(labels, weight[start:stop], scores)
            start = stop


def counter(
    scorer: Scorer, tally: Tally, task: Task
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that `mapInArrow` runs on each partition."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        settle()
        found = Counted(copy.deepcopy(tally))  # a worker keeps this function
        for batch in batches:
            found.add(batch, scorer, task)
        column = pa.array([pickle.dumps(found)], pa.binary())
        yield pa.RecordBatch.from_arrays([column], names=["counted"])

    return run


def merge_counted(partition: int, rows: Iterable[Any]) -> Iterator[Total]:
    """What `counter` found in a partition, as a `PartitionFunction`."""
    # written by tasks of this very job
    parts = [pickle.loads(row.counted) for row in rows]  # nosec B301
    total = Total()
    for part in parts:
        total.merge(Total(part))
    yield total
