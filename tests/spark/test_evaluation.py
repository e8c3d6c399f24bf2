"""Metrics of models on rows: MLlib's summaries, attribute by attribute, and scikit-learn's."""

from __future__ import annotations

import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pyspark.sql.functions as F
import pytest
import sklearn.metrics as reference
from pyspark.ml import classification as mllib_classification
from pyspark.ml import regression as mllib_regression
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.classification import (
    LinearSVC,
    LogisticRegression,
    LogisticRegressionModel,
    OneVsRest,
)
from sparkml_lsml.errors import (
    ColumnError,
    ColumnTypeError,
    DataError,
    ParamError,
    SourceChangedError,
)
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.tuning import regularization_path
from tests.spark.helpers import frame, jobs_so_far, nothing_left, refused

Array = npt.NDArray[np.float64]

rng = np.random.default_rng(8)
ROWS = 90
X = rng.normal(size=(ROWS, 3))
RAW = X @ [1.0, -2.0, 0.5] + rng.normal(size=ROWS)
WEIGHT = rng.integers(1, 5, ROWS) / 2.0
LABELS: dict[str, Array] = {
    "binary": (RAW > 0.3).astype(float),
    "multiclass": np.digitize(RAW, [-1.5, 1.0]).astype(float),
    "regression": RAW + 5.0,
}
# as in MLlib's own summaries, the first of MLlib's rows is read once for each: few are enough
OF_TRAINING = {"objectiveHistory", "totalIterations"}


@pytest.fixture(scope="module")
def frames(spark: SparkSession) -> dict[str, DataFrame]:
    return {task: frame(spark, X, y, WEIGHT) for task, y in LABELS.items()}


def scores_of(model: Any, rows: DataFrame) -> dict[str, Array]:
    """What a model predicts, in the order of the rows."""
    found = model.transform(rows).collect()
    names = [name for name in ("prediction", "rawPrediction") if name in found[0]]
    return {name: np.array([row[name] for row in found]) for name in names}


def assert_mllibs(theirs: Any, ours: Any) -> None:
    """All that MLlib's summary has, ours has too, with the same values."""
    theirs, ours = (s() if callable(s) else s for s in (theirs, ours))
    names = [n for n in dir(type(theirs)) if not n.startswith("_")]
    compared = 0
    for name in sorted(set(names) - OF_TRAINING):
        try:
            there = getattr(theirs, name)
        except Exception:
            # standard errors after another solver, or of other rows
            with pytest.raises((ParamError, DataError)):
                getattr(ours, name)
            continue
        here = getattr(ours, name)
        if callable(there):
            there, here = there(0.5), here(0.5)
        compared += 1
        if isinstance(there, DataFrame):
            assert [f.name for f in here.schema] == [f.name for f in there.schema], name
            if name != "predictions":
                expected, found = (np.array(one.collect()) for one in (there, here))
                np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)
        elif isinstance(there, str):
            # MLlib's name of a column that is not there
            assert here == ("" if (name, there) == ("weightCol", "weightCol") else there), name
        else:
            assert type(here) is type(there), name
            assert here == pytest.approx(there, rel=1e-6, abs=1e-9, nan_ok=True), name
    assert compared >= 14


BINARY: list[dict[str, Any]] = [
    {},
    {"weightCol": "weight", "threshold": 0.3},
    {"family": "multinomial", "weightCol": "weight"},
]


@pytest.mark.parametrize("params", BINARY, ids=str)
def test_binary_classes_are_measured_as_in_mllib(
    frames: dict[str, DataFrame], params: dict[str, Any]
) -> None:
    how = {"regParam": 0.05, "tol": 1e-12, **params}
    rows = frames["binary"]
    theirs = mllib_classification.LogisticRegression(**how).fit(rows)
    ours = LogisticRegression(**how).fit(rows)
    assert type(ours.summary).__name__ == type(theirs.summary).__name__
    assert_mllibs(theirs.summary, ours.summary)
    other = rows.where("features is not null and label + weight > 0.5").drop("weight")
    assert type(ours.evaluate(other)).__name__ == type(theirs.evaluate(other)).__name__
    if params == {}:
        assert_mllibs(theirs.evaluate(other), ours.evaluate(other))


