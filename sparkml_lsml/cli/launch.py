"""Starts the program that looks at Spark from inside, and ends it when Spark does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import signal
import subprocess  # nosec B404
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from sparkml_lsml.cli.probe import MARK

_END = None
_JOIN_SECONDS = 5.0
_STOP_SECONDS = 10.0
_TELLING = re.compile(r"\b[\w.]*(Exception|Error)\b|^Error\b")


@dataclass
class Answer:
    """What Spark said.

    Attributes
    ----------
    session, workers
        As `sparkml_lsml.cli.probe` tells them; None for a stage that was not reached.
    fault
        What ended the probe before its end; empty if all went well.
    """

    session: dict[str, Any] | None = None
    workers: dict[str, Any] | None = None
    fault: str = ""


@dataclass(frozen=True)
class Launch:
    """How to start Spark.

    Attributes
    ----------
    options
        Options of ``spark-submit``.
    seconds
        How long the session, and then the job, may take.
    environment
        Variables of the process.
    """

    options: Sequence[str]
    seconds: float
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def run(self) -> Answer:
        """Start a session, run a job in it, and end both; what takes too long is killed."""
        answer = Answer()
        with tempfile.TemporaryFile() as errors:
            # this very Python
            process = subprocess.Popen(  # nosec B603
                [sys.executable, "-m", "sparkml_lsml.cli.probe"],
                env={**self.environment, "PYSPARK_SUBMIT_ARGS": self._submit_args()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
                start_new_session=True,  # the JVM is in its group, and ends with it
            )
            assert process.stdout is not None
            lines: queue.Queue[str | None] = queue.Queue()
            reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
            reader.start()
            try:
                if self._listen(lines, answer):
                    # it ends by itself: Spark removes its folders and tells the cluster
                    reader.join(_STOP_SECONDS)
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                reader.join(_JOIN_SECONDS)  # what it started has the same outputs, and ends now
            if answer.workers is None:
                answer.fault = _explained(answer.fault, errors)
        return answer

    def _submit_args(self) -> str:
        theirs = shlex.split(self.environment.get("PYSPARK_SUBMIT_ARGS", "")) or ["pyspark-shell"]
        return shlex.join([*theirs[:-1], *self.options, theirs[-1]])

    def _listen(self, lines: queue.Queue[str | None], answer: Answer) -> bool:
        """Hear what the probe tells; False if it is late, True if it is about to end by itself."""
        for what in ("session", "job"):
            deadline = time.monotonic() + self.seconds
            told = _next(lines, deadline)
            if told is None:
                late = time.monotonic() >= deadline
                answer.fault = f"no {what} within {self.seconds:g} s" if late else ""
                return not late
            if told["stage"] == "error":
                answer.fault = told["message"]
                return True
            if told["stage"] == "session":
                answer.session = told
            else:
                answer.workers = told
        return True


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(_END)


def _next(lines: queue.Queue[str | None], deadline: float) -> dict[str, Any] | None:
    """What the probe tells next; None if it ended, or is late."""
    while True:
        try:
            line = lines.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            return None
        if line is _END:
            return None
        _, mark, told = line.partition(MARK)
        if mark:
            found: dict[str, Any] = json.loads(told)
            return found


def _explained(fault: str, errors: IO[bytes]) -> str:
    """The fault, with what Java said of it where PySpark only knows that Java is gone."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").splitlines()
    said = [line.strip() for line in lines if _TELLING.search(line)]
    if fault and "JAVA_GATEWAY_EXITED" not in fault:
        return fault
    last = said[-1:] if not said or "JAVA_GATEWAY_EXITED" in said[-1] else said[:1]
    return ": ".join([fault, *last]) if fault else (last or ["the process ended without a word"])[0]
