"""The jobs on real data, in the session of the tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyspark.errors import SparkRuntimeException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.functions import array_to_vector
from pyspark.ml.linalg import Vectors, VectorUDT
from pyspark.ml.pipeline import PipelineModelWriter
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StructField, StructType
from sklearn import metrics as reference
from sklearn.datasets import load_diabetes, load_iris

from sparkml_lsml import losses
from sparkml_lsml.jobs import (
    ConfigError,
    EvaluateConfig,
    JobError,
    ScoreConfig,
    TrainConfig,
    data,
    metrics,
    pipeline,
    storage,
    yamlfile,
)
from sparkml_lsml.jobs.checking import check_all
from sparkml_lsml.jobs.cli import main
from sparkml_lsml.jobs.config import InputConfig, LabelConfig, PredictionsConfig, SplitConfig
from sparkml_lsml.jobs.hashing import deciding
from sparkml_lsml.jobs.report import SCHEMA_VERSION
from sparkml_lsml.jobs.run import evaluate, score, train
from tests.spark.helpers import nothing_left
from tests.submitting import cancer_rows, left_behind, train_tree

ROOT = Path(__file__).resolve().parents[2]
Numbers = npt.NDArray[np.float64]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with the breast cancer data as Parquet, and make it the current one."""
    cancer_rows().to_parquet(tmp_path / "rows.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(tree: dict[str, Any]) -> TrainConfig:
    return TrainConfig.model_validate(tree)


# ---------------------------------------------------- reading


@pytest.mark.parametrize(
    ("kind", "options"), [("parquet", {}), ("json", {}), ("orc", {}), ("csv", {"header": True})]
)
def test_formats(spark: SparkSession, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    written = spark.createDataFrame([(1.5, "x"), (2.5, "y")], "a double, b string")
    for name in ("one", "two"):
        written.write.format(kind).options(**options).save(str(tmp_path / name))
    tree = {
        "format": kind,
        "path": [str(tmp_path / "one"), str(tmp_path / "t*")],
        "schema": "a double, b string",
        "options": options,
    }
    found = data.read(spark, InputConfig.model_validate(tree))
    rows = sorted(tuple(row) for row in found.collect())
    assert rows == [(1.5, "x"), (1.5, "x"), (2.5, "y"), (2.5, "y")]


def test_libsvm_with_its_usual_labels(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "rows.libsvm"
    file.write_text("-1 1:0.5 3:2\n+1 2:1\n", encoding="utf-8")
    source = InputConfig.model_validate({"format": "libsvm", "path": str(file), "num_features": 7})
    frame = data.read(spark, source)
    labels = LabelConfig.model_validate({"map": {-1: 0, 1: 1}})
    data.check_labels(frame, "label", labels)
    rows = data.map_labels(frame, "label", labels).collect()
    assert [row["label"] for row in rows] == [0.0, 1.0]
    assert rows[0]["features"] == Vectors.sparse(7, [0, 2], [0.5, 2.0])


def test_table(spark: SparkSession) -> None:
    spark.range(3).createOrReplaceTempView("jobs_test_rows")
    frame = data.read(spark, InputConfig(format="table", table="jobs_test_rows"))
    assert frame.count() == 3
    spark.catalog.dropTempView("jobs_test_rows")


def test_rows_without_a_value_are_dropped_on_request(spark: SparkSession, tmp_path: Path) -> None:
    rows = [(1.0, "x"), (None, "x"), (float("nan"), "x"), (2.0, None)]
    frame = spark.createDataFrame(rows, "`a.b` double, c string")
    frame.write.parquet(str(tmp_path / "rows"))
    tree = {"format": "parquet", "path": str(tmp_path / "rows")}
    found = data.read(spark, InputConfig.model_validate({**tree, "drop_nulls": ["a.b"]}))
    assert sorted(str(row["a.b"]) for row in found.collect()) == ["1.0", "2.0"]
    with pytest.raises(JobError, match=r"drop_nulls: there is no column 'c_'; did you mean 'c'\?"):
        data.read(spark, InputConfig.model_validate({**tree, "drop_nulls": ["c_"]}))


def test_missing_path_is_told_before_spark_logs_it(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"nothing\.parquet does not exist"):
        data.read(spark, InputConfig(format="parquet", path=(str(tmp_path / "nothing.parquet"),)))


# ---------------------------------------------------- labels


@pytest.mark.parametrize(
    ("kind", "values", "mapping"),
    [
        ("string", ["ham", "spam"], {"ham": 0, "spam": 1}),
        ("string", ["-1", "1"], {-1: 0, 1: 1}),
        ("string", ["false", "true"], {False: 0, True: 1}),
        ("int", [-1, 1], {-1: 0, 1: 1}),
        ("double", [0.5, 1.5], {0.5: 0, 1.5: 1}),
        ("boolean", [False, True], {False: 0, True: 1}),
    ],
)
def test_label_map(
    spark: SparkSession, kind: str, values: list[Any], mapping: dict[Any, float]
) -> None:
    frame = spark.createDataFrame([(value,) for value in values], f"y {kind}")
    labels = LabelConfig.model_validate({"column": "y", "map": mapping})
    data.check_labels(frame, "y", labels)
    assert [row["y"] for row in data.map_labels(frame, "y", labels).collect()] == [0.0, 1.0]


def test_values_that_the_map_does_not_list(spark: SparkSession) -> None:
    rows = [("ham",)] * 3 + [("eggs",)] * 2 + [(None,)]
    frame = spark.createDataFrame(rows, "y string")
    labels = LabelConfig.model_validate({"column": "y", "map": {"ham": 0}})
    with pytest.raises(JobError, match=r"of 3 rows in column 'y': 'eggs' \(2 rows\), None \(1 row"):
        data.check_labels(frame, "y", labels)


@pytest.mark.parametrize(("kind", "key"), [("int", "spam"), ("int", True), ("boolean", 1)])
def test_label_map_of_another_type(spark: SparkSession, kind: str, key: Any) -> None:
    frame = spark.createDataFrame([], f"y {kind}")
    labels = LabelConfig.model_validate({"column": "y", "map": {key: 0}})
    with pytest.raises(JobError, match=f"cannot be a value of the column 'y', .* type {kind}"):
        data.map_labels(frame, "y", labels)


# ---------------------------------------------------- split


def ids(frame: DataFrame) -> set[int]:
    return {row["id"] for row in frame.select("id").collect()}


def test_split_is_the_same_however_rows_are_partitioned(spark: SparkSession) -> None:
    frame = spark.range(2000).withColumn("v", array_to_vector(F.array(F.col("id") * 0.5)))
    frame = frame.withColumn("sometimes", F.when(F.col("id") % 3 == 0, F.col("id")))
    config = SplitConfig(fraction=0.25, seed=5)
    first = data.split(frame.coalesce(1), config)
    second = data.split(frame.repartition(7).select("v", "sometimes", "id"), config)
    held_out = ids(first.held_out)
    assert ids(second.held_out) == held_out
    assert ids(first.training) | held_out == set(range(2000))
    assert not ids(first.training) & held_out
    # Four standard deviations of a binomial.
    assert abs(len(held_out) - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5
    assert ids(data.split(frame, SplitConfig(fraction=0.25, seed=6)).held_out) != held_out


def test_split_keeps_groups_together(spark: SparkSession) -> None:
    frame = spark.range(1000).withColumn("group", F.col("id") % 50)
    parts = data.split(frame, SplitConfig(fraction=0.4, by=("group",)))
    groups = [
        {row[0] for row in part.select("group").distinct().collect()}
        for part in (parts.training, parts.held_out)
    ]
    assert groups[0]
    assert groups[1]
    assert not groups[0] & groups[1]


def test_split_by_what_cannot_be_hashed(spark: SparkSession) -> None:
    frame = spark.range(3).withColumn("m", F.create_map(F.lit("a"), F.col("id")))
    with pytest.raises(JobError, match="column 'm' holds maps"):
        data.split(frame, SplitConfig(fraction=0.5))
    with pytest.raises(JobError, match="no column 'n'"):
        data.split(frame, SplitConfig(fraction=0.5, by=("n",)))


def held_out_by(frame: DataFrame, names: list[str]) -> dict[str, list[bool]]:
    """Tell for each column which rows it would hold out, in the frame's order."""
    config = partial(SplitConfig, fraction=0.3, seed=5)
    columns = [data.split(frame, config(by=(n,))).is_held_out.alias(n) for n in names]
    rows = frame.select(*columns).collect()
    return {name: [row[name] for row in rows] for name in names}


def test_split_of_an_id_is_the_same_whatever_its_type(spark: SparkSession) -> None:
    # what a bigint of Parquet has been held out by since there are splits
    digest = F.xxhash64(F.lit(5), F.col("id"))
    id_, text = F.col("id"), F.col("id").cast("string")
    kinds = {
        "bigint": id_,
        **{kind: id_.cast(kind) for kind in ("int", "smallint", "double", "decimal(38,0)")},
        "decimal": id_.cast("decimal(20,3)"),
        "string": text,
        "binary": text.cast("binary"),
        "point": F.concat(F.lit(" "), text, F.lit(".00 ")),
        "exponent": F.concat(text, F.lit("e0")),
        "plus": F.when(id_ >= 0, F.concat(F.lit("+"), text)).otherwise(text),
        "zeros": F.when(id_ >= 0, F.lpad(text, 9, "0")).otherwise(text),
    }
    expected = (F.pmod(digest, F.lit(1_000_000)) < 300_000).alias("expected")
    frame = spark.range(-40, 360, 1, 1).select(expected, *(c.alias(n) for n, c in kinds.items()))
    wanted = [row["expected"] for row in frame.select("expected").collect()]
    assert 60 < sum(wanted) < 180  # seven standard deviations of a binomial
    names = [name for name in frame.columns if name != "expected"]
    assert held_out_by(frame, names) == dict.fromkeys(names, wanted)


SAME = {
    "seven": ["cast(7 as bigint)", "'007'", "7.0D", "7.0", "'7'"],
    "largest": ["9223372036854775807", "'9223372036854775807'"],
    "wide": ["cast('12345678901234567890123' as decimal(38,0))", "'12345678901234567890123'"],
    "fraction": ["1.5D", "1.50", "'1.5'", "' 1.50'", "15e-1D"],
    "date": ["date'2024-03-09'", "'2024-03-09'"],
    "flag": ["true", "'true'"],
    "missing": ["''", "' '", "cast('NaN' as double)", "cast(null as bigint)", "cast(null as date)"],
    "text": ["'C-12'", "cast('C-12' as binary)", "'C-12 '"],
}
"""Values as Parquet, JSON and CSV may have them, by the id that they are."""


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_what_is_hashed_of_values_that_are_one_id(spark: SparkSession, ansi: str) -> None:
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        values = [F.expr(text) for texts in SAME.values() for text in texts]
        kinds = [field.dataType for field in spark.range(1).select(*values).schema]
        parts = zip(values, kinds, strict=True)
        columns = [F.xxhash64(*deciding(value, kind, "v")) for value, kind in parts]
        found = iter(spark.range(1).select(*columns).collect()[0])
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)
    hashes = {name: {next(found) for _ in texts} for name, texts in SAME.items()}
    assert {name: len(each) for name, each in hashes.items()} == dict.fromkeys(SAME, 1)
    assert len(set().union(*hashes.values())) == len(SAME)


def test_ids_that_differ_beyond_doubles_are_divided(spark: SparkSession) -> None:
    # 20 digits with a common beginning: as doubles they would all be one
    ids = F.concat(F.lit("202401020000"), F.lpad(F.col("id").cast("string"), 8, "0"))
    [found] = held_out_by(spark.range(400).select(ids.alias("id")), ["id"]).values()
    assert 60 < sum(found) < 180  # seven standard deviations of a binomial


def test_split_by_a_double_that_has_lost_its_ids(spark: SparkSession) -> None:
    frame = spark.range(3).select((F.col("id") * 1e16).alias("id"))
    with pytest.raises(SparkRuntimeException, match="'id' is of type double and has"):
        held_out_by(frame, ["id"])


@pytest.mark.parametrize("kind", ["float", "timestamp", "array<int>", "struct<a:int>"])
def test_split_by_types_that_files_change(spark: SparkSession, kind: str) -> None:
    frame = spark.createDataFrame([], f"id {kind}")
    with pytest.raises(JobError, match=f"'id' is of type {kind}.*text or double.*input.schema"):
        data.split(frame, SplitConfig(fraction=0.5, by=("id",)))


def test_split_of_whole_rows_of_other_types(spark: SparkSession) -> None:
    rows = [(i, i + 0.1, f"c{i}", i % 2 == 0) for i in range(300)]
    wide = spark.createDataFrame(rows, "id bigint, x double, name string, flag boolean")
    narrow = wide.select(
        wide.id.cast("int"), wide.x.cast("string"), "name", wide.flag.cast("string")
    )
    config = SplitConfig(fraction=0.3)
    expected = ids(data.split(wide, config).held_out)
    assert 40 < len(expected) < 140
    assert ids(data.split(narrow, config).held_out) == expected


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_split_of_numbers_beyond_bigint(spark: SparkSession, ansi: str) -> None:
    # in ANSI mode the floor of such a double fails; hexadecimal ids may read as such numbers
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        number = F.pow(F.lit(10.0), F.col("id"))
        wide = spark.range(309).select("id", number.alias("x"))
        narrow = wide.select("id", F.col("x").cast("string"))
        config = SplitConfig(fraction=0.3)
        expected = ids(data.split(wide, config).held_out)
        assert 40 < len(expected) < 150  # seven standard deviations of a binomial
        assert ids(data.split(narrow, config).held_out) == expected
        hexadecimal = F.concat(F.lit("4e5"), F.col("id").cast("string"))
        held_out_by(spark.range(3).select(hexadecimal.alias("id")), ["id"])
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)


def test_split_by_vectors_is_the_same_dense_and_sparse(spark: SparkSession) -> None:
    # LIBSVM files have sparse vectors, Parquet files what VectorAssembler has found shorter
    rows = [
        (Vectors.dense([0.0, float(i)]), Vectors.sparse(2, [1], [float(i)])) for i in range(300)
    ]
    frame = spark.createDataFrame(rows, ["dense", "sparse"])
    found = held_out_by(frame, ["dense", "sparse"])
    assert found["dense"] == found["sparse"]
    assert 40 < sum(found["dense"]) < 140


def test_a_csv_file_is_held_out_as_the_parquet_file_was(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = spark.range(300).select((F.col("id") * 7).alias("customer"), F.lit(1.0).alias("x"))
    rows.write.parquet(str(tmp_path / "parquet"))
    rows.write.option("header", True).csv(str(tmp_path / "csv"))
    found = []
    for kind, options in (
        ("parquet", {}),
        ("csv", {"header": True}),
        ("csv", {"header": True, "inferSchema": True}),
    ):
        tree = {"format": kind, "path": str(tmp_path / kind), "options": options}
        frame = data.read(spark, InputConfig.model_validate(tree))
        config = SplitConfig(fraction=0.2, seed=7, by=("customer",))
        found.append({int(row["customer"]) for row in data.split(frame, config).held_out.collect()})
    assert found[0] == found[1] == found[2]
    assert found[0]


# ---------------------------------------------------- metrics


def scored_frame(spark: SparkSession, columns: dict[str, Any]) -> DataFrame:
    vectors = [name for name, values in columns.items() if np.ndim(values) == 2]
    plain = {
        name: list(map(list, values)) if name in vectors else values
        for name, values in columns.items()
    }
    frame = spark.createDataFrame(pd.DataFrame(plain))
    for name in vectors:
        frame = frame.withColumn(name, array_to_vector(F.col(name)))
    return frame


COLUMNS = metrics.ScoredColumns("y", "p", "raw", "probability", "w")


@pytest.mark.parametrize("weighted", [True, False])
def test_binary_metrics(spark: SparkSession, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500).astype(float)
    # Ties in the score, as a tree or a rounded score has them.
    s = np.round(y + rng.normal(size=500), 1)
    probability = 1 / (1 + np.exp(-s))
    p = (s > 0.5).astype(float)
    w = rng.uniform(0.1, 3, 500) if weighted else np.ones(500)
    frame = scored_frame(
        spark,
        {
            "y": y,
            "p": p,
            "raw": np.stack([-s, s], axis=1),
            "probability": np.stack([1 - probability, probability], axis=1),
            "w": w,
        },
    )
    found = metrics.compute(frame, COLUMNS, "binary")
    matrix = reference.confusion_matrix(y, p, sample_weight=w)
    curve = reference.precision_recall_curve(y, s, sample_weight=w)
    expected = {
        "accuracy": reference.accuracy_score(y, p, sample_weight=w),
        "precision": reference.precision_score(y, p, sample_weight=w),
        "recall": reference.recall_score(y, p, sample_weight=w),
        "f1": reference.f1_score(y, p, sample_weight=w),
        "areaUnderROC": reference.roc_auc_score(y, s, sample_weight=w),
        "logLoss": reference.log_loss(y, probability, sample_weight=w),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
    # MLlib's curve starts at (0, precision of the highest score), scikit-learn's at (0, 1).
    precision, recall = curve[0][::-1].copy(), curve[1][::-1]
    precision[0] = precision[1]
    area = float(np.trapezoid(precision, recall))
    assert found["areaUnderPR"] == pytest.approx(area, rel=1e-9)
    confusion = found["confusion"]
    assert [confusion["trueNegative"], confusion["falsePositive"]] == pytest.approx(matrix[0])
    assert [confusion["falseNegative"], confusion["truePositive"]] == pytest.approx(matrix[1])


def test_binary_metrics_without_scores_or_a_second_class(spark: SparkSession) -> None:
    frame = scored_frame(spark, {"y": [1.0, 1.0], "p": [1.0, 0.0]})
    found = metrics.compute(frame, metrics.ScoredColumns("y", "p", "raw", "probability"), "binary")
    assert found["accuracy"] == 0.5
    assert "areaUnderROC" not in found
    assert "logLoss" not in found
    frame = scored_frame(spark, {"y": [1.0, 1.0], "p": [1.0, 0.0], "raw": [[0.0, 1.0]] * 2})
    assert (
        metrics.compute(frame, metrics.ScoredColumns("y", "p", "raw"), "binary")["areaUnderROC"]
        is None
    )
    weightless = {"y": [1.0, 0.0], "p": [1.0, 0.0], "raw": [[0.0, 1.0], [1.0, 0.0]], "w": [1.0, 0]}
    found = metrics.compute(scored_frame(spark, weightless), COLUMNS, "binary")
    assert found["areaUnderROC"] is None
    assert found["areaUnderPR"] is None


def test_multiclass_metrics(spark: SparkSession) -> None:
    rng = np.random.default_rng(1)
    # Class 3 is never predicted, and class 4 never true.
    y = rng.integers(0, 4, 400).astype(float)
    scores = rng.dirichlet(np.ones(5), 400)
    scores[:, 3] = 1e-3
    scores[np.arange(400), y.astype(int)] += 0.3
    scores[:, 3] = np.minimum(scores[:, 3], 1e-3)
    probability = scores / scores.sum(axis=1, keepdims=True)
    p = probability.argmax(axis=1).astype(float)
    w = rng.uniform(0.1, 3, 400)
    frame = scored_frame(spark, {"y": y, "p": p, "probability": probability, "w": w})
    found = metrics.compute(frame, COLUMNS, "multiclass")
    labels = [0, 1, 2, 3, 4]
    options: Any = {"sample_weight": w, "zero_division": 0, "labels": labels}
    average = reference.precision_recall_fscore_support(y, p, average="weighted", **options)
    names = ("weightedPrecision", "weightedRecall", "weightedF1")
    for name, value in zip(names, average[:3], strict=True):
        assert found[name] == pytest.approx(value, rel=1e-9), name
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(y, p, sample_weight=w))
    loss = reference.log_loss(y, probability, sample_weight=w, labels=labels)
    assert found["logLoss"] == pytest.approx(loss, rel=1e-9)
    each = reference.precision_recall_fscore_support(y, p, average=None, **options)
    for label in labels:
        rates = found["labels"][str(label)]
        values = [rates["precision"], rates["recall"], rates["f1"], rates["weight"]]
        assert values == pytest.approx([part[label] for part in each], rel=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_regression_metrics(spark: SparkSession, offset: float) -> None:
    rng = np.random.default_rng(2)
    y = offset + rng.normal(size=300)
    p = y + 0.3 * rng.normal(size=300)
    w = rng.uniform(0.1, 3, 300)
    frame = scored_frame(spark, {"y": y, "p": p, "w": w})
    found = metrics.compute(frame, COLUMNS, "regression")
    assert found["mse"] == pytest.approx(reference.mean_squared_error(y, p, sample_weight=w))
    assert found["rmse"] == pytest.approx(found["mse"] ** 0.5)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(y, p, sample_weight=w))
    assert found["r2"] == pytest.approx(reference.r2_score(y, p, sample_weight=w), rel=1e-9)
    explained = np.average((p - np.average(y, weights=w)) ** 2, weights=w)
    assert found["explainedVariance"] == pytest.approx(explained, rel=1e-9)
    if offset == 0.0:
        # MLlib defines it so; far from zero its own sums lose digits.
        evaluator = RegressionEvaluator(
            metricName="var", labelCol="y", predictionCol="p", weightCol="w"
        )
        assert found["explainedVariance"] == pytest.approx(evaluator.evaluate(frame))
    # equal labels whose mean is not exact, and another one without weight
    constant = {"y": [0.1, 0.1, 0.1, 2.0], "p": [1.0, 2.0, 0.0, 2.0], "w": [1.0, 1.0, 1.0, 0.0]}
    found = metrics.compute(scored_frame(spark, constant), COLUMNS, "regression")
    assert found["r2"] is None
    assert found["mae"] == pytest.approx((0.9 + 1.9 + 0.1) / 3)


@pytest.mark.parametrize(
    ("columns", "task", "words"),
    [
        ({"y": [], "p": [], "w": []}, "binary", "no rows"),
        ({"y": [0.0, np.nan], "p": [0.0, 0.0], "w": [1.0, 1.0]}, "binary", "1 of 2 rows the label"),
        (
            {"y": [0.0, np.nan, 1e10], "p": [0.0] * 3, "w": [1.0] * 3, "probability": [0.5] * 3},
            "binary",
            "1 of 3 rows the label",
        ),
        ({"y": [0.0], "p": [np.inf], "w": [1.0]}, "regression", "the prediction is"),
        ({"y": [0.0], "p": [0.0], "w": [-1.0]}, "regression", "the weight is"),
        ({"y": [0.0], "p": [0.0], "w": [0.0]}, "regression", "sum to 0"),
        ({"y": [2.0], "p": [0.0], "w": [1.0]}, "binary", "found the class 2; expected 0 or 1"),
        ({"y": [-1.0], "p": [0.0], "w": [1.0]}, "binary", "found the class -1"),
        ({"y": [0.5], "p": [0.0], "w": [1.0]}, "multiclass", "found the class 0.5"),
        ({"y": [0.0], "q": [0.0], "w": [1.0]}, "binary", "no column 'p'"),
    ],
)
def test_metrics_of_wrong_rows(
    spark: SparkSession, columns: dict[str, list[float]], task: str, words: str
) -> None:
    kinds = ", ".join(f"{name} double" for name in columns)
    frame = spark.createDataFrame(list(zip(*columns.values(), strict=True)), kinds)
    if "probability" in columns:
        share = F.col("probability")
        frame = frame.withColumn("probability", array_to_vector(F.array(1.0 - share, share)))
    with nothing_left(spark), pytest.raises(JobError, match=words):
        metrics.compute(frame, COLUMNS, task)


def test_columns_that_are_no_vectors_are_left_alone(spark: SparkSession) -> None:
    """As predictions are that were written as JSON, or a column that only has the name."""
    rows = [(0.0, 0.0, 1.0, 0.3), (1.0, 1.0, 1.0, 0.9)]
    frame = spark.createDataFrame(rows, "y double, p double, w double, probability double")
    found = metrics.compute(frame, COLUMNS, "binary")
    assert found["accuracy"] == 1.0
    assert not {"logLoss", "areaUnderROC"} & set(found)
    assert metrics.compute(frame, COLUMNS, "regression")["rmse"] == 0.0


def test_rows_without_a_probability_are_counted(spark: SparkSession) -> None:
    rows = [(0.0, 0.0, 1.0, Vectors.dense(0.7, 0.3)), (1.0, None, 1.0, None)]
    schema = StructType(
        [StructField(name, DoubleType()) for name in "ypw"]
        + [StructField("probability", VectorUDT())]
    )
    with pytest.raises(JobError, match="in 1 of 2 rows the prediction is null"):
        metrics.compute(spark.createDataFrame(rows, schema), COLUMNS, "binary")


# ---------------------------------------------------- outputs


def test_outputs_appear_together(spark: SparkSession, tmp_path: Path) -> None:
    paths = {"a": str(tmp_path / "new" / "a"), "b": str(tmp_path / "b.txt")}
    with storage.Outputs(spark, paths) as outputs:
        spark.range(3).write.parquet(outputs.staged("a").full)
        outputs.staged("b").write_text("é")
        assert not (tmp_path / "new" / "a").exists()
        assert not (tmp_path / "b.txt").exists()
        outputs.publish()
    assert spark.read.parquet(paths["a"]).count() == 3
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "é"
    assert left_behind(tmp_path) == []


def write_both(spark: SparkSession, paths: dict[str, str], text: str, **options: Any) -> None:
    with storage.Outputs(spark, paths, **options) as outputs:
        for key in paths:
            outputs.staged(key).write_text(f"{text} {key}")
        outputs.publish()


def test_existing_outputs_are_refused_or_replaced(spark: SparkSession, tmp_path: Path) -> None:
    paths = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}
    write_both(spark, paths, "first")
    with pytest.raises(JobError, match=r"a: .* already exists; .* output\.overwrite: true"):
        write_both(spark, paths, "second")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "first a"
    write_both(spark, paths, "third", overwrite=True)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "third a"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "third b"
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("failing_move", range(1, 5))
def test_a_move_that_fails_brings_everything_back(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing_move: int,
    made: bool,
) -> None:
    """An interrupt also comes while Python waits for the JVM, which makes the move all the same."""
    paths = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}
    write_both(spark, paths, "first")
    move, calls = storage.Place.move_to, []

    def fail_once(self: storage.Place, other: storage.Place) -> None:
        calls.append(other)
        if made or len(calls) != failing_move:
            move(self, other)
        if len(calls) == failing_move:
            raise KeyboardInterrupt

    monkeypatch.setattr(storage.Place, "move_to", fail_once)
    with pytest.raises(KeyboardInterrupt):
        write_both(spark, paths, "second", overwrite=True)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "first a"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "first b"
    assert left_behind(tmp_path) == []


def test_a_move_that_cannot_be_undone_stops_no_other(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    paths = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}
    write_both(spark, paths, "first")
    move, calls = storage.Place.move_to, []

    def fail(self: storage.Place, other: storage.Place) -> None:
        calls.append(other)
        if len(calls) in (3, 4):  # the new one of a, and then the way back of the old one
            raise JobError("permission denied")
        move(self, other)

    monkeypatch.setattr(storage.Place, "move_to", fail)
    with pytest.raises(JobError, match="permission denied"):
        write_both(spark, paths, "second", overwrite=True)
    [kept] = left_behind(tmp_path)
    # Hadoop's files of checksums aside
    names = {path.name for path in tmp_path.iterdir() if path.suffix != ".crc"}
    assert names == {kept, "b"}
    assert (tmp_path / kept).read_text(encoding="utf-8") == "first a"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "first b"
    [told] = caplog.messages
    assert told.startswith("a could not be put back (JobError): it lies beside its place")
    assert told.endswith(kept.removeprefix(".a."))


def test_a_former_output_that_stays_fails_no_job(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    paths = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}
    write_both(spark, paths, "first")
    delete = storage.Place.delete

    def fail(self: storage.Place) -> None:
        if "/.a." in self.full:
            self.files = SimpleNamespace(delete=lambda *_: False, exists=lambda _: True)
        delete(self)

    monkeypatch.setattr(storage.Place, "delete", fail)
    write_both(spark, paths, "second", overwrite=True)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "second a"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "second b"
    [kept] = left_behind(tmp_path)
    [told] = caplog.messages
    assert told.startswith("a was replaced, but what was there could not be deleted (JobError)")
    assert told.endswith(kept.removeprefix(".a."))


def test_an_output_that_appears_meanwhile_is_not_moved_into(
    spark: SparkSession, tmp_path: Path
) -> None:
    target = tmp_path / "a"
    with storage.Outputs(spark, {"a": str(target)}) as outputs:
        spark.range(3).write.parquet(outputs.staged("a").full)
        # Hadoop's rename would put the new folder into this one.
        target.mkdir()
        with pytest.raises(JobError, match="appeared while the job ran"):
            outputs.publish()
    assert [*target.iterdir()] == []
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("output.model", "folder"),
        ("output.predictions.path", "folder"),
        ("output.report", "folder"),
        ("output.model", "file"),
        ("output.predictions.path", "file"),
    ],
)
def test_only_what_looks_like_an_output_is_replaced(
    spark: SparkSession, tmp_path: Path, key: str, make: str
) -> None:
    target = tmp_path / "precious"
    file = target
    if make == "folder":
        target.mkdir()
        file = target / "thesis.tex"
    file.write_text("years of work", encoding="utf-8")
    with pytest.raises(JobError, match="does not look like an earlier output"):
        storage.Outputs(spark, {key: str(target)}, overwrite=True).__enter__()
    assert file.read_text(encoding="utf-8") == "years of work"


