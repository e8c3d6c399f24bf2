"""Callbacks of a fit: the base class, what it is told, and one that logs to MLflow."""

from sparkml_lsml.callbacks.mlflow_logger import MLflowLogger
from sparkml_lsml.spark.callbacks import Fit, FitCallback, ModelOfFit

__all__ = ["Fit", "FitCallback", "MLflowLogger", "ModelOfFit"]
