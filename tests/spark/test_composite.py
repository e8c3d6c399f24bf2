"""Folders that hold others: no class is imported that nobody named."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LinearSVC, OneVsRest, OneVsRestModel
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
    return folder


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A class that can be imported, and nobody has."""
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "case_62_stage.py").write_text("class Stage: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path / "trap"))
    return "case_62_stage.Stage"


def change(folder: Path, entries: dict[str, Any]) -> None:
    [part] = (folder / "metadata").glob("part-*")
    content = json.loads(part.read_text())
    content["paramMap"] |= entries.pop("paramMap", {})
    shutil.rmtree(folder / "metadata")
    (folder / "metadata").mkdir()
    (folder / "metadata" / "part-00000").write_text(json.dumps(content | entries))


@pytest.mark.parametrize(("name", "part"), PARTS)
@pytest.mark.parametrize("foreign", ["trap", "os.system", "json.JSONDecoder", "Stage", ""])
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
