"""What classifiers tell of rows and of their training: the summaries."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame

from sparkml_lsml.display import html, plots, text
from sparkml_lsml.engine.blocks.report import Task
from sparkml_lsml.engine.metrics.class_counts import ClassCounts, ClassMetrics
from sparkml_lsml.engine.metrics.curve import Curve
from sparkml_lsml.engine.metrics.rates import f_measure
from sparkml_lsml.spark.models.evaluation import RowsSummary
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.worker.tallying import ClassificationTally

Array = npt.NDArray[np.float64]

MOST_LABELS_SHOWN = 12


@dataclass(frozen=True)
class ClassificationSummary(RowsSummary):
    """Metrics of a classifier on rows, all of them from one pass.

    Rows count by their weights where the model has a ``weightCol`` that the frame has. Metrics by
    label come in the order of ``labels``.
    """

    _shown: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "weightedPrecision",
        "weightedFMeasure",
    )

    def _task(self) -> Task:
        return "multiclass"

    def _empty(self) -> ClassificationTally:
        return ClassificationTally(False, number=self._evaluation().model.numClasses)

    @cached_property
    def _metrics(self) -> ClassMetrics:
        counts: ClassCounts = self._tally.classes
        return counts.metrics()

    def _html_parts(self) -> list[str]:
        parts, found = super()._html_parts(), self._metrics
        if len(found.labels) <= MOST_LABELS_SHOWN:
            columns = (found.precision, found.recall, f_measure(found.precision, found.recall))
            rows = [
                [text.number(label), text.number(weight), *(f"{value:.4f}" for value in each)]
                for label, weight, *each in zip(found.labels, found.truly, *columns, strict=True)
            ]
            counted = "rows" if found.total == self._tally.rows else "weight"
            header = ["label", counted, "precision", "recall", "F1"]
            parts.append(html.table(header, rows))
        return parts

    @property
    def labels(self) -> list[float]:
        """The labels that rows have, in ascending order."""
        return _list(self._metrics.labels)

    @property
    def truePositiveRateByLabel(self) -> list[float]:
        """Share of the rows with a label that are found; the same as ``recallByLabel``."""
        return self.recallByLabel

    @property
    def falsePositiveRateByLabel(self) -> list[float]:
        """Share of the rows without a label that are taken for it; NaN where there are none."""
        return _list(self._metrics.fallout)

    @property
    def precisionByLabel(self) -> list[float]:
        """Share of the predictions of a label that are right; 0 for a label never predicted."""
        return _list(self._metrics.precision)

    @property
    def recallByLabel(self) -> list[float]:
        """Share of the rows with a label that are found."""
        return _list(self._metrics.recall)

    def fMeasureByLabel(self, beta: float = 1.0) -> list[float]:
        """Weighted harmonic mean of precision and recall of each label.

        Parameters
        ----------
        beta : float
            Weight of the recall.
        """
        return _list(f_measure(self._metrics.precision, self._metrics.recall, beta))

    @property
    def accuracy(self) -> float:
        """Share of the rows whose prediction is right."""
        return self._metrics.accuracy

    @property
    def weightedTruePositiveRate(self) -> float:
        """Mean true positive rate of the labels by their rows; the same as ``accuracy``."""
        return self.weightedRecall

    @property
    def weightedFalsePositiveRate(self) -> float:
        """Mean false positive rate of the labels, weighted by their rows."""
        return self._metrics.weighted(self._metrics.fallout)

    @property
    def weightedRecall(self) -> float:
        """Mean recall of the labels by their rows; the same as ``accuracy``."""
        return self._metrics.weighted(self._metrics.recall)

    @property
    def weightedPrecision(self) -> float:
        """Mean precision of the labels, weighted by their rows."""
        return self._metrics.weighted(self._metrics.precision)

    def weightedFMeasure(self, beta: float = 1.0) -> float:
        """Mean F-measure of the labels, weighted by their rows.

        Parameters
        ----------
        beta : float
            Weight of the recall.
        """
        return self._metrics.weighted(np.array(self.fMeasureByLabel(beta)))

    @property
    def confusionMatrix(self) -> pd.DataFrame:
        """Weight of the rows with each label (index) and prediction (columns)."""
        counts: ClassCounts = self._tally.classes
        classes, matrix = counts.matrix()
        return pd.DataFrame(
            matrix, pd.Index(classes, name="label"), pd.Index(classes, name="prediction")
        )

    def plot_confusion_matrix(self, normalize: bool = False, ax: Any = None) -> Any:
        """Draw the confusion matrix.

        Parameters
        ----------
        normalize : bool
            Whether to colour and show shares of each label instead of weights.
        ax : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        matplotlib Axes
        """
        counts: ClassCounts = self._tally.classes
        return plots.confusion_matrix(*counts.matrix(), normalize=normalize, ax=ax)


@dataclass(frozen=True)
class BinaryClassificationSummary(ClassificationSummary):
    """Metrics of a binary classifier on rows, with curves over all thresholds.

    Curves are frames of Spark, as in MLlib, with a row for each different score; of more than 8,192
    with one for 8,192 of them, and for the rows between each two.
    """

    _shown: ClassVar[tuple[str, ...]] = (
        "areaUnderROC",
        "areaUnderPR",
        *ClassificationSummary._shown,
    )

    def _task(self) -> Task:
        return "binary"

    def _empty(self) -> ClassificationTally:
        return ClassificationTally(binary=True)

    @cached_property
    def _curve(self) -> Curve:
        tally: ClassificationTally = self._tally
        return tally.curve()

    @property
    def scoreCol(self) -> str:
        """Column of ``predictions`` whose second entry ranks the rows."""
        return self._evaluation().column("rawPredictionCol")

    @property
    def roc(self) -> DataFrame:
        """Receiver operating characteristic: a frame of ``FPR`` and ``TPR``, (0, 0) to (1, 1)."""
        x, y = self._curve.roc()
        return self._frame({"FPR": x, "TPR": y})

    @property
    def areaUnderROC(self) -> float:
        """Area under the receiver operating characteristic."""
        return self._curve.area_under_roc

    @property
    def pr(self) -> DataFrame:
        """Precision over recall: a frame of ``recall`` and ``precision``."""
        recall, precision = self._curve.precision_recall()
        return self._frame({"recall": recall, "precision": precision})

    @property
    def areaUnderPR(self) -> float:
        """Area under precision over recall, by trapezoids as in MLlib's evaluator."""
        return self._curve.area_under_precision_recall

    @property
    def fMeasureByThreshold(self) -> DataFrame:
        """A frame of ``threshold`` and ``F-Measure`` (with beta 1)."""
        return self._by_threshold("F-Measure", self._curve.f_measure())

    @property
    def precisionByThreshold(self) -> DataFrame:
        """A frame of ``threshold`` and ``precision``."""
        return self._by_threshold("precision", self._curve.precision)

    @property
    def recallByThreshold(self) -> DataFrame:
        """A frame of ``threshold`` and ``recall``."""
        return self._by_threshold("recall", self._curve.recall)

    def _by_threshold(self, name: str, values: Array) -> DataFrame:
        return self._frame({"threshold": self._curve.threshold, name: values})

    def plot_roc(self, ax: Any = None) -> Any:
        """Draw the receiver operating characteristic; returns the matplotlib Axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        """
        return plots.roc(self._curve, ax=ax)

    def plot_precision_recall(self, ax: Any = None) -> Any:
        """Draw precision over recall; returns the matplotlib Axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        """
        return plots.precision_recall(self._curve, ax=ax)

    def plot_thresholds(self, ax: Any = None) -> Any:
        """Draw precision, recall and F-measure over the threshold; returns the matplotlib Axes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.
        """
        # not the Param: thresholds win over it, and multinomial models do not know it
        now = self._evaluation().model._finish().threshold if self.evaluation else None
        return plots.thresholds(self._curve, now, self._score_name(), ax=ax)

    def _score_name(self) -> str:
        return "probability of class 1" if self._tally.link else "margin of class 1"


