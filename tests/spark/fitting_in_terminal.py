"""A fit in a terminal, with Spark's own bar switched on; its passes are slow."""

import sys
import tempfile
import time
from typing import Any

import pyspark.sql.functions as F
from pyspark.sql import SparkSession

from sparkml_lsml.callbacks import Fit, FitCallback
from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.engine.solvers import Iteration

SECONDS = float(sys.argv[1])


class Prints(FitCallback):
    def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> None:
        if iteration.iteration == 2:
            print("printed in between")


def slow(batches: Any) -> Any:
    for batch in batches:
        time.sleep(SECONDS)
        yield batch


with tempfile.TemporaryDirectory() as folder:
    builder = SparkSession.builder.master("local[2]").config("spark.local.dir", folder)
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "true",
        "spark.log.level": "ERROR",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    rows = spark.range(4_000, numPartitions=4).select(
        F.array(*[F.hash("id", F.lit(j)) / F.lit(2.0**31) for j in range(4)]).alias("features"),
        (F.hash("id") % 2 == 0).cast("double").alias("label"),
    )
    waits = rows.mapInArrow(slow, rows.schema)
    fit = LogisticRegression(execution="distributed", maxIter=3, tol=0.0, regParam=0.01)
    fit.setCallbacks([Prints()]).fit(waits)
    print("done")
    spark.stop()
