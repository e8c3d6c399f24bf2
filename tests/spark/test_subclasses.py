"""Subclasses of the user's that fit, score or draw folds in a way of their own.

MLlib's searches call ``fit`` of whatever estimator they are given. Here it leaves rows out, as one
does to clean them; what is left out would change every coefficient.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyspark.ml.classification as mllib_classification
import pyspark.ml.tuning as mllib
import pyspark.sql.functions as F
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.classification import (
    CalibratedClassifier,
    LinearSVC,
    LinearSVCModel,
    LogisticRegression,
    OneVsRest,
    OneVsRestModel,
)
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.rows.declared import DeclaredClasses
from sparkml_lsml.spark.training.problem import Problem
from sparkml_lsml.tuning import (
    CrossValidator,
    TrainValidationSplit,
    bootstrap,
    regularization_path,
)
from tests.spark.helpers import frame, numbers


class Cleaned(LogisticRegression):
    """Trains without the rows whose second feature is above 1."""

    def _fit(self, dataset: DataFrame) -> Any:
        return super()._fit(clean(dataset))


class CleanedInFit(LogisticRegression):
    """The same, where all calls pass by."""

    def fit(self, dataset: DataFrame, params: Any = None) -> Any:
        return super().fit(clean(dataset), params)


class CleanedMargins(LinearSVC):
    def _fit(self, dataset: DataFrame) -> Any:
        return super()._fit(clean(dataset))


class Raised(LinearSVCModel):
    """Its margins are raised so much that its class is always predicted."""

    def _transform(self, dataset: DataFrame) -> DataFrame:
        name = self.getRawPredictionCol()
        both = vector_to_array(name)
        raised = array_to_vector(F.array(both[0], both[1] + 1e6))
        return super()._transform(dataset).withColumn(name, raised)


class Doubled(LogisticRegression):
    """Its penalty is twice what its Params say."""

    def problem(self, report: Report, declared: DeclaredClasses) -> Problem:
        problem = super().problem(report, declared)
        return replace(problem, l2=2.0 * problem.l2)


def clean(dataset: DataFrame) -> DataFrame:
    return dataset.where(F.col("features")[1] <= 1.0)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    rng = np.random.default_rng(12)
    X = rng.normal(size=(120, 2))
    # what is not clean is labelled the other way round
    y = ((X[:, 0] + 0.5 * rng.normal(size=120) > 0.0) != (X[:, 1] > 1.0)).astype(float)
    found = frame(spark, X, y, kind="double", partitions=2).cache()
    found.count()
    return found


@pytest.fixture(scope="module")
def three(spark: SparkSession) -> DataFrame:
    rng = np.random.default_rng(13)
    X = rng.normal(size=(90, 2))
    y = np.digitize(X[:, 0], [-0.5, 0.5]).astype(float)
    return frame(spark, X, np.where(X[:, 1] > 1.0, 2.0 - y, y), kind="double", partitions=2)


each_subclass = pytest.mark.parametrize("cls", [Cleaned, CleanedInFit])


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-6, atol=0)


@each_subclass
def test_fits_of_several_param_maps(rows: DataFrame, cls: type[Any]) -> None:
    estimator = cls(tol=1e-10)
    maps = [{estimator.regParam: 0.1}, {estimator.regParam: 1.0}]
    for extra, model in zip(maps, estimator.fit(rows, maps), strict=True):
        # what the plain class makes of the rows that are left
        close(
            model,
            LogisticRegression(tol=1e-10, regParam=next(iter(extra.values()))).fit(clean(rows)),
        )


@each_subclass
@pytest.mark.parametrize("search", ["CrossValidator", "TrainValidationSplit"])
def test_searches_are_mllibs(rows: DataFrame, cls: type[Any], search: str) -> None:
    ours = {"CrossValidator": CrossValidator, "TrainValidationSplit": TrainValidationSplit}
    estimator = cls(regParam=0.1)
    maps = ParamGridBuilder().addGrid(estimator.regParam, [0.1]).build()
    folds = {"numFolds": 2} if search == "CrossValidator" else {}
    found, expected = (
        kind(
            estimator=estimator,
            estimatorParamMaps=maps,
            evaluator=BinaryClassificationEvaluator(),
            seed=1,
            **folds,
        ).fit(rows)
        for kind in (ours[search], getattr(mllib, search))
    )
    close(found.bestModel, expected.bestModel)
    metrics = "avgMetrics" if search == "CrossValidator" else "validationMetrics"
    assert getattr(found, metrics) == pytest.approx(getattr(expected, metrics), rel=1e-9)


def test_a_search_over_a_pipeline(rows: DataFrame) -> None:
    estimator = Cleaned(regParam=0.1)
    search = CrossValidator(
        estimator=Pipeline(stages=[estimator]),
        estimatorParamMaps=[{}],
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
    )
    close(search.fit(rows).bestModel.stages[-1], estimator.fit(rows))


def test_folds_of_a_subclass_of_the_search(rows: DataFrame) -> None:
    """One fold that trains on the clean rows and is measured on the others."""

    class OwnFolds(CrossValidator):
        def _kFold(self, dataset: DataFrame) -> list[tuple[DataFrame, DataFrame]]:
            left = F.col("features")[1] <= 1.0
            return [(dataset.where(left), dataset.where(~left))] * 2

    search = OwnFolds(
        estimator=LogisticRegression(regParam=0.1),
        estimatorParamMaps=[{}],
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
    )
    # labels of those others are turned round: by these folds they are ranked the wrong way
    assert search.fit(rows).avgMetrics[0] < 0.5


def test_a_problem_of_its_own(rows: DataFrame, three: DataFrame) -> None:
    """It is minimised wherever models share passes, and the model has the Params that were set."""
    plain, doubled = LogisticRegression(tol=1e-10), Doubled(tol=1e-10)
    maps = [{doubled.regParam: 0.1}, {doubled.regParam: 1.0}]
    for strength, model in zip([0.2, 2.0], doubled.fit(rows, maps), strict=True):
        close(model, plain.copy({plain.regParam: strength}).fit(rows))
        assert model.getRegParam() == strength / 2.0
    found = OneVsRest(classifier=doubled.setRegParam(0.1)).fit(three)
    expected = OneVsRest(classifier=plain.setRegParam(0.2)).fit(three)
    for one, other in zip(found.models, expected.models, strict=True):
        close(one, other)
    path = regularization_path(doubled, rows, regParams=[0.1])
    close(path.models[0], plain.fit(rows))
    close(bootstrap(doubled, rows, n=2).model, plain.fit(rows))


@each_subclass
def test_one_vs_rest(three: DataFrame, cls: type[Any]) -> None:
    found = OneVsRest(classifier=cls(regParam=0.1, tol=1e-10)).fit(three)
    plain = LogisticRegression(regParam=0.1, tol=1e-10)
    expected = mllib_classification.OneVsRest(classifier=plain).fit(clean(three))
    for one, other in zip(found.models, expected.models, strict=True):
        close(one, other)


def test_one_vs_rest_of_models_that_score_otherwise(three: DataFrame) -> None:
    model = OneVsRest(classifier=LinearSVC(regParam=0.1)).fit(three)
    model.models[2].__class__ = Raised
    found = OneVsRestModel(model.models).transform(three)
    assert {row.prediction for row in found.select("prediction").collect()} == {2.0}


def test_a_path(rows: DataFrame) -> None:
    path = regularization_path(Cleaned(tol=1e-10), rows, regParams=[0.1, 1.0])
    for strength, model in zip([1.0, 0.1], path.models, strict=True):
        close(model, LogisticRegression(tol=1e-10, regParam=strength).fit(clean(rows)))
    assert path.coefficients.shape == (2, 1, 2)
    with pytest.raises(ParamError, match=r"Cleaned has a _fit of its own.*give regParams"):
        regularization_path(Cleaned(elasticNetParam=1.0), rows)


def test_a_bootstrap_is_refused(rows: DataFrame) -> None:
    for cls, name in ((Cleaned, "_fit"), (CleanedInFit, "fit")):
        with pytest.raises(ParamError, match=f"{cls.__name__} has a {name} of its own"):
            bootstrap(cls(), rows, n=2)


def test_a_calibration(rows: DataFrame) -> None:
    """The classifier is that of the clean rows; the folds' models too, or margins would mislead."""
    found = CalibratedClassifier(classifier=CleanedMargins(regParam=0.1), numFolds=2).fit(rows)
    close(found, LinearSVC(regParam=0.1).fit(clean(rows)))
    others = CalibratedClassifier(classifier=LinearSVC(regParam=0.1), numFolds=2).fit(rows)
    assert found.calibration != others.calibration
