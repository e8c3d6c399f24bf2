"""`show` of what Spark has written: read by Python as by Spark, and equal to the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import SparkSession
from sklearn.datasets import load_iris

from sparkml_lsml.classification import LinearSVC, LogisticRegression, OneVsRest
from sparkml_lsml.cli.app import main
from sparkml_lsml.cli.hadoop import HadoopFolder
from sparkml_lsml.cli.saved import LocalFolder, inspect
from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.tuning import CrossValidator

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def test_what_spark_has_written(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = load_iris(as_frame=True).frame.set_axis([*FEATURES, "label"], axis="columns")
    rows = spark.createDataFrame(frame)
    assembler = VectorAssembler(inputCols=FEATURES, outputCol="features")
    logistic = LogisticRegression(regParam=0.1)
    search = CrossValidator(
        estimator=Pipeline(stages=[assembler, logistic]),
        estimatorParamMaps=ParamGridBuilder().addGrid(logistic.regParam, [0.1]).build(),
        evaluator=MulticlassClassificationEvaluator(metricName="accuracy"),
        numFolds=2,
        seed=1,
    ).fit(rows)
    search.write().save(str(tmp_path / "cv"))
    svc = OneVsRest(classifier=LinearSVC(maxIter=5, regParam=0.1))
    svc.fit(assembler.transform(rows)).write().save(str(tmp_path / "ovr"))

    for name in ("cv", "ovr"):
        folder = str(tmp_path / name)
        local = inspect(LocalFolder(Path(folder)), folder, 4)
        assert inspect(HadoopFolder(spark, f"file:{folder}"), folder, 4) == local

    parts = {part.place: part for part in inspect(LocalFolder(tmp_path / "cv"), "cv", 4)}
    best = search.bestModel
    assert isinstance(best, PipelineModel)
    model = best.stages[-1]
    weights = parts[f"bestModel/stages/1_{model.uid}"].weights
    assert weights is not None
    matrix = model.coefficientMatrix.toArray()
    np.testing.assert_array_equal(np.array(weights.coefficients), matrix[:, weights.largest])
    assert weights.intercepts == model.interceptVector.toArray().tolist()
    assert parts[f"estimator/stages/1_{model.uid}"].params == {"regParam": 0.1}

    # the command, which has no Spark in its process that reads
    assert main(["show", str(tmp_path / "cv")]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in FEATURES)
    assert "of metadata and arrays: verified" in text
    assert main(["show", str(tmp_path / "ovr"), "--top", "1"]) == 0
    assert "model_2" in capsys.readouterr().out


def test_damage_is_told_in_both_ways(spark: SparkSession, tmp_path: Path) -> None:
    LinearSVC(maxIter=5).write().save(str(tmp_path / "m"))
    (file,) = (tmp_path / "m" / "metadata").glob("part-*")
    file.write_text(file.read_text(encoding="utf-8").replace("5", "6"), encoding="utf-8")
    path = str(tmp_path / "m")
    for folder in (LocalFolder(tmp_path / "m"), HadoopFolder(spark, path)):
        with pytest.raises(PersistenceError, match="changed after it was saved"):
            inspect(folder, path, 1)
    empty = HadoopFolder(spark, str(tmp_path))
    with pytest.raises(PersistenceError, match="holds no metadata"):
        inspect(empty, str(tmp_path), 1)
