"""Spark as the benchmarks use it."""

from __future__ import annotations

import os
from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.data import FOLDER

PROPERTIES = Path(__file__).resolve().parent.parent / "conf" / "spark-defaults.conf"
CORES = 2
DRIVER_MEMORY = "6g"


def start(
    cores: int = CORES, partitions: int | None = None, master: str | None = None
) -> SparkSession:
    """Start Spark in this process's JVM, in place of the one that runs.

    A JVM is warm once and stays so; only the context is new. What the JVM has to say goes into a
    file, not between our lines.
    """
    running = SparkSession.getActiveSession()
    if running is not None:
        running.stop()
    FOLDER.mkdir(parents=True, exist_ok=True)
    submit = f"--properties-file {PROPERTIES} --driver-memory {DRIVER_MEMORY}"
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{submit} pyspark-shell"
    builder = SparkSession.builder.appName("sparkml_lsml benchmark").master(
        master or f"local[{cores}]"
    )
    builder = builder.config("spark.ui.enabled", "false")
    builder = builder.config("spark.default.parallelism", str(partitions or cores))
    ours = os.dup(2)
    with (FOLDER / "spark.log").open("a") as log:
        os.dup2(log.fileno(), 2)
        try:
            return builder.getOrCreate()
        finally:
            os.dup2(ours, 2)
            os.close(ours)
