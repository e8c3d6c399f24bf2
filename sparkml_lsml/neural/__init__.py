"""Networks: multilayer perceptrons, and modules of PyTorch, for classes and for numbers."""

from sparkml_lsml.networks import register, registered, unregister
from sparkml_lsml.neural.calibrated import CalibratedNetworkModel
from sparkml_lsml.neural.mlp_classifier import MLPClassificationModel, MLPClassifier
from sparkml_lsml.neural.mlp_regressor import MLPRegressionModel, MLPRegressor
from sparkml_lsml.neural.multilayer_perceptron import (
    MultilayerPerceptronClassificationModel,
    MultilayerPerceptronClassifier,
)
from sparkml_lsml.neural.torch_classifier import TorchClassificationModel, TorchClassifier
from sparkml_lsml.neural.torch_regressor import TorchRegressionModel, TorchRegressor

__all__ = [
    "CalibratedNetworkModel",
    "MLPClassificationModel",
    "MLPClassifier",
    "MLPRegressionModel",
    "MLPRegressor",
    "MultilayerPerceptronClassificationModel",
    "MultilayerPerceptronClassifier",
    "TorchClassificationModel",
    "TorchClassifier",
    "TorchRegressionModel",
    "TorchRegressor",
    "register",
    "registered",
    "unregister",
]
