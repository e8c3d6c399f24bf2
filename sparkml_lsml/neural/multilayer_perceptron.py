"""MLlib's networks: sigmoid layers and a softmax."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pyspark.ml.classification import (
    MultilayerPerceptronClassificationModel as MLlibModel,
)
from pyspark.ml.classification import (
    ProbabilisticClassificationModel,
    ProbabilisticClassifier,
    _ProbabilisticClassifierParams,
)
from pyspark.ml.linalg import Vector
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasBlockSize, HasSeed, HasStepSize

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.predictors import DensePredictor
from sparkml_lsml.errors import ParamError
from sparkml_lsml.neural.layers_estimator import LayersClassifier
from sparkml_lsml.neural.network_model import NetworkClassificationModel
from sparkml_lsml.neural.params import CLASS_LAYERS, LayersParams
from sparkml_lsml.neural.weights import in_own_order, mllibs_start
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.spark.params.class_weight import CLASS_WEIGHT, HasClassWeight
from sparkml_lsml.spark.params.fit_settings import FitSettings
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.params.ranges import COUNT, Range, one_of
from sparkml_lsml.spark.params.solvers import NETWORK_SOLVERS
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.training.problem import Problem

Array = npt.NDArray[np.float64]

ACTIVATION, STEP_SIZE = "sigmoid", 0.03


class _Params(LayersParams, HasClassWeight, HasBlockSize, _ProbabilisticClassifierParams):
    """Params of `MultilayerPerceptronClassifier` and its model."""

    solver: Param[str] = Param(
        Params._dummy(),
        "solver",
        "The solver: l-bfgs, gd (steps of stepSize along the gradient of all rows), "
        + ", ".join(name for name in NETWORK_SOLVERS if name != "l-bfgs")
        + ".",
        typeConverter=TypeConverters.toString,
    )
    initialWeights: Param[Vector] = Param(
        Params._dummy(),
        "initialWeights",
        "Weights to start from, in MLlib's order.",
        typeConverter=TypeConverters.toVector,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(solver="l-bfgs", tol=1e-6, standardization=False, blockSize=128)


RANGES: dict[str, Range] = {
    "blockSize": COUNT,
    "classWeight": CLASS_WEIGHT,
    "layers": CLASS_LAYERS,
    "solver": one_of("gd", *NETWORK_SOLVERS),
    "initialWeights": Range(
        lambda v: isinstance(v, Vector) and bool(np.isfinite(v.toArray()).all()),
        "a vector of finite numbers",
    ),
}


@add_accessors
class MultilayerPerceptronClassifier(LayersClassifier, _Params, ProbabilisticClassifier):
    r"""A multilayer perceptron with sigmoid layers and a softmax, with MLlib's Params and defaults.

    Takes the place of :class:`pyspark.ml.classification.MultilayerPerceptronClassifier`. The
    objective is the mean negative log-likelihood of all rows, where MLlib takes the mean of blocks
    of rows of which the last of a partition counts as much as a full one. Beyond MLlib it has what
    `MLPClassifier` has but for the choice of an activation; that one also finds better networks
    sooner.

    Parameters
    ----------
    featuresCol, labelCol, predictionCol, probabilityCol, rawPredictionCol, thresholds, maxIter, \
tol, seed, layers, stepSize
        As in MLlib. Without ``initialWeights`` the training starts at weights that are drawn from
        ``seed`` as MLlib draws them, but by another generator.
    solver : str
        ``l-bfgs``, ``gd``, or one of those of `MLPClassifier`.
    initialWeights : Vector, optional
        In MLlib's order, see ``weights`` of the model.
    blockSize : int
        Accepted, and without effect.
    optimizer, learningRate, warmup, batchSize, localEpochs, localSteps, maxGradNorm, \
