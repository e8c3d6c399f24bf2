"""Packing the rows of a partition, and the report that lies beside them where it is large."""

import errno
import os
import pickle  # nosec B403
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from sparkml_lsml.engine.blocks.files import FREE_SPACE_KEPT, BlockFiles, no_room
from sparkml_lsml.engine.blocks.folds import fold_reports
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.pack import PackSettings, pack
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.worker.keeping import forget_deleted, settle

HANDLE_SCHEMA = "handle binary, report binary"
"""Of the one row that a partition becomes."""

SMALL_REPORT = 64 * 1024
"""Bytes of a report that may stay in the cached row of its block."""


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
            write_report(handle.files, saved)
            handle, saved = replace(handle, report_bytes=len(saved)), b""
        columns = [pa.array([value], pa.binary()) for value in (pickle.dumps(handle), saved)]
        yield pa.RecordBatch.from_arrays(columns, names=["handle", "report"])

    return run


def write_report(files: BlockFiles, saved: bytes) -> None:
    """Leave the report of a block beside its rows.

    Raises
    ------
    DiskError
        If the disk has no room for it; the block is then removed, which nobody knows of yet.
    """
    folder = Path(files.folder)
    try:
        if shutil.disk_usage(folder).free < len(saved) + FREE_SPACE_KEPT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flags = os.O_WRONLY | os.O_CREAT
        with os.fdopen(os.open(folder / "report", flags, 0o600), "wb") as file:
            file.write(saved)
    except OSError as error:
        otherwise = "use fewer partitions, or fewer folds where there are any"
        free = shutil.disk_usage(folder).free
        full = no_room("the moments of the columns", folder, len(saved), free, otherwise)
        files.delete()
        raise full from error


def read_report(handle: Handle, saved: bytes) -> Report:
    """The report of a block; `FileNotFoundError` if its files are gone."""
    if not saved and handle.files is not None:
        saved = (Path(handle.files.folder) / "report").read_bytes()
    # written by a task of this very fit
    report: Report = pickle.loads(saved)  # nosec B301
    return report
