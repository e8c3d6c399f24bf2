"""Classifiers with the API of ``pyspark.ml.classification``."""

from sparkml_lsml.classification.calibrated_classifier import (
    CalibratedClassifier,
    CalibratedClassifierModel,
)
from sparkml_lsml.classification.linear_svc import LinearSVC, LinearSVCModel
from sparkml_lsml.classification.logistic_regression import (
    LogisticRegression,
    LogisticRegressionModel,
)
from sparkml_lsml.classification.one_vs_rest import OneVsRest, OneVsRestModel

__all__ = [
    "CalibratedClassifier",
    "CalibratedClassifierModel",
    "LinearSVC",
    "LinearSVCModel",
    "LogisticRegression",
    "LogisticRegressionModel",
    "OneVsRest",
    "OneVsRestModel",
]
