"""The base classes of our estimators and models."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pyspark.ml import Estimator
from pyspark.ml.linalg import Vector
from pyspark.ml.param import Params
from pyspark.sql import DataFrame

from sparkml_lsml.blocks.pack import Report, Task
from sparkml_lsml.errors import DivergedError, ParamError
from sparkml_lsml.spark.aggregate import JobGroup
from sparkml_lsml.spark.ingest import check_features, check_numeric
from sparkml_lsml.spark.params import HasSolverSettings
from sparkml_lsml.spark.persistence import SafeReadWrite
from sparkml_lsml.spark.problem import Pose
from sparkml_lsml.spark.scoring import Scorer, add_scores
from sparkml_lsml.spark.session import context
from sparkml_lsml.spark.summary import TrainingSummary
from sparkml_lsml.spark.training import fit_linear

log = logging.getLogger("sparkml_lsml")

Array = npt.NDArray[np.float64]


class LinearEstimator(HasSolverSettings, SafeReadWrite, Estimator[Any]):
    """What the linear estimators have in common; each adds its Params and its problem."""

    def setParams(self, **params: Any) -> Self:
        """Set Params by name, with the keywords of the constructor.

        Raises
        ------
        ParamError
            If a name is unknown or a value out of range.
        """
        known = [param.name for param in self.params]
        for name in params:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ParamError(
                    f"{type(self).__name__} has no Param '{name}'{hint} It has {', '.join(known)}"
                )
        return self._set(**params)

    def _fit(self, dataset: DataFrame) -> Any:
        [model] = self._fit_together(dataset, [None])
        if isinstance(model, DivergedError):
            raise model
        return model

    def _fit_together(self, dataset: DataFrame, maps: Sequence[Any]) -> list[Any]:
        """Models for param maps that differ in nothing that the ingest depends on.

        A `DivergedError` stands in place of a model that diverged.
        """
        # the copies are normalised, so that a fit leaves the estimator as it was
        members = [self.copy(extra)._normalise() for extra in maps]
        for member in members:
            member._check_columns(dataset)
        models = [(member, member._pose(dataset)) for member in members]
        found = fit_linear(models, dataset, members[0]._task())
        for member, model in zip(members, found, strict=True):
            if not isinstance(model, DivergedError):
                member.adopt(model)
        return found

    def adopt(self, model: Any) -> None:
        """Give a model the uid and the Params of this estimator."""
        model._resetUid(self.uid)
        self._copyValues(model)

    def _check_loaded(self) -> None:
        self._normalise()

    def _task(self) -> Task:
        """Which labels are valid; each estimator defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _task")

    def _pose(self, dataset: DataFrame) -> Pose:
        """What makes the problem from what is known of the rows; each estimator defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _pose")

    def warn_about_one_class(self, report: Report) -> None:
        """Log a warning when all labels are the same."""
        if len(report.labels) == 1:
            log.warning(
                "%s: all %s labels are %g: there are no two classes to tell apart",
                type(self).__name__,
                f"{sum(rows for rows, _ in report.labels.values()):,}",
                next(iter(report.labels)),
            )

    def ingest_key(self) -> tuple[str, ...]:
        """What models must agree in to share the rows that one ingest packed."""
        names = [name for name in INGEST_PARAMS if self.hasParam(name)]
        return (self._task(), *(repr(self.value(name)) for name in names))

    def _check_columns(self, dataset: DataFrame) -> None:
        """Refuse columns that cannot be used, before any job runs."""
        check_features(dataset, self.value("featuresCol"))
        check_numeric(dataset, self.value("labelCol"), "labelCol")
        if self.value("weightCol"):
            check_numeric(dataset, self.value("weightCol"), "weightCol")

    def fitMultiple(
        self, dataset: DataFrame, paramMaps: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Models for several param maps, trained together; safe for several threads.

        Nothing is done before the first model is asked for. Then the rows are read once, and all
        models whose ingest is the same (`INGEST_PARAMS`) share the passes over them.
        """
        estimator = self.copy()
        jobs = JobGroup(context(dataset), f"{type(self).__name__}-grid")
        groups: dict[Any, list[int]] = {}
        for number, extra in enumerate(paramMaps):
            member = self.copy(extra)
            groups.setdefault(member.ingest_key(), []).append(number)

        def fit(numbers: Sequence[int]) -> list[Any]:
            return estimator._fit_together(dataset, [paramMaps[n] for n in numbers])

        return FitIterator(fit, list(groups.values()), jobs)


INGEST_PARAMS = (
    "featuresCol",
    "labelCol",
    "weightCol",
    "classWeight",
    "dtype",
    "execution",
    "aggregationDepth",
    "checkpointDir",
    "checkpointInterval",
)
"""Params that models must agree in to share the rows that one ingest packed."""


