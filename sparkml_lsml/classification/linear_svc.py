"""Linear support vector machine."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.ml.classification import ClassificationModel, Classifier, _LinearSVCParams
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasElasticNetParam, HasLoss, HasSolver
from pyspark.sql import DataFrame

from sparkml_lsml.classification.classes import frequencies_start, odd_labels
from sparkml_lsml.classification.summary import LinearSVCSummary, LinearSVCTrainingSummary
from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.export import Exportable, Form
from sparkml_lsml.losses import Hinge, Loss, SquaredHinge
from sparkml_lsml.losses.registry import find
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.models.model import LinearModel
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.spark.params.class_weight import BINARY_CLASS_WEIGHT, HasClassWeight
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.params.ranges import ANY_NUMBER, Range, one_of
from sparkml_lsml.spark.params.solvers import BINARY_SOLVERS, choose_solver
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.rows.shared import ResidentRows
from sparkml_lsml.spark.training.custom_losses import check_saved_loss, loss_range
from sparkml_lsml.spark.training.estimator import LinearEstimator
from sparkml_lsml.spark.training.problem import Fitted, Problem, linear_predictor
from sparkml_lsml.worker.finishing import MarginFinish

Array = npt.NDArray[np.float64]

LOSSES: dict[str, Loss] = {
    "hinge": Hinge(),
    "squaredHinge": SquaredHinge(),
}

ALL_ZERO = (
    "all coefficients are 0: the classes are so unequal in weight that no plane has a lower hinge "
    "loss than the constant model. Set classWeight='balanced' or loss='squaredHinge'"
)


class _Params(HasClassWeight, _LinearSVCParams, HasElasticNetParam, HasLoss, HasSolver):
    """Params of `LinearSVC` and `LinearSVCModel`."""

    loss: Param[str] = Param(
        Params._dummy(),
        "loss",
        "The loss: 'hinge' (MLlib's), 'squaredHinge', or the name of one that was registered with "
        "sparkml_lsml.losses.register.",
        typeConverter=TypeConverters.toString,
    )
    solver: Param[str] = Param(
        Params._dummy(),
        "solver",
        "The solver: auto, " + ", ".join(BINARY_SOLVERS) + ".",
        typeConverter=TypeConverters.toString,
    )

    _ranges: ClassVar[dict[str, Range]] = {
        "classWeight": BINARY_CLASS_WEIGHT,
        "loss": loss_range(*LOSSES),
        "solver": one_of("auto", *BINARY_SOLVERS),
        "threshold": ANY_NUMBER,
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(loss="hinge", solver="auto", elasticNetParam=0.0)

    @classmethod
    def _check_metadata(cls, metadata: dict[str, Any]) -> None:
        check_saved_loss(metadata, tuple(LOSSES))


@add_accessors
class LinearSVC(LinearEstimator, _Params, Classifier["LinearSVCModel"]):
    r"""Linear support vector machine with soft margin, for labels 0 and 1.

    Takes the place of :class:`pyspark.ml.classification.LinearSVC` with the same Params and the
    same objective,

    .. math:: \frac{\sum_i v_i\,\ell(y_i, x_i^T w + b)}{\sum_i v_i}
        + \lambda \left(\frac{1 - \alpha}{2} \|c\|^2 + \alpha \|c\|_1\right),

    with weights v, :math:`\lambda` = regParam, :math:`\alpha` = elasticNetParam, and c = w, or
    :math:`c_j = \sigma_j w_j` with standardization (which is on by default). Beyond MLlib it has
    the squared hinge loss, the elastic net, and a choice of solvers.

    Parameters
    ----------
    featuresCol : str
        Column of vectors, array<double> or array<float>.
    featuresCols : list of str, optional
        Columns of numbers or booleans that are the features, in this order, in place of
        ``featuresCol``; a row that lacks one of the numbers has no features.
    labelCol : str
        Column of labels 0 and 1, of any numeric type or boolean.
    maxIter, regParam, tol, fitIntercept, standardization, threshold, weightCol, aggregationDepth
        As in MLlib. ``tol`` is relative to the objective.
    loss : str
        "hinge", "squaredHinge", or the name of a loss of labels 0 and 1 that was registered with
        :func:`sparkml_lsml.losses.register`.
    elasticNetParam : float
        Share of the L1 penalty, from 0 to 1.
    solver : str
        One of those that ``explainParam("solver")`` names. ``auto`` is ``l-bfgs``: the quasi-Newton
        method that fits the loss and the penalty.
        ``cocoa`` is dual coordinate ascent on every partition (CoCoA+): a few rounds to a rough
        answer, with a bound of what is left to gain; there ``tol`` is the relative duality gap.
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
        When a Param is set out of its range.
    DataError, ColumnError
        From ``fit``, when rows or columns cannot be used; the message counts the rows.
    DivergedError
        From ``fit``, when a step size was too long.

    Notes
    -----
    With labels of one class only, the fit warns and returns the constant that the loss asks for.

    References
    ----------
    Cortes and Vapnik (1995), Support-Vector Networks, Machine Learning 20.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> rows = [(1.0, Vectors.dense(1.0, 2.0)), (0.0, Vectors.dense(-1.0, -1.0))]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = LinearSVC(regParam=0.01).fit(df)
    >>> [row.prediction for row in model.transform(df).collect()]
    [1.0, 0.0]
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
        tol: float = 1e-6,
        rawPredictionCol: str = "rawPrediction",
        fitIntercept: bool = True,
        standardization: bool = True,
        threshold: float = 0.0,
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        maxBlockSizeInMB: float = 0.0,
        loss: str = "hinge",
        elasticNetParam: float = 0.0,
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

    def _model_class(self) -> type[Any]:
        return LinearSVCModel

    def _task(self) -> Task:
        return "binary"

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """See `Trainable.problem`."""
        loss = find(self.value("loss"), LOSSES)
        strength, share = self.value("regParam"), self.value("elasticNetParam")
        l1 = strength * share
        solver, reason = choose_solver(self, loss.smooth, l1, report.longest)
        start = frequencies_start(_constant(loss, report)) if loss in LOSSES.values() else None
        l2, odd = strength * (1.0 - share), odd_labels(report)
        note = loss == LOSSES["hinge"] and l1 == 0.0 and len(report.labels) == 2
        build = partial(_build, notes=(ALL_ZERO,) if note else ())
        predictor = linear_predictor(report, 1, loss, self.value("fitIntercept"))
        return Problem(loss, predictor, l1, l2, solver, reason, build, start=start, warnings=odd)


