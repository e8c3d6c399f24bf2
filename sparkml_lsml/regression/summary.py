"""What a linear regression remembers of its training: the summary, and standard errors."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.solvers.base import Precision
from sparkml_lsml.spark.summary import TrainingSummary

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearRegressionTrainingSummary(TrainingSummary):
    r"""How a fit of a `LinearRegression` went, with standard errors after the solver ``normal``.

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
    numInstances : int
        Rows that the model was trained on.
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

    numInstances: int = 0
    estimates: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    precision: Precision | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def of(summary: TrainingSummary, **more: Any) -> "LinearRegressionTrainingSummary":
        """The summary of any fit, with what this one adds."""
        known = {one.name: getattr(summary, one.name) for one in fields(summary)}
        return LinearRegressionTrainingSummary(**known, **more)

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
