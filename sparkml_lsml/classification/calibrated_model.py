"""What calibrated models have in common."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pyspark.ml.classification import ClassificationModel
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.sql import DataFrame

from sparkml_lsml.classification.calibration_params import CalibrationParams
from sparkml_lsml.classification.summary import CalibratedClassifierSummary
from sparkml_lsml.engine.metrics.calibration import METHODS, Calibration
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.models.model import BlockModel
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.rows.shared import ResidentRows
from sparkml_lsml.worker.finishing import CalibratedFinish

Array = npt.NDArray[np.float64]


class CalibratedModel(CalibrationParams, BlockModel, ClassificationModel):
    """What calibrated models have in common, whatever their margins come from."""

    calibrates: ClassVar[type[BlockModel]]
    """Models that it can be made of."""

    _calibration: Calibration

    @classmethod
    def of(
        cls, model: Any, calibration: Calibration, summary: TrainingSummary | None = None
    ) -> Self:
        """The model of a classifier, calibrated."""
        raise AssertionError(f"{cls.__name__} defines no of")

    @property
    def calibration(self) -> Calibration:
        """The function from margins to probabilities."""
        return self._calibration

    @property
    def numClasses(self) -> int:
        """Number of classes, 2."""
        return 2

    def evaluate(self, dataset: DataFrame | ResidentRows) -> CalibratedClassifierSummary:
        """Metrics of the model on rows with labels, which are computed when asked for.

        Of `ResidentRows` the frame is read.

        Raises
        ------
        ColumnError
            If the features or the label are missing, or of a type that cannot be used.
        """
        return CalibratedClassifierSummary(evaluation=Evaluation.of(self, dataset).check())

    def predictRaw(self, value: Vector) -> DenseVector:
        """Margins of the two classes for one vector of features."""
        return DenseVector(self._score_one(value, "raw"))

    def predictProbability(self, value: Vector) -> DenseVector:
        """Probabilities of the two classes for one vector of features."""
        return DenseVector(self._score_one(value, "probability"))

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        return CalibratedFinish(self._calibration, float(self.getOrDefault("threshold")))

    def _saved_arrays(self) -> dict[str, Array]:
        return {**super()._saved_arrays(), "calibration": self._calibration.to_array()}

    def _saved_facts(self) -> dict[str, Any]:
        [method] = [name for name, cls in METHODS.items() if isinstance(self._calibration, cls)]
        return {**super()._saved_facts(), "method": method}


def saved_calibration(arrays: dict[str, Array], facts: dict[str, Any]) -> Calibration:
    """The calibration that a model has saved."""
    return METHODS[facts["method"]].from_array(arrays["calibration"])
