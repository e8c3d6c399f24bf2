"""The protocol of a loss: one value and one derivative per row."""

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@runtime_checkable
class Loss(Protocol):
    """A loss of one row as a function of the raw predictions of that row.

    A loss has no state and imports nothing but NumPy. It is pickled to the executors, and its
    methods are called on chunks of rows, for several models at once.

    Attributes
    ----------
    name
        How Params and saved models call the loss.
    constants
        Names of parameters that the loss has besides the linear predictors, one number a model
        (Huber: ``("scale",)``). Their values arrive as further raw outputs, the same for all rows.
    smooth
        Whether the derivative is continuous. Solvers that need it say so when it is not; a loss
        for which it is not is a `KinkedLoss`.
    curvature
        Upper bound of the second derivative in the raw prediction, infinity without one. It
        bounds the step size of gradient descent.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def constants(self) -> tuple[str, ...]:
        """See the class."""
        ...

    @property
    def smooth(self) -> bool:
        """See the class."""
        ...

    @property
    def curvature(self) -> float:
        """See the class."""
        ...

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value of the loss and its derivative in each raw output.

        Parameters
        ----------
        y : array of shape (rows,)
            Labels: 0 or 1 for a binary loss, 0, 1, ... for a multiclass one, reals otherwise.
        raw : array of shape (rows, models, outputs)
            Raw predictions, one a model and output; the constants of the loss come last.

        Returns
        -------
        value : array of shape (rows, models)
        derivative : array of shape (rows, models, outputs)
        """
        ...


@runtime_checkable
class KinkedLoss(Loss, Protocol):
    """A loss that is not smooth, but comes with smooth ones that approach it from above."""

    def smoothed(self, width: Array) -> Loss:
        """A smooth loss that is above this one, by at most ``width``, and only around its kinks.

        Parameters
        ----------
        width : array of shape (models,)
            Widths, one a model; 0 is this loss itself.
        """
        ...


@runtime_checkable
class PiecewiseLinearLoss(KinkedLoss, Protocol):
    """A convex loss of one raw prediction that is linear between its kinks.

    Smoothed, it differs from itself only nearer to a kink than half of the width. So rows that are
    farther away, and stay on their side, have a constant derivative.
    """

    def distance(self, y: Array, raw: Array) -> Array:
        """How far raw predictions are from the nearest kink.

        Parameters
        ----------
        y : array of shape (rows,)
        raw : array of shape (rows,)
            Of one model.
        """
        ...
