"""Blocks in files: written whole or not at all, private or encrypted, and mapped read-only."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows, Dense, as_csr
from sparkml_lsml.engine.blocks.disks import new_file, no_room, room
from sparkml_lsml.engine.blocks.sealing import Seal, SealedFile
from sparkml_lsml.engine.blocks.sharing import shared
from sparkml_lsml.errors import DiskError

DENSE_BYTES = 16_000_000
"""Dense rows that are turned into sparse ones at a time."""

ALIGNED = 64
"""Arrays in shared memory begin at multiples of this, as the widest registers like it."""


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
    seal : Seal or None
        What the files are encrypted with.
    """

    folder: str
    dtype: str
    rows: int
    features: int
    nonzeros: int
    weighted: bool
    folded: bool = False
    seal: Seal | None = None

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
        """Bytes of all arrays."""
        return sum(np.dtype(t).itemsize * length for t, length in self.arrays().values())

    def open(self) -> Block:
        """Map the block; an encrypted one is decrypted first, into memory that workers share.

        Raises
        ------
        FileNotFoundError
            If a file is missing, shorter than it was when it was written, or cannot be decrypted.
        DiskError
            If the address space of the process is too small for the mapping.
        """
        check_address_space(self.nbytes)
        if self.seal is None:
            arrays = {name: self._map(name, t, n) for name, (t, n) in self.arrays().items()}
        else:
            arrays = self._decrypted(self.seal)
        X: Dense | CsrRows
        if self.nonzeros >= 0:
            X = CsrRows(arrays["data"], arrays["indices"], arrays["indptr"], self.features)
        else:
            X = arrays["data"].reshape(self.rows, self.features)
        weights, folds = arrays.get("weights"), arrays.get("folds")
        return Block(X, arrays["labels"], weights, folds, self.folder, self.seal)

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

    def _decrypted(self, seal: Seal) -> dict[str, npt.NDArray[Any]]:
        starts: dict[str, int] = {}
        size = 0
        for name, (dtype, length) in self.arrays().items():
            starts[name] = size
            size += -(-np.dtype(dtype).itemsize * length // ALIGNED) * ALIGNED

        def pieces() -> Iterator[bytes]:
            for name, (dtype, length) in self.arrays().items():
                nbytes = np.dtype(dtype).itemsize * length
                yield from seal.opened(Path(self.folder) / name, name, nbytes)
                yield bytes(-nbytes % ALIGNED)

        memory = shared(Path(self.folder), size, pieces())
        found = {
            name: np.frombuffer(memory, dtype, length, starts[name])
            for name, (dtype, length) in self.arrays().items()
        }
        for array in found.values():
            array.flags.writeable = False
        return found

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
    seal : Seal or None
        What to encrypt the files with.
    reserve : float
        The part of the disk that has to stay free, see `room`.
    """

    def __init__(
        self,
        folder: Path,
        dtype: npt.DTypeLike,
        weighted: bool,
        folded: bool = False,
        seal: Seal | None = None,
        reserve: float = 0.0,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._parent = folder
        self._folder = folder / f"{uuid.uuid4().hex}.partial"
        self._folder.mkdir(mode=0o700)
        self._dtype = np.dtype(dtype)
        self._weighted = weighted
        self._folded = folded
        self._seal = seal
        self._reserve = reserve
        self._files: dict[str, IO[bytes] | SealedFile] = {}
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
            raise self._disk_error(0, self._room()) from error
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
            self._seal,
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
        self._files.pop("data").close()
        dense_path = (self._folder / "data").rename(self._folder / "dense")
        for rows in self._dense_rows(dense_path):
            piece = as_csr(rows)
            self._check_room(piece.nbytes)
            self._append_sparse(piece)
        dense_path.unlink()

    def _dense_rows(self, path: Path) -> Iterator[npt.NDArray[Any]]:
        """The rows written so far, some at a time."""
        row = self._features * self._dtype.itemsize
        if not row:
            yield np.zeros((self._rows, 0), dtype=self._dtype)
            return
        step = max(1, DENSE_BYTES // row)
        if self._seal is None:
            shape = (self._rows, self._features)
            dense = np.memmap(path, dtype=self._dtype, mode="r", shape=shape)
            for start in range(0, self._rows, step):
                yield np.asarray(dense[start : start + step])
            return
        waiting = bytearray()
        for chunk in self._seal.opened(path, "data", self._rows * row):
            waiting += chunk
            if len(waiting) >= step * row:
                whole = len(waiting) // row * row
                yield np.frombuffer(waiting[:whole], self._dtype).reshape(-1, self._features)
                del waiting[:whole]
        if waiting:
            yield np.frombuffer(waiting, self._dtype).reshape(-1, self._features)

    def _write(self, name: str, values: npt.NDArray[Any]) -> None:
        if name not in self._files:
            file = new_file(self._folder / name)
            self._files[name] = file if self._seal is None else SealedFile(file, self._seal, name)
        view = memoryview(np.ascontiguousarray(values).reshape(-1).data).cast("B")
        try:
            while len(view):  # an unbuffered write may take less than it was given
                view = view[self._files[name].write(view) :]
        except OSError as error:
            raise self._disk_error(len(view), self._room()) from error

    def _check_room(self, wanted: int) -> None:
        free, kept = found = self._room()
        if free < wanted + kept:
            # not what is free by now: other tasks come and go, and the two would not fit together
            raise self._disk_error(wanted, found)

    def _room(self) -> tuple[int, int]:
        return room(self._folder, self._reserve)

    def _disk_error(self, wanted: int, found: tuple[int, int]) -> DiskError:
        return no_room("training rows", self._parent, wanted, found, "use dtype='float32'")

    def _close(self) -> None:
        with contextlib.ExitStack() as files:  # closes all of them, also when one fails
            for file in self._files.values():
                files.callback(file.close)
            self._files.clear()


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
