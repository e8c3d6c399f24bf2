"""Blocks: the rows of one partition, from Arrow, in memory or in mapped files."""

from sparkml_lsml.blocks.block import Block, CsrRows
from sparkml_lsml.blocks.moments import Moments

__all__ = ["Block", "CsrRows", "Moments"]
