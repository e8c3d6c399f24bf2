"""Features in columns of their own: the models of the same numbers as vectors, for every type."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyspark.sql.functions as F
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
)

from sparkml_lsml import classification, jobs, regression
from sparkml_lsml.errors import ColumnError, ExportError, ParamError
from sparkml_lsml.jobs.config import TrainConfig
from sparkml_lsml.spark.params.feature_columns import told
from sparkml_lsml.tuning import CrossValidator
from tests.faults import hook_passes
from tests.spark.helpers import EXECUTIONS, frame_of, numbers, refused

NAMES = ["age", "a b", "x.y", "flag", "price", "small"]
"""One with a space and one with a dot, which only quotes would keep whole."""

TYPES: list[DataType] = [
    IntegerType(),
    DoubleType(),
    FloatType(),
    BooleanType(),
    DecimalType(12, 3),
    ShortType(),
]
CASTS: list[Any] = [int, float, float, bool, lambda v: Decimal(str(v)), int]
"""What Python has for each type."""

KINDS: dict[str, Any] = {
    "LinearSVC": lambda **p: classification.LinearSVC(regParam=0.1, tol=1e-9, **p),
    "LogisticRegression": lambda **p: classification.LogisticRegression(regParam=0.1, **p),
    "LinearRegression": lambda **p: regression.LinearRegression(regParam=0.1, **p),
    "CalibratedClassifier": lambda **p: classification.CalibratedClassifier(
        classifier=classification.LogisticRegression(regParam=0.1), seed=3, numFolds=2, **p
    ),
}


def _numbers() -> list[list[Any]]:
    rng = np.random.default_rng(11)
    n = 80
    return [
        rng.integers(18, 90, n).tolist(),
        rng.normal(size=n).tolist(),
        (np.round(rng.normal(size=n) * 8) / 8).tolist(),
        (rng.random(n) < 0.4).tolist(),
        [round(v, 3) for v in rng.gamma(2.0, 30.0, n).tolist()],
        rng.integers(-5, 5, n).tolist(),
    ]


VALUES = _numbers()
X = np.array([[float(v) for v in column] for column in VALUES]).T
Y = (X @ [0.02, 1.0, -0.5, 0.8, 0.01, 0.1] > 1.8).astype(float)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    """Give one frame with both forms."""
    columns: dict[str, tuple[DataType, list[Any]]] = {
        name: (kind, [cast(v) for v in values])
        for name, kind, cast, values in zip(NAMES, TYPES, CASTS, VALUES, strict=True)
    }
    columns["label"] = (DoubleType(), Y.tolist())
    columns["id"] = (LongType(), list(range(len(Y))))
    plain = frame_of(spark, columns)
    quoted = [f"`{name}`" for name in NAMES]
    doubles = plain.select(
        "*", *(F.col(q).cast("double").alias(f"_{n}") for n, q in enumerate(quoted))
    )
    assembler = VectorAssembler(inputCols=[f"_{n}" for n in range(6)], outputCol="features")
    return assembler.transform(doubles).drop(*(f"_{n}" for n in range(6))).cache()


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("name", KINDS)
def test_models_and_scores_are_those_of_vectors(rows: DataFrame, name: str, execution: str) -> None:
    make = KINDS[name]
    params: dict[str, Any] = {} if name == "CalibratedClassifier" else {"execution": execution}
    plain = make(**params).fit(rows)
    model = make(featuresCols=NAMES, **params).fit(rows.drop("features"))
    np.testing.assert_allclose(numbers(model), numbers(plain), rtol=1e-9)
    assert model.getFeaturesCols() == NAMES
    assert model.numFeatures == 6
    order = rows.select("id").collect()
    expected, found = (each.transform(rows).collect() for each in (plain, model))
    assert len(order) == len(found) == len(expected)
    for a, b in zip(expected, found, strict=True):
        assert a.id == b.id
        assert b.prediction == pytest.approx(a.prediction, rel=1e-9)
    if "probability" in model.transform(rows).columns:
        np.testing.assert_allclose(
            [r.probability.toArray() for r in found],
            [r.probability.toArray() for r in expected],
            rtol=1e-9,
        )


def test_one_vs_rest_takes_those_of_its_classifier(rows: DataFrame) -> None:
    three = rows.withColumn("label", F.col("id") % 3.0)
    svc = classification.LinearSVC(regParam=0.1, maxIter=20)
    plain = classification.OneVsRest(classifier=svc).fit(three)
    columns = svc.copy({svc.featuresCols: NAMES})
    model = classification.OneVsRest(classifier=columns).fit(three.drop("features"))
    expected, found = (
        [(r.id, r.prediction) for r in each.transform(three).collect()] for each in (plain, model)
    )
    assert found == expected
    assert len({prediction for _, prediction in found}) > 1


def test_the_classifiers_own_count_where_the_calibration_has_none(rows: DataFrame) -> None:
    classifier = classification.LogisticRegression(regParam=0.1, featuresCols=NAMES)
    model = classification.CalibratedClassifier(classifier=classifier, numFolds=2).fit(
        rows.drop("features")
    )
    assert model.getFeaturesCols() == NAMES
    assert model.transform(rows.drop("features")).count() == len(Y)


def test_columns_straight_from_a_file(spark: SparkSession, rows: DataFrame, tmp_path: Path) -> None:
    """Spark 4.3 hands the columns of a file over as they are, and fails on vectors among them."""
    model = KINDS["LogisticRegression"](featuresCols=NAMES).fit(rows)
    rows.write.parquet(str(tmp_path / "rows"))
    stored = spark.read.parquet(str(tmp_path / "rows"))
    found, expected = (
        {r.id: r.prediction for r in model.transform(each).collect()} for each in (stored, rows)
    )
    assert found == expected
    again = KINDS["LogisticRegression"](featuresCols=NAMES).fit(stored)
    np.testing.assert_allclose(numbers(again), numbers(model), rtol=1e-9)


# ---------------------------------------------------- rows that lack a number


def with_gaps(rows: DataFrame) -> DataFrame:
    """The 3rd row lacks its age, the 5th its price, and the 7th has NaN among its numbers."""
    gap = F.when(F.col("id") != 3, F.col("age"))
    price = F.when(F.col("id") != 5, F.col("price"))
    nan = F.when(F.col("id") == 7, float("nan")).otherwise(F.col("a b"))
    return rows.drop("features").withColumns({"age": gap, "price": price, "a b": nan})


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_case_08_rows_that_lack_a_number_are_counted(
    spark: SparkSession, rows: DataFrame, execution: str
) -> None:
    told_of = "'age', 'a b' and 4 more"
    with refused(spark, told_of, "2 rows whose features are null"):
        KINDS["LinearSVC"](featuresCols=NAMES, execution=execution).fit(with_gaps(rows))


@pytest.fixture(params=["arrow", "pandas"])
def _road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Spark 4.1 features and scores pass through pandas."""
    if request.param == "pandas":
        monkeypatch.delattr(F, "arrow_udf", raising=False)


