"""Tools of the fault tests: passes that are slow or fail, and what a fit left behind."""

from __future__ import annotations

import os
import pickle
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark import cloudpickle
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.passes import Pass
from sparkml_lsml.neural import MLPClassifier
from sparkml_lsml.neural.network_model import NetworkModel
from sparkml_lsml.spark.cluster.session import setting
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from tests.programs import JVM_OPTIONS

FEATURES = 5
SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": JVM_OPTIONS,
    "spark.driver.host": "127.0.0.1",
    "spark.log.level": "ERROR",
    # since Spark 4.1; TCP costs every task round a delayed acknowledgement
    "spark.python.unix.domain.socket.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""Of a Spark that a test starts in a process of its own."""

PATIENCE = 60.0
"""Seconds that a task or a test waits for the other before it goes on as if nothing were wrong."""


def made_up_rows(spark: SparkSession, rows: int = 2000, partitions: int = 2) -> DataFrame:
    """Rows that are the same whenever and wherever they are computed."""
    values = [F.hash("id", F.lit(j)) / F.lit(2.0**31) for j in range(FEATURES + 1)]
    return spark.range(rows, numPartitions=partitions).select(
        F.array(*values[1:]).alias("features"),
        (values[0] + values[1] + values[2] > 0).cast("double").alias("label"),
    )


def estimator(**params: Any) -> LogisticRegression:
    """An estimator of eight iterations whose passes are Spark jobs."""
    return LogisticRegression(
        **{"execution": "distributed", "regParam": 0.01, "maxIter": 8, "tol": 0.0, **params}
    )


def network(**params: Any) -> MLPClassifier:
    """A network with dropout, whose rounds are Spark jobs."""
    settings = {"layers": [FEATURES, 16, 2], "dropout": 0.3, "batchSize": 64, "maxIter": 6}
    return MLPClassifier(execution="distributed", seed=1, **{**settings, **params})


def coefficients(model: Any) -> npt.NDArray[np.float64]:
    """All numbers of a model."""
    if isinstance(model, NetworkModel):
        return np.asarray(model.weights.toArray())
    return np.append(model.coefficients.toArray(), model.intercept)


def assert_same(model: Any, expected: Any) -> None:
    """Compare two models: a row that is lost or counted twice moves them by far more."""
    np.testing.assert_allclose(coefficients(model), coefficients(expected), rtol=1e-9, atol=1e-12)


# ---------------------------------------------------- passes


class ByValue:
    """Pickles, also in a broadcast, as a copy of the object: workers cannot import the tests."""

    nbytes = 0

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (cloudpickle.dumps(self._value),)


Hook = Callable[[ResidentBlocks, int], None]
Inside = Callable[[int], None]


def hook_passes(
    monkeypatch: pytest.MonkeyPatch,
    hook: Hook | None = None,
    inside: Inside | None = None,
    *,
    behind: bool = False,
) -> list[str]:
    """Call ``hook`` on the driver before each pass, and ``inside`` on the workers in each task.

    ``hook`` is given the blocks and the number of the pass, from 1; ``inside`` the partition, at
    the start of the task or ``behind`` its work.
    Returns a list that grows by the description of each pass.
    """
    run = ResidentBlocks.run
    passes: list[str] = []

    def hooked(self: ResidentBlocks, task: Pass, description: str, *more: Any) -> Any:
        passes.append(description)
        if hook is not None:
            hook(self, len(passes))
        if inside is None:
            return run(self, task, description, *more)
        return run(self, ByValue(_around(task, inside, behind=behind)), description, *more)

    monkeypatch.setattr(ResidentBlocks, "run", hooked)
    return passes


def _around(task: Pass, inside: Inside, *, behind: bool) -> Pass:
    # made in a function, so that it is pickled by value and with it what it refers to
    def run(block: Block, partition: int) -> Any:
        if behind:
            found = task(block, partition)
            inside(partition)
            return found
        inside(partition)
        return task(block, partition)

    return run


def fail_once(folder: Path, partition: int = 1) -> Inside:
    """Fail in the first task of a partition, and in no other."""

    def inside(number: int) -> None:
        if number == partition:
            try:
                (folder / "failed").touch(exist_ok=False)
            except FileExistsError:
                return
            raise OSError("a passing fault")

    return inside


