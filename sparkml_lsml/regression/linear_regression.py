"""Linear regression: least squares, and Huber's robust loss."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.ml.linalg import DenseVector
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.regression import RegressionModel, Regressor, _LinearRegressionParams
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.solvers.normal import MAX_FEATURES, pays_direct
from sparkml_lsml.errors import ParamError
from sparkml_lsml.export import Exportable, Form
from sparkml_lsml.losses import Huber, Loss, Squared
from sparkml_lsml.losses.registry import find
from sparkml_lsml.regression.labels import LOSSES, label_moments, label_units
from sparkml_lsml.regression.summary import (
    LinearRegressionSummary,
    LinearRegressionTrainingSummary,
)
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.models.model import LinearModel
from sparkml_lsml.spark.params.bases import CheckedParams, add_accessors
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.params.ranges import Range, one_of
from sparkml_lsml.spark.params.solvers import ITERATIVE_SOLVERS, choose_solver
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.rows.shared import ResidentRows
from sparkml_lsml.spark.training.custom_losses import check_saved_loss, loss_range
from sparkml_lsml.spark.training.estimator import LinearEstimator
from sparkml_lsml.spark.training.problem import Fitted, Problem, linear_predictor
from sparkml_lsml.worker.finishing import RegressionFinish

Array = npt.NDArray[np.float64]


class _Params(CheckedParams, _LinearRegressionParams):
    """Params of `LinearRegression` and `LinearRegressionModel`."""

    solver: Param[str] = Param(
        Params._dummy(),
        "solver",
        "The solver: auto, normal (least squares only), " + ", ".join(ITERATIVE_SOLVERS) + ".",
        typeConverter=TypeConverters.toString,
    )

    _ranges: ClassVar[dict[str, Range]] = {
        "solver": one_of("auto", "normal", *ITERATIVE_SOLVERS),
        "loss": loss_range(*LOSSES),
        "epsilon": Range(
            lambda v: isinstance(v, int | float) and 1.0 < v < float("inf"),
            "a finite number greater than 1",
        ),
    }

    @classmethod
    def _check_metadata(cls, metadata: dict[str, Any]) -> None:
        check_saved_loss(metadata, tuple(LOSSES))


@add_accessors
class LinearRegression(LinearEstimator, _Params, Regressor["LinearRegressionModel"]):
    r"""Linear regression with the squared error or Huber's loss.

    Takes the place of :class:`pyspark.ml.regression.LinearRegression` with the same Params and the
    same objective. For the squared error that is

    .. math:: \frac{1}{2 \sum_i v_i} \sum_i v_i (x_i^T w + b - y_i)^2
        + \lambda \left(\frac{1 - \alpha}{2 \sigma_y} \|c\|^2 + \alpha \|c\|_1\right),

    where MLlib divides the L2 part by the standard deviation of the label. Standard deviations are
    those of the population with solver ``normal`` and of the sample otherwise, as in MLlib. For
    Huber's loss see :class:`sparkml_lsml.losses.Huber`; its penalty is
    :math:`\lambda / 2 \|c\|^2`. In both c are the coefficients, or with standardization those of
    features with unit variance.

    Parameters
    ----------
    featuresCol : str
        Column of vectors, array<double> or array<float>.
    featuresCols : list of str, optional
        Columns of numbers or booleans that are the features, in this order, in place of
        ``featuresCol``; a row that lacks one of the numbers has no features.
    labelCol : str
        Column of any numeric type.
    maxIter, regParam, elasticNetParam, tol, fitIntercept, standardization, weightCol, \
