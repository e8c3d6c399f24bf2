"""Fits under spark.speculation=true, which dev/cluster runs for `test_speculation`.

The argument is a folder that driver and executors share. What each fit came to is printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.spark.rows.resident import ResidentBlocks
from tests.faults import (
    PATIENCE,
    coefficients,
    estimator,
    hook_passes,
    left_behind,
    made_up_rows,
    network,
    stay_once,
    wait_for,
)
from tests.programs import JVM_OPTIONS

SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": JVM_OPTIONS,
    "spark.driver.host": "127.0.0.1",
    "spark.executor.extraJavaOptions": JVM_OPTIONS,
    "spark.executor.memory": "512m",
    # the executors of one machine could open each other's files
    "spark.executorEnv.SPARKML_LSML_OWN_BLOCKS_ONLY": "1",
    "spark.log.level": "ERROR",
    # no task before both executors are there: a copy needs the other one
    "spark.cores.max": "4",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "60s",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.speculation": "true",
    "spark.speculation.efficiency.enabled": "false",
    "spark.speculation.interval": "100ms",
    "spark.speculation.minTaskRuntime": "500ms",
    "spark.speculation.quantile": "0.5",
    # since Spark 4.1; TCP costs every task round a delayed acknowledgement
    "spark.python.unix.domain.socket.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
SLOW = 1
"""The partition whose first attempt stays."""


def copy_slow_tasks(spark: SparkSession, *, yes: bool) -> None:
    """Let Spark copy tasks of the stages that begin from now on.

    On a busy machine others than those that stay are slow too.
    """
    conf = spark.sparkContext._jsc.sc().conf()
    conf.set("spark.speculation.multiplier", "1.1" if yes else "1000000")


def slow_source(frame: DataFrame, folder: Path) -> DataFrame:
    """Stay half-way in the first attempt until ``folder/go`` is there."""

    def source(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = TaskContext.get()
        assert task is not None
        stays = (task.partitionId(), task.attemptNumber()) == (SLOW, 0)
        for batch in batches:
            half = batch.num_rows // 2
            yield batch.slice(0, half)
            until = time.monotonic() + PATIENCE
            while stays and time.monotonic() < until and not (folder / "go").exists():
                time.sleep(0.02)
            yield batch.slice(half)

    return frame.mapInArrow(source, frame.schema)


def jobs(spark: SparkSession) -> set[int]:
    return set(spark.sparkContext.statusTracker().getJobIdsForGroup())


def copies(spark: SparkSession, among: set[int]) -> list[list[tuple[str, str, bool]]]:
    """How the attempts at each task that had a copy ended, their hosts, and which is the copy."""
    tracker: Any = spark.sparkContext.statusTracker()
    store = spark.sparkContext._jsc.sc().statusStore()
    found = []
    for stage in sorted({stage for job in among for stage in tracker.getJobInfo(job).stageIds}):
        listed = store.taskList(stage, 0, 1000)
        attempts: dict[int, list[tuple[str, str, bool]]] = {}
        for task in [listed.apply(n) for n in range(listed.size())]:
            ended = (task.status(), task.host(), task.speculative())
            attempts.setdefault(task.index(), []).append(ended)
        found += [ended for ended in attempts.values() if any(copy for _, _, copy in ended)]
    return found


def running_tasks(spark: SparkSession) -> int:
    """Tasks that run on the executors, those of jobs that are over included."""
    infos = spark.sparkContext._jsc.sc().statusTracker().getExecutorInfos()
    return sum(info.numRunningTasks() for info in infos)


def release_once_copied(spark: SparkSession, folder: Path) -> threading.Thread:
    """Let the task that stays go on as soon as it has a copy."""
    tracker = spark.sparkContext.statusTracker()
    store = spark.sparkContext._jsc.sc().statusStore()

    def copied() -> bool:
        listed = [store.taskList(stage, 0, 1000) for stage in tracker.getActiveStageIds()]
        return any(tasks.apply(n).speculative() for tasks in listed for n in range(tasks.size()))

    def work() -> None:
        wait_for((folder / "pid").exists, "a task that stays")
        wait_for(copied, "a copy of it")
        (folder / "go").touch()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def result(spark: SparkSession, folder: Path, fit: Callable[[], Any]) -> dict[str, Any]:
    """What a fit came to, and what is left of it once it is over, and once its tasks are."""
    before = jobs(spark)
    model = fit()
    left = left_behind(spark)
    (folder / "go").touch()
    wait_for(lambda: running_tasks(spark) == 0, "the last tasks")
    return {
        "coefficients": coefficients(model).tolist(),
        "rows": model.summary.rows,
        "objective": model.summary.objective,
        "reason": model.summary.reason.name,
        "notes": model.summary.notes,
        "copies": copies(spark, jobs(spark) - before),
        "left": left + left_behind(spark),
    }


def copied_in_pass(
    spark: SparkSession, folder: Path, number: int, fit: Callable[[], Any]
) -> dict[str, Any]:
    """What a fit came to whose task in this pass stays until it has a copy."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        hook_passes(
            patch,
            lambda blocks, at: copy_slow_tasks(spark, yes=at == number),
            stay_once(folder, after=number - 1, partition=SLOW),
        )
        thread = release_once_copied(spark, folder)
        found = result(spark, folder, fit)
        thread.join()
    return found


def main(shared: Path) -> dict[str, Any]:
    builder = SparkSession.builder.master(os.environ["SPARK_MASTER"])
    for key, value in {**SETTINGS, "spark.local.dir": str(shared)}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    frame = made_up_rows(spark)
    found = {}

    copy_slow_tasks(spark, yes=False)
    found["undisturbed"] = result(spark, shared, lambda: estimator().fit(frame))

    in_ingest = shared / "ingest"
    in_ingest.mkdir()
    source = slow_source(frame, in_ingest)

    def ingest_is_over(blocks: ResidentBlocks, number: int) -> None:
        copy_slow_tasks(spark, yes=False)
        (in_ingest / "go").touch()

    copy_slow_tasks(spark, yes=True)
    with pytest.MonkeyPatch.context() as patch:
        hook_passes(patch, ingest_is_over)
        found["ingest"] = result(spark, in_ingest, lambda: estimator().fit(source))

    found["pass"] = copied_in_pass(spark, shared / "pass", 3, lambda: estimator().fit(frame))

    found["undisturbed network"] = result(spark, shared, lambda: network().fit(frame))
    found["network"] = copied_in_pass(spark, shared / "network", 3, lambda: network().fit(frame))

    rounds = estimator(solver="cocoa", tol=1e-4, maxIter=500)
    found["round"] = copied_in_pass(spark, shared / "round", 4, lambda: rounds.fit(frame))

    spark.stop()
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
