"""Training rows and the disks, where Spark is told to encrypt them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def fits_of(folder: Path, encrypted: str) -> dict[str, Any]:
    """What the fits of `encrypting` came to."""
    temporary = folder / "tmp"
    temporary.mkdir()
    inherited = {key: value for key, value in os.environ.items() if key != "SPARK_LOCAL_DIRS"}
    own = {"TMPDIR": str(temporary), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, "-m", "tests.processes.encrypting", str(folder), encrypted],
        cwd=ROOT,
        env={**inherited, **own, "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", ["true", "false"])
def test_case_38_no_plain_rows_on_disk(tmp_path: Path, encrypted: str) -> None:
    """From the ingest to the end; without encryption the same search finds rows all the time."""
    found = fits_of(tmp_path, encrypted)
    executions = {name: fit["execution"] for name, fit in found["fits"].items()}
    assert executions.pop("on the driver") == "local"
    assert set(executions.values()) == {"distributed"}
    for name, fit in found["fits"].items():
        # behind the ingest, behind each pass on executors, and before the end
        passes = 0 if name == "on the driver" else fit["passes"]
        assert len(fit["looks"]) == passes + 2, name
        for each in fit["looks"]:
            # Spark's own files of handles, in which rows are where no file of ours is
            assert each["handles"] == 2, name
            assert (each["found"] == 0) == (encrypted == "true"), name
        assert fit["left"] == [], name
        assert fit["after"]["found"] == 0, name
    if encrypted == "true":
        refused = found["refused"]
        assert "spark.io.encryption.enabled is set" in refused["message"]
        assert "more than 16,777,216 bytes a partition" in refused["message"]
        assert [each["found"] for each in refused["looks"]] == [0]
        assert refused["left"] == []
        assert refused["after"]["found"] == 0