dropout, momentum, regParam, standardization, powerT, lineSearch, nesterov, averaging, \
varianceReduction, miniBatchFraction, weightCol, classWeight, dtype, execution, checkpointDir, \
checkpointInterval, validationIndicatorCol, patience, validationTol, aggregationDepth, featuresCols
        As in `MLPClassifier`.

    Raises
    ------
    ParamError
        When a Param is set out of its range; from ``fit``, when ``layers`` do not fit the rows.
    DataError, ColumnError
        From ``fit``, when rows or columns cannot be used; the message counts the rows.
    DivergedError
        From ``fit``, when a step size was too long.

    References
    ----------
    Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors,
    Nature 323; Liu and Nocedal (1989), On the limited memory BFGS method for large scale
    optimization, Mathematical Programming 45.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> rows = [(float(x != y), Vectors.dense(x, y)) for x in (0.0, 1.0) for y in (0.0, 1.0)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = MultilayerPerceptronClassifier(layers=[2, 5, 2], seed=1).fit(df)
    >>> [row.prediction for row in model.transform(df).collect()]
    [0.0, 1.0, 1.0, 0.0]
    >>> model.weights.size
    27
    """

    _ranges: ClassVar[dict[str, Range]] = {**LayersClassifier._ranges, **RANGES}

    @keywords
    def __init__(
        self,
        *,
        featuresCol: str = "features",
        labelCol: str = "label",
        predictionCol: str = "prediction",
        layers: Sequence[int] | None = None,
        blockSize: int = 128,
        initialWeights: Vector | None = None,
        probabilityCol: str = "probability",
        rawPredictionCol: str = "rawPrediction",
        thresholds: list[float] | None = None,
        classWeight: Any = "",
        maxIter: int = 100,
        tol: float = 1e-6,
        regParam: float = 0.0,
        standardization: bool = False,
        solver: str = "l-bfgs",
        optimizer: str = "adam",
        stepSize: float = 0.03,
        learningRate: str | None = None,
        warmup: float = 0.0,
        batchSize: int = 128,
        localEpochs: int = 1,
        localSteps: int = 0,
        maxGradNorm: float | None = None,
        dropout: float = 0.0,
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
        # the steps of all networks have defaults of their own
        self._setDefault(stepSize=STEP_SIZE, dtype="float32")
        self._set(**self._input_kwargs)

    def settings(self) -> FitSettings:
        """See `Trainable.settings`."""
        found = super().settings()
        if self.value("solver") == "gd":
            return replace(found, lineSearch="fixed")
        # the default is meant for gd
        given = self.isSet(self.stepSize)
        return found if given else replace(found, stepSize=self._usual_step())

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """See `Trainable.problem`."""
        found = super().problem(report, declared)
        weights = self.value("initialWeights")
        if weights is None:
            return found
        network: Any = found.predictor
        if weights.size != network.layout.size:
            raise ParamError(
                f"{type(self).__name__}: initialWeights has {weights.size:,} numbers, "
                f"layers={self.value('layers')} have {network.layout.size:,}: expected as many"
            )
        return replace(found, given=in_own_order(network, weights.toArray()))

    def _model_class(self) -> type[Any]:
        return MultilayerPerceptronClassificationModel

    def _model(self, layers: Any, weights: Array, summary: TrainingSummary) -> Any:
        return MultilayerPerceptronClassificationModel(list(layers), weights, summary)

    def _activation(self) -> str:
        return ACTIVATION

    def _solver(self) -> str:
        asked = super()._solver()
        return "gradient-descent" if asked == "gd" else asked

    def _class_start(self, network: DensePredictor, report: Report) -> Array:
        return mllibs_start(network, self.value("seed"))


@add_accessors
class MultilayerPerceptronClassificationModel(
    NetworkClassificationModel, _Params, HasSeed, HasStepSize, ProbabilisticClassificationModel
):
    """Model of a `MultilayerPerceptronClassifier`.

    ``transform`` adds ``rawPrediction`` (what the last layer returns), ``probability`` and
    ``prediction``. A row whose features hold NaN gets NaN, a row without features gets null.

    Parameters
    ----------
    layers : list of int
        Features, units of each hidden layer, classes.
    weights : DenseVector or array
        In the order of the attribute of this name.
    summary : TrainingSummary, optional

    Attributes
    ----------
    weights : DenseVector
    coefficientMatrices : list of DenseMatrix
    interceptVectors : list of DenseVector
    summary : MultilayerPerceptronClassificationTrainingSummary
        Of two classes a BinaryMultilayerPerceptronClassificationTrainingSummary.

    Examples
    --------
    >>> import numpy as np
    >>> from pyspark.ml.linalg import Vectors
    >>> model = MultilayerPerceptronClassificationModel([1, 2], np.array([-1.0, 1.0, 0.0, 0.0]))
    >>> model.predictRaw(Vectors.dense(2.0))
    DenseVector([-2.0, 2.0])
    """

    _ranges: ClassVar[dict[str, Range]] = {**LayersParams._ranges, **RANGES}

    def __init__(
        self, layers: Sequence[int], weights: Any, summary: TrainingSummary | None = None
    ) -> None:
        super().__init__(layers, weights, ACTIVATION, summary)
        self._setDefault(stepSize=STEP_SIZE, seed=0)

    @classmethod
    def fromMLlib(cls, model: MLlibModel) -> Self:
        """MLlib's model, fitted or loaded, with its weights, uid and Params.

        Parameters
        ----------
        model : pyspark.ml.classification.MultilayerPerceptronClassificationModel

        Raises
        ------
        TypeError
            If it is another model.

        Examples
        --------
        >>> import numpy as np
        >>> ours = MultilayerPerceptronClassificationModel([1, 2], np.array([-1.0, 1.0, 0.0, 0.0]))
        >>> again = MultilayerPerceptronClassificationModel.fromMLlib(ours.toMLlib())
        >>> again.weights == ours.weights, again.uid == ours.uid
        (True, True)
        """
        if not isinstance(model, MLlibModel):
            raise TypeError(
                f"fromMLlib takes a {MLlibModel.__module__}.{MLlibModel.__name__}, found a "
                f"{type(model).__module__}.{type(model).__name__}"
            )
        made = cls(model.getLayers(), model.weights)
        made._resetUid(model.uid)
        for param in model.params:
            if model.isSet(param) and made.hasParam(param.name):
                made._set(**{param.name: model.getOrDefault(param)})
        return made

    @classmethod
    def _from_saved(cls, arrays: dict[str, Array], facts: dict[str, Any]) -> Self:
        if facts["activation"] != ACTIVATION:
            raise ValueError(f"found activation {facts['activation']!r}, expected '{ACTIVATION}'")
        return cls(facts["layers"], arrays["weights"])
