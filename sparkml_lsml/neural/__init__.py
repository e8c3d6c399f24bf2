"""Networks of dense layers: multilayer perceptrons for classes and for numbers."""

from sparkml_lsml.neural.calibrated import CalibratedNetworkModel
from sparkml_lsml.neural.mlp_classifier import MLPClassificationModel, MLPClassifier
from sparkml_lsml.neural.mlp_regressor import MLPRegressionModel, MLPRegressor
from sparkml_lsml.neural.multilayer_perceptron import (
    MultilayerPerceptronClassificationModel,
    MultilayerPerceptronClassifier,
)

__all__ = [
    "CalibratedNetworkModel",
    "MLPClassificationModel",
    "MLPClassifier",
    "MLPRegressionModel",
    "MLPRegressor",
    "MultilayerPerceptronClassificationModel",
    "MultilayerPerceptronClassifier",
]
