"""Tests with other versions of PySpark and of what it comes with; `nox --list` names them all.

Each session has a virtual environment of its own, made of the versions of dev/constraints.txt but
for PySpark and Py4J, or, for a runtime, for what `RUNTIMES` lists. One with Numba shares with the
environment of nox what both have. What follows ``--`` goes to pytest in place of the short list:

    nox -s "tests(3.5, numba)" -- tests/spark/test_tuning.py
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import nox

nox.needs_version = ">=2024.3.2"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"

NEWEST = "4.3"
VERSIONS = {"3.5": "3.5.1", "4.0": "4.0.*", NEWEST: f"{NEWEST}.*"}
"""PySparks to test with the other pins. Later ones of 3.5 want NumPy 1, as `RUNTIMES` have it."""

TORCH = "torch==2.14.1"

OF_TORCH = (
    "tests/torch",
    "tests/documentation/test_pages.py::test_the_blocks_of_a_page_run[docs/guide/torch.md]",
)

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
    # rows and fits; the plans of an assembler are those of other tests
    "mostly_zeros",
    "grids_searches_and_resident_rows",
    "one_vs_rest_and_pieces",
)
"""Tests of files of `SHORT` that ask nothing of PySpark that others do not ask, by their names."""

SHORT = (
    "tests/spark/test_transform.py",
    "tests/spark/test_persistence.py",
    "tests/spark/test_one_vs_rest.py",
    "tests/spark/test_export.py",
    "tests/spark/test_direct_parquet.py",
    "tests/spark/test_assembled.py",
    "-k",
    f"not ({' or '.join(ALIKE)})",
)
"""What differs most between versions of PySpark: scoring, the JVM's files, plans and classes."""

WITHOUT_SPARK = (
    "tests/unit",
    "tests/checks",
    # these check the classes that a job names, and import them
    "--ignore=tests/unit/test_jobs_search.py",
    "--ignore=tests/unit/test_validate.py",
)

RUNTIMES = {
    "databricks-15.4": {
        "pyspark": "3.5.0",
        "numpy": "1.23.5",
        "pandas": "1.5.3",
        "pyarrow": "14.0.1",
        "scipy": "1.11.1",
        "scikit-learn": "1.3.0",
        "numba": "0.57.1",
        "llvmlite": "0.40.0",
        "matplotlib": "3.7.2",
        "contourpy": "1.0.5",
        "pyparsing": "3.0.9",
        "threadpoolctl": "2.2.0",
        "ml_dtypes": "0.5.4",
    },
    "databricks-16.4": {
        "pyspark": "3.5.2",
        "numpy": "1.26.4",
        "pandas": "1.5.3",
        "pyarrow": "15.0.2",
        "scipy": "1.13.1",
        "scikit-learn": "1.4.2",
        "numba": "0.59.1",
        "llvmlite": "0.42.0",
        "matplotlib": "3.8.4",
        "contourpy": "1.2.0",
        "pyparsing": "3.0.9",
        "threadpoolctl": "2.2.0",
        "ml_dtypes": "0.5.4",
    },
}
"""Versions of the packages that we import, or that these hold down, in runtimes that people have.

They are of the release notes of Databricks Runtime 15.4 LTS and 16.4 LTS, for machine learning
where only that has the package. The second has Python 3.12, for which nobody publishes its pandas:
both are tested with Python 3.11.
"""

OLD_PYSPARK = (
    # from PySpark itself, not from this package
    "ignore:distutils Version classes are deprecated:DeprecationWarning",
    "ignore:unclosed:ResourceWarning",
    "ignore:is_categorical_dtype is deprecated:DeprecationWarning",
    # from threadpoolctl 2, which does not know how the OpenBLAS in NumPy tells its version
    "ignore:Exception ignored on calling ctypes:pytest.PytestUnraisableExceptionWarning",
)


def constraints(session: nox.Session, others: Mapping[str, str]) -> str:
    """Give the pinned versions, with others in place of those that belong to a PySpark."""
    pins = Path("dev/constraints.txt").read_text().splitlines(keepends=True)
    own = re.compile(f"({'|'.join(['pyspark', 'py4j', *others])})==")
    kept = [pin for pin in pins if not own.match(pin)]
    path = Path(session.create_tmp(), "constraints.txt")
    path.write_text("".join([*kept, *(f"{name}=={pin}\n" for name, pin in others.items())]))
    return str(path.resolve())


def install(
    session: nox.Session, *packages: str, others: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Install packages, with this one among them, at the pinned versions or at others."""
    # Python compiles what is imported, which is a small part of the files
    quiet = ("-q", "--disable-pip-version-check", "--no-compile")
    pins = ("-c", constraints(session, others))
    session.install(*quiet, *pins, *TOOLS)
    session.install(*quiet, *pins, "--no-build-isolation", *packages)


def share(session: nox.Session) -> None:
    """Let a session import what this environment has, where it has no package of its own."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(str(session.run("python", "-c", ask, silent=True, log=False)).strip())
    theirs = sysconfig.get_path("purelib")
    # after its own; pip sees them too, and installs what is missing and what has another version
    (own / "shared.pth").write_text(f"import site; site.addsitedir({theirs!r})\n")


@nox.session
@nox.parametrize("numba", [True, False], ids=["numba", "plain"])
@nox.parametrize("pyspark", [*VERSIONS], ids=[*VERSIONS])
def tests(session: nox.Session, pyspark: str, numba: bool) -> None:
    """Run tests of Spark, a short list unless they are named, with this version of it."""
    if numba:
        share(session)
    extras = "export,jobs,mlflow,plot,progress" + (",fast" if numba else "")
    install(session, "-e", f".[{extras}]", f"pyspark[connect]=={VERSIONS[pyspark]}")
    test(session, session.posargs or SHORT, old=pyspark != NEWEST)


@nox.session(python="3.11")
@nox.parametrize("runtime", [*RUNTIMES], ids=[*RUNTIMES])
def runtimes(session: nox.Session, runtime: str) -> None:
    """Run the tests without Spark and the short list with the versions of a runtime."""
    extras = "spark,export,jobs,mlflow,plot,progress,fast"
    install(session, "-e", f".[{extras}]", "pyspark[connect]", others=RUNTIMES[runtime])
    for tests in [session.posargs] if session.posargs else [("tests/unit", "tests/checks"), SHORT]:
        test(session, tests, old=True)


def test(session: nox.Session, tests: Sequence[str], *, old: bool) -> None:
    """Run pytest with the PySpark of a session, an old one or not, and with no other."""
    python = str(Path(session.bin, "python"))
    settings = {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python, "SPARK_HOME": None}
    ignored = [part for rule in OLD_PYSPARK for part in ("-W", rule)] if old else []
    session.run("python", "-m", "pytest", "-q", *ignored, *tests, env=settings)


@nox.session(name="torch")
def with_torch(session: nox.Session) -> None:
    """Run the tests of networks of PyTorch, which takes gigabytes, at its own pin."""
    share(session)
    install(session, "-e", ".[torch]", TORCH)
    test(session, session.posargs or OF_TORCH, old=False)


@nox.session
def plain(session: nox.Session) -> None:
    """Run the tests without Spark where neither Numba nor PySpark is installed."""
    install(session, "-e", ".[export,jobs,plot]")
    session.run("python", "-m", "pytest", "-q", *(session.posargs or WITHOUT_SPARK))
