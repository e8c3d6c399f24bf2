"""Params of networks that predict a number."""

from typing import Any

from pyspark.ml.base import _PredictorParams
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasLoss

from sparkml_lsml.regression.labels import LOSSES
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.spark.training.custom_losses import check_saved_loss, loss_range


class RegressionParams(HasLoss, _PredictorParams):
    """Params of networks of numbers and of their models."""

    loss: Param[str] = Param(
        Params._dummy(),
        "loss",
        "The loss: 'squaredError', 'huber', or the name of one that was registered with "
        "sparkml_lsml.losses.register.",
        typeConverter=TypeConverters.toString,
    )
    epsilon: Param[float] = Param(
        Params._dummy(),
        "epsilon",
        "Residuals of more than so many scales are outliers for loss 'huber', > 1.",
        typeConverter=TypeConverters.toFloat,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(loss="squaredError", epsilon=1.35)

    @classmethod
    def _check_metadata(cls, metadata: dict[str, Any]) -> None:
        check_saved_loss(metadata, tuple(LOSSES))


RANGES: dict[str, Range] = {
    "loss": loss_range(*LOSSES),
    "epsilon": Range(
        lambda v: isinstance(v, int | float) and 1.0 < v < float("inf"),
        "a finite number greater than 1",
    ),
}
