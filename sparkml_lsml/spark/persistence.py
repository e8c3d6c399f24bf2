"""Saving and loading of estimators and models, without pickles and without foreign imports.

A saved folder holds ``metadata/`` with one line of JSON, in the form that Spark's pipelines read,
and for a model ``data/`` with its arrays as Parquet rows (name, chunk, values). The metadata is
written last, and the folder is renamed into place as a whole.
"""

import json
import math
import time
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyspark
from pyspark.ml.linalg import Matrix, Vector
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import SparkSession

from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.spark.matrices import from_json, to_json
from sparkml_lsml.spark.paths import exists, whole

FORMAT_VERSION = 1
CHUNK = 1_000_000
MAX_VALUES = 2**31
"""Numbers in an array, at most: beyond it a saved shape is taken for damage."""

Arrays = dict[str, npt.NDArray[np.float64]]
Owner = TypeVar("Owner", bound="SafeReadWrite")

SCHEMA = "name string, chunk int, values array<double>"


class SafeWriter(MLWriter):
    """Writer of an estimator or a model.

    Parameters
    ----------
    instance : Params
        With ``_saved_arrays() -> dict`` and ``_saved_facts() -> dict`` where it has any.
    """

    def __init__(self, instance: Any) -> None:
        super().__init__()
        self._instance = instance

    def save(self, path: str) -> None:
        """Save to a path on any Hadoop file system.

        Raises
        ------
        FileExistsError
            If there is something at the path and `overwrite` was not called.
        """
        with whole(self.sparkSession, path, self.shouldOverwrite) as sibling:
            self.saveImpl(sibling)

    def saveImpl(self, path: str) -> None:
        """Write arrays, then metadata, into an empty folder."""
        spark: SparkSession = self.sparkSession
        instance = self._instance
        arrays: Arrays = instance._saved_arrays() if hasattr(instance, "_saved_arrays") else {}
        facts = instance._saved_facts() if hasattr(instance, "_saved_facts") else {}
        if arrays:
            rows = [
                (name, chunk, flat[start : start + CHUNK].tolist())
                for name, values in arrays.items()
                for flat in [np.ascontiguousarray(values, dtype=np.float64).reshape(-1)]
                for chunk, start in enumerate(range(0, max(len(flat), 1), CHUNK))
            ]
            frame = spark.createDataFrame(rows, SCHEMA)
            frame.coalesce(1).write.parquet(f"{path}/data")
        metadata = {
            "class": f"{type(instance).__module__}.{type(instance).__name__}",
            "timestamp": int(time.time() * 1000),
            "sparkVersion": pyspark.__version__,
            "uid": instance.uid,
            "paramMap": {p.name: _plain(v) for p, v in instance._paramMap.items()},
            "defaultParamMap": {p.name: _plain(v) for p, v in instance._defaultParamMap.items()},
            "formatVersion": FORMAT_VERSION,
            "arrays": {name: list(values.shape) for name, values in arrays.items()},
            "facts": facts,
        }
        line = spark.createDataFrame([(json.dumps(metadata),)], "value string")
        line.coalesce(1).write.text(f"{path}/metadata")


