"""Training from a Structured Streaming query, a micro-batch at a time."""

import json
import logging
import os
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.errors import BackendError, PersistenceError, without_secrets
from sparkml_lsml.neural.network_estimator import NetworkEstimator
from sparkml_lsml.spark.folders.paths import (
    exists,
    file_system,
    first_bytes,
    names,
    only_file,
    rename,
)
from sparkml_lsml.spark.folders.pathtext import path_text
from sparkml_lsml.spark.folders.persistence import SafeWriter, reading, write_line
from sparkml_lsml.spark.rows.frames import check_frame
from sparkml_lsml.spark.training.estimator import LinearEstimator

log = logging.getLogger("sparkml_lsml")

NOTE = "stream"
"""Folder beside the metadata of a model: the query and the batch that it has last learned from."""

MAX_NOTE = 2**16

QUERY = "sql.streaming.queryId"
"""Local property in which Spark has the id of a query, which stays the same over its restarts."""


class StreamingTrainer:
    """A function for ``foreachBatch``: the model at a path learns from each micro-batch once.

    Each micro-batch is a piece for ``partialFit``. The model is saved after it, whole
    or not at all, together with the id of the query and the number of the batch. Spark hands a
    batch over again where a query died before it had noted that the batch was done: the trainer
    then sees its number in the saved model and leaves the model as it is. So each batch counts
    once, whenever the query is stopped, and started again with its ``checkpointLocation``.

    A query with another checkpoint is another query: its batches are new, and train the model that
    is there further. At most one query may write to a path at a time.

    Parameters
    ----------
    estimator : LinearSVC, LogisticRegression, LinearRegression, or one of `sparkml_lsml.neural`
    path : str or os.PathLike
        Of the model, on any Hadoop file system. Other processes may load it with the class of the
        model while the query runs; while a new one takes the place of the old, for the time of a
        rename, there is none.
    classes : int, optional
        Number of classes, for the first batch: see ``partialFit``. Of a network its layers tell.

    Raises
    ------
    TypeError
        If the estimator has no ``partialFit``, or the path is neither a text nor an `os.PathLike`.

    Notes
    -----
    An error about a batch, such as a label that is no class, ends the query; the model of the batch
    before stays at its path. A batch without rows changes nothing.

    References
    ----------
    Apache Spark, Structured Streaming Programming Guide, "ForeachBatch": the number of a batch is
    there to tell batches that come again.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sparkml_lsml.classification import LinearSVC, LinearSVCModel
    >>> folder = Path(tempfile.mkdtemp())
    >>> rows = [(float(i % 2), [float(i % 2), 1.0]) for i in range(20)]
    >>> schema = "label double, features array<double>"
    >>> spark.createDataFrame(rows, schema).write.parquet(str(folder / "rows"))
    >>> stream = spark.readStream.schema(schema).parquet(str(folder / "rows"))
    >>> trainer = StreamingTrainer(LinearSVC(regParam=0.01), str(folder / "model"))
    >>> writer = stream.writeStream.foreachBatch(trainer).trigger(availableNow=True)
    >>> query = writer.option("checkpointLocation", str(folder / "checkpoint")).start()
    >>> query.awaitTermination()
    >>> LinearSVCModel.load(str(folder / "model")).numFeatures
    2
    """

    def __init__(
        self,
        estimator: LinearEstimator | NetworkEstimator,
        path: "str | os.PathLike[str]",
        classes: int | None = None,
    ) -> None:
        if not isinstance(estimator, LinearEstimator | NetworkEstimator):
            raise TypeError(
                f"StreamingTrainer: found a {type(estimator).__name__}, expected a linear estimator"
                " or a network of sparkml_lsml, which have partialFit"
            )
        self._estimator, self._classes = estimator, classes
        self._path = path_text(path, type(self).__name__)
        self._known: tuple[Any, dict[str, Any]] | None = None

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        """Learn from a micro-batch, unless the saved model has done so already.

        Parameters
        ----------
        batch : DataFrame
        batch_id : int

        Raises
        ------
        PersistenceError
            If the model at the path cannot be read, or is of another class.
        BackendError
            If threads are not pinned, so that Spark does not tell which query this is.
        """
        check_frame(batch, type(self).__name__)
        spark = batch.sparkSession
        query = spark.sparkContext.getLocalProperty(QUERY) or ""
        if not query and os.environ.get("PYSPARK_PIN_THREAD", "true").lower() == "false":
            raise BackendError(
                "PYSPARK_PIN_THREAD=false hides which query a batch is of, and batches of a new "
                "query would be taken for those of the last: expected pinned threads, which are "
                "the default"
            )
        # after an error in a save nobody knows which of two models is there: it is read again
        known, self._known = self._known or self._load(spark), None
        model, note = known
        if note["query"] == query and batch_id <= note["batch"]:
            # without a query, as by hand or in a thread of the user's, a new one looks the same
            log.log(
                logging.INFO if query else logging.WARNING,
                "%s: batch %d%s is in the model already and is left out",
                type(self._estimator).__name__,
                batch_id,
                "" if query else ", which no query gave,",
            )
            self._known = known
            return
        if model is None and batch.isEmpty():
            return
        found = self._estimator.partialFit(batch, model, self._classes if model is None else None)
        if found is not model:
            note = {"query": query, "batch": batch_id}
            _Writer(found, note).session(spark).overwrite().save(self._path)
        self._known = (found, note)

    def _load(self, spark: SparkSession) -> tuple[Any, dict[str, Any]]:
        """The model at the path and its note; neither where there is nothing yet."""
        note = {"query": "", "batch": -1}
        if not exists(spark, self._path) and not self._recover(spark):
            return None, note
        model = self._estimator._model_class().read().session(spark).load(self._path)
        if not exists(spark, f"{self._path}/{NOTE}"):
            return model, note  # saved by somebody else: no batch is in it
        return model, _read_note(spark, self._path)

    def _recover(self, spark: SparkSession) -> bool:
        """Put back the model that a save had moved away when its process died; if there is one.

        It is the one before the last batch, which Spark is going to hand over again.
        """
        # Hadoop knows the folder of "/model" and of "hdfs://host/model"
        _, hadoop = file_system(spark, self._path)
        name, folder = str(hadoop.getName()), str(hadoop.getParent())
        left = [each for each in names(spark, folder) if each.startswith(f"{name}.old-")]
        if not left:
            return False
        if len(left) > 1:
            raise PersistenceError(
                f"{without_secrets(self._path)} is missing, and {len(left)} former models are "
                f"beside it ({', '.join(left)}): rename the one to go on with to {name}"
            )
        rename(spark, self._path + left[0].removeprefix(name), self._path)
        log.warning("%s: a save was interrupted; the model before it was put back", name)
        return True


def _read_note(spark: SparkSession, path: str) -> dict[str, Any]:
    """The query and the batch that the model at a path has last learned from."""
    with reading(f"{path}/{NOTE}"):
        text = first_bytes(spark, only_file(spark, f"{path}/{NOTE}"), MAX_NOTE)
        found = json.loads(text)
        if not isinstance(found, dict) or set(found) != {"query", "batch"}:
            raise PersistenceError("is no note of a query and a batch: the folder is damaged")
    return found


class _Writer(SafeWriter):
    """Saves a model together with a note, in the same rename."""

    def __init__(self, instance: Any, note: dict[str, Any]) -> None:
        super().__init__(instance)
        self._note = note

    def saveImpl(self, path: str) -> None:
        """Write the note, then the model, whose metadata come last."""
        write_line(self.sparkSession, f"{path}/{NOTE}", json.dumps(self._note))
        super().saveImpl(path)

    def _read_back(self, path: str) -> None:
        super()._read_back(path)
        _read_note(self.sparkSession, path)
