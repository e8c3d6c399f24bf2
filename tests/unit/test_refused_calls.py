"""A JVM that refuses calls, as Databricks' does with credential passthrough."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

pytest.importorskip("pyspark")

from py4j.protocol import Py4JError

from sparkml_lsml.spark.cluster.jobs import JobGroup
from sparkml_lsml.spark.cluster.session import allowed
from sparkml_lsml.spark.cluster.sizing import executors, parallelism, slots


def refused(*_: Any) -> NoReturn:
    raise Py4JError("Method public int SparkContext.any() is not whitelisted on class SparkContext")


class Refusing:
    """Refuses whatever is called, but for what it is given."""

    def __init__(self, **allowed: Any) -> None:
        vars(self).update(allowed)

    def __getattr__(self, name: str) -> Any:
        return refused


def session(master: str = "spark://host:7077", **allowed: Any) -> Any:
    """A Spark context of 12 cores."""
    jsc = SimpleNamespace(sc=lambda: Refusing(**allowed))
    calls = {"addJobTag": refused, "setLocalProperty": refused, "cancelJobsWithTag": refused}
    return SimpleNamespace(_jsc=jsc, defaultParallelism=12, master=master, _conf={}, **calls)


def test_sizes_are_taken_from_what_everybody_may_ask() -> None:
    sc = session()
    assert slots(sc) == parallelism(sc) == 12
    # one core each, as far as is known: rather too many than one that keeps its files
    assert executors(sc) == 12
    sc._conf = {"spark.executor.cores": "4"}
    assert executors(sc) == 3
    assert executors(session("local[12]")) == 1


def test_other_errors_are_not_taken_for_a_refusal() -> None:
    def broken() -> NoReturn:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        slots(session(resourceProfileManager=broken))


def test_jobs_run_where_they_cannot_be_named() -> None:
    jobs, done = JobGroup(session(), "fit"), []
    with jobs.job("pass 1"):
        done.append(1)
    with pytest.raises(ZeroDivisionError), jobs.job("pass 2"):
        done.append(1 // 0)
    jobs.cancel()
    jobs.stop()
    assert done == [1]


def test_what_was_set_before_a_refusal_is_put_back() -> None:
    held: list[Any] = []
    before = SimpleNamespace(clone=lambda: "own")
    sc = session(getLocalProperties=lambda: before, setLocalProperties=held.append)
    with JobGroup(sc, "fit").job("pass 1"):
        assert held == ["own"]
    assert held == ["own", before]


def test_a_connection_that_an_interrupt_has_cut_is_no_refusal() -> None:
    """Py4J then raises its own error in place of the interrupt."""

    def ask() -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise Py4JError("Error while sending or receiving")  # noqa: B904

    with pytest.raises(Py4JError, match="sending"):
        allowed(ask, lambda: 1)
