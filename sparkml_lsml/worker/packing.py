"""Packing the rows of a partition, and the report that lies beside them where it is large."""

import errno
import os
import pickle  # nosec B403
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from sparkml_lsml.engine.blocks.disks import no_room, room, write_new
from sparkml_lsml.engine.blocks.files import BlockFiles
from sparkml_lsml.engine.blocks.folds import fold_reports
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.pack import PackSettings, pack
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.worker.keeping import forget_deleted, settle

HANDLE_SCHEMA = "handle binary, report binary"
"""Of the one row that a partition becomes."""

SMALL_REPORT = 64 * 1024
"""Bytes of a report that may stay in the cached row of its block."""


REPORT = "report"
"""Name of its file."""


def packer(
    settings: PackSettings,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that `mapInArrow` runs on each partition."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        settle()
        # the disk space of fits that have ended may be wanted now
        forget_deleted()
        handle, report = pack(batches, settings)
        if settings.folds and handle.rows:
            block = handle.block if handle.files is None else handle.files.open()
            assert block is not None
            report.folds = fold_reports(
                block, settings.folds, settings.task, moments=settings.moments
            )
        saved = pickle.dumps(report)
        if handle.files is not None and len(saved) > SMALL_REPORT:
            # this row is cached and read in every pass: moments of wide rows stay out of it
            write_report(handle.files, saved, settings.reserve)
            handle, saved = replace(handle, report_bytes=len(saved)), b""
        columns = [pa.array([value], pa.binary()) for value in (pickle.dumps(handle), saved)]
        yield pa.RecordBatch.from_arrays(columns, names=["handle", "report"])

    return run


def write_report(files: BlockFiles, saved: bytes, reserve: float = 0.0) -> None:
    """Leave the report of a block beside its rows, encrypted where they are.

    Parameters
    ----------
    files : BlockFiles
    saved : bytes
    reserve : float
        The part of the disk that has to stay free, see `room`.

    Raises
    ------
    DiskError
        If the disk has no room for it; the block is then removed, which nobody knows of yet.
    """
    folder = Path(files.folder)
    try:
        free, kept = room(folder, reserve)
        if free < len(saved) + kept:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sealed = saved if files.seal is None else files.seal.sealed(REPORT, saved)
        write_new(folder / REPORT, sealed)
    except OSError as error:
        advice = "use fewer partitions, or fewer folds where there are any"
        found = room(folder, reserve)
        full = no_room("the moments of the columns", folder, len(saved), found, advice)
        files.delete()
        raise full from error


def read_report(handle: Handle, saved: bytes) -> Report:
    """The report of a block; `FileNotFoundError` if its files are gone."""
    if not saved and handle.files is not None:
        path, seal = Path(handle.files.folder) / REPORT, handle.files.seal
        if seal is None:
            saved = path.read_bytes()
        else:
            saved = b"".join(seal.opened(path, REPORT, handle.report_bytes))
    # written by a task of this very fit
    report: Report = pickle.loads(saved)  # nosec B301
    return report
