"""Faults of tasks, workers, executors and placement, with executors in processes of their own."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.ml.linalg import SparseVector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.engine.solvers import warm_start
from sparkml_lsml.errors import SourceChangedError
from sparkml_lsml.spark.rows import healing, packed
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from tests.faults import (
    assert_same,
    block_folders,
    coefficients,
    estimator,
    executor_processes,
    fail_once,
    fit_while_a_task_stays,
    hook_passes,
    left_behind,
    made_up_rows,
    network,
    python_workers,
    wait_for,
)

pytestmark = pytest.mark.usefixtures("executors")

Patch = pytest.MonkeyPatch
Logs = pytest.LogCaptureFixture


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


def test_package_is_shipped_to_executors_that_lack_it(spark: SparkSession, expected: Any) -> None:
    def origin(_: Any) -> Any:
        import sparkml_lsml.engine.blocks

        yield sparkml_lsml.engine.blocks.__file__

    origins = spark.sparkContext.parallelize(range(4), 4).mapPartitions(origin).collect()
    assert all("sparkml_lsml.zip" in path for path in origins)


def test_case_02_empty_partitions(spark: SparkSession) -> None:
    rows = made_up_rows(spark, 40, 1)
    compact = LogisticRegression(execution="local", regParam=0.01).fit(rows)
    spread = estimator(maxIter=100, tol=1e-6).fit(rows.repartition(50))
    np.testing.assert_allclose(
        spread.coefficients.toArray(), compact.coefficients.toArray(), rtol=1e-6
    )
    one_sided = estimator(maxIter=100, tol=1e-6).fit(made_up_rows(spark, 80, 2).where("id < 40"))
    assert one_sided.summary.partitions == 1
    np.testing.assert_allclose(
        one_sided.coefficients.toArray(), compact.coefficients.toArray(), rtol=1e-6
    )


def test_case_18_a_million_features(spark: SparkSession) -> None:
    """Ten values a row: 5,000 rows as dense ones would be 40 GB."""
    features, rows = 1_000_000, 5_000
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, features, (rows, 10)), axis=1)
    table = [
        (float(n % 2), SparseVector(features, sorted(set(row.tolist())), np.ones(len(set(row)))))
        for n, row in enumerate(columns)
    ]
    source = spark.createDataFrame(table, ["label", "features"]).repartition(2)
    fits = [
        LogisticRegression(execution=where, regParam=0.01, maxIter=2, tol=0.0)
        for where in ("local", "distributed")
    ]
    local, distributed = (fit.fit(source) for fit in fits)
    assert distributed.summary.execution == "distributed"
    # values, columns and row pointers, labels
    assert distributed.summary.nbytes < rows * (10 * 12 + 16) + 100
    np.testing.assert_allclose(
        distributed.coefficients.toArray(), local.coefficients.toArray(), rtol=1e-9, atol=1e-12
    )


# ---------------------------------------------------- processes that are killed


def kill_executor(spark: SparkSession) -> None:
    executors = executor_processes(spark)
    assert len(executors) == 2
    os.kill(executors[0], signal.SIGKILL)


def replace_executor(spark: SparkSession) -> None:
    """Wait for another executor in place of the one that was killed."""
    # nobody is left to remove the files of the executor that is gone, until the application ends
    for folder in block_folders(spark):
        shutil.rmtree(folder)
    wait_for(lambda: len(executor_processes(spark)) == 2, "an executor to be replaced")


def test_case_43_executor_killed(
    spark: SparkSession,
    frame: DataFrame,
    expected: Any,
    tmp_path: Path,
    monkeypatch: Patch,
    caplog: Logs,
) -> None:
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        assert_same(
            fit_while_a_task_stays(frame, tmp_path, monkeypatch, lambda _: kill_executor(spark)),
            expected,
        )
    assert "lost and packed anew, with the same rows" in caplog.text
    replace_executor(spark)


def test_case_76_executor_killed_in_a_round_with_dropout(
    spark: SparkSession, frame: DataFrame, tmp_path: Path, monkeypatch: Patch
) -> None:
    expected = network().fit(frame)
    found = fit_while_a_task_stays(
        frame, tmp_path, monkeypatch, lambda _: kill_executor(spark), of=network
    )
    assert any("lost" in note for note in found.summary.notes)
    assert coefficients(found).tobytes() == coefficients(expected).tobytes()
    replace_executor(spark)


def test_case_43_files_are_read_again(
    spark: SparkSession, frame: DataFrame, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Tasks that read Parquet files themselves leave no more behind than those of Spark."""
    frame.write.parquet(str(tmp_path / "rows"))
    source = spark.read.parquet(str(tmp_path / "rows"))
    expected = estimator().fit(source)
    (tmp_path / "tasks").mkdir()
    model = fit_while_a_task_stays(
        source, tmp_path / "tasks", monkeypatch, lambda _: kill_executor(spark)
    )
    assert "past Spark" in model.summary.reading
    assert coefficients(model).tobytes() == coefficients(expected).tobytes()
    assert any("lost with executors" in note for note in model.summary.notes)
    replace_executor(spark)


