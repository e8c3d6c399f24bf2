"""Whether executors have the packages of the driver; this one is shipped to them."""

import logging
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

from sparkml_lsml.errors import BackendError
from sparkml_lsml.spark.cluster.session import is_local
from sparkml_lsml.spark.cluster.sizing import slots

ASKED = 64
"""Tasks, at most, that are asked which packages there are; executors are of one kind as a rule."""

log = logging.getLogger("sparkml_lsml")

_OURS = "sparkml_lsml"
_NEEDED = ("numpy", "pandas", "pyarrow", "scipy", _OURS)
_NO_WORKER = ("PYTHON_VERSION_MISMATCH", "Cannot run program")

_checked: "WeakKeyDictionary[SparkContext, bool]" = WeakKeyDictionary()
_lock = threading.Lock()


def check_executors(sc: SparkContext) -> None:
    """Compare the packages of the executors with the driver's, once a context.

    Where only this package is absent it is shipped to them.

    Raises
    ------
    BackendError
        If NumPy, pandas or PyArrow are absent, or versions differ: of Python and of this package
        in the first two numbers, of NumPy in the first; a second one that differs is a warning.
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
        # whose own module knows of rooms above this one
        _OURS: sys.modules[_OURS].__version__,
    }
    missing = [name for name in found if name != _OURS and not found[name]]
    if missing:
        raise BackendError(f"the executors' Python lacks {', '.join(missing)}: {remedy}")
    for name in expected.keys() & found.keys():
        ours, theirs = expected[name].split(".")[:2], found[name].split(".")[:2]
        differ = (
            f"{name} is {expected[name]} on the driver and {found[name] or 'absent'} on the "
            f"executors: {remedy}"
        )
        # arrays are pickled in another way by NumPy 1 and 2, and alike by versions of one of them
        if name == "numpy" and ours != theirs and ours[:1] == theirs[:1]:
            log.warning(
                "%s, or the last bits of models may depend on where they are fitted", differ
            )
        elif ours != theirs:
            raise BackendError(differ)


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
    source = Path(__file__).parents[2]
    # executors fetch it from there as long as the context lives, which then removes the folder
    folder = Path(tempfile.mkdtemp(prefix="package-", dir=sc._temp_dir))
    try:
        staging = folder / "staging"
        shutil.copytree(source, staging / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        return Path(shutil.make_archive(str(folder / "sparkml_lsml"), "zip", staging))
    finally:
        shutil.rmtree(folder / "staging", ignore_errors=True)
