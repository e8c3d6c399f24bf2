"""Logistic regression, binomial and multinomial."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.ml.classification import (
    ProbabilisticClassificationModel,
    ProbabilisticClassifier,
)
from pyspark.ml.linalg import DenseMatrix, DenseVector, Vector
from pyspark.sql import DataFrame

from sparkml_lsml.classification import bounds
from sparkml_lsml.classification.classes import (
    MAX_COEFFICIENTS,
    certain_class,
    count_classes,
    frequencies_start,
    odd_labels,
)
from sparkml_lsml.classification.logistic_params import LogisticParams
from sparkml_lsml.classification.summary import (
    BinaryLogisticRegressionSummary,
    BinaryLogisticRegressionTrainingSummary,
    LogisticRegressionSummary,
    LogisticRegressionTrainingSummary,
)
from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.errors import ParamError
from sparkml_lsml.export import Exportable, Form
from sparkml_lsml.losses import Logistic, Multinomial
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.models.model import LinearModel
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.params.solvers import choose_solver
from sparkml_lsml.spark.params.thresholds import check_thresholds
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.rows.shared import ResidentRows
from sparkml_lsml.spark.training.estimator import LinearEstimator
from sparkml_lsml.spark.training.problem import Fitted, Problem, linear_predictor
from sparkml_lsml.worker.finishing import BinaryFinish, MultinomialFinish

Array = npt.NDArray[np.float64]

TINY = 1e-300


@add_accessors
class LogisticRegression(LinearEstimator, LogisticParams, ProbabilisticClassifier):
    r"""Logistic regression for two classes (binomial) or more (multinomial, softmax).

    Takes the place of :class:`pyspark.ml.classification.LogisticRegression` with the same Params
    and the same objective: the weighted mean of the negative log-likelihood plus
    :math:`\lambda ((1 - \alpha) / 2 \|c\|^2 + \alpha \|c\|_1)`, where c are the coefficients, or
    with standardization those of features with unit variance; intercepts are not penalised.

    Parameters
    ----------
    featuresCol : str
        Column of vectors, array<double> or array<float>.
    featuresCols : list of str, optional
        Columns of numbers or booleans that are the features, in this order, in place of
        ``featuresCol``; a row that lacks one of the numbers has no features.
    labelCol : str
        Column of labels 0, 1, 2, ..., of any numeric type or boolean.
    maxIter, regParam, elasticNetParam, tol, fitIntercept, threshold, thresholds, standardization, \
weightCol, aggregationDepth
        As in MLlib. ``tol`` is relative to the objective.
    lowerBoundsOnCoefficients, upperBoundsOnCoefficients : Matrix, optional
        Of shape (1, features), or (classes, features) for a multinomial model, for the coefficients
        of the features as they are; infinite where there is none. Not with an L1 penalty.
    lowerBoundsOnIntercepts, upperBoundsOnIntercepts : Vector, optional
        Of length 1, or one for each class.
    family : {"auto", "binomial", "multinomial"}
        ``auto`` is binomial for at most two classes.
    solver : str
        One of those that ``explainParam("solver")`` names. ``auto`` is ``l-bfgs``: the quasi-Newton
        method that fits the loss, the penalty and the bounds. No other takes bounds.
    stepSize, lineSearch, learningRate, powerT, momentum, nesterov, averaging, varianceReduction, \
