"""Folders that hold others, such as a search or a one-vs-rest model: looked through before loading.

MLlib's readers import whatever class a folder names, and that runs code of whoever wrote the
folder. So every metadata below a folder is read first.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pyspark
from pyspark.ml.param import Params
from pyspark.ml.util import MetaAlgorithmReadWrite
from pyspark.sql import SparkSession

from sparkml_lsml.errors import PersistenceError, shown
from sparkml_lsml.spark.folders.arrays import MAX_VALUES
from sparkml_lsml.spark.folders.metadata import parse
from sparkml_lsml.spark.folders.paths import check_read_alike, file_system
from sparkml_lsml.spark.folders.persistence import read_metadata, reading

MAX_FOLDERS = 100_000
"""Saved folders in one, at most."""

_before: Any = MetaAlgorithmReadWrite.getAllNestedStages
# where this module is imported again, MLlib's own is behind what took its place before
_mllibs_stages: Any = getattr(_before, "mllibs", _before)


def nested_stages(instance: Any) -> list[Any]:
    """A stage and all stages within it, those of our own stages too.

    MLlib's searches ask this for the stage that a Param of a grid is of, when they are saved and
    loaded, and its own answer knows MLlib's classes alone: a grid over the classifier of a
    `CalibratedClassifier` would fit, and could not be saved.
    """
    inner = instance._nested_stages() if hasattr(instance, "_nested_stages") else []
    found: list[Any] = _mllibs_stages(instance)  # which asks for the stages within by this name
    return found + [stage for each in inner for stage in nested_stages(each)]


nested_stages.mllibs = _mllibs_stages  # type: ignore[attr-defined]
MetaAlgorithmReadWrite.getAllNestedStages = staticmethod(nested_stages)  # type: ignore[assignment, method-assign]

_PACKAGES = ("pyspark.ml.", "org.apache.spark.ml.", "sparkml_lsml.")


def check_classes(spark: SparkSession, path: str, expected: tuple[str, ...]) -> dict[str, Any]:
    """Metadata of a folder in which no other classes are named than may be imported.

    Those are subclasses of `Params`, and of ``pyspark.ml`` or of this package, or of a module that
    the caller has imported already; and stages of Spark itself.

    Parameters
    ----------
    spark : SparkSession
    path : str
    expected : tuple of str
        Classes that the folder itself may be of.

    Raises
    ------
    PersistenceError
        If the folder is of another class, holds one that may not be imported, or has metadata
        that are damaged, lead out of the folder, or might not be those that MLlib reads.
    """
    path = path.rstrip("/") or path
    check_read_alike(spark, path)
    folders = 0
    for folder in folders_in(spark, path):
        folders += 1
        with reading(f"{folder}/metadata"):
            _check(parse(read_metadata(spark, folder, unpacked=True)))
    with reading(f"{path}/metadata"):
        metadata = parse(read_metadata(spark, path, unpacked=True))
        if metadata.get("class") not in expected:
            raise PersistenceError(
                f"holds a {shown(metadata.get('class'))}, expected a "
                f"{' or a '.join(expected)}: load it with the class that saved it"
            )
        params = metadata.get("paramMap")
        folds = params.get("numFolds", 0) if isinstance(params, dict) else 0
        for name, number in (("numClasses", metadata.get("numClasses", 0)), ("numFolds", folds)):
            most = folders if name == "numClasses" else MAX_VALUES
            if type(number) is not int or not 0 <= number <= most:
                raise PersistenceError(
                    f"has {name}={shown(number)}, expected an integer from 0 to {most:,}"
                )
    return metadata


def source_of(spark: SparkSession) -> Any:
    """What MLlib's readers of metadata read with: the session, or its context before Spark 4."""
    return spark.sparkContext if pyspark.__version__.startswith("3.") else spark


def folders_in(spark: SparkSession, path: str) -> Iterator[str]:
    """Every folder at or below a path that has metadata, be they a folder or a file."""
    with reading(path):
        files, hadoop = file_system(spark, path)
        start = str(files.makeQualified(hadoop).toString()).rstrip("/").count("/") + 1
        found = files.listFiles(hadoop, True)
        folders = set()
        while found.hasNext():
            parts = str(found.next().getPath().toString()).split("/")
            # however deep the file is, and for file systems that do not tell cases apart
            for number, part in enumerate(parts[start:], start):
                if part.lower() == "metadata":
                    folders.add("/".join(parts[:number]))
            if len(folders) > MAX_FOLDERS:
                raise PersistenceError(f"holds more than {MAX_FOLDERS:,} saved folders")
    yield from sorted(folders)


def _check(metadata: dict[str, Any]) -> None:
    name = metadata.get("class")
    if not isinstance(name, str) or not _known(name):
        raise PersistenceError(
            f"refused: it names the class {shown(name)}, expected one of pyspark.ml or "
            "sparkml_lsml, or one that was imported before. Import it if you trust the folder"
        )
    params = metadata.get("paramMap", {})
    if not isinstance(params, dict):
        raise PersistenceError("has a damaged paramMap: expected an object")
    for part in _parts_of_paths(params):
        if not isinstance(part, str) or "/" in part or "\\" in part or part in ("", ".", ".."):
            raise PersistenceError(
                f"refused: {shown(part)} would be part of a path, expected a plain name"
            )


def _known(name: str) -> bool:
    # MLlib's readers look for a class of the JVM under this name
    module, _, last = name.replace("org.apache.spark.", "pyspark.", 1).rpartition(".")
    if name.startswith(_PACKAGES):
        with contextlib.suppress(ImportError):  # of a stage that the JVM alone has
            importlib.import_module(module)
    found = getattr(sys.modules.get(module), last, None)
    if found is None:
        return name.startswith("org.apache.spark.ml.")
    return isinstance(found, type) and issubclass(found, Params)


def _parts_of_paths(params: dict[str, Any]) -> Iterator[Any]:
    """What MLlib's readers make paths of: uids of stages, and values of a grid that are folders."""
    uids = params.get("stageUids", [])
    yield from uids if isinstance(uids, list) else [uids]
    maps = params.get("estimatorParamMaps", [])
    for grid in maps if isinstance(maps, list) else [maps]:
        for entry in grid if isinstance(grid, list) else [grid]:
            if not isinstance(entry, dict):
                raise PersistenceError(f"has {shown(entry)} in estimatorParamMaps")
            # what the JVM has written is quoted once more
            if entry.get("isJson", True) not in (True, "true"):
                value = entry.get("value")
                yield value.strip('"') if isinstance(value, str) else value
