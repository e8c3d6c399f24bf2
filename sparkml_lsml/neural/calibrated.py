"""Networks of two classes with calibrated probabilities."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.classification.calibrated_model import CalibratedModel, saved_calibration
from sparkml_lsml.engine.metrics.calibration import Calibration
from sparkml_lsml.engine.predictors import DensePredictor
from sparkml_lsml.neural.network_model import NetworkClassificationModel, NetworkModel
from sparkml_lsml.neural.weights import network_of
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.worker.scoring import Scorer

Array = npt.NDArray[np.float64]


@add_accessors
class CalibratedNetworkModel(CalibratedModel, NetworkModel):
    """Model of a `CalibratedClassifier` of a network of two classes.

    What is calibrated is the margin of class 1, its raw prediction less that of class 0.
    ``transform`` adds ``rawPrediction`` (the margins of the two classes), ``probability`` and
    ``prediction``. A row whose features hold NaN gets NaN, a row without features gets null.

    Parameters
    ----------
    layers : list of int
        Features, units of each hidden layer, 2.
    weights : DenseVector or array
        In the order of the attribute of this name.
    activation : {"relu", "tanh", "sigmoid", "gelu", "identity"}
    calibration : SigmoidCalibration or IsotonicCalibration
    summary : TrainingSummary, optional

    Attributes
    ----------
    weights : DenseVector
        Of the network that was trained on all rows.
    coefficientMatrices : list of DenseMatrix
    interceptVectors : list of DenseVector
    calibration : SigmoidCalibration or IsotonicCalibration
        The function from margins to probabilities, see
        :mod:`sparkml_lsml.engine.metrics.calibration`.
    summary : CalibratedClassifierTrainingSummary
        How the fit to all rows went; its metrics are those of the calibrated model.

    Examples
    --------
    >>> import numpy as np
    >>> from pyspark.ml.linalg import Vectors
    >>> from sparkml_lsml.engine.metrics.calibration import SigmoidCalibration
    >>> halved = SigmoidCalibration(-0.5, 0.0)
    >>> model = CalibratedNetworkModel([1, 2], np.array([-1.0, 1.0, 0.0, 0.0]), "relu", halved)
    >>> model.predictRaw(Vectors.dense(2.0))
    DenseVector([-4.0, 4.0])
    >>> model.predictProbability(Vectors.dense(2.0)).round(4)
    array([0.1192, 0.8808])
    """

    calibrates = NetworkClassificationModel

    def __init__(
        self,
        layers: Sequence[int],
        weights: Any,
        activation: str,
        calibration: Calibration,
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(layers, weights, activation, summary)
        if self._network.outputs != 2:
            raise ValueError(f"layers={list(layers)!r}: expected layers that end in 2 classes")
        self._calibration = calibration

    @classmethod
    def of(
        cls,
        model: NetworkClassificationModel,
        calibration: Calibration,
        summary: TrainingSummary | None = None,
    ) -> "CalibratedNetworkModel":
        """The model of a network of two classes, calibrated."""
        network = model.network
        return cls(network.sizes, model.weights, network.activation, calibration, summary)

    @cached_property
    def _margin(self) -> tuple[DensePredictor, Array]:
        """The network with the margin of class 1 for its only output."""
        network = network_of([*self._network.sizes[:-1], 1], self._network.activation)
        coef = np.empty(network.layout.size)
        *hidden, (W, b) = self._maps()
        maps = [*hidden, (W[1:] - W[:1], b[1:] - b[:1])]
        for mine, its in zip(network.maps(coef), maps, strict=True):
            mine.W[:], mine.b[:] = its
        return network, coef

    def _scorer(self) -> Scorer:
        return Scorer(*self._margin, self._finish())

    @classmethod
    def _from_saved(
        cls, arrays: dict[str, Array], facts: dict[str, Any]
    ) -> "CalibratedNetworkModel":
        calibration = saved_calibration(arrays, facts)
        return cls(facts["layers"], arrays["weights"], facts["activation"], calibration)
