"""Fits in a Spark of its own, and looks for a row's bytes on its disks: see `test_encryption.py`.

Arguments: folder for Spark's files, ``true`` or ``false`` for spark.io.encryption.enabled.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.resident import ResidentBlocks

NUMBER = 1234.56789
PATTERN = struct.pack("<d", NUMBER)


def main(folder: Path, encrypted: str) -> None:
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.local.dir", str(folder))
        .config("spark.io.encryption.enabled", encrypted)
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    rows = spark.range(4_000).selectExpr(
        "cast(id % 7 as double) label", f"array({NUMBER}D, cast(id % 11 as double)) features"
    )
    seen: list[dict[str, int]] = []
    run = ResidentBlocks.run

    def look(self: Any, *args: Any) -> Any:
        files = [path for path in folder.rglob("*") if path.is_file()]
        found = sum(PATTERN in path.read_bytes() for path in files)
        seen.append({"local": self.local, "files": len(files), "found": found})
        return run(self, *args)

    ResidentBlocks.run = look  # type: ignore[method-assign]
    model = LinearRegression(execution="distributed", solver="l-bfgs", maxIter=3).fit(rows)
    spark.stop()
    print(json.dumps({"passes": seen, "features": model.numFeatures}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
