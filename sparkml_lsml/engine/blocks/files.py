"""Blocks in files: written whole or not at all, private, and mapped read-only."""

import contextlib
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Dense, as_csr
from sparkml_lsml.errors import DiskError

FREE_SPACE_KEPT = 64 * 2**20
"""Bytes that a block leaves free on the disk: Spark needs them for its own shuffle files."""


@dataclass(frozen=True)
class BlockFiles:
    """Where the arrays of a block lie, and what they must look like.

    Parameters
    ----------
    folder : str
        One file an array: ``data``, ``labels``, and where there are any ``weights``, ``folds``,
        ``indices`` and ``indptr``.
    dtype : str
        Type of the feature values.
    rows, features, nonzeros : int
        ``nonzeros`` is -1 for dense rows.
    weighted, folded : bool
    """

    folder: str
    dtype: str
    rows: int
    features: int
    nonzeros: int
    weighted: bool
    folded: bool = False

    def arrays(self) -> dict[str, tuple[str, int]]:
        """Type and length of each array."""
        sparse = self.nonzeros >= 0
        out = {
            "data": (self.dtype, self.nonzeros if sparse else self.rows * self.features),
            "labels": ("float64", self.rows),
        }
        if sparse:
            out["indices"] = ("int32", self.nonzeros)
            out["indptr"] = ("int64", self.rows + 1)
        if self.weighted:
            out["weights"] = ("float64", self.rows)
        if self.folded:
            out["folds"] = ("int32", self.rows)
        return out

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(np.dtype(t).itemsize * length for t, length in self.arrays().values())

    def open(self) -> Block:
        """Map the block.

        Raises
        ------
        FileNotFoundError
            If a file is missing or shorter than it was when it was written.
        DiskError
            If the address space of the process is too small for the mapping.
        """
        check_address_space(self.nbytes)
        arrays = {name: self._map(name, t, n) for name, (t, n) in self.arrays().items()}
        X: Dense | CsrRows
        if self.nonzeros >= 0:
            X = CsrRows(arrays["data"], arrays["indices"], arrays["indptr"], self.features)
        else:
            X = arrays["data"].reshape(self.rows, self.features)
        return Block(X, arrays["labels"], arrays.get("weights"), arrays.get("folds"), self.folder)

    def _map(self, name: str, dtype: str, length: int) -> npt.NDArray[Any]:
        path = Path(self.folder) / name
        expected = np.dtype(dtype).itemsize * length
        # a mapping past the end of a file ends the process with SIGBUS: look first
        if path.stat().st_size != expected:
            raise FileNotFoundError(f"{path} has {path.stat().st_size} bytes, expected {expected}")
        if length == 0:
            return np.zeros(0, dtype=dtype)
        mapped = np.memmap(path, dtype=dtype, mode="r", shape=(length,))
        return mapped.view(np.ndarray)

    def delete(self) -> None:
        """Remove the files, and the folder of the fit when this was its last block."""
        shutil.rmtree(self.folder, ignore_errors=True)
        remove_if_empty(Path(self.folder).parent)


