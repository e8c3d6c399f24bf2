"""Params of logistic regression, with MLlib's rules for the two forms of a threshold."""

from typing import Any, ClassVar

from pyspark.ml.classification import _LogisticRegressionParams
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasSolver

from sparkml_lsml.classification import bounds
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.params.class_weight import CLASS_WEIGHT, HasClassWeight
from sparkml_lsml.spark.params.ranges import SHARE, Range, one_of
from sparkml_lsml.spark.params.solvers import BINARY_SOLVERS


class LogisticParams(HasClassWeight, _LogisticRegressionParams, HasSolver):
    """Params of `LogisticRegression` and `LogisticRegressionModel`."""

    solver: Param[str] = Param(
        Params._dummy(),
        "solver",
        "The solver: auto, " + ", ".join(BINARY_SOLVERS) + ".",
        typeConverter=TypeConverters.toString,
    )

    _ranges: ClassVar[dict[str, Range]] = {
        "classWeight": CLASS_WEIGHT,
        "solver": one_of("auto", *BINARY_SOLVERS),
        "family": one_of("auto", "binomial", "multinomial"),
        "threshold": SHARE,
        **bounds.RANGES,
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(solver="auto")

    def setThreshold(self, value: float) -> Any:
        """Set the probability of class 1 above which it is predicted; clears ``thresholds``."""
        self._set(threshold=value)
        self.clear(self.thresholds)
        return self

    def getThreshold(self) -> float:
        """Probability of class 1 above which it is predicted, also where ``thresholds`` say it."""
        self._checkThresholdConsistency()
        if not self.isSet(self.thresholds):
            return float(self.getOrDefault(self.threshold))
        return self._of_thresholds()

    def _of_thresholds(self) -> float:
        both = self.getOrDefault(self.thresholds)
        if len(both) != 2:
            raise ParamError(
                f"thresholds has {len(both)} entries, where one threshold is asked for: expected "
                "one for each of two classes"
            )
        # MLlib's 1 / (1 + t0 / t1), which Python cannot divide where class 1 is always predicted
        return float(both[1] / (both[0] + both[1]))

    def _checkThresholdConsistency(self) -> None:
        if not (self.isSet(self.threshold) and self.isSet(self.thresholds)):
            return
        found, expected = self.getOrDefault(self.threshold), self._of_thresholds()
        if abs(found - expected) >= 1e-5:
            raise ParamError(
                f"threshold={found:g} and thresholds={self.getOrDefault(self.thresholds)}, which "
                f"mean {expected:g}: expected one of the two, or the same"
            )

    def setThresholds(self, value: list[float]) -> Any:
        """Set a threshold for each class; clears ``threshold``."""
        self._set(thresholds=value)
        self.clear(self.threshold)
        return self
