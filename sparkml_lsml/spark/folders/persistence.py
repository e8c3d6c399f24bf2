"""Saving and loading of estimators and models, without pickles and without foreign imports.

A saved folder holds ``metadata/`` with one line of JSON, in the form that Spark's pipelines read,
and for a model ``data/`` with its arrays as Parquet rows (name, chunk, values). The driver writes
both, for Spark's writers heed the session's settings. What is too large for the driver lies in
``tables/``, which executors write. The metadata is written last, the folder is read back, and
renamed into place as a whole. That is one step on HDFS and local disks; object stores such as S3A
copy file by file, so that others may meanwhile find a part of it, which `load` refuses. What may be
in them, and how it is checked, is in the modules
`metadata`, `arrays` and `tables` of `sparkml_lsml.spark.folders`.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import pyspark
from pyspark.ml.util import MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import SparkSession

from sparkml_lsml.errors import BackendError, PersistenceError, shown, without_secrets
from sparkml_lsml.spark.folders.arrays import (
    SCHEMA,
    Arrays,
    Declared,
    check_stored,
    declare,
    join_chunks,
    write_arrays,
)
from sparkml_lsml.spark.folders.metadata import (
    MAX_METADATA,
    from_line,
    to_line,
)
from sparkml_lsml.spark.folders.paths import (
    exists,
    first_bytes,
    only_file,
    parquet_columns,
    whole,
    without_globs,
    write_file,
)
from sparkml_lsml.spark.folders.pathtext import path_text
from sparkml_lsml.spark.folders.saved_params import params_from_json, params_to_json
from sparkml_lsml.spark.folders.table_files import (
    Tables,
    frames_of,
    read_tables,
    reads_from,
    schemas_of,
    write_tables,
)

Owner = TypeVar("Owner", bound="SafeReadWrite")


PART = 128 * 2**20
"""Bytes of stored arrays that come to the driver at a time."""


class _Whole(MLWriter):
    """Writer whose folder appears whole or not at all, and only if it can be loaded.

    Whole is what a rename of the file system makes it: on an object store it may be seen in part.
    MLlib's writers remove what they overwrite before they write, and metadata before the rest.

    Parameters
    ----------
    instance : Params
        What is saved; its class reads it back.
    """

    def __init__(self, instance: Any) -> None:
        super().__init__()
        self._instance = instance

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Save to a path on any Hadoop file system.

        Raises
        ------
        FileExistsError
            If there is something at the path and `overwrite` was not called.
        TypeError
            If the path is neither a text nor an `os.PathLike`.
        PersistenceError
            If `load` would refuse the folder, for example because a coefficient is NaN, or what
            was written cannot be read back; or the error of the file system shows a password in
            the path.
        BackendError
            If the session is one of Spark Connect.
        """
        path = path_text(path, "save")
        with _hiding(path), whole(self.sparkSession, path, self.shouldOverwrite) as sibling:
            self.saveImpl(sibling)
            try:
                self._read_back(sibling)
            except Exception as error:
                told = _reason(error).replace(sibling, path)
                raise PersistenceError(
                    f"{without_secrets(path)} was not saved: what was written cannot be read back. "
                    f"{told}"
                ) from error

    def _read_back(self, path: str) -> None:
        type(self._instance).read().session(self.sparkSession).load(path)


class WholeWriter(_Whole):
    """Writer that lets one of MLlib's write the folder, and puts it in place.

    Parameters
    ----------
    instance : Params
        What is saved.
    writer : MLWriter
        Not told to overwrite: it never sees what is at the path.
    """

    def __init__(self, instance: Any, writer: MLWriter) -> None:
        super().__init__(instance)
        self._writer = writer

    def saveImpl(self, path: str) -> None:
        """Write everything into an empty folder."""
        for key, value in self.optionMap.items():
            self._writer.option(key, value)
        self._writer.session(self.sparkSession).save(path)


