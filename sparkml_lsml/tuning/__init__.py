"""Model selection and intervals that train all their models together."""

from sparkml_lsml.tuning.bootstrap import Bootstrap, bootstrap
from sparkml_lsml.tuning.cross_validator import CrossValidator
from sparkml_lsml.tuning.train_validation_split import TrainValidationSplit

__all__ = ["Bootstrap", "CrossValidator", "TrainValidationSplit", "bootstrap"]
