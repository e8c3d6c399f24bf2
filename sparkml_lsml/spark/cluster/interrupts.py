"""A Ctrl-C at the wrong moment: held back where it would leave half of something, and not lost."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

CANCEL_SECONDS = 0.2
"""How long after a job was cancelled what came of it is cancelled again."""


class Heeding:
    """What a Ctrl-C calls while the work of a fit is `heeded`.

    Parameters
    ----------
    usual : callable
        What it called before: Python's own, or PySpark's, which cancels all jobs first.
    cancel : callable, optional
        Ends the job that runs.
    """

    def __init__(self, usual: "Handler", cancel: Callable[[], Any] | None) -> None:
        self._usual, self._cancel = usual, cancel
        self.came = False
        self._over = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise, but not within a call of Py4J, unless it is the second: that is impatience."""
        first, self.came = not self.came, True
        if not first or not _within_py4j(frame):
            self._usual(number, frame)
        elif self._cancel is not None:
            # not from here: this thread's connection is in use
            threading.Thread(target=self._cancel_until_over, daemon=True).start()

    def _cancel_until_over(self) -> None:
        while True:  # the call may have been one that only leads to the job
            with contextlib.suppress(Exception):
                assert self._cancel is not None
                self._cancel()
            if self._over.wait(CANCEL_SECONDS):
                return

    def end(self) -> None:
        """Cancel nothing any more."""
        self._over.set()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold back a Ctrl-C until the end: half a broadcast is a file that nobody knows of."""
    usual = _handler()
    if usual is None:
        yield
        return
    held: list[Any] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if held:
            usual(signal.SIGINT, sys._getframe())


@contextlib.contextmanager
def heeded(cancel: Callable[[], Any] | None = None) -> Iterator[None]:
    """Raise a Ctrl-C at the end, or at `raise_if_interrupted`, where it could not be before.

    In the middle of a call of Py4J, PySpark's handler makes a call of its own on the same
    connection: each then reads the answer of the other. There a Ctrl-C waits for the call, and
    ``cancel`` ends the job that it may be waiting for. What is raised while an object is finalized,
    as Py4J's are all the time, Python ignores; that is raised at the end as well. Handlers other
    than Python's and PySpark's are left alone.
    """
    usual = _handler()
    if isinstance(usual, Heeding):
        usual = usual._usual
    if usual is None or not _raises(usual):
        yield
        return
    heeding = Heeding(usual, cancel)
    before = signal.signal(signal.SIGINT, heeding)
    try:
        yield
    except Exception as error:  # a job that was cancelled, and whatever that led to
        if heeding.came:
            raise KeyboardInterrupt from error
        raise
    finally:
        heeding.end()
        signal.signal(signal.SIGINT, before)
    if heeding.came:
        raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    """Raise a Ctrl-C that came where it could not be raised."""
    handler = _handler()
    if isinstance(handler, Heeding) and handler.came:
        raise KeyboardInterrupt


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an error was raised as a Ctrl-C was handled, or as what it led to was."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _handler() -> Handler | None:
    """What a Ctrl-C calls; None in other threads, which it does not reach and may not change it."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        return None
    return usual


def _raises(handler: Handler) -> bool:
    """Whether it raises `KeyboardInterrupt`, and has nothing else to do that we know of."""
    module = getattr(handler, "__module__", None) or ""
    return handler is signal.default_int_handler or module.partition(".")[0] == "pyspark"


def _within_py4j(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "py4j":
            return True
        frame = frame.f_back
    return False
