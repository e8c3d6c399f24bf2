"""A model on rows: sums that metrics follow from, in one pass that never collects the rows."""

import copy
import pickle  # nosec B403
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame

from sparkml_lsml.display import html, text
from sparkml_lsml.engine.blocks.arrow import to_features
from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.cluster.aggregate import JobGroup, Total, aggregate
from sparkml_lsml.spark.cluster.causes import LATE_METRICS, raise_for_source
from sparkml_lsml.spark.cluster.session import check_executors, context, most_partitions
from sparkml_lsml.spark.cluster.workers import settle
from sparkml_lsml.spark.models.scoring import Scorer
from sparkml_lsml.spark.rows.frames import check_frame, has_column
from sparkml_lsml.spark.rows.ingest import (
    check_features,
    check_numeric,
    raise_for_problems,
    training_frame,
)

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
        outputs, expected = scorer.coefficients.shape
        if features.X is None or not (usable & features.present).all():
            return
        if report.problems or features.longest != expected:
            return
        self.weight += float(weight.sum())
        start = 0
        for X, labels, _ in Block(features.X, y).chunks(outputs):
            scores = scorer.score(X)
            bad = np.isnan(scores["prediction"])
            report.count("bad_features", bad)
            stop = start + len(labels)
            if not bad.any():
                self.tally.add(labels, weight[start:stop], scores)
            start = stop


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model and the rows that it is evaluated on; nothing is computed before it is asked for.

    Parameters
    ----------
    model : the model
        As it is now, without its summary: what is set on it later changes nothing here.
    dataset : DataFrame
        The plan of the rows, and not the rows.
    """

    model: Any
    dataset: DataFrame

    @staticmethod
    def of(model: Any, dataset: DataFrame) -> "Evaluation":
        """An evaluation; its model names all its output columns, as MLlib's summaries do."""
        kept = model.copy()
        kept._summary = None
        for name in ("predictionCol", "probabilityCol", "rawPredictionCol"):
            if kept.hasParam(name) and not kept.getOrDefault(name):
                kept._set(**{name: name.removesuffix("Col")})
        return Evaluation(kept, dataset)

    def check(self) -> Self:
        """Refuse columns that cannot be used, before any job runs."""
        check_frame(self.dataset, f"{type(self.model).__name__}.evaluate")
        check_features(self.dataset, self.column("featuresCol"))
        check_numeric(self.dataset, self.column("labelCol"), "labelCol")
        if self.weight:
            check_numeric(self.dataset, self.weight, "weightCol")
        return self

    def column(self, param: str) -> str:
        """Name of a column."""
        return str(self.model.getOrDefault(param))

    @property
    def weight(self) -> str:
        """The column of weights; '' where rows count as one each.

        So they do where the frame has no such column, as in MLlib.
        """
        name = str(self.model.value("weightCol") or "")
        return name if name and has_column(self.dataset, name) else ""

    def run(self, tally: Tally, task: Task) -> Any:
        """The tally of all rows, in one job.

        Raises
        ------
        DataError
            If rows cannot be evaluated; the message counts them.
        SourceChangedError
            If files that the frame was made of are gone.
        """
        self.check()
        sc = context(self.dataset)
        check_executors(sc)
        features, label = self.column("featuresCol"), self.column("labelCol")
        weight = self.weight or None
        name = type(self.model).__name__
        frame = training_frame(self.dataset, features, label, weight, most_partitions(sc))
        counter = _counter(self.model._scorer(), tally, task)
        empty = Counted(tally)
        jobs = JobGroup(sc, name)
        try:
            with jobs.job(f"{name} metrics"):
                counted = frame.mapInArrow(counter, "counted binary").rdd
                total = aggregate(counted, _merge_rows, 2, tally.nbytes, name)
        except Exception as error:
            raise_for_source(error, LATE_METRICS)
            raise
        finally:
            jobs.cancel()
        found = empty if total.value is None else total.value
        assert isinstance(found, Counted)
        self._check_rows(found, task)
        return found.tally

    def _check_rows(self, found: Counted, task: Task) -> None:
        features, label = self.column("featuresCol"), self.column("labelCol")
        columns = label, features, self.weight or None
        raise_for_problems(found.report, task, *columns, purpose="evaluated on")
        if not found.rows:
            raise DataError(
                "the frame has no rows: found 0 rows, expected at least one to evaluate the model"
            )
        expected = self.model.numFeatures
        if found.report.longest != expected:
            raise DataError(
                f"column '{features}' has {found.report.longest:,} features a row, the model was "
                f"trained on {expected:,}: expected those that it was trained on"
            )
        if found.weight <= 0.0:
            raise DataError(
                f"all {found.rows:,} weights in column '{self.weight}' are 0: expected at least "
                "one positive weight"
            )


