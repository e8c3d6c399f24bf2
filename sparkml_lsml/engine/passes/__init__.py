"""Passes: what one sweep over all blocks computes, and how its parts are summed."""

from sparkml_lsml.engine.passes.base import Blocks, Pass, Sum
from sparkml_lsml.engine.passes.gradient import GradientPass, LossSum, stored_places
from sparkml_lsml.engine.passes.local import LocalUpdatePass, UpdateSum
from sparkml_lsml.engine.passes.local_blocks import LocalBlocks
from sparkml_lsml.engine.passes.moments import (
    CurvaturePass,
    CurvatureSum,
    GramPass,
    GramSum,
    RangePass,
    RangeSum,
)
from sparkml_lsml.engine.passes.rows import RowsSum, SamplePass

__all__ = [
    "Blocks",
    "CurvaturePass",
    "CurvatureSum",
    "GradientPass",
    "GramPass",
    "GramSum",
    "LocalBlocks",
    "LocalUpdatePass",
    "LossSum",
    "Pass",
    "RangePass",
    "RangeSum",
    "RowsSum",
    "SamplePass",
    "Sum",
    "UpdateSum",
    "stored_places",
]
