"""What a raw prediction is, apart from what is lost by it."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Rows
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.standardization import Standardization

Array = npt.NDArray[np.float64]

Pullback = Callable[[Array, Array], None]
"""Takes the derivatives of the loss in raw predictions, shape (rows, models, outputs + constants),
and an array of shape (models, size), to which it adds the gradients in the coefficients."""


class Predictor(Protocol):
    """Raw predictions as a function of features and a flat vector of coefficients.

    Immutable, picklable, and equal to another of the same function, with the same `repr`: models of
    equal predictors and losses share their passes, and checkpoints are told apart by the text.
    """

    @property
    def layout(self) -> Layout:
        """Where its numbers are in the flat vector."""
        ...

    @property
    def outputs(self) -> int:
        """Raw predictions a row and model, the constants of the loss aside."""
        ...

    @property
    def convex(self) -> bool:
        """Whether a convex loss is convex in the coefficients, as it is if these enter linearly.

        What only holds for `LinearPredictor` asks for that class: starts from a sample and its
        second derivatives, normal equations, dual coordinate ascent, the compiled loops.
        """
        ...

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """What it computes a piece of rows in; sums over pieces are float64."""
        ...

    @property
    def width(self) -> int:
        """Numbers a row and model that it holds at a time, features aside.

        They bound the pieces of sparse rows; those of dense rows fit the cache by their features.
        """
        ...

    def raw(self, X: Rows, coef: Array) -> Array:
        """Raw predictions of a batch of models, the constants of the loss last.

        Parameters
        ----------
        X : rows of shape (rows, features), of this ``dtype``
        coef : array of shape (models, layout.size)
            For these features.

        Returns
        -------
        float64 array of shape (rows, models, outputs + constants)
        """
        ...

    def raw_and_pullback(
        self, X: Rows, coef: Array, rng: np.random.Generator | None = None
    ) -> tuple[Array, Pullback]:
        """The same, and what turns derivatives in it into gradients in the coefficients.

        Parameters
        ----------
        X, coef
            As for ``raw``; ``coef`` may be of this ``dtype`` here, and so may the gradients.
        rng : Generator, optional
            Given in the mini-batches of local updates alone: what is drawn in training, such as
            the units that dropout leaves out, is drawn from it.
        """
        ...

    def scoring(self, coef: Array) -> Callable[[Rows], Array]:
        """What predicts with one model, batch after batch: raw predictions without constants.

        Parameters
        ----------
        coef : array of shape (layout.size,)

        Returns
        -------
        callable
            Takes rows, and returns a float64 array of shape (rows, outputs).
        """
        ...

    def step_unit(self, curvature: float, units: Standardization, batch: int) -> float:
        """What a step size of 1 means in a gradient step, in the units of a solver.

        Parameters
        ----------
        curvature : float
            A bound on the second derivative of the loss in a raw prediction; may be infinite.
        units : Standardization
        batch : int
            Rows a step; 1 where a single row may decide.
        """
        ...
