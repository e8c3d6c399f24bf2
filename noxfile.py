"""Tests with other versions of PySpark, with and without Numba; `nox --list` names them all.

Each session has a virtual environment of its own, made of the versions of dev/constraints.txt but
for PySpark and Py4J. What follows ``--`` goes to pytest in place of the short list:

    nox -s "tests(3.5, numba)" -- tests/spark/test_tuning.py
"""

from __future__ import annotations

import re
from pathlib import Path

import nox

nox.needs_version = ">=2024.3.2"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"

NEWEST = "4.3"
VERSIONS = ("3.5", "4.0", NEWEST)
TOOLS = ("chispa", "hypothesis", "onnxruntime", "pytest", "pytest-timeout", "setuptools")

ALIKE = (
    # what is made of the bytes of a saved model, once they are read
    "case_61_another_format",
    "case_61_metadata",
    "case_63_arrays_of",
    "case_63_a_model_that_does_not_hang_together",
    "case_63_facts",
    "case_64",
    # coefficients in the classes of scikit-learn and ONNX
    "test_onnx",
    "test_sklearn",
)
"""Tests of files of `SHORT` that ask nothing of PySpark that others do not ask, by their names."""

SHORT = (
    "tests/spark/test_transform.py",
    "tests/spark/test_persistence.py",
    "tests/spark/test_one_vs_rest.py",
    "tests/spark/test_export.py",
    "-k",
    f"not ({' or '.join(ALIKE)})",
)
"""What differs most between versions of PySpark: scoring, the JVM's files, MLlib's classes."""

WITHOUT_SPARK = (
    "tests/unit",
    "tests/checks",
    # these check the classes that a job names, and import them
    "--ignore=tests/unit/test_jobs_search.py",
    "--ignore=tests/unit/test_validate.py",
)

OLD_PYSPARK = (
    # from PySpark itself, not from this package
    "ignore:distutils Version classes are deprecated:DeprecationWarning",
    "ignore:unclosed:ResourceWarning",
    "ignore:is_categorical_dtype is deprecated:DeprecationWarning",
)


def constraints(session: nox.Session) -> str:
    """Give the pinned versions without those that belong to a version of PySpark."""
    pins = Path("dev/constraints.txt").read_text().splitlines(keepends=True)
    own = re.compile(r"(pyspark|py4j)==")
    path = Path(session.create_tmp(), "constraints.txt")
    path.write_text("".join(pin for pin in pins if not own.match(pin)))
    return str(path.resolve())


def install(session: nox.Session, *packages: str) -> None:
    """Install packages, with this one among them, at the pinned versions."""
    # Python compiles what is imported, which is a small part of the files
    quiet = ("-q", "--disable-pip-version-check", "--no-compile")
    pins = ("-c", constraints(session))
    session.install(*quiet, *pins, *TOOLS)
    session.install(*quiet, *pins, "--no-build-isolation", *packages)


@nox.session
@nox.parametrize("numba", [True, False], ids=["numba", "plain"])
@nox.parametrize("pyspark", VERSIONS, ids=VERSIONS)
def tests(session: nox.Session, pyspark: str, numba: bool) -> None:
    """Run tests of Spark, a short list unless they are named, with this version of it."""
    extras = "export,jobs,mlflow,plot,progress" + (",fast" if numba else "")
    install(session, "-e", f".[{extras}]", f"pyspark[connect]=={pyspark}.*")
    python = str(Path(session.bin, "python"))
    settings = {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python, "SPARK_HOME": None}
    ignored = [part for rule in OLD_PYSPARK for part in ("-W", rule)]
    old = ignored if pyspark != NEWEST else []
    tests = session.posargs or SHORT
    session.run("python", "-m", "pytest", "-q", *old, *tests, env=settings)


@nox.session
def plain(session: nox.Session) -> None:
    """Run the tests without Spark where neither Numba nor PySpark is installed."""
    install(session, "-e", ".[export,jobs,plot]")
    session.run("python", "-m", "pytest", "-q", *(session.posargs or WITHOUT_SPARK))
