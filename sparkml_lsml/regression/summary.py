"""What a linear regression tells of rows and of its training: summaries, standard errors."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from scipy.special import stdtr

from sparkml_lsml.display import plots
from sparkml_lsml.engine.blocks.report import Task
from sparkml_lsml.engine.metrics.residual_sums import ResidualSums
from sparkml_lsml.engine.metrics.row_sample import RowSample
from sparkml_lsml.engine.solvers.base import Precision
from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.spark.models.evaluation import RowsSummary
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.rows.frames import column_of
from sparkml_lsml.worker.tallying import RegressionTally

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RegressionSummary(RowsSummary):
    """Metrics of a regression on rows, all of them from one pass.

    Rows count by their weights where the model has a ``weightCol`` that the frame has.
    """

    _shown: ClassVar[tuple[str, ...]] = (
        "r2",
        "rootMeanSquaredError",
        "meanAbsoluteError",
        "explainedVariance",
    )

    def _task(self) -> Task:
        return "regression"

    def _empty(self) -> RegressionTally:
        return RegressionTally(intercept=True)

    @property
    def _sums(self) -> ResidualSums:
        found: ResidualSums = self._tally.sums
        return found

    @property
    def numInstances(self) -> int:
        """Number of rows."""
        return self._sums.rows

    @property
    def r2(self) -> float:
        """Coefficient of determination; of a model without intercept about 0, as in MLlib."""
        return self._sums.r2(through_origin=not self._tally.intercept)

    @property
    def explainedVariance(self) -> float:
        """Mean squared deviation of the predictions from the mean label, in squared label units."""
        return self._sums.explained_variance

    @property
    def meanAbsoluteError(self) -> float:
        """Mean size of the residuals, in units of the label."""
        return self._sums.mean_absolute_error

    @property
    def meanSquaredError(self) -> float:
        """Mean of the squared residuals."""
        return self._sums.mean_squared_error

    @property
    def rootMeanSquaredError(self) -> float:
        """Square root of ``meanSquaredError``, in units of the label."""
        return float(np.sqrt(self._sums.mean_squared_error))

    @property
    def devianceResiduals(self) -> list[float]:
        """Least and greatest residual times the square root of its weight."""
        return [self._sums.low, self._sums.high]

    @property
    def residuals(self) -> DataFrame:
        """A frame of the residuals, label less prediction, in the order of ``predictions``."""
        rows = self.predictions
        label, found = column_of(rows, self.labelCol), column_of(rows, self.predictionCol)
        return rows.select((label.cast("double") - found).alias("residuals"))

    def plot_residuals(self, ax: Any = None) -> Any:
        """Draw residuals over predictions, of up to 2,000 rows drawn at random.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure by default.

        Returns
        -------
        matplotlib Axes
        """
        sample: RowSample = self._tally.sample
        prediction, label = sample.values.T
        return plots.residuals(prediction, label - prediction, self._sums.rows, ax=ax)


@dataclass(frozen=True)
class LinearRegressionSummary(RegressionSummary):
    """Metrics of a `LinearRegressionModel` on rows, all of them from one pass.

    Rows count by their weights where the model has a ``weightCol`` that the frame has.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> from sparkml_lsml.regression import LinearRegression
    >>> rows = [(float(y), Vectors.dense(float(x))) for x, y in [(0, 1), (1, 2), (2, 2), (3, 4)]]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = LinearRegression().fit(df)
    >>> low = model.evaluate(df.where("label < 4"))
    >>> round(model.summary.r2, 3), round(low.meanAbsoluteError, 3)
    (0.853, 0.333)
    """

    def _empty(self) -> RegressionTally:
        return RegressionTally(bool(self._evaluation().model.getFitIntercept()))

    @property
    def degreesOfFreedom(self) -> int:
        """Rows less coefficients, the intercept counted."""
        return self.numInstances - self._evaluation().model.numFeatures - int(self._tally.intercept)

    @property
    def r2adj(self) -> float:
        """Coefficient of determination, adjusted to the degrees of freedom; NaN without any."""
        free = self.degreesOfFreedom
        rows = self.numInstances - int(self._tally.intercept)
        return 1.0 - (1.0 - self.r2) * rows / free if free > 0 else float("nan")

    @property
    def coefficientStandardErrors(self) -> list[float]:
        """See `LinearRegressionTrainingSummary`."""
        return self._errors("coefficientStandardErrors").tolist()

    @property
    def tValues(self) -> list[float]:
        """See `LinearRegressionTrainingSummary`."""
        return self._errors("tValues").tolist()

    @property
    def pValues(self) -> list[float]:
        """See `LinearRegressionTrainingSummary`."""
        return self._errors("pValues").tolist()

    def _errors(self, name: str) -> Array:
        raise ParamError(
            f"{name} tell of the rows that a model was trained on, found an evaluation of others: "
            "take model.summary after a fit with solver='normal'"
        )


@dataclass(frozen=True)
class LinearRegressionTrainingSummary(TrainingSummary, LinearRegressionSummary):
    r"""How a fit of a `LinearRegression` went, with metrics of the training rows.

    After the solver ``normal`` it knows standard errors.

    The standard error of a coefficient, and last of the intercept where there is one, is

    .. math:: \sqrt{\hat\sigma^2 \left[(X^T V X + \textstyle\sum_i v_i R)^{-1}\right]_{jj}},
        \qquad \hat\sigma^2 = \frac{\sum_i v_i r_i^2}{n - p},

    with the weights v on the diagonal of V, residuals r, n rows and p coefficients, the intercept
    counted. R is the L2 penalty: with one, coefficients are biased, and the formula, which is
    MLlib's, only tells how sharply the objective bends. p-values are two-sided, of Student's t
    distribution with n - p degrees of freedom.

    ``coefficientStandardErrors``, ``tValues`` and ``pValues`` raise `ParamError` after another
    solver or with an L1 penalty, and `DataError` where the rows do not determine them: columns that
    are constant or linear combinations of others, or no more rows than coefficients.

    Attributes
    ----------
    trained : int
        Rows that the model was trained on, which ``numInstances`` gives.
    estimates : array of shape (features,) or (features + 1,)
        The coefficients, and the intercept where there is one.
    precision : Precision or None

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, 3.2, equations 3.8
    and 3.12.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> from sparkml_lsml.regression import LinearRegression
    >>> rows = [(float(y), Vectors.dense(float(x))) for x, y in [(0, 1), (1, 2), (2, 2), (3, 4)]]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> summary = LinearRegression().fit(df).summary
    >>> [round(error, 3) for error in summary.coefficientStandardErrors]
    [0.265, 0.495]
    >>> [round(p, 3) for p in summary.pValues]
    [0.077, 0.211]
    """

    trained: int = 0
    estimates: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    precision: Precision | None = field(default=None, repr=False, compare=False)

    @property
    def numInstances(self) -> int:
        """Number of rows."""
        return self.trained

    @property
    def degreesOfFreedom(self) -> int:
        """Rows less coefficients, the intercept counted."""
        return self.numInstances - len(self.estimates)

    @property
    def coefficientStandardErrors(self) -> list[float]:
        """Standard errors of the coefficients, and last of the intercept where there is one."""
        errors: list[float] = self._errors("coefficientStandardErrors").tolist()
        return errors

    @property
    def tValues(self) -> list[float]:
        """Coefficients and intercept in units of their standard errors; NaN for 0 / 0."""
        values: list[float] = self._t("tValues").tolist()
        return values

    @property
    def pValues(self) -> list[float]:
        """Probabilities of t values at least as large, were a coefficient 0."""
        # the lower tail: 1 - cdf would round a small one to 0
        tail = stdtr(float(self.degreesOfFreedom), -np.abs(self._t("pValues")))
        values: list[float] = (2.0 * tail).tolist()
        return values

    def _t(self, name: str) -> Array:
        errors = self._errors(name)
        with np.errstate(divide="ignore", invalid="ignore"):  # an exact fit has errors of 0
            values: Array = self.estimates / errors
        return values

    def _errors(self, name: str) -> Array:
        if self.solver != "normal" or self.reason.name != "direct":
            how = f"solver '{self.solver}'" + " with an L1 penalty" * (self.solver == "normal")
            raise ParamError(
                f"{name} come from the normal equations without an L1 penalty, found a fit by "
                f"{how}: set solver='normal' and elasticNetParam=0"
            )
        if self.precision is None:
            raise DataError(
                f"{name}: the rows do not determine the {self.features} coefficients, since "
                "columns are constant or linear combinations of others: drop those"
            )
        if self.degreesOfFreedom < 1:
            raise DataError(
                f"{name}: found {self.numInstances} rows for {len(self.estimates)} coefficients, "
                "the intercept counted, expected more rows than coefficients"
            )
        sigma2 = self.precision.residual_sum / self.degreesOfFreedom
        errors: Array = np.sqrt(sigma2 * self.precision.inverse)
        return errors
