"""Tasks that Spark runs again: in a local cluster, and in ``local[2,4]``, which has retries too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from tests.faults import (
    assert_same,
    coefficients,
    estimator,
    fail_once,
    fit_while_a_task_stays,
    hook_passes,
    left_behind,
    made_up_rows,
    network,
    python_workers,
)

Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    return made_up_rows(spark)


@pytest.fixture(scope="module")
def expected(frame: DataFrame) -> Any:
    """Give the model of a fit that nothing disturbs."""
    return estimator().fit(frame)


@pytest.fixture(autouse=True)
def _nothing_left_behind(spark: SparkSession) -> Iterator[None]:
    yield
    assert left_behind(spark) == []


def test_case_40_task_fails_once_in_the_ingest(
    frame: DataFrame, expected: Any, tmp_path: Path
) -> None:
    def source(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        for batch in batches:
            yield batch
            if TaskContext.get().partitionId() == 1:
                try:
                    (tmp_path / "failed").touch(exist_ok=False)
                except FileExistsError:
                    continue
                raise OSError("a passing fault")

    disturbed = frame.mapInArrow(source, frame.schema)
    assert_same(estimator().fit(disturbed), expected)
    assert (tmp_path / "failed").exists()


def test_case_40_task_fails_once_in_a_pass(
    frame: DataFrame, expected: Any, tmp_path: Path, monkeypatch: Patch
) -> None:
    hook_passes(monkeypatch, inside=fail_once(tmp_path))
    assert_same(estimator().fit(frame), expected)
    assert (tmp_path / "failed").exists()


def test_case_41_task_that_always_fails(
    frame: DataFrame, tmp_path: Path, monkeypatch: Patch
) -> None:
    def inside(partition: int) -> None:
        with (tmp_path / f"attempts{partition}").open("a") as file:
            file.write(".")
        if partition == 1:
            raise OSError("the root cause")

    hook_passes(monkeypatch, inside=inside)
    with pytest.raises(Exception, match="the root cause"):
        estimator().fit(frame)
    # spark.task.maxFailures is 4: no retries of ours on top of them
    assert (tmp_path / "attempts1").read_text() == "...."


def test_case_42_python_worker_killed(
    spark: SparkSession, frame: DataFrame, expected: Any, tmp_path: Path, monkeypatch: Patch
) -> None:
    def kill(pid: int) -> None:
        assert pid in python_workers(spark)
        os.kill(pid, signal.SIGKILL)

    assert_same(fit_while_a_task_stays(frame, tmp_path, monkeypatch, kill), expected)


def test_case_76_python_worker_killed_in_a_round_with_dropout(
    spark: SparkSession, frame: DataFrame, tmp_path: Path, monkeypatch: Patch
) -> None:
    expected = network().fit(frame)

    def kill(pid: int) -> None:
        assert pid in python_workers(spark)
        os.kill(pid, signal.SIGKILL)

    found = fit_while_a_task_stays(frame, tmp_path, monkeypatch, kill, of=network)
    assert coefficients(found).tobytes() == coefficients(expected).tobytes()