def test_classes_are_measured_as_in_mllib(frames: dict[str, DataFrame]) -> None:
    how: dict[str, Any] = {"regParam": 0.05, "tol": 1e-12, "weightCol": "weight"}
    rows = frames["multiclass"]
    theirs = mllib_classification.LogisticRegression(**how).fit(rows)
    ours = LogisticRegression(**how).fit(rows)
    assert type(ours.summary).__name__ == type(theirs.summary).__name__
    assert_mllibs(theirs.summary, ours.summary)
    # without one of the classes
    two = rows.where("label < 2")
    assert_mllibs(theirs.evaluate(two), ours.evaluate(two))
    probability = np.array([r.probability for r in ours.transform(rows).collect()])
    expected = reference.log_loss(LABELS["multiclass"], probability, sample_weight=WEIGHT)
    assert ours.summary.logLoss == pytest.approx(expected, rel=1e-12)
    matrix = ours.summary.confusionMatrix
    found = scores_of(ours, rows)["prediction"]
    expected = reference.confusion_matrix(LABELS["multiclass"], found, sample_weight=WEIGHT)
    np.testing.assert_allclose(matrix.to_numpy(), expected)
    assert (matrix.index.name, matrix.columns.name) == ("label", "prediction")


@pytest.mark.parametrize("params", [{}, {"fitIntercept": False, "solver": "l-bfgs"}], ids=str)
def test_residuals_are_measured_as_in_mllib(
    frames: dict[str, DataFrame], params: dict[str, Any]
) -> None:
    rows = frames["regression"]
    how = {"tol": 1e-12, **params}
    theirs = mllib_regression.LinearRegression(**how).fit(rows)
    ours = LinearRegression(**how).fit(rows)
    assert_mllibs(theirs.summary, ours.summary)
    other = rows.where("weight > 0.5")
    assert_mllibs(theirs.evaluate(other), ours.evaluate(other))


def test_weighted_residuals(frames: dict[str, DataFrame]) -> None:
    """MLlib's R2 mixes weights and rows; otherwise it is scikit-learn's, as ours."""
    rows = frames["regression"]
    model = LinearRegression(weightCol="weight").fit(rows)
    summary, found = model.summary, scores_of(model, rows)["prediction"]
    y, how = LABELS["regression"], {"sample_weight": WEIGHT}
    assert summary.r2 == pytest.approx(reference.r2_score(y, found, **how), rel=1e-9)
    expected = reference.mean_squared_error(y, found, **how)
    assert summary.meanSquaredError == pytest.approx(expected, rel=1e-9)
    theirs = mllib_regression.LinearRegression(weightCol="weight").fit(rows).summary
    for name in ("explainedVariance", "meanAbsoluteError", "devianceResiduals", "numInstances"):
        assert getattr(summary, name) == pytest.approx(getattr(theirs, name), rel=1e-6), name


def test_margins_are_ranked_as_by_scikit_learn(frames: dict[str, DataFrame]) -> None:
    rows = frames["binary"]
    model = LinearSVC(regParam=0.1).fit(rows)
    for summary in (model.summary, model.evaluate(rows)):
        y, score = LABELS["binary"], scores_of(model, rows)["rawPrediction"][:, 1]
        assert summary.areaUnderROC == pytest.approx(reference.roc_auc_score(y, score), rel=1e-12)
        fpr, tpr, thresholds = reference.roc_curve(y, score, drop_intermediate=False)
        found = np.array(summary.roc.collect())
        np.testing.assert_allclose(found[:-1], np.stack([fpr, tpr], axis=1), atol=1e-12)
        recall = summary.recallByThreshold.collect()
        np.testing.assert_allclose([r.threshold for r in recall], thresholds[1:], rtol=1e-12)
        assert [r.recall for r in recall] == pytest.approx(tpr[1:])
        assert summary.scoreCol == "rawPrediction"
        expected = reference.accuracy_score(y, scores_of(model, rows)["prediction"])
        assert summary.accuracy == pytest.approx(expected, rel=1e-12)


def test_all_metrics_take_one_job(spark: SparkSession, frames: dict[str, DataFrame]) -> None:
    mpl.use("Agg")
    rows = frames["binary"].localCheckpoint()
    with nothing_left(spark):
        model = LogisticRegression().fit(rows)
        before = jobs_so_far(spark)
        evaluated = model.evaluate(rows)
        assert not model.summary.computed
        assert not evaluated.computed
        model._repr_html_()
        assert jobs_so_far(spark) == before
        for summary in (model.summary, evaluated):
            assert summary.accuracy == summary.weightedRecall
            assert summary.areaUnderROC > 0.5 < summary.areaUnderPR
            assert summary.computed
            summary.plot_confusion_matrix()
            assert str(summary)
        assert jobs_so_far(spark) == before + 2
    plt.close("all")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"threshold": 0.3}, 0.3),
        ({"thresholds": [0.3, 0.7]}, 0.7),
        ({"family": "multinomial", "threshold": 0.3}, 0.5),
        ({"family": "multinomial", "thresholds": [0.2, 0.6]}, 0.75),
    ],
    ids=str,
)
def test_the_threshold_that_is_drawn_predicts(
    frames: dict[str, DataFrame], params: dict[str, Any], expected: float
) -> None:
    mpl.use("Agg")
    rows = frames["binary"]
    model = LogisticRegression(maxIter=5, **params).fit(rows)
    ax = model.summary.plot_thresholds()
    labels = [each.get_text() for each in ax.get_legend().get_texts()]
    assert labels[-1] == f"threshold {expected:g}"
    plt.close("all")
    for row in model.transform(rows).collect():
        assert row.prediction == float(row.probability[1] > expected)


