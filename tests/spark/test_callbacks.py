"""Callbacks: what they are told, when, and what happens when they stop a fit or fail."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml import classification, neural, regression
from sparkml_lsml.callbacks import Fit, FitCallback, MLflowLogger
from sparkml_lsml.classification import LinearSVC, LogisticRegression, OneVsRest
from sparkml_lsml.engine.solvers import Iteration
from sparkml_lsml.errors import BackendError, DivergedError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.models.model import LinearModel
from sparkml_lsml.tuning import CrossValidator
from tests.spark.helpers import (
    EXECUTIONS,
    binary_rows,
    frame,
    mlflow_store,
    nothing_left,
    numbers,
)

ROOT = Path(__file__).resolve().parents[2]
MOST = 4


class Notes(FitCallback):
    """Notes what it is told, and where."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.fits: list[Fit] = []
        self.lines: list[tuple[int, Iteration]] = []
        self.ends: list[tuple[tuple[Any, ...], BaseException | None]] = []
        self.places: set[tuple[int, int]] = set()
        self._stop_at = stop_at

    def on_fit_begin(self, fit: Fit) -> None:
        self.fits.append(fit)

    def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> bool:
        assert fit is self.fits[-1]
        self.places.add((os.getpid(), threading.get_ident()))
        self.lines.append((model, iteration))
        return iteration.iteration == self._stop_at

    def on_fit_end(self, fit: Fit, summaries: Sequence[Any], error: BaseException | None) -> None:
        assert fit is self.fits[-1]
        self.ends.append((tuple(summaries), error))

    def of(self, model: int) -> tuple[Iteration, ...]:
        return tuple(line for number, line in self.lines if number == model)


class Failed(Exception):  # noqa: N818 - what a callback of somebody raises
    pass


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, *binary_rows(80, 4))


@pytest.fixture(autouse=True)
def _nothing_left(spark: SparkSession) -> Iterator[None]:
    with nothing_left(spark):
        yield


def logistic(**params: Any) -> LogisticRegression:
    settings = {"regParam": 0.01, "maxIter": MOST, "tol": 0.0}
    return LogisticRegression(**(settings | params))


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_callback_is_told_of_each_iteration(rows: DataFrame, execution: str) -> None:
    notes = Notes()
    estimator = logistic(execution=execution)
    assert estimator.setCallbacks([notes]) is estimator
    model = estimator.fit(rows)
    [fit] = notes.fits
    assert (fit.name, fit.rows, fit.features) == ("LogisticRegression", 80, 4)
    assert fit.execution == execution
    [told] = fit.models
    assert (told.estimator, told.solver) == ("LogisticRegression", "l-bfgs")
    assert (told.params["regParam"], told.params["maxIter"]) == (0.01, MOST)
    assert notes.of(0) == model.summary.history
    assert [line.iteration for line in model.summary.history] == list(range(MOST + 1))
    # the last lines of a summary are written by its estimator
    [([summary], error)] = notes.ends
    assert (summary.reason, error) == (model.summary.reason, None)
    assert notes.places == {(os.getpid(), threading.get_ident())}


def test_a_callback_stops_the_fit(rows: DataFrame) -> None:
    first, second = Notes(stop_at=2), Notes()
    model = logistic(maxIter=50).setCallbacks([first, second]).fit(rows)
    assert str(model.summary.reason) == "callback at iteration 2: a callback asked to stop"
    expected = logistic(maxIter=2).fit(rows)
    np.testing.assert_array_equal(numbers(model), numbers(expected))
    # also behind the one that asked
    assert second.of(0) == model.summary.history


def test_callbacks_need_no_base_class(rows: DataFrame) -> None:
    class Few:
        def __init__(self) -> None:
            self.ended = 0

        def on_fit_end(self, fit: Any, summaries: Any, error: Any) -> None:
            self.ended += 1

    few = Few()
    logistic().setCallbacks(each for each in (few,)).fit(rows)
    assert few.ended == 1
    wrong: tuple[Any, ...] = (print, "on_iteration", Few)
    for each in wrong:
        with pytest.raises(TypeError, match="expected objects with at least one of the methods"):
            logistic().setCallbacks([each])


