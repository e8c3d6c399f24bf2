"""What the tests of estimators share: frames, and a look at what a fit left behind."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyspark.ml.linalg import SparseVector, Vectors, VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import ArrayType, DataType, DoubleType, FloatType, StructField, StructType

from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.errors import SparkMLError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.cluster.session import setting
from tests.faults import cached_rdds

Array = npt.NDArray[np.float64]

ESTIMATORS: tuple[type[Any], ...] = (LinearSVC, LogisticRegression, LinearRegression)
CLASSIFIERS = ESTIMATORS[:2]
EXECUTIONS = ("local", "distributed")

KINDS: dict[str, DataType] = {
    "dense": VectorUDT(),
    "sparse": VectorUDT(),
    "mixed": VectorUDT(),
    "double": ArrayType(DoubleType()),
    "float": ArrayType(FloatType()),
}
"""The forms that a column of features may have."""


def sparse(row: npt.ArrayLike) -> SparseVector:
    """Give a row as a sparse vector that stores no zeros."""
    values = np.asarray(row, dtype=np.float64)
    at = np.flatnonzero(values)
    return Vectors.sparse(len(values), at.tolist(), values[at].tolist())


def cells(X: npt.ArrayLike, kind: str = "dense") -> list[Any]:
    """Give rows as values of a column of features of that kind."""
    rows = np.asarray(X, dtype=np.float64)
    if kind == "dense":
        return [Vectors.dense(row) for row in rows]
    if kind == "sparse":
        return [sparse(row) for row in rows]
    if kind == "mixed":
        return [Vectors.dense(row) if n % 2 else sparse(row) for n, row in enumerate(rows)]
    return [row.tolist() for row in rows]


def frame_of(
    spark: SparkSession, columns: dict[str, tuple[DataType, list[Any]]], partitions: int = 2
) -> DataFrame:
    """Give a frame of typed columns, its rows in order and in equal partitions."""
    schema = StructType([StructField(name, kind) for name, (kind, _) in columns.items()])
    rows = list(zip(*(values for _, values in columns.values()), strict=True))
    # not from an RDD: that would take a Python worker more in every job
    made = spark.createDataFrame(rows, schema)
    found = made.rdd.getNumPartitions()
    if partitions != found:
        made = made.coalesce(partitions) if partitions < found else made.repartition(partitions)
    # kept by the JVM, as a file would be: fits then need no Python worker to make the rows
    return made.localCheckpoint()


def frame(
    spark: SparkSession,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    *,
    kind: str = "dense",
    partitions: int = 2,
) -> DataFrame:
    """Give a frame with the columns label, features and, where there are any, weight."""
    columns: dict[str, tuple[DataType, list[Any]]] = {
        "label": (DoubleType(), np.asarray(y, dtype=np.float64).tolist()),
        "features": (KINDS[kind], cells(X, kind)),
    }
    if weight is not None:
        columns["weight"] = (DoubleType(), np.asarray(weight, dtype=np.float64).tolist())
    return frame_of(spark, columns, partitions)


def binary_rows(
    rows: int = 60, features: int = 3, seed: int = 0, noise: float = 1.0
) -> tuple[Array, Array]:
    """Draw features and labels 0 and 1 that no hyperplane separates."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features))
    raw = X @ np.linspace(1.0, -2.0, features) + noise * rng.normal(size=rows)
    return X, (raw > 0.3).astype(np.float64)


def numbers(model: Any) -> Array:
    """Give all coefficients of a model, then its intercepts; of a network all its weights."""
    if hasattr(model, "weights"):
        parts = [model.weights.toArray()]
    elif hasattr(model, "coefficientMatrix"):
        parts = [model.coefficientMatrix.toArray().ravel(), model.interceptVector.toArray()]
    else:
        parts = [model.coefficients.toArray(), np.array([model.intercept])]
    return np.concatenate(parts)


def jobs_so_far(spark: SparkSession) -> int:
    """Count the jobs that the context has started."""
    return int(spark.sparkContext._jsc.sc().dagScheduler().numTotalJobs())


def remains(spark: SparkSession) -> dict[str, set[str]]:
    """Name what fits can leave behind: cached RDDs, broadcasts, files of blocks."""
    sc = spark.sparkContext
    folders = os.walk(setting(sc, "spark.local.dir") or "")
    return {
        "cached RDDs": {str(number) for number in cached_rdds(spark)},
        # a broadcast from Python is a file here until it is destroyed
        "broadcasts": {path.name for path in Path(sc._temp_dir).iterdir()},
        "folders": {n for _, names, _ in folders for n in names if n.startswith("sparkml_lsml-")},
    }


@contextlib.contextmanager
def nothing_left(spark: SparkSession) -> Iterator[None]:
    """Fail if the block leaves anything behind that was not there before."""
    before = remains(spark)
    yield
    deadline = time.monotonic() + 5.0
    # what was there before may go at any time, with the frame that it belongs to
    while (left := added(before, remains(spark))) and time.monotonic() < deadline:
        time.sleep(0.05)  # files of one executor may be removed by a task that has just ended
    assert not left, left


def added(before: dict[str, set[str]], after: dict[str, set[str]]) -> dict[str, set[str]]:
    """Name what is there now and was not before."""
    return {kind: new for kind, names in after.items() if (new := names - before[kind])}


@contextlib.contextmanager
def refused(spark: SparkSession, *parts: str) -> Iterator[None]:
    """Expect an error that says all of ``parts``, and nothing left behind."""
    with nothing_left(spark):
        with pytest.raises((ValueError, TypeError, SparkMLError)) as caught:
            yield
        message = str(caught.value)
        for part in parts:
            assert part in message


@contextlib.contextmanager
def mlflow_store(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow, with a tracking store in a folder and an experiment there, ``tests``."""
    # databases need packages that mlflow-skinny leaves out
    patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((folder / "runs").as_uri())
    # MLflow keeps the experiment of a store that is gone, where none is named
    mlflow.set_experiment("tests")
    try:
        yield mlflow
    finally:
        mlflow.set_tracking_uri(before)