def test_what_is_set_later_is_of_later_rows(frames: dict[str, DataFrame]) -> None:
    model = LogisticRegression().fit(frames["binary"])
    expected = model.evaluate(frames["binary"])
    model.setThreshold(1.0).setPredictionCol("p")
    assert model.summary.predictionCol == expected.predictionCol == "prediction"
    assert model.summary.recallByLabel == expected.recallByLabel
    assert model.evaluate(frames["binary"]).recallByLabel == [1.0, 0.0]
    assert model.evaluate(frames["binary"]).predictionCol == "p"


def test_columns_without_a_name_have_one_in_predictions(frames: dict[str, DataFrame]) -> None:
    made = LogisticRegression(predictionCol="", probabilityCol="", rawPredictionCol="")
    model = made.fit(frames["binary"])
    assert model.transform(frames["binary"]).columns == frames["binary"].columns
    summary = model.summary
    assert {summary.predictionCol, summary.probabilityCol} < set(summary.predictions.columns)
    assert summary.accuracy > 0.5


def test_rows_with_columns_of_predictions(frames: dict[str, DataFrame]) -> None:
    """Metrics need no names; only the frame of predictions does."""
    rows = frames["regression"].withColumn("prediction", F.lit(1.0))
    summary = LinearRegression().fit(rows).summary
    assert summary.r2 > 0.5
    with pytest.raises(ColumnError, match="prediction"):
        _ = summary.predictions


def test_one_class(spark: SparkSession, frames: dict[str, DataFrame]) -> None:
    rows = frames["binary"].where("label = 1")
    theirs = mllib_classification.LogisticRegression().fit(rows)
    ours = LogisticRegression().fit(rows)
    # MLlib's area is that of a curve without false positives; there are no rows to be any
    assert theirs.summary.areaUnderROC == 1.0
    assert math.isnan(ours.summary.areaUnderROC)
    assert math.isnan(ours.summary.areaUnderPR)
    assert "areaUnderROC" in str(ours.summary)
    assert ours.summary.labels == theirs.summary.labels == [1.0]
    assert math.isnan(theirs.summary.weightedFalsePositiveRate)
    assert math.isnan(ours.summary.weightedFalsePositiveRate)
    assert np.array(ours.summary.roc.collect()).tolist() == [[0, 0], [0, 1], [1, 1]]


def test_one_row_has_no_r2(frames: dict[str, DataFrame]) -> None:
    """As by scikit-learn's r2_score; MLlib has minus infinity."""
    rows = frames["regression"]
    model = LinearRegression().fit(rows)
    summary = model.evaluate(rows.limit(1))
    assert math.isnan(summary.r2)
    assert math.isnan(summary.r2adj)
    assert summary.meanAbsoluteError > 0.0


def test_models_that_are_trained_together(frames: dict[str, DataFrame]) -> None:
    rows = frames["multiclass"]
    of_classes = OneVsRest(classifier=LogisticRegression()).fit(rows)
    for number, model in enumerate(of_classes.models):
        y = LABELS["multiclass"] == number
        score = scores_of(model, rows)["rawPrediction"][:, 1]
        expected = reference.roc_auc_score(y, score)
        assert model.summary.areaUnderROC == pytest.approx(expected, rel=1e-12)
    path = regularization_path(LinearRegression(), frames["regression"], regParams=[1.0, 0.1])
    first, last = (model.summary.r2 for model in path.models)
    assert first < last