def test_copies_have_the_callbacks_and_saved_estimators_have_none(tmp_path: Path) -> None:
    notes = Notes()
    estimator = logistic().setCallbacks([notes])
    assert estimator.copy().callbacks == (notes,)
    assert Pipeline(stages=[estimator]).copy().getStages()[0].callbacks == (notes,)
    estimator.save(str(tmp_path / "saved"))
    assert LogisticRegression.load(str(tmp_path / "saved")).callbacks == ()
    assert estimator.setCallbacks([]).callbacks == ()


def test_models_of_a_grid_are_told_apart(rows: DataFrame) -> None:
    notes = Notes()
    estimator = logistic().setCallbacks([notes])
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.5, 0.1, 0.02]).build()
    models = dict(estimator.fitMultiple(rows, grid))
    [fit] = notes.fits
    assert [model.params["regParam"] for model in fit.models] == [0.5, 0.1, 0.02]
    for number, model in models.items():
        assert notes.of(number) == model.summary.history
    [(summaries, _)] = notes.ends
    assert [s.reason for s in summaries] == [models[k].summary.reason for k in range(3)]


def test_one_model_of_a_grid_is_stopped(rows: DataFrame) -> None:
    class StopSecond(FitCallback):
        def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> bool:
            return model == 1 and iteration.iteration == 1

    estimator = logistic().setCallbacks([StopSecond()])
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.5, 0.1, 0.02]).build()
    reasons = [m.summary.reason for _, m in sorted(estimator.fitMultiple(rows, grid))]
    assert [(r.name, r.iteration) for r in reasons] == [
        ("max_iter", MOST),
        ("callback", 1),
        ("max_iter", MOST),
    ]


def test_searches_and_classes_are_told_apart(spark: SparkSession, rows: DataFrame) -> None:
    notes = Notes()
    estimator = logistic().setCallbacks([notes])
    CrossValidator(
        estimator=estimator,
        estimatorParamMaps=ParamGridBuilder().addGrid(estimator.regParam, [0.5, 0.1]).build(),
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
        seed=1,
    ).fit(rows)
    folds, best = notes.fits
    assert [(m.held_out, m.params["regParam"]) for m in folds.models] == [
        (0, 0.5),
        (0, 0.1),
        (1, 0.5),
        (1, 0.1),
    ]
    assert [m.held_out for m in best.models] == [-1]
    assert {number for number, _ in notes.lines} == {0, 1, 2, 3}

    X, _ = binary_rows(60, 3)
    classes = frame(spark, X, np.argmax(X, axis=1))
    notes = Notes()
    svc = LinearSVC(loss="squaredHinge", maxIter=3).setCallbacks([notes])
    OneVsRest(classifier=svc).fit(classes)
    [fit] = notes.fits
    assert fit.name == "OneVsRest"
    assert [m.positive for m in fit.models] == [0, 1, 2]


def test_a_direct_solution_is_one_iteration(rows: DataFrame) -> None:
    notes = Notes()
    model = LinearRegression().setCallbacks([notes]).fit(rows)
    assert notes.of(0) == model.summary.history
    assert notes.fits[0].models[0].solver == "normal"


@pytest.mark.parametrize("where", ["on_fit_begin", "on_iteration", "on_fit_end"])
def test_what_a_callback_raises_ends_the_fit(
    rows: DataFrame, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Notes):
        def fail(self, *_: Any) -> None:
            raise Failed(where)

    before, after, fails = Notes(), Notes(), Fails()
    setattr(fails, where, fails.fail)
    estimator = logistic(execution="distributed").setCallbacks([before, fails, after])
    with pytest.raises(Failed, match=where) as caught:
        estimator.fit(rows)
    # every callback that has begun is told of the end
    [(summaries, error)] = before.ends
    if where == "on_fit_end":
        assert error is None
    else:
        assert error is caught.value
        assert summaries == (None,)
    assert len(after.ends) == len(after.fits) == (where != "on_fit_begin")
    # the session goes on as before
    estimator.setCallbacks([]).fit(rows)