@pytest.mark.usefixtures("_road")
def test_scores_of_rows_that_lack_a_number(rows: DataFrame) -> None:
    model = KINDS["LogisticRegression"](featuresCols=NAMES).fit(rows)
    whole = {r.id: r for r in model.transform(rows).collect()}
    found = {r.id: r for r in model.transform(with_gaps(rows)).collect()}
    for n in (3, 5):
        assert (found[n].prediction, found[n].probability, found[n].rawPrediction) == (None,) * 3
    assert np.isnan(found[7].prediction)
    assert np.isnan(found[7].probability.toArray()).all()
    for n in set(range(len(Y))) - {3, 5, 7}:
        assert found[n].prediction == whole[n].prediction
        np.testing.assert_allclose(
            found[n].probability.toArray(), whole[n].probability.toArray(), rtol=1e-12
        )


# ---------------------------------------------------- columns that will not do


def test_columns_that_cannot_be_features(rows: DataFrame) -> None:
    make = KINDS["LogisticRegression"]
    with pytest.raises(ColumnError, match="featuresCols='wages' is not a column"):
        make(featuresCols=["age", "wages"]).fit(rows)
    texts = rows.withColumn("name", F.lit("n").cast(StringType()))
    with pytest.raises(TypeError, match="featuresCols='name' is string: expected a number"):
        make(featuresCols=["age", "name"]).fit(texts)
    with pytest.raises(TypeError, match="featuresCols='features' is vector: expected a number"):
        make(featuresCols=["age", "features"]).fit(rows)
    with pytest.raises(ParamError, match="a list of different names of columns"):
        make(featuresCols=["age", "age"])
    with pytest.raises(TypeError, match="Give columns of numbers as featuresCols"):
        make(featuresCol="age").fit(rows)
    model = make(featuresCols=["age", "small"]).fit(rows)
    with pytest.raises(ColumnError, match="featuresCols='small' is not a column"):
        model.transform(rows.drop("small"))


