"""What a fit depends on, read once from the Params of an estimator."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from sparkml_lsml.engine.solvers.sgd import Schedule
from sparkml_lsml.spark.params.bases import HasSolverSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class FitSettings:
    """What a fit depends on, in the words of the Params: fields have their names and meanings.

    Params that only the model knows, such as its threshold, and where checkpoints are kept, are not
    among them (`NO_MATTER`): a fit depends on neither.

    Attributes
    ----------
    estimator : str
        Name of the class, for errors.
    featuresCols, weightCol, validationIndicatorCol
        None where there is no such column.
    elasticNetParam, fitIntercept
        Of an estimator without such a Param what it does.
    stepSize, learningRate
        None for those of the solver.
    classWeight : str or dict
        "" in a regression.
    own : dict
        All others by name, by which the estimator poses its problem: loss, bounds, and what a
        subclass of the user's has added.
    initial : model or None
        What `setInitialModel` was given.
    """

    estimator: str
    featuresCol: str
    featuresCols: list[str] | None
    labelCol: str
    weightCol: str | None
    validationIndicatorCol: str | None
    dtype: str
    execution: Literal["auto", "local", "distributed"]
    aggregationDepth: int
    regParam: float
    elasticNetParam: float = 0.0
    fitIntercept: bool = True
    standardization: bool = False
    solver: str
    maxIter: int
    tol: float
    stepSize: float | None
    lineSearch: Literal["backtracking", "fixed"]
    learningRate: Schedule | None
    powerT: float
    momentum: float
    nesterov: bool
    averaging: bool
    varianceReduction: bool
    miniBatchFraction: float
    batchSize: int
    localEpochs: int
    seed: int
    patience: int
    validationTol: float
    classWeight: Any = ""
    own: dict[str, Any] = field(default_factory=dict)
    initial: Any = None

    @staticmethod
    def of(params: HasSolverSettings) -> "FitSettings":
        """Those of an estimator whose Params are checked."""
        values = {name: params.value(name) for name in PARAMS if params.hasParam(name)}
        for name in ("featuresCols", "weightCol", "validationIndicatorCol"):
            values[name] = values[name] or None
        names = [param.name for param in params.params]
        own = {name: params.value(name) for name in names if name not in {*PARAMS, *NO_MATTER}}
        initial = params._initial
        return FitSettings(estimator=type(params).__name__, **values, own=own, initial=initial)

    def value(self, name: str) -> Any:
        """The value of a Param that a fit depends on."""
        return self.own[name] if name in self.own else getattr(self, name)

    def params(self) -> dict[str, Any]:
        """The values of all Params that a fit depends on, by their names."""
        return {**{name: getattr(self, name) for name in PARAMS}, **self.own}


PARAMS = tuple(
    each.name for each in fields(FitSettings) if each.name not in ("estimator", "own", "initial")
)
"""Names of the Params that a training reads itself."""

NO_MATTER = (
    "predictionCol",
    "rawPredictionCol",
    "probabilityCol",
    "threshold",
    "thresholds",
    "checkpointDir",
    "checkpointInterval",
    "maxBlockSizeInMB",
)
"""Names of those that no coefficient depends on."""