@pytest.mark.parametrize(
    ("paths", "inputs"),
    [
        ({"a": "x", "b": "x"}, []),
        ({"a": "x", "b": "x/report.json"}, []),
        ({"a": "x/y", "b": "./x"}, []),
        ({"a": "x"}, ["x"]),
        ({"a": "x"}, ["x/part-*"]),
        ({"a": "rows/new"}, ["rows"]),
    ],
)
def test_overlapping_paths(
    spark: SparkSession, tmp_path: Path, paths: dict[str, str], inputs: list[str]
) -> None:
    full = {key: str(tmp_path / path) for key, path in paths.items()}
    with pytest.raises(JobError, match=r"lie in one another|overlaps the input"):
        storage.Outputs(
            spark, full, overwrite=True, inputs=[str(tmp_path / path) for path in inputs]
        ).__enter__()


def test_neighbours_do_not_overlap(spark: SparkSession, tmp_path: Path) -> None:
    paths = {"a": str(tmp_path / "model"), "b": str(tmp_path / "model-2")}
    with storage.Outputs(spark, paths, inputs=[str(tmp_path / "mod")]):
        pass


# ---------------------------------------------------- train, score, evaluate


@pytest.mark.parametrize("cache", [None, "disk_only", "memory_and_disk"])
def test_rows_that_are_kept_are_read_once(
    spark: SparkSession, place: Path, cache: str | None
) -> None:
    reads = spark.sparkContext.accumulator(0)

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            reads.add(batch.num_rows)
            yield batch

    rows = spark.read.parquet(str(place / "rows.parquet"))
    rows.mapInArrow(counted, rows.schema).createOrReplaceTempView("counted_rows")
    tree = train_tree(place)
    tree["input"] = {"format": "table", "table": "counted_rows"}
    if cache:
        tree["input"]["cache"] = cache
    try:
        with nothing_left(spark):
            train(config_of(tree), spark)
    finally:
        spark.catalog.dropTempView("counted_rows")
    assert reads.value == 569 if cache else reads.value >= 4 * 569


