"""The metadata of a saved folder: one line of JSON, written and checked without Spark.

It may have been written by somebody else: a function returns what is whole and consistent, or
raises `PersistenceError`.
"""

import hashlib
import json
import math
import re
from typing import Any

from sparkml_lsml.errors import PersistenceError, shown
from sparkml_lsml.spark.folders import arrays, tables

FORMAT_VERSION = 2
"""The newest. Folders without tables are of format 1, which older versions of this package read."""
MAX_METADATA = 2**24
"""Bytes of metadata, at most."""

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


def to_line(metadata: dict[str, Any]) -> str:
    """A line of metadata, with its checksum, that `from_line` accepts.

    Raises
    ------
    PersistenceError
        If something in it could not be loaded again, such as a Param that is NaN.
    """
    try:
        line = json.dumps(metadata | {"checksum": checksum(metadata)})
    except (TypeError, ValueError) as error:
        raise PersistenceError(f"the metadata are not plain values: {error}") from error
    from_line(line.encode(), metadata["class"])
    return line


def from_line(data: bytes, expected: str) -> dict[str, Any]:
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
    keys: dict[str, type[Any]] = _KEYS if version == 1 else {**_KEYS, "tables": dict}
    if odd := sorted(metadata.keys() ^ keys.keys()):
        raise PersistenceError(
            f"lacks, or has beyond those known, the keys {shown(odd)}: expected {', '.join(keys)}"
        )
    for key, kind in keys.items():
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
    arrays.check_declared(metadata["arrays"])
    tables.check_declared(metadata.get("tables", {}))
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
