"""Fits of many features in a local cluster: executors in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict

from benchmarks.contestants import OURS, Case, fit_spark
from benchmarks.data import DataSet, ensure
from benchmarks.measure import PeakMemory, Result, Say
from benchmarks.session import start

MASTER = "local-cluster[2,1,3072]"
ROWS, NONZEROS, ITERATIONS = 100_000, 40, 5


def measure(sizes: list[int], say: Say) -> Iterator[Result]:
    """Fit our logistic regression to rows of more and more features."""
    for features in sizes:
        data = DataSet("sparse", ROWS, features, NONZEROS)
        ensure(data)
        spark = start(master=MASTER)
        case = Case("LogisticRegression", data, 1e-4)
        params = {"execution": "distributed", "maxIter": ITERATIONS}
        with PeakMemory(os.getpid()) as memory:
            summary = fit_spark(spark, case, OURS, **params).summary
        one = (summary.seconds - summary.ingest_seconds) / summary.passes
        sent = summary.sent / summary.passes
        say(f"{features:,} features: a pass {one:.2f} s, {sent / 2**20:.1f} MB sent")
        yield {
            "data": asdict(data),
            "passes": summary.passes,
            "ingest": summary.ingest_seconds,
            "pass": one,
            "sent": sent,
            "memory": memory.peak,
        }
    start()
