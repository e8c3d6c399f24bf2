"""The NumPy rooms, and what runs on executors, stand on their own: no PySpark, no Java."""

from __future__ import annotations

import configparser
import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparkml_lsml import worker

ROOT = Path(__file__).parents[2]


def numpy_rooms() -> list[str]:
    """List the existing rooms among those that import-linter holds to the same rule."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = config["importlinter:contract:numpy-rooms"]["source_modules"].split()
    return [room for room in listed if importlib.util.find_spec(room)]


@pytest.mark.parametrize("room", ["sparkml_lsml", *numpy_rooms()])
def test_room_needs_neither_pyspark_nor_java(room: str) -> None:
    # import-linter reads import statements; this also sees what third-party packages bring in.
    assert imported(f"import {room}") == []


def test_no_module_of_a_worker_imports_pyspark() -> None:
    # what is pickled by reference has these imported, in every Python worker
    found = pkgutil.walk_packages(worker.__path__, f"{worker.__name__}.")
    modules = [module.name for module in found]
    assert "sparkml_lsml.worker.passing" in modules
    assert imported(f"import {', '.join(modules)}") == []


def imported(statement: str) -> list[str]:
    """What a fresh interpreter has of PySpark behind a statement."""
    code = (
        f"import sys; {statement}; "
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'pyspark', 'py4j'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PATH": "", "JAVA_HOME": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
