"""What is to be minimised, and the solution of which a model is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.standardization import Box
from sparkml_lsml.engine.solvers.base import Precision
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import KinkedLoss, Loss
from sparkml_lsml.spark.models.summary import TrainingSummary

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """What is to be minimised, once the rows are known.

    Parameters
    ----------
    loss : Loss
    outputs : int
    l1, l2 : float
        Strengths of the penalty, see `Standardization.penalty`.
    solver, solver_reason : str
        The solver, and why it was chosen.
    build : callable
        Makes the model from a `LinearFit`.
    label_scale : float
        Standard deviation of the label of a regression, otherwise 1.
    sample_moments : bool
        Whether standard deviations are those of a sample (n - 1) or of the population (n).
    start : callable, optional
        Takes the layout and returns coefficients in the solver's units, shape (size,).
    bounds : Box, optional
        On the coefficients for the stored features, for the solver ``l-bfgs-b``.
    warnings : tuple of str
        What is odd about the rows: logged once a training, and noted in the summary.
    """

    loss: Loss
    outputs: int
    l1: float
    l2: float
    solver: str
    solver_reason: str
    build: "Callable[[LinearFit], Any]"
    label_scale: float = 1.0
    sample_moments: bool = True
    start: Callable[[Layout], Array] | None = None
    bounds: Box | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.solver == "smoothed-l-bfgs" and not isinstance(self.loss, KinkedLoss):
            raise ParamError(
                f"loss '{self.loss.name}' has kinks, and nothing says where: give it a method "
                "'smoothed', or register it with kinks=..., for the quasi-Newton solver; or set "
                "solver='sgd'"
            )


@dataclass(frozen=True, eq=False)
class LinearFit:
    """The result of a fit, in the units of the rows.

    Attributes
    ----------
    coefficients : array of shape (outputs, features)
    intercepts : array of shape (outputs,)
    constants : array of shape (constants of the loss,)
    summary : TrainingSummary
    layout : Layout
    precision : Precision or None
        Of the normal equations.
    """

    coefficients: Array
    intercepts: Array
    constants: Array
    summary: TrainingSummary
    layout: Layout
    precision: Precision | None = None