def _plain(value: Any) -> Any:
    """A Param's value as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, float | int | str | bool | list) or value is None:
        return value
    if isinstance(value, Vector | Matrix):
        return to_json(value)
    raise PersistenceError(
        f"a Param holds a {type(value).__name__}, which cannot be saved: expected a number, a "
        "string, a list, a vector or a matrix"
    )


class SafeReader(MLReader[Owner], Generic[Owner]):
    """Reader of the class that the caller named, and of no other.

    Parameters
    ----------
    owner : type
        The class to load.
    """

    def __init__(self, owner: type[Owner]) -> None:
        super().__init__()
        self._owner = owner

    def load(self, path: str) -> Owner:
        """Load from a path.

        Raises
        ------
        PersistenceError
            If the folder holds another class, a newer format, unknown Params, or damaged arrays.
        """
        spark: SparkSession = self.sparkSession
        metadata = self._metadata(spark, path)
        arrays = _read_arrays(spark, path, metadata.get("arrays", {}))
        owner: Any = self._owner
        if arrays or hasattr(owner, "_from_saved"):
            try:
                instance = owner._from_saved(arrays, metadata.get("facts", {}))
            except (KeyError, TypeError, ValueError) as error:
                raise PersistenceError(
                    f"{path} holds no {self._owner.__name__}: {error!r}: the folder is damaged"
                ) from error
        else:
            instance = owner()
        instance._resetUid(metadata["uid"])
        for defaults, key in ((True, "defaultParamMap"), (False, "paramMap")):
            for name, value in metadata.get(key, {}).items():
                if not instance.hasParam(name):
                    raise PersistenceError(
                        f"{path} has the Param '{name}', which {self._owner.__name__} does not "
                        "know: it was saved by another version, or is damaged"
                    )
                if isinstance(value, dict):
                    value = from_json(value)
                if defaults:
                    instance._setDefault(**{name: value})
                else:
                    instance._set(**{name: value})
        result: Owner = instance
        return result

    def _metadata(self, spark: SparkSession, path: str) -> dict[str, Any]:
        if not exists(spark, f"{path}/metadata"):
            raise PersistenceError(
                f"there is no saved {self._owner.__name__} at {path}: expected a folder with "
                "metadata, which a save writes last"
            )
        row = spark.read.text(f"{path}/metadata").first()
        try:
            metadata = json.loads(row[0]) if row is not None else None
        except json.JSONDecodeError as error:
            raise PersistenceError(f"{path}/metadata is not JSON: {error}") from error
        if not isinstance(metadata, dict) or not isinstance(metadata.get("uid"), str):
            raise PersistenceError(f"{path}/metadata is empty or not a saved model")
        expected = f"{self._owner.__module__}.{self._owner.__name__}"
        if metadata.get("class") != expected:
            raise PersistenceError(
                f"{path} holds a {metadata.get('class')}, expected a {expected}: load it with the "
                "class that saved it"
            )
        version = metadata.get("formatVersion")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise PersistenceError(
                f"{path} has format version {version}, this package reads up to "
                f"{FORMAT_VERSION}: install a newer sparkml_lsml"
            )
        for key in ("arrays", "facts", "paramMap", "defaultParamMap"):
            if not isinstance(metadata.get(key, {}), dict):
                raise PersistenceError(f"{path}/metadata: {key} is damaged: expected an object")
        return metadata


def _read_arrays(spark: SparkSession, path: str, shapes: dict[str, Any]) -> Arrays:
    """The arrays of a model; every size is checked before anything is allocated."""
    for name, shape in shapes.items():
        good = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
        if not good or math.prod(shape) > MAX_VALUES:
            raise PersistenceError(f"{path}: array '{name}' has the impossible shape {shape}")
    if not shapes:
        return {}
    if not exists(spark, f"{path}/data"):
        raise PersistenceError(f"{path}/data is missing: the folder is damaged")
    frame = spark.read.schema(SCHEMA).parquet(f"{path}/data")
    sizes: dict[str, int] = {}
    for name, number in frame.selectExpr("name", "size(values)").toLocalIterator():
        sizes[name] = sizes.get(name, 0) + max(int(number or 0), 0)
    expected = {name: math.prod(shape) for name, shape in shapes.items()}
    if sizes != expected:
        raise PersistenceError(
            f"{path}/data holds arrays of {sizes} numbers, expected {expected}: the folder is "
            "damaged"
        )
    arrays = {name: np.zeros(size) for name, size in expected.items()}
    filled, chunks = dict.fromkeys(arrays, 0), dict.fromkeys(arrays, 0)
    for name, chunk, values in frame.orderBy("name", "chunk").toLocalIterator():
        if values is None or chunk != chunks[name]:
            raise PersistenceError(
                f"{path}/data: chunk {chunks[name]} of array '{name}' is missing, found chunk "
                f"{chunk}: the folder is damaged"
            )
        chunks[name] += 1
        part = np.asarray(values, dtype=np.float64)
        if np.isnan(part).any():
            raise PersistenceError(f"{path}: array '{name}' holds NaN: the folder is damaged")
        arrays[name][filled[name] : filled[name] + len(part)] = part
        filled[name] += len(part)
    return {name: values.reshape(shapes[name]) for name, values in arrays.items()}


class SafeReadWrite(MLReadable[Any], MLWritable):
    """Mixin: ``save``, ``write``, ``load`` and ``read``."""

    def write(self) -> MLWriter:
        """A writer; call ``overwrite()`` on it to replace what is at the path."""
        return SafeWriter(self)

    @classmethod
    def read(cls) -> SafeReader[Any]:
        """A reader that accepts this very class only."""
        return SafeReader(cls)
