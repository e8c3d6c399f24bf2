"""Rounds of updates that each block runs for itself, and the averages of their models."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.kernels.sgd import sgd_epochs
from sparkml_lsml.engine.kernels.sgd_steps import SgdEpochs
from sparkml_lsml.engine.kernels.value_gradient import value_and_gradient
from sparkml_lsml.engine.passes.gradient import LossSum
from sparkml_lsml.engine.passes.reweighting import Reweighting, reweighted
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.standardization import Standardization, stored_coefficients
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]


@dataclass
class ModelSum:
    """Weighted sums of the models of partitions, and of their losses at the common start."""

    start: LossSum
    coef: Array
    weight: float

    def merge(self, other: "ModelSum") -> "ModelSum":
        """Add another sum, in place."""
        self.start.merge(other.start)
        self.coef += other.coef
        self.weight += other.weight
        return self


@dataclass(frozen=True, eq=False)
class LocalSgdPass:
    """A round of local SGD: the loss at the start, then epochs on each block.

    Parameters
    ----------
    loss, layout
    units : sequence of Standardization, one a model
    penalties : sequence of ElasticNet, one a model
    settings : sequence of SgdEpochs, one a model
    coef : array of shape (models, layout.size)
        In the solver's units.
    seed : tuple of int
    reweighting : Reweighting, optional
        One that is the same for all models.
    """

    loss: Loss
    layout: Layout
    units: tuple[Standardization, ...]
    penalties: tuple[ElasticNet, ...]
    settings: tuple[SgdEpochs, ...]
    coef: Array
    seed: tuple[int, ...]
    reweighting: Reweighting | None = None

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`: a gradient and a model."""
        return 2 * self.coef.nbytes

    def __call__(self, block: Block, partition: int) -> ModelSum:
        """Sums of one block."""
        block = reweighted(block, partition, self.reweighting)
        stored = stored_coefficients(self.units, self.coef)
        start = LossSum().add(*value_and_gradient(block, self.loss, self.layout, stored))
        models = [
            sgd_epochs(
                block,
                self.loss,
                self.layout,
                units,
                penalty,
                settings,
                coef,
                (*self.seed, partition),
            )
            for units, penalty, settings, coef in zip(
                self.units, self.penalties, self.settings, self.coef, strict=True
            )
        ]
        weight = block.weight_sum
        return ModelSum(start, weight * np.stack(models), weight)
