"""Leave one group out, beside scikit-learn's splits and MLlib's folds; saved searches."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyspark.ml.tuning as mllib
import pyspark.sql.functions as F
import pytest
from pyspark.errors import IllegalArgumentException
from pyspark.ml import Estimator, Model, Pipeline
from pyspark.ml import classification as mllib_classification
from pyspark.ml.evaluation import (
    BinaryClassificationEvaluator,
    Evaluator,
    RegressionEvaluator,
)
from pyspark.ml.feature import RFormula, StandardScaler
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    LongType,
    StringType,
    TimestampType,
)
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut

from sparkml_lsml.classification import LogisticRegression
from sparkml_lsml.errors import ColumnTypeError, DataError, ParamError, PersistenceError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit
from sparkml_lsml.tuning import groups as groups_module
from sparkml_lsml.tuning.groups import group_numbers
from tests.spark.helpers import (
    KINDS,
    binary_rows,
    cells,
    frame,
    frame_of,
    nothing_left,
    numbers,
)

Array = npt.NDArray[np.float64]

SITES = np.array(["Zürich", "a 'b'", "10", "9"])


def sites() -> tuple[Array, Array, Any]:
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X[:, :8], y.astype(np.float64), SITES[np.random.default_rng(3).integers(0, 4, len(y))]


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    X, y, group = sites()
    columns: dict[str, tuple[DataType, list[Any]]] = {
        "label": (DoubleType(), y.tolist()),
        "features": (KINDS["dense"], cells(X)),
        "the.site": (StringType(), group.tolist()),
    }
    return frame_of(spark, columns, partitions=2)


def search_of(estimator: Any, stage: Any = None, **settings: Any) -> CrossValidator:
    grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 1.0]).build()
    return CrossValidator(
        estimator=estimator if stage is None else Pipeline(stages=[stage, estimator]),
        estimatorParamMaps=grid,
        evaluator=BinaryClassificationEvaluator(),
        **settings,
    )


def test_folds_are_scikit_learns(
    spark: SparkSession, rows: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingests: list[int] = []
    plain = ResidentBlocks.pack

    def pack(*args: Any) -> Any:
        ingests.append(1)
        return plain(*args)

    monkeypatch.setattr(ResidentBlocks, "pack", pack)
    estimator = LogisticRegression(tol=1e-10, maxIter=300)
    search = search_of(estimator, groupCol="the.site", numFolds=2, collectSubModels=True)
    with nothing_left(spark):
        found = search.fit(rows)
    assert len(ingests) == 1
    assert found.getNumFolds() == 4
    assert found.getFoldCol() == ""
    X, y, group = sites()
    metrics = np.zeros((4, 2))
    for fold, (train, test) in enumerate(LeaveOneGroupOut().split(X, y, group)):
        seen = frame(spark, X[train], y[train])
        for number, strength in enumerate((0.01, 1.0)):
            alone = numbers(estimator.copy({estimator.regParam: strength}).fit(seen))
            np.testing.assert_allclose(
                numbers(found.subModels[fold][number]), alone, rtol=1e-4, atol=1e-6
            )
            metrics[fold, number] = roc_auc_score(y[test], X[test] @ alone[:-1])
    # areas are counted in bins of a relative width of 2^-12
    np.testing.assert_allclose(found.avgMetrics, metrics.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.stdMetrics, metrics.std(axis=0), rtol=1e-2)


@pytest.fixture(scope="module")
def with_stage(rows: DataFrame) -> Any:
    """Give MLlib's search around a pipeline, with folds numbered by hand."""
    rows = rows.withColumn("big", F.col("`the.site`") > "9").withColumn("n", F.expr("int(big)"))
    scaler = StandardScaler(inputCol="features", outputCol="scaled", withMean=True)
    theirs = mllib_classification.LogisticRegression(featuresCol="scaled", tol=1e-9, regParam=0.1)
    search = mllib.CrossValidator(
        estimator=Pipeline(stages=[scaler, theirs]),
        estimatorParamMaps=[{}],
        evaluator=BinaryClassificationEvaluator(),
        numFolds=2,
        foldCol="n",
    )
    return rows.drop("n"), scaler, theirs, search.fit(rows)