class FitIterator:
    """Trains groups of models as one of them is asked for, by any thread, until a fit fails.

    Parameters
    ----------
    fit : callable
        Takes the numbers of the models of a group, and returns them, or errors in their place.
    groups : sequence of sequences of int
    jobs : JobGroup
    """

    def __init__(
        self,
        fit: Callable[[Sequence[int]], list[Any]],
        groups: Sequence[Sequence[int]],
        jobs: JobGroup,
    ) -> None:
        self._fit = fit
        self._groups = list(groups)
        self._jobs = jobs
        self._ready: list[tuple[int, Any]] = []
        self._failed: BaseException | None = None
        self._lock = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[int, Any]:
        # a group is one fit: who asks while it runs waits for its models
        with self._lock:
            if self._failed is not None:
                raise RuntimeError("another fit of this grid failed") from self._failed
            try:
                if not self._ready and self._groups:
                    numbers = self._groups.pop(0)
                    with self._jobs.around():
                        models = self._fit(numbers)
                    self._ready = list(zip(numbers, models, strict=True))
                if not self._ready:
                    raise StopIteration
                number, model = self._ready.pop(0)
                if isinstance(model, DivergedError):
                    raise model
            except StopIteration:
                raise
            except BaseException as error:
                self._failed = error
                self._jobs.stop()
                raise
            return number, model


class LinearModel(Params, SafeReadWrite):
    """What the linear models have in common.

    Parameters
    ----------
    coefficients : array of shape (outputs, features)
    intercepts : array of shape (outputs,)
    summary : TrainingSummary, optional
    """

    _most_outputs: ClassVar[int] = 1

    def __init__(
        self, coefficients: Array, intercepts: Array, summary: TrainingSummary | None = None
    ) -> None:
        super().__init__()
        self._coefficients = np.asarray(coefficients, dtype=np.float64)
        self._intercepts = np.asarray(intercepts, dtype=np.float64)
        self._summary = summary
        shape, outputs = self._coefficients.shape, self._intercepts.shape
        if len(shape) != 2 or outputs != shape[:1] or not 1 <= shape[0] <= self._most_outputs:
            most = "1 or more" if self._most_outputs > 1 else "1"
            raise ValueError(
                f"coefficients of shape {shape} and intercepts of shape {outputs} do not fit: "
                f"expected (outputs, features) and (outputs,), with {most} outputs"
            )

    @property
    def numFeatures(self) -> int:
        """Number of features the model was trained on."""
        return int(self._coefficients.shape[1])

    @property
    def hasSummary(self) -> bool:
        """Whether this model was trained here, and not loaded."""
        return self._summary is not None

    @property
    def summary(self) -> TrainingSummary:
        """How the training went.

        Raises
        ------
        RuntimeError
            If the model was loaded: a summary is not saved.
        """
        if self._summary is None:
            raise RuntimeError(
                f"this {type(self).__name__} has no training summary: expected a model that was "
                "fitted in this session, found one that was loaded"
            )
        return self._summary

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        """What turns margins into scores; each model defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _finish")

    def _outputs(self) -> dict[str, str]:
        names = {"raw": "rawPredictionCol", "probability": "probabilityCol"}
        columns = {"prediction": self.getOrDefault("predictionCol")}
        for kind, param in names.items():
            if self.hasParam(param):
                columns[kind] = self.getOrDefault(param)
        return columns

    def _scorer(self) -> Scorer:
        return Scorer(self._coefficients, self._intercepts, self._finish())

    def _transform(self, dataset: DataFrame) -> DataFrame:
        return add_scores(
            dataset,
            self.getOrDefault("featuresCol"),
            self._scorer(),
            self._outputs(),
            int(getattr(self, "numClasses", 0)),
        )

    def _score_one(self, value: Vector, kind: str) -> Array:
        row = np.asarray(value.toArray(), dtype=np.float64)
        if len(row) != self.numFeatures:
            raise ValueError(
                f"the model was trained on {self.numFeatures} features, found {len(row)}"
            )
        return self._scorer().score(row[None, :])[kind][0]

    def predict(self, value: Vector) -> float:
        """Prediction for one vector of features."""
        return float(self._score_one(value, "prediction"))

    def _check_loaded(self) -> None:
        checked: Any = self  # every model has the Params of its estimator
        checked._normalise()
        self._finish()

    def _saved_arrays(self) -> dict[str, Array]:
        return {"coefficients": self._coefficients, "intercepts": self._intercepts}

    def __repr__(self) -> str:
        outputs, features = self._coefficients.shape
        return f"{type(self).__name__}: uid={self.uid}, outputs={outputs}, features={features}"
