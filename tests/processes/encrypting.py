"""Fits in a Spark of its own, and looks for their rows on its disks: see `test_encryption.py`.

Arguments: folder for all files, those in TMPDIR among them; ``true`` or ``false`` for
spark.io.encryption.enabled. What the fits came to is printed as JSON.
"""

from __future__ import annotations

import contextlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkml_lsml.classification import LinearSVC
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.rows import resident
from sparkml_lsml.spark.rows.healing import CachedHandles
from tests.faults import SETTINGS, coefficients, wait_for, walk

NUMBER = 1234.56789
"""Twice in every other row, and its negative in the others: no mean of a column shows it."""

PLAIN = [struct.pack(f"<2{kind}", NUMBER, NUMBER) for kind in "df"]
# the bytes of a cached handle are text of Latin-1 to Spark, which pickles it as UTF-8
PATTERNS = PLAIN + [each.decode("latin-1").encode() for each in PLAIN]


def made_up(spark: SparkSession, rows: int, width: int) -> DataFrame:
    number = F.when(F.col("id") % 2 == 0, NUMBER).otherwise(-NUMBER)
    other = (F.col("id") % 11).cast("double")
    return spark.range(rows, numPartitions=2).select(
        F.concat(F.array_repeat(number, width), F.array(other)).alias("features"),
        (F.col("id") % 7 < 3).cast("double").alias("label"),
    )


def look(folder: Path) -> dict[str, int]:
    """How many files there are, blocks and handles that Spark cached, and how many hold rows."""
    seen = {"files": 0, "blocks": 0, "handles": 0, "found": 0}
    for path in walk(folder):
        with contextlib.suppress(FileNotFoundError):  # it has gone since
            if path.is_file():
                content = path.read_bytes()
                seen["files"] += 1
                seen["blocks"] += path.name == "labels"
                seen["handles"] += path.name.startswith("rdd_")
                seen["found"] += any(pattern in content for pattern in PATTERNS)
    return seen


def left(folder: Path) -> list[str]:
    """Files of fits, and handles. Machine code of the kernels stays, where nothing else can be."""
    ours = [path.name for path in walk(folder) if path.name.startswith(("sparkml_lsml-", "rdd_"))]
    return [name for name in ours if not name.startswith("sparkml_lsml-kernels-")]


def watch(folder: Path) -> list[dict[str, int]]:
    """Look behind the ingest, behind each pass on executors, and before handles are released."""
    looks: list[dict[str, int]] = []
    run, release = CachedHandles.run, CachedHandles.release

    def looking_run(self: CachedHandles, *args: Any) -> Any:
        total = run(self, *args)
        # the broadcast of the pass is still there
        looks.append(look(folder))
        return total

    def looking_release(self: CachedHandles) -> None:
        if self._rdd is not None:
            looks.append(look(folder))
        release(self)

    CachedHandles.run = looking_run  # type: ignore[method-assign]
    CachedHandles.release = looking_release  # type: ignore[method-assign]
    return looks


def ended(folder: Path) -> dict[str, Any]:
    """What is there after a fit, once Spark has removed the handles, which nobody waits for."""
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not left(folder), "Spark to remove handles", 10.0)
    return {"left": left(folder), "after": look(folder)}


def main(folder: Path, encrypted: str) -> dict[str, Any]:
    builder = SparkSession.builder.master("local[2]")
    settings = {
        **SETTINGS,
        "spark.local.dir": str(folder / "local"),
        "spark.io.encryption.enabled": encrypted,
        # the name of a socket in TMPDIR would be too long
        "spark.python.unix.domain.socket.enabled": "false",
        # compressed rows would not be found
        "spark.broadcast.compress": "false",
        "spark.rdd.compress": "false",
        "spark.shuffle.compress": "false",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    # handles hold the rows where files may not, and have to get to the disk
    StorageLevel.MEMORY_AND_DISK = StorageLevel.DISK_ONLY
    looks = watch(folder)
    rows = made_up(spark, 4_000, 2)
    kept = {"checkpointDir": str(folder / "checkpoints"), "checkpointInterval": 1}
    jobs = {"execution": "distributed"}
    fits: dict[str, Any] = {
        "l-bfgs": LinearRegression(**jobs, **kept, solver="l-bfgs", maxIter=3),
        "normal, float32": LinearRegression(**jobs, solver="normal", dtype="float32"),
        "cocoa": LinearSVC(**jobs, solver="cocoa", regParam=0.1, maxIter=3),
        "sgd": LinearSVC(**jobs, solver="sgd", maxIter=2),
        "on the driver": LinearRegression(),
    }
    found: dict[str, Any] = {}

    def run(name: str, fit: Any, more: str = "") -> None:
        looks.clear()
        model = fit.fit(rows)
        found[name + more] = {
            "execution": model.summary.execution,
            "passes": model.summary.passes,
            "numbers": coefficients(model).tolist(),
            "looks": list(looks),
            **ended(folder),
        }

    for name, fit in fits.items():
        run(name, fit)
    if encrypted == "true":
        # as with more rows than memory keeps
        resident.LOCAL_BYTES = 0
        for name in ("normal, float32", "cocoa"):
            run(name, fits[name], ", in files")
    spark.stop()
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
