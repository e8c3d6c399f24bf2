"""Files on any Hadoop file system: read up to a bound, and put in place whole."""

import contextlib
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from pyspark.sql import SparkSession

from sparkml_lsml.errors import PersistenceError, without_secrets
from sparkml_lsml.spark.cluster.session import classic
from sparkml_lsml.spark.folders.arrays import StoredColumn
from sparkml_lsml.spark.folders.pathtext import hidden

HIDES, HIDDEN = "spark.sql.files.ignoredPathSegmentRegex", "^[._]"
"""The setting, since Spark 4.3, of which files are hidden, and its default; see `hidden`."""


def file_system(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """The Hadoop file system of a path, and the path as it knows it.

    Raises
    ------
    BackendError
        If the session is one of Spark Connect, which cannot ask a file system.
    """
    sc = classic(spark)
    hadoop = sc._jvm.org.apache.hadoop.fs.Path(path)  # type: ignore[union-attr]
    return hadoop.getFileSystem(_configuration(spark)), hadoop


def _configuration(spark: SparkSession) -> Any:
    """Hadoop's settings with those of the session, which may hold what a store asks for."""
    session: Any = spark
    return session._jsparkSession.sessionState().newHadoopConf()


def exists(spark: SparkSession, path: str) -> bool:
    """Whether there is something at a path."""
    files, hadoop = file_system(spark, path)
    return bool(files.exists(hadoop))


def names(spark: SparkSession, path: str) -> list[str]:
    """Names of what is in a folder, in order; empty where there is no folder."""
    files, hadoop = file_system(spark, path)
    if not files.exists(hadoop):
        return []
    return sorted(str(status.getPath().getName()) for status in files.listStatus(hadoop))


def delete(spark: SparkSession, path: str) -> None:
    """Remove a file or a folder; nothing happens where there is none."""
    files, hadoop = file_system(spark, path)
    files.delete(hadoop, True)


def rename(spark: SparkSession, source: str, target: str) -> None:
    """Rename a file or folder.

    Raises
    ------
    OSError
        If the file system refused.
    """
    files, hadoop = file_system(spark, source)
    if not files.rename(hadoop, file_system(spark, target)[1]):
        raise OSError(
            f"{without_secrets(source)} could not be renamed to {without_secrets(target)}: check "
            "the rights of the folder"
        )


def only_file(spark: SparkSession, folder: str) -> str:
    """The one file that a folder holds, beside those which Spark hides.

    Raises
    ------
    PersistenceError
        If there are several files, none, or a folder, or if it is a file itself.
    """
    files, hadoop = file_system(spark, folder)
    if not files.getFileStatus(hadoop).isDirectory():
        raise PersistenceError("is a file, expected a folder with one file: it is damaged")
    found = [
        entry for entry in files.listStatus(hadoop) if not hidden(str(entry.getPath().getName()))
    ]
    if len(found) != 1 or not found[0].isFile():
        raise PersistenceError(
            f"holds {sum(entry.isFile() for entry in found)} files and "
            f"{sum(not entry.isFile() for entry in found)} folders, expected one file: the folder "
            "is damaged"
        )
    return str(found[0].getPath().toString())


def without_globs(path: str) -> str:
    """A path as Spark's readers take it, who read brackets, stars and the like as a pattern."""
    return re.sub(r"([{}\[\]*?\\])", r"\\\1", path)


def check_read_alike(spark: SparkSession, path: str) -> None:
    """Refuse what would let MLlib's readers see other metadata than those that are checked here.

    Raises
    ------
    PersistenceError
        If there are brackets, stars or the like in the path, which they take for a pattern, or if
        the session shows them hidden files.
    """
    if (found := spark.conf.get(HIDES, HIDDEN)) != HIDDEN:
        raise PersistenceError(
            f"{HIDES} is '{found}', expected its default, '{HIDDEN}': MLlib's readers would take "
            f"hidden files for metadata of {without_secrets(path)}. Unset it to load the folder, "
            "or to save it"
        )
    plain = PurePath(path).as_posix()  # without the backslashes of Windows
    if without_globs(plain) != plain:
        raise PersistenceError(
            f"{without_secrets(path)} is a pattern to MLlib's readers, which load the parts of "
            "such a folder: expected a path without brackets, braces, stars, question marks and "
            "backslashes. Rename the folder"
        )


def first_bytes(spark: SparkSession, path: str, most: int, *, unpacked: bool = False) -> bytes:
    """A file as it is stored, or its first ``most`` bytes.

    ``unpacked`` where its name ends as that of a compressed file, as Spark's readers have it.
    """
    files, hadoop = file_system(spark, path)
    jvm: Any = classic(spark)._jvm
    stream = files.open(hadoop)
    if unpacked:
        codecs = jvm.org.apache.hadoop.io.compress.CompressionCodecFactory
        codec = codecs(_configuration(spark)).getCodec(hadoop)
        stream = stream if codec is None else codec.createInputStream(stream)
    try:
        # readNBytes is of Java 11, and Spark 3.5 runs on Java 8
        found = jvm.java.io.ByteArrayOutputStream()
        bounded = jvm.org.apache.hadoop.util.LimitInputStream(stream, most)
        jvm.org.apache.hadoop.io.IOUtils.copyBytes(bounded, found, 4096, False)
        return bytes(found.toByteArray())
    finally:
        stream.close()


def write_file(spark: SparkSession, path: str, write: Callable[[BinaryIO], Any]) -> None:
    """Make a file of what a function writes, on the driver.

    Spark's writers would heed the settings of the session: in which form, in how many files, and
    whether packed.
    """
    with tempfile.TemporaryDirectory(prefix="sparkml_lsml-write-") as folder:
        local = Path(folder, "content")
        with local.open("wb") as file:
            write(file)
        files, hadoop = file_system(spark, path)
        files.copyFromLocalFile(False, True, file_system(spark, f"file://{local}")[1], hadoop)


def parquet_columns(spark: SparkSession, path: str) -> list[StoredColumn]:
    """What the footer of a Parquet file says of its columns, each once a row group."""
    sc = classic(spark)
    jvm: Any = sc._jvm
    files, hadoop = file_system(spark, path)
    length = int(files.getFileStatus(hadoop).getLen())
    conf = _configuration(spark)
    parquet = jvm.org.apache.parquet.hadoop
    reader = parquet.ParquetFileReader.open(parquet.util.HadoopInputFile.fromPath(hadoop, conf))
    try:
        return [
            StoredColumn(
                path=str(column.getPath().toDotString()),
                kind=str(column.getPrimitiveType().getPrimitiveTypeName().toString()),
                codec=str(column.getCodec().toString()),
                rows=int(block.getRowCount()),
                values=int(column.getValueCount()),
                nbytes=int(column.getTotalSize()),
                inside=0 <= column.getStartingPos() <= length - column.getTotalSize(),
            )
            for block in reader.getFooter().getBlocks()
            for column in block.getColumns()
        ]
    finally:
        reader.close()


@contextlib.contextmanager
def whole(spark: SparkSession, path: str, overwrite: bool) -> Iterator[str]:
    """A sibling of ``path`` to write to; it takes the place of ``path`` when all went well.

    What was at ``path`` stays until the new content is complete, and the sibling is removed after
    an error.

    Raises
    ------
    FileExistsError
        If there is something at ``path`` and ``overwrite`` is False; nothing was written then.
    """
    path = path.rstrip("/") or path
    if not overwrite and exists(spark, path):
        raise FileExistsError(
            f"{without_secrets(path)} is there already: choose another path, or overwrite it "
            "(write().overwrite().save(path), or overwrite: true in a job)"
        )
    mark = uuid.uuid4().hex[:12]
    new, old = f"{path}.new-{mark}", f"{path}.old-{mark}"
    try:
        yield new
        replaced = exists(spark, path)
        if replaced and not overwrite:
            raise FileExistsError(f"{path} was written by somebody else in the meantime")
        try:
            if replaced:
                rename(spark, path, old)
            rename(spark, new, path)
        except BaseException:
            if replaced and not exists(spark, path):
                rename(spark, old, path)
            raise
        if replaced:
            delete(spark, old)
    except BaseException:
        with contextlib.suppress(Exception):
            delete(spark, new)
            if exists(spark, path):  # otherwise what is left of the former content is kept
                delete(spark, old)
        raise