def test_copies_keep_their_rows_and_pickles_their_metrics(frames: dict[str, DataFrame]) -> None:
    model = LogisticRegression().fit(frames["binary"])
    early = pickle.loads(pickle.dumps(model))
    assert early.hasSummary
    assert early.summary.objectiveHistory == model.summary.objectiveHistory
    with pytest.raises(DataError, match=r"evaluate"):
        _ = early.summary.accuracy
    assert model.copy().summary.accuracy == model.summary.accuracy
    late = pickle.loads(pickle.dumps(model)).summary
    assert late.accuracy == model.summary.accuracy
    assert late.areaUnderROC == model.summary.areaUnderROC
    with pytest.raises(DataError, match=r"evaluate"):
        _ = late.predictions


@pytest.mark.parametrize("change", ["overwritten", "removed", "fewer rows"])
def test_metrics_after_the_source_has_changed(
    spark: SparkSession, frames: dict[str, DataFrame], tmp_path: Path, change: str
) -> None:
    path = tmp_path / "rows"
    narrow = frames["binary"].select("label", vector_to_array("features").alias("features"))
    narrow.coalesce(1).write.json(str(path))
    rows = spark.read.schema(narrow.schema).json(str(path))
    late, early = (LogisticRegression().fit(rows) for _ in range(2))
    accuracy = early.summary.accuracy
    evaluated = late.evaluate(rows)
    if change == "overwritten":
        narrow.write.mode("overwrite").json(str(path))
    elif change == "removed":
        shutil.rmtree(path)
    else:
        [file] = path.glob("part-*")
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[: len(lines) // 2]))
        (path / f".{file.name}.crc").unlink(missing_ok=True)
    words = "metrics are computed when the first of them is asked for.*model.evaluate"
    for _ in range(2):  # nothing of it is kept
        with pytest.raises(SourceChangedError, match=words):
            _ = late.summary.accuracy
    if change != "fewer rows":  # which `evaluate` cannot know of
        with pytest.raises(SourceChangedError, match=words):
            _ = evaluated.accuracy
    assert early.summary.accuracy == accuracy
    assert early.summary.areaUnderROC > 0.5


def test_a_loaded_model_has_no_summary(frames: dict[str, DataFrame], tmp_path: Path) -> None:
    model = LogisticRegression().fit(frames["binary"])
    accuracy = model.summary.accuracy
    model.save(str(tmp_path / "model"))
    loaded = LogisticRegressionModel.load(str(tmp_path / "model"))
    assert not loaded.hasSummary
    with pytest.raises(RuntimeError, match="no training summary"):
        _ = loaded.summary
    assert loaded.evaluate(frames["binary"]).accuracy == accuracy
    assert "features" in loaded._repr_html_()


# ---------------------------------------------------- rows that cannot be used


def test_columns_that_cannot_be_used(spark: SparkSession, frames: dict[str, DataFrame]) -> None:
    model = LogisticRegression().fit(frames["binary"])
    before = jobs_so_far(spark)
    with pytest.raises(ColumnError, match="label"):
        model.evaluate(frames["binary"].drop("label"))
    with pytest.raises(ColumnError, match="features"):
        model.evaluate(frames["binary"].drop("features"))
    with pytest.raises(ColumnTypeError, match="string"):
        model.evaluate(frames["binary"].withColumn("label", F.lit("a")))
    with pytest.raises(TypeError, match="DataFrame"):
        model.evaluate([1, 2])
    assert jobs_so_far(spark) == before


def test_rows_that_cannot_be_used(spark: SparkSession, frames: dict[str, DataFrame]) -> None:
    rows = frames["binary"]
    model = LogisticRegression(weightCol="weight").fit(rows)
    wide = spark.createDataFrame([(1.0, Vectors.dense([1.0] * 4), 1.0)], rows.schema)
    holes = spark.createDataFrame([(1.0, Vectors.dense([1.0, math.nan, 0.0]), 1.0)], rows.schema)
    label, weight = F.col("label"), F.col("weight")
    cases: list[tuple[DataFrame, tuple[str, ...]]] = [
        (rows.withColumn("label", F.lit(None).cast("double")), ("90 rows whose label is null",)),
        (rows.withColumn("label", label + 1.0), ("out of range", "labels must be 0 or 1")),
        (rows.withColumn("weight", -weight), ("90 rows", "negative")),
        (rows.withColumn("weight", 0.0 * weight), ("all 90 weights",)),
        (rows.where("label > 7"), ("no rows",)),
        (rows.withColumn("features", F.when(label > 0, F.col("features"))), ("features are null",)),
        (wide, ("4 features", "trained on 3")),
        (wide.union(rows), ("the shortest has 3", "longest 4")),
        (holes.union(rows), ("1 rows whose features hold NaN",)),
    ]
    for frame_of, parts in cases:
        with refused(spark, *parts):
            _ = model.evaluate(frame_of).accuracy
