"""Dual variables of the rows of a block, which stay where the block is, version after version.

A version is never written over: a task reads one and writes the next under a name of its own, and
the driver keeps the names of the tasks that it heard of. A task that runs twice, after a failure
or by speculation, so changes nothing twice.
"""

import contextlib
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.disks import write_new
from sparkml_lsml.errors import DiskError

Array = npt.NDArray[np.float64]
DualFile = str | Array
"""Where a version is: the name of a file beside the block, or for rows in memory the duals."""


def read_duals(block: Block, where: DualFile | None) -> Array | None:
    """The duals of a version; zeros before the first, None where they are lost."""
    if where is None:
        return np.zeros(block.rows)
    if not isinstance(where, str):
        return where
    path = Path(block.folder) / where
    try:
        if block.seal is None:
            duals = np.fromfile(path)
        else:
            opened = block.seal.opened(path, where, 8 * block.rows)
            duals = np.frombuffer(bytearray().join(opened))  # which may be written to
    except FileNotFoundError:
        return None
    return duals if len(duals) == block.rows else None


def write_duals(block: Block, duals: Array, model: int, version: int) -> DualFile:
    """Keep a version of the duals of a model.

    Raises
    ------
    DiskError
        If the disk has no room for them.
    """
    if not block.folder:
        return duals
    name = f"duals-{model}-{version}-{uuid.uuid4().hex}"
    path = Path(block.folder) / name
    try:
        content = np.ascontiguousarray(duals).tobytes()
        write_new(path, content if block.seal is None else block.seal.sealed(name, content))
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise DiskError(
            f"no room for {duals.nbytes:,} bytes of dual variables in {block.folder}: {error}. "
            "Free disk space, name a larger folder in spark.local.dir, or use another solver"
        ) from error
    return name


def remove_older(block: Block, model: int, version: int) -> None:
    """Remove the files of a model's versions before this one.

    Its own stay, and those of the one before it: another attempt of the same task may read them.
    """
    if not block.folder:
        return
    for path in Path(block.folder).glob(f"duals-{model}-*"):
        if int(path.name.split("-")[2]) < version - 1:
            path.unlink(missing_ok=True)
