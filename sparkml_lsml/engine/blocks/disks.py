"""The local folders of an executor: which one takes a block, and how full its disk may get."""

import contextlib
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sparkml_lsml.errors import DiskError

FREE_SPACE_KEPT = 64 * 2**20
"""Bytes that a block leaves free on a disk of any size: Spark needs them for its shuffle files."""

RESERVE = "spark.sparkml_lsml.disk.reserve"
"""Spark setting of the part of each local disk that blocks leave free; may be changed between two
fits."""


def room(folder: Path, reserve: float) -> tuple[int, int]:
    """Bytes that are free on the disk of a folder, and how many of them blocks have to leave.

    Parameters
    ----------
    folder : Path
    reserve : float
        The part of the disk that has to stay free; `FREE_SPACE_KEPT` does in any case.
    """
    usage = shutil.disk_usage(folder)
    return usage.free, max(FREE_SPACE_KEPT, int(reserve * usage.total))


def no_room(what: str, folder: Path, wanted: int, found: tuple[int, int], advice: str) -> DiskError:
    """The error about a disk that cannot take so many bytes more, and what may be done.

    Parameters
    ----------
    what : str
        That is to be written.
    folder : Path
    wanted : int
        Its bytes.
    found : tuple of int
        See `room`.
    advice : str
        What helps beside another disk.
    """
    free, kept = found
    lower = f"set {RESERVE} to a smaller part of the disk, " if kept > FREE_SPACE_KEPT else ""
    return DiskError(
        f"no room for {what} in {folder}: {wanted:,} more bytes are needed, {free:,} are free and "
        f"{kept:,} bytes are kept for Spark and others. Free disk space, name a larger folder in "
        f"spark.local.dir, {lower}or {advice}"
    )


def new_file(path: Path) -> IO[bytes]:
    """A file that was not there before, for nobody else to read; writes are not buffered."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)


def fit_folder(root: Path, fit: str) -> Path:
    """The folder that holds the blocks of a fit."""
    return root / f"sparkml_lsml-{fit}"


def write_new(path: Path, content: bytes) -> None:
    """Write a `new_file` in one go."""
    view = memoryview(content)
    with new_file(path) as file:
        while len(view):  # an unbuffered write may take less than it was given
            view = view[file.write(view) :]


@contextlib.contextmanager
def chosen_folder(fit: str, reserve: float) -> Iterator[Path]:
    """The folder of a fit in the local folder that is to take its next block.

    Spark deletes local folders when the executor ends, or with the application where an external
    shuffle service serves them. Other tasks of the executor wait until the context is left: by
    then the block has a folder of its own, which the next one counts.

    Parameters
    ----------
    fit : str
    reserve : float
        See `room`.

    Raises
    ------
    DiskError
        If Spark names no local folder.
    """
    roots = [Path(name) for name in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if name]
    if not roots:
        raise DiskError(
            "SPARK_LOCAL_DIRS is not set in the Python worker: expected Spark to name the "
            "executor's local folders there"
        )
    with _alone(roots[0]):
        yield fit_folder(_least_used(roots, fit, reserve), fit)


def _least_used(roots: list[Path], fit: str, reserve: float) -> Path:
    """The local folder with the fewest blocks of the fit for the room that it has.

    Each begins with some part of half a block, another one in each fit and executor: executors of
    one machine would all begin with the same disk otherwise. Folders whose room differs by less
    than a factor of two still get a block each before one of them gets two.
    """
    sharing = Counter(device(root) for root in roots)

    def used(root: Path) -> float:
        free, kept = room(root, reserve)
        folder = fit_folder(root, fit)
        blocks = sum(1 for _ in folder.iterdir()) if folder.exists() else 0
        start = (zlib.crc32(f"{fit} {root}".encode()) + 1) / 2**33
        return (blocks + start) * sharing[device(root)] / max(1, free - kept)

    return min(roots, key=used)


def device(folder: Path) -> int:
    """A number of the file system that a folder is on; folders of one share its room."""
    return folder.stat().st_dev


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        # where a file system has no locks, tasks that begin together may choose the same disk
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