class BlockWriter:
    """Writes one block piece by piece, in bounded memory.

    The block is dense until the first sparse piece arrives; then what was written is turned into
    sparse rows once, and dense pieces are taken as sparse ones from then on.

    Parameters
    ----------
    folder : Path
        Folder of the fit; it is made with mode 0700.
    dtype : float64 or float32
    weighted, folded : bool
    """

    def __init__(
        self, folder: Path, dtype: npt.DTypeLike, weighted: bool, folded: bool = False
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._parent = folder
        self._folder = folder / f"{uuid.uuid4().hex}.partial"
        self._folder.mkdir(mode=0o700)
        self._dtype = np.dtype(dtype)
        self._weighted = weighted
        self._folded = folded
        self._files: dict[str, IO[bytes]] = {}
        self._sparse = False
        self._rows = 0
        self._features = 0
        self._nonzeros = 0

    def append(self, block: Block) -> None:
        """Write the rows of ``block`` behind those written so far.

        Raises
        ------
        DiskError
            If the disk has no room for them.
        """
        X = block.X
        self._check_room(block.nbytes)
        self._features = block.features
        if isinstance(X, CsrRows) and not self._sparse:
            self._become_sparse()
        if self._sparse:
            self._append_sparse(as_csr(X))
        else:
            self._write("data", np.asarray(X, dtype=self._dtype))
        self._write("labels", block.y)
        if self._weighted:
            self._write("weights", np.ones(block.rows) if block.weight is None else block.weight)
        if self._folded:
            assert block.fold is not None
            self._write("folds", block.fold)
        self._rows += block.rows

    def finish(self) -> BlockFiles:
        """Close the files and give the block its final name.

        They are not flushed to the disk: nobody reads them after a crash of the machine, and the
        page cache, which everybody reads, has them already.
        """
        try:
            self._close()
        except OSError as error:  # where some file systems, networked ones, report a full disk
            raise self._disk_error(0, self._free()) from error
        final = self._folder.with_suffix("")
        self._folder.rename(final)
        return BlockFiles(
            str(final),
            self._dtype.name,
            self._rows,
            self._features,
            self._nonzeros if self._sparse else -1,
            self._weighted,
            self._folded,
        )

    def abort(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            self._close()
        shutil.rmtree(self._folder, ignore_errors=True)
        remove_if_empty(self._parent)

    def _append_sparse(self, X: CsrRows) -> None:
        self._write("data", np.asarray(X.data, dtype=self._dtype))
        self._write("indices", np.asarray(X.indices, dtype=np.int32))
        if "indptr" not in self._files:
            self._write("indptr", np.zeros(1, dtype=np.int64))
        self._write("indptr", np.asarray(X.indptr[1:] - X.indptr[0] + self._nonzeros))
        self._nonzeros += len(X.data)

    def _become_sparse(self) -> None:
        self._sparse = True
        if self._rows == 0:
            return
        file = self._files.pop("data")
        file.close()
        dense_path = (self._folder / "data").rename(self._folder / "dense")
        shape = (self._rows, self._features)
        dense = np.memmap(dense_path, dtype=self._dtype, mode="r", shape=shape)
        step = max(1, 16_000_000 // max(1, self._features * self._dtype.itemsize))
        for start in range(0, self._rows, step):
            piece = as_csr(np.asarray(dense[start : start + step]))
            self._check_room(piece.nbytes)
            self._append_sparse(piece)
        del dense
        dense_path.unlink()

    def _write(self, name: str, values: npt.NDArray[Any]) -> None:
        if name not in self._files:
            handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._files[name] = os.fdopen(handle, "wb", buffering=0)
        view = memoryview(np.ascontiguousarray(values).reshape(-1).data).cast("B")
        try:
            while len(view):  # an unbuffered write may take less than it was given
                view = view[self._files[name].write(view) :]
        except OSError as error:
            raise self._disk_error(len(view), self._free()) from error

    def _check_room(self, wanted: int) -> None:
        free = self._free()
        if free < wanted + FREE_SPACE_KEPT:
            # not what is free by now: other tasks come and go, and the two would not fit together
            raise self._disk_error(wanted, free)

    def _free(self) -> int:
        return shutil.disk_usage(self._folder).free

    def _disk_error(self, wanted: int, free: int) -> DiskError:
        return no_room("training rows", self._parent, wanted, free, "use dtype='float32'")

    def _close(self) -> None:
        with contextlib.ExitStack() as files:  # closes all of them, also when one fails
            for file in self._files.values():
                files.callback(file.close)
            self._files.clear()


def no_room(what: str, folder: Path, wanted: int, free: int, otherwise: str) -> DiskError:
    """The error about a disk that cannot take so many bytes more, and what may be done."""
    return DiskError(
        f"no room for {what} in {folder}: {wanted:,} more bytes are needed, {free:,} are free and "
        f"{FREE_SPACE_KEPT:,} of them are kept for Spark. Free disk space, name a larger folder in "
        f"spark.local.dir, or {otherwise}"
    )


def check_address_space(wanted: int) -> None:
    """Raise `DiskError` if a mapping of ``wanted`` bytes exceeds the limit of the process."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # no such limits, or no /proc, on this system
        return
    if used + wanted > limit:
        raise DiskError(
            f"a block of {wanted:,} bytes cannot be mapped: the process uses {used:,} of its "
            f"address space of {limit:,} bytes. Raise spark.executor.pyspark.memory, which sets "
            "that limit and counts mapped files, or use more partitions"
        )


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless something is in it."""
    try:
        folder.rmdir()
    except OSError:
        return


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
