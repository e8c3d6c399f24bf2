"""What a raw prediction is, and where its numbers are in the flat vector of coefficients."""

from sparkml_lsml.engine.predictors.base import Predictor, Pullback
from sparkml_lsml.engine.predictors.dense import DensePredictor
from sparkml_lsml.engine.predictors.layout import Layout, Slot
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization

__all__ = [
    "DensePredictor",
    "Layout",
    "LinearPredictor",
    "Predictor",
    "Pullback",
    "Slot",
    "Standardization",
]
