"""A Ctrl-C that comes at the wrong moment."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
from py4j.protocol import Py4JError, Py4JNetworkError

from sparkml_lsml.spark.cluster.interrupts import (
    heeded,
    held_back,
    raise_if_interrupted,
    was_interrupted,
)


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


def within_py4j(work: Callable[[], None]) -> None:
    """Do something in a frame of Py4J, as what happens in the middle of a call is."""
    exec("work()", {"__name__": "py4j.clientserver", "work": work})


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(99))


def test_an_interrupt_waits_for_the_call_that_it_came_in() -> None:
    """And jobs are cancelled meanwhile, until the end."""
    cancelled = threading.Semaphore(0)
    seen: list[str] = []

    def job() -> None:
        within_py4j(interrupt)
        seen.append("the call ended")
        # again: the call may have led to a job that the first time came too early for
        for _ in range(2):
            assert cancelled.acquire(timeout=20.0)
        raise_if_interrupted()
        seen.append("another job began")

    with pytest.raises(KeyboardInterrupt), heeded(), heeded(cancelled.release):
        job()
    assert seen == ["the call ended"]
    with heeded():
        raise_if_interrupted()


def test_an_interrupt_that_waited_to_the_end_is_raised_there() -> None:
    with pytest.raises(KeyboardInterrupt), heeded():
        within_py4j(interrupt)


def test_the_second_interrupt_does_not_wait() -> None:
    seen: list[str] = []

    def impatient() -> None:
        within_py4j(interrupt)
        seen.append("waited")
        within_py4j(interrupt)
        seen.append("waited again")

    with pytest.raises(KeyboardInterrupt), heeded():
        impatient()
    assert seen == ["waited"]


def test_what_a_cancelled_job_leads_to_is_an_interrupt() -> None:
    def fail() -> None:
        within_py4j(interrupt)
        raise ValueError("job was cancelled")

    with pytest.raises(KeyboardInterrupt) as caught, heeded():
        fail()
    assert isinstance(caught.value.__cause__, ValueError)


def test_handlers_of_others_are_left_alone() -> None:
    """One that only takes note wants the fit to end as it would."""
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    with heeded():
        interrupt()
        within_py4j(interrupt)
        raise_if_interrupted()
    assert came == [signal.SIGINT] * 2


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