def test_train_score_evaluate(spark: SparkSession, place: Path) -> None:
    said: list[str] = []
    report = train(config_of(train_tree(place)), spark, said.append)
    on_disk = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
    assert on_disk["schema_version"] == SCHEMA_VERSION
    assert on_disk["rows"] == report["rows"]
    assert on_disk["config"]["split"] == {"fraction": 0.3, "seed": 0, "by": ["id"]}
    assert on_disk["training"]["model"] == "LogisticRegressionModel"
    assert on_disk["training"]["params"] == {"regParam": 0.01}
    assert on_disk["training"]["num_features"] == 3
    assert on_disk["training"]["iterations"] > 0
    assert sum(report["rows"].values()) == 569
    assert any("training on" in line for line in said)

    # Predictions: of held-out rows only, with every column of the input.
    predictions = spark.read.parquet(str(place / "out" / "predictions"))
    local = predictions.select("id", "target", "prediction", "probability").toPandas()
    assert len(local) == report["rows"]["held_out"]
    everything = spark.read.parquet(str(place / "rows.parquet"))
    parts = data.split(everything, SplitConfig(fraction=0.3, by=("id",)))
    assert set(local["id"]) == ids(parts.held_out)

    # Metrics against scikit-learn, on the predictions that were written.
    assert report["metrics"]["accuracy"] == pytest.approx(
        reference.accuracy_score(local["target"], local["prediction"])
    )
    positive = local["probability"].map(lambda vector: vector[1])
    auc = reference.roc_auc_score(local["target"], positive)
    assert report["metrics"]["areaUnderROC"] == pytest.approx(auc)
    assert auc > 0.95

    # The saved model scores as it did, and the evaluation of either form agrees.
    source = {"format": "parquet", "path": str(place / "rows.parquet")}
    scoring = {
        "input": source,
        "split": {"fraction": 0.3, "by": "id"},
        "model": str(place / "out" / "model"),
        "output": {
            "predictions": {
                "path": str(place / "out" / "scored"),
                "format": "csv",
                "columns": ["id", "target", "prediction"],
                "options": {"header": True},
            },
            "report": str(place / "out" / "score.json"),
        },
    }
    scored = score(ScoreConfig.model_validate(scoring), spark)
    assert scored["rows"] == {"scored": len(local)}
    from_csv = spark.read.csv(
        str(place / "out" / "scored"), header=True, inferSchema=True
    ).toPandas()
    merged = local.merge(from_csv, on="id", suffixes=("", "_again"), validate="one_to_one")
    assert len(merged) == len(local)
    assert (merged["prediction"] == merged["prediction_again"]).all()

    judging: dict[str, Any] = {
        "task": "binary",
        "label": {"column": "target"},
        "input": {"format": "parquet", "path": str(place / "out" / "predictions")},
        "output": {"report": str(place / "out" / "evaluation.json")},
    }
    judged = evaluate(EvaluateConfig.model_validate(judging), spark)
    numbers = {key: value for key, value in report["metrics"].items() if key != "confusion"}
    again = {key: value for key, value in judged["metrics"].items() if key != "confusion"}
    assert again == pytest.approx(numbers)
    assert judged["metrics"]["confusion"] == report["metrics"]["confusion"]
    judging |= {
        "input": source,
        "split": {"fraction": 0.3, "by": "id"},
        "model": str(place / "out" / "model"),
        "output": {"report": str(place / "out" / "evaluation-2.json")},
    }
    judged = evaluate(EvaluateConfig.model_validate(judging), spark)
    assert judged["metrics"]["accuracy"] == report["metrics"]["accuracy"]
    assert judged["metrics"]["areaUnderROC"] == pytest.approx(auc)
    assert left_behind(place) == []