def test_an_error_at_the_end_does_not_hide_the_first(
    rows: DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(FitCallback):
        def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> bool:
            raise KeyboardInterrupt

        def on_fit_end(self, fit: Fit, summaries: Any, error: BaseException | None) -> None:
            raise Failed("later")

    with pytest.raises(KeyboardInterrupt):
        logistic().setCallbacks([Fails()]).fit(rows)
    assert "Fails.on_fit_end failed: Failed('later')" in caplog.text


def test_a_model_that_diverges_has_no_summary(rows: DataFrame) -> None:
    notes = Notes()
    estimator = LinearRegression(
        solver="gradient-descent", lineSearch="fixed", stepSize=1e6, maxIter=100
    )
    with pytest.raises(DivergedError):
        estimator.setCallbacks([notes]).fit(rows)
    assert notes.ends == [((None,), None)]


def test_a_piece_is_a_fit_of_one_iteration(rows: DataFrame) -> None:
    notes = Notes(stop_at=0)
    estimator = LinearSVC(maxIter=50).setCallbacks([notes])
    model = estimator.partialFit(rows)
    [fit] = notes.fits
    assert (fit.name, fit.rows, fit.features) == ("LinearSVC", 80, 4)
    [told] = fit.models
    assert (told.estimator, told.solver, told.params["maxIter"]) == ("LinearSVC", "sgd", 1)
    assert notes.of(0) == model.summary.history
    [([summary], error)] = notes.ends
    assert (summary.reason, error) == (model.summary.reason, None)
    assert (model.summary.reason.name, model.getMaxIter()) == ("piece", 50)

    class Fails(FitCallback):
        def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> bool:
            raise Failed

    estimator.setCallbacks([notes, Fails()])
    with pytest.raises(Failed) as caught:
        estimator.partialFit(rows, model)
    assert notes.ends[-1][1] is caught.value
    # an empty piece is no fit
    assert estimator.partialFit(rows.limit(0), model) is model
    assert len(notes.fits) == len(notes.ends) == 2


# ---------------------------------------------------- MLflow


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    with mlflow_store(tmp_path, monkeypatch) as mlflow:
        yield mlflow


def test_mlflow_has_metrics_params_reason_and_summary(
    rows: DataFrame, store: Any, tmp_path: Path
) -> None:
    with store.start_run() as run:
        model = logistic().setCallbacks([MLflowLogger()]).fit(rows)
    client, number = store.MlflowClient(), run.info.run_id
    found = client.get_run(number).data
    history = model.summary.history
    for name in ("objective", "gradient_norm", "step_size", "passes", "seconds", "sent"):
        logged = {m.step: m.value for m in client.get_metric_history(number, name)}
        expected = {line.iteration: getattr(line, name) for line in history}
        assert logged == {k: v for k, v in expected.items() if np.isfinite(v)}, name
    assert "gap" not in found.metrics  # this solver has none
    assert (found.metrics["rows"], found.metrics["features"]) == (80, 4)
    assert found.params["estimator"] == "LogisticRegression"
    assert found.params["solver"] == "l-bfgs"
    assert (found.params["regParam"], found.params["maxIter"]) == ("0.01", str(MOST))
    assert found.tags["reason"] == str(model.summary.reason)
    text = Path(client.download_artifacts(number, "summary.txt", str(tmp_path))).read_text()
    assert "80 x 4 features" in text


def test_mlflow_tells_models_and_fits_apart(rows: DataFrame, store: Any) -> None:
    logger = MLflowLogger()
    estimator = logistic().setCallbacks([logger])
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.5, 0.1]).build()
    with store.start_run() as run:
        models = dict(estimator.fitMultiple(rows, grid))
        again = estimator.fit(rows)
    client = store.MlflowClient()
    found = client.get_run(run.info.run_id).data
    assert found.params["maxIter"] == str(MOST)
    for number, strength in enumerate(("0.5", "0.1")):
        assert found.params[f"model_{number}/regParam"] == strength
        last = models[number].summary.history[-1].objective
        assert found.metrics[f"model_{number}/objective"] == last
    assert "regParam" not in found.params
    assert found.params["fit_2/regParam"] == "0.01"
    assert found.metrics["fit_2/objective"] == again.summary.history[-1].objective


