"""A Ctrl-C that comes at the wrong moment."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import weakref
from collections.abc import Iterator

import pytest
from py4j.protocol import Py4JError, Py4JNetworkError

from sparkml_lsml.spark.cluster.interrupts import heeded, held_back, was_interrupted


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """Raise as Python does; a process in the background of a shell ignores a Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Finalized:
    """Something that a weak reference can be of."""


def interrupt_a_finalizer() -> None:
    """Have a Ctrl-C raised where Python only prints it."""
    one = Finalized()
    reference = weakref.ref(one, lambda _: os.kill(os.getpid(), signal.SIGINT) or sum(range(99)))
    del one
    assert reference() is None


def test_an_interrupt_that_python_ignores_is_raised_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: ignored.append(info.exc_type))
    interrupt_a_finalizer()  # without, it is lost
    assert ignored == [KeyboardInterrupt]
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), heeded():
        interrupt_a_finalizer()
    assert len(ignored) == 2
    assert signal.getsignal(signal.SIGINT) is usual
    with heeded(), held_back():
        pass


def test_an_interrupt_is_held_back() -> None:
    done: list[int] = []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        done.append(sum(range(99)))

    with pytest.raises(KeyboardInterrupt), heeded(), held_back():
        work()
    assert done == [sum(range(99))]


def test_py4j_that_loses_its_connection_to_an_interrupt_is_one() -> None:
    """It answers a Ctrl-C in the middle of a call by a call, which fails, and so does the next."""

    def cut() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(fail, Py4JNetworkError("Answer from Java side is empty"))
            try:
                os.kill(os.getpid(), signal.SIGINT)
                sum(range(99))
            except KeyboardInterrupt:
                fail(Py4JError("Gateway must be connected to send cancel cmd."))

    def fail(error: Py4JError) -> None:
        raise error

    with pytest.raises(Py4JNetworkError) as caught:
        cut()
    assert was_interrupted(caught.value)
    assert not was_interrupted(Py4JError("refused"))
    with pytest.raises(KeyboardInterrupt), heeded():
        cut()
    with pytest.raises(Py4JError, match="refused"), heeded():
        raise Py4JError("refused")
