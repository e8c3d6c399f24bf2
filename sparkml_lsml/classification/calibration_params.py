"""Params of the calibration of a classifier."""

from typing import Any, ClassVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasProbabilityCol, HasSeed, HasThreshold, HasWeightCol

from sparkml_lsml.engine.metrics.calibration import METHODS
from sparkml_lsml.spark.params.bases import HasFeaturesCols
from sparkml_lsml.spark.params.ranges import OPTIONAL_NAME, SHARE, Range, one_of

FOLDS = Range(
    lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 2, "an integer of 2 or more"
)


class CalibrationParams(HasFeaturesCols, HasProbabilityCol, HasWeightCol, HasThreshold, HasSeed):
    """Params of `CalibratedClassifier` and `CalibratedClassifierModel`."""

    method: Param[str] = Param(
        Params._dummy(),
        "method",
        "How probabilities follow from margins: 'sigmoid' (Platt's) or 'isotonic'.",
        typeConverter=TypeConverters.toString,
    )
    numFolds: Param[int] = Param(
        Params._dummy(),
        "numFolds",
        "Number of folds, >= 2: each margin is that of a model which did not see its row.",
        typeConverter=TypeConverters.toInt,
    )
    foldCol: Param[str] = Param(
        Params._dummy(),
        "foldCol",
        "Column of the number of the fold of each row, from 0 to below numFolds; '' for random "
        "folds.",
        typeConverter=TypeConverters.toString,
    )

    _ranges: ClassVar[dict[str, Range]] = {
        "method": one_of(*METHODS),
        "numFolds": FOLDS,
        "foldCol": OPTIONAL_NAME,
        "threshold": SHARE,
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(method="sigmoid", numFolds=5, foldCol="", threshold=0.5, seed=0)
