"""`doctor` in environments that are really broken, each of which it has to name and to mend."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def doctor(*arguments: str, **environment: str) -> tuple[int, dict[tuple[str, str], Any]]:
    """Run it as a user does; its exit status, and its findings by area and name."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYSPARK_", "SPARK_"))
    }
    quick = "--driver-java-options -XX:TieredStopAtLevel=1 pyspark-shell"
    own = {"PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_SUBMIT_ARGS": quick}
    done = subprocess.run(
        [sys.executable, "-m", "sparkml_lsml", "doctor", "--json", "--timeout", "120", *arguments],
        env={**inherited, **own, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stderr, done.stderr
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, {(each["area"], each["name"]): each for each in findings}


def problems(found: dict[tuple[str, str], Any]) -> set[tuple[str, str]]:
    return {key for key, each in found.items() if each["status"] == "problem"}


@pytest.mark.parametrize("home", [False, True])
def test_no_java(tmp_path: Path, home: bool) -> None:
    (tmp_path / "bin").mkdir()
    settings = {"PATH": str(tmp_path / "bin")} | ({"JAVA_HOME": str(tmp_path)} if home else {})
    if not home:
        settings["JAVA_HOME"] = ""
    status, found = doctor(**settings)
    assert status == 1
    assert problems(found) == {("Java", "Java")}
    told = found["Java", "Java"]
    assert ("JAVA_HOME=" if home else "no java on the PATH") in told["found"]
    assert "install Java 17 or later" in told["advice"]
    assert "JAVA_HOME" in told["advice"]
    # nothing hangs or fails a second time for the same reason
    assert "not started" in found["Spark", "session"]["found"]


def reduced_runtime(folder: Path) -> Path:
    """Make a Java without most of its modules, as an image for a container may have it."""
    java = shutil.which("java", path=os.environ.get("JAVA_HOME", "") + "/bin") or "java"
    linker = shutil.which("jlink", path=str(Path(java).parent)) or shutil.which("jlink")
    if linker is None:
        pytest.skip("this Java is no JDK: there is no jlink to make a reduced runtime with")
    subprocess.run(
        [linker, "--add-modules", "java.base", "--output", str(folder)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


def test_java_without_the_module_of_vectors(tmp_path: Path) -> None:
    home = reduced_runtime(tmp_path / "java")
    started = subprocess.run(
        [str(home / "bin" / "java"), "--add-modules", "jdk.incubator.vector", "-version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Module jdk.incubator.vector not found" in started.stdout + started.stderr
    status, found = doctor(JAVA_HOME=str(home))
    assert status == 1
    assert problems(found) == {("Java", "modules")}
    assert "jdk.incubator.vector is missing" in found["Java", "modules"]["found"]
    assert "complete JRE or JDK" in found["Java", "modules"]["advice"]


def test_workers_without_numpy(tmp_path: Path) -> None:
    """The driver has every package, and the Python of the workers none; also a slow setting."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    slow = ("--conf", "spark.python.worker.reuse=false")
    local = tmp_path / "local"
    status, found = doctor(*slow, PYSPARK_PYTHON=str(python), SPARK_LOCAL_DIRS=str(local))
    assert list(local.iterdir()) == []
    assert status == 1
    missing = {("Workers", name) for name in ("numpy", "pandas", "pyarrow", "scipy")}
    assert problems(found) == missing
    told = found["Workers", "numpy"]
    assert told["found"] == f"missing in {python}"
    assert told["advice"].startswith("in the workers' Python: pip install 'numpy==")
    assert found["Python", "numpy"]["status"] == "ok"
    setting = found["Settings", "spark.python.worker.reuse"]
    assert (setting["status"], setting["found"]) == ("warning", "false")


@pytest.mark.slow
def test_workers_that_cannot_be_started(tmp_path: Path) -> None:
    status, found = doctor(PYSPARK_PYTHON=str(tmp_path / "nothing"))
    assert status == 1
    assert problems(found) == {("Workers", "job")}
    assert "PYSPARK_PYTHON" in found["Workers", "job"]["advice"]


@pytest.mark.slow
def test_an_environment_that_is_whole() -> None:
    conf = str(ROOT / "conf" / "spark-defaults.conf")
    status, found = doctor("--properties-file", conf, PYSPARK_PYTHON=sys.executable)
    assert status == 0
    assert problems(found) == set()
    assert {each["status"] for key, each in found.items() if key[0] == "Settings"} == {"ok"}
    # the driver's packages, seen from the workers
    assert found["Workers", "numpy"]["found"] == found["Python", "numpy"]["found"]
    assert "local[2]" in found["Spark", "session"]["found"]
