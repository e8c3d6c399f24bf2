"""Checkpoints: a fit whose driver died goes on where it was, and says so."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.linalg import Matrices
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession

import sparkml_lsml.spark.folders.checkpoint as checkpoint_room
from sparkml_lsml.classification import LinearSVC, LogisticRegression, OneVsRest
from sparkml_lsml.errors import DataError, DivergedError, ParamError, PersistenceError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.cluster.jobs import JobGroup
from sparkml_lsml.spark.folders.fingerprint import Fingerprint, differences
from sparkml_lsml.spark.params.fit_settings import NO_MATTER, FitSettings
from sparkml_lsml.tuning import CrossValidator, regularization_path
from tests.faults import hook_passes
from tests.spark.helpers import binary_rows, frame, nothing_left, numbers

Patch = pytest.MonkeyPatch
ROOT = Path(__file__).resolve().parents[2]
FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "svc": (LinearSVC, {}),
    "squared hinge": (LinearSVC, {"loss": "squaredHinge"}),
    "sgd": (LinearSVC, {"solver": "sgd"}),
    "minibatch-sgd": (LinearSVC, {"solver": "minibatch-sgd", "miniBatchFraction": 0.5}),
    "elastic net": (LogisticRegression, {"elasticNetParam": 0.5}),
    "lbfgs": (LogisticRegression, {}),
    "descent": (LogisticRegression, {"solver": "gradient-descent"}),
    "multinomial": (LogisticRegression, {"family": "multinomial", "solver": "accelerated"}),
    "huber": (LinearRegression, {"loss": "huber"}),
}


class Died(BaseException):
    """Stands for the end of the driver, where a test cannot end it."""


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    # two, so that Spark joins none: it would look at where they are, and not always do the same
    return frame(spark, *binary_rows(80, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture(autouse=True)
def _nothing_left(spark: SparkSession) -> Iterator[None]:
    with nothing_left(spark):
        yield


def make(name: str, folder: Path | None = None, **params: Any) -> Any:
    cls, own = FITS[name]
    more = {} if folder is None else {"checkpointDir": str(folder), "checkpointInterval": 2}
    # merged in the order of the partitions: the last bits are then those of the other fit
    settings = {"regParam": 0.01, "maxIter": 14, "tol": 0.0, "aggregationDepth": 1}
    return cls(**settings | own | more | params)


def dies_in_pass(patch: Patch, number: int, fit: Any) -> None:
    """Run a fit until its pass of that number."""

    def hook(_: Any, passes: int) -> None:
        if passes == number:
            raise Died

    with patch.context() as context:
        hook_passes(context, hook)
        with pytest.raises(Died):
            fit()


def kept(folder: Path) -> list[str]:
    """Names of all files of checkpoints."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("name", "execution"),
    [*((name, "local") for name in FITS), ("svc", "distributed"), ("sgd", "distributed")],
)
def test_case_46_a_fit_goes_on_where_it_was(
    rows: DataFrame,
    folder: Path,
    monkeypatch: Patch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    execution: str,
) -> None:
    whole = make(name, execution=execution).fit(rows)
    estimator = make(name, folder, execution=execution)
    dies_in_pass(monkeypatch, 8, lambda: estimator.fit(rows))
    [fingerprint, file] = kept(folder)
    assert fingerprint == "fingerprint.json"
    assert re.fullmatch(r"pass-[4-8]-[0-9a-f]{8}\.zip", file)
    # another estimator with the same Params, as in another process: its uid is new
    caplog.clear()
    model = make(name, folder, execution=execution).fit(rows)
    [note] = model.summary.notes
    assert re.fullmatch(r"resumed at iteration [1-7] from a checkpoint", note)
    assert note.removesuffix(" from a checkpoint") in caplog.text
    assert np.array_equal(numbers(model), numbers(whole))
    assert model.summary.objectiveHistory == whole.summary.objectiveHistory
    assert model.summary.passes == whole.summary.passes
    assert kept(folder) == []


