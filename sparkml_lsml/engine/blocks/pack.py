"""From batches of Arrow rows to one block a partition, with what the driver needs to know of it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkml_lsml.engine.blocks.arrow import Features, to_features
from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.blocks.files import BlockFiles, BlockWriter
from sparkml_lsml.engine.blocks.moments import Moments
from sparkml_lsml.engine.blocks.origin import Origin
from sparkml_lsml.errors import DiskError

Array = npt.NDArray[np.float64]
Task = Literal["binary", "multiclass", "regression"]

SPREAD_VALUES = 2**14
"""Values of dense rows that are hashed at a time: they stay in the cache."""

MAX_LABELS_COUNTED = 100_000
"""Distinct labels that are counted; more of them means that these are not classes."""

PROBLEMS = {
    "null_labels": "rows whose label is null",
    "bad_labels": "rows whose label is NaN or infinite",
    "wrong_labels": "rows whose label is out of range",
    "null_weights": "rows whose weight is null",
    "bad_weights": "rows whose weight is NaN, infinite or negative",
    "null_features": "rows whose features are null",
    "bad_features": "rows whose features hold NaN, infinity or null",
    "bad_folds": "rows whose fold, or validation indicator, is null or not one of the folds",
    "bad_indices": "sparse rows whose indices are negative, too large, not increasing or not as "
    "many as the values",
}
"""What is counted of rows that cannot be used."""


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
    on_disk : bool
        False where rows may not be written to a local disk.
    folds : int
        Number of folds of a cross-validation, whose numbers are the last column; 0 for none.
    ordered : bool
        Whether the order of the rows has to be the same when a block is packed again.
    origin : Origin or None
        What is subtracted from some columns.
    """

    task: Task
    dtype: str
    weighted: bool
    inline_bytes: int
    fit: str
    on_disk: bool = True
    folds: int = 0
    ordered: bool = False
    origin: Origin | None = None


@dataclass(frozen=True, eq=False)
class Handle:
    """A packed block: where it is, and what identifies its rows.

    Attributes
    ----------
    rows : int
    weight : float
    checksum : int
        Of labels, weights and features, so that a block that was packed again can be told from
        one with other rows; whatever their order, unless that decides what a model sees of them.
    files : BlockFiles or None
    block : Block or None
        The rows themselves where they are few.
    report_bytes : int
        Bytes of the report where it is so large that it lies beside the rows, or else 0.
    """

    rows: int
    weight: float
    checksum: int
    files: BlockFiles | None = None
    block: Block | None = None
    report_bytes: int = 0

    @property
    def identity(self) -> tuple[int, int]:
        """What must be the same when the block is packed again.

        The checksum covers the weights; their sum depends, in its last bits, on the order of the
        rows, which is not the same after every shuffle.
        """
        return self.rows, self.checksum

    @property
    def folder(self) -> str:
        """Where the files are, '' for rows in memory."""
        return "" if self.files is None else self.files.folder

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        if self.files is not None:
            return self.files.nbytes
        return self.block.nbytes if self.block is not None else 0


