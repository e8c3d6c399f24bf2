"""What the driver does beside Spark's own work, for more partitions than a laptop can have.

Reports, handles and sums are made up in their real forms and sizes, one after the other as a job's
results come in; Spark's scheduler, which takes about a millisecond for each task, is not part.
"""

from __future__ import annotations

import multiprocessing
import pickle
import resource
import sys
import time
from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np

from benchmarks.measure import Result, Say
from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.files import BlockFiles
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.moments import Moments
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.spark.cluster.trees import SMALL_BYTES, levels
from sparkml_lsml.spark.rows.healing import table_of
from sparkml_lsml.worker.packing import SMALL_REPORT
from sparkml_lsml.worker.totals import Total

PARTITIONS, EXECUTORS = 10_000, 500
ROWS = 20
"""Of the block whose report is repeated; their number does not change its size."""


def measure(sizes: list[int], say: Say) -> Iterator[Result]:
    """Simulate the driver of fits with more and more features, each in a process of its own."""
    for features in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            found = process.apply(simulate, (features,))
        say(
            f"{features:,} features: ingest {found['ingest']:.1f} s, a pass {found['pass']:.2f} s, "
            f"{found['memory'] / 2**20:,.0f} MB"
        )
        yield found


def simulate(features: int) -> dict[str, Any]:
    """What the ingest and one pass take, and the peak memory of this process."""
    before = _memory()
    started = time.perf_counter()
    report = _ingested(features)
    ingest = time.perf_counter() - started
    known = {number: (handle.identity, handle.folder) for number, handle in report.handles}
    started = time.perf_counter()
    table = table_of(known, PARTITIONS)
    coef = np.zeros((1, features))
    sent = len(pickle.dumps((coef, table)))
    parts = PARTITIONS
    if parts * 8 * features > SMALL_BYTES:
        places = [str(number % EXECUTORS) for number in range(PARTITIONS)]
        parts = max(levels(places, 2, 8 * features)[-1]) + 1
    total = reduce(Total.merge, map(_arrived, _sums(parts, features)), Total())
    assert total.value is not None
    return {
        "features": features,
        "partitions": PARTITIONS,
        "executors": EXECUTORS,
        "ingest": ingest,
        "pass": time.perf_counter() - started,
        "sent": sent,
        "received": parts * 8 * features,
        "memory": _memory() - before,
    }


def _ingested(features: int) -> Report:
    """The merged report of all partitions, as the driver comes by it."""
    rng = np.random.default_rng(0)
    block = Block(rng.normal(size=(ROWS, features)), np.zeros(ROWS))
    one = Report(shortest=features, longest=features, labels={0.0: (ROWS, float(ROWS))})
    one.moments = Moments.of_block(block)
    one.label_moments = Moments.of_rows(block.y[:, None], None)
    saved = pickle.dumps(one)
    arrived = []
    for number in range(PARTITIONS):
        # a wide report comes through a tree, and its handle without it at first
        found = pickle.loads(saved) if len(saved) <= SMALL_REPORT else Report()
        folder = f"/mnt/disk{number % 4}/blockmgr-{number % EXECUTORS:036d}/fit/{number:032x}"
        files = BlockFiles(folder, "float64", ROWS, features, -1, weighted=False)
        found.handles = [(number, pickle.loads(pickle.dumps(Handle(ROWS, 20.0, number, files))))]
        arrived.append(Total(found))
    total = reduce(Total.merge, arrived, Total()).value
    assert isinstance(total, Report)
    return total


def _sums(parts: int, features: int) -> Iterator[bytes]:
    sums = pickle.dumps(Total(_Sum(np.ones(features)), nbytes=8 * features))
    return (sums for _ in range(parts))


def _arrived(saved: bytes) -> Total:
    found: Total = pickle.loads(saved)
    return found


class _Sum:
    def __init__(self, values: Any) -> None:
        self.values = values

    def merge(self, other: _Sum) -> _Sum:
        self.values += other.values
        return self


def _memory() -> int:
    """Bytes of this process, at most so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