def test_a_network_is_trained_scored_and_judged(spark: SparkSession, place: Path) -> None:
    """Two outputs rank rows by their difference; a regressor is told from a classifier."""
    tree = train_tree(place)
    given = {"layers": [3, 8, 2], "maxIter": 5, "batchSize": 32, "stepSize": 0.01}
    tree["pipeline"]["estimator"] = {"class": "MLPClassifier", "params": given}
    report = train(config_of(tree), spark)
    predictions = spark.read.parquet(str(place / "out" / "predictions")).toPandas()
    positive = predictions["probability"].map(lambda vector: vector[1])
    auc = reference.roc_auc_score(predictions["target"], positive)
    assert report["metrics"]["areaUnderROC"] == pytest.approx(auc)
    assert auc > 0.9
    assert report["training"]["model"] == "MLPClassificationModel"
    model = pipeline.load_model(spark, str(place / "out" / "model"))
    assert model.stages[-1].getLayers() == [3, 8, 2]
    tree["pipeline"]["estimator"]["class"] = "MLPRegressor"
    given |= {"layers": [3, 8, 1], "maxIter": 30}
    tree["output"]["overwrite"] = True
    assert train(config_of(tree), spark)["metrics"]["rmse"] < 0.5


def test_train_agrees_with_mllib_by_hand(spark: SparkSession, place: Path) -> None:
    """Fit the same rows with MLlib's own estimator and stages, and compare coefficients."""
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.feature import VectorAssembler

    tree = train_tree(place)
    tree["pipeline"]["estimator"]["params"] = {"regParam": 0.1, "tol": 1e-10}
    train(config_of(tree), spark)
    model = pipeline.load_model(spark, str(place / "out" / "model")).stages[-1]
    everything = spark.read.parquet(str(place / "rows.parquet"))
    rows = data.split(everything, SplitConfig(fraction=0.3, by=("id",))).training
    names = ["mean_radius", "mean_texture", "mean_smoothness"]
    assembled = VectorAssembler(inputCols=names, outputCol="features").transform(rows)
    expected = LogisticRegression(regParam=0.1, tol=1e-10, labelCol="target").fit(assembled)
    assert model.coefficients.toArray() == pytest.approx(expected.coefficients.toArray(), rel=1e-4)
    assert model.intercept == pytest.approx(expected.intercept, rel=1e-4)


