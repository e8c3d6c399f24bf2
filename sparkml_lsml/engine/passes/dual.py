"""Rounds of CoCoA+: what a pass does over blocks whose rows have dual variables."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.duals import Kept, read_duals, remove_older, write_duals
from sparkml_lsml.engine.kernels.sdca import SdcaRound, dual_sums, gains, sdca_epochs
from sparkml_lsml.engine.kernels.value_gradient import loss_sums
from sparkml_lsml.engine.passes.reweighting import Reweighting, reweighted
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses.base import Loss

Array = npt.NDArray[np.float64]


@dataclass
class DualSum:
    """What the partitions did in a round; see `sparkml_lsml.engine.kernels.sdca.SdcaTotals`."""

    loss: float
    weight: float
    sums: Array
    gains: Array
    kept: dict[int, Kept]
    lost: tuple[int, ...] = ()

    def merge(self, other: "DualSum") -> "DualSum":
        """Add what other partitions did, in place."""
        self.loss += other.loss
        self.weight += other.weight
        self.sums += other.sums
        self.gains += other.gains
        self.kept |= other.kept
        self.lost += other.lost
        return self


@dataclass(frozen=True, eq=False)
class DualPass:
    """A round of CoCoA+ for one model: its loss at the start, then epochs on each block.

    Parameters
    ----------
    loss : Loss
    layout : Layout
    units : Standardization
    penalty : ElasticNet
    wanted : SdcaRound
    coef : array of shape (layout.size,)
        In the solver's units.
    model : int
        Keeps the duals of the models of a batch apart.
    seed : tuple of int
    reweighting : Reweighting, optional
        Of this model.
    """

    loss: Loss
    layout: Layout
    units: Standardization
    penalty: ElasticNet
    wanted: SdcaRound
    coef: Array
    model: int
    seed: tuple[int, ...]
    reweighting: Reweighting | None = None

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`: sums of two classes."""
        return 2 * self.coef.nbytes

    def __call__(self, block: Block, partition: int) -> DualSum:
        """What one partition does."""
        wanted, layout = self.wanted, self.layout
        block = reweighted(block, partition, self.reweighting)
        stored = self.units.to_stored(self.coef[None, :])
        loss, weight = loss_sums(block, self.loss, layout, stored)
        done = DualSum(
            float(loss[0]), float(weight[0]), np.zeros((2, layout.size)), np.zeros(2), {}
        )
        duals = read_duals(block, wanted.kept.get(partition))
        if duals is None:
            done.lost = (partition,)
            return done
        if not wanted.change:
            if partition in wanted.kept:
                done.sums, done.gains = dual_sums(
                    block, self.loss, layout, wanted.epochs.total, duals
                )
                done.kept[partition] = wanted.kept[partition]
            return done
        if wanted.epochs.epochs == 0:
            return done
        duals, done.sums = sdca_epochs(
            block,
            self.loss,
            layout,
            self.units,
            self.penalty,
            wanted.epochs,
            self.coef,
            duals,
            (*self.seed, partition),
        )
        done.gains = gains(block, self.loss, wanted.epochs.total, duals)
        remove_older(block, self.model, wanted.version)
        done.kept[partition] = write_duals(block, duals, self.model, wanted.version + 1)
        return done
