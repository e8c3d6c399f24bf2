"""What `doctor` says of reports, settings and a Spark that does not answer; no JVM is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sparkml_lsml.cli import doctor, launch, machine
from sparkml_lsml.cli.app import main
from sparkml_lsml.cli.findings import Finding, Status, worst
from sparkml_lsml.cli.launch import Answer, Launch
from sparkml_lsml.cli.probe import MARK, kind_of, look
from sparkml_lsml.cli.settings import READ, check_settings
from sparkml_lsml.cli.workers import check_workers

ROOT = Path(__file__).resolve().parents[2]
GB = 10**9
DRIVER = {
    "python": "3.11.2",
    "numpy": "2.4.1",
    "pandas": "2.3.3",
    "pyarrow": "21.0.0",
    "scipy": "1.17.0",
    "pyspark": "4.3.0",
    "numba": "0.63.0",
    "sparkml_lsml": "0.1.0",
}
PACKAGES = {name: v for name, v in DRIVER.items() if name not in ("python", "pyspark")}


def report(**changes: Any) -> dict[str, Any]:
    """What a worker tells that is as it should be."""
    folder = {"path": "/data", "free": 500 * GB, "total": 900 * GB, "kind": "xfs", "speed": 1e9}
    return {
        "host": "worker-1",
        "python": "3.11.9",
        "executable": "/usr/bin/python3",
        "cores": 8,
        "packages": PACKAGES,
        "threads": 1,
        "limit": None,
        "memory": 64 * GB,
        "folders": [folder | changes.pop("folder", {})],
        **changes,
    }


def without(name: str) -> dict[str, Any]:
    return report(packages=PACKAGES | {name: None})


def bad(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings if finding.status is not Status.OK}


# ---------------------------------------------------- this machine


def test_the_bounds_of_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["spark"]]
    ours = [
        f"{name}>={least}" + (f",<{below}" if below else "")
        for name, (least, below) in machine.REQUIRED.items()
    ]
    assert sorted(ours) == sorted(stated)
    assert project["requires-python"] == ">=" + ".".join(map(str, machine.LEAST_PYTHON))


def test_packages_outside_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"numpy": "1.23.4", "pandas": "3.0.0", "pyarrow": "14.0.1", "scipy": "1.11.0rc1"}
    faults = {"pyspark": "is not installed", "numba": "cannot be imported (ImportError: old)"}
    monkeypatch.setattr(
        machine, "imported", lambda name: (versions.get(name, ""), faults.get(name, ""))
    )
    found = bad([*machine.check_packages()])
    assert {name: f.status for name, f in found.items()} == {
        "numpy": Status.PROBLEM,
        "pandas": Status.PROBLEM,
        "pyspark": Status.PROBLEM,
        "numba": Status.WARNING,
    }
    assert found["numpy"].advice == "pip install 'numpy>=1.23.5'"
    assert found["pandas"].found == "3.0.0, expected >=1.5.3,<3"


def test_a_package_that_is_there_and_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "halfway.py").write_text("import nothing_of_this_name", encoding="utf-8")
    (tmp_path / "clashing.py").write_text("raise ImportError('needs NumPy 1')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert machine.imported("halfway") == ("", "lacks the module nothing_of_this_name")
    assert machine.imported("clashing") == ("", "cannot be imported (ImportError: needs NumPy 1)")
    assert machine.imported("not_there_at_all") == ("", "is not installed")
    assert machine.imported("numpy")[1] == ""


def java(folder: Path, version: str, *, modules: str = "jdk.incubator.vector@17", status: int = 0):
    """A launcher that answers as Java of some version does."""
    (folder / "bin").mkdir(parents=True)
    launcher = folder / "bin" / "java"
    launcher.write_text(
        f'#!/bin/sh\ncase "$*" in\n*--list-modules*) echo java.base@17; echo {modules};;\n'
        f"*) echo '    java.version = {version}' >&2; echo '    java.vendor = Test' >&2;;\nesac\n"
        f"exit {status}\n",
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    return {"JAVA_HOME": str(folder), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version of Spark says which Java it needs, whichever is installed here."""
    monkeypatch.setattr(machine, "spark_release", lambda: (4, 3))
    monkeypatch.setattr(machine, "needs_vectors", lambda _: True)


