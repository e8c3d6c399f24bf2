"""Many fits in one session: at once, one after another, and on partitions that differ in size."""

from __future__ import annotations

import gc
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyspark import RDD, Broadcast
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.resources import Sample, growth, sample
from benchmarks.soak import rows
from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.errors import DataError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.cluster import sizing
from sparkml_lsml.spark.cluster.sizing import most_partitions, parallelism, slots
from tests.faults import assert_same, coefficients, estimator, left_behind, made_up_rows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _nothing_left_behind(spark: SparkSession) -> Iterator[None]:
    yield
    assert left_behind(spark) == []


# ---------------------------------------------------- at once

FITS: list[Any] = [
    LogisticRegression(execution="distributed", regParam=0.01, maxIter=5),
    LogisticRegression(execution="local", regParam=0.1, elasticNetParam=1.0),
    LogisticRegression(execution="distributed", solver="cocoa", regParam=0.1, maxIter=5),
    LinearSVC(execution="distributed", solver="sgd", regParam=0.1, maxIter=3),
    LinearSVC(regParam=0.01, dtype="float32"),
    LinearRegression(execution="distributed", solver="normal", regParam=0.1),
]


def test_eight_threads_fit_at_once(spark: SparkSession) -> None:
    """Six fits of their own Params, and two of rows that cannot be used."""
    frame = made_up_rows(spark)
    expected = [fit.fit(frame) for fit in FITS]
    no_label = frame.withColumn("label", F.when(F.hash("label") > 0, F.col("label")))
    wrong = {
        "rows whose label is null": estimator(),
        "labels must be 0 or 1": LinearSVC(execution="local"),
    }
    frames = [frame] * len(FITS) + [no_label, frame.withColumn("label", F.lit(0.5))]
    begin = threading.Barrier(len(frames))

    def work(fit: Any, rows: DataFrame) -> Any:
        begin.wait()
        try:
            return fit.fit(rows)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(len(frames)) as threads:
        found = list(threads.map(work, [*FITS, *wrong.values()], frames))
    for model, alone in zip(found, expected, strict=False):
        assert_same(model, alone)
    for told, text in zip(found[len(FITS) :], wrong, strict=True):
        assert text in told


# ---------------------------------------------------- one after another


def alive() -> Counter[str]:
    """Objects of this package, and what PySpark has for what lies in the JVM, by class."""
    gc.collect()
    kinds = map(type, gc.get_objects())
    return Counter(
        kind.__qualname__
        for kind in kinds
        if str(kind.__module__).startswith("sparkml_lsml.")
        or issubclass(kind, DataFrame | RDD | Broadcast)
    )


