"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.programs import JVM_OPTIONS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOOPBACK = "127.0.0.1"

_approx = pytest.approx


def approx(expected: Any, rel: Any = None, abs: Any = None, **more: Any) -> Any:
    """Compare as `pytest.approx` does, but by a relative tolerance alone where one is given.

    pytest adds an absolute one of 1e-12, with which a comparison of numbers below it cannot fail.
    """
    if rel is not None and abs is None:
        abs = 0.0
    return _approx(expected, rel=rel, abs=abs, **more)


pytest.approx = approx


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Give the one Spark session of this pytest process.

    Its master is ``local[2]``, or what ``SPARKML_LSML_TEST_MASTER`` says: a process can have only
    one master, so another one takes another run of pytest.
    """
    # Imported here, because the unit tests have to run without PySpark and without Java.
    import pyspark
    from pyspark.find_spark_home import _find_spark_home
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    settings = {
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.extraJavaOptions": JVM_OPTIONS,
        "spark.driver.host": LOOPBACK,
        "spark.driver.memory": "1g",
        "spark.executor.extraJavaOptions": JVM_OPTIONS,
        "spark.local.dir": str(folder / "local"),
        "spark.log.level": "ERROR",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # most tests ask for plans that others have asked for: they are compiled once
        "spark.sql.codegen.cache.maxEntries": "2000",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if tuple(int(part) for part in pyspark.__version__.split(".")[:2]) >= (4, 1):
        # TCP costs every task round a delayed acknowledgement of 40 ms.
        settings["spark.python.unix.domain.socket.enabled"] = "true"

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYSPARK_DRIVER_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", LOOPBACK)
        # It would win over spark.local.dir.
        patch.delenv("SPARK_LOCAL_DIRS", raising=False)
        builder = SparkSession.builder.appName("sparkml_lsml tests")
        builder = builder.master(os.environ.get("SPARKML_LSML_TEST_MASTER", "local[2]"))
        for key, value in settings.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
        # The executors of a local cluster work inside Spark's own folder; no setting moves that.
        work = Path(_find_spark_home(), "work", session.sparkContext.applicationId)
        try:
            yield session
        finally:
            session.stop()
            # The JVM lives on until this process ends and may be deleting the same files.
            for left in (folder, work):
                shutil.rmtree(left, ignore_errors=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how the tests of numbered cases ended, where ``SPARKML_LSML_CASES`` asks for it."""
    notes = os.environ.get("SPARKML_LSML_CASES")
    decided = report.when == "call" or report.outcome != "passed"
    # a contract check of a case is run for MLlib's classes too, which do not count
    ours = re.search(r"_case_\d\d", report.nodeid) and "[mllib-" not in report.nodeid
    if notes and decided and ours:
        with Path(notes).open("a") as file:
            file.write(f"{report.outcome} {report.nodeid}\n")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Give the folder of reference data sets, for tests marked ``reference``."""
    folder = os.environ.get("SPARKML_LSML_DATA")
    if not folder:
        pytest.skip("SPARKML_LSML_DATA does not name the folder with the reference data sets")
    return Path(folder)