class SafeWriter(_Whole):
    """Writer of an estimator or a model.

    Parameters
    ----------
    instance : Params
        With ``_saved_arrays() -> dict`` and ``_saved_facts() -> dict`` where it has any; a model of
        tables also with ``_saved_tables() -> dict`` of frames and ``_restore_tables(dict)``.
    """

    def save(self, path: "str | os.PathLike[str]") -> None:
        """See `_Whole.save`; a model whose own tables were replaced goes on with the new ones."""
        text = path_text(path, "save")
        tables = _tables(self._instance)
        own = self.shouldOverwrite and any(reads_from(f, text) for f in tables.values())
        super().save(path)
        if own:
            schemas = schemas_of(tables)
            self._instance._restore_tables(frames_of(self.sparkSession, text, schemas))

    def saveImpl(self, path: str) -> None:
        """Write arrays and tables, then metadata, into an empty folder."""
        spark: SparkSession = self.sparkSession
        instance = self._instance
        arrays, facts = _content(instance)
        for name, values in arrays.items():
            if np.isnan(values).any():
                raise PersistenceError(f"{instance.uid}: NaN in '{name}', expected numbers")
        metadata = {
            "class": _name(type(instance)),
            "timestamp": int(time.time() * 1000),
            "sparkVersion": pyspark.__version__,
            **params_to_json(instance),
            "formatVersion": 1,
            "arrays": declare(arrays),
            "facts": facts,
        }
        to_line(metadata)  # what cannot be saved is told of before executors write
        if tables := _tables(instance):
            metadata |= {"formatVersion": 2, "tables": write_tables(tables, path)}
        line = to_line(metadata)
        if arrays:
            data = f"{path}/data/part-00000.parquet"
            write_file(spark, data, partial(write_arrays, arrays))
        write_line(spark, f"{path}/metadata", line)


def write_line(spark: SparkSession, folder: str, line: str) -> None:
    """Make a folder with one line of text, as Spark's readers expect it."""
    content = f"{line}\n".encode()
    write_file(spark, f"{folder}/part-00000", lambda file: file.write(content))


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

    def load(self, path: "str | os.PathLike[str]") -> Owner:
        """Load from a path.

        Raises
        ------
        PersistenceError
            If the folder holds another class, a newer format, unknown Params, or anything else
            than a save wrote.
        TypeError
            If the path is neither a text nor an `os.PathLike`.
        BackendError
            If the session is one of Spark Connect.
        """
        spark: SparkSession = self.sparkSession
        path = path_text(path, f"{self._owner.__name__}.load")
        with reading(f"{path}/metadata"):
            metadata = from_line(read_metadata(spark, path), _name(self._owner))
        arrays: Arrays = {}
        if metadata["arrays"]:
            with reading(f"{path}/data"):
                arrays = read_arrays(spark, path, metadata["arrays"])
        tables: Tables = {}
        if declared := metadata.get("tables"):
            with reading(f"{path}/tables"):
                tables = read_tables(spark, path, declared)
        with reading(path):
            return self._make(metadata, arrays, tables)

    def _make(self, metadata: dict[str, Any], arrays: Arrays, tables: Tables) -> Owner:
        owner: Any = self._owner
        facts = metadata["facts"]
        if hasattr(owner, "_check_metadata"):
            owner._check_metadata(metadata)
        try:
            model = hasattr(owner, "_from_saved")
            instance = owner._from_saved(arrays, facts) if model else owner()
            if hasattr(instance, "_restore"):
                instance._restore(arrays)
            if hasattr(instance, "_restore_tables"):
                instance._restore_tables(tables)
            # what was loaded is what would be saved: nothing is left over, or was converted
            kept, known = _content(instance)
            shapes = {name: list(values.shape) for name, values in kept.items()}
            declared = {name: entry["shape"] for name, entry in metadata["arrays"].items()}
            if shapes != declared or _canonical(known) != _canonical(facts):
                raise ValueError(
                    f"found arrays {declared} and facts {facts}, expected {shapes} and {known}"
                )
            if (expected := sorted(_tables(instance))) != (found := sorted(tables)):
                raise ValueError(f"found tables {found}, expected {expected}")
            params_from_json(instance, metadata)
            instance._check_loaded()
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            # ours are short, and quote what they found safely
            told = str(error) if isinstance(error, PersistenceError) else shown(error)
            raise PersistenceError(
                f"holds no {owner.__name__} of this version: {told}. It was saved by "
                "another version, or is damaged"
            ) from error
        result: Owner = instance
        return result


