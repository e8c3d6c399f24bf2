"""Paths and names of files as text; without Spark, for configurations and the terminal too."""

import os
import re
from typing import Any

from sparkml_lsml.errors import PersistenceError, without_secrets

_LOST_SLASH = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")
"""A scheme of several letters, which is no drive of Windows, and one slash."""


def path_text(path: Any, caller: str) -> str:
    """A path of the user's as text: of a string or an `os.PathLike`, without slashes at its end.

    Parameters
    ----------
    path : str or os.PathLike
    caller : str
        Whom it was given to, for the error.

    Raises
    ------
    TypeError
        If it is neither, or `pathlib` has made another path of a URI.
    PersistenceError
        If it is empty.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> path_text(PurePosixPath("/models/svc"), "save")
    '/models/svc'
    """
    found = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(found, str):
        shown = "None" if path is None else f"a {type(path).__name__}"
        raise TypeError(
            f"{caller}: found {shown}, expected the path as a text or an os.PathLike such as "
            "pathlib.Path"
        )
    if found is not path and _LOST_SLASH.match(found):
        raise TypeError(
            f"{caller}: found {without_secrets(found)!r}, of whose slashes pathlib has dropped "
            "one: give a URI as a text, such as 's3a://bucket/model'"
        )
    if not found:
        raise PersistenceError(f"{caller}: found an empty path, expected that of a folder")
    return found.rstrip("/") or found


def hidden(name: str) -> bool:
    """Whether Spark passes over a file or folder of this name when it reads the one above it.

    ``_x=1`` is not: a partition, whose files are then all that is read. Nor is ``_metadata``. What
    is checked has to be what Spark reads.
    """
    seen = "=" in name or name.startswith(("_metadata", "_common_metadata"))
    return name.startswith(".") or (name.startswith("_") and not seen)
