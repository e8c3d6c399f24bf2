"""Outputs that are complete or absent: written beside their place, and moved into it at the end."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from pyspark.sql import SparkSession

from sparkml_lsml.jobs.errors import JobError

log = logging.getLogger("sparkml_lsml")


class Place:
    """A path of any file system that Hadoop knows.

    Parameters
    ----------
    spark
        A classic session, whose JVM is asked.
    path
        The path as the user gave it; a relative one is relative to Spark's working directory.

    Raises
    ------
    JobError
        If the session has no JVM to ask (Spark Connect), or no file system knows the path.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.spark = spark
        self.path = path
        session = getattr(spark, "_jsparkSession", None)
        if session is None:
            raise JobError(
                "jobs need a classic Spark session, found Spark Connect; use spark-submit"
            )
        jvm: Any = spark._jvm
        self._jvm = jvm
        java_path = jvm.org.apache.hadoop.fs.Path(path)
        self.files: Any = java_path.getFileSystem(session.sessionState().newHadoopConf())
        self.java: Any = java_path.makeQualified(
            self.files.getUri(), self.files.getWorkingDirectory()
        )
        self.full = str(self.java.toString())

    def exists(self) -> bool:
        """Tell whether there is a file or folder."""
        return bool(self.files.exists(self.java))

    def matches(self) -> list[str]:
        """List the files and folders that the path, read as a glob, names."""
        found = self.files.globStatus(self.java)
        return [] if found is None else [str(item.getPath().toString()) for item in found]

    def is_folder(self) -> bool:
        """Tell whether there is a folder."""
        return self.exists() and bool(self.files.getFileStatus(self.java).isDirectory())

    def names(self) -> list[str]:
        """List the names inside a folder."""
        return [str(item.getPath().getName()) for item in self.files.listStatus(self.java)]

    def sibling(self, ending: str) -> Place:
        """Name a hidden neighbour, on the same file system and so within reach of a rename."""
        name = f".{self.java.getName()}.{ending}"
        parent = self.java.getParent()
        if parent is None:
            raise JobError(f"{self.path}: the root of a file system cannot be an output")
        # as text: a name with a colon would be taken for a scheme
        return Place(self.spark, f"{str(parent.toString()).rstrip('/')}/{name}")

    def move_to(self, other: Place) -> None:
        """Rename; the other must not exist, because Hadoop would move *into* a folder."""
        if other.exists():
            raise JobError(f"{other.path}: appeared while the job ran; nothing was replaced")
        parent = other.java.getParent()
        if not self.files.exists(parent):
            self.files.mkdirs(parent)
        if not self.files.rename(self.java, other.java):
            raise JobError(f"{self.path}: could not be moved to {other.path}")

    def delete(self) -> None:
        """Delete the file or folder with all it holds, if it is there."""
        if not self.files.delete(self.java, True) and self.exists():
            raise JobError(f"{self.path}: could not be deleted")

    def write_text(self, text: str) -> None:
        """Write a new file in UTF-8."""
        stream = self.files.create(self.java, False)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()

    def holds(self, other: Place) -> bool:
        """Tell whether another path is this one or below it."""
        return f"{other.full}/".startswith(f"{self.full.rstrip('/')}/")


