"""The base classes of estimators of networks of dense layers."""

import itertools
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.predictors import DensePredictor, Predictor
from sparkml_lsml.engine.predictors.initialise import start
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import Loss
from sparkml_lsml.neural.calibrated import CalibratedNetworkModel
from sparkml_lsml.neural.network_estimator import NetworkClassifier, NetworkEstimator
from sparkml_lsml.neural.params import HasDropout, LayersParams
from sparkml_lsml.neural.summary import (
    BinaryMultilayerPerceptronClassificationTrainingSummary,
    MultilayerPerceptronClassificationTrainingSummary,
)
from sparkml_lsml.neural.weights import in_mllibs_order, network_of
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.ranges import BELOW_ONE, Range
from sparkml_lsml.spark.rows.plan import LOCAL_BYTES
from sparkml_lsml.spark.training.problem import Fitted

Array = npt.NDArray[np.float64]

ROW_SECONDS, PRODUCTS_A_SECOND = 1e-6, 2e10
"""What an epoch takes of one thread: for a row at least, and for its products, there and back."""


class LayersEstimator(NetworkEstimator, HasDropout, LayersParams):
    """What estimators of networks of dense layers have in common."""

    _ranges: ClassVar[dict[str, Range]] = {
        **NetworkEstimator._ranges,
        **LayersParams._ranges,
        "dropout": BELOW_ONE,
    }

    def row_cost(self) -> float:
        """See `Trainable.row_cost`: at home stays what is trained there in about a second."""
        sizes = self.value("layers")
        products = sum(into * out for into, out in itertools.pairwise(sizes))
        row = ROW_SECONDS + products / PRODUCTS_A_SECOND
        rows = 1.0 / (max(1, self.value("maxIter")) * row)
        return float(LOCAL_BYTES / (rows * sizes[0] * np.dtype(self.value("dtype")).itemsize))

    def coefficients_of(self, model: Any, predictor: Predictor, scale: float) -> Array:
        """See `Trainable.coefficients_of`."""
        assert isinstance(predictor, DensePredictor)
        mine, its = (
            f"layers={list(each.sizes)} and activation='{each.activation}'"
            for each in (predictor, model.network)
        )
        if mine != its:
            raise ParamError(
                f"{type(self).__name__}: the model to start from, {model.uid}, has {its}, expected "
                f"{mine}"
            )
        self._check_finite(model)
        if predictor.layout.constants:
            known = model.getOrDefault("loss") == "huber"
            return np.append(model._coef, model.scale if known else scale)
        return np.asarray(model._coef)

    def _activation(self) -> str:
        return str(self.value("activation"))

    def _start(self, network: DensePredictor) -> Array:
        """Where the training begins, in the units of the solver."""
        return start(network, self.value("seed"))

    def _known_classes(self, classes: int | None) -> int | None:
        known = self._last_classes()
        if classes not in (None, known) and self.isDefined(self.layers):
            expected = f"{known}, in which layers end" if known else "None: a regression has none"
            raise ParamError(f"{type(self).__name__}: classes={classes!r}, expected {expected}")
        return known

    def _last_classes(self) -> int | None:
        """Number of classes that layers end in; None for a regression."""
        return None

    def _check_fit(self, dataset: DataFrame) -> None:
        super()._check_fit(dataset)
        name, solver = type(self).__name__, self._solver()
        if not self.isDefined(self.layers):
            raise ParamError(
                f"{name}: layers is not set: expected {self._ranges['layers'].expected}"
            )
        if solver != "local-steps" and self.value("dropout"):
            raise ParamError(
                f"{name}: dropout={self.value('dropout')} with solver='{solver}': units are left "
                "out in the mini-batches of solver='local-steps' alone. Set it, or dropout=0"
            )

    def _network(self, report: Report, loss: Loss) -> DensePredictor:
        """The network that is trained.

        Raises
        ------
        ParamError
            If its layers do not fit the rows.
        """
        layers = self.value("layers")
        if layers[0] != report.longest:
            raise ParamError(
                f"{type(self).__name__}: layers={layers} begin with {layers[0]:,}, the rows have "
                f"{report.longest:,} features: expected layers=[{report.longest}, ...]"
            )
        return DensePredictor(
            tuple(layers),
            self._activation(),
            len(loss.constants),
            self.value("dropout"),
            self.value("dtype"),
        )


class LayersClassifier(LayersEstimator, NetworkClassifier):
    """What estimators of networks of dense layers of classes have in common."""

    def _calibrated_class(self) -> type[CalibratedNetworkModel]:
        return CalibratedNetworkModel

    def _last_classes(self) -> int | None:
        return int(self.value("layers")[-1]) if self.isDefined(self.layers) else None

    def _class_network(self, report: Report, loss: Loss, classes: int) -> DensePredictor:
        network, layers = self._network(report, loss), self.value("layers")
        if layers[-1] < classes:
            raise ParamError(
                f"{type(self).__name__}: layers={layers} end in {layers[-1]:,}, the labels are of "
                f"{classes:,} classes: expected layers=[..., {classes}]"
            )
        return network

    def _last_biases(self, network: DensePredictor, coef: Array) -> Array:
        return np.asarray(network.maps(coef)[-1].b)

    def _idle(self, classes: int) -> tuple[str, ...]:
        """What to warn of where there are more outputs than classes."""
        last = self.value("layers")[-1]
        if last <= max(2, classes):
            return ()
        return (
            f"layers end in {last:,}, and no row has a label of {classes:,} or more: the outputs "
            "beyond learn that their classes never occur",
        )

    def _build(self, network: DensePredictor, fit: Fitted) -> Any:
        network = network_of(network.sizes, network.activation)
        kind = MultilayerPerceptronClassificationTrainingSummary
        if network.outputs == 2:
            kind = BinaryMultilayerPerceptronClassificationTrainingSummary
        return self._model(
            network.sizes, in_mllibs_order(network, fit.coef), kind.of(self._noted(fit.summary))
        )

    def _model(self, layers: Any, weights: Array, summary: TrainingSummary) -> Any:
        return self._model_class()(list(layers), weights, self._activation(), summary)
