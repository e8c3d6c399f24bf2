"""Saved folders on other file systems than the local one, read through Spark."""

from __future__ import annotations

from pyspark.sql import SparkSession

from sparkml_lsml.spark.folders.arrays import Arrays, Declared
from sparkml_lsml.spark.folders.composite import folders_in
from sparkml_lsml.spark.folders.paths import file_system
from sparkml_lsml.spark.folders.persistence import read_arrays, read_metadata, reading


def open_folder(path: str) -> HadoopFolder:
    """Open a folder in the session that runs, or in a new one."""
    spark = SparkSession.builder.appName("sparkml_lsml show").getOrCreate()
    return HadoopFolder(spark, path)


class HadoopFolder:
    """A folder on any file system that Hadoop knows.

    Parameters
    ----------
    spark
        A classic session.
    path
        With its scheme.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        self._spark = spark
        with reading(path):
            files, hadoop = file_system(spark, path)
            self._root = str(files.makeQualified(hadoop).toString()).rstrip("/")

    def parts(self) -> list[str]:
        """Places of all folders with metadata at or below this one."""
        found = folders_in(self._spark, self._root)
        return [path.removeprefix(self._root).strip("/") for path in found]

    def metadata(self, place: str) -> bytes:
        """The metadata of a part, unchecked."""
        path = self._path(place)
        with reading(f"{path}/metadata"):
            return read_metadata(self._spark, path, unpacked=True)

    def arrays(self, place: str, declared: Declared) -> Arrays:
        """The arrays of a part, checked."""
        path = self._path(place)
        with reading(f"{path}/data"):
            return read_arrays(self._spark, path, declared)

    def _path(self, place: str) -> str:
        return f"{self._root}/{place}" if place else self._root
