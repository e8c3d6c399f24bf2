"""Blocks: the rows of one partition, from Arrow, in memory or in mapped files."""

from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.blocks.moments import Moments

__all__ = ["Block", "CsrRows", "Moments"]
