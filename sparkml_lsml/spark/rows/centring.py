"""Columns whose values lie close together and far from zero: which fits centre them, and notes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.moments import Moments
from sparkml_lsml.engine.blocks.origin import EXACT, Columns, Origin
from sparkml_lsml.engine.predictors.layout import Layout

Array = npt.NDArray[np.float64]


def can_centre(params: Any) -> bool:
    """Whether the intercept of an estimator's models may take up what is subtracted from columns.

    There has to be one, and without bounds, which are for the rows as they are.
    """
    bounds = ("lowerBoundsOnIntercepts", "upperBoundsOnIntercepts")
    bounded = any(params.hasParam(name) and params.value(name) is not None for name in bounds)
    intercept = not params.hasParam("fitIntercept") or bool(params.value("fitIntercept"))
    return intercept and not bounded


def centred_notes(origin: Origin | None, layout: Layout, stored: Array) -> tuple[str, ...]:
    """What the summary says of columns that were packed less an origin."""
    if origin is None:
        return ()
    weights = layout.weight_matrix(stored[None, :])[0]
    return (
        f"{_named(origin.columns)} little beside the size of the values: {origin.values[0]:.17g} "
        "was subtracted for the fit, which took a second read of the rows. The coefficients are "
        f"for rows as they are, where terms cancel to within {origin.rounding(weights):.1g}: "
        "subtract a constant before the fit for exact predictions",
    )


def rounded_notes(moments: Moments) -> tuple[str, ...]:
    """What the summary says of columns that may have varied before they became doubles."""
    full = moments.dense()
    size = np.abs(moments.mean())
    columns = np.flatnonzero((full.stored_m2 == 0.0) & (size >= EXACT["float64"]))
    if not len(columns):
        return ()
    value = float(size[columns[0]])
    return (
        f"{_named(columns)} in no row by {np.spacing(value):g}, which is what doubles of the size "
        f"{value:.3g} tell apart: coefficient 0. Subtract a constant before the conversion to "
        "double if there are smaller differences",
    )


def lost_notes(moments: Moments, columns: Columns) -> tuple[str, ...]:
    """What the summary says of columns that get no coefficient, since nothing is subtracted."""
    lost = columns[moments.variance()[columns] == 0.0]
    lost = lost[np.abs(moments.mean()[lost]) >= EXACT["float32"]]
    if not len(lost):
        return ()
    return (
        f"{_named(lost)} by less than 1e-13 of the size of the values, if at all: coefficient 0. "
        "Subtract a constant before the fit; one with an intercept without bounds does so itself",
    )


def _named(columns: Columns) -> str:
    if len(columns) == 1:
        return f"feature {columns[0]} varies"
    return f"{len(columns):,} features, of which feature {columns[0]} is the first, vary"
