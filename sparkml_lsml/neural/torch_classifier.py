"""Networks of PyTorch for classes."""

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.ml.classification import (
    ProbabilisticClassificationModel,
    ProbabilisticClassifier,
    _ProbabilisticClassifierParams,
)
from pyspark.ml.linalg import DenseVector, Vector
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.predictors.module import ModulePredictor
from sparkml_lsml.losses import Loss
from sparkml_lsml.neural.network_estimator import NetworkClassifier
from sparkml_lsml.neural.summary import (
    BinaryMultilayerPerceptronClassificationSummary,
    BinaryMultilayerPerceptronClassificationTrainingSummary,
    MultilayerPerceptronClassificationSummary,
    MultilayerPerceptronClassificationTrainingSummary,
)
from sparkml_lsml.neural.torch_estimator import TorchEstimator
from sparkml_lsml.neural.torch_model import TorchModel
from sparkml_lsml.neural.torch_params import TorchParams
from sparkml_lsml.spark.models.evaluation import Evaluation
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.spark.params.class_weight import CLASS_WEIGHT, HasClassWeight
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.spark.params.thresholds import check_thresholds
from sparkml_lsml.spark.rows.shared import ResidentRows
from sparkml_lsml.spark.training.problem import Fitted
from sparkml_lsml.worker.finishing import MultinomialFinish

Array = npt.NDArray[np.float64]


class _Params(HasClassWeight, _ProbabilisticClassifierParams):
    """Params of `TorchClassifier` and `TorchClassificationModel`."""


RANGES: dict[str, Range] = {"classWeight": CLASS_WEIGHT}


@add_accessors
class TorchClassifier(TorchEstimator, NetworkClassifier, _Params, ProbabilisticClassifier):
    r"""A network of PyTorch for two or more classes.

    A softmax makes probabilities of what the module returns. Minimised is the weighted mean of the
    negative log-likelihood plus a penalty, by mini-batches on every partition at once whose weights
    are averaged after each epoch, as `MLPClassifier` has it: no barrier, no second copy of the
    rows, and a task that was lost is done again.

    Parameters
    ----------
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
    featuresCol, featuresCols, labelCol, weightCol, predictionCol, classWeight, thresholds, \
probabilityCol, rawPredictionCol, optimizer, maxIter, tol, stepSize, learningRate, warmup, \
batchSize, localEpochs, localSteps, maxGradNorm, momentum, solver, powerT, lineSearch, \
nesterov, averaging, varianceReduction, miniBatchFraction, seed, execution, checkpointDir, \
checkpointInterval, validationIndicatorCol, patience, validationTol, aggregationDepth
        As in `MLPClassifier`.

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
        featuresCol: str = "features",
        labelCol: str = "label",
        predictionCol: str = "prediction",
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
        thresholds: list[float] | None = None,
        classWeight: Any = "",
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
        return TorchClassificationModel

    def _class_network(self, report: Report, loss: Loss, classes: int) -> ModulePredictor:
        return self._network(report, loss, max(2, classes))

    def _build(self, network: ModulePredictor, fit: Fitted) -> "TorchClassificationModel":
        kind = MultilayerPerceptronClassificationTrainingSummary
        predictor, coef = self._bare(network, fit)
        if predictor.outputs == 2:
            kind = BinaryMultilayerPerceptronClassificationTrainingSummary
        return TorchClassificationModel(predictor, coef, kind.of(self._noted(fit.summary)))


@add_accessors
class TorchClassificationModel(TorchModel, _Params, ProbabilisticClassificationModel):
    """Model of a `TorchClassifier`.

    ``transform`` adds ``rawPrediction`` (what the module returns), ``probability`` and
    ``prediction``. A row whose features hold NaN gets NaN, a row without features gets null.

    Attributes
    ----------
    tensors : dict of str to array
    summary : MultilayerPerceptronClassificationTrainingSummary
        Of two classes a BinaryMultilayerPerceptronClassificationTrainingSummary.
    """

    _ranges: ClassVar[dict[str, Range]] = {**TorchParams._ranges, **RANGES}

    @property
    def numClasses(self) -> int:
        """Number of classes."""
        return self._predictor.outputs

    def evaluate(
        self, dataset: DataFrame | ResidentRows
    ) -> MultilayerPerceptronClassificationSummary:
        """Metrics of the model on rows with labels, which are computed when asked for.

        Of `ResidentRows` the frame is read.

        Raises
        ------
        ColumnError
            If the features or the label are missing, or of a type that cannot be used.
        """
        kind = MultilayerPerceptronClassificationSummary
        if self.numClasses == 2:
            kind = BinaryMultilayerPerceptronClassificationSummary
        return kind(evaluation=Evaluation.of(self, dataset).check())

    def predictRaw(self, value: Vector) -> DenseVector:
        """What the module returns for one vector of features, before the softmax."""
        return DenseVector(self._score_one(value, "raw"))

    def predictProbability(self, value: Vector) -> DenseVector:
        """Probabilities of the classes for one vector of features."""
        return DenseVector(self._score_one(value, "probability"))

    def _finish(self) -> Callable[[Array], dict[str, Array]]:
        check_thresholds(self, self.numClasses)
        thresholds = self.value("thresholds")
        return MultinomialFinish(None if thresholds is None else np.asarray(thresholds))
