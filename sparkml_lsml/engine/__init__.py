"""The mathematics: NumPy and SciPy, no Spark."""
