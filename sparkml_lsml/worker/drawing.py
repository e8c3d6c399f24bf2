"""Which classes the replicates of a bootstrap have rows of."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.passes.reweighting import TILE, Poisson

Array = npt.NDArray[np.float64]


@dataclass
class DrawnWeight:
    """Weight that replicates draw of each class; shape (classes, replicates)."""

    weight: Array

    def merge(self, other: "DrawnWeight") -> "DrawnWeight":
        """Both together, in place."""
        self.weight += other.weight
        return self


@dataclass(frozen=True, eq=False)
class DrawnClasses:
    """The pass that finds which classes each replicate has rows of.

    Parameters
    ----------
    replicates : Poisson
    labels : tuple of float
        The classes, in order; empty in a regression, whose rows are of one kind.
    """

    replicates: Poisson
    labels: tuple[float, ...]

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        return 8 * max(1, len(self.labels)) * len(self.replicates.replicates)

    def __call__(self, block: Block, partition: int) -> DrawnWeight:
        """Sums of one block."""
        labels = np.array(self.labels)
        found = np.zeros((max(1, len(labels)), len(self.replicates.replicates)))
        for start in range(0, block.rows, TILE):
            stop = min(start + TILE, block.rows)
            weight = self.replicates.factors(block, partition, start, stop)
            if block.weight is not None:
                weight *= block.weight[start:stop, None]
            # a class without weight counts as its neighbour, to which it adds nothing
            at = np.searchsorted(labels[:-1], block.y[start:stop])
            for label in np.unique(at):
                found[label] += weight[at == label].sum(axis=0)
        return DrawnWeight(found)
