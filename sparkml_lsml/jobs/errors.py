"""What a job may fail with, and how any failure becomes one readable line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sparkml_lsml.errors import SparkMLError

Path = tuple[str | int, ...]
"""Where a value stands in a configuration, e.g. ``("pipeline", "stages", 0, "class")``."""

_STACK_FRAME = re.compile(r"^\s*(at\s+[\w.$]+\(|\.\.\. \d+ more|JVM stacktrace:)")
_PYTHON_FRAME = re.compile(r'^\s*File "[^"]*", line \d+')
_EXCEPTION_LINE = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Za-z_]\w*(?:Error|Exception|Interrupt): ")
_LONGEST_LINE = 1000


def dotted(path: Path) -> str:
    """Write a place in a configuration as people do: ``pipeline.stages[0].class``.

    Examples
    --------
    >>> dotted(("pipeline", "stages", 0, "class"))
    'pipeline.stages[0].class'
    """
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{key}" if text else key
    return text


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a configuration.

    Attributes
    ----------
    path
        The key it concerns; empty for the file as a whole.
    message
        What was found, what was expected, what to do.
    line
        Line in the file, counted from 1, where it is known.
    """

    path: Path
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = dotted(self.path)
        if self.line is not None:
            where = f"line {self.line}: {where}" if where else f"line {self.line}"
        return f"{where}: {self.message}" if where else self.message


class ConfigError(SparkMLError, ValueError):
    """A configuration that cannot be carried out; nothing was read or written.

    Attributes
    ----------
    problems
        Every problem found, in the order of the file.
    source
        Name of the file, or None for a configuration made in Python.

    Examples
    --------
    >>> print(
    ...     ConfigError([Problem(("split", "fraction"), "must be below 1, found 2", 7)], "a.yaml")
    ... )
    a.yaml: line 7: split.fraction: must be below 1, found 2
    """

    def __init__(self, problems: Sequence[Problem], source: str | None = None) -> None:
        self.problems = tuple(problems)
        self.source = source
        prefix = f"{source}: " if source else ""
        super().__init__(prefix + "; ".join(str(problem) for problem in self.problems))


class JobError(SparkMLError):
    """A job that could not be finished; its outputs are as they were before."""


def one_line(error: BaseException) -> str:
    """Tell in one line what an exception says, without stack frames of Java or Python.

    Parameters
    ----------
    error
        Any exception, those that come from the JVM through Py4J included.

    Returns
    -------
    str
        Never empty, never with a line break, at most some 1,000 characters.

    Examples
    --------
    >>> one_line(KeyError("label"))
    "KeyError: 'label'"
    """
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    java = getattr(error, "java_exception", None)
    text = str(java.toString()) if java is not None else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(_PYTHON_FRAME.match(line) for line in lines):
        # A failed Python worker sends its whole traceback: the cause is its last exception line.
        causes = [line for line in lines if _EXCEPTION_LINE.match(line)]
        lines = causes[-1:] or lines[:1]
    else:
        for index, line in enumerate(lines):
            if _STACK_FRAME.match(line):
                lines = lines[:index]
                break
    message = " ".join(lines)
    if len(message) > _LONGEST_LINE:
        message = message[:_LONGEST_LINE] + " ..."
    spark_or_ours = isinstance(error, SparkMLError) or hasattr(error, "getSqlState")
    if message and (spark_or_ours or java is not None):
        return message
    name = type(error).__name__
    # The text of a KeyError is the bare key, and other builtin errors can be as short.
    readable = isinstance(error, ValueError | RuntimeError | TypeError) and " " in message
    if readable or _EXCEPTION_LINE.match(message):
        return message
    return f"{name}: {message}" if message else name
