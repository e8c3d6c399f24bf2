"""What a fit depends on, read once from the Params of an estimator."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from sparkml_lsml.engine.solvers.sgd import Schedule
from sparkml_lsml.spark.params.bases import HasSolverSettings


@dataclass(frozen=True, eq=False)
class FitSettings:
    """What a training reads of an estimator; its problem says the rest.

    Fields have the names and the meanings of the Params. Params that only the model knows, such as
    its threshold, and where checkpoints are kept, are not among them: a fit depends on neither.

    Attributes
    ----------
    estimator : str
        Name of the class, for errors.
    weightCol, validationIndicatorCol : str or None
        None where there is no such column.
    classWeight : str or dict
        "" in a regression.
    initial : model or None
        What `setInitialModel` was given.
    """

    estimator: str
    featuresCol: str
    labelCol: str
    weightCol: str | None
    validationIndicatorCol: str | None
    dtype: str
    execution: Literal["auto", "local", "distributed"]
    aggregationDepth: int
    regParam: float
    elasticNetParam: float
    fitIntercept: bool
    standardization: bool
    solver: str
    maxIter: int
    tol: float
    stepSize: float
    lineSearch: Literal["backtracking", "fixed"]
    learningRate: Schedule
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
    initial: Any = None

    @staticmethod
    def of(params: HasSolverSettings) -> "FitSettings":
        """Those of an estimator whose Params are checked."""
        values = {name: params.value(name) for name in PARAMS if params.hasParam(name)}
        for name in ("weightCol", "validationIndicatorCol"):
            values[name] = values[name] or None
        return FitSettings(type(params).__name__, **values, initial=params._initial)

    def params(self) -> dict[str, Any]:
        """The values of the Params, by their names."""
        return {name: getattr(self, name) for name in PARAMS}


PARAMS = tuple(
    field.name for field in fields(FitSettings) if field.name not in ("estimator", "initial")
)
"""Names of the Params that a fit depends on."""
