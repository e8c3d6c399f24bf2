"""Files on any Hadoop file system, put in place whole."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from pyspark.sql import SparkSession


def file_system(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """The Hadoop file system of a path, and the path as it knows it."""
    sc = spark.sparkContext
    hadoop = sc._jvm.org.apache.hadoop.fs.Path(path)  # type: ignore[union-attr]
    return hadoop.getFileSystem(sc._jsc.hadoopConfiguration()), hadoop


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
        raise OSError(f"{source} could not be renamed to {target}: check the rights of the folder")


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
            f"{path} is there already: choose another path, or overwrite it "
            "(write().overwrite().save(path), or overwrite: true in a job)"
        )
    mark = uuid.uuid4().hex[:12]
    new, old = f"{path}.new-{mark}", f"{path}.old-{mark}"
    try:
        yield new
        replaced = exists(spark, path)
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
