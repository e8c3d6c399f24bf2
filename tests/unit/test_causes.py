"""Errors of tasks, which arrive on the driver as text."""

from __future__ import annotations

import pytest

from sparkml_lsml.errors import BackendError
from sparkml_lsml.spark.cluster.causes import raise_for_idle

IDLE = (
    "Job aborted due to stage failure: Task 0 in stage 3.0 failed 4 times, most recent failure: "
    "org.apache.spark.api.python.PythonWorkerException: Python worker process terminated due to "
    "idle timeout (timeout: 30 seconds)"
)
"""As Spark 4.3 has it."""


def test_a_worker_that_was_idle_for_too_long() -> None:
    with pytest.raises(BackendError, match=r"nothing for 30 seconds.*killOnIdleTimeout to false"):
        raise_for_idle(RuntimeError(IDLE))
    raise_for_idle(RuntimeError("Python worker exited unexpectedly (crashed)"))
