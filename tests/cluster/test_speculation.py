"""Copies of slow tasks: Spark makes them only on another host, so two hosts are needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.programs import environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what the fits of `speculating` came to, in a Spark of their own."""
    folder = tmp_path_factory.mktemp("cluster")
    # not ./dev/cluster, which would take the Python of .venv
    cluster = [sys.executable, str(ROOT / "dev" / "cluster.py")]
    done = subprocess.run(
        [*cluster, sys.executable, "-m", "tests.cluster.speculating", str(folder)],
        cwd=ROOT,
        # the folders of the workers are made in TMPDIR, so that the fits can look into them
        env=environment(TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if sys.platform == "darwin" and "loopback has no 127.0.0.2" in done.stderr:
        pytest.skip("needs `sudo ifconfig lo0 alias 127.0.0.2`")
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob("cluster-*")), "the cluster left its folder"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["undisturbed"]["copies"] == []
    return found


def assert_copied(found: dict[str, Any], winner: str) -> None:
    # at least one, as the same pass may be tried again
    assert found["copies"], "no task had a copy"
    for attempts in found["copies"]:
        assert sorted(status for status, _, _ in attempts) == ["KILLED", "SUCCESS"]
        assert {host for _, host, _ in attempts} == {"127.0.0.1", "127.0.0.2"}
        [copy] = [copy for status, _, copy in attempts if status == "SUCCESS"]
        assert copy == (winner == "copy")
    assert found["rows"] == 2000
    assert found["left"] == []


def test_case_40_copy_of_a_slow_ingest_wins(fits: dict[str, Any]) -> None:
    expected, found = fits["undisturbed"], fits["ingest"]
    assert_copied(found, "copy")
    np.testing.assert_allclose(
        found["coefficients"], expected["coefficients"], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("where", ["pass", "round"])
def test_case_40_copy_without_the_block_does_not_win(fits: dict[str, Any], where: str) -> None:
    """It would by not finding it: no row is read again."""
    expected, found = fits["undisturbed"], fits[where]
    assert_copied(found, "original")
    assert not [note for note in found["notes"] if "lost" in note]
    if where == "pass":
        np.testing.assert_allclose(
            found["coefficients"], expected["coefficients"], rtol=1e-9, atol=1e-12
        )
    else:
        assert found["reason"] == "converged"
        assert found["objective"] == pytest.approx(expected["objective"], rel=1.1e-4)


def test_case_76_round_with_dropout_that_is_run_twice(fits: dict[str, Any]) -> None:
    found = fits["network"]
    assert_copied(found, "original")
    assert found["coefficients"] == fits["undisturbed network"]["coefficients"]
