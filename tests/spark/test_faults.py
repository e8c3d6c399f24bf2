"""Faults under a running fit: lost blocks, sources that change, and what an error leaves behind."""

from __future__ import annotations

import logging
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyspark
import pytest
from py4j.protocol import Py4JError
from pyspark import inheritable_thread_target
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.classification import LinearSVC
from sparkml_lsml.engine.solvers import warm_start
from sparkml_lsml.errors import DataError, SourceChangedError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.rows import healing
from sparkml_lsml.spark.rows.parquet import SETTING as DIRECT
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from tests.faults import (
    assert_same,
    block_folders,
    coefficients,
    estimator,
    fail_once,
    hook_passes,
    left_behind,
    made_up_rows,
    walk,
)

ROOT = Path(__file__).resolve().parents[2]
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
    before = left_behind(spark)  # what other tests keep, until it is collected
    yield
    assert [each for each in left_behind(spark) if each not in before] == []


def delete_blocks(spark: SparkSession) -> None:
    for folder in block_folders(spark):
        shutil.rmtree(folder)


def delete_files_of_one_block(spark: SparkSession) -> None:
    block = next(block_folders(spark)[0].iterdir())
    for file in block.iterdir():
        file.unlink()


def delete_one_block(spark: SparkSession) -> None:
    shutil.rmtree(next(block_folders(spark)[0].iterdir()))


# ---------------------------------------------------- lost blocks


@pytest.mark.parametrize("lose", [delete_blocks, delete_one_block, delete_files_of_one_block])
def test_case_44_deleted_blocks_are_packed_again(
    spark: SparkSession,
    frame: DataFrame,
    expected: Any,
    monkeypatch: Patch,
    caplog: pytest.LogCaptureFixture,
    lose: Callable[[SparkSession], None],
) -> None:
    def hook(blocks: ResidentBlocks, number: int) -> None:
        if number in (3, 6):
            lose(spark)

    hook_passes(monkeypatch, hook)
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        assert_same(estimator().fit(frame), expected)
    if lose is not delete_files_of_one_block:  # a worker may still have them mapped
        assert caplog.text.count("were lost, packing them anew") == 2
        anew = re.findall(r"blocks \[(.+)\] were lost and packed anew, with the same", caplog.text)
        # the other block stays as it is
        lost = 1 if lose is delete_one_block else 2
        assert [len(numbers.split(",")) for numbers in anew] == [lost, lost]


