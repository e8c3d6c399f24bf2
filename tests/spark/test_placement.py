"""Blocks that are asked of another executor than their own: who waits, and who reads again.

Real ones are in ``tests/cluster``; what Spark says of executors is made up here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.passes import RowsSum
from sparkml_lsml.errors import SparkMLError
from sparkml_lsml.spark.cluster.placement import Placement
from sparkml_lsml.spark.rows import healing
from sparkml_lsml.spark.rows.healing import CachedHandles
from sparkml_lsml.worker.totals import PartitionFunction, Total

Patch = pytest.MonkeyPatch

WRITERS = {0: "a", 1: "b", 2: "b"}


def displaced(folder: str, times: int) -> PartitionFunction:
    """A function that is told the first times that the block of partition 1 is elsewhere."""

    def function(partition: int, rows: Any) -> Iterator[Total]:
        list(rows)
        asked = len(list(Path(folder).iterdir()))
        if partition == 1 and asked < times:
            Path(folder, str(asked)).touch()
            yield Total(displaced=(partition,))
        else:
            yield Total(RowsSum([(partition, None)]))  # type: ignore[list-item]

    return function


class Watched(CachedHandles):
    """Handles that note which blocks are forgotten."""

    def __init__(self, spark: SparkSession, check: Any = lambda: None) -> None:
        super().__init__(spark.sparkContext.parallelize(range(3), 3), "fit", 1, "test", check)
        self.forgotten: list[set[int]] = []
        self.note([(number, Handle(1, 1.0, 1)) for number in range(3)])

    def _note_writers(self, partitions: Any) -> None:
        self._writers.update({n: WRITERS[n] for n in partitions})

    def _forget(self, partitions: Any) -> None:
        self.forgotten.append(set(partitions))


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: Patch) -> None:
    monkeypatch.setattr(healing, "PAUSES", (0.001, 0.002))


def numbers_of(total: Total) -> list[int]:
    assert total.value is not None
    return [partition for partition, _ in total.value.parts]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("now", "times", "forgotten"),
    [
        # its executor is busy, however often it is asked
        (Placement(frozenset("ab"), WRITERS), 9, []),
        # decommissioned: the handle has moved to an executor that does not have the files
        (Placement(frozenset("ac"), {0: "a", 1: "c", 2: "c"}), 1, [{1}]),
        # once more where Spark does not say, and then as if it were lost
        (None, 1, []),
        (None, 2, [{1}]),
    ],
    ids=["busy", "gone", "unknown, once", "unknown, twice"],
)
def test_whose_executor_is_waited_for(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: Patch,
    now: Placement | None,
    times: int,
    forgotten: list[set[int]],
) -> None:
    monkeypatch.setattr(healing, "placement", lambda rdd: now)
    handles = Watched(spark)
    try:
        total = handles.run(displaced(str(tmp_path), times), 8)
    finally:
        handles.release()
    assert numbers_of(total) == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == times
    assert handles.forgotten == forgotten
    assert (handles.waited > 0.0) == (forgotten != [{1}] or now is None)


def test_an_executor_that_is_busy_for_good_is_given_up(
    spark: SparkSession, tmp_path: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(healing, "placement", lambda rdd: Placement(frozenset("ab"), WRITERS))
    monkeypatch.setattr(healing, "DISPLACED_SECONDS", 0.0)
    handles = Watched(spark)
    try:
        with caplog.at_level(logging.WARNING, "sparkml_lsml"):
            total = handles.run(displaced(str(tmp_path), 2), 8)
    finally:
        handles.release()
    assert numbers_of(total) == [0, 1, 2]
    assert handles.forgotten == [{1}]
    assert "blocks [1] were lost" in caplog.text


def test_whoever_waits_can_be_stopped(
    spark: SparkSession, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(healing, "placement", lambda rdd: Placement(frozenset("ab"), WRITERS))

    def check() -> None:
        if len(list(tmp_path.iterdir())) == 3:
            raise SparkMLError("stopped")

    handles = Watched(spark, check)
    try:
        with pytest.raises(SparkMLError, match="stopped"):
            handles.run(displaced(str(tmp_path), 99), 8)
    finally:
        handles.release()


def test_a_block_that_is_displaced_in_every_pass_moves(
    spark: SparkSession, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(healing, "placement", lambda rdd: Placement(frozenset("ab"), WRITERS))
    handles = Watched(spark)

    def run(times: int) -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        assert numbers_of(handles.run(displaced(str(folder), times), 8)) == [0, 1, 2]

    try:
        for _ in range(healing.MOVED_AFTER - 1):
            run(2)
        run(0)  # found where it is: begin to count anew
        for _ in range(healing.MOVED_AFTER):
            run(2)
        assert handles.forgotten == []
        run(1)
        assert handles.forgotten == [{1}]
    finally:
        handles.release()
