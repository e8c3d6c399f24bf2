"""From batches of Arrow rows to one block a partition, with what the driver needs to know of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_lsml.engine.blocks.arrow import Features, as_assembled, to_features
from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.blocks.checksum import checksum
from sparkml_lsml.engine.blocks.disks import chosen_folder
from sparkml_lsml.engine.blocks.files import BlockFiles, BlockWriter
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.moments import Moments
from sparkml_lsml.engine.blocks.origin import Origin
from sparkml_lsml.engine.blocks.report import Report, Task, merged, note_labels
from sparkml_lsml.engine.blocks.sealing import Seal

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PackSettings:
    """How to pack a partition.

    Parameters
    ----------
    task : {"binary", "multiclass", "regression"}
        Decides which labels are valid.
    dtype : {"float64", "float32"}
    weighted : bool
        Whether batches have a third column, the weights.
    inline_bytes : int
        A block of no more than this many bytes stays in memory and travels to the driver.
    fit : str
        Names the folder of this fit.
    encrypted : bool
        Whether what is written to a local disk has to be encrypted.
    reserve : float
        The part of a local disk that has to stay free, see `room`.
    folds : int
        Number of folds of a cross-validation, whose numbers are the last column; 0 for none.
    ordered : bool
        Whether the order of the rows has to be the same when a block is packed again.
    origin : Origin or None
        What is subtracted from some columns.
    moments : bool
        Whether the report has the moments of the features.
    assembled : bool
        Whether rows of numbers are packed as the vectors of a `VectorAssembler`.
    """

    task: Task
    dtype: str
    weighted: bool
    inline_bytes: int
    fit: str
    encrypted: bool = False
    reserve: float = 0.0
    folds: int = 0
    ordered: bool = False
    origin: Origin | None = None
    moments: bool = True
    assembled: bool = False


def pack(batches: Iterable[pa.RecordBatch], settings: PackSettings) -> tuple[Handle, Report]:
    """Pack the rows of one partition.

    All batches are read to the end, also when rows turn out to be unusable: their number is part
    of the error, and a reader that stops early costs Spark its Python worker.

    Parameters
    ----------
    batches : iterable of record batches
        Columns: features, label, and with ``settings.weighted`` the weight.
    settings : PackSettings

    Returns
    -------
    handle : Handle
    report : Report

    Raises
    ------
    DiskError
        If the rows do not fit the local disk, or cannot be encrypted.
    """
    packer = _Packer(settings)
    try:
        for batch in batches:
            packer.add(batch)
        return packer.finish()
    except BaseException:
        packer.abort()
        raise


class _Packer:
    def __init__(self, settings: PackSettings) -> None:
        self._settings = settings
        self._report = Report()
        self._inline: list[Block] = []
        self._inline_bytes = 0
        self._writer: BlockWriter | None = None
        self._rows = 0
        self._weight = 0.0
        self._checksum = 0

    def add(self, batch: pa.RecordBatch) -> None:
        report, settings = self._report, self._settings
        if batch.num_rows == 0:
            return
        y, usable = report.labels_of(batch.column(1), settings.task)
        weight: Array | None = None
        if settings.weighted:
            weight, valid = report.weights_of(batch.column(2))
            usable &= valid
        fold: npt.NDArray[np.int32] | None = None
        if settings.folds:
            fold, valid = self._folds(batch.column(batch.num_columns - 1))
            usable &= valid
        if settings.origin is None:
            features = self._features(batch, settings.dtype)
        else:
            features = self._features(batch, np.float64)
            if features.X is not None:
                X = settings.origin.subtract(features.X, settings.dtype)
                features = replace(features, X=X)
        report.see_features(features)
        usable &= features.present
        if features.X is None or not usable.all() or not report.usable:
            self._count_bad_features(features)
            return
        block = Block(features.X, y, weight, fold)
        if settings.moments and not isinstance(block.X, CsrRows):
            moments = Moments.of_rows(block.X, weight)
            if not _finite(moments) and self._count_bad_features(features):
                return
            report.moments = merged(report.moments, moments)
        elif self._count_bad_features(features):
            return
        note_labels(report, y, weight, settings.task)
        self._add_block(block)

    def _features(self, batch: pa.RecordBatch, dtype: npt.DTypeLike) -> Features:
        if self._settings.assembled:
            return as_assembled(to_features(batch.column(0)), dtype)
        return to_features(batch.column(0), dtype)

    def finish(self) -> tuple[Handle, Report]:
        report, wanted = self._report, self._settings.moments
        if not report.usable or self._rows == 0:
            self.abort()
            return Handle(0, 0.0, 0), report
        block: Block | None = None
        files: BlockFiles | None = None
        if self._writer is not None:
            files = self._writer.finish()
            self._writer = None
            try:
                mapped = files.open()
            except BaseException:
                files.delete()
                raise
            sparse = isinstance(mapped.X, CsrRows)
            if wanted and sparse and _rows_of(report.moments) < self._rows:
                report.moments = Moments.of_block(mapped)
        else:
            block = Block.concat(self._inline)
            if wanted and _rows_of(report.moments) < self._rows:
                report.moments = Moments.of_block(block)
        if report.label_moments is not None:
            mean = float(report.label_moments.mean()[0])
            report.label_means.append((self._weight, mean))
        return Handle(self._rows, self._weight, self._checksum, files, block), report

    def abort(self) -> None:
        self._inline.clear()
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _count_bad_features(self, features: Features) -> int:
        """Count rows with values that are not finite; the number of them."""
        X = features.X
        if X is None:
            return 0
        if isinstance(X, CsrRows):
            if np.isfinite(X.data).all():
                return 0
            at = np.searchsorted(X.indptr, np.flatnonzero(~np.isfinite(X.data)), side="right") - 1
            bad = np.zeros(X.shape[0], dtype=np.bool_)
            bad[at] = True
        else:
            bad = np.asarray(~np.isfinite(X).all(axis=1))
        self._report.count("bad_features", bad)
        return int(np.count_nonzero(bad))

    def _folds(self, column: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        fold = column.fill_null(-1).to_numpy(zero_copy_only=False)
        good = (fold >= 0) & (fold < self._settings.folds)
        self._report.count("bad_folds", ~good)
        return fold.astype(np.int32), good

    def _add_block(self, block: Block) -> None:
        position = self._rows if self._settings.ordered else None
        self._checksum = (self._checksum + checksum(block, position)) % 2**64
        self._rows += block.rows
        self._weight += block.weight_sum
        fits = self._inline_bytes + block.nbytes <= self._settings.inline_bytes
        if self._writer is None and fits:
            self._inline.append(block)
            self._inline_bytes += block.nbytes
            return
        if self._writer is None:
            settings = self._settings
            seal = Seal.new() if settings.encrypted else None
            with chosen_folder(settings.fit, settings.reserve) as folder:
                self._writer = BlockWriter(
                    folder,
                    settings.dtype,
                    settings.weighted,
                    settings.folds > 0,
                    seal,
                    settings.reserve,
                )
            for each in self._inline:
                self._writer.append(each)
            self._inline.clear()
        self._writer.append(block)


def _finite(moments: Moments) -> bool:
    return bool(np.isfinite(moments.stored_mean).all() and np.isfinite(moments.stored_m2).all())


def _rows_of(moments: Moments | None) -> int:
    return 0 if moments is None else moments.rows