def test_multiclass_weights_and_separate_evaluation(spark: SparkSession, tmp_path: Path) -> None:
    rows: pd.DataFrame = load_iris(as_frame=True).frame
    rows.columns = pd.Index(["a", "b", "c", "d", "y"])
    rows["y"] = rows["y"].map({0: "setosa", 1: "versicolor", 2: "virginica"})
    rows["w"] = np.where(np.arange(150) % 2, 1.0, 2.0)
    rows[::3].to_parquet(tmp_path / "held-out.parquet")
    rows.drop(index=rows.index[::3]).to_parquet(tmp_path / "rows.parquet")
    tree = train_tree(
        tmp_path,
        label={"column": "y", "map": {"setosa": 0, "versicolor": 1, "virginica": 2}},
        weight="w",
        evaluation_input={"format": "parquet", "path": str(tmp_path / "held-out.parquet")},
    )
    del tree["split"]
    tree["pipeline"]["stages"][0]["params"]["inputCols"] = ["a", "b", "c", "d"]
    report = train(config_of(tree), spark)
    assert report["rows"] == {"training": 100, "held_out": 50}
    local = spark.read.parquet(str(tmp_path / "out" / "predictions")).toPandas()
    weights: Any = {"sample_weight": local["w"]}
    assert report["metrics"]["accuracy"] == pytest.approx(
        reference.accuracy_score(local["y"], local["prediction"], **weights)
    )
    loss = reference.log_loss(local["y"], np.stack(local["probability"].map(list)), **weights)
    assert report["metrics"]["logLoss"] == pytest.approx(loss)
    assert report["metrics"]["accuracy"] > 0.9
    model = pipeline.load_model(spark, str(tmp_path / "out" / "model")).stages[-1]
    assert model.getWeightCol() == "w"


