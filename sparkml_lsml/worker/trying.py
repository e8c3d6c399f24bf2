"""Losses of users where the rows are: tried before the first pass."""

from dataclasses import dataclass, field

import numpy as np

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses.custom import CustomLoss
from sparkml_lsml.losses.verification import faults, not_finite

TRIED_LABELS = 32
"""Different labels of a block that a loss is tried on: the least, the largest, some in between."""

CHUNK_ROWS = 65_536


@dataclass
class Findings:
    """What was found of a loss in some blocks; merges.

    Attributes
    ----------
    faults : list of str
    rows : int
        Rows whose loss is not finite where the prediction is 0.
    label : float
        The label of one of them.
    """

    faults: list[str] = field(default_factory=list)
    rows: int = 0
    label: float = 0.0

    def merge(self, other: "Findings") -> "Findings":
        """Add what was found in other blocks, in place."""
        self.label = self.label if self.rows else other.label
        self.rows += other.rows
        self.faults = (self.faults + other.faults)[:1]
        return self


@dataclass(frozen=True, eq=False)
class LossCheck:
    """Tries a loss on labels of each block, where the block is.

    Parameters
    ----------
    loss : CustomLoss
    """

    loss: CustomLoss

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        return 0

    def __call__(self, block: Block, partition: int) -> Findings:
        """Findings of one block."""
        y = np.asarray(block.y if block.weight is None else block.y[block.weight > 0.0])
        if len(y) == 0:
            return Findings()
        try:
            found = Findings()
            for start in range(0, len(y), CHUNK_ROWS):
                piece = y[start : start + CHUNK_ROWS]
                bad = piece[not_finite(self.loss, piece)]
                if len(bad):
                    found.merge(Findings(rows=len(bad), label=float(bad[0])))
        except ParamError as error:
            return Findings([str(error)])
        if found.rows:
            return found
        labels = np.unique(y)
        some = np.linspace(0, len(labels) - 1, min(TRIED_LABELS, len(labels))).astype(int)
        return Findings(faults(self.loss, labels[some]))
