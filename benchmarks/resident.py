"""Reading rows into resident blocks, and a pass over them, beside Spark's own read.

``python -m benchmarks.resident [--rows N]``
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyspark
import typer
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console
from rich.table import Table

from benchmarks.synthetic import FEATURES, synthetic
from sparkml_lsml.layout import Layout
from sparkml_lsml.losses import Logistic
from sparkml_lsml.objective import BlockObjective
from sparkml_lsml.spark.resident import IngestPlan, ResidentBlocks
from sparkml_lsml.standardization import standardize

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "benchmarks"
PROPERTIES = ROOT / "conf" / "spark-defaults.conf"
PROTOTYPE = 0.09
"""Seconds of a pass over 1,000,000 x 100 by the prototype the design follows from."""


def session() -> SparkSession:
    """Start Spark with the settings that the project recommends."""
    submit = f"--properties-file {PROPERTIES} --master local[2] --driver-memory 4g"
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{submit} pyspark-shell"
    return SparkSession.builder.appName("sparkml_lsml benchmark").getOrCreate()


def parquet(spark: SparkSession, rows: int) -> str:
    """Write the rows, unless they are there already."""
    path = FOLDER / f"dense-{rows}.parquet"
    if not (path / "_SUCCESS").exists():
        synthetic(spark, rows).write.mode("overwrite").parquet(str(path))
    return str(path)


def spark_reads(rows: DataFrame) -> float:
    """Seconds in which Spark reads the columns and throws them away."""
    begin = time.perf_counter()
    rows.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - begin


def ingest_and_passes(rows: DataFrame, passes: int) -> tuple[float, list[float], int]:
    """Seconds to pack the rows, seconds of each pass, and bytes of the blocks."""
    plan = IngestPlan("features", "label", None, "binary", execution="distributed", name="bench")
    begin = time.perf_counter()
    with ResidentBlocks(rows, plan) as blocks:
        ingest = time.perf_counter() - begin
        moments = blocks.report.moments
        assert moments is not None
        layout = Layout(FEATURES)
        deviation = np.sqrt(moments.variance())
        scaling = standardize(layout, moments.mean(), deviation, curvature=Logistic().curvature)
        objective = BlockObjective(blocks, Logistic(), layout, scaling)
        seconds = []
        for number in range(passes):
            coef = np.full((1, layout.size), 0.001 * number)
            seconds.append(timed(lambda coef=coef: objective.value_and_gradient(coef)))
        return ingest, seconds, blocks.nbytes


def timed(work: Callable[[], Any]) -> float:
    """Seconds that the work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 1_000_000,
    pairs: Annotated[int, typer.Option(min=1, help="Alternating measurements.")] = 5,
    passes: Annotated[int, typer.Option(min=2)] = 20,
) -> None:
    """Measure, print a table, and write it as JSON to build/benchmarks."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    spark = session()
    frame = spark.read.parquet(parquet(spark, rows)).select("features", "label")
    spark_reads(frame)
    ingest_and_passes(frame, 3)  # warm: a cold JVM is several times slower
    reads, ingests, of_passes = [], [], []
    for _ in range(pairs):
        reads.append(spark_reads(frame))
        ingest, seconds, nbytes = ingest_and_passes(frame, passes)
        ingests.append(ingest)
        of_passes += seconds[1:]  # the first maps the files
    read, ingest, one = (statistics.median(each) for each in (reads, ingests, of_passes))
    spread = {"read": reads, "ingest": ingests, "pass": of_passes}
    result = {
        "rows": rows,
        "features": FEATURES,
        "bytes": nbytes,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyspark": pyspark.__version__,
        "seconds": {name: [min(s), statistics.median(s), max(s)] for name, s in spread.items()},
        "ingest_to_read": ingest / read,
        "pass_to_prototype": one / PROTOTYPE,
    }
    (FOLDER / "resident.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    table = Table(title=f"{rows:,} x {FEATURES}, {nbytes / 1e6:,.0f} MB, {os.cpu_count()} cores")
    for column in ("what", "median s", "least s", "most s", "ratio", "goal"):
        table.add_column(column, justify="left" if column == "what" else "right")
    prototype = f"{one / PROTOTYPE:.2f} of {PROTOTYPE} s"
    for what, name, ratio, goal in (
        ("Spark reads the Parquet", "read", "1", ""),
        ("resident blocks are packed", "ingest", f"{ingest / read:.2f} reads", "2"),
        ("a pass: loss and gradient", "pass", prototype, "2"),
    ):
        low, middle, high = result["seconds"][name]  # type: ignore[index]
        table.add_row(what, f"{middle:.3f}", f"{low:.3f}", f"{high:.3f}", ratio, goal)
    Console().print(table)
    spark.stop()


if __name__ == "__main__":
    typer.run(main)