def test_regression(spark: SparkSession, tmp_path: Path) -> None:
    load_diabetes(as_frame=True).frame.to_parquet(tmp_path / "rows.parquet")
    tree = train_tree(tmp_path, split={"fraction": 0.25})
    tree["pipeline"]["stages"][0]["params"]["inputCols"] = ["age", "bmi", "bp", "s5"]
    tree["pipeline"]["estimator"] = {"class": "LinearRegression", "params": {"regParam": 0.1}}
    report = train(config_of(tree), spark)
    local = spark.read.parquet(str(tmp_path / "out" / "predictions")).toPandas()
    assert report["metrics"]["r2"] == pytest.approx(
        reference.r2_score(local["target"], local["prediction"])
    )
    assert report["metrics"]["r2"] > 0.3


MY_LOSS = """
import numpy as np
from sparkml_lsml import losses

losses.loss(
    "half-square",
    value=lambda y, raw: (raw - y) ** 2 / 2,
    derivative=lambda y, raw: raw - y,
    curvature=1.0,
)
"""


def test_a_loss_of_a_module_that_the_file_imports(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_diabetes(as_frame=True).frame.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "losses_of_a_test.py").write_text(MY_LOSS, encoding="utf-8")
    tree = train_tree(tmp_path, split={"fraction": 0.25}, imports="losses_of_a_test")
    tree["pipeline"]["stages"][0]["params"]["inputCols"] = ["age", "bmi", "bp", "s5"]
    params = {"loss": "half-square", "solver": "l-bfgs", "tol": 1e-9, "maxIter": 300}
    tree["pipeline"]["estimator"] = {"class": "LinearRegression", "params": params}
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"line \d+: imports\[0\]: cannot import .* No module .* --py-files"
    ):
        check_all(TrainConfig, yamlfile.read(str(file)))
    monkeypatch.syspath_prepend(tmp_path)
    try:
        report = train(check_all(TrainConfig, yamlfile.read(str(file))), spark)
    finally:
        losses.unregister("half-square")
        sys.modules.pop("losses_of_a_test")
    # the least squares of the same rows
    usual = train_tree(tmp_path, split={"fraction": 0.25})
    usual["pipeline"]["stages"] = tree["pipeline"]["stages"]
    usual["pipeline"]["estimator"] = {"class": "LinearRegression"}
    usual["output"]["overwrite"] = True
    assert report["metrics"]["r2"] == pytest.approx(
        train(config_of(usual), spark)["metrics"]["r2"], abs=1e-6
    )


