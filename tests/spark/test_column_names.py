"""Names of columns mean what they mean to the session: cases, fields of structs, backticks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyspark.sql.functions as F
import pytest
from pyspark.ml.classification import LogisticRegression as MLlibLogisticRegression
from pyspark.ml.classification import NaiveBayes
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.linalg import VectorUDT
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import BooleanType, DoubleType, IntegerType, StringType

from sparkml_lsml.classification import (
    CalibratedClassifier,
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    OneVsRest,
)
from sparkml_lsml.errors import ColumnError
from sparkml_lsml.jobs import JobError, data, metrics
from sparkml_lsml.jobs.config import LabelConfig, PredictionsConfig, SplitConfig
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.rows.frames import column_of
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit, bootstrap, regularization_path
from tests.spark.helpers import binary_rows, cells, frame_of, jobs_so_far, numbers

X, Y = binary_rows(60)
WEIGHT = np.where(np.arange(60) % 3 == 0, 2.0, 1.0)
C, B = np.array([[1.0, -2.0, 0.5]]), np.zeros(1)

SETTING = "spark.sql.caseSensitive"

COLUMNS: dict[str, Any] = {
    "label": (DoubleType(), Y.tolist()),
    "features": (VectorUDT(), cells(X)),
    "weight": (DoubleType(), WEIGHT.tolist()),
    "fold": (IntegerType(), [i % 2 for i in range(60)]),
    "site": (StringType(), ["ab"[i % 2] for i in range(60)]),
    "held": (BooleanType(), [i % 4 == 0 for i in range(60)]),
}
OTHERS: dict[str, Any] = {
    "LABEL": (DoubleType(), (1.0 - Y).tolist()),
    "FEATURES": (VectorUDT(), cells(np.zeros_like(X))),
    "WEIGHT": (DoubleType(), [-1.0] * 60),
    "FOLD": (IntegerType(), [7] * 60),
    "SITE": (StringType(), [None] * 60),
    "HELD": (BooleanType(), [None] * 60),
}
"""Columns of the same names in capitals, with which nothing would go well."""


@pytest.fixture
def sensitive(spark: SparkSession) -> Iterator[None]:
    """Let the session tell cases apart."""
    before = spark.conf.get(SETTING)
    spark.conf.set(SETTING, "true")
    yield
    spark.conf.set(SETTING, before)


@pytest.fixture(scope="module")
def plain(spark: SparkSession) -> DataFrame:
    return frame_of(spark, COLUMNS)


@pytest.fixture(scope="module")
def both(spark: SparkSession) -> DataFrame:
    return frame_of(spark, COLUMNS | OTHERS)


@pytest.fixture(scope="module")
def nested(plain: DataFrame) -> DataFrame:
    """Give the rows in a struct, and in columns with dots in their names."""
    fields = [F.col(name) for name in COLUMNS]
    dotted = [F.col(name).alias(f"a.{name}") for name in ("label", "features", "weight")]
    struct = F.struct(*fields, F.col("features").alias("x.y"))
    return plain.select(struct.alias("s"), *dotted).localCheckpoint()


def search_of(cls: type[Any], name: Callable[[str], str], **params: Any) -> Any:
    svc = LinearSVC(featuresCol=name("features"), labelCol=name("label"), maxIter=3)
    return cls(
        estimator=svc,
        estimatorParamMaps=ParamGridBuilder().addGrid(svc.regParam, [0.1, 1.0]).build(),
        evaluator=BinaryClassificationEvaluator(labelCol=name("label")),
        seed=1,
        **params,
    )


def everything(name: Callable[[str], str]) -> dict[str, Callable[[DataFrame], Any]]:
    """Give all that learns from columns: each returns the numbers that it found."""
    columns: dict[str, Any] = {"featuresCol": name("features"), "labelCol": name("label")}
    few = columns | {"maxIter": 2}
    weighted = columns | {"weightCol": name("weight")}
    balanced = LogisticRegression(**weighted, maxIter=2, classWeight="balanced")
    early = LogisticRegression(**few, validationIndicatorCol=name("held"))
    svc = LinearSVC(**few)
    folds: dict[str, Any] = {"numFolds": 2, "foldCol": name("fold")}

    def residuals(rows: DataFrame) -> list[float]:
        found = LinearRegression(**weighted).fit(rows).summary.residuals
        return [row[0] for row in found.collect()]

    def validated(rows: DataFrame) -> list[float]:
        model = early.fit(rows)
        return [*numbers(model), model.summary.accuracy]

    def one_vs_rest(rows: DataFrame) -> list[Any]:
        models = OneVsRest(**weighted, classifier=LinearSVC(maxIter=2)).fit(rows).models
        return [numbers(model).tolist() for model in models]

    def scores(rows: DataFrame) -> list[float]:
        model = LinearSVCModel(C, B).setFeaturesCol(name("features"))
        return [row[0] for row in model.transform(rows).select("prediction").collect()]

    return {
        "balanced": lambda rows: numbers(balanced.fit(rows)),
        "validated": validated,
        "residuals": residuals,
        "piece": lambda rows: numbers(LinearSVC(**weighted).partialFit(rows)),
        "calibrated": lambda rows: numbers(
            CalibratedClassifier(**weighted, **folds, classifier=LinearSVC(maxIter=2)).fit(rows)
        ),
        "one-vs-rest": one_vs_rest,
        "folds": lambda rows: search_of(CrossValidator, name, **folds).fit(rows).avgMetrics,
        "groups": lambda rows: (
            search_of(CrossValidator, name, groupCol=name("site")).fit(rows).avgMetrics
        ),
        "split": lambda rows: search_of(TrainValidationSplit, name).fit(rows).validationMetrics,
        "path": lambda rows: regularization_path(svc, rows, [0.1]).coefficients,
        "bootstrap": lambda rows: bootstrap(svc, rows, n=2).coefficients,
        "scores": scores,
    }


@pytest.fixture(scope="module")
def expected(plain: DataFrame) -> dict[str, Any]:
    """Give what all find where each name is that of one column: names must not change it."""
    return {what: call(plain) for what, call in everything(str).items()}


def compare(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for what, value in expected.items():
        assert np.array_equal(found[what], value), what


@pytest.mark.usefixtures("sensitive")
def test_cases_that_the_session_tells_apart(both: DataFrame, expected: dict[str, Any]) -> None:
    compare({what: call(both) for what, call in everything(str).items()}, expected)
    # MLlib takes the same columns
    theirs = MLlibLogisticRegression(weightCol="weight", regParam=0.1, tol=1e-10).fit(both)
    ours = LogisticRegression(weightCol="weight", regParam=0.1, tol=1e-10).fit(both)
    assert numbers(ours) == pytest.approx(numbers(theirs), rel=1e-5)


def test_cases_that_the_session_does_not_tell_apart(
    spark: SparkSession, plain: DataFrame, both: DataFrame, expected: dict[str, Any]
) -> None:
    calls = everything(str.upper)
    for what in ("validated", "groups", "scores"):
        assert np.array_equal(calls[what](plain), expected[what]), what
    before = jobs_so_far(spark)
    with pytest.raises(ColumnError, match="'features' fits 2 columns: expected one, found label,"):
        LinearSVC().fit(both)
    assert jobs_so_far(spark) == before


def test_fields_of_structs(nested: DataFrame, expected: dict[str, Any]) -> None:
    compare({what: call(nested) for what, call in everything("s.{}".format).items()}, expected)


@pytest.mark.parametrize("name", ["`a.{}`", "a.{}", "s.`{}`"])
def test_dots_and_backticks(nested: DataFrame, expected: dict[str, Any], name: str) -> None:
    calls = everything(name.format)
    for what in ("balanced", "scores"):
        assert np.array_equal(calls[what](nested), expected[what]), what


@pytest.mark.parametrize("features", ["s.features", "`a.features`", "s.`x.y`"])
def test_names_of_features_that_mllib_takes(nested: DataFrame, features: str) -> None:
    rows = nested.withColumn("label", F.col("s.label"))
    ours, theirs = (
        cls(featuresCol=features, regParam=0.1, tol=1e-10).fit(rows)
        for cls in (LogisticRegression, MLlibLogisticRegression)
    )
    assert numbers(ours) == pytest.approx(numbers(theirs), rel=1e-5)


@pytest.mark.parametrize("name", ["s.{}", "`a.{}`"])
def test_folds_of_one_class_by_names_with_dots(
    nested: DataFrame, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    # model by model, where the evaluator's own words are asked again about a fold of one class
    class Own(LinearSVC):
        def _fit(self, dataset: DataFrame) -> Any:
            return super()._fit(dataset)

    def means(kind: type[LinearSVC], name: str) -> Any:
        search = search_of(CrossValidator, name.format, numFolds=3)
        weight = name.format("weight")
        number = (
            F.when(F.col("s.fold") == 1, 2)
            .when((F.col("s.label") == 0.0) | F.col("s.held"), 0)
            .otherwise(1)
        )
        rows = nested.withColumn("number", number)
        svc = kind(featuresCol=name.format("features"), labelCol=name.format("label"), maxIter=3)
        evaluator = BinaryClassificationEvaluator(labelCol=name.format("label"), weightCol=weight)
        return (
            search.setEstimator(svc)
            .setEstimatorParamMaps([{svc.weightCol: weight}])
            .setEvaluator(evaluator)
            .setFoldCol("number")
            .fit(rows)
            .avgMetrics
        )

    with caplog.at_level("WARNING"):
        assert means(Own, name) == pytest.approx(means(LinearSVC, "s.{}"), rel=1e-9)
    assert caplog.text.count("areaUnderROC is undefined in 1 of 3 folds (1)") == 2


# each role with an estimator that has it, and the columns that its error lists
ROLES: dict[str, Callable[[str], Any]] = {
    "featuresCol": lambda name: LinearSVC(featuresCol=name),
    "labelCol": lambda name: LogisticRegression(labelCol=name),
    "weightCol": lambda name: LinearRegression(weightCol=name),
    "validationIndicatorCol": lambda name: LinearSVC(validationIndicatorCol=name),
    "labelCol ": lambda name: OneVsRest(labelCol=name, classifier=LinearSVC()),
    "labelCol  ": lambda name: OneVsRest(labelCol=name, classifier=NaiveBayes()),
    "weightCol ": lambda name: OneVsRest(weightCol=name, classifier=NaiveBayes()),
    "featuresCol ": lambda name: OneVsRest(featuresCol=name, classifier=NaiveBayes()),
    "foldCol": lambda name: CalibratedClassifier(foldCol=name),
    "weightCol  ": lambda name: CalibratedClassifier(weightCol=name),
    "foldCol ": lambda name: search_of(CrossValidator, str, foldCol=name, numFolds=2),
    "groupCol": lambda name: search_of(CrossValidator, str, groupCol=name),
    "featuresCol  ": lambda name: search_of(
        TrainValidationSplit, lambda own: name if own == "features" else own
    ),
}


@pytest.mark.usefixtures("sensitive")
@pytest.mark.parametrize("role", ROLES)
def test_names_that_no_column_has(spark: SparkSession, plain: DataFrame, role: str) -> None:
    of = {"validationIndicatorCol": "held", "groupCol": "site"}
    right = of.get(role, role.strip().removesuffix("Col"))
    before = jobs_so_far(spark)
    listed = "is not a column: found label, features, weight, fold, site, held. Set "
    for name in (right.upper(), f"no{right}", f"s.{right}", "label.x", "`", "*", "label.*"):
        with pytest.raises(ColumnError) as caught:
            ROLES[role](name).fit(plain)
        message = str(caught.value)
        assert f"{role.strip()}='{name}' {listed}{role.strip()}" in message
        assert ("Did you mean" in message) == (name == right.upper())
        if name == right.upper():
            assert f"Did you mean '{right}'? {SETTING} is true" in message
    assert jobs_so_far(spark) == before


@pytest.mark.usefixtures("sensitive")
def test_names_that_no_column_of_rows_to_score_has(plain: DataFrame) -> None:
    model = LinearSVCModel(C, B).setFeaturesCol("Features")
    for call in (model.transform, model.evaluate):
        with pytest.raises(ColumnError, match=r"'Features' is not a column.*mean 'features'"):
            call(plain)
    with pytest.raises(ColumnError, match="labelCol='no' is not a column: found label, features"):
        LinearSVCModel(C, B)._set(labelCol="no").evaluate(plain)


def test_an_error_lists_the_fields_of_structs(nested: DataFrame) -> None:
    with pytest.raises(ColumnError, match=r"found s, s\.label, s\.features, .*, a\.label,"):
        LinearSVC(featuresCol="s.feature", labelCol="s.label").fit(nested)


def test_new_columns_that_differ_in_case(
    spark: SparkSession, plain: DataFrame, request: pytest.FixtureRequest
) -> None:
    rows = plain.withColumn("PREDICTION", F.lit(7.0))
    with pytest.raises(ColumnError, match="must be new and differ"):
        LinearSVCModel(C, B).transform(rows)
    with pytest.raises(ColumnError, match="must be new and differ"):
        LinearSVCModel(C, B).setRawPredictionCol("Prediction").transform(plain)
    request.getfixturevalue("sensitive")
    found = LinearSVCModel(C, B).setRawPredictionCol("Prediction").transform(rows)
    assert found.columns[-3:] == ["PREDICTION", "Prediction", "prediction"]
    assert found.where("PREDICTION != 7.0 OR prediction NOT IN (0.0, 1.0)").count() == 0


def test_nested_features_of_a_file(spark: SparkSession, nested: DataFrame, tmp_path: Any) -> None:
    nested.select("s").write.parquet(str(tmp_path / "rows"))
    rows = spark.read.parquet(str(tmp_path / "rows"))
    found = LinearSVCModel(C, B).setFeaturesCol("s.features").transform(rows)
    raw = sorted(row[0][1] for row in found.select("rawPrediction").collect())
    assert raw == pytest.approx(sorted(X @ C[0]))


# ---------------------------------------------------- jobs


def test_jobs_resolve_names_as_the_session_does(
    spark: SparkSession, nested: DataFrame, plain: DataFrame, request: pytest.FixtureRequest
) -> None:
    def held_out(rows: DataFrame, by: str) -> list[Any]:
        found = data.split(rows, SplitConfig(fraction=0.5, by=(by,))).is_held_out
        return [row[0] for row in rows.select(found).collect()]

    assert len(set(held_out(plain, "site"))) in (1, 2)
    assert held_out(plain, "SITE") == held_out(plain, "site") == held_out(nested, "s.site")
    labels = LabelConfig.model_validate({"map": {0: 1, 1: 0}})
    for rows, column in ((plain, "LABEL"), (nested, "s.label"), (nested, "a.label")):
        data.check_labels(rows, column, labels)
        # the column that an estimator takes by this name
        mapped = data.map_labels(rows, column, labels)
        found = [row[0] for row in mapped.select(column_of(mapped, column)).collect()]
        assert found == (1.0 - Y).tolist()
    predictions = PredictionsConfig(path="p", columns=("S.Site", "a.label"))
    assert data.select_output(nested, predictions).columns == ["Site", "a.label"]
    scored = LinearSVCModel(C, B).transform(plain)
    columns = metrics.ScoredColumns(label="Label", raw_prediction="RAWPREDICTION")
    assert metrics.compute(scored, columns, "binary")["areaUnderROC"] > 0.5
    request.getfixturevalue("sensitive")
    for key in ("SITE", "s.site"):
        with pytest.raises(JobError, match=f"no column '{key}'.* there are: label, features"):
            data.require_columns(plain, (key,), "split.by")
