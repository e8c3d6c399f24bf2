"""Checkpoints: where a fit stands, on any Hadoop file system, for a later process to go on from.

``checkpointDir`` holds a folder for each batch of models that is being trained, and each of these
``fingerprint.json``, which tells of what, and ``pass-N-MARK.zip`` (see `solvers.checkpoint`), whose
mark is another for each driver. Files are written under another name and renamed; the one before
goes when the next is there, and the folder with the end of the fit. Two drivers that do the same
never touch each other's files.
"""

import contextlib
import logging
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pyspark.sql import SparkSession

from sparkml_lsml.engine.solvers.base import Run
from sparkml_lsml.engine.solvers.checkpoint import read_run, write_run
from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.spark.folders.fingerprint import Fingerprint, differences
from sparkml_lsml.spark.folders.paths import exists, file_system, names, rename, write_file

log = logging.getLogger("sparkml_lsml")

COMPARED = 20
"""Checkpoints of other fits that a fit looks at, at most, to say how it differs."""


class Checkpoints:
    """The checkpoints of one call of ``fit``; a context manager that removes them after success.

    Parameters
    ----------
    spark : SparkSession
    folder : str
        Where they are kept, on any Hadoop file system; '' for no checkpoints.
    interval : int
        Iterations between two of them; -1 for no checkpoints.
    name : str
        Of the estimator.

    Raises
    ------
    PersistenceError
        If the folder cannot be written to.
    """

    _used: set[str] = set()  # noqa: RUF012 - folders of the fits that run in this process
    _lock = threading.Lock()

    def __init__(self, spark: SparkSession, folder: str, interval: int, name: str) -> None:
        self._spark, self._folder, self._name = spark, folder.rstrip("/"), name
        self._interval = interval if folder else -1
        self._mine: list[Checkpoint] = []
        if self._interval > 0:
            self._try_to_write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._mine:
            if kind is None:
                each.remove()
            with self._lock:
                self._used.discard(each.path)
        self._mine.clear()

    @property
    def kept(self) -> bool:
        """Whether there are any."""
        return self._interval > 0

    def of(self, fingerprint: Fingerprint) -> "Checkpoint":
        """The checkpoint of a batch of models, where checkpoints are kept.

        Raises
        ------
        PersistenceError
            If the folder of this fingerprint holds another one, or none that can be read.
        """
        for each in self._mine:
            each.write_last()  # whoever comes after this batch must not begin with it again
        path = self._free_folder(f"{self._name}-{fingerprint.digest}")
        found = Checkpoint(self._spark, path, fingerprint, self._interval, self._name)
        self._mine.append(found)
        there = _read_fingerprint(self._spark, path)
        if there is None:
            self._tell_of_others(path, fingerprint)
        elif different := differences(there, fingerprint):
            raise PersistenceError(
                f"{self._name}: the checkpoint {path} is of another fit than its name says: "
                f"{'; '.join(different)}. Remove it to begin anew"
            )
        return found

    def _free_folder(self, start: str) -> str:
        """A folder of that name, one that is there rather than a new one.

        The same fit may run twice at once in this process: the second gets a number behind it.
        """
        there = [n for n in names(self._spark, self._folder) if re.fullmatch(f"{start}(-\\d+)?", n)]
        new = (f"{start}-{number}" if number else start for number in count())
        with self._lock:
            for name in chain(there, new):
                path = f"{self._folder}/{name}"
                if path not in self._used:
                    self._used.add(path)
                    return path
        raise AssertionError("there is no end of numbers")

    def _tell_of_others(self, path: str, fingerprint: Fingerprint) -> None:
        """Log why checkpoints that lie beside ours are not used."""
        others = [
            f"{self._folder}/{name}"
            for name in names(self._spark, self._folder)
            if name.startswith(f"{self._name}-")
        ]
        for other in [each for each in others if each != path][:COMPARED]:
            with self._lock:
                running = other in self._used
            try:
                found = None if running else _read_fingerprint(self._spark, other)
            except PersistenceError:
                continue  # it may just have gone, with its fit
            if found is not None:
                log.warning(
                    "%s: the checkpoint %s is of another fit and is not used: %s. Remove it if "
                    "that fit is not to be resumed",
                    self._name,
                    other,
                    "; ".join(differences(found, fingerprint)),
                )

    def _try_to_write(self) -> None:
        probe = f"{self._folder}/.probe-{uuid.uuid4().hex}"
        try:
            _put(self._spark, probe, lambda file: None)
            files, hadoop = file_system(self._spark, probe)
            files.delete(hadoop, False)
        except Exception as error:
            raise PersistenceError(
                f"{self._name}: checkpointDir={self._folder!r} cannot be written to: "
                f"{_reason(error)}. Expected a folder with the right to write, on a file system "
                "that Hadoop knows"
            ) from error