def test_no_held_out_rows_no_metrics(spark: SparkSession, place: Path) -> None:
    tree = train_tree(place)
    del tree["split"], tree["output"]["predictions"]
    report = train(config_of(tree), spark)
    assert report["metrics"] is None
    assert report["rows"] == {"training": 569}


def test_overwrite_replaces_everything(spark: SparkSession, place: Path) -> None:
    tree = train_tree(place)
    train(config_of(tree), spark)
    first = (place / "out" / "report.json").read_bytes()
    with pytest.raises(JobError, match="already exists"):
        train(config_of(tree), spark)
    assert (place / "out" / "report.json").read_bytes() == first
    tree["output"]["overwrite"] = True
    tree["split"]["seed"] = 1
    second = train(config_of(tree), spark)
    assert (
        spark.read.parquet(str(place / "out" / "predictions")).count() == second["rows"]["held_out"]
    )
    assert left_behind(place) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": {"column": "targt"}}, r"no column 'targt'; did you mean 'target'\?"),
        ({"weight": "w"}, "weight: there is no column 'w'"),
        ({"label": {"column": "target", "map": {0: 0}}}, r"1 \(357 rows\)"),
        ({"split": {"fraction": 1e-6}}, "no held-out rows"),
        ({"label": {"column": "mean_radius"}}, "label"),
    ],
)
def test_failure_leaves_nothing(
    spark: SparkSession, place: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(JobError, match=words):
        train(config_of(train_tree(place, **change)), spark)
    assert sorted(path.name for path in place.rglob("*") if path.name != "out") == ["rows.parquet"]


def test_failure_keeps_the_old_outputs(
    spark: SparkSession, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = train_tree(place)
    train(config_of(tree), spark)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    tree["output"]["overwrite"] = True
    # The last step before the outputs are moved into place.
    monkeypatch.setattr(
        storage.Place, "write_text", lambda *_: (_ for _ in ()).throw(OSError("disk is full"))
    )
    with pytest.raises(JobError, match="disk is full"):
        train(config_of(tree), spark)
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    # The folder's own time changes when a neighbour comes and goes.
    assert changed <= {place / "out"}


def test_a_model_that_cannot_be_read_back_replaces_nothing(
    spark: SparkSession, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLlib writes the metadata of a pipeline; here half of them get lost."""
    tree = train_tree(place)
    train(config_of(tree), spark)
    former = (place / "out" / "report.json").read_bytes()
    tree["output"]["overwrite"] = True
    real = PipelineModelWriter.saveImpl

    def damaging(self: Any, path: str) -> None:
        real(self, path)
        for part in Path(path.removeprefix("file:")).glob("metadata/part-*"):
            part.write_bytes(part.read_bytes()[:100])
            part.with_name(f".{part.name}.crc").unlink()

    monkeypatch.setattr(PipelineModelWriter, "saveImpl", damaging)
    with pytest.raises(JobError, match="holds no saved model"):
        train(config_of(tree), spark)
    assert (place / "out" / "report.json").read_bytes() == former
    pipeline.load_model(spark, str(place / "out" / "model"))
    assert left_behind(place) == []


def test_wrong_pipeline_is_told_before_anything_is_read(spark: SparkSession, place: Path) -> None:
    tree = train_tree(place, input={"format": "parquet", "path": "nowhere"})
    tree["pipeline"]["estimator"]["params"] = {"regparam": 1}
    with pytest.raises(ConfigError, match=r"estimator\.params\.regparam: .* mean 'regParam'"):
        train(config_of(tree), spark)
    # Ranges of MLlib's stages are known in the JVM, those of ours in Python.
    tree["pipeline"]["estimator"]["params"] = {"regParam": -1.0}
    with pytest.raises(ConfigError, match=r"estimator\.params\.regParam: .*-1"):
        train(config_of(tree), spark)
    tree = train_tree(place, input={"format": "parquet", "path": "nowhere"})
    tree["pipeline"]["stages"].append({"class": "PCA", "params": {"inputCol": "features", "k": 0}})
    with pytest.raises(ConfigError, match=r"stages\[1\]\.params.*: .*0"):
        train(config_of(tree), spark)


def test_predictions_that_csv_cannot_hold(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(1, Vectors.dense(1.0))], ["id", "features"])
    config = PredictionsConfig(path="x", format="csv")
    with pytest.raises(JobError, match=r"CSV cannot hold the columns features"):
        data.select_output(frame, config)
    narrow = PredictionsConfig(path="x", format="csv", columns=("id",))
    assert data.select_output(frame, narrow).columns == ["id"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "csv"}, "CSV cannot hold vectors, so list the columns"),
        ({"format": "csv", "columns": ["id", "probability"]}, "'probability', a vector"),
        ({"columns": ["id", "id"]}, "names 'id' twice"),
    ],
)
def test_predictions_that_cannot_be_are_told_of_before_anything_is_read(
    spark: SparkSession, place: Path, changes: dict[str, Any], words: str
) -> None:
    tree = train_tree(place)
    tree["output"]["predictions"] |= changes
    with pytest.raises(ConfigError, match=words):
        check_all(TrainConfig, yamlfile.parse(yaml.safe_dump(tree), "job.yaml"))
    with pytest.raises(ConfigError, match=words):
        train(config_of(tree), spark)


def test_columns_that_are_missing_are_told_of_before_the_fit(
    spark: SparkSession, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted(*_: Any) -> Any:
        raise AssertionError("it was fitted")

    monkeypatch.setattr(Pipeline, "fit", fitted)
    tree = train_tree(place)
    tree["output"]["predictions"]["columns"] = ["id", "predicton"]
    with pytest.raises(JobError, match=r"output\.predictions\.columns: found no columns predicton"):
        train(config_of(tree), spark)
    tree = train_tree(place)
    pd.read_parquet(place / "rows.parquet").drop(columns="mean_texture").to_parquet("few.parquet")
    del tree["split"]
    tree["evaluation_input"] = {"format": "parquet", "path": str(place / "few.parquet")}
    with pytest.raises(JobError, match="evaluation_input: found no columns mean_texture"):
        train(config_of(tree), spark)


def test_an_output_may_have_a_colon_in_its_name(spark: SparkSession, place: Path) -> None:
    tree = train_tree(place)
    tree["output"]["model"] = str(place / "out" / "model_2026-01-01T03:00:00")
    train(config_of(tree), spark)
    assert PipelineModel.load(tree["output"]["model"]).stages
    assert left_behind(place) == []


# ---------------------------------------------------- foreign models (case 62)


@pytest.mark.parametrize("stage", [False, True])
def test_a_model_of_a_foreign_class_is_refused_unimported(
    spark: SparkSession, place: Path, monkeypatch: pytest.MonkeyPatch, stage: bool
) -> None:
    tree = train_tree(place)
    train(config_of(tree), spark)
    folder = place / "out" / "model"
    if stage:
        (folder,) = [path for path in (folder / "stages").iterdir() if path.name.startswith("1_")]
    (file,) = (folder / "metadata").glob("part-*")
    metadata = json.loads(file.read_text(encoding="utf-8"))
    metadata["class"] = "foreign_module.Evil"
    file.write_text(json.dumps(metadata), encoding="utf-8")
    (file.parent / f".{file.name}.crc").unlink(missing_ok=True)
    (place / "foreign_module.py").write_text(
        f"open({str(place / 'imported')!r}, 'w').close()", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(place))
    scoring = {
        "input": tree["input"],
        "model": str(place / "out" / "model"),
        "output": {"predictions": {"path": str(place / "scored")}},
    }
    with pytest.raises(JobError, match=r"refused, its metadata name the class 'foreign_module\.E"):
        score(ScoreConfig.model_validate(scoring), spark)
    assert not (place / "imported").exists()
    assert not (place / "scored").exists()


def test_a_folder_without_a_model(spark: SparkSession, place: Path) -> None:
    with pytest.raises(JobError, match="holds no saved model"):
        pipeline.load_model(spark, str(place))


# ---------------------------------------------------- secrets (case 67)


def test_secrets_leave_no_trace(
    spark: SparkSession,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ROWS_PLACE", str(place))
    monkeypatch.setenv("ROWS_TOKEN", "hunter2-resolved")
    secrets = {"password": "hunter2-literal", "accessToken": "${env:ROWS_TOKEN}"}
    tree = train_tree(place)
    tree["input"] = {
        "format": "parquet",
        "path": "${env:ROWS_PLACE}/rows.parquet",
        "options": secrets,
    }
    said: list[str] = []
    report = train(config_of(tree), spark, said.append)
    written = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in (place / "out").rglob("*")
        if path.is_file()
    )
    for text in (written, json.dumps(report), "".join(said), *capfd.readouterr()):
        assert "hunter2" not in text
    assert report["config"]["input"]["path"] == ["${env:ROWS_PLACE}/rows.parquet"]
    assert report["config"]["input"]["options"]["password"] == "***"

    # An error that Spark words: the resolved path, and with it all that the chain would print.
    tree["input"]["path"] = "${env:ROWS_PLACE}/nothing.parquet"
    tree["output"]["overwrite"] = True
    with pytest.raises(JobError) as caught:
        train(config_of(tree), spark)
    assert str(caught.value) == "input.path: ${env:ROWS_PLACE}/nothing.parquet does not exist"
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    assert str(place) not in "".join(capfd.readouterr())


# ---------------------------------------------------- command line


def test_command_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    conf_file = place / "job.yaml"
    conf_file.write_text(yaml.safe_dump(train_tree(place)), encoding="utf-8")
    assert main("train", ["--conf-file", str(conf_file), "--check"]) == 0
    assert capsys.readouterr().out == f"{conf_file}: ok\n"
    for arguments in ([], ["--conf-fiel", "x"], ["--conf-file", "nowhere.yaml"]):
        assert main("train", arguments) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert main("train", ["--help"]) == 0
    shown = capsys.readouterr().out
    assert "pipeline.estimator" in shown
    assert "Share of rows that is held out." in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert main("evaluate", ["--conf-file", str(conf_file), "--check"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) > 1
    assert errors[-1].startswith("error: ")
    assert "Traceback" not in "".join(errors)
    assert main("evaluate", ["--conf-file", str(conf_file), "--check", "--traceback"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err
