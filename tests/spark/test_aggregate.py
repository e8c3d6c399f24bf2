"""How totals travel: levels of the tree, and reports that are too large to travel at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from py4j.clientserver import ClientServerConnection
from pyspark import RDD
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.spark.cluster import trees
from sparkml_lsml.spark.cluster.broadcasts import broadcast
from sparkml_lsml.worker.packing import SMALL_REPORT
from sparkml_lsml.worker.totals import Total
from tests.faults import estimator, made_up_rows, network, wait_for
from tests.spark.helpers import binary_rows, frame, jobs_so_far, nothing_left, numbers


def sizes(targets: list[list[int]]) -> list[int]:
    """Totals that each level leaves."""
    return [max(level) + 1 for level in targets]


@pytest.mark.parametrize(("partitions", "depth"), [(40, 2), (64, 2), (500, 2), (100, 3), (7, 4)])
def test_levels_are_as_many_as_those_of_spark(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, partitions: int, depth: int
) -> None:
    """And leave the driver as many totals, or one more where their number has no root."""
    left: list[int] = []
    stages: list[int] = []
    by_key = RDD.reduceByKey

    def reduce_by_key(rdd: Any, function: Any, number: int) -> Any:
        stages.append(number)
        return by_key(rdd, function, number)

    def stop(rdd: Any, function: Any) -> int:
        left.append(rdd.getNumPartitions())
        return 0

    monkeypatch.setattr(RDD, "reduceByKey", reduce_by_key)
    monkeypatch.setattr(RDD, "reduce", stop)
    rows = spark.sparkContext.parallelize(range(partitions), partitions)
    rows.treeAggregate(0, max, max, depth)
    found = sizes(trees.levels([""] * partitions, depth, 8))
    assert len(found) == len(stages)
    assert left[0] <= ([partitions, *found])[-1] <= left[0] + 1


@pytest.mark.parametrize("nbytes", [10**3, 10**7, 160 * 10**6, 10**9])
@pytest.mark.parametrize("partitions", [2, 90, 2_000, 10_000])
@pytest.mark.parametrize("machines", [1, 5, 500])
def test_the_driver_takes_no_more_than_it_can(partitions: int, nbytes: int, machines: int) -> None:
    places = [str(number % machines) for number in range(partitions)]
    left = partitions
    for targets in trees.levels(places, 2, nbytes):
        # each total goes somewhere, and none of a level stays without one
        assert len(targets) == left
        left = max(targets) + 1
        assert sorted(set(targets)) == list(range(left))
    assert left * nbytes <= trees.LAST_BYTES or left == 1


def test_wide_totals_are_merged_where_they_are_before_they_travel() -> None:
    places = [str(number % 100) for number in range(500)]
    first, second = trees.levels(places, 2, 10 * 2**20)
    for executor in range(100):
        assert len({first[number] for number in range(500) if number % 100 == executor}) == 1
    assert (max(first) + 1, max(second) + 1) == (100, 10)
    # small ones are fewer after one level
    assert sizes(trees.levels(places, 2, 2**10)) == [22]


def test_an_executor_of_many_cores_merges_in_several_tasks() -> None:
    assert sizes(trees.levels(["a"] * 64, 2, 10 * 2**20)) == [8]


def test_a_tree_leaves_no_files_and_spills_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PySpark's merger writes each total to the disk where a worker has mapped more than 460 MB."""
    monkeypatch.setattr(trees, "SMALL_BYTES", 0)
    sc = spark.sparkContext
    full = tmp_path / "full"
    full.touch()

    def function(partition: int, rows: Any) -> Iterator[Total]:
        from pyspark import shuffle

        list(rows)
        used, spill = shuffle.get_used_memory, shuffle.ExternalMerger._spill  # type: ignore[attr-defined]

        def get_used_memory() -> int:
            return 2**20 if full.exists() else used()

        def told_spill(merger: Any) -> None:
            full.with_name("spilled").touch()
            spill(merger)

        shuffle.get_used_memory = get_used_memory  # type: ignore[attr-defined]
        shuffle.ExternalMerger._spill = told_spill  # type: ignore[attr-defined]
        full.with_name("ran").touch()
        yield Total(nbytes=1 << partition)

    def shuffles() -> list[Path]:
        return sorted(Path(sc._conf.get("spark.local.dir", "")).rglob("shuffle_*.data"))

    before = shuffles()
    written: list[Path] = []
    remove = trees._remove_files

    def look(shuffled: Any) -> None:
        written.extend(shuffles())
        remove(shuffled)

    monkeypatch.setattr(trees, "_remove_files", look)
    found = trees.aggregate(sc.parallelize(range(9), 9), function, 2, 8)
    full.unlink()
    assert len(written) > len(before)
    assert found.nbytes == 2**9 - 1
    assert [path.name for path in tmp_path.iterdir()] == ["ran"]
    wait_for(lambda: shuffles() == before, "the files of the shuffle to be removed")


