"""Params that our estimators share, their ranges, and the solvers they compose."""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasSeed, HasValidationIndicatorCol

from sparkml_lsml.engine.solvers import (
    LBFGS,
    LBFGSB,
    Accelerated,
    Adam,
    CoCoA,
    GradientDescent,
    LocalSGD,
    MiniBatchSGD,
    ProximalLBFGS,
    SmoothedLBFGS,
    Solver,
)
from sparkml_lsml.errors import ParamError, without_secrets
from sparkml_lsml.spark.folders.pathtext import path_text


@dataclass(frozen=True)
class Range:
    """What a Param may be.

    Parameters
    ----------
    accepts : callable
    expected : str
        The range in words, for the error.
    """

    accepts: Callable[[Any], bool]
    expected: str


T = TypeVar("T", bound=type)

MAX_PROXIMAL = 4_096
"""Coefficients up to which the driver's work of `ProximalLBFGS` is small beside a pass."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(*names: str) -> Range:
    """A range of names."""
    return Range(lambda v: v in names, "one of " + ", ".join(repr(name) for name in names))


NON_NEGATIVE = Range(lambda v: _number(v) and v >= 0, "a finite number of 0 or more")
POSITIVE = Range(lambda v: _number(v) and v > 0, "a finite number greater than 0")
SHARE = Range(lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1")
FRACTION = Range(lambda v: _number(v) and 0 < v <= 1, "a number greater than 0 and at most 1")
BELOW_ONE = Range(lambda v: _number(v) and 0 <= v < 1, "a number from 0 to below 1")
COUNT = Range(lambda v: _integer(v) and v >= 1, "an integer of 1 or more")
COUNT_OR_ZERO = Range(lambda v: _integer(v) and v >= 0, "an integer of 0 or more")
FLAG = Range(lambda v: isinstance(v, bool), "True or False")
NAME = Range(lambda v: isinstance(v, str) and v != "", "the name of a column")
OPTIONAL_NAME = Range(lambda v: isinstance(v, str), "the name of a column, or '' for none")
ANY_NUMBER = Range(
    lambda v: isinstance(v, int | float) and not isinstance(v, bool) and not math.isnan(v),
    "a number or an infinity",
)
THRESHOLDS = Range(
    lambda v: (
        isinstance(v, list)
        and len(v) > 0
        and all(_number(x) and x >= 0 for x in v)
        and sum(x == 0 for x in v) <= 1
        and sum(v) > 0
    ),
    "a list of finite numbers of 0 or more, at most one of them 0",
)

PASSWORD = re.compile(r"://[^/?#\s]*:[^/?#\s]*@")
"""In a URI, where everybody would see it who sees the Param."""

RANGES = {
    "featuresCol": NAME,
    "labelCol": NAME,
    "predictionCol": OPTIONAL_NAME,
    "rawPredictionCol": OPTIONAL_NAME,
    "probabilityCol": OPTIONAL_NAME,
    "weightCol": OPTIONAL_NAME,
    "maxIter": COUNT_OR_ZERO,
    "regParam": NON_NEGATIVE,
    "elasticNetParam": SHARE,
    "tol": NON_NEGATIVE,
    "fitIntercept": FLAG,
    "standardization": FLAG,
    "aggregationDepth": Range(lambda v: _integer(v) and v >= 1, "an integer of 1 or more"),
    "maxBlockSizeInMB": NON_NEGATIVE,
    "thresholds": THRESHOLDS,
    "stepSize": POSITIVE,
    "lineSearch": one_of("backtracking", "fixed"),
    "learningRate": one_of("adaptive", "constant", "invscaling", "optimal"),
    "powerT": POSITIVE,
    "momentum": BELOW_ONE,
    "nesterov": FLAG,
    "averaging": FLAG,
    "varianceReduction": FLAG,
    "miniBatchFraction": FRACTION,
    "batchSize": COUNT,
    "localEpochs": COUNT,
    "seed": COUNT_OR_ZERO,
    "dtype": one_of("float64", "float32"),
    "execution": one_of("auto", "local", "distributed"),
    "checkpointDir": Range(
        lambda v: isinstance(v, str) and not PASSWORD.search(v),
        "a folder, or '' for no checkpoints; passwords belong into Hadoop's configuration",
    ),
    "checkpointInterval": Range(
        lambda v: _integer(v) and (v >= 1 or v == -1), "an integer of 1 or more, or -1 for never"
    ),
    "validationIndicatorCol": OPTIONAL_NAME,
    "patience": COUNT,
    "validationTol": NON_NEGATIVE,
}
"""The ranges of Params whose meaning is the same in every estimator."""


def to_python(value: Any) -> Any:
    """NumPy scalars as Python's own; everything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


