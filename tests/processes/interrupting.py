"""Fits that are interrupted by a SIGINT, a Spark driver that `test_interrupt` runs and signals.

The argument is a folder, with a folder for each fit: the file ``begun`` there asks for the signal.
What each interrupt left behind is printed as JSON.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LinearSVC
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from tests.faults import (
    PATIENCE,
    SETTINGS,
    Hook,
    Inside,
    coefficients,
    estimator,
    hook_passes,
    left_behind,
    made_up_rows,
    wait_for,
)

THREADS = 4
SOON = 20.0
"""Seconds that are "within seconds" on a busy machine; uninterrupted, the fits take hours."""


def all_in_pass(folder: Path, number: int, threads: int) -> Hook:
    """Make ``folder/ready`` once as many threads are in their pass of that number."""
    seen: dict[int, int] = {}
    lock = threading.Lock()

    def hook(blocks: ResidentBlocks, _: int) -> None:
        with lock:
            here = threading.get_ident()
            seen[here] = seen.get(here, 0) + 1
            if sum(passes >= number for passes in seen.values()) == threads:
                (folder / "ready").touch()

    return hook


def stay_when_ready(folder: Path) -> Inside:
    """Ask for the interrupt from inside of a task, which stays: a job runs when it comes."""

    def inside(partition: int) -> None:
        if not (folder / "ready").exists():
            return
        (folder / "begun").touch()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not (folder / "over").exists():
            time.sleep(0.02)

    return inside


def interrupted(
    spark: SparkSession, folder: Path, threads: int, fit: Callable[[], Any]
) -> dict[str, Any]:
    """What was there after a fit that does not end by itself."""
    folder.mkdir()
    before = set(threading.enumerate())
    ending = "the fit ended"
    with pytest.MonkeyPatch.context() as patch:
        hook_passes(patch, all_in_pass(folder, 3, threads), stay_when_ready(folder))
        try:
            fit()
        except BaseException as error:
            ending = type(error).__name__
    seconds = time.time() - (folder / "begun").stat().st_mtime
    (folder / "over").touch()
    # PySpark ends the pool of a CrossValidator when the collector finds it
    gc.collect()

    def running() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread not in before]

    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not running(), "threads to end", SOON)
    return {
        "ending": ending,
        "seconds": seconds,
        "threads": running(),
        "left": left_behind(spark),
    }


def main(folder: Path) -> dict[str, Any]:
    builder = SparkSession.builder.master("local[2]")
    for key, value in {**SETTINGS, "spark.local.dir": str(folder / "local")}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    frame = made_up_rows(spark)
    expected = coefficients(estimator().fit(frame)).tolist()
    # a million passes
    endless = LinearSVC(execution="distributed", solver="gradient-descent", tol=0.0)
    endless.setParams(maxIter=1_000_000, lineSearch="fixed", stepSize=1e-9)
    grid = ParamGridBuilder().addGrid(endless.regParam, [0.1 * n for n in range(2 * THREADS)])
    validator = CrossValidator(
        estimator=endless,
        estimatorParamMaps=grid.build(),
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
        parallelism=THREADS,
    )
    found: dict[str, Any] = {"expected": expected}
    for name, threads, fit in (
        ("fit", 1, lambda: endless.fit(frame)),
        # one thread trains the models of a grid together, the others wait for theirs
        ("CrossValidator", 1, lambda: validator.fit(frame)),
    ):
        found[name] = interrupted(spark, folder / name, threads, fit)
        found[name]["next fit"] = coefficients(estimator().fit(frame)).tolist()
        found[name]["left at last"] = left_behind(spark)
    spark.stop()
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
