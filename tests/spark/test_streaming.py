"""Training from real file streams: restarts, batches that come again, and saves that were cut."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from sparkml_lsml.classification import LinearSVC, LinearSVCModel, LogisticRegressionModel
from sparkml_lsml.errors import PersistenceError
from sparkml_lsml.streaming import StreamingTrainer
from tests.spark.helpers import Array, binary_rows, frame, numbers

SCHEMA = "label double, features array<double>"
FILES = 4


def write(folder: Path, number: int, label: float | None = None) -> None:
    """Add a file of forty rows to a stream's folder, whole, later than those before."""
    X, y = binary_rows(rows=40, seed=number)
    lines = [
        json.dumps({"label": target if label is None else label, "features": row})
        for row, target in zip(X.tolist(), y.tolist(), strict=True)
    ]
    folder.mkdir(exist_ok=True)
    hidden = folder / f".{number}"
    hidden.write_text("\n".join(lines))
    os.utime(hidden, (1e9 + number, 1e9 + number))
    hidden.rename(folder / f"{number}.json")


class Place:
    """A stream, its checkpoint, and the model that it trains."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._spark, self.folder = spark, folder
        self.rows, self.model = folder / "rows", folder / "model"

    def run(self, checkpoint: str = "checkpoint") -> StreamingTrainer:
        """Train on all files that are new, one a batch, in a process that knows of no other."""
        trainer = StreamingTrainer(LinearSVC(regParam=0.05), str(self.model))
        stream = self._spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1)
        writer = stream.json(str(self.rows)).writeStream.foreachBatch(trainer)
        writer = writer.option("checkpointLocation", str(self.folder / checkpoint))
        query = writer.trigger(availableNow=True).start()
        query.awaitTermination()
        return trainer

    def load(self) -> Any:
        return LinearSVCModel.load(str(self.model))

    def content(self) -> dict[str, Array]:
        return dict(self.load()._saved_arrays())

    def forget_the_last_commit(self) -> None:
        """As if the query had died between the save of the model and its own note."""
        commits = self.folder / "checkpoint" / "commits"
        last = max(int(path.name) for path in commits.iterdir() if path.name.isdigit())
        for name in (f"{last}", f".{last}.crc"):
            (commits / name).unlink(missing_ok=True)


def assert_same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_a_restarted_query_counts_each_batch_once(spark: SparkSession, tmp_path: Path) -> None:
    whole, cut = Place(spark, tmp_path / "whole"), Place(spark, tmp_path / "cut")
    for number in range(FILES):
        write(whole.rows, number)
    whole.run()
    expected = whole.content()
    assert whole.load()._pieces.number == FILES
    for number in range(2):
        write(cut.rows, number)
    cut.run()
    half = cut.content()
    cut.forget_the_last_commit()
    cut.run()  # batch 1 comes again
    assert_same(cut.content(), half)
    cut.forget_the_last_commit()
    for number in range(2, FILES):
        write(cut.rows, number)
    cut.run()
    assert_same(cut.content(), expected)
    # the query of another checkpoint is another one, and its batches are new
    cut.run("another")
    assert cut.load()._pieces.number == 2 * FILES


def test_a_bad_batch_ends_the_query_and_the_model_stays(
    spark: SparkSession, tmp_path: Path
) -> None:
    place = Place(spark, tmp_path)
    write(place.rows, 0)
    place.run()
    before = place.content()
    write(place.rows, 1, label=7.0)
    with pytest.raises(StreamingQueryException, match="labels"):
        place.run()
    assert_same(place.content(), before)


def test_batches_by_hand(spark: SparkSession, tmp_path: Path) -> None:
    """What a query does, without one: empty batches, models of others, and interrupted saves."""
    path = tmp_path / "model"
    df = frame(spark, *binary_rows(rows=40))
    trainer = StreamingTrainer(LinearSVC(regParam=0.05), str(path))
    trainer(df.limit(0), 0)
    assert not path.exists()
    trainer(df, 1)
    first = LinearSVCModel.load(str(path))
    trainer(df.limit(0), 2)
    trainer(df, 1)
    StreamingTrainer(LinearSVC(regParam=0.05), str(path))(df, 1)
    assert_same(LinearSVCModel.load(str(path))._saved_arrays(), first._saved_arrays())
    # a save died between its two renames: the model before the batch is put back
    path.rename(tmp_path / "model.old-0123456789ab")
    StreamingTrainer(LinearSVC(regParam=0.05), str(path))(df, 1)
    assert_same(LinearSVCModel.load(str(path))._saved_arrays(), first._saved_arrays())
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    # one that was saved by a fit is trained further
    LinearSVC(regParam=0.05).fit(df).write().overwrite().save(str(path))
    StreamingTrainer(LinearSVC(regParam=0.05), str(path))(df, 0)
    assert LinearSVCModel.load(str(path))._pieces.number == 1


@contextlib.contextmanager
def root(spark: SparkSession, folder: Path) -> Iterator[None]:
    """Let a folder be the root of the file system that paths without a scheme are on."""
    name = folder.name.replace("_", "-")  # Hadoop keeps what it has made for a name
    settings = {
        "fs.defaultFS": f"viewfs://{name}/",
        f"fs.viewfs.mounttable.{name}.linkFallback": folder.as_uri(),
    }
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    before = {key: conf.get(key) for key in settings}
    for key, value in settings.items():
        conf.set(key, value)
    try:
        yield
    finally:
        for key, value in before.items():
            conf.unset(key) if value is None else conf.set(key, value)


def test_an_interrupted_save_at_the_root(spark: SparkSession, tmp_path: Path) -> None:
    df, place = frame(spark, *binary_rows(rows=40)), tmp_path / "model"
    StreamingTrainer(LinearSVC(regParam=0.05), str(place))(df, 1)
    before = LinearSVCModel.load(str(place))._saved_arrays()
    place.rename(tmp_path / "model.old-0123456789ab")
    with root(spark, tmp_path):
        StreamingTrainer(LinearSVC(regParam=0.05), "/model")(df, 1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert_same(LinearSVCModel.load(str(place))._saved_arrays(), before)


def test_what_a_trainer_refuses(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected a linear estimator"):
        StreamingTrainer("svc", str(tmp_path))  # type: ignore[arg-type]
    path = tmp_path / "model"
    LogisticRegressionModel(np.ones((1, 3)), np.zeros(1)).save(str(path))
    df = frame(spark, *binary_rows(rows=40))
    with pytest.raises(PersistenceError, match="holds the class"):
        StreamingTrainer(LinearSVC(), str(path))(df, 0)
    for mark in ("a", "b"):
        (tmp_path / f"lost.old-{mark}").mkdir()
    with pytest.raises(PersistenceError, match="rename the one to go on with"):
        StreamingTrainer(LinearSVC(), str(tmp_path / "lost"))(df, 0)
    assert numbers(LogisticRegressionModel.load(str(path))).tolist() == [1.0, 1.0, 1.0, 0.0]
