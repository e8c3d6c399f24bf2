"""Cross-validation over one ingest."""

from typing import Any

import numpy as np
import pyspark.ml.tuning
import pyspark.sql.functions as F
from pyspark.ml.tuning import CrossValidatorModel
from pyspark.sql import DataFrame

from sparkml_lsml.spark.ingest import quoted
from sparkml_lsml.tuning.search import Search, best


class CrossValidator(pyspark.ml.tuning.CrossValidator):
    """K-fold cross-validation that trains all folds and param maps together.

    Takes the place of :class:`pyspark.ml.tuning.CrossValidator`, with its Params, its folds for the
    same seed, and its model. Where the estimator is one of ours, alone or as the last stage of a
    `Pipeline`, the rows are read once, folds are weights of 0 and 1, all models share each pass
    over the rows, and the metrics come from one pass more. Stages before the estimator are fitted
    once a fold, and their rows read once a fold.

    Other estimators, grids over Params of other stages or of the ingest, the solvers ``sgd`` and
    ``minibatch-sgd``, and evaluators of other metrics than areas under curves, those of the
    confusion matrix, ``rmse``, ``mse``, ``mae`` and ``r2`` take MLlib's road, model by model;
    ``parallelism`` matters only there.

    Raises
    ------
    DataError
        From ``fit``, when a fold has no rows.

    References
    ----------
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, 7.10.

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

    def _fit(self, dataset: DataFrame) -> CrossValidatorModel:
        maps, evaluator = self.getEstimatorParamMaps(), self.getEvaluator()
        search = Search.of(self.getEstimator(), maps, evaluator)
        if search is None:
            return super()._fit(dataset)
        folds = self.getNumFolds()
        own = self.getFoldCol()
        if own:
            rows, fold = dataset, quoted(own)
        else:
            # MLlib's folds: intervals of the same random numbers
            random, name = f"{self.uid}_rand", f"{self.uid}_fold"
            rows = dataset.select("*", F.rand(self.getSeed()).alias(random))
            share = 1.0 / folds
            fold = F.lit(folds - 1)
            for number in reversed(range(folds - 1)):
                fold = F.when(rows[random] < (number + 1) * share, number).otherwise(fold)
            rows = rows.select("*", fold.alias(name)).drop(random)
            fold = quoted(name)
        found = search.run(rows, fold, folds, best(evaluator))
        chosen = best(evaluator)(found.metrics)
        model = found.best_model
        if model is None:
            model = self.getEstimator().fit(dataset, maps[chosen])
        models: Any = found.models if self.getCollectSubModels() else None
        average = [float(value) for value in found.metrics.mean(axis=0)]
        spread = [float(value) for value in np.std(found.metrics, axis=0)]
        return self._copyValues(CrossValidatorModel(model, average, models, spread))
