"""The base class of estimators of networks of PyTorch."""

import json
from dataclasses import replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.predictors import Predictor
from sparkml_lsml.engine.predictors.module import ModulePredictor
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import Loss
from sparkml_lsml.networks import registry
from sparkml_lsml.neural.network_estimator import NetworkEstimator
from sparkml_lsml.neural.torch_params import TorchParams
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.spark.rows.plan import LOCAL_BYTES
from sparkml_lsml.spark.training.problem import Fitted

Array = npt.NDArray[np.float64]

ROW_SECONDS = 1e-4
"""What a row of an epoch takes, about: of a convolution on 28 x 28 pixels."""


class TorchEstimator(NetworkEstimator, TorchParams):
    """What estimators of networks of PyTorch have in common."""

    _ranges: ClassVar[dict[str, Range]] = {**NetworkEstimator._ranges, **TorchParams._ranges}

    def row_cost(self) -> float:
        """See `Trainable.row_cost`: at home stays what is trained there in about a second."""
        rows = 1.0 / (max(1, self.value("maxIter")) * ROW_SECONDS)
        numbers = prod(self.value("inputShape")) if self.isDefined(self.inputShape) else 1
        return float(LOCAL_BYTES / (rows * numbers * np.dtype(self.value("dtype")).itemsize))

    def coefficients_of(self, model: Any, predictor: Predictor, scale: float) -> Array:
        """See `Trainable.coefficients_of`."""
        assert isinstance(predictor, ModulePredictor)
        its = model._predictor
        if (its.tensors, its.factory.name) != (predictor.tensors, predictor.factory.name):
            raise ParamError(
                f"{type(self).__name__}: the model to start from, {model.uid}, is a "
                f"{its.factory} with {len(model._coef):,} numbers, expected the same tensors as "
                f"those of {predictor.factory} with networkParams={predictor.arguments}"
            )
        self._check_finite(model)
        coef = np.zeros(predictor.layout.size)
        for name, at in predictor.places.items():
            coef[at] = model._coef[its.places[name]]
        coef[predictor.layout.extras] = scale
        return coef

    def _start(self, network: ModulePredictor) -> Array:
        return network.start(self.value("seed"))

    def _last_biases(self, network: ModulePredictor, coef: Array) -> Array:
        """Those of the last parameter, if it is one number an output."""
        last = [each for each in network.tensors if not each.buffer][-1]
        return coef[network.places[last.name]] if last.shape == (network.outputs,) else coef[:0]

    def _network(self, report: Report, loss: Loss, outputs: int, **more: Any) -> ModulePredictor:
        """The network that is trained.

        Raises
        ------
        ParamError
            If it does not fit the rows, or cannot be made.
        BackendError
            Without torch.
        """
        name = type(self).__name__
        if not self.isDefined(self.network):
            raise ParamError(f"{name}: network is not set: {self._ranges['network'].expected}")
        features = report.longest
        shape = self.value("inputShape") if self.isDefined(self.inputShape) else [features]
        if prod(shape) != features:
            raise ParamError(
                f"{name}: inputShape={shape} has {prod(shape):,} numbers, the rows have "
                f"{features:,} features: expected as many"
            )
        arguments = json.dumps(self.value("networkParams") or {}, sort_keys=True)
        return ModulePredictor.of(
            registry.find(self.value("network")),
            shape,
            outputs,
            arguments,
            constants=len(loss.constants),
            precision=self.value("precision"),
            **more,
        )

    def _bare(self, network: ModulePredictor, fit: Fitted) -> tuple[ModulePredictor, Array]:
        """The predictor and its numbers without the constants of the loss."""
        bare = replace(network, constants=0)
        coef = np.empty(bare.layout.size)
        for name, at in bare.places.items():
            coef[at] = fit.coef[network.places[name]]
        return bare, coef
