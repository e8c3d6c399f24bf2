"""jobs/tune.py on real data: the search is MLlib's, and the best model is what is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml import tuning as mllib
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    MulticlassClassificationEvaluator,
)
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.jobs import ConfigError, JobError, TuneConfig, data
from sparkml_lsml.jobs.cli import _print_report
from sparkml_lsml.jobs.config import SplitConfig
from sparkml_lsml.jobs.redaction import Redactor
from sparkml_lsml.jobs.run import tune
from tests.submitting import cancer_rows

FEATURES = ["mean_radius", "mean_texture", "mean_smoothness"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with the breast cancer data as Parquet, and make it the current one."""
    frame = cancer_rows()
    frame["site"] = frame["id"] % 4
    frame["listed"] = frame[FEATURES].to_numpy().tolist()
    frame.to_parquet(tmp_path / "rows.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(folder: Path, search: dict[str, Any], **changes: Any) -> dict[str, Any]:
    assembler = {"inputCols": FEATURES, "outputCol": "features"}
    return {
        "input": {"format": "parquet", "path": str(folder / "rows.parquet")},
        "label": {"column": "target"},
        "pipeline": {
            "stages": [{"class": "VectorAssembler", "params": assembler}],
            "estimator": {"class": "LogisticRegression", "params": {"tol": 1e-9}},
        },
        "search": search,
        "output": {
            "model": str(folder / "out" / "model"),
            "report": str(folder / "out" / "report.json"),
        },
        **changes,
    }


def config_of(*arguments: Any, **changes: Any) -> TuneConfig:
    return TuneConfig.model_validate(tree(*arguments, **changes))


def test_a_grid_is_searched_as_by_mllib(
    spark: SparkSession, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"regParam": [10.0, 0.01], "elasticNetParam": [0.5]}
    search = {"grid": grid, "metric": "logLoss", "folds": 2, "seed": 5}
    said: list[str] = []
    report = tune(config_of(place, search, split={"fraction": 0.3, "by": "id"}), spark, said.append)

    # the same by hand, with the class of MLlib, which fits and measures one model after the other
    rows = spark.read.parquet(str(place / "rows.parquet"))
    training = data.split(rows, SplitConfig(fraction=0.3, by=("id",))).training
    last = LogisticRegression(labelCol="target", tol=1e-9)
    builder = mllib.ParamGridBuilder().addGrid(last.regParam, grid["regParam"])
    reference = mllib.CrossValidator(
        estimator=Pipeline(
            stages=[VectorAssembler(inputCols=FEATURES, outputCol="features"), last]
        ),
        estimatorParamMaps=builder.addGrid(last.elasticNetParam, grid["elasticNetParam"]).build(),
        evaluator=MulticlassClassificationEvaluator(labelCol="target", metricName="logLoss"),
        numFolds=2,
        seed=5,
    ).fit(training)

    found = report["search"]
    assert found["together"] is True
    assert found["folds"] == 2
    means = {tuple(each["params"].values()): each["mean"] for each in found["candidates"]}
    spreads = {tuple(each["params"].values()): each["spread"] for each in found["candidates"]}
    for params, mean, spread in zip(
        reference.getEstimatorParamMaps(),
        reference.avgMetrics,
        reference.stdMetrics,
        strict=True,
    ):
        key = (params[last.regParam], params[last.elasticNetParam])
        assert means[key] == pytest.approx(mean, rel=1e-5)
        assert spreads[key] == pytest.approx(spread, rel=1e-3)
    chosen = reference.getEstimatorParamMaps()[int(np.argmin(reference.avgMetrics))]
    best = {param.name: value for param, value in chosen.items()}
    assert best["regParam"] == 0.01
    assert found["candidates"][found["best"]]["params"] == best
    assert f"best of 2: regParam=0.01, elasticNetParam={best['elasticNetParam']:g}" in said

    # what is saved is the best model, trained on all rows of the training
    saved = PipelineModel.load(str(place / "out" / "model")).stages[-1]
    expected = reference.bestModel.stages[-1]
    np.testing.assert_allclose(
        saved.coefficients.toArray(), expected.coefficients.toArray(), rtol=1e-4
    )
    assert saved.getRegParam() == 0.01
    assert report["training"]["params"] == {"tol": 1e-9, **best}
    assert report["rows"]["training"] == training.count()
    assert report["metrics"]["areaUnderROC"] > 0.9
    written = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
    assert written["search"] == found

    capsys.readouterr()
    _print_report(report, Redactor())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    # best first
    assert lines[0].replace("│", " ").split()[:2] == ["0.01", f"{best['elasticNetParam']:g}"]


def test_draws_on_one_split_without_other_stages(spark: SparkSession, place: Path) -> None:
    params = {"regParam": {"loguniform": [1e-4, 1e4]}, "fitIntercept": {"choice": [True]}}
    random = {"iterations": 3, "params": params}
    search = {"random": random, "metric": "logLoss", "train_ratio": 0.7, "seed": 2}
    pipeline = {"estimator": {"class": "LogisticRegression", "params": {"featuresCol": "listed"}}}
    report = tune(config_of(place, search, pipeline=pipeline), spark)
    found = report["search"]
    assert (found["folds"], found["together"], found["larger_is_better"]) == (1, True, False)
    assert [each["spread"] for each in found["candidates"]] == [None] * 3
    # here the loss grows with the penalty
    strengths = [each["params"]["regParam"] for each in found["candidates"]]
    assert found["best"] == int(np.argmin(strengths))
    assert report["metrics"] is None
    [model] = PipelineModel.load(str(place / "out" / "model")).stages
    assert model.getRegParam() == min(strengths)


def test_groups_are_held_out_one_after_the_other(spark: SparkSession, place: Path) -> None:
    search = {"grid": {"regParam": [0.01]}, "metric": "accuracy", "group": "site"}
    assert tune(config_of(place, search), spark)["search"]["folds"] == 4


def test_groups_of_one_class_are_left_out_and_told(
    spark: SparkSession, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mean is of the folds that have an area; each by MLlib's evaluator."""
    frame = cancer_rows()
    frame["site"] = (frame["id"] % 3).where(frame["target"] == 1, frame["id"] % 2)
    frame.to_parquet(place / "rows.parquet")
    search = {"grid": {"regParam": [0.01]}, "metric": "areaUnderROC", "group": "site"}
    report = tune(config_of(place, search), spark)
    rows = spark.read.parquet(str(place / "rows.parquet"))
    stages = [VectorAssembler(inputCols=FEATURES, outputCol="features")]
    stages += [LogisticRegression(labelCol="target", tol=1e-9, regParam=0.01)]
    areas = []
    for site in (0, 1):
        model = Pipeline(stages=stages).fit(rows.where(f"site != {site}"))
        held_out = model.transform(rows.where(f"site = {site}"))
        areas.append(BinaryClassificationEvaluator(labelCol="target").evaluate(held_out))
    [candidate] = report["search"]["candidates"]
    assert candidate["mean"] == pytest.approx(np.mean(areas), rel=1e-6)
    assert candidate["spread"] == pytest.approx(np.std(areas), rel=1e-3)
    assert report["search"]["folds"] == 3
    assert report["training"]["notes"][-1].startswith("areaUnderROC is undefined in 1 of 3 folds")
    capsys.readouterr()
    _print_report(report, Redactor())
    assert "areaUnderROC is undefined in 1 of 3 folds" in capsys.readouterr().out


def test_a_search_that_fails_leaves_nothing(spark: SparkSession, place: Path) -> None:
    search = {"grid": {"regParam": [0.01]}, "metric": "accuracy", "group": "sight"}
    with pytest.raises(JobError, match="sight"):
        tune(config_of(place, search), spark)
    with pytest.raises(ConfigError, match="did you mean 'regParam'"):
        tune(config_of(place, {"grid": {"regparam": [1]}, "metric": "accuracy"}), spark)
    assert not [*place.rglob("report.json"), *place.rglob("metadata")]
