"""Saving and loading: whole or not at all, and nothing that the caller did not name."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark
import pytest
from pyspark import RDD
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import OneVsRest, OneVsRestModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder
from pyspark.ml.util import DefaultParamsReader, JavaMLWriter, MLWriter
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.readwriter import DataFrameWriter
from pyspark.sql.types import ArrayType, DoubleType, IntegerType, StringType, StructField

from sparkml_lsml import classification, regression
from sparkml_lsml.classification import (
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    LogisticRegressionModel,
)
from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.regression import LinearRegression, LinearRegressionModel
from sparkml_lsml.spark.folders import arrays as stored_arrays
from sparkml_lsml.spark.folders import paths, persistence
from sparkml_lsml.spark.folders.composite import source_of
from sparkml_lsml.spark.folders.metadata import checksum
from sparkml_lsml.spark.folders.persistence import SafeReader, SafeWriter, WholeWriter
from sparkml_lsml.tuning import CrossValidator as OurCrossValidator
from tests.programs import environment
from tests.spark.helpers import (
    ESTIMATORS,
    binary_rows,
    frame,
    jobs_so_far,
    numbers,
    refused,
)
from tests.spark.saving import KINDS, LAST

Array = npt.NDArray[np.float64]

X, Y = binary_rows(40, 3, seed=8)
CLASSES3 = np.digitize(X @ [1.0, -0.5, 0.2], [-0.5, 0.6]).astype(np.float64)
SCHEMA = "name string, chunk int, values array<double>"
ROOT = Path(__file__).resolve().parents[2]

MAKERS: dict[str, Callable[[], Any]] = {
    "svc": lambda: LinearSVC(regParam=0.1, threshold=float("-inf"), weightCol="weight"),
    "squared hinge": lambda: LinearSVC(loss="squaredHinge", predictionCol="p"),
    "binomial": lambda: LogisticRegression(regParam=0.1, thresholds=[0.25, 0.75]),
    "multinomial": lambda: LogisticRegression(regParam=0.1, family="multinomial", threshold=0.7),
    "linear": lambda: LinearRegression(solver="l-bfgs", fitIntercept=False),
    "huber": lambda: LinearRegression(loss="huber", epsilon=1.5),
}
each_maker = pytest.mark.parametrize("kind", MAKERS)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, X, Y, np.ones(len(Y)))


@pytest.fixture(scope="module")
def models(spark: SparkSession, rows: DataFrame) -> dict[str, Any]:
    """A fitted model of each kind."""
    three = frame(spark, X, CLASSES3, np.ones(len(Y)))
    return {
        kind: make().fit(three if kind == "multinomial" else rows) for kind, make in MAKERS.items()
    }


@pytest.fixture(scope="module")
def binomial(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a LogisticRegressionModel, saved once; not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    models["binomial"].save(str(folder))
    return folder


@pytest.fixture
def saved(binomial: Path, tmp_path: Path) -> Path:
    """Folder of a saved LogisticRegressionModel, for the test to damage."""
    return Path(shutil.copytree(binomial, tmp_path / "model"))


def named(params: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Params that are set, and the defaults, by name."""
    return (
        {param.name: value for param, value in params._paramMap.items()},
        {param.name: value for param, value in params._defaultParamMap.items()},
    )


def scores(model: Any, rows: DataFrame) -> list[Any]:
    """The columns that a model adds."""
    found = model.transform(rows)
    return list(
        found.select(*[name for name in found.columns if name not in rows.columns]).collect()
    )


def metadata_of(folder: Path) -> dict[str, Any]:
    [part] = (folder / "metadata").glob("part-*")
    [line] = part.read_text().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def write_metadata(folder: Path, text: str) -> None:
    """Put other metadata in place of what was saved, as one would with an editor."""
    shutil.rmtree(folder / "metadata")
    (folder / "metadata").mkdir()
    (folder / "metadata" / "part-00000").write_text(text + "\n")


def change(folder: Path, **entries: Any) -> None:
    """Change metadata as somebody would who wants them to be taken for whole."""
    metadata = metadata_of(folder) | entries
    metadata["checksum"] = checksum(
        {key: value for key, value in metadata.items() if key != "checksum"}
    )
    write_metadata(folder, json.dumps(metadata))


def declare(folder: Path, **shapes: Any) -> None:
    """Declare other shapes of the arrays."""
    change(folder, arrays={name: {"shape": n, "sha256": ""} for name, n in shapes.items()})


def write_arrays(
    spark: SparkSession,
    folder: Path,
    found: list[Any],
    schema: str = SCHEMA,
    compression: str = "none",
) -> None:
    """Put other arrays in place of what was saved."""
    shutil.rmtree(folder / "data")
    rows = spark.createDataFrame(found, schema).coalesce(1)
    rows.write.option("compression", compression).parquet(str(folder / "data"))


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {str(p): p.read_bytes() for p in files}


