"""A Ctrl-C at the wrong moment: held back where it would leave half of something, and not lost."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from py4j.protocol import Py4JError


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
            usual(signal.SIGINT, held[0])


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Raise a Ctrl-C at the end if it was lost.

    Python ignores what is raised while an object is finalized, and Py4J's objects are all the time.
    Where Py4J loses its connection instead, as it handles one, a Ctrl-C is what has happened.
    """
    usual = _handler()
    if usual is None:
        yield
        return
    came: list[Any] = []

    def note(number: int, frame: Any) -> None:
        came.append(frame)
        usual(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Py4JError as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, usual)
    if came:
        raise KeyboardInterrupt


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an error was raised as a Ctrl-C was handled, or as what it led to was."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _handler() -> Callable[[int, Any], Any] | None:
    """What a Ctrl-C calls; None in other threads, which it does not reach and may not change it."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        return None
    return usual
