"""Keeps the classes that a JVM of Spark loads in an archive, which later ones map as it is.

``python -m dev.archive PATH`` runs fits of this package and of MLlib. Spark starts with such an
archive in 10 s where it takes 14, and ``./dev/test --all`` starts it some sixty times.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from pyspark.ml import classification as mllib
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparkml_lsml import classification as ours

ENDING_SECONDS = 120.0


def load_classes() -> Any:
    """Fit and score with both packages; the process of the JVM, which is about to end."""
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.log.level", "ERROR")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    features = array_to_vector(F.array(F.randn(1), F.randn(2)))
    label = (F.col("id") % 2).cast("double")
    rows = spark.range(200).select(label.alias("label"), features.alias("features"))
    for module in (ours, mllib):
        module.LogisticRegression(maxIter=3).fit(rows).transform(rows).count()
    gateway: Any = spark.sparkContext._gateway
    spark.stop()
    # by which it knows that this process is done with it
    gateway.proc.stdin.close()
    return gateway.proc


def main(path: str) -> None:
    target = Path(path)
    new = target.with_suffix(f".{os.getpid()}")
    options = os.environ.get("SPARK_SUBMIT_OPTS", "")
    # it tells of each class that cannot be kept
    os.environ["SPARK_SUBMIT_OPTS"] = f"-XX:ArchiveClassesAtExit={new} -Xlog:disable {options}"
    try:
        load_classes().wait(ENDING_SECONDS)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1])
