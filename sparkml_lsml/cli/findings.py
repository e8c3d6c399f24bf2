"""What `doctor` finds: one line each, with what to do about it."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass


class Status(enum.StrEnum):
    """How bad it is: a warning costs time or room, a problem stops fits."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    area
        Such as ``Java`` or ``Workers``; findings of one area are shown together.
    name
        What was looked at.
    status
        How bad it is.
    found
        What is there.
    advice
        What to do; never empty unless all is well.
    """

    area: str
    name: str
    status: Status
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.status is not Status.OK and not self.advice:
            raise ValueError(f"{self.area}, {self.name}: a {self.status} needs advice")


def worst(findings: Iterable[Finding]) -> Status:
    """The worst status.

    Examples
    --------
    >>> worst([])
    <Status.OK: 'ok'>
    """
    found = {finding.status for finding in findings}
    return next((s for s in (Status.PROBLEM, Status.WARNING) if s in found), Status.OK)


def release(version: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version.

    Examples
    --------
    >>> release("2.4.1rc1"), release("unknown")
    ((2, 4, 1), ())
    """
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def gigabytes(size: float) -> str:
    """A number of bytes in words.

    Examples
    --------
    >>> gigabytes(62_300_000_000), gigabytes(350_000_000)
    ('62 GB', '0.35 GB')
    """
    return f"{size / 1e9:.0f} GB" if size >= 10e9 else f"{size / 1e9:.2g} GB"
