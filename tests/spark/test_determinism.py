"""The same rows in the same partitions, seed and versions: the same model to the last bit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from pyspark import RDD, TaskContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, StructField, StructType

from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.engine.blocks.pack import PackSettings
from sparkml_lsml.engine.passes import RowsSum
from sparkml_lsml.errors import BackendError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.cluster import trees as trees_room
from sparkml_lsml.spark.rows import packed, resident
from sparkml_lsml.spark.rows.healing import CachedHandles
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from sparkml_lsml.worker.packing import packer
from sparkml_lsml.worker.totals import PartitionFunction, Total
from tests.faults import block_folders, hook_passes
from tests.spark.helpers import KINDS, cells, numbers

Patch = pytest.MonkeyPatch

SIZES = (1, 300, 7, 40, 900, 2, 150)
"""Rows of each partition."""

SOLVERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "l-bfgs": (LogisticRegression, {}),
    "hinge": (LinearSVC, {}),
    "gradient-descent": (LogisticRegression, {"solver": "gradient-descent"}),
    "sgd": (LogisticRegression, {"solver": "sgd"}),
    "minibatch-sgd": (LinearSVC, {"solver": "minibatch-sgd", "miniBatchFraction": 0.5}),
    "cocoa": (LinearSVC, {"solver": "cocoa"}),
    "normal": (LinearRegression, {"solver": "normal"}),
    "l1": (LinearRegression, {"solver": "l-bfgs", "elasticNetParam": 0.5}),
}
DELAYS = ([0.0, 0.02, 0.0, 0.02, 0.0, 0.0, 0.0], [0.02, 0.0, 0.02, 0.0, 0.0, 0.0, 0.0])
"""Seconds that the tasks of the partitions wait: they end in another order in each run."""


@pytest.fixture(scope="module")
def frames(spark: SparkSession) -> dict[str, DataFrame]:
    """Give rows of different sizes in seven uneven partitions, in the order of their making."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(sum(SIZES), 5)) * 10.0 ** np.arange(-2, 3) * (rng.random((1, 5)) + 0.1)
    X *= rng.random(X.shape) < 0.8
    y = (X @ (1.0 / X.std(axis=0)) + rng.normal(size=len(X)) > 0.3).astype(np.float64)
    edges = np.cumsum((0, *SIZES)).tolist()
    found = {}
    for kind in ("float", "sparse"):
        rows = list(zip(y.tolist(), cells(X, kind), strict=True))
        schema = StructType(
            [StructField("label", DoubleType()), StructField("features", KINDS[kind])]
        )
        parts = [rows[start:stop] for start, stop in pairwise(edges)]
        rdd = spark.sparkContext.parallelize(parts, len(parts)).flatMap(lambda part: part)
        # a union of frames of one partition would be one partition
        whole = spark.createDataFrame(rdd, schema).localCheckpoint()
        assert whole.rdd.getNumPartitions() == len(SIZES)
        found[kind] = whole
    return found


@pytest.fixture(autouse=True)
def _seven_cores(monkeypatch: Patch) -> None:
    # nothing is coalesced
    monkeypatch.setattr(resident, "most_partitions", lambda sc: len(SIZES))


def slow_packer(delays: list[float]) -> Any:
    """Give a `packer` whose tasks wait."""

    def make(settings: PackSettings) -> Any:
        pack = packer(settings)

        def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            task = TaskContext.get()
            assert task is not None
            time.sleep(delays[task.partitionId()])
            yield from pack(batches)

        return run

    return make


def fit(
    monkeypatch: Patch,
    dataset: DataFrame,
    solver: str,
    delays: list[float] | None = None,
    hook: Callable[[ResidentBlocks, int], None] | None = None,
    **params: Any,
) -> Any:
    """Fit while tasks end in an order of their own."""
    cls, settings = SOLVERS[solver]
    given = {"aggregationDepth": 1, "execution": "distributed", "regParam": 0.01, "maxIter": 2}
    if cls is not LinearRegression:
        given["tol"] = 0.0
    if "seed" in {param.name for param in cls().params}:
        given["seed"] = 3
    with monkeypatch.context() as patch:
        inside = None
        if delays is not None:
            patch.setattr(packed, "packer", slow_packer(delays))

            def inside(partition: int) -> None:
                time.sleep(delays[partition])

        hook_passes(patch, hook, inside)
        return cls(**{**given, **settings, **params}).fit(dataset)


