"""Validation rows: they choose the iteration, and nothing else is learned from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DoubleType

from sparkml_lsml.classification import LinearSVC, LogisticRegression, OneVsRest
from sparkml_lsml.errors import ColumnError, ColumnTypeError, DataError, ParamError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.tuning import CrossValidator, bootstrap, regularization_path
from tests.faults import hook_passes
from tests.spark.helpers import (
    EXECUTIONS,
    KINDS,
    Array,
    cells,
    frame_of,
    nothing_left,
    numbers,
    refused,
)

FEATURES, ROWS, MOST = 12, 80, 16


def data() -> tuple[Array, Array, Array, Array]:
    """Noisy labels, few rows a feature, so that a fit to the end learns the noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, FEATURES)) * np.geomspace(1.0, 20.0, FEATURES)
    y = (X[:, 0] + 1.5 * rng.normal(size=ROWS) > 0).astype(float)
    held = rng.random(ROWS) < 0.4
    return X, y, rng.uniform(0.5, 2.0, ROWS), held


def made(spark: SparkSession, y: Array | None = None, held: list[Any] | None = None) -> DataFrame:
    X, labels, weight, indicator = data()
    return frame_of(
        spark,
        {
            "label": (DoubleType(), (labels if y is None else y).tolist()),
            "features": (KINDS["dense"], cells(X)),
            "weight": (DoubleType(), weight.tolist()),
            "held": (BooleanType(), indicator.tolist() if held is None else held),
        },
    )


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return made(spark)


def log_loss(model: Any) -> float:
    """Mean logistic loss over the validation rows, by its formula."""
    X, y, weight, held = data()
    margin = (2 * y - 1) * (X @ model.coefficients.toArray() + model.intercept)
    return float(np.average(np.logaddexp(0.0, -margin)[held], weights=weight[held]))


def logistic(**params: Any) -> LogisticRegression:
    settings = {"weightCol": "weight", "tol": 0.0, "maxIter": MOST}
    return LogisticRegression(**(settings | params))


@pytest.fixture(scope="module")
def cut_off(rows: DataFrame) -> list[Any]:
    """Models of the training rows alone, after 0, 1, 2, ... iterations."""
    alone = rows.where("not held")
    estimator = logistic()
    grid = [{estimator.maxIter: k} for k in range(MOST)]
    return [model for _, model in sorted(estimator.fitMultiple(alone, grid))]


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_the_model_is_the_iterate_of_the_least_validation_loss(
    spark: SparkSession, rows: DataFrame, cut_off: list[Any], execution: str
) -> None:
    losses = [log_loss(model) for model in cut_off]
    best = int(np.argmin(losses))
    assert 0 < best < MOST - 4
    objectives = [model.summary.objective for model in cut_off]
    assert objectives[-1] < objectives[best]
    with nothing_left(spark):
        model = logistic(validationIndicatorCol="held", patience=4, execution=execution).fit(rows)
    np.testing.assert_allclose(numbers(model), numbers(cut_off[best]), rtol=1e-6, atol=1e-9)
    summary = model.summary
    waits = [k - int(np.argmin(losses[: k + 1])) for k in range(MOST)]
    assert (summary.reason.name, summary.reason.iteration) == ("early_stopping", waits.index(4))
    found = summary.to_pandas().validation
    np.testing.assert_allclose(found, losses[: len(found)], rtol=1e-6)
    assert summary.objective == pytest.approx(objectives[best])
    held = int(data()[3].sum())
    assert summary.rows == ROWS - held
    [note] = [note for note in summary.notes if "validation" in note]
    assert note.startswith(f"coefficients of iteration {best}, with the least loss over {held} ")


def test_fits_without_a_validation_have_none(cut_off: list[Any]) -> None:
    assert cut_off[-1].summary.to_pandas().validation.isna().all()
    assert cut_off[-1].summary.notes == (f"one of {MOST} models that shared their passes",)


