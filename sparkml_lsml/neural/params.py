"""Params of networks: their layers, and the steps that train them."""

from typing import Any, ClassVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasAggregationDepth,
    HasMaxIter,
    HasRegParam,
    HasSolver,
    HasStandardization,
    HasTol,
    HasWeightCol,
)

from sparkml_lsml.engine.predictors.activations import ACTIVATIONS
from sparkml_lsml.spark.params.bases import CheckedParams, HasSolverSettings
from sparkml_lsml.spark.params.ranges import BELOW_ONE, COUNT_OR_ZERO, POSITIVE, Range, one_of
from sparkml_lsml.spark.params.solvers import NETWORK_SOLVERS, SAMPLING_SOLVERS


def layers_range(last: str, fits: Any) -> Range:
    """The range of ``layers``.

    Parameters
    ----------
    last : str
        What the last number is, in words.
    fits : callable
        Whether the last number may be this one.
    """

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) >= 2
            and all(type(size) is int and size >= 1 for size in value)
            and bool(fits(value[-1]))
        )

    return Range(
        accepts,
        "a list of two or more whole numbers greater than 0: the features, the units of each "
        f"hidden layer, and {last}",
    )


CLASS_LAYERS = layers_range("2 or more classes", lambda last: last >= 2)
VALUE_LAYERS = layers_range("1, for the prediction", lambda last: last == 1)


class NetworkParams(
    CheckedParams, HasMaxIter, HasRegParam, HasTol, HasSolver, HasWeightCol, HasAggregationDepth
):
    """Params of networks and of their estimators."""

    solver: Param[str] = Param(
        Params._dummy(),
        "solver",
        "The solver: " + ", ".join(NETWORK_SOLVERS) + ".",
        typeConverter=TypeConverters.toString,
    )

    _ranges: ClassVar[dict[str, Range]] = {"solver": one_of(*NETWORK_SOLVERS)}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(maxIter=100, tol=1e-4, regParam=0.0, solver="auto", aggregationDepth=2)


class LayersParams(NetworkParams, HasStandardization):
    """Params of networks of dense layers and of their estimators."""

    layers: Param[list[int]] = Param(
        Params._dummy(),
        "layers",
        "Sizes of the layers: the features, the units of each hidden layer, and the classes (of a "
        "regression 1).",
        typeConverter=TypeConverters.toListInt,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(standardization=True)


class HasActivation(CheckedParams):
    """Mixin for the Param ``activation``."""

    activation: Param[str] = Param(
        Params._dummy(),
        "activation",
        "What stands behind each hidden layer: " + ", ".join(ACTIVATIONS) + ".",
        typeConverter=TypeConverters.toString,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(activation="relu")


ACTIVATION = one_of(*ACTIVATIONS)

STEPS = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01}
"""First steps of the optimizers whose steps are as long as gradients are."""

OPTIMIZERS = ("adam", "adamw", *STEPS)

SCHEDULES = {
    "local-steps": ("cosine", "constant", "invscaling"),
    **dict.fromkeys(SAMPLING_SOLVERS, ("adaptive", "constant", "invscaling", "optimal")),
}
"""Values of ``learningRate`` that solvers know."""


class StepsParams(HasSolverSettings):
    """Params of the steps that train networks, which models do not have."""

    stepSize: Param[float] = Param(
        Params._dummy(),
        "stepSize",
        "First step, > 0; where it is not set, what the solver usually takes: local-steps 0.002, "
        "with optimizer sgd 0.1, with momentum and nesterov 0.01; other solvers 1.",
        typeConverter=TypeConverters.toFloat,
    )
    learningRate: Param[str] = Param(
        Params._dummy(),
        "learningRate",
        "Step schedule of local-steps: cosine (where it is not set), constant, invscaling; of sgd, "
        "minibatch-sgd and adam: adaptive (where it is not set), constant, invscaling, optimal.",
        typeConverter=TypeConverters.toString,
    )
    momentum: Param[float] = Param(
        Params._dummy(),
        "momentum",
        "Momentum of optimizer 'momentum' and 'nesterov', and of the solvers sgd and "
        "minibatch-sgd, in [0, 1).",
        typeConverter=TypeConverters.toFloat,
    )
    batchSize: Param[int] = Param(
        Params._dummy(),
        "batchSize",
        "Rows in a mini-batch, >= 1.",
        typeConverter=TypeConverters.toInt,
    )
    optimizer: Param[str] = Param(
        Params._dummy(),
        "optimizer",
        "What the steps of local-steps follow: " + ", ".join(OPTIMIZERS) + ".",
        typeConverter=TypeConverters.toString,
    )
    warmup: Param[float] = Param(
        Params._dummy(),
        "warmup",
        "Share of maxIter over which the step of local-steps grows from 0, in [0, 1).",
        typeConverter=TypeConverters.toFloat,
    )
    localSteps: Param[int] = Param(
        Params._dummy(),
        "localSteps",
        "Mini-batches, about, of each partition between two averages of local-steps, in parts of "
        "an epoch that are equally long; 0 for localEpochs, which is 1 otherwise.",
        typeConverter=TypeConverters.toInt,
    )
    maxGradNorm: Param[float] = Param(
        Params._dummy(),
        "maxGradNorm",
        "Length to which longer gradients of local-steps are shortened, > 0; where it is not set, "
        "none are.",
        typeConverter=TypeConverters.toFloat,
    )
    _ranges: ClassVar[dict[str, Range]] = {
        "learningRate": one_of("cosine", "constant", "invscaling", "adaptive", "optimal"),
        "optimizer": one_of(*OPTIMIZERS),
        "localSteps": COUNT_OR_ZERO,
        "warmup": BELOW_ONE,
        "maxGradNorm": POSITIVE,
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(optimizer="adam", warmup=0.0, momentum=0.9, dtype="float32", localSteps=0)
        # what is usual depends on the solver
        for param in (self.stepSize, self.learningRate):
            self._defaultParamMap.pop(param)


class HasDropout(CheckedParams):
    """Mixin for the Param ``dropout``, which models do not have."""

    dropout: Param[float] = Param(
        Params._dummy(),
        "dropout",
        "Share of the hidden units that each row of a mini-batch does without, in [0, 1). Of "
        "local-steps.",
        typeConverter=TypeConverters.toFloat,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(dropout=0.0)
