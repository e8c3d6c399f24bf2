"""Model selection that trains all folds and param maps together."""

from sparkml_lsml.tuning.cross_validator import CrossValidator
from sparkml_lsml.tuning.train_validation_split import TrainValidationSplit

__all__ = ["CrossValidator", "TrainValidationSplit"]
