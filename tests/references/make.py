"""Finds what the tests take from MLlib and cannot find anew each time, as it takes minutes.

Writes the files of this folder. To be run where the cases, the rows or the settings change, those
of `tests/spark/test_parity.py` and `test_tuning.py` or of `tests/checks/hard.py` (after
``source dev/setup.sh``)::

    python -m tests.references.make

Those tests find some of the numbers anew, and fail where they are others.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pyspark.sql import SparkSession

from tests.checks import hard
from tests.faults import SETTINGS
from tests.references.stored import FOLDER
from tests.spark import test_parity as parity
from tests.spark import test_tuning as tuning


def write(name: str, found: dict[str, Any]) -> None:
    """Write a file with one line for each of what was found; floats are exact."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    builder = SparkSession.builder.master("local[2]").appName("references")
    for key, value in SETTINGS.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    frames = parity.frames_of(spark)
    cases = {str(case): case for case in parity.cross()}
    write("parity", {name: asdict(parity.fitted(frames, case)) for name, case in cases.items()})
    searches = {
        name: tuning.theirs_of(name, tuning.ROWS[tuning.SEARCHES[name][0]](spark))
        for name in tuning.STORED
    }
    write("searches", {name: asdict(found) for name, found in searches.items()})
    names = hard.scenarios("binary")
    write("hinges", {name: hard.hinges(hard.made(name, "binary"), spark) for name in names})
    spark.stop()


if __name__ == "__main__":
    main()