def _counter(
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


def _merge_rows(partition: int, rows: Iterable[Any]) -> Iterator[Total]:
    # written by tasks of this very job
    parts = [pickle.loads(row.counted) for row in rows]  # nosec B301
    total = Total()
    for part in parts:
        total.merge(Total(part))
    yield total


@dataclass(frozen=True)
class RowsSummary:
    """What a model does on rows: computed when it is first asked for, in one pass, and kept.

    Attributes
    ----------
    evaluation : Evaluation or None
        The model and the rows; None after pickling, and for a model that was trained on a part of
        the rows, as a fold is.
    """

    _shown: ClassVar[tuple[str, ...]] = ()

    evaluation: Evaluation | None = field(default=None, kw_only=True, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        # a frame belongs to its session; what was computed stays
        return self.__dict__ | {"evaluation": None}

    def _evaluation(self) -> Evaluation:
        if self.evaluation is None:
            raise DataError(
                f"this {type(self).__name__} knows no rows: expected the summary of a model that "
                "was fitted to a whole frame in this session, found one of a fold, a replicate or "
                "a copy from another process. Use model.evaluate(frame)"
            )
        return self.evaluation

    def _task(self) -> Task:
        """Which labels are valid; each kind of summary defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _task")

    def _empty(self) -> Tally:
        """The sums to compute; each kind of summary defines them."""
        raise AssertionError(f"{type(self).__name__} defines no _empty")

    def _headline(self) -> list[tuple[str, float]]:
        """The metrics to show first."""
        found = ((name, getattr(self, name)) for name in self._shown)
        return [(name, value() if callable(value) else value) for name, value in found]

    def __str__(self) -> str:
        pairs = [(name, text.number(value)) for name, value in self._headline()]
        return text.facts([("rows", f"{self._tally.rows:,}"), *pairs])

    def _repr_html_(self) -> str:
        """The summary in a notebook."""
        name = "" if self.evaluation is None else str(self.evaluation.model.uid)
        return html.card(type(self).__name__, name, *self._html_parts())

    def _html_parts(self) -> list[str]:
        return [html.tiles(self._headline())]

    @cached_property
    def _tally(self) -> Any:
        found = self._evaluation().run(self._empty(), self._task())
        self._check_tally(found)
        return found

    def _check_tally(self, tally: Tally) -> None:
        """Raise an error where these cannot be the rows that the summary is of."""

    @property
    def computed(self) -> bool:
        """Whether the pass over the rows was made, so that its metrics cost nothing any more."""
        return "_tally" in self.__dict__

    @property
    def predictions(self) -> DataFrame:
        """The rows, with what ``model.transform`` adds.

        Raises
        ------
        ColumnError
            If the frame has columns of these names already.
        """
        found = self._evaluation()
        return found.model.transform(found.dataset)

    @property
    def predictionCol(self) -> str:
        """Column of ``predictions`` that holds the predictions."""
        return self._evaluation().column("predictionCol")

    @property
    def labelCol(self) -> str:
        """Column of the labels."""
        return self._evaluation().column("labelCol")

    @property
    def featuresCol(self) -> str:
        """Column of the features."""
        return self._evaluation().column("featuresCol")

    @property
    def weightCol(self) -> str:
        """Column of the weights; '' where rows count as one each."""
        return self._evaluation().weight

    def _frame(self, columns: dict[str, Array]) -> DataFrame:
        session = self._evaluation().dataset.sparkSession
        schema = ", ".join(f"`{name}` double" for name in columns)
        return session.createDataFrame(pd.DataFrame(columns), schema)