miniBatchFraction, batchSize, localEpochs, seed
        Settings of the solvers, see :mod:`sparkml_lsml.engine.solvers`.
    dtype : {"float64", "float32"}
    execution : {"auto", "local", "distributed"}
        Whether data of at most 32 MB is solved on the driver (expert).
    checkpointDir : str or os.PathLike
        Folder on any Hadoop file system where a fit notes how far it is. The same fit goes on from
        there after the driver has died, and removes it at its end.
    checkpointInterval : int
        Iterations between two checkpoints; -1 for none.
    validationIndicatorCol : str, optional
        Boolean column, true for the rows of the validation, as in MLlib's boosted trees. Nothing is
        learned from them; the coefficients are those of the iteration with the least mean loss
        over them, and the fit stops once that has not fallen for ``patience`` iterations.
    patience : int
    validationTol : float
        Least fall that counts for ``patience``, relative to the loss.
    classWeight : dict or str
        What multiplies the weights of the rows of each class: a map from labels to weights, or
        "balanced" for n / (K n_k), with the weight n_k of class k, n of all rows and K classes. The
        fit is that of a ``weightCol`` with the products. "balanced" reads the labels in a job of
        its own; in a cross-validation of this package it is the balance of all rows, the same for
        each fold. Metrics do not see the weights of classes.

    Raises
    ------
    ParamError
        When a Param is set out of its range; from ``fit``, when bounds fit neither each other nor
        the other Params, or have another shape than the coefficients.
    DataError, ColumnError
        From ``fit``, when rows or columns cannot be used; the message counts the rows.
    DivergedError
        From ``fit``, when a step size was too long.

    Notes
    -----
    With labels of one class only and an intercept, the fit warns and returns what MLlib does:
    coefficients 0 and an intercept of plus or minus infinity. As in MLlib, multinomial intercepts
    are centred, and so are multinomial coefficients without regularisation; with bounds neither is.

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, 4.4.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> rows = [(1.0, Vectors.dense(1.0)), (0.0, Vectors.dense(-1.0))]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = LogisticRegression(regParam=0.1).fit(df)
    >>> [round(float(row.probability[1]), 3) for row in model.transform(df).collect()]
    [0.764, 0.236]
    """

    @keywords
    def __init__(
        self,
        *,
        featuresCol: str = "features",
        labelCol: str = "label",
        predictionCol: str = "prediction",
        maxIter: int = 100,
        regParam: float = 0.0,
        elasticNetParam: float = 0.0,
        tol: float = 1e-6,
        fitIntercept: bool = True,
        threshold: float = 0.5,
        thresholds: list[float] | None = None,
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
        standardization: bool = True,
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        family: str = "auto",
        lowerBoundsOnCoefficients: Any = None,
        upperBoundsOnCoefficients: Any = None,
        lowerBoundsOnIntercepts: Any = None,
        upperBoundsOnIntercepts: Any = None,
        maxBlockSizeInMB: float = 0.0,
        solver: str = "auto",
        stepSize: float = 1.0,
        lineSearch: str = "backtracking",
        learningRate: str = "adaptive",
        powerT: float = 0.5,
        momentum: float = 0.0,
        nesterov: bool = False,
        averaging: bool = True,
        varianceReduction: bool = False,
        miniBatchFraction: float = 1.0,
        batchSize: int = 128,
        localEpochs: int = 1,
        seed: int = 0,
        dtype: str = "float64",
        execution: str = "auto",
        checkpointDir: str | os.PathLike[str] = "",
        checkpointInterval: int = 10,
        validationIndicatorCol: str | None = None,
        patience: int = 5,
        validationTol: float = 0.0,
        classWeight: Any = "",
        featuresCols: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._set(**self._input_kwargs)
        self._checkThresholdConsistency()

    def _model_class(self) -> type[Any]:
        return LogisticRegressionModel

    def _task(self) -> Task:
        return "binary" if self.value("family") == "binomial" else "multiclass"

    def _one_margin(self) -> bool:
        return bool(self.value("family") != "multinomial")

    def _check_fit(self, dataset: DataFrame) -> None:
        super()._check_fit(dataset)
        self._checkThresholdConsistency()

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """See `Trainable.problem`."""
        family, bounded = self.value("family"), bounds.has_bounds(self)
        classes = count_classes(report, declared.count, family)
        check_thresholds(self, max(classes, 2))
        multinomial = family == "multinomial" or (family == "auto" and classes > 2)
        strength, share = self.value("regParam"), self.value("elasticNetParam")
        l1, l2 = strength * share, strength * (1.0 - share)
        certain = None
        if len(report.labels) == 1 and self.value("fitIntercept") and not bounded:
            certain = int(next(iter(report.labels)))
        build = partial(self._build, classes=max(2, classes), certain=certain, bounded=bounded)
        outputs = classes if multinomial else 1
        solver, reason = choose_solver(self, True, l1, report.longest * outputs, bounded)
        box = bounds.bounds_of(self, outputs, report.longest) if bounded else None
        if solver == "cocoa" and multinomial:
            raise ParamError(
                f"solver='cocoa' takes two classes, found {classes} and family='{family}': "
                "use solver='auto'"
            )
        counts = np.zeros(max(classes, 2))
        for label, (_, weight) in report.labels.items():
            counts[int(label)] = weight
        if multinomial:
            start = frequencies_start(np.log1p(counts) - np.log1p(counts).mean())
        else:
            ratio = np.log(np.maximum(counts[1:2], TINY)) - np.log(max(counts[0], TINY))
            start = frequencies_start(ratio)
        loss = Multinomial() if multinomial else Logistic()
        return Problem(
            loss,
            linear_predictor(report, outputs, loss, self.value("fitIntercept")),
            l1,
            l2,
            solver,
            reason,
            build,
            start=start,
            bounds=box,
            warnings=odd_labels(report, classes, declared.names),
        )

    def _build(
        self, fit: Fitted, classes: int, certain: int | None, bounded: bool
    ) -> "LogisticRegressionModel":
        coefficients, intercepts = fit.coefficients, fit.intercepts
        if certain is not None:
            coefficients, intercepts = certain_class(certain, coefficients.shape)
        elif len(intercepts) > 1 and not bounded:
            if self.value("fitIntercept"):
                intercepts = intercepts - intercepts.mean()
            if self.value("regParam") == 0.0:
                coefficients = coefficients - coefficients.mean(axis=0)
        kind = LogisticRegressionTrainingSummary
        kind = BinaryLogisticRegressionTrainingSummary if classes == 2 else kind
        return LogisticRegressionModel(coefficients, intercepts, classes, kind.of(fit.summary))


@add_accessors
class LogisticRegressionModel(
    Exportable, LinearModel, LogisticParams, ProbabilisticClassificationModel
):
    """Model of a `LogisticRegression`.

    ``transform`` adds ``rawPrediction``, ``probability`` and ``prediction``. A row whose features
    hold NaN gets NaN, a row without features gets null.

    Attributes
    ----------
    coefficientMatrix : DenseMatrix of shape (1, features) or (classes, features)
    interceptVector : DenseVector of length 1 or classes
    summary : BinaryLogisticRegressionTrainingSummary or LogisticRegressionTrainingSummary
        The latter for more than two classes.
    """

    _most_outputs: ClassVar[int] = MAX_COEFFICIENTS

    def __init__(
        self,
        coefficients: Array,
        intercepts: Array,
        numClasses: int = 2,
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(coefficients, intercepts, summary)
        if numClasses != max(2, len(self._intercepts)):
            raise ValueError(
                f"{len(self._intercepts)} intercepts do not fit {numClasses} classes: expected one "
                "for two classes, or one for each"
            )
        self._classes = int(numClasses)

    @property
    def numClasses(self) -> int:
        """Number of classes."""
        return self._classes

    @property
    def coefficientMatrix(self) -> DenseMatrix:
        """Coefficients: one row, or for a multinomial model one a class."""
        rows, columns = self._coefficients.shape
        return DenseMatrix(rows, columns, self._coefficients.ravel(order="F"))

    @property
    def interceptVector(self) -> DenseVector:
        """Intercepts: one, or for a multinomial model one a class."""
        return DenseVector(self._intercepts)

    @property
    def coefficients(self) -> DenseVector:
        """Coefficients of a binomial model; a multinomial one has a `coefficientMatrix`."""
        self._check_binomial("coefficients", "coefficientMatrix")
        return DenseVector(self._coefficients[0])

    @property
    def intercept(self) -> float:
        """Intercept of a binomial model; a multinomial one has an `interceptVector`."""
        self._check_binomial("intercept", "interceptVector")
        return float(self._intercepts[0])

    def evaluate(self, dataset: DataFrame | ResidentRows) -> LogisticRegressionSummary:
        """Metrics of the model on rows with labels, which are computed when asked for.

        Of `ResidentRows` the frame is read.

        Returns
        -------
        BinaryLogisticRegressionSummary or LogisticRegressionSummary
            The latter for more than two classes.

        Raises
        ------
        ColumnError
            If the features or the label are missing, or of a type that cannot be used.
        """
        binary = self.numClasses == 2
        kind = BinaryLogisticRegressionSummary if binary else LogisticRegressionSummary
        return kind(evaluation=Evaluation.of(self, dataset).check())

    def predictRaw(self, value: Vector) -> DenseVector:
        """Margins of the classes for one vector of features."""
        return DenseVector(self._score_one(value, "raw"))

    def predictProbability(self, value: Vector) -> DenseVector:
        """Probabilities of the classes for one vector of features."""
        return DenseVector(self._score_one(value, "probability"))

    def _check_binomial(self, name: str, instead: str) -> None:
        if len(self._intercepts) > 1:
            raise AttributeError(
                f"a multinomial model has no {name}: expected two classes in a binomial model, "
                f"found {self.numClasses} classes. Use {instead}"
            )

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        if len(self._intercepts) == 1:
            return BinaryFinish(float(self.getThreshold()))
        if not self.isDefined(self.thresholds):
            return MultinomialFinish(None)
        check_thresholds(self, self.numClasses)
        return MultinomialFinish(np.asarray(self.getOrDefault(self.thresholds)))

    def _form(self) -> Form:
        finish: Any = self._finish()
        if len(self._intercepts) == 1:
            return Form("binomial", self._coefficients, self._intercepts, finish.margin)
        return Form(
            "multinomial", self._coefficients, self._intercepts, thresholds=finish.thresholds
        )

    def _saved_facts(self) -> dict[str, Any]:
        return {"numClasses": self._classes}

    @classmethod
    def _from_saved(
        cls, arrays: dict[str, Array], facts: dict[str, Any]
    ) -> "LogisticRegressionModel":
        return cls(arrays["coefficients"], arrays["intercepts"], facts["numClasses"])
