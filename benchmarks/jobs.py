"""Whole training jobs with spark-submit, cold, and the memory of their processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession

from benchmarks.contestants import MLLIB, SPARK_MODULES
from benchmarks.data import FOLDER, DataSet, dense, ensure
from benchmarks.measure import PeakMemory, Result, Say, alternate, shown
from benchmarks.session import CORES, DRIVER_MEMORY, PROPERTIES


def measure(sizes: list[int], say: Say) -> Iterator[Result]:
    """Run a training job with spark-submit in processes of its own: seconds and memory."""
    running = SparkSession.getActiveSession()
    if running is not None:
        running.stop()
    for rows in sizes:
        data = dense(rows)
        ensure(data)
        timed = alternate({system: partial(submit, system, data) for system in SPARK_MODULES})
        systems = {
            system: {"seconds": each.seconds, "memory": each.result}
            for system, each in timed.items()
        }
        title = f"LogisticRegression, {data.title}"
        say(f"spark-submit, {title}: {shown(timed)}")
        yield {"title": title, "data": asdict(data), "systems": systems}


def submit(system: str, data: DataSet) -> dict[str, int]:
    """Run the job of one system; the most memory that its processes held."""
    package = "pyspark.ml" if system == MLLIB else system
    command = [
        str(Path(pyspark.__path__[0]) / "bin" / "spark-submit"),
        *("--properties-file", str(PROPERTIES), "--driver-memory", DRIVER_MEMORY),
        *("--master", f"local[{CORES}]", str(Path(__file__).with_name("train_job.py"))),
        *(package, str(data.path), str(FOLDER / "job-model")),
    ]
    with (FOLDER / "jobs.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        with PeakMemory(process.pid) as memory:
            status = process.wait()
    if status != 0:
        sys.exit(f"the training job of {system} failed: see {FOLDER / 'jobs.log'}")
    return memory.peak