class CheckedParams(Params):
    """Params that are checked against their range when they are set, and again before a fit.

    The second time is needed because the param maps of a grid bypass the setters.
    """

    _ranges: ClassVar[dict[str, Range]] = {}
    _input_kwargs: dict[str, Any]

    def _set(self, **kwargs: Any) -> Self:
        values = {name: to_python(value) for name, value in kwargs.items() if value is not None}
        before = dict(self._paramMap)
        try:
            super()._set(**values)
            for name in values:
                self._check(name, self.getOrDefault(name))
        except BaseException:
            self._paramMap = before  # a value that was refused is not kept
            raise
        return self

    def _check(self, name: str, value: Any) -> None:
        expected = self._ranges.get(name) or RANGES.get(name)
        if expected is not None and not expected.accepts(value):
            raise ParamError(
                f"{type(self).__name__}: {name}={without_secrets(repr(value))}, expected "
                f"{expected.expected}"
            )

    def _normalise(self) -> Self:
        """Check every Param that has a value, and turn NumPy scalars into numbers, in place."""
        for param in self.params:
            if not self.isDefined(param):
                continue
            value = to_python(self.getOrDefault(param))
            if isinstance(value, os.PathLike):  # of a param map, which nobody has converted
                value = param.typeConverter(value)
            if isinstance(value, int) and param.typeConverter == TypeConverters.toFloat:
                value = value if isinstance(value, bool) else float(value)
            if self.isSet(param):
                self._paramMap[param] = value
            self._check(param.name, value)
        return self

    def value(self, name: str) -> Any:
        """Value of a Param, or None where it has none."""
        param = self.getParam(name)
        return self.getOrDefault(param) if self.isDefined(param) else None


def to_folder(value: Any) -> str:
    """The converter of Params that name a folder, '' for none."""
    if isinstance(value, os.PathLike):
        return path_text(value, "a folder")
    return TypeConverters.toString(value)


def _param(name: str, doc: str, converter: Callable[[Any], Any]) -> Any:
    return Param(Params._dummy(), name, doc, typeConverter=converter)


