"""What checkpoints cost: fits with and without them, and the seconds that they take themselves."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any
from unittest import mock

from pyspark.sql import SparkSession

from benchmarks.contestants import OURS, Case, fit_spark
from benchmarks.data import dense, ensure
from benchmarks.measure import Result, Say, alternate, shown
from sparkml_lsml.spark.folders import checkpoint

INTERVAL = 10
PAIRS = 7
ITERATIONS = 41
SETTINGS: dict[str, dict[str, Any]] = {
    "LinearSVC": {"solver": "sgd"},
    "LogisticRegression": {"solver": "gradient-descent"},
}
"""Solvers that are still on their way when the checkpoints are due: l-bfgs is done before."""

WORK = (
    (checkpoint.Checkpoints, ("__init__", "__exit__", "of")),
    (checkpoint.Checkpoint, ("__call__", "load")),
)
"""Everything that a fit does for its checkpoints, apart from the fingerprint's few sums."""


def measure(spark: SparkSession, rows: int, say: Say) -> Iterator[Result]:
    """Time fits with a checkpoint every ten iterations, and without."""
    data = dense(rows)
    ensure(data)
    for name, settings in SETTINGS.items():
        case = Case(name, data)
        settings = {**settings, "tol": 0.0, "maxIter": ITERATIONS}
        with tempfile.TemporaryDirectory(prefix="checkpoints-") as folder:
            noted = {**settings, "checkpointDir": folder, "checkpointInterval": INTERVAL}
            fit_spark(spark, case, OURS, **{**noted, "maxIter": INTERVAL + 1})
            spent: list[float] = []
            written: list[int] = []
            fit = partial(fit_spark, spark, case, OURS, **noted)
            timed = alternate(
                {
                    "without": partial(fit_spark, spark, case, OURS, **settings),
                    "with": partial(counted, fit, spent, written),
                },
                PAIRS,
            )
        model: Any = timed["with"].result
        title = (
            f"{case.title}, {settings['solver']}, {model.summary.totalIterations} iterations, "
            f"{written[0]} checkpoints"
        )
        say(f"{title}: {shown(timed)}, of which checkpoints {sorted(spent)[PAIRS // 2]:.3f} s")
        yield {
            "title": title,
            "data": asdict(data),
            "iterations": model.summary.totalIterations,
            "seconds": {name: each.seconds for name, each in timed.items()},
            "checkpoints": spent,
        }


def counted(fit: Callable[[], Any], spent: list[float], written: list[int]) -> Any:
    """Run a fit and note the seconds that its checkpoints take, and the files they write."""
    total, files = [0.0], [0]

    def put(spark: SparkSession, path: str, write: Any) -> None:
        files[0] += path.endswith(".zip")
        real_put(spark, path, write)

    def clocked(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return real(*args, **kwargs)
            finally:
                total[0] += time.perf_counter() - begin

        return call

    with contextlib.ExitStack() as patched:
        for kind, names in WORK:
            for name in names:
                patched.enter_context(mock.patch.object(kind, name, clocked(getattr(kind, name))))
        real_put = checkpoint._put
        patched.enter_context(mock.patch.object(checkpoint, "_put", put))
        model = fit()
    written.append(files[0])
    spent.append(total[0])
    return model
