"""Packing the rows of a partition, and the report that lies beside them where it is large."""

import errno
import os
import pickle  # nosec B403
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sparkml_lsml.engine.blocks.disks import no_room, room, write_new
from sparkml_lsml.engine.blocks.files import BlockFiles
from sparkml_lsml.engine.blocks.folds import fold_reports
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.pack import PackSettings, pack
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.worker.keeping import forget_deleted, settle

if TYPE_CHECKING:
    from sparkml_lsml.worker.reading import RowGroups, SourceColumns, Split

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
        columns = [pa.array([value], pa.binary()) for value in packed(batches, settings)]
        yield pa.RecordBatch.from_arrays(columns, names=["handle", "report"])

    return run


def file_packer(
    settings: PackSettings, columns: "SourceColumns", rows: int
) -> Callable[[Iterable[Sequence["Split"]]], Iterator[dict[str, bytes]]]:
    """The same for partitions of an RDD that name parts of Parquet files.

    Parameters
    ----------
    settings : PackSettings
    columns : SourceColumns
    rows : int
        Of a batch.
    """

    def run(partition: Iterable[Sequence["Split"]]) -> Iterator[dict[str, bytes]]:
        # those that pack what Spark reads do without
        from sparkml_lsml.worker.reading import RowGroupReader, UnreadableError

        splits = [split for part in partition for split in part]
        reader = RowGroupReader(splits, columns, rows)
        try:
            handle, report = packed(reader, settings, reader.read)
        except UnreadableError as error:
            told = str(error)
            nothing = Handle(0, 0.0, 0, unreadable=told), Report(unreadable=told)
            handle, report = map(pickle.dumps, nothing)
        yield {"handle": handle, "report": report}

    return run


def packed(
    batches: Iterable[pa.RecordBatch],
    settings: PackSettings,
    read: "Sequence[RowGroups]" = (),
) -> tuple[bytes, bytes]:
    """The handle and the report of a partition, pickled.

    Parameters
    ----------
    batches : iterable of record batches
        See `pack`.
    settings : PackSettings
    read : sequence of RowGroups
        The row groups that they come from, known when all are read.
    """
    settle()
    # the disk space of fits that have ended may be wanted now
    forget_deleted()
    handle, report = pack_with_folds(batches, settings)
    report.row_groups = list(read)
    saved = pickle.dumps(report)
    if handle.files is not None and len(saved) > SMALL_REPORT:
        # this row is cached and read in every pass: moments of wide rows stay out of it
        write_report(handle.files, saved, settings.reserve)
        handle, saved = replace(handle, report_bytes=len(saved)), b""
    return pickle.dumps(handle), saved


def pack_with_folds(
    batches: Iterable[pa.RecordBatch], settings: PackSettings
) -> tuple[Handle, Report]:
    """The same as `pack`; the report has one of each fold."""
    handle, report = pack(batches, settings)
    if settings.folds and handle.rows:
        block = handle.block if handle.files is None else handle.files.open()
        assert block is not None
        report.folds = fold_reports(block, settings.folds, settings.task, moments=settings.moments)
    return handle, report


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