@dataclass(frozen=True)
class LinearSVCSummary(BinaryClassificationSummary):
    """Metrics of a `LinearSVCModel` on rows; the score is the margin."""


@dataclass(frozen=True)
class LinearSVCTrainingSummary(TrainingSummary, LinearSVCSummary):
    """How a fit of a `LinearSVC` went, with metrics of the training rows."""


@dataclass(frozen=True)
class ProbabilitySummary(ClassificationSummary):
    """Metrics of a classifier that gives probabilities."""

    _shown: ClassVar[tuple[str, ...]] = (*ClassificationSummary._shown, "logLoss")

    @property
    def probabilityCol(self) -> str:
        """Column of ``predictions`` that holds the probabilities."""
        return self._evaluation().column("probabilityCol")

    @property
    def logLoss(self) -> float:
        """Mean of minus the logarithm of the probability of the label."""
        return float(self._tally.loss) / self._metrics.total


@dataclass(frozen=True)
class CalibratedClassifierSummary(ProbabilitySummary, BinaryClassificationSummary):
    """Metrics of a `CalibratedClassifierModel` on rows; the score is the calibrated probability."""

    _shown: ClassVar[tuple[str, ...]] = (*BinaryClassificationSummary._shown, "logLoss")

    @property
    def scoreCol(self) -> str:
        """Column of ``predictions`` whose second entry ranks the rows."""
        return self.probabilityCol

    def _empty(self) -> ClassificationTally:
        return ClassificationTally(binary=True, ranked="probability")

    def _score_name(self) -> str:
        return "probability of class 1"