@pytest.mark.usefixtures("newest")
@pytest.mark.parametrize(
    ("version", "settings", "words"),
    [
        ("11.0.2", {}, "needs 17 or later"),
        ("1.8.0_392", {}, "needs 17 or later"),
        ("17.0.9", {"modules": "java.logging@17"}, "jdk.incubator.vector is missing"),
        ("17.0.9", {"status": 3}, "ends with status 3"),
        ("", {}, "does not tell its version"),
    ],
)
def test_java_that_spark_cannot_use(
    tmp_path: Path, version: str, settings: Any, words: str
) -> None:
    *_, last = machine.check_java(java(tmp_path / "java", version, **settings))
    assert last.status is Status.PROBLEM
    assert words in last.found
    assert "JAVA_HOME" in last.advice


@pytest.mark.usefixtures("newest")
def test_java_that_spark_can_use(tmp_path: Path) -> None:
    found = [*machine.check_java(java(tmp_path / "java", "21.0.1"))]
    assert worst(found) is Status.OK
    assert found[0].found.startswith("21.0.1 (Test), ")


def test_java_of_an_older_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "spark_release", lambda: (3, 5, 1))
    monkeypatch.setattr(machine, "needs_vectors", lambda _: False)
    [found] = machine.check_java(java(tmp_path / "eight", "1.8.0_392"))
    assert found.status is Status.OK
    [found] = machine.check_java(java(tmp_path / "seven", "1.7.0_80"))
    assert found.status is Status.PROBLEM


def test_the_spark_that_starts_java_with_the_module_of_vectors() -> None:
    """Spark 4 does; what is asked here is the launcher of the PySpark that is installed."""
    pytest.importorskip("pyspark")
    assert machine.needs_vectors({}) == (machine.spark_release() >= (4,))


def test_environment_that_leads_to_another_spark(tmp_path: Path) -> None:
    found = bad(
        [
            *machine.check_environment(
                {"SPARK_REMOTE": "sc://host:15002/;token=secret", "SPARK_HOME": str(tmp_path)}
            )
        ]
    )
    assert found.keys() == {"Spark Connect", "SPARK_HOME"}
    assert "secret" not in found["Spark Connect"].found
    assert worst(found.values()) is Status.PROBLEM


# ---------------------------------------------------- settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.python.unix.domain.socket.enabled", "false"),
        ("spark.python.worker.reuse", "false"),
        ("spark.python.use.daemon", "FALSE"),
        ("spark.sql.execution.arrow.pyspark.enabled", "false"),
        ("spark.locality.wait", "0"),
        ("spark.locality.wait", "0s"),
        ("spark.locality.wait.process", "0ms"),
        ("spark.io.encryption.enabled", "true"),
        ("spark.executor.pyspark.memory", "2g"),
        ("spark.dynamicAllocation.cachedExecutorIdleTimeout", "60s"),
        ("spark.python.worker.killOnIdleTimeout", "true"),
        ("spark.sql.execution.pyspark.udf.killOnIdleTimeout", "true"),
        ("spark.python.factory.idleWorkerMaxPoolSize", "7"),
    ],
)
def test_settings_that_cost_time(key: str, value: str) -> None:
    good = {
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.dynamicAllocation.enabled": "true",
        "spark.executor.cores": "8",
        "spark.python.factory.idleWorkerMaxPoolSize": "8",
        "spark.python.worker.idleTimeoutSeconds": "300",
    }
    assert bad([*check_settings(good, (4, 3))]) == {}
    found = bad([*check_settings(good | {key: value}, (4, 3))])
    assert found.keys() == {key}
    assert found[key].status is Status.WARNING
    assert found[key].found == value
    assert key in READ