def test_case_46_dual_ascent_goes_on_from_its_best_point(
    rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    def svc(**params: Any) -> Any:
        return LinearSVC(
            regParam=0.1, solver="cocoa", tol=1e-3, execution="distributed", maxIter=200, **params
        )

    more = {"checkpointDir": str(folder), "checkpointInterval": 2}
    dies_in_pass(monkeypatch, 8, lambda: svc(**more).fit(rows))
    model, whole = svc(**more).fit(rows), svc().fit(rows)
    assert model.summary.reason.name == "converged"
    # both are within tol of the minimum
    assert model.summary.objective == pytest.approx(whole.summary.objective, rel=1e-3)
    history = model.summary.to_pandas()
    assert history.iteration.is_monotonic_increasing
    assert history.objective.is_monotonic_decreasing


def test_case_46_whole_searches_go_on(
    rows: DataFrame, folder: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    def search(**params: Any) -> Any:
        lr = LogisticRegression(maxIter=10, tol=0.0, aggregationDepth=1, **params)
        grid = ParamGridBuilder().addGrid(lr.regParam, [0.01, 0.1]).build()
        evaluator = BinaryClassificationEvaluator()
        return CrossValidator(
            estimator=lr, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=3
        )

    more = {"checkpointDir": str(folder), "checkpointInterval": 3}
    whole = search().fit(rows)
    # the grid takes some 11 passes, the model of all rows comes after it
    dies_in_pass(monkeypatch, 20, lambda: search(**more).fit(rows))
    names = kept(folder)
    assert names[:2] == ["fingerprint.json"] * 2
    assert len(names) == 4
    ran: list[str] = []
    with monkeypatch.context() as context:
        ran = hook_passes(context)
        model = search(**more).fit(rows)
    assert len(ran) < 10
    assert model.avgMetrics == whole.avgMetrics
    assert np.array_equal(numbers(model.bestModel), numbers(whole.bestModel))
    assert kept(folder) == []


def test_case_46_a_path_keeps_the_parts_that_are_done(
    rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    lasso = LinearRegression(elasticNetParam=1.0, solver="l-bfgs", aggregationDepth=1, tol=1e-9)
    whole = regularization_path(lasso, rows, n=6, together=2)
    noted = lasso.copy({lasso.checkpointDir: str(folder), lasso.checkpointInterval: 1})
    died = whole.passes - 2
    dies_in_pass(monkeypatch, died, lambda: regularization_path(noted, rows, n=6, together=2))
    again = regularization_path(noted, rows, n=6, together=2)
    assert again.passes < 10
    assert np.array_equal(again.coefficients, whole.coefficients)
    assert kept(folder) == []


def test_case_46_one_model_a_class(spark: SparkSession, folder: Path, monkeypatch: Patch) -> None:
    X, _ = binary_rows(60, 3)
    three = frame(spark, X, np.argmax(X, axis=1).astype(float))
    svc = make("squared hinge", folder)
    dies_in_pass(monkeypatch, 8, lambda: OneVsRest(classifier=svc).fit(three))
    model = OneVsRest(classifier=svc).fit(three)
    whole = OneVsRest(classifier=make("squared hinge")).fit(three)
    assert "resumed at iteration" in model.models[0].summary.notes[0]
    for mine, other in zip(model.models, whole.models, strict=True):
        assert np.array_equal(numbers(mine), numbers(other))


def test_case_46_columns_in_another_case(rows: DataFrame, folder: Path, monkeypatch: Patch) -> None:
    """As Spark itself takes them, and fits without checkpoints do."""
    names = {"featuresCol": "Features", "labelCol": "LABEL"}
    whole = make("lbfgs").fit(rows)
    estimator = make("lbfgs", folder, **names)
    dies_in_pass(monkeypatch, 8, lambda: estimator.fit(rows))
    model = estimator.fit(rows)
    assert numbers(model).tolist() == numbers(whole).tolist()
    assert any(note.startswith("resumed at iteration") for note in model.summary.notes)


# ---------------------------------------------------- what is not resumed from


def left_by_a_dead_fit(rows: DataFrame, folder: Path, patch: Patch) -> tuple[Path, bytes]:
    """The checkpoint of a fit that died: its file, and what is in it."""
    dies_in_pass(patch, 8, lambda: make("elastic net", folder).fit(rows))
    [path] = folder.glob("*/pass-*.zip")
    return path, path.read_bytes()


def test_case_47_truncated(rows: DataFrame, folder: Path, monkeypatch: Patch) -> None:
    path, content = left_by_a_dead_fit(rows, folder, monkeypatch)
    path.write_bytes(content[:-30])
    with pytest.raises(PersistenceError, match=r"pass-7-\w+\.zip cannot be resumed from.*damaged"):
        make("elastic net", folder).fit(rows)
    # what is refused is kept: it may be of use to whoever looks at it
    assert path.read_bytes() == content[:-30]


def test_case_47_changed_on_the_disk(rows: DataFrame, folder: Path, monkeypatch: Patch) -> None:
    path, content = left_by_a_dead_fit(rows, folder, monkeypatch)
    path.write_bytes(content[:500] + b"?" + content[501:])
    with pytest.raises(PersistenceError, match=r"cannot be resumed from.*damaged: Bad CRC-32"):
        make("elastic net", folder).fit(rows)


def test_case_47_a_fingerprint_that_cannot_be_read(
    rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    path, _ = left_by_a_dead_fit(rows, folder, monkeypatch)
    (path.parent / "fingerprint.json").write_text("{}")
    with pytest.raises(PersistenceError, match=r"fingerprint\.json cannot be read"):
        make("elastic net", folder).fit(rows)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("param", "models.0.regParam: 0.01 there, 0.02 here"),
        ("rows", "rows: 80 there, 79 here"),
        ("schema", "columns.features: 'vector' there, 'array<double>' here"),
        ("values", "the mean of feature 2: "),
        ("label", "labels.1.0: "),
        ("order", "checksum of the rows: "),
    ],
)
def test_case_47_of_another_fit(
    spark: SparkSession,
    rows: DataFrame,
    folder: Path,
    monkeypatch: Patch,
    caplog: pytest.LogCaptureFixture,
    change: str,
    told: str,
) -> None:
    path, content = left_by_a_dead_fit(rows, folder, monkeypatch)
    X, y = binary_rows(80, 4)
    estimator, other = make("elastic net", folder), rows
    if change == "param":
        estimator.setRegParam(0.02)
    elif change == "rows":
        other = frame(spark, X[1:], y[1:])
    elif change == "schema":
        other = frame(spark, X, y, kind="double")
    elif change == "values":
        X[5, 2] += 1e-6
        other = frame(spark, X, y)
    elif change == "label":
        y[5] = 1.0 - y[5]
        other = frame(spark, X, y)
    elif change == "order":
        # the same labels and the same features, of other rows
        other = frame(spark, X, np.roll(y, 7))
    model = estimator.fit(other)
    assert "is of another fit and is not used" in caplog.text
    assert told in caplog.text
    fresh = estimator.copy({estimator.checkpointDir: ""}).fit(other)
    assert np.array_equal(numbers(model), numbers(fresh))
    # what belongs to the other fit stays for it
    assert path.read_bytes() == content


def test_case_47_of_other_bounds(
    spark: SparkSession, folder: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of matrices, too, that look alike when printed: 20 values, the middle ones left out."""
    rows = frame(spark, *binary_rows(80, 20))

    def bounded(middle: float, **params: Any) -> Any:
        upper = np.full((1, 20), 0.5)
        upper[0, 10] = middle
        bounds = Matrices.dense(1, 20, upper.ravel())
        return make("lbfgs", folder, upperBoundsOnCoefficients=bounds, **params)

    dies_in_pass(monkeypatch, 6, lambda: bounded(0.25).fit(rows))
    model = bounded(0.0).fit(rows)
    assert "models.0.upperBoundsOnCoefficients" in caplog.text
    whole = bounded(0.0, checkpointInterval=-1).fit(rows)
    assert np.array_equal(numbers(model), numbers(whole))


def test_case_47_other_labels_of_a_regression(
    spark: SparkSession, folder: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    X, _ = binary_rows(80, 4)
    dies_in_pass(monkeypatch, 6, lambda: make("huber", folder).fit(frame(spark, X, X[:, 0])))
    make("huber", folder).fit(frame(spark, X, X[:, 0] + 1.0))
    assert "the mean of the label: " in caplog.text


def test_case_47_a_folder_of_another_name(
    rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    """Somebody moved the checkpoint of one fit to where that of another would be."""
    dies_in_pass(monkeypatch, 8, lambda: make("elastic net", folder).fit(rows))
    [mine] = folder.iterdir()
    dies_in_pass(monkeypatch, 8, lambda: make("elastic net", folder, seed=7).fit(rows))
    [other] = set(folder.iterdir()) - {mine}
    shutil.rmtree(mine)
    other.rename(mine)
    with pytest.raises(PersistenceError, match=r"of another fit than its name says.*seed: 7 there"):
        make("elastic net", folder).fit(rows)


def test_neighbours_that_are_damaged_do_no_harm(
    rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    path, _ = left_by_a_dead_fit(rows, folder, monkeypatch)
    (path.parent / "fingerprint.json").write_text('{"exact": {}, "moments": {"the label": {}}}')
    make("elastic net", folder, seed=7).fit(rows)
    assert path.exists()


def test_a_checkpoint_of_the_second_of_two_fits_at_once_is_found(
    rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    path, _ = left_by_a_dead_fit(rows, folder, monkeypatch)
    path.parent.rename(f"{path.parent}-1")
    model = make("elastic net", folder).fit(rows)
    assert "resumed at iteration 6 from a checkpoint" in model.summary.notes
    assert kept(folder) == []


def test_a_second_interrupt_while_the_last_tasks_end(
    spark: SparkSession, rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    """Who presses Ctrl-C twice leaves nothing behind either, and resumes in the same session."""

    def cancel(_: Any) -> None:
        raise KeyboardInterrupt

    def interrupt(_: Any, number: int) -> None:
        if number == 8:
            raise KeyboardInterrupt

    estimator = make("elastic net", folder, execution="distributed")
    with nothing_left(spark), monkeypatch.context() as patch:
        patch.setattr(JobGroup, "cancel", cancel)
        hook_passes(patch, interrupt)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(rows)
    model = estimator.fit(rows)
    assert "resumed at iteration 6 from a checkpoint" in model.summary.notes
    assert kept(folder) == []


@pytest.mark.parametrize("started", ["before", "after"])
def test_files_of_another_driver_stay(
    rows: DataFrame, folder: Path, monkeypatch: Patch, started: str
) -> None:
    """Two drivers do the same by mistake, in the same passes: each leaves the other its files."""
    theirs = "pass-7-0000beef.zip"
    seen: list[list[str]] = []
    if started == "before":
        # ours goes on from where the other one stood
        path, _ = left_by_a_dead_fit(rows, folder, monkeypatch)
        path.rename(path.with_name("pass-5-0000beef.zip"))

    def hook(_: Any, number: int) -> None:
        if number == (3 if started == "before" else 6):
            [own] = folder.iterdir()
            (own / theirs).write_text("of the other")
        seen.append(kept(folder))

    with monkeypatch.context() as context:
        hook_passes(context, hook)
        make("elastic net", folder).fit(rows)
    after = seen[seen.index(next(names for names in seen if theirs in names)) :]
    assert all(theirs in names for names in after)
    ours = {name for names in after for name in names if "beef" not in name} - {"fingerprint.json"}
    if started == "after":
        assert any(name.startswith("pass-7-") for name in ours)
    else:
        assert ours
        assert all("pass-5-0000beef.zip" in names for names in seen)
    assert kept(folder) == ["fingerprint.json", theirs]


def test_what_a_dead_driver_did_not_remove_is_removed(
    rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    path, content = left_by_a_dead_fit(rows, folder, monkeypatch)
    path.with_name("pass-5.zip").write_bytes(content)
    path.with_name(".pass-9.zip-part").write_bytes(content[:100])
    make("elastic net", folder).fit(rows)
    assert kept(folder) == []


def test_rows_in_another_order_are_the_same_rows(
    rows: DataFrame, folder: Path, monkeypatch: Patch
) -> None:
    left_by_a_dead_fit(rows, folder, monkeypatch)
    shuffled = rows.repartition(3).localCheckpoint()
    model = make("elastic net", folder).fit(shuffled)
    assert "resumed at iteration 6 from a checkpoint" in model.summary.notes
    whole = make("elastic net").fit(rows)
    np.testing.assert_allclose(numbers(model), numbers(whole), rtol=1e-7)


BOUNDS = {
    f"{end}BoundsOn{what}" for end in ("lower", "upper") for what in ("Coefficients", "Intercepts")
}


@pytest.mark.parametrize(
    ("cls", "own"),
    [
        (LinearSVC, {"loss"}),
        (LogisticRegression, {"family", *BOUNDS}),
        (LinearRegression, {"loss", "epsilon"}),
    ],
)
def test_what_a_fit_depends_on(cls: type[Any], own: set[str]) -> None:
    """A new Param that no coefficient depends on is to be listed, or checkpoints are not found."""
    settings = FitSettings.of(cls())
    assert set(settings.own) == own
    names = {param.name for param in cls().params} - set(NO_MATTER)
    assert names | {"classWeight"} == set(settings.params())


def test_differences_of_fingerprints() -> None:
    figures = {"mean": [1.0, 2.0], "deviation": [1.0, 0.0], "size": [2.0, 2.0]}
    here = Fingerprint({"rows": 3, "models": [{"a": 1}]}, {"the features": figures})
    assert differences(Fingerprint.from_json(here.to_json()), here) == []
    near = dict(figures, mean=[1.0 + 1e-9, 2.0])
    assert differences(Fingerprint(here.exact, {"the features": near}), here) == []
    far = dict(figures, mean=[1.0, 2.0 + 1e-8])
    assert differences(Fingerprint(here.exact, {"the features": far}), here) == [
        "the mean of feature 1: 2.00000001 there, 2 here"
    ]
    other = Fingerprint({"rows": 3, "models": [{"b": 2}]}, here.moments)
    assert differences(other, here) == [
        "models.0.b: 2 there, nothing here",
        "models.0.a: nothing there, 1 here",
    ]
    assert other.digest != here.digest


# ---------------------------------------------------- folders that cannot be written to


@pytest.fixture
def file_in_the_way(tmp_path: Path) -> Path:
    """A file where a folder is wanted: root, too, cannot write below it."""
    path = tmp_path / "file"
    path.write_text("")
    return path / "checkpoints"


def test_case_48_not_writable(rows: DataFrame, file_in_the_way: Path, monkeypatch: Patch) -> None:
    passes = hook_passes(monkeypatch)
    with pytest.raises(PersistenceError, match=r"checkpointDir=.* cannot be written to: .*file"):
        make("svc", file_in_the_way).fit(rows)
    assert passes == []


def test_case_48_no_such_file_system(rows: DataFrame) -> None:
    with pytest.raises(PersistenceError, match="nowhere"):
        LinearSVC(checkpointDir="nowhere://host/folder").fit(rows)


def test_case_48_not_writable_later(
    rows: DataFrame, folder: Path, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    """The fit goes on; what was written before stays."""
    seen: list[list[str]] = []

    def hook(_: Any, number: int) -> None:
        if number == 6:
            # a folder in place of the file that is to come
            [own] = folder.iterdir()
            [before] = own.glob("pass-*.zip")
            come = before.name.replace("pass-5", "pass-7")
            (own / come / "in the way").mkdir(parents=True)
        if number == 8:
            seen.append(kept(folder))

    with monkeypatch.context() as context:
        hook_passes(context, hook)
        model = make("elastic net", folder).fit(rows)
    [[fingerprint, file]] = seen
    assert (fingerprint, file.partition("-")[2][:2]) == ("fingerprint.json", "5-")
    assert "checkpoint of iteration 6 could not be written" in caplog.text
    whole = make("elastic net").fit(rows)
    assert np.array_equal(numbers(model), numbers(whole))


# ---------------------------------------------------- what is left behind


@pytest.mark.parametrize("interval", [-1, 100])
def test_few_iterations_write_nothing(rows: DataFrame, folder: Path, interval: int) -> None:
    make("svc", folder).setCheckpointInterval(interval).fit(rows)
    assert kept(folder) == []


def test_without_a_folder_nothing_is_written(rows: DataFrame, monkeypatch: Patch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was written")

    monkeypatch.setattr(checkpoint_room, "_put", refuse)
    LinearSVC(maxIter=12).fit(rows)


def test_the_normal_equations_have_none(rows: DataFrame, folder: Path) -> None:
    model = LinearRegression(checkpointDir=str(folder), checkpointInterval=1).fit(rows)
    assert model.summary.solver == "normal"
    assert kept(folder) == []


def test_fits_that_cannot_succeed_leave_none(
    spark: SparkSession, rows: DataFrame, folder: Path
) -> None:
    diverging = make("descent", folder, stepSize=1e6, lineSearch="fixed").setCheckpointInterval(1)
    with pytest.raises(DivergedError):
        diverging.fit(rows)
    with pytest.raises(DataError):
        make("svc", folder).fit(frame(spark, [[1.0], [2.0]], [0.0, float("nan")]))
    assert kept(folder) == []


def test_two_fits_at_once_do_not_meet(rows: DataFrame, folder: Path, monkeypatch: Patch) -> None:
    """The same fit twice, one within a pass of the other: each has a folder of its own."""
    whole = make("elastic net").fit(rows)
    inner: list[Any] = []

    def hook(_: Any, number: int) -> None:
        if number == 8:
            with monkeypatch.context() as context:
                context.undo()
                inner.append(make("elastic net", folder).fit(rows))

    with monkeypatch.context() as context:
        hook_passes(context, hook)
        outer = make("elastic net", folder).fit(rows)
    assert inner[0].summary.notes == outer.summary.notes == ()
    assert np.array_equal(numbers(inner[0]), numbers(whole))
    assert np.array_equal(numbers(outer), numbers(whole))
    assert kept(folder) == []


@pytest.mark.parametrize(("name", "value"), [("checkpointInterval", 0), ("checkpointInterval", -2)])
def test_params_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ParamError, match="1 or more, or -1"):
        LinearSVC(**{name: value})


def test_blanks_and_umlauts_in_the_path(
    rows: DataFrame, tmp_path: Path, monkeypatch: Patch
) -> None:
    folder = tmp_path / "ein Ordner für 100 %"
    left_by_a_dead_fit(rows, folder, monkeypatch)
    assert "resumed at" in make("elastic net", folder).fit(rows).summary.notes[0]
    shutil.rmtree(folder)