# ---------------------------------------------------- there and back


@each_maker
def test_case_60_an_estimator_there_and_back(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    estimator = MAKERS[kind]()
    estimator.save(str(tmp_path / "e"))
    found = type(estimator).load(str(tmp_path / "e"))
    assert type(found) is type(estimator)
    assert found.uid == estimator.uid
    assert named(found) == named(estimator)
    assert found.regParam.parent == estimator.uid
    # by the other way that MLlib has
    assert named(type(estimator).read().load(str(tmp_path / "e"))) == named(estimator)


@each_maker
def test_case_60_a_model_there_and_back(
    rows: DataFrame, models: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    model = models[kind]
    model.save(str(tmp_path / "m"))
    found = type(model).load(str(tmp_path / "m"))
    assert type(found) is type(model)
    assert found.uid == model.uid
    assert named(found) == named(model)
    assert numbers(found).tolist() == numbers(model).tolist()
    assert found.numFeatures == 3
    if isinstance(model, LogisticRegressionModel):
        assert found.numClasses == model.numClasses == (3 if kind == "multinomial" else 2)
    if kind == "huber":
        assert model.scale != 1.0
        assert found.scale == model.scale
    assert scores(found, rows) == scores(model, rows)
    # a summary is not saved
    assert model.hasSummary
    assert not found.hasSummary
    with pytest.raises(RuntimeError, match="no training summary"):
        _ = found.summary
    # and once more: a loaded model can be saved
    if kind == "binomial":
        found.save(str(tmp_path / "again"))
        assert scores(type(model).load(str(tmp_path / "again")), rows) == scores(model, rows)


def test_case_60_an_infinite_intercept(spark: SparkSession, tmp_path: Path) -> None:
    """Labels of one class give one, in MLlib and here."""
    model = LogisticRegression().fit(frame(spark, X, np.ones(len(Y))))
    assert model.intercept == float("inf")
    model.save(str(tmp_path / "m"))
    assert LogisticRegressionModel.load(str(tmp_path / "m")).intercept == float("inf")


def test_case_60_in_a_pipeline(rows: DataFrame, tmp_path: Path) -> None:
    settings = {"featuresCol": "x", "regParam": 0.1, "maxIter": 3}
    pipeline = Pipeline(
        stages=[
            VectorAssembler(inputCols=["features"], outputCol="x"),
            LinearSVC(predictionCol="a", rawPredictionCol="", **settings),  # type: ignore[arg-type]
            LogisticRegression(predictionCol="b", rawPredictionCol="c", **settings),  # type: ignore[arg-type]
            LinearRegression(predictionCol="d", **settings),  # type: ignore[arg-type]
        ]
    )
    pipeline.save(str(tmp_path / "pipeline"))
    again = Pipeline.load(str(tmp_path / "pipeline"))
    model = pipeline.fit(rows)
    model.save(str(tmp_path / "model"))
    found = PipelineModel.load(str(tmp_path / "model"))
    for number, cls in enumerate(ESTIMATORS, 1):
        assert type(again.getStages()[number]) is cls
        assert named(again.getStages()[number]) == named(pipeline.getStages()[number])
        here, there = found.stages[number], model.stages[number]
        assert type(here) is type(there)
        assert here.uid == there.uid == pipeline.getStages()[number].uid
        assert numbers(here).tolist() == numbers(there).tolist()
    assert scores(found, rows) == scores(model, rows)
    assert scores(again.fit(rows), rows) == scores(model, rows)


def test_case_60_in_one_vs_rest(spark: SparkSession, tmp_path: Path) -> None:
    three = frame(spark, X, CLASSES3)
    model = OneVsRest(classifier=LogisticRegression(regParam=0.1)).fit(three)
    model.save(str(tmp_path / "m"))
    found = OneVsRestModel.load(str(tmp_path / "m"))
    predicted = [
        [row.prediction for row in each.transform(three).collect()] for each in (found, model)
    ]
    assert predicted[0] == predicted[1]
    assert len(set(predicted[0])) == 3


def test_case_60_in_a_search(rows: DataFrame, tmp_path: Path) -> None:
    estimator = LinearRegression(maxIter=5)
    search = CrossValidator(
        estimator=estimator,
        estimatorParamMaps=ParamGridBuilder().addGrid(estimator.regParam, [0.1, 1.0]).build(),
        evaluator=RegressionEvaluator(),
        numFolds=2,
    )
    model = search.fit(rows)
    model.save(str(tmp_path / "m"))
    found = CrossValidatorModel.load(str(tmp_path / "m"))
    assert numbers(found.bestModel).tolist() == numbers(model.bestModel).tolist()
    assert found.avgMetrics == model.avgMetrics
    [strength] = {param.name for param in found.getEstimatorParamMaps()[0]}
    assert strength == "regParam"


@pytest.mark.parametrize("chunk", [1, 5])
def test_case_60_arrays_in_chunks(
    spark: SparkSession,
    models: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
) -> None:
    monkeypatch.setattr(stored_arrays, "CHUNK", chunk)
    model = models["multinomial"]
    model.save(str(tmp_path / "m"))
    found = spark.read.parquet(str(tmp_path / "m" / "data")).collect()
    parts = [len(row["values"]) for row in found if row["name"] == "coefficients"]
    assert sum(parts) == 9
    assert max(parts) == chunk
    # in whichever order the rows come
    write_arrays(spark, tmp_path / "m", found[::-1])
    again = LogisticRegressionModel.load(str(tmp_path / "m"))
    assert numbers(again).tolist() == numbers(model).tolist()


# ---------------------------------------------------- what lies on the disk


@each_maker
def test_case_60_the_format(
    spark: SparkSession, models: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    model = models[kind]
    model.save(str(tmp_path / "m"))
    metadata = metadata_of(tmp_path / "m")
    module = regression if kind in ("linear", "huber") else classification
    name = type(model).__name__
    assert metadata["class"] == f"{getattr(module, name).__module__}.{name}"
    assert metadata["uid"] == model.uid
    assert metadata["sparkVersion"] == pyspark.__version__
    assert metadata["formatVersion"] == 1
    assert 1.6e12 < metadata["timestamp"] < 1e13  # milliseconds
    set_, defaults = named(model)
    assert metadata["paramMap"] == set_
    assert metadata["defaultParamMap"] == defaults
    assert metadata["arrays"]["coefficients"]["shape"] == [3 if kind == "multinomial" else 1, 3]
    # pipelines read it so
    seen = DefaultParamsReader.loadMetadata(str(tmp_path / "m"), source_of(spark))
    assert seen["class"] == metadata["class"]
    # the arrays as anybody can read them
    data = spark.read.parquet(str(tmp_path / "m" / "data"))
    assert data.schema.fields == [
        StructField("name", StringType()),
        StructField("chunk", IntegerType()),
        StructField("values", ArrayType(DoubleType())),
    ]
    arrays = {row["name"]: row["values"] for row in data.collect()}
    assert [*arrays["coefficients"], *arrays["intercepts"]] == numbers(model).tolist()


def test_case_60_nothing_is_pickled(binomial: Path, tmp_path: Path) -> None:
    LogisticRegression().save(str(tmp_path / "estimator"))
    for folder in (binomial, tmp_path / "estimator"):
        for path in (path for path in folder.rglob("*") if path.is_file()):
            start = path.read_bytes()[:4]
            if path.name.startswith("part-"):
                good = start == b"PAR1" if path.parent.name == "data" else start[:1] == b"{"
            else:
                good = path.suffix == ".crc" or (path.name == "_SUCCESS" and start == b"")
            assert good, path
        assert {path.name for path in folder.iterdir()} <= {"metadata", "data"}
        assert (folder / "data").exists() == (folder == binomial)


# ---------------------------------------------------- over what is there


@pytest.mark.parametrize("there", ["a model", "a folder", "a file"])
def test_case_60_over_what_is_there(models: dict[str, Any], tmp_path: Path, there: str) -> None:
    path = tmp_path / "m"
    if there == "a folder":
        path.mkdir()
        (path / "mine").write_text("precious")
    elif there == "a file":
        path.write_text("precious")
    else:
        models["svc"].save(str(path))

    before = content(path)
    with pytest.raises(FileExistsError, match="overwrite") as caught:
        models["linear"].save(str(path))
    assert str(path) in str(caught.value)
    assert content(path) == before
    assert beside(path) == ["m"]
    models["linear"].write().overwrite().save(str(path))
    found = LinearRegressionModel.load(str(path))
    assert numbers(found).tolist() == numbers(models["linear"]).tolist()
    assert beside(path) == ["m"]
    assert not (path / "mine").exists()


def test_case_60_two_saves_at_once(
    models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is ready later does not replace what it was not asked to."""
    path = tmp_path / "m"
    real = SafeWriter.saveImpl

    def slow(self: SafeWriter, sibling: str) -> None:
        real(self, sibling)
        monkeypatch.setattr(SafeWriter, "saveImpl", real)
        models["svc"].save(str(path))

    monkeypatch.setattr(SafeWriter, "saveImpl", slow)
    with pytest.raises(FileExistsError, match="in the meantime"):
        models["linear"].save(str(path))
    found = LinearSVCModel.load(str(path))
    assert numbers(found).tolist() == numbers(models["svc"]).tolist()
    assert beside(path) == ["m"]


def test_case_60_overwrite_where_there_is_nothing(models: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "m"
    models["linear"].write().overwrite().save(f"{path}/")
    assert beside(path) == ["m"]
    LinearRegressionModel.load(f"file://{path}")


class Interrupter:
    """Makes a step of a save raise: before it is done, or just after."""

    def __init__(self, patch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
        self.patch = patch
        self.error = error
        self.calls = 0

    def at(self, owner: Any, name: str, call: int, done: bool) -> None:
        original = getattr(owner, name)

        def raising(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls != call:
                return original(*args, **kwargs)
            if done:
                original(*args, **kwargs)
            raise self.error("a test's interrupt")

        self.patch.setattr(owner, name, raising)


STEPS = {
    "arrays": (persistence, "write_file", 1),
    "metadata": (persistence, "write_line", 1),
    "reading back": (SafeReader, "load", 1),
    "rename": (paths, "rename", 1),
}
OVERWRITE_STEPS = STEPS | {
    "second rename": (paths, "rename", 2),
    "removal of the former": (paths, "delete", 1),
}


each_interrupt = pytest.mark.parametrize(
    ("interrupter", "done"),
    [(KeyboardInterrupt, False), (OSError, True)],
    indirect=["interrupter"],
    ids=["before", "after"],
)


@pytest.fixture
def interrupter(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Interrupter]:
    with monkeypatch.context() as patch:
        yield Interrupter(patch, request.param)


@each_interrupt
@pytest.mark.parametrize("step", STEPS)
def test_case_60_an_interrupted_save(
    spark: SparkSession,
    models: dict[str, Any],
    tmp_path: Path,
    interrupter: Interrupter,
    step: str,
    done: bool,
) -> None:
    owner, name, call = STEPS[step]
    interrupter.at(owner, name, call, done)
    path = tmp_path / "m"
    with pytest.raises((interrupter.error, PersistenceError), match="a test's interrupt"):
        models["svc"].save(str(path))
    interrupter.patch.undo()
    if (step, done) == ("rename", True):  # all was written
        assert LinearSVCModel.load(str(path)).uid == models["svc"].uid
        assert beside(path) == ["m"]
        return
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PersistenceError, match="no saved"):
        LinearSVCModel.load(str(path))
    models["svc"].save(str(path))
    assert beside(path) == ["m"]


@each_interrupt
@pytest.mark.parametrize("step", OVERWRITE_STEPS)
def test_case_60_an_interrupted_overwrite(
    models: dict[str, Any], saved: Path, interrupter: Interrupter, step: str, done: bool
) -> None:
    path, former = saved, models["binomial"]
    new = LogisticRegressionModel(np.array([[1.0, 2.0, 3.0]]), np.array([4.0]))
    owner, name, call = OVERWRITE_STEPS[step]
    interrupter.at(owner, name, call, done)
    with pytest.raises((interrupter.error, PersistenceError), match="a test's interrupt"):
        new.write().overwrite().save(str(path))
    interrupter.patch.undo()
    found = LogisticRegressionModel.load(str(path))
    replaced = step == "removal of the former" or (step, done) == ("second rename", True)
    expected = new if replaced else former
    assert found.uid == expected.uid
    assert numbers(found).tolist() == numbers(expected).tolist()
    assert beside(path) == ["model"]


def dies_after_write(patch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Interrupt the driver behind its write of that number; gives what was written till then."""
    written: list[str] = []

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def write(self: Any, path: str, *args: Any, **options: Any) -> None:
            original(self, path, *args, **options)
            written.append(path)
            if len(written) == number:
                raise KeyboardInterrupt

        patch.setattr(owner, name, write)

    watch(paths, "write_file")
    watch(persistence, "write_file")
    watch(DataFrameWriter, "text")  # MLlib's metadata
    watch(RDD, "saveAsTextFile")  # what MLlib writes metadata with before Spark 4
    watch(JavaMLWriter, "save")
    return written


@pytest.mark.parametrize(
    ("kind", "writes"),
    [
        ("svc", 2),
        ("one-vs-rest", 4),
        ("one-vs-rest estimator", 2),
        ("one-vs-rest in the JVM", 1),
        ("search", 3),
        ("split", 3),
    ],
)
def test_case_60_an_overwrite_that_dies(
    kind: str, writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the first write and the last, and at last not at all."""
    path, new = tmp_path / "m", KINDS[kind](2.0)
    path.mkdir()
    (path / "former").write_text("precious")
    for number in sorted({1, writes, writes + 1}):
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            written = dies_after_write(patch, number)
            new.write().overwrite().save(str(path))
        assert len(written) == min(number, writes)
        assert beside(path) == ["m"]
        if number <= writes:
            assert [each.name for each in path.iterdir()] == ["former"]
    assert type(new).load(str(path)).uid == new.uid
    assert not (path / "former").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_case_60_a_folder_of_somebody_else(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.mkdir()
    (path / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite") as caught:
        KINDS[kind](1.0).save(str(path))
    assert str(path) in str(caught.value)
    assert [each.name for each in path.iterdir()] == ["mine"]
    assert beside(path) == ["m"]


@pytest.mark.parametrize("option", ["true", "false"])
def test_case_60_options_and_the_session_reach_the_writer(
    spark: SparkSession, tmp_path: Path, option: str
) -> None:
    """Those of MLlib's writer, which a wrapped one must not lose."""
    seen: dict[str, Any] = {}

    class Writer(MLWriter):
        def saveImpl(self, path: str) -> None:
            seen.update(self.optionMap, session=self.sparkSession)
            LinearSVC().save(path)

    session = spark.newSession()
    writer = WholeWriter(LinearSVC(), Writer())
    writer.session(session).option("persistSubModels", option).save(str(tmp_path / "m"))
    assert seen == {"persistsubmodels": option, "session": session}
    assert (tmp_path / "m").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAST)
def test_case_60_an_overwrite_that_is_killed(kind: str, tmp_path: Path) -> None:
    """A signal that nobody can catch: the former model stays, and what was begun is none."""
    path = tmp_path / "m"
    with (tmp_path / "errors").open("w") as errors:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.spark.saving", kind, str(path)],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert driver.stdout is not None
    try:
        waits = "waiting\n" in driver.stdout  # it reads up to that line
        assert waits, (tmp_path / "errors").read_text()
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
    [new] = [each for each in tmp_path.iterdir() if each.name.startswith("m.new-")]
    assert list(new.rglob("data/part-*"))
    former = KINDS[kind](1.0)
    found = type(former).load(str(path))
    assert coefficients(found) == coefficients(former)
    with pytest.raises(PersistenceError):
        type(former).load(str(new))


def coefficients(model: Any) -> list[Any]:
    return [numbers(each).tolist() for each in getattr(model, "models", [model])]


def test_case_60_metadata_that_are_missing(saved: Path) -> None:
    """They are written last: without them nothing can be loaded, whatever else is there."""
    shutil.rmtree(saved / "metadata")
    assert list((saved / "data").glob("part-*"))
    with pytest.raises(PersistenceError, match=r"no saved"):
        LogisticRegressionModel.load(str(saved))


def test_case_60_metadata_come_last(
    models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    real = persistence.write_file

    def write(spark: SparkSession, path: str, content: Any) -> None:
        folder, whole = Path(path).parents[:2]
        order.append((folder.name, whole.name.startswith("m.new-")))
        real(spark, path, content)

    monkeypatch.setattr(persistence, "write_file", write)
    models["svc"].save(str(tmp_path / "m"))
    assert order == [("data", True), ("metadata", True)]


# ---------------------------------------------------- what is not loaded


@pytest.mark.parametrize(
    "cls",
    [LogisticRegression, LinearSVCModel, LinearRegressionModel, LinearSVC, LinearRegression],
)
def test_case_61_the_wrong_class(spark: SparkSession, saved: Path, cls: type[Any]) -> None:
    with refused(spark, str(saved), "LogisticRegressionModel", f"expected a {cls.__module__}"):
        cls.load(str(saved))


def test_case_61_a_class_of_mllibs(spark: SparkSession, rows: DataFrame, tmp_path: Path) -> None:
    from pyspark.ml.regression import LinearRegression as MLlibLinearRegression

    MLlibLinearRegression(maxIter=1).fit(rows).save(str(tmp_path / "m"))
    with refused(spark, "org.apache.spark.ml.regression.LinearRegressionModel"):
        LinearRegressionModel.load(str(tmp_path / "m"))


def test_case_61_nothing_there(spark: SparkSession, tmp_path: Path) -> None:
    with refused(spark, str(tmp_path / "m"), "no saved"):
        LinearRegressionModel.load(str(tmp_path / "m"))


@pytest.mark.parametrize("kind", ["paramMap", "defaultParamMap"])
def test_case_61_an_unknown_param(spark: SparkSession, saved: Path, kind: str) -> None:
    change(saved, **{kind: metadata_of(saved)[kind] | {"quantum": 1.0}})
    with refused(spark, str(saved), "'quantum'", "LogisticRegressionModel"):
        LogisticRegressionModel.load(str(saved))


def test_case_61_a_param_out_of_its_range(saved: Path) -> None:
    change(saved, paramMap={"regParam": -1.0})
    with pytest.raises(PersistenceError, match=r"regParam=-1\.0"):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize("version", [3, 99, 0, "1", 1.0, True, None])
def test_case_61_another_format(spark: SparkSession, saved: Path, version: Any) -> None:
    change(saved, formatVersion=version)
    with refused(spark, str(saved), f"format version {version!r}", "reads up to 2"):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        '"text"',
        "{}",
        '{"uid": 3}',
    ],
)
def test_case_61_metadata_that_are_damaged(spark: SparkSession, saved: Path, text: str) -> None:
    write_metadata(saved, text)
    with refused(spark, f"{saved}/metadata"):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize("key", ["arrays", "facts", "paramMap", "defaultParamMap"])
def test_case_61_metadata_of_another_shape(spark: SparkSession, saved: Path, key: str) -> None:
    change(saved, **{key: [1, 2]})
    with refused(spark, str(saved), key):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize("name", ["os.system", "case_62_trap.Trap", "LogisticRegressionModel"])
def test_case_62_metadata_that_name_another_class(
    spark: SparkSession,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "case_62_trap.py").write_text("class Trap: pass\n")
    monkeypatch.syspath_prepend(str(trap))
    change(saved, **{"class": name})
    with refused(spark, name, "LogisticRegressionModel"):
        LogisticRegressionModel.load(str(saved))
    assert "case_62_trap" not in sys.modules


def test_case_63_a_folder_without_arrays(spark: SparkSession, saved: Path) -> None:
    shutil.rmtree(saved / "data")
    with refused(spark, str(saved)):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize("value", [float("nan"), None])
def test_case_63_arrays_with_nan(spark: SparkSession, saved: Path, value: float | None) -> None:
    write_arrays(spark, saved, [("coefficients", 0, [1.0, value, 3.0]), ("intercepts", 0, [0.0])])
    with refused(spark, str(saved), "'coefficients' that holds NaN"):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize(
    "found",
    [
        [("coefficients", 0, [1.0, 2.0]), ("intercepts", 0, [0.0])],
        [("coefficients", 0, [1.0, 2.0, 3.0, 4.0]), ("intercepts", 0, [0.0])],
        [("coefficients", 0, [1.0, 2.0, 3.0])],
        [("coefficients", 0, None), ("intercepts", 0, [0.0])],
        [("coefficients", 0, [1.0, 2.0, 3.0]), ("coefficients", 1, None), ("intercepts", 0, [0.0])],
        [("coefficients", 0, [1.0, 2.0, 3.0]), ("intercepts", 0, [0.0]), ("more", 0, [0.0])],
        [("coefficients", 0, [1.0, 2.0, 3.0]), ("intercepts", 0, [0.0]), (None, 0, [0.0])],
        [("coefficients", 0, [1.0]), ("coefficients", 0, [2.0, 3.0]), ("intercepts", 0, [0.0])],
        [("coefficients", 0, [1.0]), ("coefficients", 2, [2.0, 3.0]), ("intercepts", 0, [0.0])],
    ],
    ids=[
        "truncated",
        "too long",
        "one missing",
        "null",
        "one chunk null",
        "one too many",
        "no name",
        "a chunk twice",
        "a chunk missing",
    ],
)
def test_case_63_arrays_of_another_size(spark: SparkSession, saved: Path, found: list[Any]) -> None:
    write_arrays(spark, saved, found)
    with refused(spark, f"{saved}/data", "damaged"):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize(
    "shapes",
    [
        {"coefficients": [3, 1], "intercepts": [1]},
        {"coefficients": [3], "intercepts": [1]},
        {"coefficients": [1, 3, 1], "intercepts": [1]},
        {"coefficients": [1, 3], "intercepts": []},
        {"coefficients": [1, 4], "intercepts": [1]},
        {"coefficients": [1, -3], "intercepts": [1]},
        {"coefficients": "3", "intercepts": [1]},
        {"coefficients": [1, 3.0], "intercepts": [1]},
        {"coefficients": [1, 3]},
        {"intercepts": [1]},
        {},
    ],
    ids=str,
)
def test_case_63_arrays_of_the_wrong_shape(
    spark: SparkSession, saved: Path, shapes: dict[str, Any]
) -> None:
    declare(saved, **shapes)
    with refused(spark, str(saved)):
        LogisticRegressionModel.load(str(saved))


def test_case_63_a_shape_of_terabytes(
    spark: SparkSession, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before an array of that shape is made: beyond the limit, and by the rows below it."""

    def no_memory(*_: Any) -> Any:
        raise AssertionError("allocated")

    monkeypatch.setattr(np, "empty", no_memory)
    for shape, message in (([2**20, 2**20], "impossible shape"), ([2**10, 2**20], "damaged")):
        declare(saved, coefficients=shape, intercepts=[1])
        with refused(spark, str(saved), message):
            LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize(
    ("schema", "compression", "message"),
    [
        ("name string, chunk int, values array<float>", "none", "'FLOAT'"),
        ("name string, chunk long, values array<double>", "none", "'INT64'"),
        ("name string, chunk int, numbers array<double>", "none", "numbers.list.element"),
        (SCHEMA, "snappy", "compressed (['SNAPPY'])"),
        (SCHEMA, "gzip", "compressed (['GZIP'])"),
    ],
)
def test_case_63_another_file(
    spark: SparkSession, saved: Path, schema: str, compression: str, message: str
) -> None:
    rows = [("coefficients", 0, [1.0, 2.0, 3.0]), ("intercepts", 0, [0.0])]
    write_arrays(spark, saved, rows, schema, compression)
    with refused(spark, f"{saved}/data", message):
        LogisticRegressionModel.load(str(saved))


def test_case_63_a_file_that_unpacks_to_far_more(spark: SparkSession, saved: Path) -> None:
    """Equal numbers take next to nothing in Parquet: the footer tells, before a row is read."""
    equal = spark.range(1).selectExpr("'coefficients'", "0", "array_repeat(0D, 4000000)")
    shutil.rmtree(saved / "data")
    rows = equal.toDF("name", "chunk", "values").coalesce(1)
    rows.write.option("compression", "none").parquet(str(saved / "data"))
    [file] = (saved / "data").glob("part-*")
    assert file.stat().st_size < 100_000
    jobs = jobs_so_far(spark)
    with refused(spark, f"{saved}/data", "4000000"):
        LogisticRegressionModel.load(str(saved))
    assert jobs_so_far(spark) == jobs


def test_case_63_a_file_that_unpacks_to_as_much_as_it_declares(
    spark: SparkSession, saved: Path
) -> None:
    """A dictionary is no compression by its name, and makes 32 MB of 100 KB."""
    equal = spark.range(4).selectExpr("'coefficients'", "int(id)", "array_repeat(0D, 1000000)")
    small = spark.range(1).selectExpr("'intercepts'", "0", "array(0D)")
    shutil.rmtree(saved / "data")
    rows = equal.union(small).toDF("name", "chunk", "values").coalesce(1)
    rows.write.option("compression", "none").parquet(str(saved / "data"))
    [file] = (saved / "data").glob("part-*")
    assert file.stat().st_size < 100_000
    declare(saved, coefficients=[1, 4_000_000], intercepts=[1])
    jobs = jobs_so_far(spark)
    with refused(spark, f"{saved}/data", "none in a dictionary"):
        LogisticRegressionModel.load(str(saved))
    assert jobs_so_far(spark) == jobs


@pytest.mark.parametrize("place", ["metadata", "data"])
@pytest.mark.parametrize("what", ["another file", "no file", "a folder"])
def test_case_63_more_or_less_than_a_file(
    spark: SparkSession, saved: Path, place: str, what: str
) -> None:
    [part] = (saved / place).glob("part-*")
    if what == "another file":
        shutil.copy(part, part.with_name("part-00001"))
    elif what == "no file":
        part.unlink()
    else:
        part.unlink()
        part.mkdir()
    with refused(spark, f"{saved}/{place}", "expected one file"):
        LogisticRegressionModel.load(str(saved))


def test_case_63_metadata_that_unpack_to_far_more(spark: SparkSession, saved: Path) -> None:
    """Spark would unpack it; here it is bytes that are no JSON."""
    shutil.rmtree(saved / "metadata")
    (saved / "metadata").mkdir()
    (saved / "metadata" / "part-00000.gz").write_bytes(gzip.compress(b" " * 10_000_000))
    with refused(spark, f"{saved}/metadata", "expected one line of JSON"):
        LogisticRegressionModel.load(str(saved))


def test_case_63_changed_bytes(binomial: Path, tmp_path: Path) -> None:
    """Bits that flipped and files that were cut: the same model or a typed error."""
    rng = np.random.default_rng(63)
    expected = LogisticRegressionModel.load(str(binomial))
    refusals = 0
    for number in range(32):
        folder = Path(shutil.copytree(binomial, tmp_path / str(number)))
        [part] = (folder / ("data" if number % 4 else "metadata")).glob("part-*")
        content = bytearray(part.read_bytes())
        at = int(rng.integers(len(content)))
        if number % 8 == 7:
            del content[at:]
        else:
            content[at] ^= 1 << int(rng.integers(8))
        part.write_bytes(content)
        try:
            found = LogisticRegressionModel.load(str(folder))
        except PersistenceError:
            refusals += 1
        else:
            assert named(found) == named(expected)
            assert numbers(found).tobytes() == numbers(expected).tobytes()
    # the others fell on bytes that nothing reads, of which each version of Parquet has its own
    assert refusals >= 20


def test_case_63_brackets_in_a_path_are_no_pattern(models: dict[str, Any], tmp_path: Path) -> None:
    models["binomial"].save(str(tmp_path / "m[1]{a,b}*"))
    found = LogisticRegressionModel.load(str(tmp_path / "m[1]{a,b}*"))
    assert numbers(found).tolist() == numbers(models["binomial"]).tolist()


def test_case_63_a_model_of_nan_is_not_saved(spark: SparkSession, tmp_path: Path) -> None:
    model = LinearRegressionModel(np.array([[1.0, np.nan]]), np.array([0.0]))
    with refused(spark, "NaN in 'coefficients'"):
        model.save(str(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        ("svc", {"arrays": [[2, 3], [2]]}),
        ("svc", {"arrays": [[0, 3], [0]]}),
        ("svc", {"facts": {"scale": 1.0}}),
        ("huber", {"facts": {"scale": 0.0}}),
        ("huber", {"facts": {"scale": float("inf")}}),
        ("huber", {"facts": {"scale": 1}}),
        ("multinomial", {"facts": {"numClasses": 3.0}}),
        ("multinomial", {"paramMap": {"thresholds": [0.5, 0.5]}}),
        ("multinomial", {"paramMap": {"thresholds": [0.5]}}),
        ("binomial", {"paramMap": {"thresholds": [0.5, 0.2, 0.3]}}),
        ("binomial", {"paramMap": {"regParam": "0.1"}}),
        ("binomial", {"paramMap": {"featuresCol": 3}}),
        ("binomial", {"paramMap": {"featuresCol": {"a": 1}}}),
        ("binomial", {"paramMap": {"maxIter": [1]}}),
        ("binomial", {"paramMap": {"_ranges": 1}}),
        ("binomial", {"paramMap": {"uid": "x"}}),
        ("binomial", {"defaultParamMap": {"maxIter": -1}}),
        ("binomial", {"defaultParamMap": {"dtype": "float16"}}),
    ],
    ids=str,
)
def test_case_63_a_model_that_does_not_hang_together(
    spark: SparkSession, models: dict[str, Any], tmp_path: Path, kind: str, entries: dict[str, Any]
) -> None:
    model, folder = models[kind], tmp_path / "m"
    model.save(str(folder))
    if "arrays" in entries:
        arrays = {
            name: np.zeros(shape)
            for name, shape in zip(("coefficients", "intercepts"), entries["arrays"], strict=True)
        }
        found = [(name, k, part.tolist()) for name, k, part in stored_arrays.chunks(arrays)]
        write_arrays(spark, folder, found)
        entries = {"arrays": stored_arrays.declare(arrays)}
    change(folder, **entries)
    with refused(spark, str(folder), f"holds no {type(model).__name__}"):
        type(model).load(str(folder))


@pytest.mark.parametrize("key", ["arrays", "facts"])
def test_case_63_an_estimator_with_more(spark: SparkSession, tmp_path: Path, key: str) -> None:
    LinearSVC().save(str(tmp_path / "e"))
    entries = {"arrays": stored_arrays.declare({"a": np.zeros(0)}), "facts": {"a": 1}}
    change(tmp_path / "e", **{key: entries[key]})
    with refused(spark, str(tmp_path / "e")):
        LinearSVC.load(str(tmp_path / "e"))


@pytest.mark.parametrize(
    "facts", [{}, {"numClasses": 7}, {"numClasses": "x"}, {"numClasses": None}]
)
def test_case_63_facts_that_do_not_fit(
    spark: SparkSession, saved: Path, facts: dict[str, Any]
) -> None:
    change(saved, facts=facts)
    with refused(spark, str(saved), "damaged"):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize("name", ["../model", "/etc/passwd"])
def test_case_64_paths_in_metadata(spark: SparkSession, saved: Path, name: str) -> None:
    change(saved, arrays=metadata_of(saved)["arrays"] | {name: {"shape": [1], "sha256": ""}})
    with refused(spark, str(saved), name):
        LogisticRegressionModel.load(str(saved))


@pytest.mark.parametrize("what", ["save", "load", "load a search"])
def test_case_67_a_password_in_a_path(
    models: dict[str, Any], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Some of Hadoop's errors name the path as it is; here nothing listens at it."""
    path = "ftp://key:s3cr3t@127.0.0.1:1/model"
    calls = {
        "save": lambda: models["svc"].save(path),
        "load": lambda: LinearSVCModel.load(path),
        "load a search": lambda: OurCrossValidator.load(path),
    }

    def exists(spark: SparkSession, path: str) -> bool:
        raise OSError(f"cannot open {path}")

    monkeypatch.setattr(paths, "exists", exists)
    with pytest.raises(PersistenceError, match=r"ftp://\*\*\*@127\.0\.0\.1:1/model") as caught:
        calls[what]()
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
