"""Training rows and the disks, where Spark is told to encrypt them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", ["true", "false"])
def test_case_38_no_plain_rows_on_disk(tmp_path: Path, encrypted: str) -> None:
    """In every pass of a fit on executors; without encryption the same search finds the rows."""
    env = {key: value for key, value in os.environ.items() if key != "SPARK_LOCAL_DIRS"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.spark.encrypting", str(tmp_path), encrypted],
        cwd=ROOT,
        env=env | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["features"] == 2
    assert seen["passes"]
    for each in seen["passes"]:
        assert not each["local"]
        assert (each["found"] == 0) == (encrypted == "true")
    # nothing stays after the fit either way
    assert list(tmp_path.rglob("sparkml_lsml-*")) == []
