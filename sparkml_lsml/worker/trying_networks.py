"""Networks of PyTorch where the rows are: tried before the first pass."""

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.predictors.module import ModulePredictor
from sparkml_lsml.errors import BackendError, ParamError
from sparkml_lsml.worker.trying import Findings

TRIED_ROWS = 32
"""Rows of a block that a network is tried on."""


@dataclass(frozen=True, eq=False)
class NetworkCheck:
    """Makes a network where a block is, and tries it on the first of its rows.

    Parameters
    ----------
    predictor : ModulePredictor
    """

    predictor: ModulePredictor

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        return 0

    def __call__(self, block: Block, partition: int) -> Findings:
        """Findings of one block."""
        try:
            self.predictor.check()
            X, _, _ = block.take(np.arange(min(TRIED_ROWS, block.rows)))
            self.predictor.raw(X, np.zeros((1, self.predictor.layout.size)))
        except (ParamError, BackendError) as error:
            return Findings([str(error)])
        return Findings()