@pytest.mark.parametrize("around", ["pipeline", pytest.param("mllib", marks=pytest.mark.slow)])
def test_other_searches_see_the_same_folds(with_stage: Any, around: str) -> None:
    rows, scaler, last, theirs = with_stage
    if around == "pipeline":
        last = LogisticRegression(featuresCol="scaled", tol=1e-9, regParam=0.1)
    ours = CrossValidator(
        estimator=Pipeline(stages=[scaler, last]),
        estimatorParamMaps=[{}],
        evaluator=BinaryClassificationEvaluator(),
        seed=1,
        groupCol="big",
    ).fit(rows)
    np.testing.assert_allclose(ours.avgMetrics, theirs.avgMetrics, rtol=1e-4)
    np.testing.assert_allclose(ours.stdMetrics, theirs.stdMetrics, rtol=1e-2)
    assert ours.getNumFolds() == 2
    assert ours.getFoldCol() == ""
    assert ours.transform(rows).columns[:4] == rows.columns


@pytest.fixture(scope="module")
def pairs(spark: SparkSession) -> DataFrame:
    """Rows of two sites, with columns of numbers only."""
    x, y = binary_rows(40, 2)
    columns = {"label": y, "x": x[:, 0], "z": x[:, 1], "site": np.arange(40.0) % 2}
    typed: dict[str, tuple[DataType, list[Any]]] = {
        name: (DoubleType(), values.tolist()) for name, values in columns.items()
    }
    return frame_of(spark, typed, partitions=1)


def test_the_number_of_a_group_is_no_feature(pairs: DataFrame) -> None:
    """Nor does the best model ask for a column of it."""
    estimator = LogisticRegression(maxIter=3)
    found = CrossValidator(
        estimator=Pipeline(stages=[RFormula(formula="label ~ . - site"), estimator]),
        estimatorParamMaps=[{}],
        evaluator=BinaryClassificationEvaluator(),
        groupCol="site",
        collectSubModels=True,
    ).fit(pairs)
    models = [found.bestModel, *(model for fold in found.subModels for model in fold)]
    assert [model.stages[-1].numFeatures for model in models] == [2, 2, 2]
    scored = found.bestModel.transform(pairs.select("x", "z"))
    assert len(scored.select("prediction").take(3)) == 3


class Seeing(Estimator[Any]):
    """An estimator of the user's, which notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.fits: list[tuple[list[str], list[Any]]] = []

    def _fit(self, dataset: DataFrame) -> Any:
        self.fits.append(seen(dataset))
        return Same()


class Same(Model):
    def _transform(self, dataset: DataFrame) -> DataFrame:
        return dataset


class Judge(Evaluator):
    """An evaluator that notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[tuple[list[str], list[Any]]] = []

    def _evaluate(self, dataset: DataFrame) -> float:
        self.frames.append(seen(dataset))
        return 0.0


def seen(rows: DataFrame) -> tuple[list[str], list[Any]]:
    return rows.columns, sorted({row.site for row in rows.select("site").collect()})


def test_groups_need_no_column_fit_by_fit(pairs: DataFrame) -> None:
    estimator, judge = Seeing(), Judge()
    search = CrossValidator(
        estimator=estimator, estimatorParamMaps=[{}], evaluator=judge, groupCol="site"
    )
    found = search.fit(pairs)
    assert (found.getNumFolds(), found.getFoldCol()) == (2, "")
    assert estimator.fits == [(pairs.columns, sites) for sites in ([1.0], [0.0], [0.0, 1.0])]
    assert judge.frames == [(pairs.columns, sites) for sites in ([0.0], [1.0])]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (LongType(), [10, -3, 9, 2**53 + 1, 2**53]),
        (DoubleType(), [10.5, -3.0, 9.0, 0.1 + 0.2, 0.3]),
        (BooleanType(), [True, False]),
        (DateType(), [date(2020, 1, 1), date(1999, 12, 31)]),
        (DecimalType(20, 2), [Decimal("10.00"), Decimal("9.50"), Decimal("-1.25")]),
        (BinaryType(), [b"\xff\x00", b"a", b"B"]),
        (
            TimestampType(),
            # the same hour twice on the wall clocks of Berlin
            [datetime(2020, 10, 25, hour, 30, tzinfo=UTC) for hour in (1, 0)],
        ),
    ],
    ids=str,
)
def test_groups_of_any_type_are_numbered_in_order(
    spark: SparkSession, kind: DataType, values: list[Any]
) -> None:
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    try:
        drawn = [values[i] for i in (0, *range(len(values)), len(values) - 1)]
        made = frame_of(spark, {"group": (kind, drawn)})
        number, groups = group_numbers(made, "group")
        found = [row[0] for row in made.select(number).collect()]
    finally:
        spark.conf.set("spark.sql.session.timeZone", str(zone))
    ranks = sorted(values)
    assert groups == len(values)
    assert found == [ranks.index(value) for value in drawn]


