"""What a saved folder holds: every part of it, read strictly, for `show`.

A local folder is read without Spark, in a process of its own, since PyArrow can abort the process
on a damaged file; any other path through Spark. No class that a folder names is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sparkml_lsml.errors import PersistenceError, SparkMLError, shown, without_secrets
from sparkml_lsml.spark.folders.arrays import (
    Arrays,
    Declared,
    StoredColumn,
    check_stored,
    join_chunks,
)
from sparkml_lsml.spark.folders.metadata import MAX_METADATA, from_line, parse
from sparkml_lsml.spark.folders.pathtext import hidden

OURS = "sparkml_lsml."
_HIDDEN = {"stageUids", "language", "estimatorParamMaps"}
_PARQUET_TYPES = {"BYTE_ARRAY": "BINARY"}
"""PyArrow's names of types, where Parquet's own library has others."""
MAX_PARTS = 10_000


@dataclass(frozen=True)
class Weights:
    """The coefficients of a linear model.

    Attributes
    ----------
    outputs, features, nonzero
        Their shape, and how many are not 0.
    largest
        The features with the largest coefficients of any output, the largest first.
    coefficients
        Of those features, for each output.
    intercepts
        One for each output.
    """

    outputs: int
    features: int
    nonzero: int
    largest: list[int]
    coefficients: list[list[float]]
    intercepts: list[float]


@dataclass(frozen=True)
class Part:
    """One saved estimator, transformer or model.

    Attributes
    ----------
    place
        Its folder within the one that was asked for; empty for that one itself.
    metadata
        As they are in the folder.
    arrays
        Shape of each array by its name; empty for classes that are not of this package.
    nbytes
        Of the arrays.
    weights
        None where there are no coefficients.
    tables
        Schema, rows and checksum of each table, which executors alone read, by its name.
    """

    place: str
    metadata: dict[str, Any]
    arrays: dict[str, list[int]] = field(default_factory=dict)
    nbytes: int = 0
    weights: Weights | None = None
    tables: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class, with its module."""
        return str(self.metadata.get("class"))

    @property
    def params(self) -> dict[str, Any]:
        """The Params that are set to something else than their defaults."""
        given, defaults = (
            found if isinstance(found := self.metadata.get(key), dict) else {}
            for key in ("paramMap", "defaultParamMap")
        )
        return {
            name: value
            for name, value in given.items()
            if name not in _HIDDEN and (name not in defaults or defaults[name] != value)
        }

    def value(self, param: str) -> Any:
        """The value of a Param, be it a default."""
        for key in ("paramMap", "defaultParamMap"):
            found = self.metadata.get(key)
            if isinstance(found, dict) and param in found:
                return found[param]
        return None


class Folder(Protocol):
    """Where a saved folder is read from."""

    def parts(self) -> list[str]:
        """Places of all folders with metadata at or below this one."""

    def metadata(self, place: str) -> bytes:
        """The metadata of a part, unchecked."""

    def arrays(self, place: str, declared: Declared) -> Arrays:
        """The arrays of a part, checked."""


def read(path: str, top: int) -> list[Part]:
    """Read a saved folder.

    Parameters
    ----------
    path
        On any file system that Hadoop knows; a local one is read without Spark.
    top
        How many features to name.

    Raises
    ------
    PersistenceError
        If there is no saved folder, or something in it is damaged.
    """
    local = _local(path)
    if local is None:
        from sparkml_lsml.cli.hadoop import open_folder

        return inspect(open_folder(path), without_secrets(path), top)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_inspect_local, local, path, top).result()
    except BrokenProcessPool:
        raise PersistenceError(f"{path} cannot be read by PyArrow: it is damaged") from None


def _local(path: str) -> Path | None:
    """The path on this machine; None if it names another file system."""
    parts = urlsplit(path)
    if len(parts.scheme) < 2:
        return Path(path)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _inspect_local(folder: Path, path: str, top: int) -> list[Part]:
    return inspect(LocalFolder(folder), path, top)


def inspect(folder: Folder, path: str, top: int) -> list[Part]:
    """Read all parts of a folder, the folder itself first; see `read`."""
    places = folder.parts()
    if "" not in places:
        raise PersistenceError(
            f"{path} holds no metadata, and so no saved model: expected a folder that a save wrote"
        )
    if len(places) > MAX_PARTS:
        raise PersistenceError(
            f"{path} holds {len(places):,} parts, expected at most {MAX_PARTS:,}"
        )
    return [_part(folder, place, path, top) for place in sorted(places, key=_natural)]