def test_reports_of_wide_rows_travel_by_themselves(spark: SparkSession) -> None:
    """Each of 3,000 columns has three numbers in a report; on the driver it stays with its row."""
    X, y = binary_rows(rows=40, features=3_000)
    rows = frame(spark, X, y, partitions=2)
    assert SMALL_REPORT < 3_000 * 3 * 8
    params: dict[str, Any] = {"regParam": 0.1, "maxIter": 5}
    expected = numbers(LogisticRegression(**params, execution="local").fit(rows))
    before = jobs_so_far(spark)
    with nothing_left(spark):
        model = LogisticRegression(**params, execution="distributed").fit(rows)
    np.testing.assert_allclose(numbers(model), expected, rtol=1e-9, atol=1e-12)
    # reports and handles, then the reports; passes; the job that removes the files
    assert jobs_so_far(spark) - before == 2 + model.summary.passes + 1


class Interrupting:
    """A value during whose pickling somebody presses Ctrl-C."""

    def __reduce__(self) -> tuple[Any, ...]:
        os.kill(os.getpid(), signal.SIGINT)
        return int, ()


def test_case_49_an_interrupt_while_something_is_sent(spark: SparkSession) -> None:
    """A real SIGINT, half-way through a broadcast: it comes behind it, and leaves no file."""
    usual = signal.getsignal(signal.SIGINT)
    with (
        nothing_left(spark),
        pytest.raises(KeyboardInterrupt),
        broadcast(spark.sparkContext, Interrupting()),
    ):
        pass
    assert signal.getsignal(signal.SIGINT) is usual


@pytest.fixture
def interrupting_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Send a SIGINT between a command of Py4J, after so many others, and its answer."""
    send = ClientServerConnection.send_command
    main = threading.main_thread()

    class Stream:
        """What an answer is read from."""

        def __init__(self, connection: Any) -> None:
            self.connection, self.stream = connection, connection.stream
            connection.stream = self

        def readline(self) -> Any:
            self.connection.stream = self.stream
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(99))
            return self.stream.readline()

    def after(calls: int) -> list[str]:
        commands: list[str] = []

        def send_command(connection: Any, command: str) -> Any:
            if threading.current_thread() is not main:
                return send(connection, command)
            commands.append(command)
            if len(commands) == calls:
                Stream(connection)
            return send(connection, command)

        monkeypatch.setattr(ClientServerConnection, "send_command", send_command)
        return commands

    return after


@pytest.mark.parametrize("part", [0.02, 0.2, 0.4, 0.5, 0.7, 0.9])
def test_case_49_an_interrupt_in_the_middle_of_a_call(
    spark: SparkSession, interrupting_calls: Callable[[int], list[str]], part: float
) -> None:
    """PySpark answers it by a call of its own: each would take the answer of the other."""
    rows = made_up_rows(spark)
    commands = interrupting_calls(0)
    expected = numbers(estimator().fit(rows))
    calls = int(part * len(commands))
    with nothing_left(spark):
        commands = interrupting_calls(calls)
        with pytest.raises(KeyboardInterrupt):
            estimator().fit(rows)
    assert len(commands) >= calls
    interrupting_calls(0)
    np.testing.assert_allclose(numbers(estimator().fit(rows)), expected, rtol=1e-9, atol=1e-12)


def test_rounds_of_a_network_are_averaged_in_the_order_of_the_partitions(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they weigh: last bits of an average would grow from round to round."""
    trees_taken: list[int] = []
    levels = trees.levels

    def counted(places: Any, depth: int, nbytes: int) -> Any:
        trees_taken.append(nbytes)
        return levels(places, depth, nbytes)

    monkeypatch.setattr(trees, "SMALL_BYTES", 0)
    monkeypatch.setattr(trees, "levels", counted)
    rows = made_up_rows(spark, 200, 9)
    passes = estimator(maxIter=3).fit(rows).summary.passes
    assert len(trees_taken) >= passes - 1
    trees_taken.clear()
    # the loss over all rows at the end may come through a tree
    network(maxIter=5).fit(rows)
    assert len(trees_taken) <= 1