def read_metadata(spark: SparkSession, path: str, *, unpacked: bool = False) -> bytes:
    """The metadata of a saved folder, unchecked, and no more of them than may be there.

    ``unpacked`` for those that MLlib has written, which a setting of Hadoop has compressed.

    Raises
    ------
    PersistenceError
        If there are none.
    """
    if not exists(spark, f"{path}/metadata"):
        raise PersistenceError(
            "is missing, so there is no saved model: expected a folder with metadata, which a save "
            "writes last"
        )
    file = only_file(spark, f"{path}/metadata")
    return first_bytes(spark, file, MAX_METADATA + 1, unpacked=unpacked)


def read_arrays(spark: SparkSession, path: str, declared: Declared) -> Arrays:
    """The arrays of a saved folder, which are those that its metadata declare.

    Raises
    ------
    PersistenceError
        If they are missing, or others in any bit.
    """
    if not exists(spark, f"{path}/data"):
        raise PersistenceError("is missing: the folder is damaged")
    file = only_file(spark, f"{path}/data")
    columns = parquet_columns(spark, file)
    check_stored(columns, declared)
    # a session may have its files split by the byte, and each part is a job
    parts = 1 + sum(column.nbytes for column in columns) // PART
    frame = spark.read.schema(SCHEMA).parquet(without_globs(file)).coalesce(parts)
    return join_chunks(frame.toLocalIterator(), declared)


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Name the path in every error, and turn those of Spark and the file system into ours."""
    redacted = without_secrets(path)
    try:
        yield
    except PersistenceError as error:
        raise PersistenceError(f"{redacted} {error}") from error.__cause__
    except BackendError:
        raise
    except Exception as error:
        message = f"{redacted} cannot be read: {_reason(error)}"
        # the error of the JVM would show the secret that this one hides
        raise PersistenceError(message) from (error if redacted == path else None)


@contextlib.contextmanager
def _hiding(path: str) -> Iterator[None]:
    """Let errors pass, except those that show a user or a password of the path."""
    try:
        yield
    except Exception as error:
        if without_secrets(str(error)) == str(error):
            raise
        message = f"{without_secrets(path)} cannot be written: {_reason(error)}"
        raise PersistenceError(message) from None


def _reason(error: Exception) -> str:
    java: Any = getattr(error, "java_exception", None)
    return without_secrets(str(error if java is None else java.toString()))


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def _content(instance: Any) -> tuple[Arrays, dict[str, Any]]:
    """What is saved of an instance beside its Params."""
    arrays = instance._saved_arrays() if hasattr(instance, "_saved_arrays") else {}
    return arrays, instance._saved_facts() if hasattr(instance, "_saved_facts") else {}


def _tables(instance: Any) -> Tables:
    tables: Tables = instance._saved_tables() if hasattr(instance, "_saved_tables") else {}
    return tables


def digest(instance: Any) -> dict[str, Any]:
    """Checksums of what a model learned: others for models that differ in any bit."""
    arrays, facts = _content(instance)
    return {"arrays": declare(arrays), "facts": facts}


def _canonical(facts: dict[str, Any]) -> str:
    # 2, 2.0 and true are equal in Python, and different here
    return json.dumps(facts, sort_keys=True)


class SafeReadWrite(MLReadable[Any], MLWritable):
    """Mixin: ``save``, ``write``, ``load`` and ``read``."""

    def write(self) -> MLWriter:
        """A writer; call ``overwrite()`` on it to replace what is at the path."""
        return SafeWriter(self)

    @classmethod
    def read(cls) -> SafeReader[Any]:
        """A reader that accepts this very class only."""
        return SafeReader(cls)

    def _check_loaded(self) -> None:
        """Raise a ValueError where Params that were loaded do not fit, or fit no such model."""