def test_mlflow_counts_the_fits_of_a_run_whoever_logs_them(rows: DataFrame, store: Any) -> None:
    with store.start_run() as run:
        first = logistic().setCallbacks([MLflowLogger()]).fit(rows)
        second = LinearSVC(maxIter=3).setCallbacks([MLflowLogger()]).fit(rows)
    client, number = store.MlflowClient(), run.info.run_id
    found = client.get_run(number).data
    assert (found.params["estimator"], found.params["fit_2/estimator"]) == (
        "LogisticRegression",
        "LinearSVC",
    )
    for name, model in (("objective", first), ("fit_2/objective", second)):
        logged = [metric.value for metric in client.get_metric_history(number, name)]
        assert logged == model.summary.objectiveHistory
    assert found.tags["sparkml_lsml.fits"] == "2"


def test_a_fit_that_mlflow_did_not_begin_leaves_the_run_before(rows: DataFrame, store: Any) -> None:
    estimator = logistic().setCallbacks([MLflowLogger()])
    with store.start_run() as run:
        model = estimator.fit(rows)
    with pytest.raises(BackendError, match="no MLflow run is active"):
        estimator.fit(rows)
    found = store.MlflowClient().get_run(run.info.run_id).data
    assert found.tags["reason"] == str(model.summary.reason)


def test_mlflow_notes_that_a_fit_failed(rows: DataFrame, store: Any) -> None:
    class Fails(FitCallback):
        def on_iteration(self, fit: Fit, model: int, iteration: Iteration) -> bool:
            if iteration.iteration == 2:
                raise Failed
            return False

    with store.start_run() as run:
        # in a thread no run is active, so that it is given
        estimator = logistic().setCallbacks([MLflowLogger(run.info.run_id), Fails()])
        with pytest.raises(Failed):
            estimator.fit(rows)
    found = store.MlflowClient().get_run(run.info.run_id).data
    assert found.tags["reason"] == "failed: Failed"
    history = store.MlflowClient().get_metric_history(run.info.run_id, "objective")
    assert [metric.step for metric in history] == [0, 1, 2]


def test_mlflow_without_a_run_or_without_mlflow_is_refused(
    rows: DataFrame, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = logistic().setCallbacks([MLflowLogger()])
    with pytest.raises(BackendError, match=r"no MLflow run is active .* mlflow.start_run"):
        estimator.fit(rows)
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(BackendError, match=r"pip install 'sparkml_lsml\[mlflow\]'"):
        estimator.fit(rows)


def test_the_allowlist_of_mlflow_names_our_models() -> None:
    """What MLflow logs of pyspark.ml's models it logs of ours: those that a fit returns."""
    lines = (ROOT / "conf" / "mlflow-models.txt").read_text().splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    rooms: tuple[Any, ...] = (classification, neural, regression)
    models = [
        found
        for room in rooms
        for name in room.__all__
        if isinstance(found := getattr(room, name), type) and name.endswith("Model")
    ]
    assert {model for model in models if issubclass(model, LinearModel)}
    assert sorted(listed) == sorted(f"{cls.__module__}.{cls.__name__}" for cls in models)
