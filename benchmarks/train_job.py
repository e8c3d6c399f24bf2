"""A training job for spark-submit; only the package of the estimator differs between two runs.

``spark-submit train_job.py PACKAGE INPUT OUTPUT``: reads Parquet, trains on four fifths of the
rows, saves the model and prints its accuracy on the rest.
"""

from __future__ import annotations

import importlib
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def main(package: str, source: str, output: str) -> None:
    spark = SparkSession.builder.appName(f"training job, {package}").getOrCreate()
    rows = spark.read.parquet(source)
    held_out = F.col("id") % 5 == 0
    kind = importlib.import_module(f"{package}.classification").LogisticRegression
    model = kind(regParam=0.01, tol=1e-6).fit(rows.where(~held_out))
    model.write().overwrite().save(output)
    right = F.avg((F.col("prediction") == F.col("label")).cast("double"))
    found = model.transform(rows.where(held_out)).agg(right).first()
    print(f"accuracy {found[0]:.4f}" if found else "no rows held out")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
