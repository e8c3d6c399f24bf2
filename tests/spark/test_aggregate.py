"""How totals travel: levels of the tree, and reports that are too large to travel at once."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest
from pyspark import RDD
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.spark.cluster import trees
from sparkml_lsml.spark.cluster.broadcasts import broadcast
from sparkml_lsml.worker.packing import SMALL_REPORT
from tests.spark.helpers import binary_rows, frame, jobs_so_far, nothing_left, numbers


@pytest.mark.parametrize(("partitions", "depth"), [(40, 2), (100, 2), (100, 3), (7, 4)])
def test_totals_that_spark_leaves_to_the_driver(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, partitions: int, depth: int
) -> None:
    left: list[int] = []

    def stop(rdd: Any, function: Any) -> int:
        left.append(rdd.getNumPartitions())
        return 0

    monkeypatch.setattr(RDD, "reduce", stop)
    rows = spark.sparkContext.parallelize(range(partitions), partitions)
    rows.treeAggregate(0, max, max, depth)
    assert left == [trees._left(partitions, depth)]


@pytest.mark.parametrize("nbytes", [10**3, 10**7, 160 * 10**6, 10**9])
@pytest.mark.parametrize("partitions", [2, 90, 2_000, 10_000])
def test_the_driver_takes_no_more_than_it_can(partitions: int, nbytes: int) -> None:
    depth = trees.levels(partitions, 2, nbytes)
    last = trees._left(partitions, depth)
    # a tree of pairs is the deepest, and leaves some totals too
    assert last * nbytes <= trees.LAST_BYTES or last <= 4
    if depth > 2:
        assert trees._left(partitions, depth - 1) * nbytes > trees.LAST_BYTES


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