aggregationDepth, epsilon
        As in MLlib. ``tol`` is relative to the objective.
    loss : str
        "squaredError", "huber", or the name of a loss that was registered with
        :func:`sparkml_lsml.losses.register`. Its penalty is :math:`\lambda ((1 - \alpha) / 2
        \|c\|^2 + \alpha \|c\|_1)`, and ``prediction`` is :math:`x^T w + b`, whatever the
        loss takes it for: with Poisson's, the logarithm of the mean.
    solver : str
        One of those that ``explainParam("solver")`` names. ``auto`` solves the normal equations in
        one pass for up to 4,096 features, unless rows and features are so many that ``l-bfgs`` is
        done several times, and seconds, sooner; the summary says so. ``l-bfgs`` is the quasi-Newton
        method that fits the loss and the penalty.
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

    Raises
    ------
    ParamError
        When a Param is set out of its range, for Huber's loss with an L1 penalty, or for another
        loss than the squared error with the solver ``normal``; from ``fit``, when a registered loss
        is not what it says.
    DataError, ColumnError
        From ``fit``, when rows or columns cannot be used; the message counts the rows.
    DivergedError
        From ``fit``, when a step size was too long.

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, 3.2 to 3.4; Owen
    (2007), A robust hybrid of lasso and ridge regression.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> rows = [(float(3 * x + 1), Vectors.dense(float(x))) for x in range(5)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = LinearRegression().fit(df)
    >>> round(float(model.coefficients[0]), 6), round(model.intercept, 6)
    (3.0, 1.0)
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
        standardization: bool = True,
        solver: str = "auto",
        weightCol: str | None = None,
        aggregationDepth: int = 2,
        loss: str = "squaredError",
        epsilon: float = 1.35,
        maxBlockSizeInMB: float = 0.0,
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
        featuresCols: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._set(**self._input_kwargs)

    def _model_class(self) -> type[Any]:
        return LinearRegressionModel

    def _task(self) -> Task:
        return "regression"

    def _check_fit(self, dataset: DataFrame) -> None:
        super()._check_fit(dataset)
        name, share = self.value("loss"), self.value("elasticNetParam")
        if name == "huber" and (share > 0.0 or self.value("solver") == "normal"):
            raise ParamError(
                "loss='huber' takes an L2 penalty and an iterative solver: found "
                f"elasticNetParam={share} and solver={self.value('solver')!r}, expected 0.0 and "
                "'auto' or 'l-bfgs'"
            )
        if name != "squaredError" and self.value("solver") == "normal":
            raise ParamError(
                f"loss={name!r} takes an iterative solver: found solver='normal', expected 'auto' "
                "or 'l-bfgs'"
            )

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """See `Trainable.problem`."""
        name = self.value("loss")
        huber, squared = name == "huber", name == "squaredError"
        strength, share = self.value("regParam"), self.value("elasticNetParam")
        loss = Huber(epsilon=self.value("epsilon")) if huber else find(name, LOSSES)
        solver, reason = self._choose(report, loss, strength * share)
        population = solver == "normal"
        mean, deviation, rows = label_moments(report, sample=not population)
        unit, start = label_units(loss, mean, deviation)
        return Problem(
            loss,
            linear_predictor(report, 1, loss, self.value("fitIntercept")),
            strength * share,
            # MLlib's unit of the squared error's L2 penalty
            strength * (1.0 - share) / (unit if squared else 1.0),
            solver,
            reason,
            partial(_build, rows=rows),
            label_scale=unit,
            sample_moments=not population,
            start=_start(start, constants=len(loss.constants)),
        )

    def _choose(self, report: Report, loss: Loss, l1: float) -> tuple[str, str]:
        asked, features = self.value("solver"), report.longest
        early = bool(self.value("validationIndicatorCol"))
        if asked == "normal" and early:
            raise ParamError(
                "solver='normal' has no iterations to choose from by validationIndicatorCol="
                f"'{self.value('validationIndicatorCol')}': use solver='auto' or 'l-bfgs'"
            )
        if asked == "normal" and features > MAX_FEATURES:
            raise ParamError(
                f"solver='normal' takes up to {MAX_FEATURES:,} features, found {features:,}: "
                "use solver='l-bfgs'"
            )
        direct = isinstance(loss, Squared) and not early and features <= MAX_FEATURES
        if asked != "auto" or not direct:
            return choose_solver(self, loss.smooth, l1, features)
        if _pays_direct(report):
            return "normal", f"auto: one pass for least squares up to {MAX_FEATURES:,} features"
        solver, _ = choose_solver(self, loss.smooth, l1, features)
        return solver, (
            f"auto: sooner done than the normal equations of {features:,} features "
            "(solver='normal'), which have standard errors"
        )


def _pays_direct(report: Report) -> bool:
    moments = report.moments
    if moments is None:  # pragma: no cover - blocks with rows always have moments
        raise AssertionError("no moments of the features")
    nonzeros = float(moments.stored.sum()) / (moments.weight or 1.0)
    return pays_direct(moments.rows, nonzeros, moments.features)


def _build(fit: Fitted, rows: int) -> "LinearRegressionModel":
    scale = float(fit.constants[0]) if len(fit.constants) else 1.0
    intercept = fit.intercepts if fit.layout.fit_intercept else fit.intercepts[:0]
    summary = LinearRegressionTrainingSummary.of(
        fit.summary,
        trained=rows,
        estimates=np.append(fit.coefficients[0], intercept),
        precision=fit.precision,
    )
    return LinearRegressionModel(fit.coefficients, fit.intercepts, scale, summary)


def _start(intercept: float, constants: int) -> Callable[[Layout], Array]:
    """Zeros, the mean of the label as intercept, and the scale of the label as Huber's scale."""

    def start(layout: Layout) -> Array:
        coef = np.zeros(layout.size)
        if layout.fit_intercept:
            coef[layout.intercepts] = intercept
        if constants:
            coef[layout.extras] = 1.0
        return coef

    return start


@add_accessors
class LinearRegressionModel(Exportable, LinearModel, _Params, RegressionModel):
    """Model of a `LinearRegression`.

    ``transform`` adds ``prediction``. A row whose features hold NaN gets NaN, a row without
    features gets null.

    Attributes
    ----------
    coefficients : DenseVector of length numFeatures
    intercept : float
    scale : float
        Huber's scale; 1 for the squared error.
    summary : LinearRegressionTrainingSummary
        After a fit, with standard errors where the solver was ``normal``.
    """

    def __init__(
        self,
        coefficients: Array,
        intercepts: Array,
        scale: float = 1.0,
        summary: LinearRegressionTrainingSummary | None = None,
    ) -> None:
        super().__init__(coefficients, intercepts, summary)
        if not 0.0 < scale < float("inf"):
            raise ValueError(f"scale={scale!r}: expected a finite number greater than 0")
        self._scale = float(scale)

    @property
    def coefficients(self) -> DenseVector:
        """Coefficients of the features."""
        return DenseVector(self._coefficients[0])

    @property
    def intercept(self) -> float:
        """Intercept, 0 without one."""
        return float(self._intercepts[0])

    @property
    def scale(self) -> float:
        """Scale that Huber's loss estimated; 1 for the squared error."""
        return self._scale

    def evaluate(self, dataset: DataFrame | ResidentRows) -> LinearRegressionSummary:
        """Metrics of the model on rows with labels, which are computed when asked for.

        Of `ResidentRows` the frame is read.

        Raises
        ------
        ColumnError
            If the features or the label are missing, or of a type that cannot be used.
        """
        return LinearRegressionSummary(evaluation=Evaluation.of(self, dataset).check())

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        return RegressionFinish()

    def _form(self) -> Form:
        return Form("regression", self._coefficients, self._intercepts)

    def _saved_facts(self) -> dict[str, Any]:
        return {"scale": self._scale}

    @classmethod
    def _from_saved(
        cls, arrays: dict[str, Array], facts: dict[str, Any]
    ) -> "LinearRegressionModel":
        return cls(arrays["coefficients"], arrays["intercepts"], facts["scale"])