@pytest.mark.parametrize(
    "estimator",
    [
        LinearSVC(regParam=0.01),
        pytest.param(LinearSVC(regParam=0.1, solver="cocoa"), marks=pytest.mark.slow),
        LinearSVC(regParam=0.01, solver="minibatch-sgd", miniBatchFraction=0.5),
        pytest.param(
            LogisticRegression(regParam=0.01, family="multinomial"), marks=pytest.mark.slow
        ),
        LinearRegression(regParam=0.01),
        pytest.param(LinearRegression(loss="huber"), marks=pytest.mark.slow),
    ],
    ids=lambda estimator: f"{type(estimator).__name__}-{estimator.getSolver()}",
)
def test_validation_rows_touch_no_training(spark: SparkSession, estimator: Any) -> None:
    """With a patience beyond maxIter, and labels and rows of another world to validate."""
    X, y, _, held = data()
    estimator = estimator.copy(
        {estimator.execution: "distributed", estimator.maxIter: 6, estimator.patience: 99}
    )
    found = []
    for factor, flipped in ((1.0, y), (-7.0, 1.0 - y)):
        moved = np.where(held[:, None], factor * X, X)
        columns: dict[str, Any] = {
            "label": (DoubleType(), np.where(held, flipped, y).tolist()),
            "features": (KINDS["dense"], cells(moved)),
            "held": (BooleanType(), held.tolist()),
        }
        validated = estimator.copy({estimator.validationIndicatorCol: "held"})
        found.append(validated.fit(frame_of(spark, columns)).summary)
    assert found[0].objectiveHistory == pytest.approx(found[1].objectiveHistory, rel=1e-9)
    assert found[0].history[-1].validation != pytest.approx(found[1].history[-1].validation)
    if estimator.getSolver() not in ("cocoa", "minibatch-sgd"):  # these draw by row number
        alone = estimator.setParams(validationIndicatorCol="")
        if isinstance(alone, LinearRegression):
            alone.setSolver("l-bfgs")
        whole = alone.fit(frame_of(spark, columns).where("not held")).summary
        assert found[0].objectiveHistory == pytest.approx(whole.objectiveHistory, rel=1e-6)


def test_local_sgd_stops_early(rows: DataFrame) -> None:
    model = logistic(
        validationIndicatorCol="held", solver="sgd", execution="distributed", patience=3
    ).fit(rows)
    losses = model.summary.to_pandas().set_index("iteration").validation
    assert log_loss(model) == pytest.approx(losses.min())
    assert model.summary.reason.name in ("early_stopping", "converged", "max_iter")


def test_grids_pipelines_and_searches_stop_early(rows: DataFrame) -> None:
    estimator = logistic(validationIndicatorCol="held", patience=2)
    grid = ParamGridBuilder().addGrid(estimator.patience, [1, 2]).build()
    models = dict(estimator.fitMultiple(rows, grid))
    alone = estimator.fit(rows)
    np.testing.assert_allclose(numbers(models[1]), numbers(alone), rtol=1e-9)
    ends = [models[k].summary.totalIterations for k in range(2)]
    assert ends[0] < ends[1]
    [piped] = Pipeline(stages=[estimator]).fit(rows).stages
    np.testing.assert_allclose(numbers(piped), numbers(alone), rtol=1e-9)
    # with folds as well, models are trained one by one
    search = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=grid,
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
        seed=1,
    )
    best = search.fit(rows).bestModel
    assert best.summary.reason.name == "early_stopping"


def test_one_vs_rest_stops_each_class(spark: SparkSession) -> None:
    X, _, _, _ = data()
    classes = np.argmax(X[:, :3] / np.std(X[:, :3], axis=0), axis=1).astype(float)
    frame = made(spark, classes)
    svc = LinearSVC(validationIndicatorCol="held", maxIter=15, loss="squaredHinge")
    found: Any = OneVsRest(classifier=svc).fit(frame)
    for number, model in enumerate(found.models):
        binary = frame.withColumn("label", (F.col("label") == number).cast("double"))
        alone = svc.fit(binary)
        np.testing.assert_allclose(numbers(model), numbers(alone), rtol=1e-6, atol=1e-9)
        assert model.summary.totalIterations == alone.summary.totalIterations


