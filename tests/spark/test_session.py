"""What is found out about a session before the first rows are read."""

from __future__ import annotations

import sys
import venv
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession

import sparkml_lsml
from sparkml_lsml.errors import BackendError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.cluster import checks
from sparkml_lsml.spark.folders import paths
from tests.spark.helpers import nothing_left


@pytest.mark.parametrize("execution", ["local", "distributed"])
def test_workers_of_a_python_without_the_packages(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, execution: str
) -> None:
    """Where PYSPARK_PYTHON names none, Spark takes the python3 of PATH, which need not be ours."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    rows = spark.createDataFrame([(1.0, Vectors.dense(1.0)), (2.0, Vectors.dense(3.0))])
    rows = rows.toDF("label", "features")
    monkeypatch.setattr(spark.sparkContext, "pythonExec", python)
    monkeypatch.setattr(checks, "_checked", WeakKeyDictionary())
    with nothing_left(spark), pytest.raises(BackendError) as caught:
        LinearRegression(execution=execution).fit(rows)
    message = str(caught.value)
    assert "lacks numpy, pandas, pyarrow, scipy" in message
    assert f"workers run {python}, the driver {sys.executable}" in message
    assert "Set PYSPARK_PYTHON" in message


def probed(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, **found: str) -> None:
    """Check executors that have other versions of packages than they do."""
    [there] = checks._probe(spark.sparkContext, ("numpy", "sparkml_lsml"))
    monkeypatch.setattr(checks, "_checked", WeakKeyDictionary())
    monkeypatch.setattr(checks, "_probe", lambda sc, names: [there | found])
    checks.check_executors(spark.sparkContext)


@pytest.mark.parametrize(
    "found", [{"numpy": "1.26.4"}, {"python": "3.9"}, {"sparkml_lsml": "9.9.9"}], ids=str
)
def test_versions_that_cannot_work_together(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, found: dict[str, str]
) -> None:
    [(name, version)] = found.items()
    with pytest.raises(BackendError, match=f"{name} is .* on the driver and {version} on the"):
        probed(spark, monkeypatch, **found)


def test_minor_versions_of_numpy_that_differ_are_a_warning(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = f"{np.__version__.partition('.')[0]}.999.1"
    probed(spark, monkeypatch, numpy=other)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"numpy is {np.__version__} on the driver and {other} on the" in record.message
    caplog.clear()
    probed(spark, monkeypatch, numpy=np.__version__)
    assert caplog.records == []


def test_a_package_that_workers_do_not_find_is_shipped(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook may have put it on its own sys.path, which workers do not know of."""
    added: list[str] = []
    [there] = checks._probe(spark.sparkContext, ("sparkml_lsml",))
    assert there["sparkml_lsml"] == sparkml_lsml.__version__
    answers = iter([[{**there, "sparkml_lsml": ""}], [there]])
    monkeypatch.setattr(checks, "_checked", WeakKeyDictionary())
    monkeypatch.setattr(checks, "_probe", lambda sc, names: next(answers))
    monkeypatch.setattr(spark.sparkContext, "addPyFile", added.append)
    checks.check_executors(spark.sparkContext)
    [archive] = added
    assert Path(archive).name == "sparkml_lsml.zip"


def test_file_systems_know_the_settings_of_the_session(spark: SparkSession) -> None:
    """What notebooks give a store's key with; the context's own settings are older."""
    spark.conf.set("fs.store.account.key", "of the session")
    try:
        assert paths._configuration(spark).get("fs.store.account.key") == "of the session"
    finally:
        spark.conf.unset("fs.store.account.key")
