"""Seconds of alternating contestants, and the memory of a tree of processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Result = dict[str, Any]
Say = Callable[[str], None]

PAIRS = 5
SLOW = 60.0
"""Seconds after which one pair is enough."""


class Timed(Generic[T]):
    """Seconds of each run of one contestant, and the result of the last.

    The least of them counts: whatever else a machine does adds to a run, and nothing takes away.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.result: T | None = None

    def run(self, work: Callable[[], T]) -> None:
        begin = time.perf_counter()
        self.result = work()
        self.seconds.append(time.perf_counter() - begin)

    @property
    def least(self) -> float:
        return min(self.seconds)


def alternate(
    contestants: Mapping[str, Callable[[], T]], pairs: int = PAIRS
) -> dict[str, Timed[T]]:
    """Run the contestants in turn, so that what else the machine does meets all of them alike.

    Every other round is in the reverse order: nobody always runs behind the same neighbour.
    """
    timed: dict[str, Timed[T]] = {name: Timed() for name in contestants}
    for number in range(pairs):
        for name in sorted(contestants, reverse=number % 2 == 1):
            timed[name].run(contestants[name])
        if any(each.least > SLOW for each in timed.values()):
            break
    return timed


def shown(timed: Mapping[str, Timed[T]]) -> str:
    """The least of each in one line."""
    return ", ".join(f"{name} {each.least:.2f} s" for name, each in timed.items())


class PeakMemory:
    """Most memory of a process and its descendants while a block runs; empty without ``/proc``.

    Attributes
    ----------
    peak : dict of str to int
        Bytes: ``jvm``; ``driver``, the driver's Python; ``workers``, Python workers with the files
        they have mapped; ``workers_private``, the same without files.
    """

    # Each look at /proc takes milliseconds of a core that the measured processes want.
    INTERVAL = 0.25

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak: dict[str, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.INTERVAL):
            for name, value in memory(self.pid).items():
                self.peak[name] = max(value, self.peak.get(name, 0))


def descendants(root: int) -> dict[int, int]:
    """A process and its descendants, each with its parent; empty without ``/proc``."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name in parentheses may hold anything.
            after = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(after[1])
    found = {}
    for pid, parent in parents.items():
        ancestor = pid
        while ancestor not in (root, 0):
            ancestor = parents.get(ancestor, 0)
        if ancestor == root:
            found[pid] = parent
    return found


def memory(root: int) -> dict[str, int]:
    """Resident bytes of a process and its descendants now, by what they are."""
    found: dict[str, int] = {}
    for pid in descendants(root):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        status = dict(line.split(":", 1) for line in lines)
        if "VmRSS" not in status:
            continue
        resident = 1024 * int(status["VmRSS"].split()[0])
        private = 1024 * int(status["RssAnon"].split()[0])
        program = Path(os.fsdecode(command.split(b"\0")[0])).name
        if program == "java":
            found["jvm"] = found.get("jvm", 0) + resident
        elif b"pyspark.daemon" in command:
            found["workers"] = found.get("workers", 0) + resident
            found["workers_private"] = found.get("workers_private", 0) + private
        elif program.startswith("python"):
            found["driver"] = found.get("driver", 0) + resident
    return found
