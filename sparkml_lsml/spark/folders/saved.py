"""What a saved folder says: its metadata and its arrays, written and checked without Spark.

Everything here takes bytes that somebody else may have written. A function returns what is whole
and consistent, or raises `PersistenceError`; what is declared is bounded, and compared with what is
stored, before anything of that size is allocated.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sparkml_lsml.errors import PersistenceError

FORMAT_VERSION = 1
CHUNK = 1_000_000
"""Numbers in a row of the stored arrays; the last row of an array may have fewer."""
MAX_VALUES = 2**31
"""Numbers in all arrays of a model, at most: beyond it a saved shape is taken for damage."""
MAX_METADATA = 2**24
"""Bytes of metadata, at most."""
MAX_ARRAYS, MAX_DIMENSIONS = 16, 4

Array = npt.NDArray[np.float64]
Arrays = dict[str, Array]
Declared = dict[str, Any]
"""By the name of an array its ``shape`` and its ``sha256``."""

SCHEMA = "name string, chunk int, values array<double>"

_KEYS: dict[str, type[Any]] = {
    "class": str,
    "timestamp": int,
    "sparkVersion": str,
    "uid": str,
    "paramMap": dict,
    "defaultParamMap": dict,
    "formatVersion": int,
    "arrays": dict,
    "facts": dict,
    "checksum": str,
}
_UID = re.compile(r"[^/\\\x00-\x1f\x7f]{1,256}")
_NAME = re.compile(r"[A-Za-z]\w{0,63}")
_COLUMNS = {"name": "BINARY", "chunk": "INT32", "values.list.element": "DOUBLE"}
_MAX_NAMES = 2**20
"""Bytes of the names of arrays in all rows of a file, at most."""


def shown(value: Any) -> str:
    """Something that was read, as an error may quote it: on one line, and short."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}... ({len(text):,} characters)"


def hidden(name: str) -> bool:
    """Whether Spark passes over a file or folder of this name when it reads the one above it.

    ``_x=1`` is not: a partition, whose files are then all that is read. Nor is ``_metadata``. What
    is checked has to be what Spark reads.
    """
    seen = "=" in name or name.startswith(("_metadata", "_common_metadata"))
    return name.startswith(".") or (name.startswith("_") and not seen)


# ---------------------------------------------------- metadata


def to_json(metadata: dict[str, Any]) -> str:
    """A line of metadata, with its checksum, that `from_json` accepts.

    Raises
    ------
    PersistenceError
        If something in it could not be loaded again, such as a Param that is NaN.
    """
    try:
        line = json.dumps(metadata | {"checksum": checksum(metadata)})
    except (TypeError, ValueError) as error:
        raise PersistenceError(f"the metadata are not plain values: {error}") from error
    from_json(line.encode(), metadata["class"])
    return line


def from_json(data: bytes, expected: str) -> dict[str, Any]:
    """Metadata of a saved estimator or model, checked.

    Parameters
    ----------
    data : bytes
    expected : str
        The class to load, with its module.

    Raises
    ------
    PersistenceError
        If the metadata are those of another class, of a newer format, or damaged.
    """
    metadata = parse(data)
    if metadata.get("class") != expected:
        raise PersistenceError(
            f"holds the class {shown(metadata.get('class'))}, expected a {expected}: load it with "
            "the class that saved it"
        )
    version = metadata.get("formatVersion")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise PersistenceError(
            f"has format version {shown(version)}, this package reads up to {FORMAT_VERSION}: "
            "install a newer sparkml_lsml"
        )
    if odd := sorted(metadata.keys() ^ _KEYS.keys()):
        raise PersistenceError(
            f"lacks, or has beyond those known, the keys {shown(odd)}: expected {', '.join(_KEYS)}"
        )
    for key, kind in _KEYS.items():
        if type(metadata[key]) is not kind:
            raise PersistenceError(
                f"has {shown(metadata[key])} under {key}, expected a JSON value of type "
                f"{kind.__name__}: the folder is damaged"
            )
    found = checksum({key: value for key, value in metadata.items() if key != "checksum"})
    if metadata["checksum"] != found:
        raise PersistenceError(
            f"has the checksum {shown(metadata['checksum'])}, expected {found}: it was changed "
            "after it was saved. To change a Param, load, set it and save"
        )
    check_uid(metadata["uid"])
    _check_declared(metadata["arrays"])
    return metadata


def check_uid(uid: Any) -> None:
    """Refuse what is no uid: it becomes part of a path.

    Raises
    ------
    PersistenceError
        If it is not a short string without slashes.
    """
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise PersistenceError(f"has the uid {shown(uid)}, expected a short name without slashes")


def parse(data: bytes) -> dict[str, Any]:
    """One line of JSON, read strictly: no key twice, no NaN, no number that a float cannot hold.

    Raises
    ------
    PersistenceError
        If it is something else, or longer than `MAX_METADATA`.
    """
    if len(data) > MAX_METADATA:
        raise PersistenceError(
            f"is longer than {MAX_METADATA:,} bytes: these are no metadata of a model"
        )
    if data.rstrip().count(b"\n"):
        raise PersistenceError("has several lines, expected one line of JSON")
    try:
        found = json.loads(
            data.decode(),
            object_pairs_hook=_without_twins,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PersistenceError(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise PersistenceError(f"holds {shown(found)}, expected an object of JSON")
    return found


def checksum(metadata: dict[str, Any]) -> str:
    """SHA-256 of metadata. It finds damage; it is no signature."""
    try:
        canonical = json.dumps(metadata, sort_keys=True, separators=(",", ":"))
    except RecursionError as error:
        raise PersistenceError("is nested too deep") from error
    return hashlib.sha256(canonical.encode()).hexdigest()


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twin = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise PersistenceError(f"has the key {shown(twin)} twice")
    return found


def _constant(name: str) -> float:
    if name == "NaN":
        raise PersistenceError("holds NaN, expected numbers")
    return float(name)


def _float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise PersistenceError(f"holds the number {shown(text)}, which is too large")
    return value


def _int(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise PersistenceError(f"holds the integer {shown(text)}, which is too large")
    return value


# ---------------------------------------------------- arrays


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
    """Write a file that `check_stored` and `join` accept."""
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


def join(rows: Iterable[Sequence[Any]], declared: Declared) -> Arrays:
    """The arrays that are stored in rows of (name, chunk, numbers), in any order.

    Parameters
    ----------
    rows : iterable
        Of a file that `check_stored` has accepted.
    declared : dict
        From metadata that `from_json` has checked.

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


def _check_declared(declared: Declared) -> None:
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
