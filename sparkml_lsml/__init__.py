"""Large-scale machine learning inside Apache Spark: drop-in estimators written in NumPy."""

__version__ = "0.1.0"