def _constant(loss: Loss, report: Report) -> Array:
    """The intercept of the best constant model: where one class is rare, that is the minimum."""
    weights = [report.labels.get(label, (0, 0.0))[1] for label in (0.0, 1.0)]
    balance = (weights[1] - weights[0]) / sum(weights)
    if not loss.smooth:
        balance = np.sign(balance)
    return np.array([balance])


def _build(fit: Fitted, notes: tuple[str, ...] = ()) -> "LinearSVCModel":
    summary = LinearSVCTrainingSummary.of(fit.summary)
    if not fit.coefficients.any():
        summary = replace(summary, notes=summary.notes + notes)
    return LinearSVCModel(fit.coefficients, fit.intercepts, summary)


@add_accessors
class LinearSVCModel(Exportable, LinearModel, _Params, ClassificationModel):
    """Model of a `LinearSVC`.

    ``transform`` adds ``rawPrediction`` (the margins of the two classes) and ``prediction``. A row
    whose features hold NaN gets NaN, a row without features gets null.

    Attributes
    ----------
    coefficients : DenseVector of length numFeatures
    intercept : float
    summary : LinearSVCTrainingSummary
    """

    @property
    def coefficients(self) -> DenseVector:
        """Coefficients of the features."""
        return DenseVector(self._coefficients[0])

    @property
    def intercept(self) -> float:
        """Intercept, 0 without one."""
        return float(self._intercepts[0])

    @property
    def numClasses(self) -> int:
        """Number of classes, 2."""
        return 2

    def evaluate(self, dataset: DataFrame | ResidentRows) -> LinearSVCSummary:
        """Metrics of the model on rows with labels, which are computed when asked for.

        Of `ResidentRows` the frame is read.

        Raises
        ------
        ColumnError
            If the features or the label are missing, or of a type that cannot be used.
        """
        return LinearSVCSummary(evaluation=Evaluation.of(self, dataset).check())

    def predictRaw(self, value: Vector) -> DenseVector:
        """Margins of the two classes for one vector of features."""
        return DenseVector(self._score_one(value, "raw"))

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        return MarginFinish(float(self.getOrDefault("threshold")))

    def _form(self) -> Form:
        threshold = float(self.getOrDefault("threshold"))
        return Form("svc", self._coefficients, self._intercepts, threshold)

    @classmethod
    def _from_saved(cls, arrays: dict[str, Array], facts: dict[str, Any]) -> "LinearSVCModel":
        return cls(arrays["coefficients"], arrays["intercepts"])
