"""The loss over the rows that are held out of a training: its pass and its sum."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.kernels.value_gradient import loss_sums
from sparkml_lsml.engine.predictors.base import Predictor
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]

PIECE = 32_768
"""Rows that are copied at a time, at most."""

PIECE_VALUES = 2**26
"""Values of those rows, on average."""


@dataclass
class ValidationSum:
    """Sums of losses, and of the weights of their rows; arrays of shape (models,)."""

    value: Array
    weight: Array

    def merge(self, other: "ValidationSum") -> "ValidationSum":
        """Add another sum, in place."""
        self.value += other.value
        self.weight += other.weight
        return self


@dataclass(frozen=True, eq=False)
class ValidationPass:
    """Losses of a batch of models over the rows of one fold.

    Parameters
    ----------
    loss : Loss
    predictor : Predictor
    coef : array of shape (models, size)
        For the stored features.
    fold : int
    """

    loss: Loss
    predictor: Predictor
    coef: Array
    fold: int

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        return 0

    def __call__(self, block: Block, partition: int) -> ValidationSum:
        """Sums of one block."""
        assert block.fold is not None
        total = ValidationSum(np.zeros(len(self.coef)), np.zeros(len(self.coef)))
        rows = np.flatnonzero(block.fold == self.fold)
        step = max(1, min(PIECE, PIECE_VALUES * block.rows // max(1, block.stored)))
        for start in range(0, len(rows), step):
            part = block.subset(rows[start : start + step])
            total.merge(ValidationSum(*loss_sums(part, self.loss, self.predictor, self.coef)))
        return total