def test_case_43_executor_killed_before_rows_near_the_kink_are_found(
    spark: SparkSession, frame: DataFrame, monkeypatch: Patch, caplog: Logs
) -> None:
    monkeypatch.setattr(warm_start, "LEAST_A_COEFFICIENT", 10**9)  # no start from a sample
    fit = LinearSVC(execution="distributed", regParam=1e-3)
    expected = fit.fit(frame)
    run, killed = ResidentBlocks.run, list[str]()

    def hooked(self: ResidentBlocks, task: Any, *more: Any) -> Any:
        if type(task).__name__ == "NearPass" and not killed:
            kill_executor(spark)
            killed.append("once")
        return run(self, task, *more)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "sparkml_lsml"):
        patch.setattr(ResidentBlocks, "run", hooked)
        model = fit.fit(frame)
    assert killed
    assert "lost and packed anew, with the same rows" in caplog.text
    assert coefficients(model).tobytes() == coefficients(expected).tobytes()
    replace_executor(spark)


def owns(executor: int, folder: Path) -> bool:
    """Whether a folder is in one of an executor's local folders."""
    variables = Path(f"/proc/{executor}/environ").read_text().split("\0")
    [own] = [text.split("=", 1)[1] for text in variables if text.startswith("SPARK_EXECUTOR_DIRS=")]
    return any(folder.is_relative_to(path) for path in own.split(","))


@pytest.mark.slow
def test_case_43_executors_killed_one_after_another(
    spark: SparkSession, frame: DataFrame, expected: Any, monkeypatch: Patch
) -> None:
    """Five times in one fit; each block that is lost with them is packed anew once."""
    lost: list[int] = []

    def hook(blocks: ResidentBlocks, number: int) -> None:
        if 2 <= number <= 6:
            [folder, *_] = block_folders(spark)
            lost.append(len(list(folder.iterdir())))
            [victim] = [pid for pid in executor_processes(spark) if owns(pid, folder)]
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: victim not in executor_processes(spark), "an executor to be gone")
            shutil.rmtree(folder)
            wait_for(lambda: len(executor_processes(spark)) == 2, "an executor to be replaced")

    hook_passes(monkeypatch, hook)
    model = estimator().fit(frame)
    assert coefficients(model).tobytes() == coefficients(expected).tobytes()
    assert len(lost) == 5
    [note] = [note for note in model.summary.notes if "lost" in note]
    assert note.startswith(f"{sum(lost)} blocks were lost")


# ---------------------------------------------------- blocks that are lost


