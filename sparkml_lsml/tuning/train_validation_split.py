"""One split into rows to train on and rows to measure, over one ingest."""

from typing import Any

import pyspark.ml.tuning
import pyspark.sql.functions as F
from pyspark.ml.tuning import TrainValidationSplitModel, TrainValidationSplitWriter
from pyspark.ml.util import MLWriter
from pyspark.sql import DataFrame

from sparkml_lsml.spark.folders.persistence import WholeWriter
from sparkml_lsml.spark.rows.frames import check_frame, quoted
from sparkml_lsml.spark.rows.shared import ResidentRows, folded, frame_of
from sparkml_lsml.tuning.persistence import SearchReader
from sparkml_lsml.tuning.search import Judgement, Search, fit_one_by_one

VALIDATION, TRAINING = 0, 1


class TrainValidationSplit(pyspark.ml.tuning.TrainValidationSplit):
    """A search on one random split that trains all param maps together.

    Takes the place of :class:`pyspark.ml.tuning.TrainValidationSplit`; see `CrossValidator` for
    when models are trained together and when one by one.

    Raises
    ------
    DataError
        From ``fit``, when the held-out rows do not define the metric: an area of rows of one class,
        or r2 of labels that do not vary.

    Examples
    --------
    >>> from pyspark.ml.evaluation import RegressionEvaluator
    >>> from pyspark.ml.linalg import Vectors
    >>> from pyspark.ml.tuning import ParamGridBuilder
    >>> from sparkml_lsml.regression import LinearRegression
    >>> rows = [(2.0 * i, Vectors.dense(i)) for i in range(20)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> linear = LinearRegression()
    >>> grid = ParamGridBuilder().addGrid(linear.regParam, [0.0, 10.0]).build()
    >>> search = TrainValidationSplit(
    ...     estimator=linear, estimatorParamMaps=grid, seed=1, evaluator=RegressionEvaluator()
    ... )
    >>> search.fit(df).bestModel.getRegParam()
    0.0
    """

    def write(self) -> MLWriter:
        """A writer in Python, so that `load` gives this class again."""
        return WholeWriter(self, TrainValidationSplitWriter(self))

    @classmethod
    def read(cls) -> "SearchReader[TrainValidationSplit]":  # type: ignore[override]
        """A reader of this class, and of what MLlib's has saved."""
        return SearchReader(cls)

    def _fit(self, dataset: DataFrame | ResidentRows) -> TrainValidationSplitModel:
        frame = frame_of(dataset)
        check_frame(frame, type(self).__name__)
        maps, evaluator = self.getEstimatorParamMaps(), self.getEvaluator()
        random, name = f"{self.uid}_rand", f"{self.uid}_fold"
        rows = frame.select("*", F.rand(self.getSeed()).alias(random))
        part = F.when(rows[random] >= self.getTrainRatio(), VALIDATION).otherwise(TRAINING)
        rows = rows.select("*", part.alias(name)).drop(random)
        search = Search.of(self.getEstimator(), maps, evaluator)
        found = None
        if search is not None:
            found = search.run(
                folded(dataset, rows, ("split", self.getSeed(), self.getTrainRatio())),
                quoted(name),
                2,
                lambda metrics: Judgement(evaluator, metrics).best,
                held_out=[VALIDATION],
                whole=frame,
            )
        if found is None:
            parts = [rows.where(quoted(name) == kind).drop(name) for kind in (TRAINING, VALIDATION)]
            found = fit_one_by_one(self, [(parts[0], parts[1])], frame)
        judged = Judgement(evaluator, found.metrics)
        model = found.best_model
        if model is None:
            model = self.getEstimator().fit(frame, maps[judged.best])
        models: Any = found.models[0] if self.getCollectSubModels() else None
        return self._copyValues(TrainValidationSplitModel(model, judged.means, models))