def test_told() -> None:
    assert told(("a",)) == "'a'"
    assert told(("a", "b", "c")) == "'a', 'b', 'c'"


# ---------------------------------------------------- around a fit


def test_metrics_summary_and_names(rows: DataFrame) -> None:
    plain, model = (
        KINDS["LogisticRegression"](**p).fit(rows) for p in ({}, {"featuresCols": NAMES})
    )
    assert model.summary.accuracy == plain.summary.accuracy
    assert model.evaluate(rows).areaUnderROC == pytest.approx(plain.evaluate(rows).areaUnderROC)
    assert "x.y" in model._repr_html_()


def test_a_search_and_a_saved_pipeline(rows: DataFrame, tmp_path: Path) -> None:
    estimator = KINDS["LogisticRegression"](featuresCols=NAMES)
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 1.0]).build()
    plain = KINDS["LogisticRegression"]()
    plain_grid = ParamGridBuilder().addGrid(plain.regParam, [0.01, 1.0]).build()
    found, expected = (
        CrossValidator(
            estimator=e,
            estimatorParamMaps=g,
            evaluator=BinaryClassificationEvaluator(),
            numFolds=2,
            seed=1,
        ).fit(rows)
        for e, g in ((estimator, grid), (plain, plain_grid))
    )
    np.testing.assert_allclose(found.avgMetrics, expected.avgMetrics, rtol=1e-9)
    model = Pipeline(stages=[estimator]).fit(rows)
    model.write().save(str(tmp_path / "model"))
    loaded = PipelineModel.load(str(tmp_path / "model"))
    assert loaded.stages[0].getFeaturesCols() == NAMES
    before, after = (
        [r.prediction for r in m.transform(rows.drop("features")).collect()]
        for m in (model, loaded)
    )
    assert before == after


class Died(Exception):  # noqa: N818
    """What ends a fit from outside."""


def test_a_checkpoint_is_of_its_columns(
    rows: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = {"maxIter": 14, "tol": 0.0, "aggregationDepth": 1, "solver": "gradient-descent"}
    kept = {"checkpointDir": str(tmp_path / "kept"), "checkpointInterval": 1}
    make = KINDS["LogisticRegression"]
    whole = make(featuresCols=NAMES, **fixed).fit(rows)

    def hook(_: Any, passes: int) -> None:
        if passes == 8:
            raise Died

    with monkeypatch.context() as context:
        hook_passes(context, hook)
        with pytest.raises(Died):
            make(featuresCols=NAMES, **fixed, **kept).fit(rows)
    # the same numbers in another order are other rows
    other = make(featuresCols=NAMES[::-1], **fixed, **kept).fit(rows)
    assert not [note for note in other.summary.notes if "resumed" in note]
    model = make(featuresCols=NAMES, **fixed, **kept).fit(rows)
    assert [note for note in model.summary.notes if "resumed" in note]
    assert numbers(model).tolist() == numbers(whole).tolist()


def test_mllib_has_no_such_param(rows: DataFrame) -> None:
    model = KINDS["LogisticRegression"](featuresCols=NAMES).fit(rows)
    with pytest.raises(ExportError, match="which MLlib's models do not have"):
        model.toMLlib()
    other = model.copy({model.featuresCols: []}).toMLlib()
    vector = Vectors.dense(X[0])
    assert other.predict(vector) == model.predict(vector)


def test_a_job_reads_columns(spark: SparkSession, rows: DataFrame, tmp_path: Path) -> None:
    rows.drop("features").coalesce(1).write.parquet(str(tmp_path / "rows"))
    tree = {
        "input": {"format": "parquet", "path": str(tmp_path / "rows")},
        "label": {"column": "label"},
        "pipeline": {
            "estimator": {
                "class": "LogisticRegression",
                "params": {"regParam": 0.1, "featuresCols": NAMES},
            }
        },
        "output": {"model": str(tmp_path / "model"), "report": str(tmp_path / "report.json")},
    }
    jobs.train(TrainConfig.model_validate(tree), spark)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["rows"] == {"training": len(Y)}
    model = PipelineModel.load(str(tmp_path / "model")).stages[-1]
    expected = KINDS["LogisticRegression"]().fit(rows)
    np.testing.assert_allclose(numbers(model), numbers(expected), rtol=1e-9)
