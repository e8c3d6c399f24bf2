"""Networks of PyTorch for numbers."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pyspark.ml.regression import RegressionModel, Regressor
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.predictors.module import ModulePredictor
from sparkml_lsml.losses import Huber
from sparkml_lsml.losses.registry import find
from sparkml_lsml.neural.regression_params import RANGES, RegressionParams
from sparkml_lsml.neural.summary import MLPRegressionSummary, MLPRegressionTrainingSummary
from sparkml_lsml.neural.torch_estimator import TorchEstimator
from sparkml_lsml.neural.torch_model import TorchModel
from sparkml_lsml.neural.torch_params import TorchParams
from sparkml_lsml.regression.labels import LOSSES, label_moments, label_units
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.rows.shared import ResidentRows
from sparkml_lsml.spark.training.problem import Fitted, Problem
from sparkml_lsml.worker.finishing import RegressionFinish

Array = npt.NDArray[np.float64]


@add_accessors
class TorchRegressor(TorchEstimator, RegressionParams, Regressor["TorchRegressionModel"]):
    r"""A network of PyTorch for a number.

    Minimised is the weighted mean of the loss plus a penalty, by mini-batches on every partition at
    once whose weights are averaged after each epoch, as `MLPRegressor` has it. The module works in
    the mean and the deviation of the labels.

    Parameters
    ----------
    loss : str
        "squaredError", half of the squared residual, "huber" with ``epsilon`` as in
        `LinearRegression`, or the name of a loss that was registered with
        :func:`sparkml_lsml.losses.register`.
    epsilon : float
    network : str
        ``cnn``, ``resnet-small``, ``gru``, ``lstm``, ``attention``, ``embeddings``, or the name of
        one that was registered with :func:`sparkml_lsml.neural.register`.
    networkParams : dict
        Keywords of the network, see :mod:`sparkml_lsml.networks.images` and
        :mod:`sparkml_lsml.networks.sequences`.
    inputShape : list of int, optional
        Shape of a row for the network, whose numbers are the features in C order; ``[features]``
        where it is not set.
    regParam : float
        The penalty is half of it times the sum of the squared weights (tensors of two or more
        dimensions); biases and scales are not penalised.
    precision : {"float32", "bfloat16"}
        What products are computed in; the weights are float32.
    dtype : {"float32", "float64"}
        Type in which features are kept.
    featuresCol, featuresCols, labelCol, weightCol, predictionCol, optimizer, maxIter, tol, \
stepSize, learningRate, warmup, batchSize, localEpochs, localSteps, maxGradNorm, momentum, \
solver, powerT, lineSearch, nesterov, averaging, varianceReduction, miniBatchFraction, seed, \
execution, checkpointDir, checkpointInterval, validationIndicatorCol, patience, \
validationTol, aggregationDepth
        As in `MLPRegressor`.

    Raises
    ------
    ParamError
        When a Param is set out of its range; from ``fit``, when the network cannot be made, or does
        not fit the rows.
    BackendError
        From ``fit``, without torch on the driver or on executors.
    DataError, ColumnError
        From ``fit``, when rows or columns cannot be used; the message counts the rows.
    DivergedError
        From ``fit``, when a step size was too long.
    """

    _ranges: ClassVar[dict[str, Range]] = {**TorchEstimator._ranges, **RANGES}

    @keywords
    def __init__(
        self,
        *,
        network: str | None = None,
        networkParams: Any = None,
        inputShape: Sequence[int] | None = None,
        loss: str = "squaredError",
        epsilon: float = 1.35,
        featuresCol: str = "features",
        labelCol: str = "label",
        predictionCol: str = "prediction",
        maxIter: int = 100,
        tol: float = 1e-4,
        regParam: float = 0.0,
        solver: str = "auto",
        optimizer: str = "adam",
        stepSize: float | None = None,
        learningRate: str | None = None,
        warmup: float = 0.0,
        batchSize: int = 128,
        localEpochs: int = 1,
        localSteps: int = 0,
        maxGradNorm: float | None = None,
        momentum: float = 0.9,
        powerT: float = 0.5,
        lineSearch: str = "backtracking",
        nesterov: bool = False,
        averaging: bool = True,
        varianceReduction: bool = False,
        miniBatchFraction: float = 1.0,
        seed: int = 0,
        weightCol: str | None = None,
        dtype: str = "float32",
        precision: str = "float32",
        execution: str = "auto",
        checkpointDir: str | os.PathLike[str] = "",
        checkpointInterval: int = 10,
        validationIndicatorCol: str | None = None,
        patience: int = 5,
        validationTol: float = 0.0,
        aggregationDepth: int = 2,
        featuresCols: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._set(**self._input_kwargs)

    def _model_class(self) -> type[Any]:
        return TorchRegressionModel

    def _task(self) -> Task:
        return "regression"

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """See `Trainable.problem`."""
        name = self.value("loss")
        loss = Huber(epsilon=self.value("epsilon")) if name == "huber" else find(name, LOSSES)
        mean, deviation, _ = label_moments(report, sample=True)
        unit, centre = label_units(loss, mean, deviation)
        network = self._network(report, loss, 1, scale=unit, centre=unit * centre)

        def start(_: Any) -> Array:
            coef = self._start(network)
            coef[network.layout.extras] = unit
            return coef

        return self._problem(network, loss, partial(self._build, network), start=start)

    def _build(self, network: ModulePredictor, fit: Fitted) -> "TorchRegressionModel":
        predictor, coef = self._bare(network, fit)
        scale = float(fit.constants[0]) if len(fit.constants) else 1.0
        summary = MLPRegressionTrainingSummary.of(self._noted(fit.summary))
        return TorchRegressionModel(predictor, coef, scale, summary)


@add_accessors
class TorchRegressionModel(TorchModel, RegressionParams, RegressionModel[Any]):
    """Model of a `TorchRegressor`.

    ``transform`` adds ``prediction``. A row whose features hold NaN gets NaN, a row without
    features gets null.

    Attributes
    ----------
    tensors : dict of str to array
    labelScale, labelCentre : float
        The prediction is ``labelScale`` times what the module returns, plus ``labelCentre``.
    scale : float
        Huber's scale; 1 for other losses.
    summary : MLPRegressionTrainingSummary
    """

    _ranges: ClassVar[dict[str, Range]] = {**TorchParams._ranges, **RANGES}

    def __init__(
        self,
        predictor: ModulePredictor,
        coef: Array,
        scale: float = 1.0,
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(predictor, coef, summary)
        self._scale = float(scale)

    @property
    def scale(self) -> float:
        """Scale that Huber's loss estimated; 1 for other losses."""
        return self._scale

    @property
    def labelScale(self) -> float:
        """What the output of the module is multiplied by."""
        return self._predictor.scale

    @property
    def labelCentre(self) -> float:
        """What is added to it then."""
        return self._predictor.centre

    def evaluate(self, dataset: DataFrame | ResidentRows) -> MLPRegressionSummary:
        """Metrics of the model on rows with labels, which are computed when asked for.

        Of `ResidentRows` the frame is read.

        Raises
        ------
        ColumnError
            If the features or the label are missing, or of a type that cannot be used.
        """
        return MLPRegressionSummary(evaluation=Evaluation.of(self, dataset).check())

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        return RegressionFinish()

    def _saved_facts(self) -> dict[str, Any]:
        return {**super()._saved_facts(), "lossScale": self._scale}

    @classmethod
    def _from_saved(cls, arrays: dict[str, Array], facts: dict[str, Any]) -> Self:
        made = super()._from_saved(arrays, facts)
        made._scale = float(facts["lossScale"])
        return made
