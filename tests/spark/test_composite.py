"""Folders that hold others: no class is imported that nobody named."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.ml import PipelineModel
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LinearSVC, OneVsRest, OneVsRestModel
from sparkml_lsml.jobs import JobError
from sparkml_lsml.jobs.pipeline import load_model
from sparkml_lsml.spark.folders.pathtext import hidden
from sparkml_lsml.tuning import CrossValidator
from tests.golden.make import estimators, models
from tests.spark.helpers import refused

GOLDEN = {
    "one-vs-rest": OneVsRestModel,
    "estimator-one-vs-rest": OneVsRest,
    "estimator-cross-validator": CrossValidator,
}
PARTS = [
    ("one-vs-rest", "classifier"),
    ("one-vs-rest", "model_1"),
    ("estimator-one-vs-rest", "classifier"),
    ("estimator-cross-validator", "estimator"),
    ("estimator-cross-validator", "evaluator"),
]


class Mine(Params, DefaultParamsReadable["Mine"], DefaultParamsWritable):
    """An evaluator of the caller's, which loads as MLlib's."""

    loads = 0

    @classmethod
    def load(cls, path: str) -> Any:
        cls.loads += 1
        return BinaryClassificationEvaluator()


@pytest.fixture(scope="module")
def originals(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    instances = {name: instance for name, (instance, _) in (models() | estimators()).items()}
    for name in GOLDEN:
        instances[name].save(str(folder / name))
    PipelineModel([instances["linear-svc"]]).save(str(folder / "pipeline"))
    return folder


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A class that can be imported, and nobody has."""
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "case_62_stage.py").write_text("class Stage: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path / "trap"))
    yield "case_62_stage.Stage"
    sys.modules.pop("case_62_stage", None)


def change(folder: Path, entries: dict[str, Any]) -> None:
    [part] = (folder / "metadata").glob("part-*")
    content = json.loads(part.read_text())
    content["paramMap"] |= entries.pop("paramMap", {})
    shutil.rmtree(folder / "metadata")
    (folder / "metadata").mkdir()
    (folder / "metadata" / "part-00000").write_text(json.dumps(content | entries))


INSIDE = ("pyspark.ml.util.os", "org.apache.spark.ml.util.os", "sparkml_lsml.errors.DataError")
"""What the packages import, and what is no stage."""


@pytest.mark.parametrize(("name", "part"), PARTS)
@pytest.mark.parametrize("foreign", ["trap", "os.system", "json.JSONDecoder", "Stage", "", *INSIDE])
def test_case_62_a_part_of_a_foreign_class(
    spark: SparkSession,
    originals: Path,
    tmp_path: Path,
    trap: str,
    name: str,
    part: str,
    foreign: str,
) -> None:
    folder = Path(shutil.copytree(originals / name, tmp_path / "m"))
    foreign = trap if foreign == "trap" else foreign
    change(folder / part, {"class": foreign})
    with refused(spark, f"{folder}/{part}/metadata", repr(foreign), "refused"):
        GOLDEN[name].load(str(folder))
    assert "case_62_stage" not in sys.modules


def load(spark: SparkSession, name: str, folder: Path) -> Any:
    if name == "pipeline":
        return load_model(spark, str(folder))
    return GOLDEN[name].load(str(folder))


def disguise(folder: Path, form: str, name: str) -> None:
    """Name a class in metadata which Spark reads, in place of the one that is there or beside it.

    A form is the path of the file below ``metadata``, after "only" if it is to be the only one.
    """
    only, path = form.startswith("only"), form.removeprefix("only").strip()
    [part] = (folder / "metadata").glob("part-*")
    text = json.dumps(json.loads(part.read_text()) | {"class": name})
    if only:
        shutil.rmtree(folder / "metadata")
    target = folder / "metadata" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


each_disguise = pytest.mark.parametrize(
    "form", ["only", "_x=1/part-0", "only x=1/part-0", "_metadata/x=1/part-0", "only _metadata"]
)


@pytest.mark.parametrize(
    ("name", "part"), [("one-vs-rest", "model_1"), ("estimator-cross-validator", "estimator")]
)
@each_disguise
def test_case_62_what_is_checked_is_what_spark_reads(
    spark: SparkSession, originals: Path, tmp_path: Path, trap: str, name: str, part: str, form: str
) -> None:
    """Metadata that are a file, and partitions, of which Spark reads nothing but their files."""
    folder = Path(shutil.copytree(originals / name, tmp_path / "m"))
    disguise(folder / part, form, trap)
    with refused(spark, f"{folder}/{part}/metadata"):
        GOLDEN[name].load(str(folder))
    assert "case_62_stage" not in sys.modules


@pytest.mark.parametrize("part", [".", "stages/0_*"])
@each_disguise
def test_case_62_what_is_checked_of_a_pipeline(
    spark: SparkSession, originals: Path, tmp_path: Path, trap: str, part: str, form: str
) -> None:
    folder = Path(shutil.copytree(originals / "pipeline", tmp_path / "m"))
    assert len(load_model(spark, str(folder)).stages) == 1
    [where] = [folder] if part == "." else folder.glob(part)
    disguise(where, form, trap)
    with pytest.raises(JobError, match=r"damaged|refused"):
        load_model(spark, str(folder))
    assert "case_62_stage" not in sys.modules


@pytest.mark.parametrize(("name", "part"), [("one-vs-rest", "classifier"), ("pipeline", "stages")])
def test_case_62_a_path_that_is_a_pattern(
    spark: SparkSession, originals: Path, tmp_path: Path, trap: str, name: str, part: str
) -> None:
    """MLlib's readers would load the folder beside the one that was checked."""
    shutil.copytree(originals / name, tmp_path / "m[1]")
    beside = Path(shutil.copytree(originals / name, tmp_path / "m1"))
    for path in (beside / part).rglob("metadata"):
        change(path.parent, {"class": trap})
    with refused(spark, "m[1]", "pattern", "Rename"):
        load(spark, name, tmp_path / "m[1]")
    assert "case_62_stage" not in sys.modules


def test_case_62_what_is_hidden_is_hidden_from_spark(spark: SparkSession, tmp_path: Path) -> None:
    names = ["_SUCCESS", "_started_1", ".part-0.crc", ".x=1", ".metadata"]
    (tmp_path / "part-0").write_text("seen")
    for name in names:
        (tmp_path / name).write_text("hidden")
        (tmp_path / f"{name}-folder").mkdir()
        (tmp_path / f"{name}-folder" / "part-0").write_text("hidden")
        assert hidden(name)
    assert [row.value for row in spark.read.text(str(tmp_path)).collect()] == ["seen"]
    for name in ("part-0", "x=1", "_x=1", "_metadata", "_common_metadata"):
        assert not hidden(name)


@pytest.mark.parametrize("name", ["one-vs-rest", "pipeline"])
def test_case_62_a_session_that_shows_hidden_files(
    spark: SparkSession, originals: Path, tmp_path: Path, trap: str, name: str
) -> None:
    folder = Path(shutil.copytree(originals / name, tmp_path / "m"))
    part = folder / "model_1" if name == "one-vs-rest" else next((folder / "stages").iterdir())
    disguise(part, "_part-0", trap)
    spark.conf.set("spark.sql.files.ignoredPathSegmentRegex", "^[.]")
    try:
        with refused(spark, str(folder), "ignoredPathSegmentRegex is '^[.]'", "Unset it"):
            load(spark, name, folder)
    finally:
        spark.conf.unset("spark.sql.files.ignoredPathSegmentRegex")
    assert "case_62_stage" not in sys.modules
    load(spark, name, folder)


@pytest.mark.parametrize("name", GOLDEN)
def test_case_61_another_class(spark: SparkSession, originals: Path, name: str) -> None:
    others = [cls for other, cls in GOLDEN.items() if other != name]
    for cls in [*others, LinearSVC]:
        with refused(spark, str(originals / name), GOLDEN[name].__name__):
            cls.load(str(originals / name))


@pytest.mark.parametrize("path", ["/etc", "../../x", "a/../../b", "..", "", 3, '"../x"'])
def test_case_64_paths_in_a_grid_or_a_pipeline(
    spark: SparkSession, originals: Path, tmp_path: Path, path: Any
) -> None:
    folder = Path(shutil.copytree(originals / "estimator-cross-validator", tmp_path / "m"))
    entry = {"parent": "x", "name": "y", "isJson": False, "value": path}
    change(folder, {"paramMap": {"estimatorParamMaps": [[entry]]}})
    with refused(spark, f"{folder}/metadata", "part of a path"):
        CrossValidator.load(str(folder))
    shutil.rmtree(folder)
    shutil.copytree(originals / "estimator-cross-validator", folder)
    change(folder / "estimator", {"paramMap": {"stageUids": [path]}})
    with refused(spark, f"{folder}/estimator/metadata", "part of a path"):
        CrossValidator.load(str(folder))


@pytest.mark.parametrize("number", [10**12, -1, "3", 2.0])
def test_case_63_a_number_of_classes_that_cannot_be(
    spark: SparkSession, originals: Path, tmp_path: Path, number: Any
) -> None:
    folder = Path(shutil.copytree(originals / "one-vs-rest", tmp_path / "m"))
    change(folder, {"numClasses": number})
    with refused(spark, f"{folder}/metadata", f"numClasses={number!r}"):
        OneVsRestModel.load(str(folder))


@pytest.mark.parametrize("name", GOLDEN)
def test_case_63_a_part_is_missing_or_damaged(
    spark: SparkSession, originals: Path, tmp_path: Path, name: str
) -> None:
    part = next(part for owner, part in PARTS if owner == name)
    folder = Path(shutil.copytree(originals / name, tmp_path / "m"))
    change(folder / part, {"uid": 3})
    with refused(spark, str(folder)):
        GOLDEN[name].load(str(folder))
    shutil.rmtree(folder / part)
    with refused(spark, str(folder)):
        GOLDEN[name].load(str(folder))
    with refused(spark, str(tmp_path / "nothing")):
        GOLDEN[name].load(str(tmp_path / "nothing"))


def test_case_62_a_class_that_the_caller_has_imported(originals: Path, tmp_path: Path) -> None:
    """A search over somebody else's evaluator loads where its module is imported."""
    folder = Path(shutil.copytree(originals / "estimator-cross-validator", tmp_path / "m"))
    shutil.rmtree(folder / "evaluator")
    Mine().save(str(folder / "evaluator"))
    assert type(CrossValidator.load(str(folder)).getEvaluator()) is BinaryClassificationEvaluator
    assert Mine.loads == 1
