"""A session of Spark Connect, which has neither RDDs nor a JVM to ask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_case_69_a_session_of_spark_connect(tmp_path: Path) -> None:
    """It works, or there is one clear error, soon: never a missing attribute somewhere within."""
    pytest.importorskip("grpc", reason="the client of Spark Connect is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.processes.connecting", str(tmp_path / "model")],
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT)),  # of the server's workers
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("transform")[:2] == ["ok", "[0.0, 1.0]"]
    kind, message, _ = found.pop("jobs")
    assert kind == "JobError"
    assert "Spark Connect" in message
    for name, (kind, message, seconds) in found.items():
        assert kind == "BackendError", (name, kind, message)
        assert "Spark Connect" in message, name
        assert "expected a classic session" in message, name
        assert seconds < 60.0, name
    assert list(tmp_path.iterdir()) == []
