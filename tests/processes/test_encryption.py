"""Training rows and the disks, where Spark is told to encrypt them."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fits_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Give what the fits came to, with and without encryption."""
    return functools.cache(lambda encrypted: run(tmp_path_factory.mktemp(encrypted), encrypted))


def run(folder: Path, encrypted: str) -> dict[str, Any]:
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
def test_case_38_no_plain_rows_on_disk(
    fits_of: Callable[[str], dict[str, Any]], encrypted: str
) -> None:
    """From the ingest to the end; without encryption the same search finds rows all the time."""
    found = fits_of(encrypted)
    executions = {name: fit["execution"] for name, fit in found.items()}
    assert executions.pop("on the driver") == "local"
    assert set(executions.values()) == {"distributed"}
    for name, fit in found.items():
        # behind the ingest, behind each pass on executors, and before the end
        passes = 0 if name == "on the driver" else fit["passes"]
        assert len(fit["looks"]) == passes + 2, name
        in_files = name.endswith("in files") or (encrypted == "false" and passes > 0)
        for each in fit["looks"]:
            # Spark's own files of handles, in which rows are where no file of ours is
            assert each["handles"] == 2, name
            assert each["blocks"] == (2 if in_files else 0), name
            assert (each["found"] == 0) == (encrypted == "true"), name
        assert fit["left"] == [], name
        assert fit["after"]["found"] == 0, name


@pytest.mark.slow
def test_case_38_encrypted_rows_give_the_same_models(
    fits_of: Callable[[str], dict[str, Any]],
) -> None:
    """To the last bit: the rows are the same, in the same partitions and order."""
    encrypted, plain = fits_of("true"), fits_of("false")
    in_files = {name for name in encrypted if name.endswith(", in files")}
    assert len(in_files) == 2
    for name, fit in encrypted.items():
        assert fit["numbers"] == plain[name.removesuffix(", in files")]["numbers"], name
