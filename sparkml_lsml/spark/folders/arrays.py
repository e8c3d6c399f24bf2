"""The arrays of a saved folder: declared in its metadata, and stored in a Parquet file.

Everything here runs without Spark, and takes what somebody else may have written. A function
returns what is whole and consistent, or raises `PersistenceError`; what is declared is bounded, and
compared with what is stored, before anything of that size is allocated.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sparkml_lsml.errors import PersistenceError, shown

CHUNK = 1_000_000
"""Numbers in a row of the stored arrays; the last row of an array may have fewer."""
MAX_VALUES = 2**31
"""Numbers in all arrays of a model, at most: beyond it a saved shape is taken for damage."""
MAX_ARRAYS, MAX_DIMENSIONS = 16, 4

Array = npt.NDArray[np.float64]
Arrays = dict[str, Array]
Declared = dict[str, Any]
"""By the name of an array its ``shape`` and its ``sha256``."""

SCHEMA = "name string, chunk int, values array<double>"

_NAME = re.compile(r"[A-Za-z]\w{0,63}")
_COLUMNS = {"name": "BINARY", "chunk": "INT32", "values.list.element": "DOUBLE"}
_MAX_NAMES = 2**20
"""Bytes of the names of arrays in all rows of a file, at most."""


def declare(arrays: Arrays) -> Declared:
    """What metadata say of arrays."""
    return {
        name: {"shape": list(values.shape), "sha256": _digest(values)}
        for name, values in arrays.items()
    }


def chunks(arrays: Arrays) -> Iterator[tuple[str, int, Array]]:
    """Rows that hold the arrays: name, number of the chunk, numbers."""
    for name, values in arrays.items():
        flat = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
        for number, start in enumerate(range(0, max(len(flat), 1), CHUNK)):
            yield name, number, flat[start : start + CHUNK]


def write_arrays(arrays: Arrays, file: BinaryIO) -> None:
    """Write a file that `check_stored` and `join_chunks` accept."""
    values = pa.list_(pa.float64())
    schema = pa.schema([("name", pa.string()), ("chunk", pa.int32()), ("values", values)])
    # its form is pinned: other versions of PyArrow and of this package read it
    with pq.ParquetWriter(
        file,
        schema,
        version="1.0",
        data_page_version="1.0",
        compression="NONE",
        use_dictionary=False,
        use_compliant_nested_type=True,
        store_schema=False,
    ) as writer:
        for name, number, part in chunks(arrays):
            writer.write_batch(
                pa.record_batch(
                    [
                        pa.array([name], pa.string()),
                        pa.array([number], pa.int32()),
                        pa.ListArray.from_arrays([0, len(part)], pa.array(part)),
                    ],
                    schema=schema,
                )
            )


@dataclass(frozen=True)
class StoredColumn:
    """A column of a row group, as the footer of a Parquet file has it.

    Attributes
    ----------
    path, kind, codec : str
        Such as ``values.list.element``, ``DOUBLE`` and ``UNCOMPRESSED``.
    rows, values, nbytes : int
        A list has a value for each of its numbers, or one if it is empty or null.
    inside : bool
        Whether its bytes lie within the file.
    """

    path: str
    kind: str
    codec: str
    rows: int
    values: int
    nbytes: int
    inside: bool


def check_stored(columns: Sequence[StoredColumn], declared: Declared) -> None:
    """Compare what a file says of its rows with the declared shapes, before they are read.

    Pages must not be compressed, and hold each number by itself and not in a dictionary, so that
    nothing is larger in memory than on the disk.

    Raises
    ------
    PersistenceError
        If the file has another schema, another size, or is compressed.
    """
    groups = max(1, sum(column.path == "name" for column in columns))
    found = sorted((column.path, column.kind) for column in columns)
    if found != sorted([*_COLUMNS.items()] * groups):
        raise PersistenceError(
            f"has the columns {shown([*dict.fromkeys(found)])}, expected {SCHEMA}: the folder is "
            "damaged"
        )
    codecs = {column.codec for column in columns} - {"UNCOMPRESSED"}
    if codecs:
        raise PersistenceError(f"is compressed ({shown(sorted(codecs))}), expected plain pages")
    sizes = _expected(declared).values()
    wanted = {"rows": len(sizes), "numbers": sum(max(size, 1) for size in sizes)}
    names = [column for column in columns if column.path == "name"]
    numbers = [column for column in columns if column.path == "values.list.element"]
    stored = {
        "rows": sum(column.rows for column in names),
        "numbers": sum(column.values for column in numbers),
    }
    if stored != wanted:
        raise PersistenceError(f"holds {stored}, expected {wanted}: the folder is damaged")
    least = 8 * sum(sizes)
    if (nbytes := sum(column.nbytes for column in numbers)) < least:
        raise PersistenceError(
            f"holds {wanted['numbers']:,} numbers in {nbytes:,} bytes, expected {least:,} or more: "
            "each by itself, none in a dictionary"
        )
    if not all(column.inside for column in columns) or sum(c.nbytes for c in names) > _MAX_NAMES:
        raise PersistenceError("has columns of an impossible length: the folder is damaged")


def join_chunks(rows: Iterable[Sequence[Any]], declared: Declared) -> Arrays:
    """The arrays that are stored in rows of (name, chunk, numbers), in any order.

    Parameters
    ----------
    rows : iterable
        Of a file that `check_stored` has accepted.
    declared : dict
        From metadata that `from_line` has checked.

    Raises
    ------
    PersistenceError
        If they are other arrays than declared, in any bit.
    """
    expected = _expected(declared)
    sizes = {name: math.prod(entry["shape"]) for name, entry in declared.items()}
    arrays = {name: np.empty(size) for name, size in sizes.items()}
    for name, chunk, values in rows:
        size = expected.pop((name, chunk), None)
        if size is None:
            raise PersistenceError(
                f"has a chunk {shown(chunk)} of an array {shown(name)}, which is not expected or "
                "there twice: the folder is damaged"
            )
        if values is None or len(values) != size:
            raise PersistenceError(
                f"has {'no' if values is None else len(values)} numbers in chunk {chunk} of array "
                f"'{name}', expected {size}: the folder is damaged"
            )
        # a null becomes NaN
        part = np.asarray(values, dtype=np.float64)
        if np.isnan(part).any():
            raise PersistenceError(f"has an array '{name}' that holds NaN: the folder is damaged")
        arrays[name][chunk * CHUNK : chunk * CHUNK + size] = part
    if expected:
        raise PersistenceError(f"lacks the rows {shown([*expected])}: the folder is damaged")
    for name, array in arrays.items():
        if (found := _digest(array)) != declared[name]["sha256"]:
            raise PersistenceError(
                f"has an array '{name}' of SHA-256 {found}, expected "
                f"{shown(declared[name]['sha256'])}: the folder is damaged"
            )
    return {name: array.reshape(declared[name]["shape"]) for name, array in arrays.items()}


def _expected(declared: Declared) -> dict[tuple[str, int], int]:
    """How many numbers each row has, by array and chunk."""
    return {
        (name, start // CHUNK): min(CHUNK, size - start)
        for name, entry in declared.items()
        for size in [math.prod(entry["shape"])]
        for start in range(0, max(size, 1), CHUNK)
    }


def check_declared(declared: Declared) -> None:
    """Refuse names, shapes and sizes that no array of a model has, before anything is allocated.

    Raises
    ------
    PersistenceError
    """
    total = 0
    if len(declared) > MAX_ARRAYS:
        raise PersistenceError(f"names {len(declared):,} arrays, expected at most {MAX_ARRAYS}")
    for name, entry in declared.items():
        if not _NAME.fullmatch(name):
            raise PersistenceError(f"has an array named {shown(name)}: the folder is damaged")
        if not isinstance(entry, dict) or entry.keys() != {"shape", "sha256"}:
            raise PersistenceError(
                f"says {shown(entry)} of array '{name}', expected its shape and its sha256"
            )
        shape = entry["shape"]
        good = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS
        good = good and all(type(n) is int and 0 <= n <= MAX_VALUES for n in shape)
        total += math.prod(shape) if good else 0
        if not good or total > MAX_VALUES:
            raise PersistenceError(
                f"has an array '{name}' of the impossible shape {shown(shape)}: expected at most "
                f"{MAX_VALUES:,} numbers together"
            )


def _digest(values: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f8").data).hexdigest()
