"""Files do not depend on the session's settings, and a save that is done can be loaded."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from sparkml_lsml import streaming
from sparkml_lsml.classification import LinearSVC, LinearSVCModel
from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.spark.folders.paths import HIDES
from sparkml_lsml.spark.folders.persistence import SafeWriter, WholeWriter
from tests.spark.helpers import numbers
from tests.spark.saving import KINDS, svc

NAMED = re.compile(r"parquet|files|sources")
"""Settings of Spark that have to do with what is written, by their names."""

WORDS = {
    "spark.sql.parquet.compression.codec": "gzip",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.sources.partitionOverwriteMode": "DYNAMIC",
    "spark.sql.sources.default": "orc",
    "spark.sql.files.maxPartitionBytes": "300",  # less than any of the files
    HIDES: "^[.]",
}
"""Other values of settings that are neither switches nor numbers."""

COMMITTER = "org.apache.hadoop.mapreduce.lib.output.FileOutputCommitter"
UNLISTED = {
    # settings that Spark does not list, and others that change how files are written or read
    "spark.sql.parquet.output.committer.class": COMMITTER,
    "spark.sql.sources.useV1SourceList": "",
    "spark.sql.caseSensitive": "true",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.session.timeZone": "Asia/Tokyo",
    # Hadoop's, which a session hands on to writers and readers, as spark.hadoop.* does
    "parquet.writer.version": "PARQUET_2_0",
    "parquet.compression": "GZIP",
    "parquet.enable.dictionary": "true",
    "parquet.block.size": "1024",
    "parquet.page.size": "64",
    "mapreduce.output.fileoutputformat.compress": "true",
    "mapreduce.output.fileoutputformat.compress.codec": "org.apache.hadoop.io.compress.GzipCodec",
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "mapreduce.fileoutputcommitter.algorithm.version": "2",
}


def another(name: str, value: str) -> str:
    """Another value of a setting than its default."""
    if name in WORDS:
        return WORDS[name]
    if value in ("true", "false"):
        return "false" if value == "true" else "true"
    return "1"


@pytest.fixture(scope="module")
def settings(spark: SparkSession) -> dict[str, str]:
    """Every setting of this Spark that names Parquet, files or sources, with another value."""
    listed = {row.key: row.value for row in spark.sql("SET -v").collect()}
    found = {
        name: another(name, value)
        for name, value in listed.items()
        if NAMED.search(name) and spark.conf.isModifiable(name)
    }
    assert len(found) > 30
    assert {"spark.sql.parquet.writeLegacyFormat", "spark.sql.files.maxRecordsPerFile"} <= set(
        found
    )
    return found | UNLISTED


@contextlib.contextmanager
def preferring(spark: SparkSession, settings: dict[str, str]) -> Iterator[None]:
    """Have the session's settings changed for a while."""
    try:
        for name, value in settings.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name in settings:
            spark.conf.unset(name)


@pytest.mark.parametrize(
    "name",
    [
        "spark.sql.parquet.writeLegacyFormat",
        "spark.sql.files.maxRecordsPerFile",
        "parquet.writer.version",
    ],
)
def test_a_setting_by_itself(
    spark: SparkSession, settings: dict[str, str], tmp_path: Path, name: str
) -> None:
    """Those that made files which `load` refused; together others might hide them."""
    path, model = str(tmp_path / "m"), LinearSVCModel(np.array([[0.1, -1e-300]]), np.array([1e300]))
    with preferring(spark, {name: settings[name]}):
        model.save(path)
    # the numbers themselves, to the bit
    assert numbers(LinearSVCModel.load(path)).tolist() == [0.1, -1e-300, 1e300]


def coefficients(found: Any) -> list[Any]:
    models = getattr(found, "models", [found] if isinstance(found, LinearSVCModel) else [])
    return [numbers(each).tolist() for each in models]


@pytest.mark.parametrize("kind", ["svc", "one-vs-rest", "one-vs-rest in the JVM", "search"])
def test_all_settings_of_files_together(
    spark: SparkSession, settings: dict[str, str], tmp_path: Path, kind: str
) -> None:
    """What MLlib's writers write for us too, in the places where they hold what is ours."""
    saved = KINDS[kind](2.0)
    # where hidden files are shown MLlib's readers are not asked
    others = {name: value for name, value in settings.items() if kind == "svc" or name != HIDES}
    with preferring(spark, others):
        saved.write().overwrite().save(str(tmp_path / "m"))
        within = type(saved).load(str(tmp_path / "m"))
    for found in (within, type(saved).load(str(tmp_path / "m"))):
        assert found.uid == saved.uid
        assert coefficients(found) == coefficients(saved)


def test_a_pipeline_under_all_settings(
    spark: SparkSession, settings: dict[str, str], tmp_path: Path
) -> None:
    stages: list[Any] = [VectorAssembler(inputCols=["a"], outputCol="features"), svc(3.0)]
    with preferring(spark, settings):
        PipelineModel(stages).save(str(tmp_path / "m"))
        Pipeline(stages=[LinearSVC(regParam=0.5)]).save(str(tmp_path / "p"))
    found = PipelineModel.load(str(tmp_path / "m"))
    assert numbers(found.stages[1]).tolist() == numbers(stages[1]).tolist()
    [stage] = Pipeline.load(str(tmp_path / "p")).getStages()
    assert stage.getRegParam() == 0.5


def test_a_stream_under_all_settings(
    spark: SparkSession, settings: dict[str, str], tmp_path: Path
) -> None:
    path, note = str(tmp_path / "m"), {"query": "q", "batch": 3}
    with preferring(spark, settings):
        streaming._Writer(svc(4.0), note).save(path)
    model, found = streaming.StreamingTrainer(LinearSVC(), path)._load(spark)
    assert numbers(model).tolist() == numbers(svc(4.0)).tolist()
    assert found == note


def test_folders_of_mllibs_readers_are_not_saved_where_they_cannot_be_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    """With hidden files shown MLlib's readers may take others than its writers wrote."""
    with preferring(spark, {HIDES: "^[.]"}), pytest.raises(PersistenceError, match=HIDES):
        KINDS["search"](1.0).save(str(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


def cut(folder: str, pattern: str) -> None:
    """Lose the end of what was written."""
    for part in Path(folder).rglob(pattern):
        part.write_bytes(part.read_bytes()[:-20])
        part.with_name(f".{part.name}.crc").unlink(missing_ok=True)  # of what Spark has written


@pytest.mark.parametrize(
    ("kind", "writer", "pattern"),
    [
        ("svc", SafeWriter, "data/part-*"),
        ("svc", SafeWriter, "metadata/part-*"),
        ("one-vs-rest", WholeWriter, "model_0/data/part-*"),
        ("search", WholeWriter, "estimator/metadata/part-*"),
    ],
)
def test_what_cannot_be_read_back_replaces_nothing(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    writer: Any,
    pattern: str,
) -> None:
    path, former = tmp_path / "m", KINDS[kind](1.0)
    former.save(str(path))
    real: Callable[..., None] = writer.saveImpl

    def damaging(self: Any, sibling: str) -> None:
        real(self, sibling)
        cut(sibling, pattern)

    monkeypatch.setattr(writer, "saveImpl", damaging)
    with pytest.raises(PersistenceError, match="cannot be read back") as caught:
        KINDS[kind](2.0).write().overwrite().save(str(path))
    assert f"{path} was not saved" in str(caught.value)
    assert ".new-" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["m"]
    assert type(former).load(str(path)).uid == former.uid
