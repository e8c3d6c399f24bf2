"""What watches a fit: the base class of callbacks, one that logs to MLflow, and a JSON log."""

from sparkml_lsml.callbacks.mlflow_logger import MLflowLogger
from sparkml_lsml.spark.watching.callbacks import Fit, FitCallback, ModelOfFit
from sparkml_lsml.spark.watching.logs import JsonFormatter

__all__ = ["Fit", "FitCallback", "JsonFormatter", "MLflowLogger", "ModelOfFit"]
