"""A Spark driver that `test_checkpoints` kills in a pass, and starts again.

The argument is a folder. The first time, the fit waits for its end in a pass behind its checkpoint;
the second time it goes on, and prints its coefficients and those of a fit without a checkpoint.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LogisticRegression
from tests.faults import SETTINGS, hook_passes, made_up_rows
from tests.spark.helpers import numbers


def main(folder: Path) -> None:
    builder = SparkSession.builder.master("local[2]").appName("checkpointing")
    for key, value in SETTINGS.items():
        builder = builder.config(key, value)
    spark = builder.config("spark.local.dir", str(folder / "local")).getOrCreate()
    rows = made_up_rows(spark)
    whole = LogisticRegression(
        regParam=0.01,
        maxIter=30,
        tol=0.0,
        solver="accelerated",
        aggregationDepth=1,
        execution="distributed",
    )
    noted = whole.copy({whole.checkpointDir: str(folder / "checkpoints")})
    first = not (folder / "waiting").exists()

    def wait(_: Any, number: int) -> None:
        if first and number == 15:
            (folder / "waiting").touch()
            time.sleep(600)

    with pytest.MonkeyPatch.context() as patch:
        hook_passes(patch, wait)
        model = noted.fit(rows)
    found = {
        "notes": list(model.summary.notes),
        "resumed": numbers(model).tolist(),
        "whole": numbers(whole.fit(rows)).tolist(),
    }
    print(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
