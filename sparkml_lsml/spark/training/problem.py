"""What is to be minimised, and the solution of which a model is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.predictors import Layout, LinearPredictor, Predictor
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
    predictor : Predictor
    l1, l2 : float
        Strengths of the penalty, see `Standardization.penalty`.
    solver, solver_reason : str
        The solver, and why it was chosen.
    build : callable
        Makes the model from a `Fitted`.
    label_scale : float
        Standard deviation of the label of a regression, otherwise 1.
    sample_moments : bool
        Whether standard deviations are those of a sample (n - 1) or of the population (n).
    start : callable, optional
        Takes the layout and returns coefficients in the solver's units, shape (size,).
    given : array of shape (size,), optional
        The start for the features as they are, in place of ``start``.
    bounds : Box, optional
        On the coefficients for the stored features, for the solver ``l-bfgs-b``.
    warnings : tuple of str
        What is odd about the rows: logged once a training, and noted in the summary.
    """

    loss: Loss
    predictor: Predictor
    l1: float
    l2: float
    solver: str
    solver_reason: str
    build: "Callable[[Fitted], Any]"
    label_scale: float = 1.0
    sample_moments: bool = True
    start: Callable[[Layout], Array] | None = None
    given: Array | None = None
    bounds: Box | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.solver == "smoothed-l-bfgs" and not isinstance(self.loss, KinkedLoss):
            raise ParamError(
                f"loss '{self.loss.name}' has kinks, and nothing says where: give it a method "
                "'smoothed', or register it with kinks=..., for the quasi-Newton solver; or set "
                "solver='sgd'"
            )


def linear_predictor(
    report: Report, outputs: int, loss: Loss, fit_intercept: bool
) -> LinearPredictor:
    """That of a linear estimator, for rows that were packed."""
    constants = len(loss.constants)
    return LinearPredictor(Layout(report.longest, outputs, fit_intercept, constants))


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of a fit, in the units of the rows.

    Attributes
    ----------
    coef : array of shape (layout.size,)
    layout : Layout
    summary : TrainingSummary
    precision : Precision or None
        Of the normal equations.
    """

    coef: Array
    layout: Layout
    summary: TrainingSummary
    precision: Precision | None = None

    @property
    def coefficients(self) -> Array:
        """Of a linear model, shape (outputs, features)."""
        self._check_linear()
        return self.layout.weight_matrix(self.coef[None, :])[0]

    @property
    def intercepts(self) -> Array:
        """Of a linear model, shape (outputs,); zeros where it has none."""
        self._check_linear()
        layout = self.layout
        return self.coef[layout.intercepts] if layout.fit_intercept else np.zeros(layout.outputs)

    def _check_linear(self) -> None:
        if self.layout.inner or self.layout.buffers:
            raise ParamError(
                "a linear model was to be built of a predictor with more than one map: expected a "
                "LinearPredictor, or a 'build' of the problem that makes a model of that predictor"
            )

    @property
    def constants(self) -> Array:
        """Those of the loss."""
        return self.coef[self.layout.extras]
