"""Weights that differ between the models of a batch: folds, and replicates of a bootstrap."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.special import pdtr

from sparkml_lsml.engine.blocks.block import Block

Array = npt.NDArray[np.float64]

TILE = 4_096
"""Rows whose draws follow from one state of the generator, however rows are cut into pieces."""


class Reweighting(Protocol):
    """What multiplies the weight of each row, model by model."""

    @property
    def shared(self) -> bool:
        """Whether it is the same for all models."""
        ...

    def of(self, models: Sequence[int]) -> Self:
        """The same for some models of the batch."""
        ...

    def factors(self, block: Block, partition: int, start: int, stop: int) -> Array:
        """Factors of rows ``start`` to ``stop`` of a block; shape (rows, models)."""
        ...


@dataclass(frozen=True)
class HeldOut:
    """Models that do not see the rows of a fold.

    Parameters
    ----------
    folds : tuple of int
        For each model the fold that is held out, -1 for none.

    Examples
    --------
    >>> import numpy as np
    >>> block = Block(np.eye(3), np.zeros(3), fold=np.array([0, 1, 0], dtype=np.int32))
    >>> HeldOut((0, 1, -1)).factors(block, 0, 0, 3).tolist()
    [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """

    folds: tuple[int, ...]
    shared: ClassVar[bool] = False

    def of(self, models: Sequence[int]) -> "HeldOut":
        """See `Reweighting.of`."""
        return HeldOut(tuple(self.folds[k] for k in models))

    def factors(self, block: Block, partition: int, start: int, stop: int) -> Array:
        """See `Reweighting.factors`."""
        assert block.fold is not None
        seen = np.not_equal(block.fold[start:stop, None], np.array(self.folds, dtype=np.int32))
        return seen.astype(np.float64)


@dataclass(frozen=True)
class Validation:
    """No model of the batch sees the rows of one fold, which are those of the validation.

    Parameters
    ----------
    fold : int
    models : int

    Examples
    --------
    >>> import numpy as np
    >>> block = Block(np.eye(3), np.zeros(3), fold=np.array([0, 1, 0], dtype=np.int32))
    >>> Validation(fold=1, models=2).factors(block, 0, 0, 3).tolist()
    [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    """

    fold: int
    models: int = 1
    shared: ClassVar[bool] = True

    def of(self, models: Sequence[int]) -> "Validation":
        """See `Reweighting.of`."""
        return replace(self, models=len(models))

    def factors(self, block: Block, partition: int, start: int, stop: int) -> Array:
        """See `Reweighting.factors`."""
        assert block.fold is not None
        seen = np.not_equal(block.fold[start:stop, None], self.fold)
        return np.repeat(seen.astype(np.float64), self.models, axis=1)


@dataclass(frozen=True)
class Poisson:
    r"""Replicates of a bootstrap: each row counts as often as a Poisson variable of mean 1 says.

    That is the limit of drawing n of n rows with replacement, and needs no knowledge of n. Draws
    follow from the seed, the partition and the number of the replicate, so that all passes of a
    fit see the same rows. They come from 16 bits each: probabilities are exact to 1 in 65,536.

    Parameters
    ----------
    seed : int
    replicates : tuple of int
        The replicate of each model, -1 for all rows once.

    References
    ----------
    Chamandy, Muralidharan, Najmi and Naidu (2012), Estimating uncertainty for massive data
    streams.
    """

    seed: int
    replicates: tuple[int, ...]
    shared: ClassVar[bool] = False

    def of(self, models: Sequence[int]) -> "Poisson":
        """See `Reweighting.of`."""
        return Poisson(self.seed, tuple(self.replicates[k] for k in models))

    def factors(self, block: Block, partition: int, start: int, stop: int) -> Array:
        """See `Reweighting.factors`."""
        out = np.ones((stop - start, len(self.replicates)))
        for tile in range(start // TILE, -(-stop // TILE)):
            first, last = max(start, tile * TILE), min(stop, (tile + 1) * TILE)
            for k, replicate in enumerate(self.replicates):
                if replicate >= 0:
                    drawn = _draws(self.seed, partition, tile, replicate)
                    piece = drawn[first - tile * TILE : last - tile * TILE]
                    out[first - start : last - start, k] = piece
        return out


def _counts() -> npt.NDArray[np.uint8]:
    """The count that each of 65,536 equally likely numbers stands for."""
    size = 2**16
    edges = np.rint(pdtr(np.arange(12), 1.0) * size).astype(int)
    return np.searchsorted(edges, np.arange(size), side="right").astype(np.uint8)


_COUNTS = _counts()


# kernels take pieces of fewer rows than a tile: 4 KB each, 16 MB in all
@functools.lru_cache(maxsize=4_096)
def _draws(seed: int, partition: int, tile: int, replicate: int) -> npt.NDArray[np.uint8]:
    """Counts of the rows of a tile."""
    rng = np.random.default_rng((seed, partition, tile, replicate))
    return _COUNTS[np.frombuffer(rng.bytes(2 * TILE), dtype=np.uint16)]


def reweighted(block: Block, partition: int, reweighting: Reweighting | None) -> Block:
    """The block with the weights that its rows have for the only model, or for all alike."""
    if reweighting is None:
        return block
    factors = reweighting.of([0]).factors(block, partition, 0, block.rows)[:, 0]
    weight = factors if block.weight is None else block.weight * factors
    return replace(block, weight=weight)
