"""A pass over resident blocks, beside an empty job and one that only reads the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from benchmarks.bare_passes import NoPass, ReadPass
from benchmarks.contestants import frame
from benchmarks.data import DataSet, ensure
from benchmarks.measure import PAIRS, Result, Say, alternate, shown
from benchmarks.reading import ingest, spark_reads
from sparkml_lsml.engine.objective import BlockObjective
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import standardize
from sparkml_lsml.losses import Logistic
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks

ROUNDS = 20


def measure(spark: SparkSession, sets: list[DataSet], say: Say) -> Iterator[Result]:
    """Time a pass for loss and gradient beside one that only reads the same bytes."""
    for data in sets:
        ensure(data)
        rows = frame(spark, data).select("features", "label")
        dtype = "float32" if data.float32 else "float64"
        plan = IngestPlan(
            "features", "label", None, "binary", dtype, execution="distributed", name="bench"
        )
        work: dict[str, Callable[[], Any]] = {
            "spark_read": partial(spark_reads, rows),
            "ingest": partial(ingest, rows, plan, "true"),
        }
        timed = alternate(work, PAIRS if data.rows <= 1_000_000 else 1)
        with ResidentBlocks.pack(rows, plan) as blocks:
            moments = blocks.report.moments
            assert moments is not None
            layout = Layout(data.features)
            scaling = standardize(
                layout, moments.mean(), np.sqrt(moments.variance()), curvature=Logistic().curvature
            )
            objective = BlockObjective(blocks, Logistic(), LinearPredictor(layout), scaling)
            coefficients = np.full((1, layout.size), 0.001)
            rounds: dict[str, Callable[[], Any]] = {
                "job": partial(blocks.run, NoPass(), "nothing"),
                "read": partial(blocks.run, ReadPass(), "read"),
                "pass": partial(objective.value_and_gradient, coefficients),
            }
            alternate(rounds, 2)  # the first pass maps the files
            timed |= alternate(rounds, ROUNDS)
            nbytes = blocks.nbytes
        seconds = {name: each.seconds for name, each in timed.items()}
        say(f"{data.title}: {shown(timed)}")
        yield {"title": data.title, "data": asdict(data), "bytes": nbytes, "seconds": seconds}
