"""Fits that start from a model: which model fits, and its coefficients in their order."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.params.fit_settings import FitSettings

Array = npt.NDArray[np.float64]


def check_fits(model: Any, settings: FitSettings, outputs: int, features: int) -> None:
    """Refuse a model that a fit cannot go on from.

    Parameters
    ----------
    model : LinearModel
    settings : FitSettings
    outputs : int
        Rows of coefficients that the fit has.
    features : int
        Features of its rows.

    Raises
    ------
    ParamError
        If it has another number of features or of classes, an intercept where there is to be
        none, or coefficients that are not finite.
    """
    check_features(model, settings, features)
    name = _named(model, settings)
    found = len(model._coefficients)
    if found != outputs:
        raise ParamError(
            f"{name} has {found} rows of coefficients, expected {outputs}: the labels, or the Param"
            " 'family', ask for another number of classes"
        )
    if not settings.fitIntercept and model._intercepts.any():
        raise ParamError(
            f"{name} has an intercept, and fitIntercept=False leaves none: set fitIntercept=True, "
            "or start from a model without"
        )
    if not (np.isfinite(model._coefficients).all() and np.isfinite(model._intercepts).all()):
        raise ParamError(
            f"{name} has coefficients or intercepts that are not finite, as of labels of a single "
            "class: expected finite numbers. Start without it: setInitialModel(None)"
        )


def check_features(model: Any, settings: FitSettings, features: int) -> None:
    """Refuse a model of another number of features than the rows have.

    Raises
    ------
    ParamError
    """
    if model.numFeatures != features:
        raise ParamError(
            f"{_named(model, settings)} has {model.numFeatures:,} features, the rows have "
            f"{features:,}: expected a model of the same features in the same order"
        )


def _named(model: Any, settings: FitSettings) -> str:
    return f"{settings.estimator}: the model to start from, {model.uid},"


def stored_coefficients_of(model: Any, layout: Layout, scale: float) -> Array:
    """The coefficients of a model for the features as they are, in the order of a layout.

    Parameters
    ----------
    model : LinearModel
    layout : Layout
    scale : float
        Huber's scale where the model was trained with a loss that has none.

    Returns
    -------
    array of shape (layout.size,)
    """
    coef = np.zeros(layout.size)
    coef[layout.weights] = model._coefficients.reshape(-1)
    if layout.fit_intercept:
        coef[layout.intercepts] = model._intercepts
    if layout.constants:
        coef[layout.extras] = model.scale if model.getOrDefault("loss") == "huber" else scale
    return coef
