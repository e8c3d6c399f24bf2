"""What a model tells of its training."""

from __future__ import annotations

import numpy as np
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LogisticRegression

FEATURES = 400


def test_passes_and_bytes_are_counted(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    rows = [(float(n % 2), rng.normal(size=FEATURES).tolist()) for n in range(60)]
    frame = spark.createDataFrame(rows, "label double, features array<double>").repartition(2)
    fit = LogisticRegression(execution="distributed", regParam=0.1, maxIter=5, tol=0.0)
    summary = fit.fit(frame).summary
    assert summary.partitions == 2
    # coefficients to one executor, and a gradient, a loss and a weight from each of two partitions
    vector = 8 * (FEATURES + 1)
    least = vector + 2 * (vector + 16)
    table = summary.to_pandas()
    assert summary.passes == table["passes"].iloc[-1] >= 6
    assert summary.sent == table["sent"].iloc[-1]
    a_pass = table["sent"] / table["passes"]
    # besides, a broadcast names its pass, and what is known of each partition
    assert ((least <= a_pass) & (a_pass <= least + 4_000)).all(), a_pass
    assert f"{summary.sent / 2**20:.2f} MB sent" in str(summary)

    local = LogisticRegression(execution="local", regParam=0.1, maxIter=5).fit(frame).summary
    assert local.sent == 0
