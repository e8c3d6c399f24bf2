"""Networks of numbers."""

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.ml.regression import RegressionModel, Regressor
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report, Task
from sparkml_lsml.engine.predictors import Layout
from sparkml_lsml.export import Form
from sparkml_lsml.losses import Huber
from sparkml_lsml.losses.registry import find
from sparkml_lsml.neural.layers_estimator import LayersEstimator
from sparkml_lsml.neural.network_model import TrainedNetworkModel
from sparkml_lsml.neural.params import ACTIVATION, VALUE_LAYERS, HasActivation, LayersParams
from sparkml_lsml.neural.regression_params import RANGES, RegressionParams
from sparkml_lsml.neural.summary import MLPRegressionSummary, MLPRegressionTrainingSummary
from sparkml_lsml.neural.weights import in_mllibs_order, network_of
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


class _Params(HasActivation, RegressionParams):
    """Params of `MLPRegressor` and `MLPRegressionModel`."""


_RANGES: dict[str, Range] = {"activation": ACTIVATION, "layers": VALUE_LAYERS, **RANGES}


@add_accessors
class MLPRegressor(LayersEstimator, _Params, Regressor["MLPRegressionModel"]):
    r"""A multilayer perceptron for a number.

    The layers :math:`a_l = \phi(W_l a_{l-1} + b_l)` begin with the features and end with the
    prediction. Minimised is the weighted mean of the loss plus
    :math:`\lambda / 2 \sum_l \|W_l\|^2`, by mini-batches on every partition at once whose weights
    are averaged after each epoch. MLlib has no such regressor.

    Parameters
    ----------
    layers : list of int
        Sizes of the layers: the features, the units of each hidden layer, and 1.
    activation : {"relu", "tanh", "sigmoid", "gelu", "identity"}
        What stands behind each hidden layer.
    optimizer : {"adam", "adamw", "sgd", "momentum", "nesterov"}
        What the steps follow.
    loss : str
        "squaredError", half of the squared residual, "huber" with ``epsilon`` as in
        `LinearRegression`, or the name of a loss that was registered with
        :func:`sparkml_lsml.losses.register`.
    epsilon : float
    featuresCol : str
        Column of vectors, array<double> or array<float>; sparse vectors stay sparse.
    featuresCols : list of str, optional
        Columns of numbers or booleans that are the features, in this order, in place of
        ``featuresCol``; a row that lacks one of the numbers has no features.
    labelCol : str
        Column of any numeric type. Labels need no scaling: steps are taken in their deviation.
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
    >>> x = np.linspace(-2.0, 2.0, 400)
    >>> rows = [(float(abs(each)), Vectors.dense(each)) for each in x]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> model = MLPRegressor(layers=[1, 16, 1], batchSize=16, seed=1).fit(df)
    >>> round(model.predict(Vectors.dense(-1.0)), 1), bool(model.summary.r2 > 0.99)
    (1.0, True)
    """

    _ranges: ClassVar[dict[str, Range]] = {**LayersEstimator._ranges, **_RANGES}

    @keywords
    def __init__(
        self,
        *,
        layers: Sequence[int] | None = None,
        activation: str = "relu",
        loss: str = "squaredError",
        epsilon: float = 1.35,
        featuresCol: str = "features",
        labelCol: str = "label",
        predictionCol: str = "prediction",
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
        return MLPRegressionModel

    def _task(self) -> Task:
        return "regression"

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        """See `Trainable.problem`."""
        name = self.value("loss")
        loss = Huber(epsilon=self.value("epsilon")) if name == "huber" else find(name, LOSSES)
        network = self._network(report, loss)
        mean, deviation, _ = label_moments(report, sample=True)
        unit, centre = label_units(loss, mean, deviation)

        def start(layout: Layout) -> Array:
            coef = self._start(network)
            _, biases = network.maps(coef)[-1]
            biases[:] = centre
            return coef

        return self._problem(network, loss, self._build, label_scale=unit, start=start)

    def _build(self, fit: Fitted) -> "MLPRegressionModel":
        network = network_of(self.value("layers"), self._activation())
        weights = in_mllibs_order(network, fit.coef[: network.layout.size])
        scale = float(fit.constants[0]) if len(fit.constants) else 1.0
        summary = MLPRegressionTrainingSummary.of(self._noted(fit.summary))
        return MLPRegressionModel(list(network.sizes), weights, network.activation, scale, summary)


@add_accessors
class MLPRegressionModel(TrainedNetworkModel, _Params, RegressionModel[Any]):
    """Model of an `MLPRegressor`.

    ``transform`` adds ``prediction``. A row whose features hold NaN gets NaN, a row without
    features gets null.

    Parameters
    ----------
    layers : list of int
        Features, units of each hidden layer, 1.
    weights : DenseVector or array
        In the order of the attribute of this name.
    activation : {"relu", "tanh", "sigmoid", "gelu", "identity"}
    scale : float
    summary : TrainingSummary, optional

    Attributes
    ----------
    weights : DenseVector
    coefficientMatrices : list of DenseMatrix
    interceptVectors : list of DenseVector
    scale : float
        Huber's scale; 1 for other losses.
    summary : MLPRegressionTrainingSummary

    Examples
    --------
    >>> import numpy as np
    >>> from pyspark.ml.linalg import Vectors
    >>> model = MLPRegressionModel([1, 2, 1], np.array([1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 0.5]))
    >>> model.predict(Vectors.dense(-3.0))  # |x| + 0.5
    3.5
    """

    _ranges: ClassVar[dict[str, Range]] = {**LayersParams._ranges, **_RANGES}

    def __init__(
        self,
        layers: Sequence[int],
        weights: Any,
        activation: str = "relu",
        scale: float = 1.0,
        summary: TrainingSummary | None = None,
    ) -> None:
        super().__init__(layers, weights, activation, summary)
        if self._network.outputs != 1 or not 0.0 < scale < float("inf"):
            raise ValueError(
                f"layers={list(layers)!r} and scale={scale!r}: expected layers that end in 1, and "
                "a finite scale greater than 0"
            )
        self._scale = float(scale)

    @property
    def scale(self) -> float:
        """Scale that Huber's loss estimated; 1 for other losses."""
        return self._scale

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

    def _form(self) -> Form:
        return self._described("regression")

    def _saved_facts(self) -> dict[str, Any]:
        return {**super()._saved_facts(), "scale": self._scale}

    @classmethod
    def _from_saved(cls, arrays: dict[str, Array], facts: dict[str, Any]) -> "MLPRegressionModel":
        return cls(facts["layers"], arrays["weights"], facts["activation"], facts["scale"])