class HasSolverSettings(CheckedParams, HasSeed, HasValidationIndicatorCol):
    """Params of the solvers and of where they run, which MLlib's linear models do not have."""

    _initial: Any = None
    """The model to start from: a plain attribute, which `copy` keeps and `save` leaves out."""

    stepSize: Param[float] = _param(
        "stepSize",
        "First step of the gradient methods, > 0, in units in which 1 is safe for standardised "
        "features.",
        TypeConverters.toFloat,
    )
    lineSearch: Param[str] = _param(
        "lineSearch",
        "Step of solver 'gradient-descent': 'backtracking' adapts it, 'fixed' keeps stepSize.",
        TypeConverters.toString,
    )
    learningRate: Param[str] = _param(
        "learningRate",
        "Step schedule of 'sgd', 'minibatch-sgd' and 'adam': adaptive, constant, invscaling, "
        "optimal.",
        TypeConverters.toString,
    )
    powerT: Param[float] = _param(
        "powerT", "Exponent of learningRate 'invscaling', > 0.", TypeConverters.toFloat
    )
    momentum: Param[float] = _param(
        "momentum", "Momentum of the SGD solvers, in [0, 1).", TypeConverters.toFloat
    )
    nesterov: Param[bool] = _param(
        "nesterov", "Whether momentum is Nesterov's.", TypeConverters.toBoolean
    )
    averaging: Param[bool] = _param(
        "averaging", "Whether the SGD solvers average their iterates.", TypeConverters.toBoolean
    )
    varianceReduction: Param[bool] = _param(
        "varianceReduction",
        "Whether solver 'sgd' corrects its steps by the gradient of the whole partition (SVRG): "
        "twice the work a round, and far more exact.",
        TypeConverters.toBoolean,
    )
    miniBatchFraction: Param[float] = _param(
        "miniBatchFraction",
        "Share of the rows in a step of 'minibatch-sgd' and 'adam', in (0, 1].",
        TypeConverters.toFloat,
    )
    batchSize: Param[int] = _param(
        "batchSize", "Rows in a mini-batch of 'sgd', at most, >= 1.", TypeConverters.toInt
    )
    localEpochs: Param[int] = _param(
        "localEpochs",
        "Epochs that 'sgd' and 'cocoa' run on each partition between two exchanges, >= 1.",
        TypeConverters.toInt,
    )
    dtype: Param[str] = _param(
        "dtype",
        "Type in which features are kept during the fit: float64, or float32 for half the memory "
        "(sums are float64 either way).",
        TypeConverters.toString,
    )
    execution: Param[str] = _param(
        "execution",
        "Where passes run: 'auto' takes the driver for data that packs to 32 MB or less, 'local' "
        "always, 'distributed' never. (expert)",
        TypeConverters.toString,
    )
    checkpointDir: Param[str] = _param(
        "checkpointDir",
        "Folder on any Hadoop file system where a fit notes how far it is, for the same fit to go "
        "on after the driver has died; '' for none.",
        to_folder,
    )
    checkpointInterval: Param[int] = _param(
        "checkpointInterval",
        "Iterations between two checkpoints, >= 1, or -1 for none; without effect where "
        "checkpointDir is ''.",
        TypeConverters.toInt,
    )

    patience: Param[int] = _param(
        "patience",
        "Iterations in a row without a better validation loss after which a fit stops, >= 1; "
        "without effect where there is no validationIndicatorCol.",
        TypeConverters.toInt,
    )
    validationTol: Param[float] = _param(
        "validationTol",
        "Least improvement of the validation loss, relative to it, that counts for patience, >= 0.",
        TypeConverters.toFloat,
    )

    callbacks: tuple[Any, ...] = ()
    """What is called as a fit goes on; no Param, since objects cannot be saved."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(
            stepSize=1.0,
            lineSearch="backtracking",
            learningRate="adaptive",
            powerT=0.5,
            momentum=0.0,
            nesterov=False,
            averaging=True,
            varianceReduction=False,
            miniBatchFraction=1.0,
            batchSize=128,
            localEpochs=1,
            seed=0,
            dtype="float64",
            execution="auto",
            checkpointDir="",
            checkpointInterval=10,
            patience=5,
            validationTol=0.0,
        )


def build_solver(name: str, params: HasSolverSettings, size: int) -> Solver:
    """The solver of that name with the settings of an estimator, for ``size`` coefficients."""
    tol = params.value("tol")
    schedule = {
        "step_size": params.value("stepSize"),
        "schedule": params.value("learningRate"),
        "power": params.value("powerT"),
        "momentum": params.value("momentum"),
        "nesterov": params.value("nesterov"),
        "average": params.value("averaging"),
        "seed": params.value("seed"),
        "tol": tol,
    }
    if name == "l-bfgs":
        return LBFGS(tol=tol, memory=_memory(size, 1_000_000, 100))
    if name == "l-bfgs-b":
        return LBFGSB(tol=tol, memory=_memory(size, 1_000_000, 30))
    if name == "proximal-l-bfgs":
        return ProximalLBFGS(tol=tol, memory=_memory(size, 100_000, 60))
    if name == "smoothed-l-bfgs":
        l1 = params.value("regParam") * params.value("elasticNetParam") > 0.0
        inner = "proximal-l-bfgs" if l1 and size <= MAX_PROXIMAL else "l-bfgs"
        solver = build_solver(inner, params, size)
        assert isinstance(solver, LBFGS | ProximalLBFGS)
        return SmoothedLBFGS(tol=tol, inner=solver)
    if name == "gradient-descent":
        return GradientDescent(
            step_size=params.value("stepSize"), line_search=params.value("lineSearch"), tol=tol
        )
    if name == "accelerated":
        return Accelerated(step_size=params.value("stepSize"), tol=tol)
    if name == "sgd":
        return LocalSGD(
            epochs=params.value("localEpochs"),
            batch_size=params.value("batchSize"),
            variance_reduction=params.value("varianceReduction"),
            **schedule,
        )
    if name == "minibatch-sgd":
        return MiniBatchSGD(fraction=params.value("miniBatchFraction"), **schedule)
    if name == "adam":
        return Adam(
            fraction=params.value("miniBatchFraction"),
            step_size=params.value("stepSize"),
            schedule=params.value("learningRate"),
            power=params.value("powerT"),
            average=params.value("averaging"),
            tol=tol,
            seed=params.value("seed"),
        )
    if name == "cocoa":
        return CoCoA(epochs=params.value("localEpochs"), tol=tol, seed=params.value("seed"))
    raise ParamError(f"solver={name!r} is not one of {', '.join(BINARY_SOLVERS)}")


FIRST_ORDER_SOLVERS = ("gradient-descent", "accelerated", "sgd", "minibatch-sgd", "adam")
ITERATIVE_SOLVERS = ("l-bfgs", *FIRST_ORDER_SOLVERS)
SAMPLING_SOLVERS = ("sgd", "minibatch-sgd", "adam")
"""Solvers that draw rows by themselves, and so cannot leave out a fold by its weights."""

BINARY_SOLVERS = (*ITERATIVE_SOLVERS, "cocoa")
"""Solvers of two classes."""


def _memory(size: int, budget: int, most: int) -> int:
    """Pairs that a quasi-Newton solver keeps: MLlib's 10, and more where they cost little."""
    return min(most, max(10, budget // max(size, 1)))


def _setter(name: str) -> Callable[[Any, Any], Any]:
    def set_value(self: Any, value: Any) -> Any:
        return self._set(**{name: value})

    set_value.__name__ = f"set{name[0].upper()}{name[1:]}"
    set_value.__doc__ = f"Sets the value of :py:attr:`{name}`."
    return set_value


def _getter(name: str) -> Callable[[Any], Any]:
    def get_value(self: Any) -> Any:
        return self.getOrDefault(name)

    get_value.__name__ = f"get{name[0].upper()}{name[1:]}"
    get_value.__doc__ = f"Gets the value of :py:attr:`{name}` or its default value."
    return get_value


def add_accessors(cls: T) -> T:
    """Class decorator: a setter and a getter for every Param that lacks one, as MLlib has them."""
    for attribute in dir(cls):
        if attribute.startswith("_") or not isinstance(getattr(cls, attribute, None), Param):
            continue
        for make in (_setter, _getter):
            accessor = make(attribute)
            if not hasattr(cls, accessor.__name__):
                setattr(cls, accessor.__name__, accessor)
    return cls
