"""What went wrong in a task, read from the error that Spark raises on the driver."""

import re

from sparkml_lsml.errors import (
    BackendError,
    DiskError,
    ParamError,
    SourceChangedError,
    without_secrets,
)


def raise_for_disk(error: Exception) -> None:
    """Raise the `DiskError` of a task, which arrives as text in an error of Spark's.

    Nothing happens if the task failed for another reason.
    """
    if found := re.search(r"\bsparkml_lsml\.errors\.DiskError: (.+)", str(error)):
        raise DiskError(found[1].strip()) from error


def raise_for_loss(error: Exception) -> None:
    """Raise the error of a task about a user's loss or network, which is text in one of Spark's.

    Nothing happens if the task failed for another reason.
    """
    known = r"\bsparkml_lsml\.errors\.(BackendError|ParamError): ((?:loss|network) '.+|torch is .+)"
    found = re.search(known, str(error))
    if found:
        kind = BackendError if found[1] == "BackendError" else ParamError
        raise kind(found[2].strip()) from error


def raise_for_idle(error: Exception) -> None:
    """Raise `BackendError` if Spark ended a Python worker that sent nothing for too long.

    A pass sends its sum at its end. Nothing happens if the job failed for another reason.
    """
    found = re.search(
        r"Python worker process terminated due to idle timeout \(timeout: ([^)]+)\)", str(error)
    )
    if found:
        raise BackendError(
            f"Spark ended a Python worker that sent nothing for {found[1]}, which is less than a "
            "pass over one block takes: set spark.python.worker.killOnIdleTimeout to false, raise "
            "spark.python.worker.idleTimeoutSeconds, or use more partitions"
        ) from error


LOST_BLOCKS = (
    "blocks of training rows were lost, and cannot be packed anew",
    "The source must stay as it is during the fit",
)
LATE_METRICS = (
    "metrics are computed when the first of them is asked for, and the rows cannot be read again",
    "Ask for a metric before the source changes, which keeps them all, or call "
    "model.evaluate(frame) on a frame that can be read",
)
"""What could not be done, and what to do about it."""


def raise_for_source(error: Exception, what: tuple[str, str] = LOST_BLOCKS) -> None:
    """Raise `SourceChangedError` if rows were to be read again from a file that is gone."""
    text = str(error)
    # the class of the error since Spark 4, and the words of Spark 3
    if "FILE_NOT_EXIST" in text or "underlying files have been updated" in text:
        found = re.search(r"FileNotFoundException: (.+)", text)
        gone = without_secrets(found[1].strip()) if found else "a file of the source is gone"
        raise SourceChangedError(f"{what[0]}: {gone}. {what[1]}") from error
