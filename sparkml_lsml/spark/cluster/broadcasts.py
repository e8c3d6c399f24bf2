"""Broadcasts that leave nothing behind, whatever ends them."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark import SparkContext


@contextlib.contextmanager
def broadcast(sc: SparkContext, value: Any) -> Iterator[Any]:
    """A broadcast that is destroyed on every way out."""
    sent = None
    try:
        with _uninterrupted():
            sent = sc.broadcast(value)
        yield sent
    finally:
        if sent is not None:
            with _uninterrupted(), contextlib.suppress(Exception):  # the context may be gone
                sent.destroy()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back a Ctrl-C until the end: half a broadcast is a file that nobody knows of."""
    usual = signal.getsignal(signal.SIGINT)
    # other threads are not interrupted, and may not touch handlers
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
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


def broadcast_bytes(sent: Any) -> int:
    """Bytes of a broadcast, which the driver keeps in a file."""
    try:
        return Path(sent._path).stat().st_size
    except (AttributeError, OSError):  # what a broadcast is made of is PySpark's own affair
        return 0
