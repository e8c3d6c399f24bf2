"""Searches on rows that stay packed: folds are packed once, and beside what other fits need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline
from pyspark.ml import classification as mllib
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    MulticlassClassificationEvaluator,
)
from pyspark.ml.feature import StandardScaler
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType, IntegerType, StringType

import sparkml_lsml
from sparkml_lsml.classification import CalibratedClassifier, LinearSVC, LogisticRegression
from sparkml_lsml.spark.rows.resident import LENT
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit
from tests.spark.counting import Counted
from tests.spark.helpers import (
    KINDS,
    binary_rows,
    cells,
    frame_of,
    nothing_left,
    numbers,
)

X, Y = binary_rows(rows=200, features=4, seed=22)

WAYS: dict[str, Any] = {
    "drawn": lambda **p: CrossValidator(numFolds=3, seed=5, **p),
    "foldCol": lambda **p: CrossValidator(numFolds=4, foldCol="part", **p),
    "groupCol": lambda **p: CrossValidator(groupCol="site", **p),
    "split": lambda **p: TrainValidationSplit(trainRatio=0.7, seed=5, **p),
}
"""Ways to hold rows out."""


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    columns = {
        "label": (DoubleType(), Y.tolist()),
        "features": (KINDS["dense"], cells(X)),
        "part": (IntegerType(), [n % 4 for n in range(len(Y))]),
        "half": (IntegerType(), [n % 2 for n in range(len(Y))]),
        "site": (StringType(), ["abc"[n * n % 3] for n in range(len(Y))]),
    }
    return frame_of(spark, columns)


@pytest.fixture
def counted(rows: DataFrame, tmp_path: Path) -> Counted:
    return Counted(rows, tmp_path / "reads")


def grid(tuned: Any, **params: Any) -> dict[str, Any]:
    """Give what a search takes: two models to choose from."""
    maps = ParamGridBuilder().addGrid(tuned.regParam, [0.01, 1.0]).build()
    evaluator = BinaryClassificationEvaluator()
    return {"estimator": tuned, "estimatorParamMaps": maps, "evaluator": evaluator, **params}


def logistic(**params: Any) -> LogisticRegression:
    return LogisticRegression(aggregationDepth=1, maxIter=4, **params)


def svc(**params: Any) -> LinearSVC:
    return LinearSVC(**{"aggregationDepth": 1, "maxIter": 4, **params})


def metrics_of(model: Any) -> list[float]:
    return list(getattr(model, "avgMetrics", None) or model.validationMetrics)


def same(found: Any, expected: Any) -> None:
    """Fail unless two searches found the same, to the last bit."""
    assert metrics_of(found) == metrics_of(expected)
    one, other = (
        getattr(each.bestModel, "stages", [each.bestModel])[-1] for each in (found, expected)
    )
    assert numbers(one).tolist() == numbers(other).tolist()


@pytest.mark.parametrize(
    ("way", "execution"), [("drawn", "distributed"), *((way, "local") for way in WAYS)]
)
def test_a_second_search_with_these_folds_reads_nothing(
    spark: SparkSession, rows: DataFrame, counted: Counted, way: str, execution: str
) -> None:
    one, other = logistic(execution=execution), svc(execution=execution)
    searches = [
        WAYS[way](**grid(one)),
        WAYS[way](**grid(other, evaluator=MulticlassClassificationEvaluator())),
        WAYS[way](**grid(one, estimator=Pipeline(stages=[one]))),
    ]
    expected = [each.fit(rows) for each in searches]
    first = 2 if way == "groupCol" else 1  # the groups are asked for in a job of their own
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        for search, plain in zip(searches, expected, strict=True):
            found = search.fit(resident)
            same(found, plain)
            assert counted.reads == first
        assert LENT in found.bestModel.stages[-1].summary.notes
        assert len(resident.packed) == 1
        # metrics of the best model's rows are of the frame, without a column of folds
        assert "fold" not in "".join(found.bestModel.stages[-1].summary.predictions.columns)
        # a fit of all rows has no folds
        assert numbers(one.fit(resident)).tolist() == numbers(one.fit(rows)).tolist()
        assert len(resident.packed) == 2
        assert counted.reads == first + 1
    assert resident.packed == ()


def test_other_folds_are_packed_beside_them(
    spark: SparkSession, rows: DataFrame, counted: Counted
) -> None:
    search = CrossValidator(numFolds=2, seed=1, **grid(logistic()))
    split = TrainValidationSplit(seed=1, **grid(logistic()))
    others = [
        search,
        search.copy({search.seed: 2}),  # of the same uid
        search.copy({search.numFolds: 3}),
        split,
        split.copy({split.trainRatio: 0.5}),
        split.copy({split.seed: 2}),
        WAYS["foldCol"](**grid(logistic())),
    ]
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        for number, each in enumerate(others):
            same(each.fit(resident), each.fit(rows))
            assert counted.reads == number + 1
        assert len(resident.packed) == len(others)
        assert "200 rows for multiclass labels in 3 folds" in repr(resident)
        for each in others:
            each.fit(resident)
        assert counted.reads == len(others)


def test_groups_are_asked_for_again_after_unpersist(
    spark: SparkSession, rows: DataFrame, counted: Counted
) -> None:
    search = WAYS["groupCol"](**grid(logistic()))
    with nothing_left(spark):
        resident = sparkml_lsml.resident(counted.frame)
        search.fit(resident)
        resident.unpersist()
        same(search.fit(resident), search.fit(rows))
        assert counted.reads == 4
        resident.unpersist()


def test_duals_need_blocks_of_their_own(
    spark: SparkSession, rows: DataFrame, counted: Counted
) -> None:
    estimator = svc(maxIter=5, execution="distributed", fitIntercept=False)
    params = grid(estimator)
    # told by the second model of the grid alone
    params["estimatorParamMaps"] = [
        {estimator.regParam: 1.0, estimator.maxIter: 3},
        {estimator.regParam: 0.1, estimator.solver: "cocoa"},
    ]
    search = CrossValidator(numFolds=2, seed=1, **params)
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        found = search.fit(resident)
        np.testing.assert_allclose(metrics_of(found), metrics_of(search.fit(rows)), rtol=1e-9)
        assert resident.packed == ()


def test_what_cannot_share_passes_reads_the_frame(
    spark: SparkSession, rows: DataFrame, counted: Counted
) -> None:
    last = logistic(featuresCol="scaled")
    stages = [StandardScaler(inputCol="features", outputCol="scaled"), last]
    foreign = mllib.LinearSVC(maxIter=1)
    params = grid(foreign, estimatorParamMaps=[{foreign.regParam: 1.0}])
    searches = [
        CrossValidator(numFolds=2, seed=1, **grid(last, estimator=Pipeline(stages=stages))),
        CrossValidator(numFolds=2, foldCol="half", **params),
        TrainValidationSplit(seed=1, **params),
    ]
    for search in searches:
        with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
            assert metrics_of(search.fit(resident)) == metrics_of(search.fit(rows))
            assert resident.packed == ()


@pytest.mark.parametrize("params", [{"seed": 3}, {"foldCol": "part"}], ids=["drawn", "foldCol"])
def test_calibrations(
    spark: SparkSession, rows: DataFrame, counted: Counted, params: dict[str, Any]
) -> None:
    vector = Vectors.dense([0.1, -0.2, 0.3, 0.4])
    both = [
        CalibratedClassifier(classifier=each, numFolds=4, method=method, **params)
        for each, method in ((svc(regParam=0.1), "sigmoid"), (svc(regParam=1.0), "isotonic"))
    ]
    expected = [each.fit(rows) for each in both]
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        for each, plain in zip(both, expected, strict=True):
            found = each.fit(resident)
            assert numbers(found).tolist() == numbers(plain).tolist()
            assert found.predictProbability(vector) == plain.predictProbability(vector)
            assert found.summary.areaUnderROC == plain.summary.areaUnderROC
        assert len(resident.packed) == 1
        assert counted.reads == 3  # two of them for the metrics
        if "seed" in params:
            both[0].copy({both[0].seed: 4}).fit(resident)
            assert len(resident.packed) == 2
