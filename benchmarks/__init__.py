"""How fast fits are, beside MLlib and scikit-learn: ``./dev/bench``."""