class Outputs:
    """The outputs of one job, which appear together or not at all.

    Everything is written to hidden siblings; `publish` moves the old outputs aside, the new ones
    into place in the order in which they were named, and then deletes the old ones. A failure or
    an interrupt before leaves or restores the old ones; the log names one that could not be put
    back, or not be deleted in the end. A rename is atomic on HDFS and on local disks; on an
    object store it is a copy, so there a reader should wait for the last output.

    Parameters
    ----------
    spark
        A classic session.
    paths
        Path of every output by its key in the configuration; ``output.report`` last.
    overwrite
        Whether existing outputs may be replaced.
    inputs
        Paths that are read, which no output may touch.

    Raises
    ------
    JobError
        On entering, before any work: if an output exists and `overwrite` is false, if it exists
        but is not what this job writes there, or if outputs and inputs overlap.

    Examples
    --------
    >>> with Outputs(spark, {"output.report": "out/report.json"}) as outputs:  # doctest: +SKIP
    ...     outputs.staged("output.report").write_text("{}")
    ...     outputs.publish()
    """

    def __init__(
        self,
        spark: SparkSession,
        paths: Mapping[str, str],
        *,
        overwrite: bool = False,
        inputs: Iterable[str] = (),
    ) -> None:
        run = self._run = uuid.uuid4().hex[:12]
        self._final = {key: Place(spark, path) for key, path in paths.items()}
        self._overwrite = overwrite
        self._inputs = [Place(spark, found) for path in inputs for found in _expand(spark, path)]
        self._new = {key: place.sibling(f"{run}.new") for key, place in self._final.items()}
        self._old = {key: place.sibling(f"{run}.old") for key, place in self._final.items()}

    def __enter__(self) -> Outputs:
        places = [*self._final.items()]
        for index, (key, place) in enumerate(places):
            for other_key, other in places[index + 1 :]:
                if place.holds(other) or other.holds(place):
                    raise JobError(
                        f"{key} and {other_key} lie in one another ({place.path}, {other.path}); "
                        "give each its own path"
                    )
            for source in self._inputs:
                if place.holds(source) or source.holds(place):
                    raise JobError(
                        f"{key}: {place.path} overlaps the input {source.path}; "
                        "write somewhere else"
                    )
            if place.exists():
                self._check_replaceable(key, place)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for place in self._new.values():
            try:
                place.delete()
            except Exception:
                # After an interrupt the JVM may be gone; the first error is the one to hear of.
                if error is None:
                    raise

    def staged(self, key: str) -> Place:
        """Return the place to which an output has to be written."""
        return self._new[key]

    def publish(self) -> None:
        """Move everything into place.

        Raises
        ------
        JobError
            If a rename fails; all outputs are then as they were before.
        """
        moves: list[tuple[str, Place, Place]] = []

        def move(key: str, source: Place, target: Place) -> None:
            # Noted first: an interrupt may come while the JVM goes on and makes the move.
            moves.append((key, source, target))
            source.move_to(target)

        try:
            # The old report goes first and the new one comes last: whoever sees a report sees the
            # model that it tells of.
            for key, place in reversed(self._final.items()):
                if self._overwrite and place.exists():
                    move(key, place, self._old[key])
            for key, place in self._final.items():
                move(key, self._new[key], place)
        except BaseException:
            for key, source, target in reversed(moves):
                self._undo(key, source, target)
            raise
        self._new.clear()  # from here on nothing fails: all is in place
        for key, place in self._old.items():
            try:
                place.delete()
            except Exception as error:
                self._tell(key, "was replaced, but what was there could not be deleted", error)

    def _undo(self, key: str, source: Place, target: Place) -> None:
        try:
            not_made = source is self._new[key] and source.exists()
            if target.exists() and not not_made:
                target.move_to(source)
        except Exception as error:
            if target is self._old[key]:
                self._tell(key, "could not be put back", error)

    def _tell(self, key: str, what: str, error: Exception) -> None:
        # Neither path nor message: they may hold what the environment keeps secret.
        log.warning(
            "%s %s (%s): it lies beside its place, under a hidden name that ends with %s.old",
            key,
            what,
            type(error).__name__,
            self._run,
        )

    def _check_replaceable(self, key: str, place: Place) -> None:
        if not self._overwrite:
            raise JobError(
                f"{key}: {place.path} already exists; choose another path or set "
                "output.overwrite: true"
            )
        # A mistyped path must not cost a folder full of something else.
        names = place.names() if place.is_folder() else None
        fits = {
            "output.model": names is not None and (not names or "metadata" in names),
            "output.predictions.path": names is not None
            and all(name.startswith(("part-", "_", ".")) for name in names),
            "output.report": names is None,
        }
        if not fits.get(key, True):
            raise JobError(
                f"{key}: {place.path} exists and does not look like an earlier output of this "
                "job, so it is not replaced; remove it yourself or choose another path"
            )


def _expand(spark: SparkSession, path: str) -> list[str]:
    return Place(spark, path).matches() or [path]
