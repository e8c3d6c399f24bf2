"""What a training asks of an estimator: its columns, its problem, and what its model gets of it."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.predictors import Predictor
from sparkml_lsml.spark.params.bases import HasSolverSettings
from sparkml_lsml.spark.params.feature_columns import features_of
from sparkml_lsml.spark.params.fit_settings import FitSettings
from sparkml_lsml.spark.rows.columns import check_boolean, check_features, check_numeric
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.rows.frames import check_frame, column_of
from sparkml_lsml.spark.training.problem import Problem

Array = npt.NDArray[np.float64]

INGEST_PARAMS = (
    "featuresCol",
    "featuresCols",
    "labelCol",
    "weightCol",
    "validationIndicatorCol",
    "classWeight",
    "dtype",
    "execution",
    "aggregationDepth",
    "checkpointDir",
    "checkpointInterval",
)
"""Params that models must agree in to share the rows that one ingest packed."""


class Trainable(HasSolverSettings):
    """An estimator as a training knows it; each estimator adds its task and its problem."""

    def settings(self) -> FitSettings:
        """What a fit depends on, as Params are now: a fit asks once, when they are checked."""
        return FitSettings.of(self)

    def _task(self) -> Task:
        """Which labels are valid; each estimator defines it."""
        raise AssertionError(f"{type(self).__name__} defines no _task")

    def _one_margin(self) -> bool:
        """Whether rows of two classes are ranked by one margin as by their probability."""
        return self._task() == "binary"

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """What is to be minimised; each estimator defines it.

        Parameters
        ----------
        report : Report
            What the ingest learned of the rows that the model is trained on.
        declared : DeclaredClasses
            What their column of labels declares; nothing for a regression.

        Raises
        ------
        ParamError, DataError
            If these Params and these rows do not go together.
        """
        raise AssertionError(f"{type(self).__name__} defines no problem")

    def coefficients_of(self, model: Any, predictor: Predictor, scale: float) -> Array:
        """Those of a model that a fit is to start from; each kind of estimators defines it.

        Parameters
        ----------
        model : model of this class of estimators
        predictor : Predictor
            Of the fit.
        scale : float
            Of the labels: where a constant of the loss starts that the model does not have.

        Returns
        -------
        array of shape (size,)
            For the features as they are.

        Raises
        ------
        ParamError
            If the model is of other features or outputs.
        """
        raise AssertionError(f"{type(self).__name__} defines no coefficients_of")

    def row_cost(self) -> float:
        """What a pass works on a row, in units of a linear model of one output.

        With ``execution="auto"`` fits stay on the driver up to 32 MB of rows over this number.
        """
        return 1.0

    def _check_fit(self, dataset: DataFrame) -> None:
        """Refuse columns that cannot be used before any job runs.

        An estimator adds what it has to say of Params that do not go together.
        """
        check_frame(dataset, type(self).__name__)
        check_features(dataset, features_of(self))
        check_numeric(dataset, self.value("labelCol"), "labelCol")
        if self.value("weightCol"):
            check_numeric(dataset, self.value("weightCol"), "weightCol")
        if self.value("validationIndicatorCol"):
            check_boolean(dataset, self.value("validationIndicatorCol"), "validationIndicatorCol")

    def ingest_key(self) -> tuple[str, ...]:
        """What models must agree in to share the rows that one ingest packed."""
        names = [name for name in INGEST_PARAMS if self.hasParam(name)]
        return (self._task(), *(repr(self.value(name)) for name in names))

    def adopt(self, model: Any, dataset: DataFrame | None = None) -> None:
        """Give a model the uid and the Params of this estimator, and its summary its rows.

        ``dataset`` holds all rows that the model was trained on, and no others but those of its
        validation.
        """
        model._resetUid(self.uid)
        self._copyValues(model)
        if dataset is not None:
            validation = self.value("validationIndicatorCol")
            model._summarise(
                dataset.where(~column_of(dataset, validation)) if validation else dataset
            )
