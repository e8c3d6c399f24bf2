"""Cross-validation over one ingest."""

from typing import Any

import pyspark.ml.tuning
import pyspark.sql.functions as F
from pyspark.ml import Estimator
from pyspark.ml.evaluation import Evaluator
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.tuning import CrossValidatorModel, CrossValidatorWriter
from pyspark.ml.util import MLWriter
from pyspark.sql import Column, DataFrame

from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.folders.persistence import WholeWriter
from sparkml_lsml.spark.params.keywords import keywords
from sparkml_lsml.spark.rows.columns import check_numeric
from sparkml_lsml.spark.rows.frames import check_frame, column_of, quoted
from sparkml_lsml.spark.rows.shared import ResidentRows, folded, frame_of, remembered
from sparkml_lsml.tuning.groups import group_numbers
from sparkml_lsml.tuning.persistence import SearchReader
from sparkml_lsml.tuning.search import Judgement, Search, fit_one_by_one


class CrossValidator(pyspark.ml.tuning.CrossValidator):
    """K-fold cross-validation that trains all folds and param maps together.

    Takes the place of :class:`pyspark.ml.tuning.CrossValidator`, with its Params, its folds for the
    same seed, and its model. Where the estimator is one of ours, alone or as the last stage of a
    `Pipeline`, the rows are read once, folds are weights of 0 and 1, all models share each pass
    over the rows, and the metrics come from one pass more. Stages before the estimator are fitted
    once a fold, and their rows read once a fold.

    Other estimators, subclasses with a ``fit``, ``_fit`` or ``_kFold`` of their own, grids over
    Params of other stages or of the ingest, stages that keep no column but those they name
    (``SELECT label, features``), the solvers ``sgd``, ``minibatch-sgd`` and ``adam``, and
    evaluators of other metrics than areas under curves, those of the confusion matrix, ``rmse``,
    ``mse``, ``mae`` and ``r2`` take MLlib's road, model by model; ``parallelism`` matters only
    there.

    ``fit`` takes `ResidentRows`, too: they are packed with their folds once for all searches that
    hold out the same rows. Where models cannot share passes their frame is read.

    Parameters
    ----------
    estimator, estimatorParamMaps, evaluator, numFolds, seed, parallelism, collectSubModels, foldCol
        As in MLlib.
    groupCol : str
        Leave one group out: the rows of one value of this column, of any atomic type, are held out
        together, once for each of at most 1,000 values; ``numFolds`` is not used. It is for rows of
        patients, sites or years, when what matters is how a model does on another one. Folds are
        in the order of the values, which a Spark job finds, and are the ``numFolds`` of the model.

    Raises
    ------
    ParamError
        From ``fit``, when both ``foldCol`` and ``groupCol`` are set.
    DataError, ColumnError
        From ``fit``, when a fold has no rows, a group is null, there are too many groups or fewer
        than 2, or no fold defines the metric.

    Notes
    -----
    A fold whose held-out rows do not define the metric, an area of rows of one class or r2 of
    labels that do not vary, is left out: ``avgMetrics`` and ``stdMetrics`` are over the others. A
    warning says which, and so do the ``notes`` in the summary of the best model.

    ``save`` and ``load`` keep ``groupCol``. ``load`` also reads what MLlib's class has saved;
    MLlib's own refuses what this class has saved.

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, 7.10; Roberts et
    al. (2017), Cross-validation strategies for data with temporal, spatial, hierarchical, or
    phylogenetic structure, Ecography 40.

    Examples
    --------
    >>> from pyspark.ml.evaluation import BinaryClassificationEvaluator
    >>> from pyspark.ml.linalg import Vectors
    >>> from pyspark.ml.tuning import ParamGridBuilder
    >>> from sparkml_lsml.classification import LogisticRegression
    >>> rows = [(float(i % 2), Vectors.dense(i % 2 + 0.1 * i)) for i in range(20)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> logistic = LogisticRegression()
    >>> grid = ParamGridBuilder().addGrid(logistic.regParam, [0.01, 0.1]).build()
    >>> search = CrossValidator(
    ...     estimator=logistic,
    ...     estimatorParamMaps=grid,
    ...     numFolds=2,
    ...     seed=1,
    ...     evaluator=BinaryClassificationEvaluator(),
    ... )
    >>> len(search.fit(df).avgMetrics)
    2
    """

    _group: Column | None = None
    """The number of each row's group, in the copy that a search for groups works with."""

    groupCol: Param[str] = Param(
        Params._dummy(),
        "groupCol",
        "Column of groups, each of which is held out once, instead of numFolds random folds; '' "
        "for none.",
        typeConverter=TypeConverters.toString,
    )

    @keywords
    def __init__(
        self,
        *,
        estimator: Estimator[Any] | None = None,
        estimatorParamMaps: list[Any] | None = None,
        evaluator: Evaluator | None = None,
        numFolds: int = 3,
        seed: int | None = None,
        parallelism: int = 1,
        collectSubModels: bool = False,
        foldCol: str = "",
        groupCol: str = "",
    ) -> None:
        given = self._input_kwargs  # MLlib's constructor replaces them with its own
        super().__init__()
        self._setDefault(groupCol="")
        self._set(**given)

    @keywords
    def setParams(
        self,
        *,
        estimator: Estimator[Any] | None = None,
        estimatorParamMaps: list[Any] | None = None,
        evaluator: Evaluator | None = None,
        numFolds: int = 3,
        seed: int | None = None,
        parallelism: int = 1,
        collectSubModels: bool = False,
        foldCol: str = "",
        groupCol: str = "",
    ) -> "CrossValidator":
        """Set Params by name, with the keywords of the constructor."""
        return self._set(**self._input_kwargs)

    def setGroupCol(self, value: str) -> "CrossValidator":
        """Sets the value of :py:attr:`groupCol`."""
        return self._set(groupCol=value)

    def getGroupCol(self) -> str:
        """Gets the value of :py:attr:`groupCol` or its default value."""
        return str(self.getOrDefault(self.groupCol))

    def write(self) -> MLWriter:
        """A writer in Python, since MLlib's in the JVM would lose ``groupCol``."""
        return WholeWriter(self, CrossValidatorWriter(self))

    @classmethod
    def read(cls) -> "SearchReader[CrossValidator]":  # type: ignore[override]
        """A reader of this class, and of what MLlib's has saved."""
        return SearchReader(cls)

    def _fit(self, dataset: DataFrame | ResidentRows) -> CrossValidatorModel:
        frame = frame_of(dataset)
        check_frame(frame, type(self).__name__)
        group = self.getGroupCol()
        if not group:
            return self._fit_folds(dataset)
        if self.getFoldCol():
            raise ParamError(
                f"found both foldCol='{self.getFoldCol()}' and groupCol='{group}': expected one of "
                "them. Clear foldCol to hold out each group once, or groupCol for numFolds folds"
            )
        number, groups = remembered(dataset, ("groups", group), lambda: group_numbers(frame, group))
        search: Any = self.copy({self.numFolds: groups})
        search._group = number
        found: CrossValidatorModel = search._fit_folds(dataset)
        return found

    def _kFold(self, dataset: DataFrame) -> list[tuple[DataFrame, DataFrame]]:
        """The folds of MLlib's road; those of groups need no column."""
        group = self._group
        if group is None:
            found: list[tuple[DataFrame, DataFrame]] = super()._kFold(dataset)
            return found
        return [
            (dataset.where(group != number), dataset.where(group == number))
            for number in range(self.getNumFolds())
        ]

    def _fit_folds(self, dataset: DataFrame | ResidentRows) -> CrossValidatorModel:
        frame = frame_of(dataset)
        maps, evaluator = self.getEstimatorParamMaps(), self.getEvaluator()
        folds = self.getNumFolds()
        own, name = self.getFoldCol(), f"{self.uid}_fold"
        fold = quoted(name)
        if own:
            check_numeric(frame, own, "foldCol")
            fold = column_of(frame, own)
            rows = dataset
        elif self._group is not None:
            numbered = frame.select("*", self._group.alias(name))
            rows = folded(dataset, numbered, ("groups", self.getGroupCol()))
        else:
            # MLlib's folds: intervals of the same random numbers
            random = f"{self.uid}_rand"
            numbered = frame.select("*", F.rand(self.getSeed()).alias(random))
            share = 1.0 / folds
            drawn = F.lit(folds - 1)
            for number in reversed(range(folds - 1)):
                drawn = F.when(numbered[random] < (number + 1) * share, number).otherwise(drawn)
            numbered = numbered.select("*", drawn.alias(name)).drop(random)
            rows = folded(dataset, numbered, ("drawn", self.getSeed(), folds))
        search = Search.of(self.getEstimator(), maps, evaluator)
        found = None
        # a subclass may draw folds of its own
        if search is not None and type(self)._kFold is CrossValidator._kFold:
            found = search.run(
                rows, fold, folds, lambda metrics: Judgement(evaluator, metrics).best, whole=frame
            )
        if found is None:
            found = fit_one_by_one(self, self._kFold(frame), frame)
        judged = Judgement(evaluator, found.metrics)
        model = found.best_model
        if model is None:
            model = self.getEstimator().fit(frame, maps[judged.best])
        judged.tell(type(self).__name__, model)
        models: Any = found.models if self.getCollectSubModels() else None
        return self._copyValues(CrossValidatorModel(model, judged.means, models, judged.spreads))
