"""Passes: what one sweep over all blocks computes, and how its parts are summed.

A pass is a picklable function of one block; what it returns merges with what it returned for
other blocks. The room `spark` and the driver's own `LocalBlocks` run any pass without knowing
what it does, so a new kind of pass needs no change there.
"""

from typing import Any, Protocol, Self

from sparkml_lsml.engine.blocks.block import Block


class Sum(Protocol):
    """A partial result that merges with another of its kind."""

    def merge(self, other: Self, /) -> Self:
        """Both together; may reuse the memory of either."""
        ...


class Pass(Protocol):
    """A function of one block, run once on each."""

    @property
    def nbytes(self) -> int:
        """Bytes of the `Sum` of one block; 0 if it is small whatever the number of features."""
        ...

    def __call__(self, block: Block, partition: int) -> Any:
        """The `Sum` of one block; ``partition`` is its number."""
        ...


class Blocks(Protocol):
    """Blocks that passes run over: in this process, or on executors."""

    @property
    def partitions(self) -> int:
        """Number of blocks."""
        ...

    @property
    def rows(self) -> int:
        """Number of rows of all blocks."""
        ...

    @property
    def sent(self) -> int:
        """Bytes that passes have sent between the driver and executors so far."""
        ...

    def run(self, task: Pass, description: str, small: int | None = None) -> Any:
        """Run a pass over every block and return the merged `Sum`.

        Up to ``small`` bytes of sums are merged in the order of the blocks; None for a usual
        number. What is more may be merged as it comes, so that last bits are others each time.
        """
        ...
