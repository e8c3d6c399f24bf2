"""Where the progress of a fit is shown: a terminal, a notebook, or the log."""

import importlib
import importlib.util
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger("sparkml_lsml.progress")

A_SECOND = 10
"""Times a second that a line is drawn, at most."""

LOG_SECONDS = 10.0
"""Seconds between two lines of the log."""


class Display(Protocol):
    """What shows the line of one fit."""

    def start(self, text: Callable[[int], str], facts: dict[str, Any]) -> None:
        """Show the line that ``text`` gives for a width."""
        ...

    def begin(self, limit: int) -> None:
        """The first pass begins; there are at most so many iterations."""
        ...

    def update(self, iteration: int, facts: dict[str, Any]) -> None:
        """An iteration of a model has ended."""
        ...

    def stop(self, facts: dict[str, Any]) -> None:
        """Show the line for the last time, and leave it."""
        ...


class LogLines:
    """Lines of the log, of the level INFO: the first, the last, and one each ten seconds."""

    def start(self, text: Callable[[int], str], facts: dict[str, Any]) -> None:
        """See `Display`."""
        self._text, self._due = text, 0.0
        self._write(facts)

    def begin(self, limit: int) -> None:
        """See `Display`."""
        self._due = 0.0

    def update(self, iteration: int, facts: dict[str, Any]) -> None:
        """See `Display`."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + LOG_SECONDS
            self._write(facts)

    def stop(self, facts: dict[str, Any]) -> None:
        """See `Display`."""
        self._write(facts)

    def _write(self, facts: dict[str, Any]) -> None:
        if log.isEnabledFor(logging.INFO):
            log.info("%s", self._text(1_000), extra={"progress": facts})


class TerminalLine:
    """A line at the end of a terminal, drawn by a thread of its own.

    It goes to standard error, as Spark's own bar does. What the program prints in the meantime
    appears above it.

    Parameters
    ----------
    console : rich.console.Console
    """

    def __init__(self, console: Any) -> None:
        self._console = console

    @staticmethod
    def made(shown: bool) -> "TerminalLine | None":
        """The line; None where a terminal cannot draw over what it has shown, unless it must.

        Raises
        ------
        ImportError
            If rich is not installed.
        """
        from rich.console import Console

        console = Console(stderr=True, force_terminal=True if shown else None, highlight=False)
        drawn = console.is_terminal and not console.is_dumb_terminal
        return TerminalLine(console) if drawn or shown else None

    def start(self, text: Callable[[int], str], facts: dict[str, Any]) -> None:
        """See `Display`."""
        from rich.live import Live
        from rich.text import Text

        console = self._console
        turning = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if console.encoding.startswith("utf") else "|/-\\"
        self._running = True

        def line() -> Text:
            if not self._running:
                return Text(text(console.width), no_wrap=True, overflow="ellipsis")
            sign = turning[int(time.monotonic() * A_SECOND) % len(turning)]
            shown = Text(f"{sign} ", "cyan", no_wrap=True, overflow="ellipsis")
            return shown.append(text(console.width - 2), "default")

        self._live = Live(
            console=console,
            get_renderable=line,
            refresh_per_second=A_SECOND,
            # standard output that goes to a file must not end up here
            redirect_stdout=sys.stdout.isatty(),
        )
        self._live.start()
        console.show_cursor(True)  # it would be gone for good with a process that is killed

    def begin(self, limit: int) -> None:
        """See `Display`."""

    def update(self, iteration: int, facts: dict[str, Any]) -> None:
        """See `Display`; the thread looks by itself."""

    def stop(self, facts: dict[str, Any]) -> None:
        """See `Display`."""
        self._running = False
        self._live.stop()


class NotebookBar:
    """tqdm's bar in the output of a notebook's cell; as text where there are no widgets."""

    @staticmethod
    def fits() -> bool:
        """Whether this process is the kernel of a notebook."""
        from IPython.core.getipython import get_ipython

        shell = get_ipython()
        return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"

    def __init__(self) -> None:
        # tqdm.auto would do the same, with a warning
        widgets = importlib.util.find_spec("ipywidgets") is not None
        self._make: Any = importlib.import_module("tqdm.notebook" if widgets else "tqdm.std").tqdm
        text = {"bar_format": "|{bar:20}| {desc}", "file": sys.stdout, "ncols": 130}
        self._form: dict[str, Any] = {"bar_format": "{bar} {desc}"} if widgets else text

    def start(self, text: Callable[[int], str], facts: dict[str, Any]) -> None:
        """See `Display`."""
        self._text = text
        self._bar = self._make(
            total=None,
            desc=text(100),
            mininterval=1.0 / A_SECOND,
            **self._form,
        )

    def begin(self, limit: int) -> None:
        """See `Display`."""
        self._bar.reset(total=limit)

    def update(self, iteration: int, facts: dict[str, Any]) -> None:
        """See `Display`."""
        # drawn by tqdm, where the last time is long enough ago
        self._bar.set_description_str(self._text(105), refresh=False)
        self._bar.update(max(0, iteration - self._bar.n))

    def stop(self, facts: dict[str, Any]) -> None:
        """See `Display`."""
        self._bar.total = self._bar.n or 1
        self._bar.n = self._bar.total
        self._bar.set_description_str(self._text(105))
        self._bar.close()
