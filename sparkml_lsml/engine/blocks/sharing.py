"""Encrypted blocks in memory: decrypted once, and shared by the Python workers of a machine.

Any worker of an executor may be given the task of a block. Were each to decrypt it for itself, an
executor of 16 cores would hold its rows 16 times. The worker that decrypts a block writes it to a
file that is in memory and has no name, and notes beside the block where other workers find it,
which is among the open files of its process. The memory is free again when the last worker that
has it mapped lets go of it, or is killed.
"""

import contextlib
import mmap
import os
import uuid
import weakref
from collections.abc import Iterable
from pathlib import Path

from sparkml_lsml.engine.blocks.disks import write_new

NOTE = "memory"
"""Name of the file beside a block that says where it is decrypted already."""


def shared(folder: Path, size: int, pieces: Iterable[bytes]) -> mmap.mmap:
    """So many bytes of memory, which cannot be written to.

    Parameters
    ----------
    folder : Path
        Of the block.
    size : int
        More than 0.
    pieces : iterable of bytes
        The content; it is asked for if no other worker has it.
    """
    return _found(folder, size) or _made(folder, size, pieces)


def _found(folder: Path, size: int) -> mmap.mmap | None:
    try:
        process, number, inode = (folder / NOTE).read_text().split()
        # it may be another file by now, and that a pipe, which would have to be waited for
        handle = os.open(f"/proc/{process}/fd/{number}", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # nobody has it, or whoever had it is gone
        return None
    try:
        there = os.fstat(handle)
        if (there.st_ino, there.st_size) != (int(inode), size):
            return None
        return mmap.mmap(handle, size, access=mmap.ACCESS_READ)
    finally:
        os.close(handle)


def _made(folder: Path, size: int, pieces: Iterable[bytes]) -> mmap.mmap:
    if not hasattr(os, "memfd_create"):  # but on Linux each worker has a copy of its own
        own = mmap.mmap(-1, size)
        for piece in pieces:
            own.write(piece)
        return own
    handle = os.memfd_create("sparkml_lsml")
    try:
        for piece in pieces:
            view = memoryview(piece)
            while len(view):
                view = view[os.write(handle, view) :]
        memory = mmap.mmap(handle, size, access=mmap.ACCESS_READ)
    except BaseException:
        os.close(handle)
        raise
    weakref.finalize(memory, os.close, handle)
    note = folder / f"{NOTE}-{uuid.uuid4().hex}"
    # on a full disk, say: others can do without
    with contextlib.suppress(OSError):
        write_new(note, f"{os.getpid()} {handle} {os.fstat(handle).st_ino}".encode())
        note.replace(folder / NOTE)
    return memory
