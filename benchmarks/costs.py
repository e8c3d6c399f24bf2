"""A model of what a pass costs, fitted to one machine and asked about clusters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sparkml_lsml.spark.cluster.trees import SMALL_BYTES

Results = dict[str, Any]

# Assumptions of the predictions; none of them was measured.
EXECUTOR_CORES = 4
NETWORK = 1.25e9
"""Bytes a second of each machine's network: 10 Gbit/s."""
TASK_SECONDS = 0.001
"""Seconds in which the driver's scheduler starts a task and takes its result."""
ROWS = 1_000_000_000
SIZES = ((10, 100), (100, 100), (1000, 100), (10, 47_000), (100, 47_000), (1000, 47_000))
PASSES = 30


@dataclass(frozen=True)
class Machine:
    """Constants of a measured machine.

    Parameters
    ----------
    job : float
        Seconds of a Spark job whose tasks do nothing.
    rate, read_rate : float
        Bytes of dense float64 rows a second that a core passes over, and packs in the ingest.
    """

    job: float
    rate: float
    read_rate: float

    def work(self, nbytes: float, cores: float) -> float:
        """Seconds of arithmetic in a pass."""
        return nbytes / (self.rate * cores)


def calibrate(results: Results) -> Machine | None:
    """Constants from the pass over dense float64 rows, if it was measured."""
    for case in results.get("passes", []):
        if case["data"]["float32"]:
            continue
        one = {name: min(each) for name, each in case["seconds"].items()}
        cores = results["settings"]["cores"]
        rate = case["bytes"] / cores
        return Machine(one["job"], rate / (one["pass"] - one["job"]), rate / one["ingest"])
    return None


@dataclass(frozen=True)
class Residual:
    """A measured pass beside the model's."""

    axis: str
    value: int
    seconds: float
    model: float

    @property
    def apart(self) -> str:
        return f"{self.model / self.seconds:.2f}"


def residuals(results: Results) -> Iterator[Residual]:
    """The model for each dense size that was measured; its constants come from another run."""
    machine = calibrate(results)
    for point in results.get("scaling", []):
        if machine is None or point["data"]["kind"] != "dense":
            continue
        predicted = machine.job + machine.work(point["bytes"], point["cores"])
        yield Residual(point["axis"], point["value"], point["pass"], predicted)


def communication(executors: int, features: int) -> tuple[float, float, float]:
    """Seconds to send coefficients, to merge sums, and to start the tasks of a pass."""
    nbytes = 8 * features
    tasks = executors * EXECUTOR_CORES
    # Executors pass a broadcast on to each other, so that its time grows with the logarithm.
    send = nbytes / NETWORK * max(1.0, math.log2(executors))
    if tasks * nbytes <= SMALL_BYTES:
        return send, tasks * nbytes / NETWORK, tasks * TASK_SECONDS
    # Two levels: each of about sqrt(tasks) tasks merges as many sums, then the driver those.
    fan = math.sqrt(tasks)
    return send, 2 * fan * nbytes / NETWORK, (tasks + fan) * TASK_SECONDS


def predictions(results: Results) -> Iterator[tuple[str, ...]]:
    """Seconds of passes over a billion dense rows, or as many bytes of sparse ones."""
    machine = calibrate(results)
    if machine is None:
        return
    nbytes = ROWS * 100 * 8
    for executors, features in SIZES:
        cores = executors * EXECUTOR_CORES
        work = machine.work(nbytes, cores)
        send, merge, tasks = communication(executors, features)
        one = machine.job + work + send + merge + tasks
        whole = nbytes / (machine.read_rate * cores) + PASSES * one
        numbers = [f"{each:.3f}" for each in (work, send, merge, tasks, one)]
        yield (f"{executors:,}", f"{features:,}", *numbers, f"{whole:,.0f}")
