"""One training, from an estimator to its model."""
