"""Rounds of CoCoA+: dual coordinate ascent over blocks whose rows have dual variables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.duals import DualFile, read_duals, remove_older, write_duals
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.sdca import SdcaEpochs, dual_sums, gains, sdca_epochs
from sparkml_lsml.engine.predictors.standardization import Standardization

Array = npt.NDArray[np.float64]


@dataclass
class DualSum:
    """What the partitions did in a round; see `SdcaTotals`."""

    sums: Array
    gains: Array
    dual_files: dict[int, DualFile]
    lost: tuple[int, ...] = ()

    def merge(self, other: "DualSum") -> "DualSum":
        """Add what other partitions did, in place."""
        self.sums += other.sums
        self.gains += other.gains
        self.dual_files |= other.dual_files
        self.lost += other.lost
        return self


@dataclass(frozen=True, eq=False)
class SdcaTotals:
    """What a round did.

    Attributes
    ----------
    sums : array of shape (2, size)
        By how much the sums of the duals grew; all of them where nothing was to change. In the
        units of the solver.
    gains : array of shape (2,)
        Gains of the dual objective by the duals as they are now, for the classes 0 and 1.
    weight : float
        Sum of the weights of the rows.
    dual_files : dict of int to object
        Where the new duals are.
    lost : tuple of int
        Partitions whose duals are gone; nothing was changed there.
    """

    sums: Array
    gains: Array
    weight: float
    dual_files: dict[int, Any]
    lost: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SdcaRound:
    """A round of dual coordinate ascent, with the duals of each partition kept beside its rows.

    See `LocalUpdate` for the methods.

    Parameters
    ----------
    epochs : SdcaEpochs
    version : int
        Number of the version that is read; the next one is written.
    dual_files : mapping of int to object
        For each partition where its duals are; a partition that is not in it has zeros.
    change : bool
        False to add up what the duals that are kept make, and leave them as they are.
    """

    epochs: SdcaEpochs
    version: int = 0
    dual_files: Mapping[int, Any] = field(default_factory=dict)
    change: bool = True
    needs_loss: ClassVar[bool] = True
    vectors: ClassVar[int] = 2
    """One for the rows of each class."""

    def run(
        self, block: Block, partition: int, model: LocalModel, coef: Array, seed: tuple[int, ...]
    ) -> DualSum:
        """See `LocalUpdate.run`."""
        layout, loss = model.predictor.layout, model.loss
        done = DualSum(np.zeros((2, layout.size)), np.zeros(2), {})
        duals = read_duals(block, self.dual_files.get(partition))
        if duals is None:
            done.lost = (partition,)
            return done
        if not self.change:
            if partition in self.dual_files:
                done.sums, done.gains = dual_sums(block, loss, layout, self.epochs.total, duals)
                done.dual_files[partition] = self.dual_files[partition]
            return done
        if self.epochs.epochs == 0:
            return done
        duals, done.sums = sdca_epochs(
            block, loss, layout, model.units, model.penalty, self.epochs, coef, duals, seed
        )
        done.gains = gains(block, loss, self.epochs.total, duals)
        remove_older(block, model.number, self.version)
        done.dual_files[partition] = write_duals(block, duals, model.number, self.version + 1)
        return done

    def finish(self, total: DualSum, units: Standardization, weight: float) -> SdcaTotals:
        """See `LocalUpdate.finish`."""
        sums = units.gradient(total.sums)
        return SdcaTotals(sums, total.gains, weight, total.dual_files, total.lost)
