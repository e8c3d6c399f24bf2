"""Packages that are measured in an environment and a process of their own.

They pin versions of their own, or are too large to be extras of this one. The first run installs
them, which takes a package registry.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.data import FOLDER


class Elsewhere:
    """A script of this folder that answers line by line, warm from one question to the next.

    A context manager: the process ends with it.

    Parameters
    ----------
    script : str
        Its name: it reads a question in JSON from each line of its input, and prints an answer.
    packages : tuple of str
        What its environment has, first the one that it is called after.
    """

    def __init__(self, script: str, *packages: str) -> None:
        python = environment(packages)
        # without this folder among those of modules, which has some that are called as packages
        command = [str(python), "-P", str(Path(__file__).with_name(script))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def ask(self, **question: Any) -> dict[str, Any]:
        """What the script answers; the bench ends where it does not."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(question), file=process.stdin, flush=True)
        line = process.stdout.readline()
        if not line:
            sys.exit(f"{process.args!r}: ended with {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def environment(packages: tuple[str, ...]) -> Path:
    """The Python of an environment with some packages, which is made where there is none yet."""
    folder = FOLDER / packages[0].replace("==", "-")
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        done.touch()
    return python