def test_case_44_block_files_of_one_executor_deleted(
    spark: SparkSession, frame: DataFrame, expected: Any, monkeypatch: Patch, caplog: Logs
) -> None:
    def hook(blocks: ResidentBlocks, number: int) -> None:
        if number in (2, 5):
            shutil.rmtree(block_folders(spark)[0])

    hook_passes(monkeypatch, hook)
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        assert_same(estimator().fit(frame), expected)
    assert caplog.text.count("were lost, packing them anew") == 2


def test_case_37_random_source(spark: SparkSession, frame: DataFrame, monkeypatch: Patch) -> None:
    def noisy(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import numpy as np
        import pyarrow as pa

        for batch in batches:
            values = pa.array(list(np.random.default_rng().random((batch.num_rows, 3))))
            yield pa.RecordBatch.from_arrays([values, batch.column(1)], ["features", "label"])

    def hook(blocks: ResidentBlocks, number: int) -> None:
        if number == 2:
            shutil.rmtree(block_folders(spark)[0])

    hook_passes(monkeypatch, hook)
    source = frame.mapInArrow(noisy, "features array<double>, label double")
    with pytest.raises(SourceChangedError, match="not deterministic"):
        estimator().fit(source)


@pytest.mark.parametrize("where", ["pass", "ingest"])
def test_case_44_task_placed_on_the_other_executor(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: Patch,
    caplog: Logs,
    where: str,
) -> None:
    """With no wait for locality, and one executor busy, its block is asked of the other one.

    It is waited for, and each partition is read from the source once.
    """
    sc = spark.sparkContext
    conf = sc._jsc.sc().conf()
    before = conf.get("spark.locality.wait", "3s")
    reads = sc.accumulator(0)

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            reads.add(batch.num_rows)
            yield batch

    def stay(_: Any) -> Any:
        import time

        (tmp_path / "busy").touch()
        until = time.monotonic() + 60.0
        while time.monotonic() < until and not (tmp_path / "free").exists():
            time.sleep(0.02)
        yield 0

    job = threading.Thread(target=lambda: sc.parallelize([0], 1).mapPartitions(stay).collect())
    asked: list[Any] = []
    enter = healing.entered

    def entered(found: Any, tasks: Any, partitions: Any) -> None:
        asked.append(partitions)
        enter(found, tasks, partitions)
        if len(asked) == 4:
            (tmp_path / "free").touch()
            job.join()

    def begin() -> None:
        conf.set("spark.locality.wait", "0s")
        job.start()
        wait_for((tmp_path / "busy").exists, "a busy executor")

    # wide enough that the report lies beside the rows, which is read in a job of its own
    wide = F.transform(
        F.sequence(F.lit(0), F.lit(9_999)), lambda i: (i == F.col("id") % 9).cast("double")
    )
    source = spark.range(40, numPartitions=2).select(
        (F.col("id") % 2).cast("double").alias("label"), wide.alias("features")
    )
    source = source.mapInArrow(counted, source.schema)
    collecting: list[bool] = []

    def collect(*, wide: bool) -> Any:
        collecting.append(wide)
        if wide and where == "ingest":
            begin()
        return read(wide=wide)

    read = packed.collect
    expected = estimator().fit(source)
    assert reads.value == 40
    monkeypatch.setattr(healing, "entered", entered)
    monkeypatch.setattr(packed, "collect", collect)
    if where == "pass":
        hook_passes(monkeypatch, lambda blocks, number: begin() if number == 2 else None)
    try:
        with caplog.at_level(logging.WARNING, "sparkml_lsml"):
            model = estimator().fit(source)
    finally:
        (tmp_path / "free").touch()
        conf.set("spark.locality.wait", before)
    assert collecting == [False, True]
    assert len(asked) >= 4
    assert len({tuple(partitions) for partitions in asked}) == 1
    assert_same(model, expected)
    assert "were lost" not in caplog.text
    [note] = [note for note in model.summary.notes if note not in expected.summary.notes]
    assert re.fullmatch(r"waited .+ for executors with other work", note)
    assert reads.value == 80


def test_case_44_rounds_of_sgd_survive_deleted_files(
    spark: SparkSession, frame: DataFrame, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Rounds of local SGD hold no state on the workers."""
    fit = LinearSVC(execution="distributed", solver="sgd", maxIter=4, regParam=0.1)
    model = fit.fit(frame)
    hook_passes(monkeypatch, lambda blocks, number: shutil.rmtree(block_folders(spark)[0]) or None)
    assert_same(fit.fit(frame), model)


# ---------------------------------------------------- dual variables, which live on the executors

ROUNDS: dict[str, Any] = {"solver": "cocoa", "tol": 1e-4, "maxIter": 500}


def assert_same_minimum(model: Any, expected: Any) -> None:
    """Compare two objectives, of which CoCoA+ knows its own distance to the minimum."""
    summary = model.summary
    assert summary.reason.name == "converged", summary.reason
    assert summary.history[-1].gap <= 1e-4 * summary.objective
    assert summary.objective == pytest.approx(expected.summary.objective, rel=1.1e-4)


@pytest.mark.slow
def test_case_42_worker_killed_in_a_round(
    spark: SparkSession, frame: DataFrame, tmp_path: Path, monkeypatch: Patch
) -> None:
    """The task runs again, from the version that its first attempt read."""
    expected = estimator(**ROUNDS).fit(frame)

    def kill(pid: int) -> None:
        assert pid in python_workers(spark)
        os.kill(pid, signal.SIGKILL)

    found = fit_while_a_task_stays(frame, tmp_path, monkeypatch, kill, after=4, **ROUNDS)
    assert_same(found, expected)


def test_case_40_task_fails_behind_its_round(
    frame: DataFrame, expected: Any, tmp_path: Path, monkeypatch: Patch
) -> None:
    """Its duals are written by then, under a name that the driver never hears of."""
    undisturbed = estimator(**ROUNDS).fit(frame)
    hook_passes(monkeypatch, inside=fail_once(tmp_path), behind=True)
    found = estimator(**ROUNDS).fit(frame)
    assert (tmp_path / "failed").exists()
    assert_same(found, undisturbed)
    assert_same_minimum(found, expected)


def test_case_43_duals_of_a_killed_executor(
    spark: SparkSession,
    frame: DataFrame,
    expected: Any,
    tmp_path: Path,
    monkeypatch: Patch,
    caplog: Logs,
) -> None:
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        found = fit_while_a_task_stays(
            frame, tmp_path, monkeypatch, lambda _: kill_executor(spark), after=5, **ROUNDS
        )
    assert_same_minimum(found, expected)
    assert "were lost: they start from 0 again" in caplog.text
    replace_executor(spark)


def test_case_44_dual_files_deleted(
    spark: SparkSession, frame: DataFrame, expected: Any, monkeypatch: Patch, caplog: Logs
) -> None:
    def hook(blocks: ResidentBlocks, number: int) -> None:
        if number in (4, 9):
            files = [path for folder in block_folders(spark) for path in folder.glob("*/duals-*")]
            assert files
            for path in files:
                path.unlink()

    hook_passes(monkeypatch, hook)
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        assert_same_minimum(estimator(**ROUNDS).fit(frame), expected)
    assert caplog.text.count("[0, 1] were lost: they start from 0 again") == 2


@pytest.mark.slow
def test_few_versions_of_duals_are_kept(
    spark: SparkSession, frame: DataFrame, monkeypatch: Patch
) -> None:
    most: list[int] = []

    def hook(blocks: ResidentBlocks, number: int) -> None:
        for folder in block_folders(spark):
            for block in folder.iterdir():
                most.append(len(list(block.glob("duals-*"))))

    hook_passes(monkeypatch, hook)
    estimator(**{**ROUNDS, "tol": 0.0, "maxIter": 8}).fit(frame)
    assert max(most) == 3
