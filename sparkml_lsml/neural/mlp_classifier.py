"""Networks of classes."""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

from pyspark.ml.classification import (
    ProbabilisticClassificationModel,
    ProbabilisticClassifier,
    _ProbabilisticClassifierParams,
)

from sparkml_lsml.neural.layers_estimator import LayersClassifier
from sparkml_lsml.neural.network_model import NetworkClassificationModel
from sparkml_lsml.neural.params import ACTIVATION, CLASS_LAYERS, HasActivation, LayersParams
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.bases import add_accessors
from sparkml_lsml.spark.params.class_weight import CLASS_WEIGHT, HasClassWeight
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.params.ranges import Range


class _Params(HasClassWeight, HasActivation, _ProbabilisticClassifierParams):
    """Params of `MLPClassifier` and `MLPClassificationModel`."""


RANGES: dict[str, Range] = {
    "activation": ACTIVATION,
    "classWeight": CLASS_WEIGHT,
    "layers": CLASS_LAYERS,
}


@add_accessors
class MLPClassifier(LayersClassifier, _Params, ProbabilisticClassifier):
    r"""A multilayer perceptron for two or more classes.

    The layers :math:`a_l = \phi(W_l a_{l-1} + b_l)` begin with the features, end with a number for
    each class, and a softmax makes probabilities of these. Minimised is the weighted mean of the
    negative log-likelihood plus :math:`\lambda / 2 \sum_l \|W_l\|^2`, by mini-batches on every
    partition at once whose weights are averaged after each epoch.

    Parameters
    ----------
    layers : list of int
        Sizes of the layers, as in MLlib: the features, the units of each hidden layer, the classes.
        ``[784, 256, 10]`` has one hidden layer, ``[784, 10]`` none.
    activation : {"relu", "tanh", "sigmoid", "gelu", "identity"}
        What stands behind each hidden layer.
    optimizer : {"adam", "adamw", "sgd", "momentum", "nesterov"}
        What the steps follow.
    featuresCol : str
        Column of vectors, array<double> or array<float>; sparse vectors stay sparse.
    featuresCols : list of str, optional
        Columns of numbers or booleans that are the features, in this order, in place of
        ``featuresCol``; a row that lacks one of the numbers has no features.
    labelCol : str
        Column of labels 0, 1, 2, ..., of any numeric type or boolean.
    maxIter : int
        Epochs, at most; of other solvers than ``local-steps`` iterations.
    tol : float
        Stop when the loss has not fallen by this much, relative to it, in 10 epochs. Of other
        solvers as in MLlib, relative to the objective.
    stepSize : float, optional
        First step. Where it is not set, 0.002 with ``adam`` and ``adamw``, 0.1 with ``sgd`` and
        0.01 with ``momentum`` and ``nesterov``. It is multiplied by the number of partitions that
        are averaged, of ``adam`` and ``adamw`` by its root.
    learningRate : str, optional
        How the step changes: ``cosine``, which falls to 0 at ``maxIter`` and is taken where it is
        not set, ``constant`` or ``invscaling``.
    warmup : float
        Share of ``maxIter`` over which the step grows from 0.
    batchSize : int
        Rows in a mini-batch.
    localEpochs : int
        Epochs on each partition between two averages.
    localSteps : int
        Where greater than 0, mini-batches between two averages, about: several averages an epoch.
    maxGradNorm : float, optional
        Longer gradients are shortened to this length.
    dropout : float
        Share of the hidden units that each row does without in training, in [0, 1).
    momentum : float
        Of ``momentum`` and ``nesterov``.
    regParam : float
        The penalty is half of it times the sum of the squared weights, those of the first layer
        for features of unit variance; biases are not penalised.
    standardization : bool
        Whether features are centred and scaled to unit variance before the first layer; the
        weights of the model are for features as they are.
    solver : str
        ``auto`` is ``local-steps``: epochs of mini-batches on every partition, whose weights are
        averaged. ``l-bfgs`` and the others that ``explainParam("solver")`` names take one step a
        pass over the rows.
    powerT, lineSearch, nesterov, averaging, varianceReduction, miniBatchFraction
        Settings of those others, see :mod:`sparkml_lsml.engine.solvers`.
    dtype : {"float32", "float64"}
        Type in which features are kept and layers computed; sums over rows are float64. The model
        scores in float64.
    execution : {"auto", "local", "distributed"}
        Whether data that are trained in about a second stay on the driver (expert).
    checkpointDir : str or os.PathLike
        Folder on any Hadoop file system where a fit notes how far it is. The same fit goes on from
        there after the driver has died, and removes it at its end.
    checkpointInterval : int
        Iterations between two checkpoints; -1 for none.
    validationIndicatorCol : str, optional
        Boolean column, true for the rows of the validation. Nothing is learned from them; the
        weights are those of the epoch with the least mean loss over them, and the fit stops once
        that has not fallen for ``patience`` epochs.
    patience : int
    validationTol : float
        Least fall that counts for ``patience``, relative to the loss.
    classWeight : dict or str
        What multiplies the weights of the rows of each class: a map from labels to weights, or
        "balanced" for n / (K n_k), with the weight n_k of class k, n of all rows and K classes.
    thresholds : list of float, optional
        As in MLlib: what probabilities are divided by before the largest is taken.

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
    Nature 323; Kingma and Ba (2015), Adam: A Method for Stochastic Optimization, ICLR; Stich
    (2019), Local SGD Converges Fast and Communicates Little, ICLR.

    Examples
    --------
    >>> import numpy as np
    >>> from pyspark.ml.linalg import Vectors
    >>> X = np.random.default_rng(0).uniform(-1.0, 1.0, size=(400, 2))
    >>> rows = [(float(x * y > 0.0), Vectors.dense(x, y)) for x, y in X]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = MLPClassifier(layers=[2, 16, 2], batchSize=16, seed=1).fit(df)
    >>> model.predict(Vectors.dense(0.5, 0.5)), model.predict(Vectors.dense(0.5, -0.5))
    (1.0, 0.0)
    """

    _ranges: ClassVar[dict[str, Range]] = {**LayersClassifier._ranges, **RANGES}

    @keywords
    def __init__(
        self,
        *,
        layers: Sequence[int] | None = None,
        activation: str = "relu",
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
        standardization: bool = True,
        solver: str = "auto",
        optimizer: str = "adam",
        stepSize: float | None = None,
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
        self._set(**self._input_kwargs)

    def _model_class(self) -> type[Any]:
        return MLPClassificationModel


@add_accessors
class MLPClassificationModel(NetworkClassificationModel, _Params, ProbabilisticClassificationModel):
    """Model of an `MLPClassifier`.

    ``transform`` adds ``rawPrediction`` (what the last layer returns), ``probability`` and
    ``prediction``. A row whose features hold NaN gets NaN, a row without features gets null.

    Parameters
    ----------
    layers : list of int
        Features, units of each hidden layer, classes.
    weights : DenseVector or array
        In the order of the attribute of this name.
    activation : {"relu", "tanh", "sigmoid", "gelu", "identity"}
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
    >>> model = MLPClassificationModel([1, 2], np.array([-1.0, 1.0, 0.0, 0.0]))
    >>> model.predictRaw(Vectors.dense(2.0))
    DenseVector([-2.0, 2.0])
    """

    _ranges: ClassVar[dict[str, Range]] = {**LayersParams._ranges, **RANGES}

    def __init__(
        self,
        layers: Sequence[int],
        weights: Any,
        activation: str = "relu",
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(layers, weights, activation, summary)

    @classmethod
    def _from_saved(cls, arrays: dict[str, Any], facts: dict[str, Any]) -> "MLPClassificationModel":
        return cls(facts["layers"], arrays["weights"], facts["activation"])
