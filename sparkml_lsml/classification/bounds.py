"""Bounds on the coefficients and intercepts of a logistic regression."""

from typing import Any

import numpy as np
from pyspark.ml.linalg import Matrix, Vector

from sparkml_lsml.engine.predictors.standardization import Array, Box
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.params.bases import CheckedParams
from sparkml_lsml.spark.params.ranges import Range

KINDS = ("Coefficients", "Intercepts")
NAMES = tuple(f"{side}BoundsOn{kind}" for kind in KINDS for side in ("lower", "upper"))
"""The Params that hold bounds."""


def _range(kind: type[Any], what: str, never: float) -> Range:
    def accepts(value: Any) -> bool:
        if not isinstance(value, kind):
            return False
        values = value.toArray()
        return not (np.isnan(values) | (values == never)).any()

    infinity = "-inf where there is none" if never > 0.0 else "inf where there is none"
    return Range(accepts, f"{what} of numbers, {infinity}")


RANGES = {
    "lowerBoundsOnCoefficients": _range(Matrix, "a matrix", np.inf),
    "upperBoundsOnCoefficients": _range(Matrix, "a matrix", -np.inf),
    "lowerBoundsOnIntercepts": _range(Vector, "a vector", np.inf),
    "upperBoundsOnIntercepts": _range(Vector, "a vector", -np.inf),
}
"""What each of them may be, as far as that can be said before the rows are known."""


def has_bounds(params: CheckedParams) -> bool:
    """Whether any bound is set.

    Raises
    ------
    ParamError
        If the other Params leave no solver that takes bounds, if lower bounds exceed upper ones, or
        if there are bounds on intercepts that are not fitted.
    """
    found = [name for name in NAMES if params.value(name) is not None]
    if not found:
        return False
    about = f"{type(params).__name__}: {', '.join(found)}"
    solver, strength = params.value("solver"), params.value("regParam")
    share = params.value("elasticNetParam")
    if solver not in ("auto", "l-bfgs"):
        raise ParamError(
            f"{about}: solver={solver!r} takes no bounds: use solver='auto', or clear the bounds"
        )
    if strength > 0.0 and share > 0.0:
        raise ParamError(
            f"{about}: bounds go with an L2 penalty alone, found regParam={strength!r} and "
            f"elasticNetParam={share!r}: set elasticNetParam=0, or clear the bounds"
        )
    if not params.value("fitIntercept") and any("Intercepts" in name for name in found):
        raise ParamError(
            f"{about}: fitIntercept=False leaves no intercept to bound: clear the bounds on "
            "intercepts, or set fitIntercept=True"
        )
    for kind in KINDS:
        _check_order(about, kind, _array(params, "lower", kind), _array(params, "upper", kind))
    return True


def bounds_of(params: CheckedParams, outputs: int, features: int) -> Box:
    """The bounds, in the order of a `Layout`; infinite where there are none.

    Parameters
    ----------
    params : LogisticRegression
    outputs : int
        1 for a binomial model, the number of classes for a multinomial one.
    features : int

    Raises
    ------
    ParamError
        If a matrix or vector of bounds has another shape.
    """
    shapes: dict[str, tuple[int, ...]] = {"Coefficients": (outputs, features)}
    if params.value("fitIntercept"):
        shapes["Intercepts"] = (outputs,)
    sides = []
    for side, nothing in (("lower", -np.inf), ("upper", np.inf)):
        parts = []
        for kind, shape in shapes.items():
            values = _array(params, side, kind)
            values = np.full(shape, nothing) if values is None else values
            if values.shape != shape:
                raise ParamError(
                    f"{type(params).__name__}: {side}BoundsOn{kind} has the shape {values.shape}, "
                    f"expected {shape}: {_meaning(kind, outputs)}"
                )
            parts.append(values.reshape(-1))
        sides.append(np.concatenate(parts))
    return Box(*sides)


def _array(params: CheckedParams, side: str, kind: str) -> Array | None:
    value = params.value(f"{side}BoundsOn{kind}")
    return None if value is None else np.asarray(value.toArray(), dtype=np.float64)


def _meaning(kind: str, outputs: int) -> str:
    model = "binomial" if outputs == 1 else "multinomial"
    if kind == "Intercepts":
        return f"a {model} model of these rows has {outputs} intercepts"
    rows = "one row" if outputs == 1 else "a row for each class"
    return f"{rows} for a {model} model, a column for each feature"


def _check_order(about: str, kind: str, lower: Array | None, upper: Array | None) -> None:
    if lower is None or upper is None:
        return
    if lower.shape != upper.shape:
        raise ParamError(
            f"{about}: lowerBoundsOn{kind} has the shape {lower.shape} and upperBoundsOn{kind} "
            f"{upper.shape}: expected the same"
        )
    wrong = np.argwhere(lower > upper)
    if len(wrong):
        at = tuple(int(index) for index in wrong[0])
        raise ParamError(
            f"{about}: {len(wrong)} lower bounds are above the upper one, the first of them "
            f"{float(lower[at])!r} > {float(upper[at])!r} at {at}: expected lower <= upper"
        )
