"""Local updates: what every block does for itself, in a round, with the coefficients of all."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.predictors.base import Predictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LocalModel:
    """The model of a batch that an update is of.

    Parameters
    ----------
    loss : Loss
    predictor : Predictor
    units : Standardization
    penalty : ElasticNet
    number : int
        Its place in the batch, which keeps apart what models leave beside a block.
    """

    loss: Loss
    predictor: Predictor
    units: Standardization
    penalty: ElasticNet
    number: int


class LocalUpdate(Protocol):
    """Frozen, picklable settings of a round: a solver asks for it, and a pass runs it."""

    @property
    def needs_loss(self) -> bool:
        """Whether the loss where the round starts is wanted: half of the arithmetic of a pass."""
        ...

    @property
    def vectors(self) -> int:
        """Vectors as long as the coefficients that the result of a block holds."""
        ...

    def run(
        self, block: Block, partition: int, model: LocalModel, coef: Array, seed: tuple[int, ...]
    ) -> Any:
        """What one block does, as a `Sum`: results of blocks merge.

        Parameters
        ----------
        block : Block
            With the weights that its rows have for this model.
        partition : int
        model : LocalModel
        coef : array of shape (size,)
            Where the round starts, in the solver's units.
        seed : tuple of int
            Of this round and block.
        """
        ...

    def finish(self, total: Any, units: Standardization, weight: float) -> Any:
        """What the solver is told, from the merged results and the weight of all rows."""
        ...


@dataclass
class ModelSum:
    """Weighted sums of the models of blocks."""

    coef: Array
    weight: float

    def merge(self, other: "ModelSum") -> "ModelSum":
        """Add another sum, in place."""
        self.coef += other.coef
        self.weight += other.weight
        return self

    def mean(self) -> Array:
        """The weighted average."""
        return self.coef / self.weight
