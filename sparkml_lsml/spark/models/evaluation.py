"""A model on rows: sums that metrics follow from, in one pass that never collects the rows."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame

from sparkml_lsml.display import html, text
from sparkml_lsml.engine.blocks.report import Task
from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.cluster.causes import LATE_METRICS, raise_for_source
from sparkml_lsml.spark.cluster.checks import check_executors
from sparkml_lsml.spark.cluster.jobs import JobGroup
from sparkml_lsml.spark.cluster.session import context
from sparkml_lsml.spark.cluster.sizing import most_partitions
from sparkml_lsml.spark.cluster.trees import aggregate
from sparkml_lsml.spark.params.feature_columns import features_of, told
from sparkml_lsml.spark.rows.columns import check_features, check_numeric
from sparkml_lsml.spark.rows.frames import check_frame, has_column
from sparkml_lsml.spark.rows.ingest import raise_for_problems, training_frame
from sparkml_lsml.spark.rows.shared import ResidentRows, frame_of
from sparkml_lsml.worker.counting import Counted, Tally, counter, merge_counted

Array = npt.NDArray[np.float64]


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
    def of(model: Any, rows: DataFrame | ResidentRows) -> "Evaluation":
        """An evaluation; its model names all its output columns, as MLlib's summaries do.

        Resident rows are read from their frame: metrics may be asked for when they are gone, and
        are then the same to the last bit.
        """
        kept = model.copy()
        kept._summary = None
        for name in ("predictionCol", "probabilityCol", "rawPredictionCol"):
            if kept.hasParam(name) and not kept.getOrDefault(name):
                kept._set(**{name: name.removesuffix("Col")})
        return Evaluation(kept, frame_of(rows))

    def check(self) -> Self:
        """Refuse columns that cannot be used, before any job runs."""
        check_frame(self.dataset, f"{type(self.model).__name__}.evaluate")
        check_features(self.dataset, features_of(self.model))
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
        features, label = features_of(self.model), self.column("labelCol")
        weight = self.weight or None
        name = type(self.model).__name__
        frame = training_frame(self.dataset, features, label, weight, most_partitions(sc))
        count = counter(self.model._scorer(), tally, task)
        empty = Counted(tally)
        jobs = JobGroup(sc, name)
        try:
            with jobs.job(f"{name} metrics"):
                counted = frame.mapInArrow(count, "counted binary").rdd
                total = aggregate(counted, merge_counted, 2, tally.nbytes)
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
        features, label = features_of(self.model), self.column("labelCol")
        columns = label, features, self.weight or None
        raise_for_problems(found.report, task, *columns, purpose="evaluated on")
        if not found.rows:
            raise DataError(
                "the frame has no rows: found 0 rows, expected at least one to evaluate the model"
            )
        expected = self.model.numFeatures
        if found.report.longest != expected:
            raise DataError(
                f"column {told(features)} has {found.report.longest:,} features a row, the model "
                f"was trained on {expected:,}: expected those that it was trained on"
            )
        if found.weight <= 0.0:
            raise DataError(
                f"all {found.rows:,} weights in column '{self.weight}' are 0: expected at least "
                "one positive weight"
            )


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
