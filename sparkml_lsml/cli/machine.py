"""Checks of the machine that `doctor` runs on: Python, its packages, BLAS and Java."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess  # nosec B404
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparkml_lsml.cli.findings import Finding, Status, release

LEAST_PYTHON = (3, 11)
REQUIRED: dict[str, tuple[str, str | None]] = {
    "numpy": ("1.23.5", None),
    "pandas": ("1.5.3", "3"),
    "pyarrow": ("14.0.1", None),
    "scipy": ("1.11", None),
    "pyspark": ("3.5", "5"),
}
"""The least release of each package, and the first that is too new: those of ``pyproject.toml``,
which an installed package, or one in a zip, does not have with it."""

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables that set the threads of BLAS, the stronger first."""

VECTORS = "jdk.incubator.vector"
_JAVA_SECONDS = 30
_GET_JAVA = (
    "install Java {least} or later (Debian: openjdk-17-jre-headless, macOS: openjdk@17, or "
    "https://adoptium.net) and let JAVA_HOME name its folder"
)


def check_python() -> Iterator[Finding]:
    """The interpreter that runs this."""
    found = f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}"
    if sys.version_info[:2] < LEAST_PYTHON:
        advice = "install Python 3.11 or later, on the executors too"
        yield Finding("Python", "Python", Status.PROBLEM, found, advice)
    else:
        yield Finding("Python", "Python", Status.OK, found)


def check_packages() -> Iterator[Finding]:
    """The packages that fits need, and Numba, which makes them faster."""
    for name, (least, below) in REQUIRED.items():
        bounds = f">={least}" + (f",<{below}" if below else "")
        command = f"pip install '{name}{bounds}'"
        version, fault = imported(name)
        if fault:
            yield Finding("Python", name, Status.PROBLEM, fault, command)
        elif release(version) < release(least) or (below and release(version) >= release(below)):
            found = f"{version}, expected {bounds}"
            yield Finding("Python", name, Status.PROBLEM, found, command)
        else:
            yield Finding("Python", name, Status.OK, version)
    version, fault = imported("numba")
    advice = "large fits run in NumPy, which is slower: pip install 'sparkml_lsml[fast]'"
    if fault:
        yield Finding("Python", "numba", Status.WARNING, fault, advice)
    else:
        yield Finding("Python", "numba", Status.OK, version)


def imported(name: str) -> tuple[str, str]:
    """The version of a package, or what is wrong: a package may be there and still not work."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # which may lack a module of its own
        return "", "is not installed" if error.name == name else f"lacks the module {error.name}"
    except Exception as error:
        line = str(error).strip().splitlines()[:1]
        return "", f"cannot be imported ({': '.join([type(error).__name__, *line])})"
    return str(getattr(module, "__version__", "?")), ""


def check_blas(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The library behind NumPy's matrix products, and its threads in this process.

    On the driver it may use all cores: passes over small data run here one at a time.
    """
    try:
        import numpy as np
    except ImportError:
        return
    config: Any = np.show_config(mode="dicts")
    name = config.get("Build Dependencies", {}).get("blas", {}).get("name", "BLAS")
    cores = os.cpu_count() or 1
    asked = [f"{key}={environment[key]}" for key in THREADS if environment.get(key)]
    threads = blas_threads(environment)
    known = f"{threads} threads" if threads else "threads not known (install threadpoolctl)"
    found = f"{name}, {known} on {cores} cores" + (f" ({', '.join(asked)})" if asked else "")
    if threads and threads > cores:
        advice = f"threads get in each other's way: set {THREADS[-1]} to {cores} or less"
        yield Finding("Python", "BLAS", Status.WARNING, found, advice)
    else:
        yield Finding("Python", "BLAS", Status.OK, found)


def blas_threads(environment: Mapping[str, str]) -> int | None:
    """Threads of the BLAS that NumPy has loaded, as far as it can be told."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        asked = [environment[key] for key in THREADS if environment.get(key, "").isdigit()]
        return int(asked[0]) if asked else None
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return max((int(pool["num_threads"]) for pool in pools), default=None)


def check_environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that lead to another Spark than the installed one."""
    if remote := environment.get("SPARK_REMOTE"):
        where = remote.split("/;")[0]  # what follows are parameters, a token among them
        yield Finding(
            "Spark",
            "Spark Connect",
            Status.PROBLEM,
            f"SPARK_REMOTE={where}",
            "fits need a classic session: unset SPARK_REMOTE, or use spark-submit",
        )
    home = environment.get("SPARK_HOME")
    if home and not Path(home, "bin", "spark-submit").is_file():
        yield Finding(
            "Spark",
            "SPARK_HOME",
            Status.PROBLEM,
            f"{home} holds no bin/spark-submit",
            "unset SPARK_HOME, so that PySpark uses the Spark it came with, or correct it",
        )


# ---------------------------------------------------- Java


def check_java(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The Java that Spark would start: there at all, new enough, and with the modules it asks for.

    Parameters
    ----------
    environment
        The variables of the process, of which Spark's scripts look at JAVA_HOME and PATH.
    """
    least = 17 if spark_release() >= (4,) else 8
    get = _GET_JAVA.format(least=max(least, 17))
    home = environment.get("JAVA_HOME")
    launcher = Path(home, "bin", "java") if home else None
    if home and not (launcher and os.access(launcher, os.X_OK)):
        found = f"JAVA_HOME={home} holds no bin/java"
        advice = "correct JAVA_HOME, or unset it where java is on the PATH"
        yield Finding("Java", "Java", Status.PROBLEM, found, f"{advice}; else {get}")
        return
    if launcher is None:
        on_path = shutil.which("java", path=environment.get("PATH", ""))
        if on_path is None:
            found = "not found: JAVA_HOME is not set, and there is no java on the PATH"
            yield Finding("Java", "Java", Status.PROBLEM, found, get)
            return
        launcher = Path(on_path)
    told, fault = _ask(launcher, environment, "-XshowSettings:properties", "-version")
    version = _property(told, "java.version")
    if fault or not version:
        found = f"{launcher} {fault or 'does not tell its version'}"
        yield Finding("Java", "Java", Status.PROBLEM, found, get)
        return
    numbers = release(version.removeprefix("1."))  # Java 8 calls itself 1.8
    found = f"{version} ({_property(told, 'java.vendor') or 'unknown vendor'}), {launcher}"
    if numbers[:1] < (least,):
        expected = f"{found}; Spark {_dotted(spark_release())} needs {least} or later"
        yield Finding("Java", "Java", Status.PROBLEM, expected, get)
        return
    yield Finding("Java", "Java", Status.OK, found)
    if not needs_vectors(environment):
        return
    modules, fault = _ask(launcher, environment, "--list-modules")
    if re.search(rf"^{re.escape(VECTORS)}(@|$)", modules, re.MULTILINE):
        yield Finding("Java", "modules", Status.OK, f"{VECTORS} is there")
    else:
        yield Finding(
            "Java",
            "modules",
            Status.PROBLEM,
            fault or f"{VECTORS} is missing: this is a reduced runtime",
            "Spark starts Java with this module, and cannot without it: use a complete JRE or "
            f"JDK through JAVA_HOME, or add the module to jlink --add-modules {VECTORS}",
        )


def spark_release() -> tuple[int, ...]:
    """Release of PySpark; empty where there is none."""
    try:
        return release(importlib.metadata.version("pyspark"))
    except importlib.metadata.PackageNotFoundError:
        version, _ = imported("pyspark")  # from a zip, or from SPARK_HOME
        return release(version)


def needs_vectors(environment: Mapping[str, str]) -> bool:
    """Whether Spark's launcher starts Java with the module of vector instructions."""
    home = environment.get("SPARK_HOME")
    if not home:
        try:
            home = str(Path(importlib.import_module("pyspark").__file__ or "").parent)
        except ImportError:
            return False
    for jar in Path(home, "jars").glob("spark-launcher_*.jar"):
        with zipfile.ZipFile(jar) as archive:
            name = "org/apache/spark/launcher/JavaModuleOptions.class"
            return name in archive.namelist() and VECTORS.encode() in archive.read(name)
    return spark_release() >= (4,)


def _ask(launcher: Path, environment: Mapping[str, str], *arguments: str) -> tuple[str, str]:
    """What Java prints, or what is wrong with it."""
    try:
        # the Java that Spark would start
        done = subprocess.run(  # nosec B603
            [str(launcher), *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_JAVA_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"does not answer within {_JAVA_SECONDS} s"
    except OSError as error:
        return "", f"cannot be started ({error.strerror or error})"
    told = done.stdout + done.stderr
    if done.returncode != 0:
        return told, f"ends with status {done.returncode} ({' '.join(told.split())[:200]})"
    return told, ""


def _property(told: str, name: str) -> str:
    found = re.search(rf"^\s*{re.escape(name)} = (.*)$", told, re.MULTILINE)
    return found[1].strip() if found else ""


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers)) or "4"
