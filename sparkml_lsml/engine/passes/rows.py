"""Rows themselves: all of them, or a sample."""

from dataclasses import dataclass, replace

import numpy as np

from sparkml_lsml.engine.blocks.block import Block


@dataclass
class RowsSum:
    """Rows themselves, in the order of their partitions."""

    parts: list[tuple[int, Block]]

    def merge(self, other: "RowsSum") -> "RowsSum":
        """Add other rows, in place."""
        self.parts += other.parts
        return self

    def block(self) -> Block:
        """One block of all rows."""
        parts = sorted(self.parts, key=lambda part: part[0])
        return Block.concat([block for _, block in parts])


@dataclass(frozen=True)
class SamplePass:
    """A random sample of the rows, drawn without replacement.

    Parameters
    ----------
    fraction : float
        1 takes all rows.
    seed : int
    shares : tuple of (float, float)
        Labels, and the fractions in which their rows are drawn instead. Weights make up for it, so
        that sums over the sample stand for those over all rows.
    """

    fraction: float = 1.0
    seed: int = 0
    shares: tuple[tuple[float, float], ...] = ()

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`: rows add up to nothing smaller, so a tree would only move them."""
        return 0

    def __call__(self, block: Block, partition: int) -> RowsSum:
        """Rows of one block."""
        if self.fraction < 1.0:
            rng = np.random.default_rng((self.seed, partition))
            fraction = np.full(block.rows, self.fraction)
            for label, share in self.shares:
                fraction[block.y == label] = share
            drawn = np.flatnonzero(rng.random(block.rows) < fraction)
            block = block.subset(drawn)
            if self.shares:
                weight = 1.0 if block.weight is None else block.weight
                block = replace(block, weight=weight * (self.fraction / fraction[drawn]))
        return RowsSum([(partition, block)])