def test_workers_are_ended_only_after_some_time() -> None:
    rdd, sql = "spark.python.worker", "spark.sql.execution.pyspark.udf"
    both = {f"{rdd}.killOnIdleTimeout": "true", f"{sql}.killOnIdleTimeout": "true"}
    names = {*both}
    # without a time nothing is ended
    assert not names & bad([*check_settings(both, (4, 3))]).keys()
    for value in ("0", "0s"):
        found = bad([*check_settings({**both, f"{rdd}.idleTimeoutSeconds": value}, (4, 3))])
        assert not names & found.keys()
    found = bad([*check_settings({**both, f"{rdd}.idleTimeoutSeconds": "60"}, (4, 3))])
    assert names <= found.keys()
    found = bad([*check_settings({**both, f"{sql}.idleTimeoutSeconds": "60"}, (4, 3))])
    assert names & found.keys() == {f"{sql}.killOnIdleTimeout"}
    found = bad([*check_settings({**both, f"{rdd}.idleTimeoutSeconds": "60"}, (4, 0))])
    assert not names & found.keys()


def test_pipelined_workers_are_known_and_cost_nothing() -> None:
    key = "spark.python.udf.pipelined.enabled"
    [found] = [each for each in check_settings({key: "true"}, (4, 3)) if each.name == key]
    assert found.status is Status.OK
    assert key in READ


def test_a_pool_of_workers_beside_unknown_cores() -> None:
    key = "spark.python.factory.idleWorkerMaxPoolSize"
    assert key in bad([*check_settings({key: "8"}, (4, 3))])
    assert key not in bad([*check_settings({key: "8"}, (4, 0))])


def test_settings_that_a_release_does_not_know() -> None:
    assert "spark.python.unix.domain.socket.enabled" not in bad([*check_settings({}, (4, 0))])
    assert "spark.python.unix.domain.socket.enabled" in bad([*check_settings({}, (4, 1))])


def test_the_settings_that_the_project_recommends_are_good() -> None:
    lines = (ROOT / "conf" / "spark-defaults.conf").read_text(encoding="utf-8").splitlines()
    conf = dict(line.split() for line in lines if line.startswith("spark."))
    assert bad([*check_settings(conf, (4, 3))]) == {}


# ---------------------------------------------------- workers


def test_workers_as_they_should_be() -> None:
    found = [*check_workers([report(), report(host="worker-2")], DRIVER, {}, local=False)]
    assert bad(found) == {}
    assert {"Python", "numpy", "BLAS threads", "memory", "local disk"} <= {f.name for f in found}


@pytest.mark.parametrize("name", ["numpy", "pandas", "pyarrow", "scipy"])
def test_package_missing_on_one_of_two_machines(name: str) -> None:
    reports = [report(), without(name) | {"host": "worker-2"}]
    found = bad([*check_workers(reports, DRIVER, {}, local=False)])
    assert found.keys() == {name}
    assert found[name].status is Status.PROBLEM
    assert found[name].found == "missing in /usr/bin/python3 on 1 of 2 machines (worker-2)"
    assert f"pip install '{name}==" in found[name].advice