class Checkpoint:
    """Where a batch of models stands, kept in a folder; called with each `Run`.

    Attributes
    ----------
    path : str
    """

    def __init__(
        self, spark: SparkSession, path: str, fingerprint: Fingerprint, interval: int, name: str
    ) -> None:
        self._spark, self._fingerprint = spark, fingerprint
        self._interval, self._name = interval, name
        self.path = path
        self._last: Run | None = None
        self._waited = 0
        self._mark = uuid.uuid4().hex[:8]
        self._mine = ""
        self._found: list[str] = []

    def __call__(self, run: Run) -> None:
        """Write the run if it is time to; the fit goes on if that fails."""
        self._last = run
        self._waited += 1
        if self._waited >= self._interval and None in run.reasons:
            self.write_last()

    def write_last(self) -> None:
        """Write the last run, unless that was done."""
        run, self._last = self._last, None
        if run is None:
            return
        self._waited = 0
        try:
            name = f"pass-{run.passes}-{self._mark}.zip"
            if not exists(self._spark, f"{self.path}/fingerprint.json"):
                text = self._fingerprint.to_json().encode()
                told = f"{self.path}/fingerprint.json"
                _put(self._spark, told, lambda file: file.write(text))
            _put(self._spark, f"{self.path}/{name}", lambda file: write_run(run, file))
            before, self._mine = self._mine, name
            if before not in ("", name):
                files, hadoop = file_system(self._spark, f"{self.path}/{before}")
                files.delete(hadoop, False)
        except Exception as error:
            log.warning(
                "%s: the checkpoint of iteration %d could not be written to %s: %s. The fit goes "
                "on; the checkpoint before it is kept",
                self._name,
                run.iteration,
                self.path,
                _reason(error),
            )

    def load(self, solvers: Sequence[Any], size: int) -> Run | None:
        """Where an earlier process stood; None if it left nothing.

        Parameters
        ----------
        solvers : sequence of Solver, one a model
        size : int
            Coefficients of a model.

        Raises
        ------
        PersistenceError
            If the checkpoint is damaged.
        """
        found = self._files()
        if not found:
            return None
        path = f"{self.path}/{found[-1]}"
        try:
            with _fetched(self._spark, path) as file:
                run = read_run(file, solvers)
            if any(state.coef.shape != (size,) for state in run.states):
                raise ValueError(f"it is not of {size} coefficients a model")
        except Exception as error:
            if self._files() != found:
                # another driver does the same, and has come farther
                return self.load(solvers, size)
            raise PersistenceError(
                f"{self._name}: the checkpoint {path} cannot be resumed from: {_reason(error)}. "
                f"Remove {self.path} to begin anew"
            ) from error
        # they go with the end of this fit: the driver that wrote them may be alive
        self._found = found
        log.warning("%s: resumed at iteration %d from %s", self._name, run.iteration, path)
        return run

    def remove(self) -> None:
        """Remove the folder; a fit that has ended well does not fail here."""
        try:
            there = self._files()
            mine = [name for name in there if name in (self._mine, *self._found)]
            gone = [self.path] if mine == there else [f"{self.path}/{name}" for name in mine]
            for path in gone:
                files, hadoop = file_system(self._spark, path)
                files.delete(hadoop, True)
        except Exception as error:
            log.warning(
                "%s: the checkpoint %s could not be removed: %s. Remove it by hand",
                self._name,
                self.path,
                _reason(error),
            )

    def _files(self) -> list[str]:
        """Names of complete files, the last one last."""
        numbered = [
            (int(match[1]), name)
            for name in names(self._spark, self.path)
            if (match := re.fullmatch(r"pass-(\d+)(?:-[0-9a-f]{8})?\.zip", name))
        ]
        return [name for _, name in sorted(numbered)]


def _read_fingerprint(spark: SparkSession, folder: str) -> Fingerprint | None:
    """What a checkpoint is of; None where there is none, or none that can be told."""
    path = f"{folder}/fingerprint.json"
    if not exists(spark, path):
        return None
    try:
        with _fetched(spark, path) as file:
            return Fingerprint.from_json(file.read().decode())
    except Exception as error:
        if not exists(spark, path):
            return None  # its fit has just ended, in another driver
        raise PersistenceError(
            f"{path} cannot be read: {_reason(error)}. Remove {folder} to begin anew"
        ) from error


def _put(spark: SparkSession, path: str, write: Callable[[BinaryIO], Any]) -> None:
    """Make a file of what a function writes, which appears whole or not at all."""
    folder, _, name = path.rpartition("/")
    part = f"{folder}/.{name}-{uuid.uuid4().hex}"
    files, hadoop = file_system(spark, part)
    try:
        write_file(spark, part, write)
        if exists(spark, path):
            files.delete(file_system(spark, path)[1], False)
        rename(spark, part, path)
    except BaseException:
        with contextlib.suppress(Exception):
            files.delete(hadoop, False)
        raise


@contextlib.contextmanager
def _fetched(spark: SparkSession, path: str) -> Iterator[Any]:
    """The content of a path, as an open file of the driver."""
    with tempfile.TemporaryDirectory(prefix="sparkml_lsml-checkpoint-") as folder:
        local = Path(folder, "content")
        files, hadoop = file_system(spark, path)
        # raw: without a file of checksums beside it
        files.copyToLocalFile(False, hadoop, file_system(spark, f"file://{local}")[1], True)
        with local.open("rb") as file:
            yield file


def _reason(error: Exception) -> str:
    """The first line of an error, of the JVM's own where it comes from there."""
    java = getattr(error, "java_exception", None)
    text = str(java.toString()) if java is not None else f"{error}"
    lines = text.strip().splitlines()
    return lines[0] if lines else type(error).__name__
