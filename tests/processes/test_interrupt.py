"""A Ctrl-C: a real SIGINT, to a driver in a process of its own, while a fit is in a pass."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults import wait_for
from tests.processes.interrupting import SOON
from tests.programs import environment

ROOT = Path(__file__).resolve().parents[2]
FITS = ("fit", "CrossValidator")


def wait_for_pass(driver: subprocess.Popen[bytes], begun: Path) -> None:
    wait_for(lambda: begun.exists() or driver.poll() is not None, str(begun), 120.0)


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what `interrupting` saw of the ends of its fits."""
    folder = tmp_path_factory.mktemp("interrupt")
    output = folder / "output"
    with output.open("w") as file, (folder / "errors").open("w") as errors:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.interrupting", str(folder)],
            cwd=ROOT,
            env=environment(),
            stdout=file,
            stderr=errors,
            # its JVM and workers can then be ended with it
            start_new_session=True,
        )
    try:
        for name in FITS:
            wait_for_pass(driver, folder / name / "begun")
            if driver.poll() is None:
                # to the Python process alone, as in a notebook
                driver.send_signal(signal.SIGINT)
        driver.wait(120.0)
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
    assert driver.returncode == 0, (folder / "errors").read_text()
    found: dict[str, Any] = json.loads(output.read_text().splitlines()[-1])
    return found


@pytest.mark.parametrize("name", FITS)
def test_case_49_interrupt_ends_and_releases_everything(endings: dict[str, Any], name: str) -> None:
    found = endings[name]
    assert found["ending"] == "KeyboardInterrupt"
    assert found["seconds"] < SOON
    # the threads of the CrossValidator's pool
    assert found["threads"] == []
    assert found["left"] == []
    np.testing.assert_allclose(found["next fit"], endings["expected"], rtol=1e-9, atol=1e-12)
    assert found["left at last"] == []
