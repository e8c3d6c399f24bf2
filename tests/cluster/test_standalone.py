"""A packaged job on a real cluster: workers that are killed and that join, dynamic allocation."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from dev.cluster import HOSTS, Cluster, cluster, missing_hosts
from tests.faults import wait_for
from tests.submitting import packaged, python_without_the_package, submission

ROWS, FEATURES, FILES = 20_000, 6, 4
REG_PARAM = 0.1
ALLOCATION = {
    "spark.dynamicAllocation.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    "spark.dynamicAllocation.minExecutors": "1",
    "spark.dynamicAllocation.maxExecutors": "2",
    "spark.dynamicAllocation.initialExecutors": "2",
    "spark.dynamicAllocation.executorIdleTimeout": "10s",
    # no task before both executors are there: each is to hold blocks
    "spark.cores.max": "4",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "60s",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.executor.cores": "2",
    "spark.executor.memory": "512m",
}
"""An executor leaves after ten idle seconds, unless it holds blocks."""


class Events:
    """What happened in an application, as its driver writes it into the event log."""

    SETTINGS = (
        *("--conf", "spark.eventLog.enabled=true", "--conf", "spark.eventLog.compress=false"),
        *("--conf", "spark.eventLog.rolling.enabled=false"),
    )

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._read = 0
        self.options = (*self.SETTINGS, "--conf", f"spark.eventLog.dir={folder.as_uri()}")
        self.passes = 0
        self.hosts: dict[str, str] = {}
        """Of the executors that are alive."""

    def follow(self) -> Events:
        """Read what is new."""
        for path in self._folder.iterdir():
            with path.open("rb") as file:
                file.seek(self._read)
                # the last line may be half written
                lines = file.read().rpartition(b"\n")[0].split(b"\n")
            for line in lines:
                self._read += len(line) + 1 if line else 0
                if re.match(rb'\{"Event":"SparkListener(JobStart|Executor(Added|Removed))"', line):
                    self._note(json.loads(line))
        return self

    def _note(self, event: dict[str, Any]) -> None:
        name = event["Event"].removeprefix("SparkListener")
        if name == "ExecutorAdded":
            self.hosts[event["Executor ID"]] = event["Executor Info"]["Host"]
        elif name == "ExecutorRemoved":
            del self.hosts[event["Executor ID"]]
        elif found := re.search(
            r" pass (\d+)$", event["Properties"].get("spark.job.description", "")
        ):
            self.passes = int(found[1])


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    if sys.platform == "darwin" and missing_hosts():
        pytest.skip(f"needs `sudo ifconfig lo0 alias {HOSTS[1]}`")
    # executors must get the package from the job, and from nowhere else
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with cluster() as running:
        yield running
    assert not list(tmp_path.glob("cluster-*"))


def write_rows(folder: Path) -> tuple[Any, Any]:
    """Write rows as Parquet, in as many files as there are tasks at a time; features and labels."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, FEATURES))
    noise = rng.logistic(size=ROWS)
    y = (X @ np.linspace(1.0, -1.0, FEATURES) + noise > 0.3).astype(np.float64)
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(ROWS), FILES)):
        part = pd.DataFrame({"label": y[rows], "features": list(X[rows])})
        part.to_parquet(folder / f"part-{number}.parquet")
    return X, y


def training(folder: Path) -> dict[str, Any]:
    """Describe a fit of some three hundred passes, all of which are Spark jobs."""
    slow = {"solver": "gradient-descent", "lineSearch": "fixed", "stepSize": 0.5, "tol": 0.0}
    return {
        "input": {"format": "parquet", "path": str(folder / "rows")},
        "label": {"column": "label"},
        "pipeline": {
            "estimator": {
                "class": "LogisticRegression",
                "params": {
                    **slow,
                    "execution": "distributed",
                    "maxIter": 2000,
                    "regParam": REG_PARAM,
                    "standardization": False,
                },
            }
        },
        "output": {"model": str(folder / "model"), "report": str(folder / "report.json")},
    }


def arrays(model: Path) -> dict[str, Any]:
    """The arrays of the last stage of a saved pipeline."""
    (data,) = model.glob("stages/*/data")
    return {row["name"]: row["values"] for _, row in pd.read_parquet(data).iterrows()}


@pytest.mark.slow
def test_case_43_workers_are_killed_and_join(running: Cluster, tmp_path: Path) -> None:
    """At the end only an executor is left that was not there at the beginning."""
    X, y = write_rows(tmp_path / "rows")
    events = Events(tmp_path / "events")
    python = str(python_without_the_package(tmp_path / "python"))
    settings = {
        **ALLOCATION,
        "spark.driver.bindAddress": HOSTS[0],
        "spark.driver.host": HOSTS[0],
        # the executors of one machine could open each other's files
        "spark.executorEnv.SPARKML_LSML_OWN_BLOCKS_ONLY": "1",
        "spark.pyspark.python": python,
    }
    options = [part for pair in settings.items() for part in ("--conf", "=".join(pair))]
    job = submission(
        "train",
        training(tmp_path),
        tmp_path,
        options=("--master", running.url, "--py-files", packaged(), *options, *events.options),
        PYSPARK_PYTHON=python,
        PYTHONPATH="",
    )
    told = tmp_path / "told"
    with told.open("w") as output:
        driver = subprocess.Popen(**job, stdout=output, stderr=output, start_new_session=True)

    def until(condition: Any, what: str) -> None:
        wait_for(lambda: driver.poll() is not None or condition(), what, 120.0)
        assert driver.poll() is None, told.read_text()

    def passes(number: int) -> None:
        last = events.follow().passes + number
        until(lambda: events.follow().passes >= last, f"pass {last}")

    def executors(*hosts: str) -> None:
        until(lambda: sorted(events.follow().hosts.values()) == [*hosts], f"executors on {hosts}")

    try:
        executors(*HOSTS)
        passes(20)
        running.kill_worker(0)
        executors(HOSTS[1])
        running.add_worker(HOSTS[0])
        passes(20)
        running.kill_worker(1)
        executors(HOSTS[0])
        passes(20)
        driver.wait(120.0)
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
    text = told.read_text()
    assert driver.returncode == 0, text
    # Each worker held half of the blocks, and the second one those of the first as well. Tasks that
    # had given their totals before a worker was killed miss its blocks one pass later.
    lost = re.findall(r"blocks \[([\d, ]+)\] were lost and packed anew, with the same rows", text)
    times = Counter(block for blocks in lost for block in blocks.split(", "))
    assert sorted(times.values()) == [1, 1, 2, 2], text
    # the most exact answer in floating point that this objective allows is some 5e-8 away
    fit = LogisticRegression(C=1.0 / (REG_PARAM * ROWS), tol=1e-12, max_iter=1000).fit(X, y)
    found = arrays(tmp_path / "model")
    np.testing.assert_allclose(found["coefficients"], fit.coef_[0], rtol=1e-6, atol=1e-6)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["rows"] == {"training": ROWS}