def test_a_fit_that_is_resumed_stops_where_the_whole_does(
    rows: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def hook(_: Any, passes: int) -> None:
        if passes == 8:
            raise Died

    estimator = logistic(validationIndicatorCol="held", patience=4, aggregationDepth=1)
    whole = estimator.fit(rows)
    noted = estimator.copy(
        {estimator.checkpointDir: str(tmp_path / "kept"), estimator.checkpointInterval: 1}
    )
    with monkeypatch.context() as patch:
        hook_passes(patch, hook)
        with pytest.raises(Died):
            noted.fit(rows)
    again = noted.fit(rows)
    assert again.summary.notes[0].startswith("resumed at iteration ")
    assert again.summary.reason == whole.summary.reason
    assert np.array_equal(numbers(again), numbers(whole))


def test_validations_that_cannot_be_are_refused(spark: SparkSession, rows: DataFrame) -> None:
    estimator = logistic(validationIndicatorCol="held")
    with refused(spark, "validationIndicatorCol='weight' is double", "boolean") as _:
        estimator.copy({estimator.validationIndicatorCol: "weight"}).fit(rows)
    with pytest.raises(ColumnTypeError):
        estimator.copy({estimator.validationIndicatorCol: "label"}).fit(rows)
    with pytest.raises(ColumnError, match="validationIndicatorCol='none' is not a column"):
        estimator.copy({estimator.validationIndicatorCol: "none"}).fit(rows)
    for value, what in ((True, "train on"), (False, "validate")):
        with refused(spark, f"leaves no rows of positive weight to {what}"):
            estimator.fit(rows.withColumn("held", F.lit(value)))
    some = F.when(F.col("weight") < 1.0, F.col("held"))
    light = int((data()[2] >= 1.0).sum())
    with refused(spark, f"{light} rows whose fold, or validation indicator, is null", "'held'"):
        estimator.fit(rows.withColumn("held", some))
    held = int(data()[3].sum())
    with refused(spark, f"{held} rows whose features hold NaN"):
        nans = F.transform(
            F.col("x"), lambda value: F.when(F.col("held"), float("nan")).otherwise(value)
        )
        from pyspark.ml.functions import array_to_vector, vector_to_array

        unusable = rows.withColumn("x", vector_to_array("features"))
        estimator.fit(unusable.withColumn("features", array_to_vector(nans)))
    with refused(spark, "no row to train on has the label 2, which validation rows have"):
        two = F.when(F.col("held"), 2.0).otherwise(F.col("label"))
        estimator.fit(rows.withColumn("label", two))
    with refused(spark, "no row to train on has the label 0"):
        estimator.fit(rows.withColumn("label", F.when(F.col("held"), 0.0).otherwise(1.0)))
    with refused(spark, "no row to train on has the label 1"):
        between = F.when(F.col("held"), 1.0).otherwise(2.0 * F.col("label"))
        estimator.fit(rows.withColumn("label", between))
    with pytest.raises(ParamError, match="solver='normal' has no iterations"):
        LinearRegression(solver="normal", validationIndicatorCol="held").fit(rows)
    with pytest.raises(ParamError, match="bootstrap takes no validationIndicatorCol"):
        bootstrap(estimator, rows)
    with pytest.raises(ParamError, match="regularization_path takes no validationIndicatorCol"):
        regularization_path(estimator, rows, regParams=[0.1])
    with pytest.raises(DataError):
        estimator.fit(rows.withColumn("held", F.lit(True)))
    for name, value in (("patience", 0), ("validationTol", -0.1)):
        with pytest.raises(ParamError, match=name):
            logistic(**{name: value})
