"""What a Python worker of an executor keeps from one task to the next."""

import gc
import os
import sys
from pathlib import Path

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.handle import Handle

OWN_BLOCKS_ONLY = "SPARKML_LSML_OWN_BLOCKS_ONLY"
"""Environment variable of executors: open no block of another executor of the same machine."""

_settled_modules = 0
"""Modules that were imported when garbage was last collected for good."""


def settle() -> None:
    """Exempt what this worker has imported from its collections of garbage.

    PySpark collects garbage after every task, which takes longer the more modules there are:
    half of the time of a pass over few rows. What is alive now stays alive.
    """
    global _settled_modules
    if len(sys.modules) != _settled_modules:
        gc.collect()
        gc.freeze()
        _settled_modules = len(sys.modules)


_open: dict[str, Block] = {}
"""Blocks that this Python worker has mapped. Mapping a block anew costs a page fault a page."""


def forget_deleted() -> None:
    """Drop the mappings of files that are gone: they would keep their disk space."""
    for path in [path for path in _open if not Path(path).exists()]:
        del _open[path]


def open_block(handle: Handle) -> Block | None:
    """The rows of a handle; None where they cannot be reached from here."""
    if handle.files is None:
        return handle.block
    folder = handle.files.folder
    if folder not in _open:
        forget_deleted()
        if not _may_open(folder):
            return None
        try:
            _open[folder] = handle.files.open()
        except FileNotFoundError:
            return None
    elif not Path(folder).exists():
        del _open[folder]
        return None
    return _open[folder]


def _may_open(folder: str) -> bool:
    return os.environ.get(OWN_BLOCKS_ONLY) != "1" or is_own(folder)


def is_own(folder: str) -> bool:
    """Whether a folder is one of this executor's own, whose names no other executor has."""
    own = [path for path in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if path]
    return any(Path(folder).is_relative_to(path) for path in own)