def stay_once(folder: Path, after: int, partition: int = 1) -> Inside:
    """Stay, in one pass, until ``folder/go`` is there; ``folder/pid`` then names the worker.

    The first ``after`` tasks of the partition do not stay.
    """

    def inside(number: int) -> None:
        if number != partition:
            return
        with (folder / "tasks").open("a") as file:
            file.write(".")
        if (folder / "tasks").stat().st_size <= after or (folder / "pid").exists():
            return
        (folder / "writing").write_text(str(os.getpid()))
        (folder / "writing").rename(folder / "pid")
        until = time.monotonic() + 60.0
        while time.monotonic() < until and not (folder / "go").exists():
            time.sleep(0.02)

    return inside


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until a condition holds, and return what it returned."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
    return found


def fit_while_a_task_stays(
    frame: DataFrame,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    disturb: Any,
    after: int = 2,
    of: Callable[..., Any] = estimator,
    **params: Any,
) -> Any:
    """Fit what ``of`` makes of the Params, and disturb a worker that is inside of a pass.

    ``disturb`` is called with its pid.
    """
    errors: list[BaseException] = []

    def work() -> None:
        try:
            pid = int(
                wait_for((folder / "pid").read_text, "a pass")
                if wait_for((folder / "pid").exists, "a pass")
                else 0
            )
            disturb(pid)
        except BaseException as error:
            errors.append(error)
        finally:
            (folder / "go").touch()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        hook_passes(monkeypatch, inside=stay_once(folder, after))
        return of(**params).fit(frame)
    finally:
        thread.join()
        if errors:
            raise errors[0]


# ---------------------------------------------------- what is there


def block_folders(spark: SparkSession) -> list[Path]:
    """Folders of fits in the local folders of all executors."""
    root = Path(setting(spark.sparkContext, "spark.local.dir") or "")
    return [path for path in walk(root) if path.name.startswith("sparkml_lsml-")]


def walk(root: Path) -> list[Path]:
    """All that is below a folder, while others remove parts of it."""
    return [Path(at, name) for at, names, files in os.walk(root) for name in names + files]


_frames: set[tuple[str, int]] = set()
"""Numbers of cached RDDs that are checkpoints, with their application."""


def cached_rdds(spark: SparkSession) -> set[int]:
    """Numbers of the cached RDDs that are no checkpoints, which the frames of tests are."""
    sc = spark.sparkContext
    kept = sc._jsc.sc().getPersistentRDDs()
    application = sc.applicationId
    found = set()
    # many frames of other tests may be there still: one call for all, and one for each new RDD
    for number in map(int, filter(None, kept.keys().mkString(" ").split(" "))):
        if (application, number) in _frames:
            continue
        rdd = kept.get(number)
        if rdd.isDefined() and rdd.get().isCheckpointed():
            _frames.add((application, number))
        else:
            found.add(number)
    return found


def left_behind(spark: SparkSession) -> list[str]:
    """What a fit should have released: files, cached RDDs, broadcasts, jobs, tags."""
    sc = spark.sparkContext
    cached = [f"RDD {number}" for number in sorted(cached_rdds(spark))]
    jobs = [f"job {number}" for number in _jobs_that_run(sc)]
    broadcasts = [str(path) for path in walk(Path(sc._temp_dir)) if path.name.startswith("tmp")]
    folders = [str(path) for path in block_folders(spark)]
    return folders + cached + jobs + broadcasts + sorted(sc.getJobTags())


def _jobs_that_run(sc: Any) -> list[int]:
    """Numbers of jobs that do not end within a few seconds: Spark is told of ends a little late."""
    until = time.monotonic() + 5.0
    while (found := list(sc.statusTracker().getActiveJobsIds())) and time.monotonic() < until:
        time.sleep(0.05)
    return found


# ---------------------------------------------------- processes


def processes(spark: SparkSession) -> dict[int, tuple[int, str]]:
    """Parent and command line of each process that descends from the JVM of this driver."""
    jvm: Any = spark.sparkContext._jvm
    root = int(jvm.java.lang.ProcessHandle.current().pid())
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    known: dict[int, tuple[int, str]] = {}
    for line in listing.stdout.splitlines():
        pid, parent, command = line.split(None, 2)
        known[int(pid)] = int(parent), command
    found = {root}
    while more := {pid for pid, (parent, _) in known.items() if parent in found} - found:
        found |= more
    return {pid: known[pid] for pid in found - {root}}


def python_workers(spark: SparkSession) -> list[int]:
    """Python workers of this driver's executors: the children of the daemons that fork them."""
    found = processes(spark)
    daemons = [pid for pid, (_, command) in found.items() if "pyspark.daemon" in command]
    return [pid for pid in daemons if found[pid][0] in daemons]


def executor_processes(spark: SparkSession) -> list[int]:
    """JVMs of this driver's executors, of a local cluster."""
    name = "CoarseGrainedExecutorBackend"
    return [pid for pid, (_, command) in processes(spark).items() if name in command]
