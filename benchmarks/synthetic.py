"""Seeded rows to train on: the same on every machine, however many tasks make them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, LongType, StructField, StructType
from scipy import sparse

FEATURES = 100
FLIPPED = 0.05

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class DenseRows:
    """Correlated columns whose scales spread over three decades."""

    features: int = FEATURES
    seed: int = 0

    @cached_property
    def truth(self) -> tuple[Array, Array, Array]:
        """Mixing of a few common causes, scales of the columns, and weights of the labels."""
        rng = np.random.default_rng(self.seed)
        mixing = rng.normal(size=(10, self.features))
        return mixing, np.logspace(-1.5, 1.5, self.features), rng.normal(size=self.features)

    def __call__(self, start: int, count: int) -> tuple[Array, Array, Array]:
        """Make the rows of a batch: features, classes, and numbers to predict."""
        mixing, scales, weights = self.truth
        # Seeded by the first row, so that the rows do not depend on who makes them.
        noise = np.random.default_rng([self.seed, start])
        x = noise.normal(size=(count, 10)) @ mixing / 3
        x += noise.normal(size=(count, self.features))
        margin = x @ weights / math.sqrt(self.features)
        label = ((margin > 0) ^ (noise.random(count) < FLIPPED)).astype(float)
        target = 10 + 3 * margin + noise.normal(size=count)
        x *= scales
        return x, label, target


@dataclass(frozen=True)
class SparseRows:
    """Columns as frequent as words are, by a power law, with scales over three decades."""

    features: int
    nonzeros: int
    seed: int = 0

    @cached_property
    def truth(self) -> tuple[Array, Array, Array]:
        """Cumulated frequencies of the columns, their scales, and weights of the labels."""
        rng = np.random.default_rng(self.seed)
        frequency = 1 / (np.arange(self.features) + 10.0)
        scales = 10 ** rng.uniform(-1.5, 1.5, self.features)
        return np.cumsum(frequency) / frequency.sum(), scales, rng.normal(size=self.features)

    def __call__(self, start: int, count: int) -> tuple[sparse.csr_matrix, Array, Array]:
        """Make the rows of a batch: features, classes, and numbers to predict."""
        cumulated, scales, weights = self.truth
        noise = np.random.default_rng([self.seed, start])
        # Frequent columns are drawn twice now and then and count once: draw a few more.
        drawn = noise.poisson(1.1 * self.nonzeros, count)
        rows = np.repeat(np.arange(count), drawn)
        columns = np.searchsorted(cumulated, noise.random(len(rows)))
        cells = np.unique(rows * self.features + columns)
        rows, columns = np.divmod(cells, self.features)
        values = noise.uniform(0.5, 1.5, len(cells))
        starts = np.searchsorted(rows, np.arange(count + 1))
        shape = (count, self.features)
        x = sparse.csr_matrix((values, columns.astype(np.int32), starts), shape=shape)
        margin = x @ weights / math.sqrt(self.nonzeros)
        label = ((margin > 0) ^ (noise.random(count) < FLIPPED)).astype(float)
        target = 10 + 3 * margin + noise.normal(size=count)
        x.data *= scales[columns]
        return x, label, target


def vectors(x: Array | sparse.csr_matrix) -> pa.StructArray:
    """Rows as Spark keeps its ``VectorUDT``."""
    count, features = x.shape
    offsets: Array
    if isinstance(x, sparse.csr_matrix):
        offsets = x.indptr.astype(np.int32)
        kind, size = np.zeros(count, np.int8), pa.array(np.full(count, features, np.int32))
        indices = pa.ListArray.from_arrays(pa.array(offsets), pa.array(x.indices))
        values = pa.array(x.data)
    else:
        offsets = np.arange(0, x.size + 1, features, dtype=np.int32)
        kind, size = np.ones(count, np.int8), pa.nulls(count, pa.int32())
        indices = pa.nulls(count, pa.list_(pa.int32()))
        values = pa.array(x.ravel())
    return pa.StructArray.from_arrays(
        [pa.array(kind), size, indices, pa.ListArray.from_arrays(pa.array(offsets), values)],
        ["type", "size", "indices", "values"],
    )


def generate(seed: int) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Make the function that turns batches of ids into batches of rows, in the executors."""
    make = DenseRows(seed=seed)

    def produce(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            ids = batch.column(0).to_numpy()
            if len(ids) == 0:
                continue
            x, label, target = make(int(ids[0]), len(ids))
            yield pa.RecordBatch.from_arrays(
                [batch.column(0), vectors(x), pa.array(label), pa.array(target)],
                ["id", "features", "label", "target"],
            )

    return produce


SCHEMA = StructType(
    [
        StructField("id", LongType()),
        StructField("features", VectorUDT()),
        StructField("label", DoubleType()),
        StructField("target", DoubleType()),
    ]
)


def synthetic(spark: SparkSession, rows: int, seed: int = 0) -> DataFrame:
    """Make rows with an id, features, a class and a number to predict."""
    # Not a partition a core: the rows must be the same on every machine.
    return spark.range(0, rows, numPartitions=8).mapInArrow(generate(seed), SCHEMA)