@pytest.mark.slow
def test_case_50_hundred_fits_leave_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of fits whose rows take 3 MB, some of which fail, here and there and with checkpoints."""
    temporary, checkpoints = tmp_path / "tmp", tmp_path / "checkpoints"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    # pytest keeps what is logged, and with it why each fit stopped
    monkeypatch.setattr(logging.getLogger("sparkml_lsml"), "disabled", True)
    here, there = estimator(maxIter=1, execution="local"), estimator(maxIter=1)
    squares = LinearRegression(execution="local")
    cocoa = estimator(maxIter=1, solver="cocoa")
    kept = estimator(maxIter=3, checkpointDir=str(checkpoints), checkpointInterval=1)
    # eleven, so that each of them is a tenth fit now and then
    kinds = [*[there, here, squares] * 3, kept, cocoa]
    frame = rows(spark)
    wrong = frame.withColumn("label", F.lit(None).cast("double"))
    done: list[int] = []
    samples: list[Sample] = []
    held: list[Counter[str]] = []
    for number in range(121):
        # the first ones load what is loaded once
        if number >= 20 and number % 20 == 0:
            done.append(number)
            samples.append(sample(spark))
            held.append(alive())
        fit = kinds[number % len(kinds)]
        if number % 10 == 9:
            with pytest.raises(DataError, match="label is null"):
                fit.fit(wrong)
        else:
            fit.fit(frame)
    assert done[-1] - done[0] == 100
    assert held[-1] - held[0] == Counter()
    for name in ("files of blocks", "broadcasts", "cached RDDs"):
        assert samples[-1][name] <= samples[0][name], name
    assert [change for change in growth(done, samples) if change.grew] == []
    assert list(checkpoints.iterdir()) == []
    # machine code of the kernels may lie here, where it can be nowhere else
    names = [path.name for path in temporary.iterdir()]
    assert [name for name in names if not name.startswith("sparkml_lsml-kernels-")] == []


def test_growth_is_told_from_noise() -> None:
    rng = np.random.default_rng(0)
    fits = list(range(0, 200, 10))
    noise = rng.uniform(-10.0, 10.0, len(fits))
    held = {"files of blocks": 3.0, "heap of the JVM, MB": 80.0}
    steady = [{**held, "heap of the JVM, MB": 80.0 + one} for one in noise]
    assert not any(change.grew for change in growth(fits, steady))
    # a quarter of a megabyte a fit
    leak = "heap of the JVM, MB"
    leaking = [{**one, leak: one[leak] + 0.25 * n} for n, one in zip(fits, steady, strict=True)]
    grew = {change.name: change for change in growth(fits, leaking) if change.grew}
    assert list(grew) == [leak]
    assert grew[leak].per_hundred == pytest.approx(25.0, abs=5.0)
    # a file in every tenth fit, and one large sample among small ones
    files = [{**held, "files of blocks": 3.0 + n // 10} for n in fits]
    assert [change.name for change in growth(fits, files) if change.grew] == ["files of blocks"]
    once = [{**held, "files of blocks": 3.0 + (n == 100)} for n in fits]
    assert not any(change.grew for change in growth(fits, once))


# ---------------------------------------------------- partitions that differ


@pytest.mark.parametrize(
    "fit",
    [
        estimator(maxIter=100, tol=1e-12),
        LinearRegression(execution="distributed", solver="normal", regParam=0.1),
    ],
    ids=["l-bfgs", "normal"],
)
def test_case_34_partitions_skewed_a_hundred_to_one(spark: SparkSession, fit: Any) -> None:
    skewed = made_up_rows(spark, 4000, 2).where("id < 2000 or id % 100 = 0")
    assert skewed.rdd.glom().map(len).collect() == [2000, 20]
    found, expected = fit.fit(skewed), fit.fit(skewed.repartition(2))
    assert found.summary.partitions == expected.summary.partitions == 2
    # both stop within the tolerance of the minimum, and not at the same digit
    np.testing.assert_allclose(
        coefficients(found),
        coefficients(expected),
        rtol=0.0,
        atol=1e-6 * found.coefficients.norm(2),
    )


# ---------------------------------------------------- executors that come when tasks wait for them

ALLOCATED = {"spark.dynamicAllocation.enabled": "true", "spark.executor.cores": "4"}
MOST = "spark.dynamicAllocation.maxExecutors"


INSTANCES = {"spark.executor.instances": "10", "spark.executor.cores": "8"}
GPUS = {"spark.executor.resource.gpu.amount": "2", "spark.task.resource.gpu.amount": "0.5"}


@pytest.mark.parametrize(
    ("settings", "cores", "tasks", "partitions"),
    [
        ({}, 2, 2, 2),
        ({MOST: "50"}, 2, 2, 2),
        ({}, 64, 64, 64),
        (ALLOCATED | {MOST: "50"}, 2, 200, 200),
        # nothing is known of the cores to come, and Spark's default says as little
        (ALLOCATED, 2, 2, 1000),
        (ALLOCATED | {MOST: str(2**31 - 1)}, 2, 2, 1000),
        # executors of a fixed number, of which two cores are there so far
        (INSTANCES, 2, 80, 80),
        (INSTANCES | {"spark.task.cpus": "4"}, 2, 20, 20),
        # four tasks share its two GPUs, whatever its cores
        (INSTANCES | GPUS, 2, 40, 40),
        ({"spark.cores.max": "32", "spark.executor.cores": "8"}, 2, 32, 32),
        ({"spark.cores.max": "32", "spark.task.cpus": "2"}, 2, 16, 16),
    ],
)
def test_partitions_are_those_of_the_executors_to_come(
    settings: dict[str, str],
    cores: int,
    tasks: int,
    partitions: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Joining all rows to the partitions of the cores that are there would leave it at that."""
    context = _context(settings)
    monkeypatch.setattr(sizing, "slots", lambda _: cores)
    assert parallelism(context) == tasks
    assert most_partitions(context) == partitions


def _context(settings: dict[str, str]) -> Any:
    # 800 is spark.default.parallelism, which is how shuffles are split
    return SimpleNamespace(defaultParallelism=800, _conf=settings, master="yarn")


class Context(SimpleNamespace):
    """One that the table of contexts can refer to."""

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("settings", "looks"),
    [(INSTANCES, 6), (INSTANCES | {"spark.dynamicAllocation.enabled": "true"}, 1), ({}, 1)],
    ids=["fixed", "dynamic", "not said"],
)
def test_the_first_fit_waits_for_executors_that_were_asked_for(
    settings: dict[str, str], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = Context(**vars(_context(settings)))
    there = [0, 0, 0, 8, 79, 80]
    seen: list[int] = []

    def slots(_: Any) -> int:
        seen.append(there[min(len(seen), 5)])
        return seen[-1]

    monkeypatch.setattr(sizing, "slots", slots)
    monkeypatch.setattr(sizing, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=str))
    sizing.wait_for_executors(context)
    assert len(seen) >= looks
    assert (seen[-1] == 80) == (looks == 6)
    before = len(seen)
    sizing.wait_for_executors(context)
    assert len(seen) == before


def test_executors_that_never_come_are_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(np.arange(0.0, 100.0, 0.1))
    monkeypatch.setattr(sizing, "slots", lambda _: 8)
    monkeypatch.setattr(sizing, "time", SimpleNamespace(monotonic=clock.__next__, sleep=str))
    sizing.wait_for_executors(Context(**vars(_context(INSTANCES))))
    assert 14.0 < next(clock) < 16.0


def test_slots_are_those_of_the_cores(spark: SparkSession) -> None:
    assert slots(spark.sparkContext) == 2