def bits(model: Any) -> list[npt.NDArray[np.int64]]:
    """All digits of a model: coefficients, then the objective after each iteration."""
    history = np.array(model.summary.objectiveHistory)
    return [numbers(model).view(np.int64), history.view(np.int64)]


def assert_same_bits(model: Any, expected: Any) -> None:
    for found, wanted in zip(bits(model), bits(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("solver", "kind"),
    [(solver, ("float", "sparse")[number % 2]) for number, solver in enumerate(SOLVERS)],
)
def test_case_29_fits_are_the_same_to_the_last_bit(
    frames: dict[str, DataFrame], monkeypatch: Patch, solver: str, kind: str
) -> None:
    dtype = "float32" if kind == "float" else "float64"
    first, second = (fit(monkeypatch, frames[kind], solver, d, dtype=dtype) for d in DELAYS)
    assert first.summary.execution == "distributed"
    assert first.summary.partitions == len(SIZES)
    assert_same_bits(second, first)


@pytest.mark.parametrize("solver", ["l-bfgs", "sgd", "normal"])
def test_blocks_that_are_lost_change_no_bit(
    spark: SparkSession, frames: dict[str, DataFrame], monkeypatch: Patch, solver: str
) -> None:
    lost: list[Path] = []

    def lose(blocks: ResidentBlocks, number: int) -> None:
        if number == (1 if solver == "normal" else 2):
            lost.extend(sorted(block_folders(spark)[0].iterdir())[:3])
            for path in lost:
                shutil.rmtree(path)

    expected = fit(monkeypatch, frames["sparse"], solver)
    found = fit(monkeypatch, frames["sparse"], solver, hook=lose)
    assert len(lost) == 3
    assert_same_bits(found, expected)


def numbered(spark: SparkSession) -> RDD[Any]:
    return spark.sparkContext.parallelize(range(7), 7)


def absent(folder: str, times: int) -> PartitionFunction:
    """A function that names its partition, but misses the first ``times`` blocks of some."""

    def function(partition: int, rows: Any) -> Iterator[Total]:
        list(rows)
        asked = Path(folder, str(partition))
        if partition in (0, 3, 4) and len(list(asked.parent.glob(f"{partition}-*"))) < times:
            Path(folder, f"{partition}-{time.monotonic_ns()}").touch()
            yield Total(missing=(partition,))
        else:
            yield Total(RowsSum([(partition, None)]))  # type: ignore[list-item]

    return function


@pytest.mark.parametrize("depth", [1, 2])
def test_partitions_that_are_asked_twice_are_in_once(
    spark: SparkSession, tmp_path: Path, monkeypatch: Patch, depth: int
) -> None:
    monkeypatch.setattr(trees_room, "SMALL_BYTES", 0)
    handles = CachedHandles(numbered(spark), "fit", depth, "test", lambda: None)
    try:
        total = handles.run(absent(str(tmp_path), 1), 8)
    finally:
        handles.release()
    assert total.value is not None
    found = [partition for partition, _ in total.value.parts]  # type: ignore[attr-defined]
    # in their order, unless a tree adds up what arrives first
    assert (found if depth == 1 else sorted(found)) == list(range(7))
    assert total.missing == ()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_block_that_is_lost_again_and_again(spark: SparkSession, tmp_path: Path) -> None:
    handles = CachedHandles(numbered(spark), "fit", 1, "test", lambda: None)
    try:
        with pytest.raises(BackendError, match=r"blocks \[0, 3, 4\] .* were lost 4 times"):
            handles.run(absent(str(tmp_path), 9), 8)
    finally:
        handles.release()
    assert len(list(tmp_path.iterdir())) == 3 * 4


def test_a_tree_is_the_same_but_for_rounding(
    frames: dict[str, DataFrame], monkeypatch: Patch
) -> None:
    expected = fit(monkeypatch, frames["sparse"], "l-bfgs")
    trees = 0
    tree = RDD.partitionBy

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal trees
        trees += 1
        return tree(self, *arguments)

    monkeypatch.setattr(trees_room, "SMALL_BYTES", 0)
    monkeypatch.setattr(RDD, "partitionBy", counted)
    found = fit(monkeypatch, frames["sparse"], "l-bfgs", aggregationDepth=2)
    assert trees > 2
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-9, atol=1e-12)
