"""Seeded rows to train on: the same on every machine, however many tasks make them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, LongType, StructField, StructType

FEATURES = 100
FLIPPED = 0.05


def generate(seed: int) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Make the function that turns batches of ids into batches of rows, in the executors."""
    rng = np.random.default_rng(seed)
    # A few common causes correlate the columns; their scales spread over three decades.
    mixing = rng.normal(size=(10, FEATURES))
    scales = np.logspace(-1.5, 1.5, FEATURES)
    weights = rng.normal(size=FEATURES)

    def produce(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            ids = batch.column(0).to_numpy()
            if len(ids) == 0:
                continue
            # Seeded by the ids, so that the rows do not depend on who makes them.
            noise = np.random.default_rng([seed, int(ids[0])])
            count = len(ids)
            x = noise.normal(size=(count, 10)) @ mixing / 3 + noise.normal(size=(count, FEATURES))
            margin = x @ weights / math.sqrt(FEATURES)
            label = ((margin > 0) ^ (noise.random(count) < FLIPPED)).astype(float)
            target = 10 + 3 * margin + noise.normal(size=count)
            x *= scales
            offsets = np.arange(0, count * FEATURES + 1, FEATURES, dtype=np.int32)
            vectors = pa.StructArray.from_arrays(
                [
                    pa.array(np.ones(count, dtype=np.int8)),
                    pa.nulls(count, pa.int32()),
                    pa.nulls(count, pa.list_(pa.int32())),
                    pa.ListArray.from_arrays(pa.array(offsets), pa.array(x.ravel())),
                ],
                ["type", "size", "indices", "values"],
            )
            yield pa.RecordBatch.from_arrays(
                [batch.column(0), vectors, pa.array(label), pa.array(target)],
                ["id", "features", "label", "target"],
            )

    return produce


def synthetic(spark: SparkSession, rows: int, seed: int = 0) -> DataFrame:
    """Make rows with an id, features, a class and a number to predict."""
    schema = StructType(
        [
            StructField("id", LongType()),
            StructField("features", VectorUDT()),
            StructField("label", DoubleType()),
            StructField("target", DoubleType()),
        ]
    )
    # Not a partition a core: the rows must be the same on every machine.
    return spark.range(0, rows, numPartitions=8).mapInArrow(generate(seed), schema)
