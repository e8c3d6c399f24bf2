"""Blocks in this process, for the driver's own rows and for tests."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.passes.base import Pass


class LocalBlocks:
    """Blocks in this process: the same passes with no Spark.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkml_lsml.engine.blocks import Block
    >>> from sparkml_lsml.engine.predictors import Layout, LinearPredictor, Predictor
    >>> from sparkml_lsml.losses import Squared
    >>> from sparkml_lsml.engine.passes import GradientPass
    >>> blocks = LocalBlocks([Block(np.eye(2), np.array([1.0, 3.0]))])
    >>> predictor = LinearPredictor(Layout(features=2, fit_intercept=False))
    >>> float(blocks.run(GradientPass(Squared(), predictor, np.zeros((1, 2))), "demo").value[0])
    5.0
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = list(blocks)

    @property
    def partitions(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    @property
    def rows(self) -> int:
        """Number of rows of all blocks."""
        return sum(block.rows for block in self._blocks)

    @property
    def sent(self) -> int:
        """Nothing leaves this process."""
        return 0

    def run(self, task: Pass, description: str, small: int | None = None) -> Any:
        """Run a pass over every block, in order, and return the merged sum."""
        sums = (task(block, number) for number, block in enumerate(self._blocks))
        return reduce(lambda left, right: left.merge(right), sums)
