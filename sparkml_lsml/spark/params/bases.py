"""The bases of our estimators' and models' Params: checks, settings of solvers, accessors."""

import os
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasSeed, HasValidationIndicatorCol

from sparkml_lsml.errors import ParamError, without_secrets
from sparkml_lsml.spark.folders.pathtext import path_text
from sparkml_lsml.spark.params.ranges import RANGES, Range

T = TypeVar("T", bound=type)


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


class HasFeaturesCols(CheckedParams):
    """The Param of features that lie in columns of their own, see `features_of`."""

    featuresCols: Param[list[str]] = _param(
        "featuresCols",
        "Columns of numbers or booleans that are the features, in this order, in place of "
        "featuresCol.",
        TypeConverters.toListString,
    )


class HasSolverSettings(HasFeaturesCols, HasSeed, HasValidationIndicatorCol):
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