@pytest.mark.parametrize(
    ("changed", "name", "status", "words"),
    [
        ({"python": "3.12.1"}, "Python", Status.PROBLEM, "3.12.1, but 3.11.2 on the driver"),
        (
            {"packages": PACKAGES | {"numpy": "1.26.4"}},
            "numpy",
            Status.PROBLEM,
            "1.26.4, but 2.4.1 on the driver",
        ),
        (
            {"packages": PACKAGES | {"sparkml_lsml": "0.2.0"}},
            "sparkml_lsml",
            Status.PROBLEM,
            "0.2.0",
        ),
        ({"packages": PACKAGES | {"numba": None}}, "numba", Status.WARNING, "missing"),
        ({"threads": 8}, "BLAS threads", Status.WARNING, "8, and tasks of 1 core"),
        ({"threads": None}, "BLAS threads", Status.WARNING, "not known"),
        ({"limit": 3 * GB}, "address space", Status.WARNING, "limited to 3 GB"),
        ({"memory": GB}, "memory", Status.WARNING, "Java may take 1.1 GB"),
        ({"folder": {"free": GB // 2}}, "local disk", Status.PROBLEM, "0.5 GB of 900 GB free"),
        ({"folder": {"free": 4 * GB}}, "local disk", Status.WARNING, "4 GB of 900 GB free"),
        ({"folder": {"kind": "tmpfs"}}, "local disk", Status.WARNING, "tmpfs"),
        ({"folder": {"kind": "nfs4"}}, "local disk", Status.WARNING, "nfs4"),
        ({"folder": {"speed": 2e7}}, "local disk", Status.WARNING, "writes 20 MB/s"),
        ({"folder": {"error": "Permission denied"}}, "local disk", Status.PROBLEM, "Permission"),
    ],
)
def test_worker_that_is_not(changed: Any, name: str, status: Status, words: str) -> None:
    found = bad([*check_workers([report(**changed)], DRIVER, {}, local=False)])
    assert found.keys() == {name}
    assert found[name].status is status
    assert words in found[name].found


def test_the_package_is_shipped_to_a_cluster_but_not_to_another_local_python() -> None:
    reports = [without("sparkml_lsml")]
    assert bad([*check_workers(reports, DRIVER, {}, local=False)]) == {}
    assert bad([*check_workers(reports, DRIVER, {}, local=True)]).keys() == {"sparkml_lsml"}


def test_threads_may_be_as_many_as_the_cores_of_a_task() -> None:
    conf = {"spark.task.cpus": "4"}
    assert bad([*check_workers([report(threads=4)], DRIVER, conf, local=False)]) == {}
    assert bad([*check_workers([report(threads=5)], DRIVER, conf, local=False)]) != {}


def test_the_worst_folder_is_shown() -> None:
    folders = [
        {"path": path, "free": free * GB, "total": 900 * GB, "kind": "xfs", "speed": None}
        for path, free in (("/a", 500), ("/b", 4), ("/c", 3))
    ]
    found = bad([*check_workers([report(folders=folders)], DRIVER, {}, local=False)])
    assert "/c" in found["local disk"].found


def test_what_a_worker_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"{tmp_path},{tmp_path / 'nothing'}")
    told = json.loads(json.dumps(look(0)))  # it travels as JSON
    assert told["python"].split(".")[:2] == [str(n) for n in sys.version_info[:2]]
    assert told["packages"]["numpy"]
    assert told["folders"][0]["free"] > 0
    assert told["folders"][0]["speed"] > 0
    assert "error" in told["folders"][1]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="a file of Linux")
def test_kind_of_file_system() -> None:
    assert kind_of("/proc/self") == "proc"


# ---------------------------------------------------- a Spark that does not answer

SESSION = {"stage": "session", "seconds": 1.0, "spark": "4.3.0", "pyspark": "4.3.0"}


def answering(
    folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, seconds: float = 20.0
) -> Answer:
    """Let a shell script take the place of the program that starts Spark."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(launch.sys, "executable", str(program))
    return Launch([], seconds).run()


def said(**facts: Any) -> str:
    return f"echo '{MARK}{json.dumps(facts)}'"


def test_a_session_that_never_comes_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    script = f"sleep 600 & echo $! > {tmp_path / 'pid'}; wait"
    answer = answering(tmp_path, monkeypatch, script, seconds=0.5)
    assert answer.fault == "no session within 0.5 s"
    assert time.monotonic() - started < 60
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    for _ in range(100):  # what it started has ended too, or is about to
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout.strip()
        if not state or state.startswith("Z"):
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"process {pid} still runs")


def test_a_job_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"echo noise; {said(**SESSION)}; sleep 600"
    answer = answering(tmp_path, monkeypatch, script, seconds=2.0)
    assert answer.session is not None
    assert answer.session["spark"] == "4.3.0"
    assert answer.fault == "no job within 2 s"
    assert "--timeout" in doctor._advice(answer.fault)


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (said(stage="error", message="no room"), "no room"),
        ("exit 3", "the process ended without a word"),
        ("echo 'java.lang.Error: no memory' >&2; exit 1", "java.lang.Error: no memory"),
        (
            "echo 'java.io.IOException: full' >&2; "
            + said(stage="error", message="[JAVA_GATEWAY_EXITED] Java is gone"),
            "[JAVA_GATEWAY_EXITED] Java is gone: java.io.IOException: full",
        ),
    ],
)
def test_a_session_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, fault: str
) -> None:
    answer = answering(tmp_path, monkeypatch, script)
    assert (answer.session, answer.fault) == (None, fault)


WORKERS = {"stage": "workers", "seconds": 1.0, "executors": 1, "reports": []}


@pytest.mark.parametrize("last", [WORKERS, {"stage": "error", "message": "no numpy"}])
def test_a_session_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: dict[str, Any]
) -> None:
    """Spark's folders are removed by what runs at the end of its JVM, behind the last word."""
    script = f"{said(**SESSION)}; {said(**last)}; (sleep 0.5; touch {tmp_path / 'cleaned'}) &"
    answering(tmp_path, monkeypatch, script)
    assert (tmp_path / "cleaned").exists()


def test_a_session_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_STOP_SECONDS", 0.2)
    started = time.monotonic()
    script = f"{said(**SESSION)}; {said(**WORKERS)}; sleep 600"
    answer = answering(tmp_path, monkeypatch, script)
    assert (answer.workers, answer.fault) == (WORKERS, "")
    assert time.monotonic() - started < 60


def test_options_stand_before_the_program_of_pyspark() -> None:
    theirs = {"PYSPARK_SUBMIT_ARGS": "--master yarn --name 'a b' pyspark-shell"}
    asked = Launch(["--master", "local[2]"], 1.0, theirs)._submit_args()
    assert asked == "--master yarn --name 'a b' --master 'local[2]' pyspark-shell"
    assert Launch(["--conf", "a=b"], 1.0, {})._submit_args() == "--conf a=b pyspark-shell"


def test_another_spark_than_pyspark(monkeypatch: pytest.MonkeyPatch) -> None:
    session = SESSION | {"spark": "3.5.1", "master": "yarn", "conf": {}}
    found = bad([*doctor._spark(Answer(session=session, fault="no job within 60 s"))])
    assert found["session"].status is Status.PROBLEM
    assert "PySpark is 4.3.0" in found["session"].found
    assert found["job"].found == "fails: no job within 60 s"


# ---------------------------------------------------- what is printed


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        Finding("Java", "Java", Status.OK, "17"),
        Finding("Settings", "spark.x", Status.WARNING, "0", "costs time [20 %]: set it to 1"),
        Finding("Workers", "numpy", Status.PROBLEM, "missing", "pip install numpy"),
    ]
    doctor.render(findings, Console(width=60))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "Java",
        "  OK       Java  17",
        "",
        "Settings",
        "  warning  spark.x  0",
        "           → costs time [20 %]: set it to 1",
        "",
        "Workers",
        "  PROBLEM  numpy  missing",
        "           → pip install numpy",
        "",
        "1 problem: fits will fail; 1 warning.",
    ]


def test_a_finding_that_is_not_ok_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="needs advice"):
        Finding("a", "b", Status.WARNING, "c")


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()
    for wrong in (["docter"], ["doctor", "--conf", "no-equals-sign"], ["doctor", "--timeout", "0"]):
        assert main(wrong) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("doctor", "validate", "show"))


@pytest.mark.parametrize("missing", ["typer", "rich", "pydantic"])
def test_without_the_extra(missing: str) -> None:
    code = (
        f"import sys, runpy; sys.modules[{missing!r}] = None; sys.argv = ['x', 'validate', 'a'];"
        "runpy.run_module('sparkml_lsml', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"needs the module {missing}: pip install 'sparkml_lsml[jobs]'" in done.stderr
    assert "Traceback" not in done.stderr