@dataclass(frozen=True)
class CalibratedClassifierTrainingSummary(TrainingSummary, CalibratedClassifierSummary):
    """How the fit of the classifier to all rows went, with metrics of the calibrated model."""


@dataclass(frozen=True)
class LogisticRegressionSummary(ProbabilitySummary):
    """Metrics of a `LogisticRegressionModel` on rows.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> from sparkml_lsml.classification import LogisticRegression
    >>> rows = [(float(x > 1), Vectors.dense(float(x * x))) for x in (0, 1, 1, 2, 3)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = LogisticRegression(regParam=0.01).fit(df)
    >>> model.evaluate(df.where("label = 0")).accuracy
    1.0
    >>> model.summary.confusionMatrix.to_numpy().tolist()
    [[3.0, 0.0], [0.0, 2.0]]
    """


@dataclass(frozen=True)
class LogisticRegressionTrainingSummary(TrainingSummary, LogisticRegressionSummary):
    """How a fit of a `LogisticRegression` went, with metrics of the training rows."""


@dataclass(frozen=True)
class BinaryLogisticRegressionSummary(LogisticRegressionSummary, BinaryClassificationSummary):
    """Metrics of a `LogisticRegressionModel` of two classes; the score is the probability."""

    _shown: ClassVar[tuple[str, ...]] = (*BinaryClassificationSummary._shown, "logLoss")

    @property
    def scoreCol(self) -> str:
        """Column of ``predictions`` whose second entry ranks the rows."""
        return self.probabilityCol

    def _empty(self) -> ClassificationTally:
        outputs = len(self._evaluation().model.interceptVector)
        return ClassificationTally(True, "binomial" if outputs == 1 else "multinomial")


@dataclass(frozen=True)
class BinaryLogisticRegressionTrainingSummary(
    LogisticRegressionTrainingSummary, BinaryLogisticRegressionSummary
):
    """How a fit of a `LogisticRegression` of two classes went, with metrics of its rows."""


def _list(values: Array) -> list[float]:
    found: list[float] = values.tolist()
    return found
