"""What networks tell of rows and of their training: the summaries."""

from dataclasses import dataclass
from typing import ClassVar

from sparkml_lsml.classification.summary import BinaryClassificationSummary, ProbabilitySummary
from sparkml_lsml.regression.summary import RegressionSummary
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.worker.tallying import ClassificationTally


@dataclass(frozen=True)
class MultilayerPerceptronClassificationSummary(ProbabilitySummary):
    """Metrics of a network of classes on rows."""


@dataclass(frozen=True)
class MultilayerPerceptronClassificationTrainingSummary(
    TrainingSummary, MultilayerPerceptronClassificationSummary
):
    """How a fit of a network of classes went, with metrics of the training rows."""


@dataclass(frozen=True)
class BinaryMultilayerPerceptronClassificationSummary(
    MultilayerPerceptronClassificationSummary, BinaryClassificationSummary
):
    """Metrics of a network of two classes on rows; the score is the probability."""

    _shown: ClassVar[tuple[str, ...]] = (*BinaryClassificationSummary._shown, "logLoss")

    @property
    def scoreCol(self) -> str:
        """Column of ``predictions`` whose second entry ranks the rows."""
        return self.probabilityCol

    def _empty(self) -> ClassificationTally:
        return ClassificationTally(True, "multinomial")


@dataclass(frozen=True)
class BinaryMultilayerPerceptronClassificationTrainingSummary(
    MultilayerPerceptronClassificationTrainingSummary,
    BinaryMultilayerPerceptronClassificationSummary,
):
    """How a fit of a network of two classes went, with metrics of the training rows."""


@dataclass(frozen=True)
class MLPRegressionSummary(RegressionSummary):
    """Metrics of an `MLPRegressionModel` on rows."""


@dataclass(frozen=True)
class MLPRegressionTrainingSummary(TrainingSummary, MLPRegressionSummary):
    """How a fit of an `MLPRegressor` went, with metrics of the training rows."""
