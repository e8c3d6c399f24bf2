"""The solvers that estimators compose: which one, and with which settings."""

from dataclasses import fields
from typing import Any

from sparkml_lsml.engine.solvers import (
    LBFGS,
    LBFGSB,
    Accelerated,
    Adam,
    CoCoA,
    GradientDescent,
    LocalSGD,
    LocalSteps,
    MiniBatchSGD,
    ProximalLBFGS,
    SmoothedLBFGS,
    Solver,
)
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.params.bases import HasSolverSettings
from sparkml_lsml.spark.params.fit_settings import FitSettings

FIRST_ORDER: dict[str, type[Any]] = {
    "gradient-descent": GradientDescent,
    "accelerated": Accelerated,
    "sgd": LocalSGD,
    "minibatch-sgd": MiniBatchSGD,
    "adam": Adam,
}
"""Solvers that every iterative estimator has, by their names. A new one takes a line here."""

SETTINGS = {
    "tol": "tol",
    "seed": "seed",
    "step_size": "stepSize",
    "line_search": "lineSearch",
    "schedule": "learningRate",
    "power": "powerT",
    "momentum": "momentum",
    "nesterov": "nesterov",
    "average": "averaging",
    "variance_reduction": "varianceReduction",
    "fraction": "miniBatchFraction",
    "batch_size": "batchSize",
    "epochs": "localEpochs",
    "local_epochs": "localEpochs",
    "local_steps": "localSteps",
    "max_epochs": "maxIter",
    "optimizer": "optimizer",
    "warmup": "warmup",
    "max_grad_norm": "maxGradNorm",
}
"""The Params that fields of solvers are set from; a solver reads those that it has a field for."""

FIRST_ORDER_SOLVERS = tuple(FIRST_ORDER)
ITERATIVE_SOLVERS = ("l-bfgs", *FIRST_ORDER_SOLVERS)
SAMPLING_SOLVERS = ("sgd", "minibatch-sgd", "adam")
"""Solvers that draw rows by themselves, and so cannot leave out a fold by its weights."""

AVERAGING_SOLVERS = ("sgd", "local-steps")
"""Solvers that average the models of partitions, which must not hold one class each."""

BINARY_SOLVERS = (*ITERATIVE_SOLVERS, "cocoa")
"""Solvers of two classes."""

NETWORK_SOLVERS = ("auto", "local-steps", *ITERATIVE_SOLVERS)
"""Solvers that take models which are not linear in their coefficients."""

OTHERS: dict[str, type[Any]] = {"cocoa": CoCoA, "local-steps": LocalSteps}
"""Solvers of some estimators."""

MAX_PROXIMAL = 4_096
"""Coefficients up to which the driver's work of `ProximalLBFGS` is small beside a pass."""


def choose_solver(
    params: HasSolverSettings, smooth: bool, l1: float, coefficients: int, bounded: bool = False
) -> tuple[str, str]:
    """The iterative solver of an estimator, and why.

    ``l-bfgs`` stands for the quasi-Newton method that fits the loss and the penalty.

    Parameters
    ----------
    params : the estimator
    smooth : bool
        Whether the loss has a continuous derivative.
    l1 : float
        Strength of the L1 penalty.
    coefficients : int
        Number of them.
    bounded : bool
        Whether there are bounds on them; only the quasi-Newton method takes those.

    Raises
    ------
    ParamError
        If the solver cannot minimise an objective with this penalty, or start from a model.
    """
    settings = FitSettings.of(params)
    asked = settings.solver
    if asked == "cocoa" and (l1 > 0.0 or settings.regParam == 0.0):
        raise ParamError(
            f"{settings.estimator}: solver='cocoa' takes an L2 penalty alone, found "
            f"regParam={settings.regParam!r} and elasticNetParam={settings.elasticNetParam!r}: "
            "set regParam > 0 and elasticNetParam=0, or use solver='auto'"
        )
    if asked == "cocoa" and settings.initial is not None:
        raise ParamError(
            f"{settings.estimator}: solver='cocoa' starts from dual variables, a number for "
            "each row, which no model holds: found an initial model, expected none. Use "
            "solver='auto', or setInitialModel(None)"
        )
    why = "auto" if asked == "auto" else f"solver='{asked}'"
    if asked not in ("auto", "l-bfgs"):
        return asked, why
    if bounded:
        return "l-bfgs-b", f"{why}: coefficients have bounds"
    if not smooth:
        return "smoothed-l-bfgs", f"{why}: the loss has kinks"
    if l1 == 0.0:
        return "l-bfgs", f"{why}: the loss is smooth and the penalty is L2"
    if coefficients <= MAX_PROXIMAL:
        return "proximal-l-bfgs", f"{why}: an L1 penalty and few coefficients"
    return "l-bfgs", f"{why}: OWL-QN, for an L1 penalty and many coefficients"


def build_solver(name: str, settings: FitSettings, size: int) -> Solver:
    """The solver of that name with the settings of an estimator, for ``size`` coefficients."""
    tol = settings.tol
    if name == "l-bfgs":
        return LBFGS(tol=tol, memory=_memory(size, 1_000_000, 100))
    if name == "l-bfgs-b":
        return LBFGSB(tol=tol, memory=_memory(size, 1_000_000, 30))
    if name == "proximal-l-bfgs":
        return ProximalLBFGS(tol=tol, memory=_memory(size, 100_000, 60))
    if name == "smoothed-l-bfgs":
        l1 = settings.regParam * settings.elasticNetParam > 0.0
        inner = "proximal-l-bfgs" if l1 and size <= MAX_PROXIMAL else "l-bfgs"
        solver = build_solver(inner, settings, size)
        assert isinstance(solver, LBFGS | ProximalLBFGS)
        return SmoothedLBFGS(tol=tol, inner=solver)
    cls = OTHERS.get(name) or FIRST_ORDER.get(name)
    if cls is None:
        raise ParamError(f"solver={name!r} is not one of {', '.join(BINARY_SOLVERS)}")
    names = {field.name for field in fields(cls)} & SETTINGS.keys()
    values = {name: settings.value(SETTINGS[name]) for name in names}
    # a Param without a value leaves the solver's own
    built: Solver = cls(**{name: value for name, value in values.items() if value is not None})
    return built


def _memory(size: int, budget: int, most: int) -> int:
    """Pairs that a quasi-Newton solver keeps: MLlib's 10, and more where they cost little."""
    return min(most, max(10, budget // max(size, 1)))
