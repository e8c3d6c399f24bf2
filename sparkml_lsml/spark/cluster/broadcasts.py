"""Broadcasts that leave nothing behind, whatever ends them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark import SparkContext

from sparkml_lsml.spark.cluster.interrupts import held_back


@contextlib.contextmanager
def broadcast(sc: SparkContext, value: Any) -> Iterator[Any]:
    """A broadcast that is destroyed on every way out."""
    sent = None
    try:
        with held_back():
            sent = sc.broadcast(value)
        yield sent
    finally:
        if sent is not None:
            with held_back(), contextlib.suppress(Exception):  # the context may be gone
                sent.destroy()


def broadcast_bytes(sent: Any) -> int:
    """Bytes of a broadcast, which the driver keeps in a file."""
    try:
        return Path(sent._path).stat().st_size
    except (AttributeError, OSError):  # what a broadcast is made of is PySpark's own affair
        return 0
