"""Programs that fit: one that is killed and started again, one in a terminal, one that retries."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import wait_for
from tests.programs import environment
from tests.terminal import Screen, run_in_terminal

ROOT = Path(__file__).resolve().parents[2]


def kept(folder: Path) -> list[str]:
    """Names of all files of checkpoints."""
    return [path.name for path in (folder / "checkpoints").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_case_46_a_driver_that_was_killed(tmp_path: Path) -> None:
    """A real SIGKILL, to the driver and its JVM at once; then the same program again."""

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "output").open("w") as output, (tmp_path / "errors").open("a") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.spark.checkpointing", str(tmp_path)],
                cwd=ROOT,
                env=environment(),
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    driver = start()
    try:
        # it waits there for its end
        wait_for(lambda: (tmp_path / "waiting").exists() or driver.poll() is not None, "a pass")
        assert driver.poll() is None, (tmp_path / "errors").read_text()
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    # the first pass is at the start
    assert any(name.startswith("pass-11-") for name in kept(tmp_path))
    driver = start()
    try:
        assert driver.wait(120.0) == 0, (tmp_path / "errors").read_text()
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
    found = json.loads((tmp_path / "output").read_text().splitlines()[-1])
    assert found["notes"] == ["resumed at iteration 10 from a checkpoint"]
    assert found["resumed"] == found["whole"]
    assert kept(tmp_path) == []


@pytest.mark.slow
def test_a_real_terminal_has_one_line_and_not_sparks(tmp_path: Path) -> None:
    """Stages take long enough for Spark's own bar, which draws over the same line."""
    program = ROOT / "tests" / "spark" / "fitting_in_terminal.py"
    status, written = run_in_terminal(
        [sys.executable, str(program), "1.5"], tmp_path, PYTHONPATH=str(ROOT)
    )
    text = "".join(piece for _, piece in written)
    assert status == 0, text
    screen, seen = Screen(), set()
    for _, piece in written:
        screen.write(piece)
        seen |= {word for word in ("reading rows", "tasks") for row in screen.lines if word in row}
    assert "reading rows" in seen
    assert "tasks" in seen
    assert "[Stage" not in text.partition("reading rows")[2]
    # the log's warning of maxIter begins with the name too
    warned = "LogisticRegression: max_iter at iteration 3: "
    ours = [row for row in screen.text() if row.startswith("LogisticRegression")]
    [last] = [row for row in ours if not row.startswith(warned)]
    assert re.match(r"LogisticRegression: max_iter at iteration 3, \d+ passes, objective ", last)
    assert "printed in between" in screen.text()
    # the line stays above what the program prints later
    assert screen.text().index(last) < screen.text().index("done")


@pytest.mark.slow
def test_case_42_retries_in_one_process() -> None:
    """What tests/cluster/test_retries.py does, which is cases 40 to 42, in ``local[2,4]``."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "", "tests/cluster/test_retries.py"],
        cwd=ROOT,
        env=os.environ | {"SPARKML_LSML_TEST_MASTER": "local[2,4]"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout
