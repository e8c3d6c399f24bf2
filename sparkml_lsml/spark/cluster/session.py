"""The Spark session: what it can do, and whether its executors have the package."""

import shutil
import sys
import tempfile
import threading
import types
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from pyspark import SparkContext
from pyspark.sql import DataFrame, SparkSession

import sparkml_lsml
from sparkml_lsml.errors import BackendError

UNLIMITED = 1_000
"""Partitions that rows are joined to where there may be any number of executors: each is a task of
every pass, of which the driver starts some thousand a second."""

ASKED = 64
"""Tasks, at most, that are asked which packages there are; executors are of one kind as a rule."""

_OURS = "sparkml_lsml"
_NEEDED = ("numpy", "pandas", "pyarrow", "scipy", _OURS)
_NO_WORKER = ("PYTHON_VERSION_MISMATCH", "Cannot run program")

_checked: "WeakKeyDictionary[SparkContext, bool]" = WeakKeyDictionary()
_lock = threading.Lock()


def context(dataset: DataFrame) -> SparkContext:
    """The Spark context of a frame.

    Raises
    ------
    BackendError
        If the frame belongs to a Spark Connect session, which has no context.
    """
    return classic(dataset.sparkSession)


def classic(session: SparkSession) -> SparkContext:
    """The Spark context of a session.

    Raises
    ------
    BackendError
        If it is a session of Spark Connect, which has no context.
    """
    found = getattr(session, "_sc", None)
    if not isinstance(found, SparkContext):
        raise BackendError(
            f"found a session of {type(session).__module__} (Spark Connect), which has neither "
            "RDDs nor a JVM: expected a classic session. Start one, for example with spark-submit"
        )
    return found


def setting(sc: SparkContext, name: str) -> str | None:
    """A setting of Spark; None where there is none."""
    # `getConf` copies all of them, which takes as long as a small job
    found: str | None = sc._conf.get(name)
    return found


def flag(sc: SparkContext, name: str) -> bool:
    """Whether a setting of Spark is true."""
    return (setting(sc, name) or "false").lower() == "true"


def is_local(sc: SparkContext) -> bool:
    """Whether driver and executor are one process (``local[n]``)."""
    master = sc.master or ""
    return master.startswith("local") and not master.startswith("local-cluster")


def parallelism(sc: SparkContext) -> int:
    """Tasks that run at the same time, once executors that may still be asked for are there."""
    # where spark.default.parallelism is set it says how shuffles are split, and no number of cores
    cores = max(sc.defaultParallelism, slots(sc))
    if _allocates(sc):
        each = int(setting(sc, "spark.executor.cores") or 1)
        each //= int(setting(sc, "spark.task.cpus") or 1)
        cores = max(cores, _most_executors(sc) * each)
    return max(1, cores)


def most_partitions(sc: SparkContext) -> int:
    """Partitions that rows are joined to, at most.

    One a core; but a dynamic allocation without a limit begins with few cores, and brings more only
    for tasks that wait for them.
    """
    cores = parallelism(sc)
    return max(cores, UNLIMITED) if _allocates(sc) and not _most_executors(sc) else cores


def slots(sc: SparkContext) -> int:
    """Tasks that run at the same time on the executors that are alive."""
    jsc = sc._jsc.sc()
    profile = jsc.resourceProfileManager().defaultResourceProfile()
    return max(1, int(jsc.maxNumConcurrentTasks(profile)))


def _allocates(sc: SparkContext) -> bool:
    return flag(sc, "spark.dynamicAllocation.enabled")


def _most_executors(sc: SparkContext) -> int:
    """Limit of a dynamic allocation, 0 without; Spark's own default is as good as none."""
    most = int(setting(sc, "spark.dynamicAllocation.maxExecutors") or 0)
    return most if most < 10_000 else 0


def executors(sc: SparkContext) -> int:
    """Number of executors that are alive."""
    known: int = sc._jsc.sc().getExecutorMemoryStatus().size()
    return 1 if is_local(sc) else known - 1  # the driver counts as one


def check_executors(sc: SparkContext) -> None:
    """Compare the packages of the executors with the driver's, once a context.

    Where only this package is absent it is shipped to them.

    Raises
    ------
    BackendError
        If NumPy, pandas or PyArrow are absent, or versions differ.
    """
    # workers of this very interpreter have what it has installed, but not what was put on sys.path
    names = (_OURS,) if is_local(sc) and shutil.which(sc.pythonExec) == sys.executable else _NEEDED
    with _lock:
        if sc in _checked:
            return
        found = _probe(sc, names)
        if any(report[_OURS] == "" for report in found):
            sc.addPyFile(str(_package_zip(sc)))
            found = _probe(sc, names)
        for report in found:
            _compare(report, _remedy(sc))
        _checked[sc] = True


def _remedy(sc: SparkContext) -> str:
    if is_local(sc):
        return (
            f"workers run {sc.pythonExec}, the driver {sys.executable}. Set PYSPARK_PYTHON to the "
            "driver's before the session starts"
        )
    return (
        "install the same packages there as on the driver, or ship an environment with "
        "spark.archives (venv-pack, conda-pack)"
    )


def _compare(found: dict[str, str], remedy: str) -> None:
    expected = {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "numpy": np.__version__,
        _OURS: sparkml_lsml.__version__,
    }
    missing = [name for name in found if name != _OURS and not found[name]]
    if missing:
        raise BackendError(f"the executors' Python lacks {', '.join(missing)}: {remedy}")
    for name in expected.keys() & found.keys():
        ours, theirs = expected[name].split(".")[:2], found[name].split(".")[:2]
        if ours != theirs:
            raise BackendError(
                f"{name} is {expected[name]} on the driver and {found[name] or 'absent'} on the "
                f"executors: {remedy}"
            )


def _probe(sc: SparkContext, names: tuple[str, ...]) -> list[dict[str, str]]:
    """Versions of packages on executors, '' where one is absent; each that is found, once."""

    def versions(_: Any) -> Any:
        import importlib
        import sys

        found = {"python": f"{sys.version_info[0]}.{sys.version_info[1]}"}
        importlib.invalidate_caches()
        for name in names:
            try:
                found[name] = str(importlib.import_module(name).__version__)
            except ImportError:
                found[name] = ""
        return [found]

    # cloudpickle sends functions of __main__ by value: a module the executors lack cannot be asked
    by_value = types.FunctionType(
        versions.__code__, {"__builtins__": __builtins__}, "versions", None, versions.__closure__
    )
    by_value.__module__ = "__main__"
    tasks = max(2, min(2 * slots(sc), ASKED))
    try:
        reports = sc.parallelize(range(tasks), tasks).mapPartitions(by_value).collect()
    except Exception as error:
        if not any(sign in str(error) for sign in _NO_WORKER):
            raise
        raise BackendError(
            f"Python workers cannot be started with {sc.pythonExec}, or are of another version "
            f"than the driver's {sys.version.split()[0]}: {_remedy(sc)}"
        ) from error
    return [dict(report) for report in {tuple(report.items()) for report in reports}]


def _package_zip(sc: SparkContext) -> Path:
    """The package as a zip that executors can import."""
    source = Path(sparkml_lsml.__file__).parent
    # executors fetch it from there as long as the context lives, which then removes the folder
    folder = Path(tempfile.mkdtemp(prefix="package-", dir=sc._temp_dir))
    try:
        staging = folder / "staging"
        shutil.copytree(source, staging / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        return Path(shutil.make_archive(str(folder / "sparkml_lsml"), "zip", staging))
    finally:
        shutil.rmtree(folder / "staging", ignore_errors=True)
