"""Model selection, regularization paths and intervals, over one ingest and in shared passes."""

from sparkml_lsml.tuning.bootstrap import Bootstrap, bootstrap
from sparkml_lsml.tuning.cross_validator import CrossValidator
from sparkml_lsml.tuning.regularization_path import RegularizationPath, regularization_path
from sparkml_lsml.tuning.train_validation_split import TrainValidationSplit

__all__ = [
    "Bootstrap",
    "CrossValidator",
    "RegularizationPath",
    "TrainValidationSplit",
    "bootstrap",
    "regularization_path",
]
