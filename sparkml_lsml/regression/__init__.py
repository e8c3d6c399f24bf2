"""Regressors with the API of ``pyspark.ml.regression``."""

from sparkml_lsml.regression.linear_regression import LinearRegression, LinearRegressionModel

__all__ = ["LinearRegression", "LinearRegressionModel"]