def test_groups_that_cannot_be_used(
    spark: SparkSession, rows: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_of(LogisticRegression(maxIter=2), groupCol="group")

    def fit(group: Any) -> None:
        with nothing_left(spark):
            search.fit(rows.withColumn("group", group))

    of_first = F.when(F.col("`the.site`") != "9", F.col("`the.site`"))
    nines = int((sites()[2] == "9").sum())
    with pytest.raises(DataError, match=f"groupCol='group' is null or NaN in {nines} rows"):
        fit(of_first)
    with pytest.raises(DataError, match=f"is null or NaN in {nines} rows"):
        fit(F.when(F.col("`the.site`") != "9", F.length("`the.site`")).otherwise(float("nan")))
    with pytest.raises(DataError, match="has 1 different values: expected at least 2 groups"):
        fit(F.lit(3))
    monkeypatch.setattr(groups_module, "MAX_GROUPS", 3)
    with pytest.raises(DataError, match=r"more than 3 different values.*use numFolds"):
        fit(F.col("`the.site`"))
    with pytest.raises(ColumnTypeError, match="expected strings, numbers"):
        fit(F.array(F.lit(1)))
    with pytest.raises(ParamError, match=r"both foldCol='f' and groupCol='group'.*Clear foldCol"):
        search.copy({search.foldCol: "f"}).fit(rows)


@pytest.mark.parametrize("of", ["ours", "mllib", "pipeline"])
def test_a_search_is_saved_with_its_groups(spark: SparkSession, tmp_path: Path, of: str) -> None:
    estimator: Any = LogisticRegression(maxIter=7)
    if of == "mllib":
        estimator = mllib_classification.LogisticRegression(maxIter=7)
    stage = StandardScaler(inputCol="features") if of == "pipeline" else None
    search = search_of(estimator, stage, groupCol="the.site", numFolds=5, seed=3)
    path = str(tmp_path / "search")
    search.copy().setGroupCol("other").save(path)
    search.write().overwrite().save(path)
    loaded = CrossValidator.load(path)
    assert type(loaded) is CrossValidator
    assert loaded.uid == search.uid
    assert (loaded.getGroupCol(), loaded.getNumFolds(), loaded.getSeed()) == ("the.site", 5, 3)
    values = [list(extra.values()) for extra in loaded.getEstimatorParamMaps()]
    assert values == [[0.01], [1.0]]
    last = loaded.getEstimator()
    last = last.getStages()[1] if of == "pipeline" else last
    assert (type(last), last.uid, last.getMaxIter()) == (type(estimator), estimator.uid, 7)
    with pytest.raises((AttributeError, TypeError, IllegalArgumentException)):
        mllib.CrossValidator.load(path)
    with pytest.raises(PersistenceError, match=r"expected a .*TrainValidationSplit"):
        TrainValidationSplit.load(path)


@pytest.mark.slow
def test_searches_that_mllib_saved_are_loaded(rows: DataFrame, tmp_path: Path) -> None:
    estimators = (LogisticRegression(maxIter=5), mllib_classification.LogisticRegression(maxIter=5))
    for number, estimator in enumerate(estimators):  # saved by Python, and by the JVM
        grid = ParamGridBuilder().addGrid(estimator.regParam, [0.01, 1.0]).build()
        settings = {"estimator": estimator, "estimatorParamMaps": grid, "seed": 4}
        path = str(tmp_path / str(number))
        mllib.CrossValidator(
            **settings, evaluator=BinaryClassificationEvaluator(), numFolds=2
        ).save(path)
        loaded = CrossValidator.load(path)
        assert type(loaded) is CrossValidator
        assert (loaded.getGroupCol(), loaded.getNumFolds()) == ("", 2)
        assert len(loaded.fit(rows).avgMetrics) == 2


def test_a_split_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    linear = LinearRegression()
    grid = ParamGridBuilder().addGrid(linear.regParam, [0.5]).build()
    split = TrainValidationSplit(
        estimator=linear,
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(),
        trainRatio=0.6,
    )
    split.save(str(tmp_path / "split"))
    loaded = TrainValidationSplit.load(str(tmp_path / "split"))
    assert type(loaded) is TrainValidationSplit
    assert (loaded.uid, loaded.getTrainRatio()) == (split.uid, 0.6)
    assert [list(extra.values()) for extra in loaded.getEstimatorParamMaps()] == [[0.5]]


def test_a_copy_keeps_its_groups() -> None:
    search = search_of(LogisticRegression(), groupCol="site")
    assert search.copy().getGroupCol() == "site"
    assert search.copy({search.groupCol: "other"}).getGroupCol() == "other"
    assert CrossValidator().getGroupCol() == ""
    assert search.setParams(groupCol="third", numFolds=7).getGroupCol() == "third"
    assert search.getNumFolds() == 7