def _natural(place: str) -> list[tuple[int, str]]:
    """Orders ``model_10`` behind ``model_2``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", place)]


def _part(folder: Folder, place: str, path: str, top: int) -> Part:
    here = "/".join(filter(None, (path.rstrip("/"), place)))
    try:
        data = folder.metadata(place)
        metadata = parse(data)
        name = metadata.get("class")
        if not isinstance(name, str):
            raise PersistenceError(f"has the class {shown(name)}, expected a text")
        if not (name.startswith(OURS) and "formatVersion" in metadata):
            return Part(place, metadata)  # MLlib's, or a search or one-vs-rest model of ours
        metadata = from_line(data, name)
        arrays = folder.arrays(place, metadata["arrays"]) if metadata["arrays"] else {}
    except SparkMLError as error:
        told = str(error)
        raise PersistenceError(told if here in told else f"{here} {told}") from error
    except (OSError, pa.ArrowException, ValueError) as error:
        raise PersistenceError(f"{here} cannot be read: {error}") from error
    return Part(
        place,
        metadata,
        {key: [*values.shape] for key, values in arrays.items()},
        sum(values.nbytes for values in arrays.values()),
        weights_of(arrays, top),
        metadata.get("tables", {}),
    )


def weights_of(arrays: Arrays, top: int) -> Weights | None:
    """The largest coefficients of a model.

    Examples
    --------
    >>> arrays = {"coefficients": np.array([[0.0, -3.0, 2.0]]), "intercepts": np.array([1.0])}
    >>> weights_of(arrays, 2).largest
    [1, 2]
    """
    coefficients, intercepts = arrays.get("coefficients"), arrays.get("intercepts")
    if coefficients is None or coefficients.ndim != 2 or intercepts is None:
        return None
    size = np.abs(coefficients).max(axis=0, initial=0.0)
    order = np.argsort(-size, kind="stable")[:top]
    order = order[size[order] > 0.0]
    return Weights(
        outputs=coefficients.shape[0],
        features=coefficients.shape[1],
        nonzero=int(np.count_nonzero(coefficients)),
        largest=order.tolist(),
        coefficients=coefficients[:, order].tolist(),
        intercepts=intercepts.reshape(-1).tolist(),
    )


class LocalFolder:
    """A folder on this machine, read by Python and PyArrow."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def parts(self) -> list[str]:
        """Places of all folders with metadata at or below this one."""
        found = (path.parent.relative_to(self._root) for path in self._root.rglob("metadata"))
        return ["" if place == Path() else place.as_posix() for place in found]

    def metadata(self, place: str) -> bytes:
        """The metadata of a part, unchecked, and no more of them than may be there."""
        with self._only_file(place, "metadata").open("rb") as file:
            return file.read(MAX_METADATA + 1)

    def arrays(self, place: str, declared: Declared) -> Arrays:
        """The arrays of a part, checked."""
        path = self._only_file(place, "data")
        length = path.stat().st_size
        with pq.ParquetFile(path) as file:
            check_stored([*_columns(file.metadata, length)], declared)
            return join_chunks(_rows(file), declared)

    def _only_file(self, place: str, name: str) -> Path:
        folder = self._root / place / name
        if not folder.is_dir():
            raise PersistenceError(f"has no folder {name}: it is damaged, or no saved model")
        found = [path for path in folder.iterdir() if not hidden(path.name)]
        if len(found) != 1 or not found[0].is_file():
            raise PersistenceError(
                f"holds {len(found)} files in {name}, expected one: the folder is damaged"
            )
        return found[0]


def _columns(footer: Any, length: int) -> Iterator[StoredColumn]:
    for group in range(footer.num_row_groups):
        rows = footer.row_group(group)
        for number in range(rows.num_columns):
            column = rows.column(number)
            start = column.dictionary_page_offset or column.data_page_offset
            kind = column.physical_type
            yield StoredColumn(
                path=column.path_in_schema,
                kind=_PARQUET_TYPES.get(kind, kind),
                codec=column.compression,
                rows=rows.num_rows,
                values=column.num_values,
                nbytes=column.total_compressed_size,
                inside=0 <= start <= length - column.total_compressed_size,
            )


def _rows(file: Any) -> Iterator[tuple[Any, Any, Any]]:
    for batch in file.iter_batches(batch_size=1):
        for row in range(batch.num_rows):
            values = batch.column("values")[row].values
            yield (
                batch.column("name")[row].as_py(),
                batch.column("chunk")[row].as_py(),
                None if values is None else values.to_numpy(zero_copy_only=False),
            )