def test_case_44_where_spark_does_not_let_us_drop_single_blocks(
    spark: SparkSession,
    frame: DataFrame,
    expected: Any,
    monkeypatch: Patch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Then all blocks are dropped, and packed anew."""

    def hook(blocks: ResidentBlocks, number: int) -> None:
        if number == 3:
            delete_one_block(spark)

    def refuse(*_: object) -> None:
        raise Py4JError("not on the allowlist")

    hook_passes(monkeypatch, hook)
    monkeypatch.setattr(healing, "forget_blocks", refuse)
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        assert_same(estimator().fit(frame), expected)
    assert "packing all rows anew: not on the allowlist" in caplog.text
    # the block that was not lost is packed anew when the next pass asks for it
    anew = re.findall(r"blocks \[(\d)\] were lost and packed anew, with the same", caplog.text)
    assert sorted(anew) == ["0", "1"]


def test_case_44_other_loss_sums_survive_too(spark: SparkSession, monkeypatch: Patch) -> None:
    """Passes of each kind: gradients, rounds of local SGD, and the normal equations."""
    frame = made_up_rows(spark)
    fits: list[Any] = [
        LinearSVC(execution="distributed", solver="sgd", maxIter=3, regParam=0.1),
        LinearRegression(execution="distributed", solver="normal", regParam=0.1),
    ]
    expected = [fit.fit(frame) for fit in fits]
    for fit, model in zip(fits, expected, strict=True):
        with monkeypatch.context() as patch:
            hook_passes(patch, lambda blocks, number: delete_blocks(spark))
            assert_same(fit.fit(frame), model)


def test_case_44_rows_near_the_kink_are_found_again(
    spark: SparkSession, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows that a pass brings to the driver follow from the blocks, packed anew or not."""
    frame, fit = made_up_rows(spark), LinearSVC(execution="distributed", regParam=1e-3)
    monkeypatch.setattr(warm_start, "LEAST_A_COEFFICIENT", 10**9)  # no start from a sample
    tasks: list[str] = []
    run = ResidentBlocks.run

    def noted(self: ResidentBlocks, task: Any, description: str, *more: Any) -> Any:
        tasks.append(type(task).__name__)
        if losing and tasks[-1] == "NearPass":
            delete_blocks(spark)
        return run(self, task, description, *more)

    monkeypatch.setattr(ResidentBlocks, "run", noted)
    losing = False
    expected = fit.fit(frame)
    asked = tasks.copy()
    assert asked.count("NearPass") >= 2
    assert asked.index("NearPass") > 0
    tasks.clear()
    losing = True
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        model = fit.fit(frame)
    assert tasks == asked
    assert "were lost, packing them anew" in caplog.text
    assert coefficients(model).tobytes() == coefficients(expected).tobytes()
    lines = [
        [(line.iteration, line.objective) for line in one.summary.history]
        for one in (model, expected)
    ]
    assert lines[0] == lines[1]


def test_case_44_wide_rows_whose_report_lies_beside_them(
    spark: SparkSession, monkeypatch: Patch
) -> None:
    index = (F.hash("id") % 10_000 + 10_000).cast("int")
    frame = spark.range(300, numPartitions=2).selectExpr("id", "cast(id % 2 as double) as label")
    frame = frame.select(
        "label",
        F.transform(F.sequence(F.lit(0), F.lit(19_999)), lambda i: (i == index).cast("double"))
        .cast("array<double>")
        .alias("array"),
    )
    frame = frame.select("label", array_to_vector("array").alias("features"))
    expected = estimator(maxIter=3).fit(frame)
    hook_passes(monkeypatch, lambda blocks, number: delete_blocks(spark))
    assert_same(estimator(maxIter=3).fit(frame), expected)


def test_case_44_unpersisted_handles_are_cached_again(
    spark: SparkSession, frame: DataFrame, expected: Any, monkeypatch: Patch
) -> None:
    packed: list[int] = []

    def hook(blocks: ResidentBlocks, number: int) -> None:
        if number == 3:
            for rdd in spark.sparkContext._jsc.getPersistentRDDs().values():
                rdd.unpersist(True)
        packed.append(sum(len(list(folder.iterdir())) for folder in block_folders(spark)))

    hook_passes(monkeypatch, hook)
    assert_same(estimator().fit(frame), expected)
    assert packed[2] < packed[4] == packed[-1]


# ---------------------------------------------------- sources that change


def lose_blocks_in_pass(
    spark: SparkSession, monkeypatch: Patch, number: int, then: Callable[[], None] = lambda: None
) -> None:
    def hook(blocks: ResidentBlocks, at: int) -> None:
        if at == number:
            then()
            delete_blocks(spark)

    hook_passes(monkeypatch, hook)


def test_case_37_random_source(spark: SparkSession, frame: DataFrame, monkeypatch: Patch) -> None:
    def noisy(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import numpy as np
        import pyarrow as pa

        for batch in batches:
            values = pa.array(list(np.random.default_rng().random((batch.num_rows, 3))))
            yield pa.RecordBatch.from_arrays([values, batch.column(1)], ["features", "label"])

    source = frame.mapInArrow(noisy, "features array<double>, label double")
    lose_blocks_in_pass(spark, monkeypatch, 3)
    with pytest.raises(
        SourceChangedError, match=r"partitions \[0, 1\] .* not deterministic \(rand"
    ):
        estimator().fit(source)


def test_case_37_rand_of_spark_is_repeatable(spark: SparkSession, monkeypatch: Patch) -> None:
    frame = made_up_rows(spark).withColumn("features", F.array(F.rand(), F.randn()))
    expected = estimator().fit(frame)
    lose_blocks_in_pass(spark, monkeypatch, 3)
    assert_same(estimator().fit(frame), expected)


def csv_of(rows: int, shift: int) -> str:
    return "".join(f"{i % 2},{(i * 7 + shift) % 10},{(i * 3 + shift) % 10}\n" for i in range(rows))


def test_case_37_file_rewritten_in_place(
    spark: SparkSession, tmp_path: Path, monkeypatch: Patch
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(csv_of(400, 0))
    table = spark.read.schema("label double, a double, b double").csv(str(file))
    source = table.select("label", F.array("a", "b").alias("features"))
    lose_blocks_in_pass(spark, monkeypatch, 3, lambda: file.write_text(csv_of(400, 1)) and None)
    with pytest.raises(SourceChangedError, match="files rewritten during the fit"):
        estimator().fit(source)


@pytest.mark.parametrize("limited", [False, True], ids=["all rows", "limit"])
def test_case_37_rows_in_another_order(
    spark: SparkSession, tmp_path: Path, monkeypatch: Patch, limited: bool
) -> None:
    """The same rows, so the same model; but the first half of them are others."""
    file = tmp_path / "rows.csv"
    lines = [f"{n % 2},{n % 17},{n}\n" for n in range(400)]
    file.write_text("".join(lines))
    table = spark.read.schema("label double, a double, b double").csv(str(file))
    source = table.select("label", F.array("a", "b").alias("features"))
    if limited:
        # in one partition, as the files of a shuffle would outlive the blocks
        source = source.coalesce(1).limit(200)
    expected = estimator().fit(source)
    backwards = "".join(reversed(lines))
    lose_blocks_in_pass(spark, monkeypatch, 3, lambda: file.write_text(backwards) and None)
    if limited:
        with pytest.raises(SourceChangedError, match=r"not deterministic \(rand\(\), limit"):
            estimator().fit(source)
    else:
        assert_same(estimator().fit(source), expected)


@pytest.mark.parametrize(
    ("direct", "told"), [("true", "No such file"), ("false", "does not exist")]
)
def test_case_37_table_overwritten(
    spark: SparkSession, tmp_path: Path, monkeypatch: Patch, direct: str, told: str
) -> None:
    folder = str(tmp_path / "rows")
    made_up_rows(spark).write.parquet(folder)
    source = spark.read.parquet(folder)

    def overwrite() -> None:
        made_up_rows(spark, 1000).write.mode("overwrite").parquet(folder)

    lose_blocks_in_pass(spark, monkeypatch, 3, overwrite)
    spark.conf.set(DIRECT, direct)
    try:
        with pytest.raises(SourceChangedError, match=rf"rows\S*\.parquet.*{told}"):
            estimator().fit(source)
    finally:
        spark.conf.unset(DIRECT)


def test_case_37_one_hot_rows_that_change_places(
    spark: SparkSession, tmp_path: Path, monkeypatch: Patch
) -> None:
    """All values are 1, so that only the columns they are in can tell the rows apart."""
    file = tmp_path / "rows.csv"
    file.write_text("0,1\n1,2\n" * 50)
    table = spark.read.schema("label double, i int").csv(str(file))
    ones = F.transform(F.sequence(F.lit(0), F.lit(9)), lambda j: (j == F.col("i")).cast("double"))
    source = table.select("label", array_to_vector(ones).alias("features"))
    change: Any = lambda: file.write_text("0,3\n1,4\n" * 50)  # noqa: E731
    lose_blocks_in_pass(spark, monkeypatch, 3, change)
    with pytest.raises(SourceChangedError):
        estimator().fit(source)


# ---------------------------------------------------- what a fit leaves behind


def modes(spark: SparkSession) -> dict[str, set[str]]:
    """Permissions of the folders and of the files of all fits."""
    found: dict[str, set[str]] = {"folders": set(), "files": set()}
    for root in block_folders(spark):
        for path in [root, *walk(root)]:
            mode = stat.filemode(path.stat().st_mode)
            found["folders" if path.is_dir() else "files"].add(mode)
    return found


class Interruption(BaseException):
    """Not an Exception, as KeyboardInterrupt is none; that one would end pytest."""


@pytest.mark.parametrize("ending", [None, "error", "interrupt"])
def test_case_39_block_files_are_private_and_gone_after(
    spark: SparkSession, frame: DataFrame, monkeypatch: Patch, tmp_path: Path, ending: str | None
) -> None:
    seen: list[dict[str, set[str]]] = []

    def hook(blocks: ResidentBlocks, number: int) -> None:
        seen.append(modes(spark))
        if number == 3 and ending == "interrupt":
            raise Interruption

    inside = fail_once(tmp_path) if ending == "error" else None
    hook_passes(monkeypatch, hook, inside)
    if ending is None:
        estimator().fit(frame)
    else:
        with pytest.raises(Exception if ending == "error" else Interruption) as raised:
            estimator().fit(frame)
        # local[2] has no retries
        assert ending == "interrupt" or "a passing fault" in str(raised.value)
    assert seen
    assert all(at == {"folders": {"drwx------"}, "files": {"-rw-------"}} for at in seen)
    assert left_behind(spark) == []


def test_a_group_that_is_cancelled_for_good_leaves_nothing(
    spark: SparkSession, frame: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the button of a notebook does, after which no job of the group begins any more."""
    sc = spark.sparkContext

    def hook(blocks: ResidentBlocks, number: int) -> None:
        if number == 3:
            sc._jsc.sc().cancelJobGroupAndFutureJobs("cell")

    hook_passes(monkeypatch, hook, None)
    sc.setJobGroup("cell", "a cell of a notebook")
    try:
        with pytest.raises(Exception, match="cancelled"):
            estimator().fit(frame)
    finally:
        for key in ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel"):
            sc.setLocalProperty(key, None)
    assert left_behind(spark) == []


def test_error_in_the_rows(spark: SparkSession, frame: DataFrame) -> None:
    bad = frame.withColumn("label", F.when(F.rand(1) < 0.01, 2.0).otherwise(F.col("label")))
    with pytest.raises(DataError, match="labels must be 0 or 1"):
        LinearSVC(execution="distributed").fit(bad)
    assert left_behind(spark) == []


def test_block_that_another_task_writes_after_the_ingest_failed(
    spark: SparkSession, tmp_path: Path
) -> None:
    def source(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import time

        import pyarrow as pa
        from pyspark import TaskContext

        def wait(name: str) -> None:
            until = time.monotonic() + 60.0
            while time.monotonic() < until and not (tmp_path / name).exists():
                time.sleep(0.01)

        for _ in batches:
            pass
        partition = TaskContext.get().partitionId()
        (tmp_path / f"begun{partition}").touch()
        wait(f"begun{1 - partition}")
        if partition == 0:
            raise ValueError("the source is broken")
        time.sleep(1.0)  # the job has failed by now
        columns = [pa.array([[1.0, 2.0]] * 100), pa.array([0.0, 1.0] * 50)]
        yield pa.RecordBatch.from_arrays(columns, ["features", "label"])
        (tmp_path / "written").touch()

    frame = spark.range(2, numPartitions=2).mapInArrow(
        source, "features array<double>, label double"
    )
    # Spark kills the worker of a cancelled task after 2 s, which a busy machine takes to write.
    settings = spark.sparkContext._jsc.sc().conf()
    timeout = "spark.python.task.killTimeout"
    settings.set(timeout, "60s")
    try:
        with pytest.raises(Exception, match="the source is broken"):
            estimator().fit(frame)
    finally:
        settings.remove(timeout)
    assert (tmp_path / "written").exists()
    assert left_behind(spark) == []


def test_case_41_failing_source_is_not_tried_again(spark: SparkSession, tmp_path: Path) -> None:
    def source(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            with (tmp_path / "attempts").open("a") as file:
                file.write(".")
            raise ValueError("the root cause")
            yield batch

    frame = made_up_rows(spark, partitions=1).mapInArrow(
        source, "features array<double>, label double"
    )
    with pytest.raises(Exception, match="the root cause"):
        estimator().fit(frame)
    # Spark itself tries once in local[2], four times in local[2,4]
    assert (tmp_path / "attempts").read_text() == "."


# ---------------------------------------------------- several fits at once


def test_grid_stops_with_its_first_failure(
    spark: SparkSession, frame: DataFrame, monkeypatch: Patch
) -> None:
    """Threads that wait for models of the grid are told, and no other fit begins."""

    def hook(blocks: ResidentBlocks, number: int) -> None:
        if number == 2:
            raise Interruption

    hook_passes(monkeypatch, hook)
    many = LinearSVC(execution="distributed", solver="gradient-descent", tol=0.0)
    many.setParams(maxIter=1_000_000, lineSearch="fixed", stepSize=1e-9)
    fits = many.fitMultiple(frame, [{many.regParam: 0.1 * n} for n in range(9)])
    failures: list[BaseException] = []

    def work() -> None:
        while True:
            try:
                next(fits)
            except StopIteration:
                return
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
        assert not thread.is_alive()
    assert sorted(type(error).__name__ for error in failures).count("Interruption") == 1
    assert len(failures) == 4
    assert left_behind(spark) == []
    with pytest.raises(RuntimeError, match="another fit of this grid failed"):
        next(fits)


def test_fits_in_threads_that_share_local_properties(spark: SparkSession, frame: DataFrame) -> None:
    """As in PySpark's CrossValidator, where the tags of one fit reach the jobs of the others."""
    fits = [estimator(maxIter=3, regParam=10.0**-n) for n in range(4)]
    expected = [fit.fit(frame) for fit in fits]
    old = pyspark.__version__.startswith("3.")  # where it takes the function itself
    wrap: Any = inheritable_thread_target if old else inheritable_thread_target(spark)
    with ThreadPool(4) as pool:
        found = pool.map(lambda f: f(), [wrap(partial(fit.fit, frame)) for fit in fits])
    for model, other in zip(found, expected, strict=True):
        assert_same(model, other)