@dataclass(eq=False)
class Report:
    """What the driver learns of the rows while they are packed; merges over partitions.

    Attributes
    ----------
    problems : dict of str to int
        Counts of unusable rows, by the keys of `PROBLEMS`.
    examples : dict of str to str
        One offending value for each.
    shortest, longest : int
        Number of features of the shortest and of the longest row; -1 before the first.
    moments, label_moments : Moments or None
        Of the features, and of the labels as a single column.
    labels : dict of float to (int, float)
        Rows of positive weight, and their weight, of each class; empty for a regression.
    too_many_labels : bool
    label_means : list of (float, float)
        Weight and mean label of each partition: they show sorted rows.
    folds : list of Report
        Of the rows of each fold: lengths, moments and labels.
    origin : Origin or None
        What all these rows were packed less of; the driver knows.
    """

    problems: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    shortest: int = -1
    longest: int = -1
    moments: Moments | None = None
    label_moments: Moments | None = None
    labels: dict[float, tuple[int, float]] = field(default_factory=dict)
    too_many_labels: bool = False
    label_means: list[tuple[float, float]] = field(default_factory=list)
    handles: list[tuple[int, Handle]] = field(default_factory=list)
    folds: list["Report"] = field(default_factory=list)
    origin: Origin | None = None

    def merge(self, other: "Report") -> "Report":
        """Add the report of other partitions, in place."""
        for key, count in other.problems.items():
            self.problems[key] = self.problems.get(key, 0) + count
            self.examples.setdefault(key, other.examples.get(key, ""))
        if other.longest >= 0:
            self.see_lengths(other.shortest, other.longest)
        if self.shortest == self.longest:
            self.moments = _merge(self.moments, other.moments)
        self.label_moments = _merge(self.label_moments, other.label_moments)
        for label, (rows, weight) in other.labels.items():
            mine = self.labels.get(label, (0, 0.0))
            self.labels[label] = (mine[0] + rows, mine[1] + weight)
        self.too_many_labels |= other.too_many_labels or len(self.labels) > MAX_LABELS_COUNTED
        self.label_means += other.label_means
        if self.folds and other.folds:
            for fold, theirs in zip(self.folds, other.folds, strict=True):
                fold.merge(theirs)
        else:
            self.folds = self.folds or other.folds
        self.handles += other.handles
        self.origin = self.origin or other.origin
        return self

    def count(self, problem: str, rows: npt.NDArray[np.bool_], values: Any = None) -> None:
        """Count the rows that have a problem, and keep one value as an example."""
        number = int(np.count_nonzero(rows))
        if number:
            self.problems[problem] = self.problems.get(problem, 0) + number
            if values is not None:
                self.examples.setdefault(problem, str(float(values[rows][0])))

    def labels_of(self, column: pa.Array, task: Task) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Labels, and which of them are usable; the others are counted."""
        valid = _valid(column)
        self.count("null_labels", ~valid)
        y = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        finite = np.isfinite(y)
        self.count("bad_labels", valid & ~finite, y)
        usable = valid & finite
        if task == "regression":
            return y, usable
        if task == "binary":
            wrong = usable & (y != 0.0) & (y != 1.0)
        else:
            wrong = usable & ((y < 0.0) | (y != np.floor(y)))
        self.count("wrong_labels", wrong, y)
        return y, usable & ~wrong

    def weights_of(self, column: pa.Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Weights, and which of them are usable; the others are counted."""
        valid = _valid(column)
        self.count("null_weights", ~valid)
        weight = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        good = np.isfinite(weight) & (weight >= 0.0)
        self.count("bad_weights", valid & ~good, weight)
        return weight, valid & good

    def see_features(self, features: Features) -> None:
        """Count rows without features or with bad indices, and note the lengths of the others."""
        self.count("null_features", ~features.present)
        if features.bad_indices:
            self.problems["bad_indices"] = (
                self.problems.get("bad_indices", 0) + features.bad_indices
            )
        if features.longest or features.X is not None:
            self.see_lengths(features.shortest, features.longest)

    def see_lengths(self, shortest: int, longest: int) -> None:
        """Note the numbers of features of more rows."""
        self.shortest = shortest if self.shortest < 0 else min(self.shortest, shortest)
        self.longest = max(self.longest, longest)

    @property
    def usable(self) -> bool:
        """Whether all rows seen so far can be trained on."""
        return not self.problems and self.shortest == self.longest and not self.too_many_labels


def _merge(left: Moments | None, right: Moments | None) -> Moments | None:
    if left is None or right is None:
        return left if right is None else right
    return left.merge(right)


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
        If the rows do not fit the local disk.
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
        self._kept: list[Block] = []
        self._kept_bytes = 0
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
            features = to_features(batch.column(0), settings.dtype)
        else:
            features = to_features(batch.column(0), np.float64)
            if features.X is not None:
                X = settings.origin.subtract(features.X, settings.dtype)
                features = replace(features, X=X)
        report.see_features(features)
        usable &= features.present
        if features.X is None or not usable.all() or not report.usable:
            self._count_bad_features(features)
            return
        block = Block(features.X, y, weight, fold)
        if not isinstance(block.X, CsrRows):
            moments = Moments.of_rows(block.X, weight)
            if not _finite(moments) and self._count_bad_features(features):
                return
            report.moments = _merge(report.moments, moments)
        elif self._count_bad_features(features):
            return
        note_labels(report, y, weight, settings.task)
        self._keep(block)

    def finish(self) -> tuple[Handle, Report]:
        report = self._report
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
            if isinstance(mapped.X, CsrRows) and _rows_of(report.moments) < self._rows:
                report.moments = Moments.of_block(mapped)
        else:
            block = Block.concat(self._kept)
            if _rows_of(report.moments) < self._rows:
                report.moments = Moments.of_block(block)
        if report.label_moments is not None:
            mean = float(report.label_moments.mean()[0])
            report.label_means.append((self._weight, mean))
        return Handle(self._rows, self._weight, self._checksum, files, block), report

    def abort(self) -> None:
        self._kept.clear()
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

    def _keep(self, block: Block) -> None:
        place = self._rows if self._settings.ordered else None
        self._checksum = (self._checksum + _checksum(block, place)) % 2**64
        self._rows += block.rows
        self._weight += block.weight_sum
        if self._writer is None and self._kept_bytes + block.nbytes <= self._settings.inline_bytes:
            self._kept.append(block)
            self._kept_bytes += block.nbytes
            return
        if self._writer is None:
            if not self._settings.on_disk:
                raise DiskError(
                    "spark.io.encryption.enabled is set, so training rows may not be written to "
                    f"local disks, and these are more than {self._settings.inline_bytes:,} bytes "
                    "a partition, which is what is kept in memory: train with fewer rows, or "
                    "switch the encryption off and encrypt the disks instead"
                )
            settings = self._settings
            folder = fit_folder(local_folder(), settings.fit)
            self._writer = BlockWriter(
                folder, settings.dtype, settings.weighted, settings.folds > 0
            )
            for kept in self._kept:
                self._writer.append(kept)
            self._kept.clear()
        self._writer.append(block)


