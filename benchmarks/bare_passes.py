"""Passes that compute nothing of use, to compare a real one with.

They have a module of their own because Python workers import it. PySpark collects the garbage of a
worker after every task, which takes longer the more the worker has imported: with scikit-learn it
would take longer than the task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.engine.blocks import Block


@dataclass
class Number:
    """A sum that merges by adding."""

    value: float

    def merge(self, other: Number) -> Number:
        return Number(self.value + other.value)


class NoPass:
    """Do nothing with a block: what is left is the cost of a Spark job."""

    nbytes = 0

    def __call__(self, block: Block, partition: int) -> Number:
        return Number(0.0)


class ReadPass:
    """Read every byte of the features once, as fast as NumPy can."""

    nbytes = 0

    def __call__(self, block: Block, partition: int) -> Number:
        return Number(float(block.X.sum())) if isinstance(block.X, np.ndarray) else Number(0.0)