def note_labels(report: Report, y: Array, weight: Array | None, task: Task) -> None:
    """Add labels to a report: their moments, and where they are classes the count of each.

    Rows of weight 0 count for no class, as in MLlib: a class that has no others is not there.
    """
    report.label_moments = _merge(report.label_moments, Moments.of_rows(y[:, None], weight))
    if task == "regression":
        return
    if weight is not None:
        y, weight = y[weight > 0.0], weight[weight > 0.0]
    values, at = np.unique(y, return_inverse=True)
    rows = np.bincount(at)
    weights = rows if weight is None else np.bincount(at, weights=weight)
    part = Report(
        labels={
            float(value): (int(count), float(total))
            for value, count, total in zip(values, rows, weights, strict=True)
        }
    )
    report.merge(part)


def _valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    valid: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _finite(moments: Moments) -> bool:
    return bool(np.isfinite(moments.stored_mean).all() and np.isfinite(moments.stored_m2).all())


def _rows_of(moments: Moments | None) -> int:
    return 0 if moments is None else moments.rows


def _checksum(block: Block, place: int | None = None) -> int:
    """Sum of a hash of each row, the same for every order unless the first row has a place.

    Sparse and dense rows of the same values give the same sum. Rows are hashed whole, so that
    values which change places between rows, or ones of one-hot rows between columns, are seen.
    """
    X = block.X
    if isinstance(X, CsrRows):
        ends = np.zeros(len(X.data) + 1, dtype=np.uint64)
        np.cumsum(_spread(X.data) * _odd(X.indices), out=ends[1:])
        rows = ends[X.indptr[1:]] - ends[X.indptr[:-1]]
    else:
        odd = _odd(np.arange(block.features))
        rows = np.empty(block.rows, dtype=np.uint64)
        step = max(1, SPREAD_VALUES // max(1, block.features))
        for start in range(0, block.rows, step):
            rows[start : start + step] = _spread(X[start : start + step]) @ odd
    rows += _spread(block.y) * np.uint64(0x9E3779B97F4A7C15)
    if block.weight is not None:
        rows += _spread(block.weight) * np.uint64(0xC2B2AE3D27D4EB4F)
    if block.fold is not None:
        rows += block.fold.astype(np.uint64) * np.uint64(0x94D049BB133111EB)
    # without it the sum over the rows would be a sum over the columns
    rows ^= rows >> np.uint64(32)
    rows *= np.uint64(0xBF58476D1CE4E5B9)
    rows ^= rows >> np.uint64(29)
    if place is not None:
        rows *= _odd(np.arange(place, place + block.rows))
    return int(rows.sum(dtype=np.uint64))


def _spread(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The bits of numbers, also low ones: those of small whole numbers are all among the first."""
    bits = np.ascontiguousarray(values).view(np.dtype(f"u{values.itemsize}"))
    spread = bits.astype(np.uint64, copy=False) >> np.uint64(32)
    spread ^= bits
    return spread


def _odd(columns: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A random odd factor for each column: neighbours of a simple sequence add up to each other."""
    mixed = (columns.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ (mixed >> np.uint64(27))) | np.uint64(1)


def fit_folder(root: Path, fit: str) -> Path:
    """The folder that holds the blocks of a fit."""
    return root / f"sparkml_lsml-{fit}"


def local_folder() -> Path:
    """The executor's own local folder with the most free space.

    Spark deletes these folders when the executor ends, so nothing stays behind a crash.
    """
    folders = [Path(name) for name in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if name]
    if not folders:
        raise DiskError(
            "SPARK_LOCAL_DIRS is not set in the Python worker: expected Spark to name the "
            "executor's local folders there"
        )

    def free(folder: Path) -> int:
        stats = os.statvfs(folder)
        return stats.f_bavail * stats.f_frsize

    return max(folders, key=free)
