"""Vectors that an assembler makes right before a fit: their numbers are packed in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyspark
import pyspark.sql.functions as F
import pytest
from py4j.protocol import Py4JError
from pyspark.ml import Pipeline
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import Interaction, StandardScaler, StringIndexer, VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.ml.tuning import ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    BooleanType,
    ByteType,
    DataType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    ShortType,
    StringType,
)

import sparkml_lsml
from sparkml_lsml.classification import LinearSVC, LogisticRegression, OneVsRest
from sparkml_lsml.errors import DataError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.rows import assembled as module
from sparkml_lsml.spark.rows.assembled import MOST_COLUMNS, assembled
from sparkml_lsml.spark.rows.ingest import training_frame
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import LENT, ResidentBlocks
from sparkml_lsml.tuning import CrossValidator, TrainValidationSplit
from tests.spark.helpers import EXECUTIONS, frame_of, nothing_left, numbers

N = 90
RNG = np.random.default_rng(31)

TYPES: dict[str, tuple[DataType, list[Any]]] = {
    "byte": (ByteType(), [-128, 127, *RNG.integers(-9, 9, N - 2).tolist()]),
    "short": (ShortType(), RNG.integers(-500, 500, N).tolist()),
    "int": (IntegerType(), RNG.integers(18, 90, N).tolist()),
    # of which not all are doubles
    "long": (LongType(), [2**53 + 1 + n * n for n in range(N)]),
    "float": (FloatType(), np.float32(RNG.normal(size=N)).tolist()),
    "double": (DoubleType(), [-0.0, 0.0, 5e-324, *RNG.normal(size=N - 3).tolist()]),
    "a flag": (BooleanType(), (RNG.random(N) < 0.4).tolist()),
    "price": (DecimalType(12, 3), [Decimal(int(v)) / 1000 for v in RNG.integers(0, 10**8, N)]),
    "wide": (DecimalType(38, 10), [Decimal(f"{v:.10f}") for v in RNG.gamma(2.0, 1e9, N)]),
}
NAMES = list(TYPES)


@pytest.fixture(scope="module")
def plain(spark: SparkSession) -> DataFrame:
    """Give numbers that nobody has assembled."""
    score = np.array(TYPES["float"][1]) + RNG.normal(size=N)
    others = {
        "label": (DoubleType(), (score > 0.2).astype(float).tolist()),
        "weight": (DoubleType(), RNG.integers(1, 4, N).astype(float).tolist()),
        "site": (StringType(), ["abc"[n % 3] for n in range(N)]),
        "id": (LongType(), list(range(N))),
    }
    return frame_of(spark, {**TYPES, **others})


def assembler(names: list[str] | None = None, output: str = "features", **p: Any) -> Any:
    return VectorAssembler(inputCols=names or NAMES, outputCol=output, **p)


@pytest.fixture(scope="module")
def rows(plain: DataFrame) -> DataFrame:
    return assembler().transform(plain)


def vectors_only(rows: DataFrame) -> DataFrame:
    """Give the same vectors, but not the numbers, so that they have to be made."""
    return rows.drop(*NAMES)


@dataclass
class Packed:
    """What has been packed."""

    plans: list[IngestPlan] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    made: list[bool] = field(default_factory=list)
    """Whether a function of Spark, such as an assembler's, was in the optimised plan."""


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> Packed:
    found = Packed()
    pack = ResidentBlocks.pack

    def noted(dataset: DataFrame, plan: IngestPlan) -> Any:
        frame = training_frame(dataset, plan.features, plan.label, plan.weight, 2, plan.fold)
        optimised = frame._jdf.queryExecution().optimizedPlan().toString()
        blocks = pack(dataset, plan)
        found.plans.append(plan)
        found.checksums.append(blocks.checksum)
        found.sizes.append(blocks.nbytes)
        found.made.append("UDF(struct(" in optimised)
        return blocks

    monkeypatch.setattr(ResidentBlocks, "pack", noted)
    return found


# ---------------------------------------------------- the same rows, to the last bit


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numbers_of_all_types_are_packed_as_their_vectors(
    spark: SparkSession, rows: DataFrame, packed: Packed, dtype: str, execution: str
) -> None:
    params = {"dtype": dtype, "execution": execution, "aggregationDepth": 1, "weightCol": "weight"}
    estimators = [LogisticRegression(regParam=0.1, **params)]
    if execution == "local":
        estimators += [LinearSVC(regParam=0.1, maxIter=9, **params), LinearRegression(**params)]
    for estimator in estimators:
        with nothing_left(spark):
            model = estimator.fit(rows)
            expected = estimator.fit(vectors_only(rows))
        assert numbers(model).tolist() == numbers(expected).tolist()
        assert model.summary.objective == expected.summary.objective
        one, other = packed.plans[-2:]
        assert (one.features, other.features) == (tuple(NAMES), "features")
        assert packed.checksums[-1] == packed.checksums[-2]
        assert packed.sizes[-1] == packed.sizes[-2]
        assert packed.made[-2:] == [False, True]
        # it scores by its column of vectors
        assert not model.isDefined("featuresCols")
        assert model.transform(vectors_only(rows)).count() == N


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_rows_of_mostly_zeros_stay_sparse(
    spark: SparkSession, packed: Packed, share: float, execution: str
) -> None:
    names = [f"c{n}" for n in range(30)]
    X = RNG.normal(size=(N, 30)) * (RNG.random((N, 30)) < share)
    columns: dict[str, tuple[DataType, list[Any]]] = {
        name: (DoubleType(), X[:, n].tolist()) for n, name in enumerate(names)
    }
    columns["label"] = (DoubleType(), (X.sum(axis=1) > 0.0).astype(float).tolist())
    names = names[::-1]  # not in the order of the frame
    rows = assembler(names).transform(frame_of(spark, columns))
    estimator = LogisticRegression(regParam=0.1, execution=execution, aggregationDepth=1)
    model, expected = estimator.fit(rows), estimator.fit(rows.drop(*names))
    assert packed.plans[0].features == tuple(names)
    assert packed.plans[1].features == "features"
    assert packed.checksums[0] == packed.checksums[1]
    assert packed.sizes[0] == packed.sizes[1]
    assert (packed.sizes[0] < N * 31 * 8) == (share < 0.5)
    assert numbers(model).tolist() == numbers(expected).tolist()


# ---------------------------------------------------- rows that lack a number


def with_gaps(plain: DataFrame) -> DataFrame:
    """The 3rd row lacks its age, and the 7th has NaN among its numbers."""
    gap = F.when(F.col("id") != 3, F.col("int"))
    nan = F.when(F.col("id") == 7, float("nan")).otherwise(F.col("float")).cast("float")
    return plain.withColumns({"int": gap, "float": nan})


@pytest.mark.parametrize("invalid", ["error", "keep"])
def test_case_08_rows_that_lack_a_number_are_refused(
    spark: SparkSession, plain: DataFrame, packed: Packed, invalid: str
) -> None:
    estimator = LogisticRegression()
    null = with_gaps(plain).where("id != 7")
    nan = with_gaps(plain).where("id != 3")
    for gaps, told in ((null, "1 rows whose features are null"), (nan, "1 rows")):
        rows = assembler(handleInvalid=invalid).transform(gaps)
        with nothing_left(spark):
            with pytest.raises(DataError, match=told):
                estimator.fit(rows)
            with pytest.raises(Exception, match=r"null|NaN|finite"):  # Spark's own, or ours
                estimator.fit(vectors_only(rows))
    assert packed.plans == []
    assert assembled(rows, "features") == tuple(NAMES)


def test_rows_that_are_skipped_stay_away(
    spark: SparkSession, plain: DataFrame, packed: Packed
) -> None:
    rows = assembler(handleInvalid="skip").transform(with_gaps(plain))
    estimator = LogisticRegression(regParam=0.1, aggregationDepth=1)
    model, expected = estimator.fit(rows), estimator.fit(vectors_only(rows))
    assert model.summary.rows == N - 2
    assert numbers(model).tolist() == numbers(expected).tolist()
    assert packed.checksums[0] == packed.checksums[1]
    assert packed.made == [False, True]


# ---------------------------------------------------- what is seen through, and what is not

THROUGH: dict[str, Callable[[DataFrame], DataFrame]] = {
    "projections": lambda rows: rows.withColumn("r", F.rand(1)).select("*", F.col("r") > 0.5),
    "a split": lambda rows: rows.randomSplit([0.6, 0.4], seed=3)[0],
    "a filter": lambda rows: rows.where("id % 2 = 0"),
    "partitions": lambda rows: rows.repartition(2).alias("r"),
    "partitions by a column": lambda rows: rows.repartition(2, "id"),
    "another name of the vectors": lambda rows: (
        rows.withColumn("copy", F.col("features"))
        .drop("features")
        .withColumnRenamed("copy", "features")
    ),
    "other names in other letters": lambda rows: rows.withColumnRenamed("features", "FEATURES"),
    "other vectors": lambda rows: assembler(["id", "weight"], "others").transform(rows),
}

NOT: dict[str, Callable[[DataFrame], DataFrame]] = {
    "a column dropped": lambda rows: rows.drop("int"),
    "a column renamed": lambda rows: rows.withColumnRenamed("int", "age"),
    "a column changed": lambda rows: rows.withColumn("int", F.col("int") + 1),
    "a column of that name twice": lambda rows: rows.select("*", F.col("id").alias("INT")),
    "vectors among them": lambda rows: assembler([*NAMES, "others"], "features").transform(
        assembler(["id", "weight"], "others").transform(rows.drop("features"))
    ),
    "a field of a struct": lambda rows: assembler(["s.int", "float"]).transform(
        rows.drop("features").withColumn("s", F.struct("int"))
    ),
    "another function": lambda rows: rows.withColumn(
        "features", array_to_vector(F.array(F.col("int").cast("double"), "float"))
    ),
    "an interaction": lambda rows: Interaction(
        inputCols=["int", "float"], outputCol="features"
    ).transform(rows.drop("features")),
    "a scaler behind it": lambda rows: (
        StandardScaler(inputCol="features", outputCol="scaled")
        .fit(rows)
        .transform(rows)
        .drop("features")
        .withColumnRenamed("scaled", "features")
    ),
    "a union": lambda rows: rows.union(rows),
    "distinct rows": lambda rows: rows.dropDuplicates(["id"]),
    "vectors of a source": lambda rows: rows.localCheckpoint(),
    "too many": lambda rows: assembler([f"c{n}" for n in range(MOST_COLUMNS + 1)]).transform(
        rows.drop("features").select(
            "*", *((F.col("float") * n).alias(f"c{n}") for n in range(MOST_COLUMNS + 1))
        )
    ),
}


@pytest.mark.parametrize("what", THROUGH)
def test_what_is_seen_through(rows: DataFrame, packed: Packed, what: str) -> None:
    given = THROUGH[what](rows)
    assert assembled(given, "features") == tuple(NAMES)
    estimator = LogisticRegression(regParam=0.1, maxIter=3, aggregationDepth=1)
    model, expected = estimator.fit(given), estimator.fit(vectors_only(given))
    assert packed.made[0] == (what == "a split")  # which sorts the rows by all columns
    assert packed.plans[1].features == "features"
    if not what.startswith("partitions"):  # a shuffle hands rows over in another order
        assert numbers(model).tolist() == numbers(expected).tolist()
    assert packed.checksums[0] == packed.checksums[1]


@pytest.mark.parametrize("what", NOT)
def test_what_is_not_seen_through(rows: DataFrame, packed: Packed, what: str) -> None:
    if what == "a field of a struct" and pyspark.__version__ < "4":
        pytest.skip("an assembler of PySpark 3.5 takes no fields")
    given = NOT[what](rows)
    assert assembled(given, "features") == ()
    estimator = LogisticRegression(regParam=0.1, maxIter=3)
    model = estimator.fit(given)
    [plan] = packed.plans
    assert (plan.features, plan.assembled) == ("features", False)
    expected = estimator.fit(given.select("features", "label").localCheckpoint())
    np.testing.assert_allclose(numbers(model), numbers(expected), rtol=1e-6)


def test_frames_that_have_no_such_column(rows: DataFrame) -> None:
    assert assembled(rows, "other") == ()
    assert assembled(rows.select("*", F.col("features").alias("Features")), "features") == ()


def test_a_jvm_that_may_not_be_asked(
    rows: DataFrame, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise Py4JError("is not whitelisted")

    monkeypatch.setattr(module, "_inputs", refuse)
    LogisticRegression(regParam=0.1, maxIter=2).fit(rows)
    assert packed.plans[0].features == "features"


def test_columns_that_were_named_are_what_they_are(rows: DataFrame, packed: Packed) -> None:
    LogisticRegression(regParam=0.1, maxIter=2, featuresCols=["int", "short"]).fit(rows)
    [plan] = packed.plans
    assert (plan.features, plan.assembled) == (("int", "short"), False)


# ---------------------------------------------------- around a fit


def test_a_pipeline_of_stock_classes(spark: SparkSession, plain: DataFrame, packed: Packed) -> None:
    stages = [
        StringIndexer(inputCol="site", outputCol="place"),
        assembler([*NAMES, "place"]),
        LogisticRegression(regParam=0.1, aggregationDepth=1),
    ]
    with nothing_left(spark):
        model = Pipeline(stages=stages).fit(plain)
    assert packed.plans[0].features == (*NAMES, "place")
    scored = model.transform(plain)
    before = model.stages[1].transform(model.stages[0].transform(plain))
    expected = stages[-1].fit(before.select("features", "label").localCheckpoint())
    assert numbers(model.stages[-1]).tolist() == numbers(expected).tolist()
    found = scored.select("prediction").collect()
    assert found == expected.transform(before).select("prediction").collect()
    assert model.stages[-1].summary.accuracy == expected.summary.accuracy


def test_grids_searches_and_resident_rows(
    spark: SparkSession, plain: DataFrame, rows: DataFrame, packed: Packed
) -> None:
    logistic = LogisticRegression(aggregationDepth=1, maxIter=5)
    maps = ParamGridBuilder().addGrid(logistic.regParam, [0.01, 1.0]).build()
    search: dict[str, Any] = {
        "estimator": logistic,
        "estimatorParamMaps": maps,
        "evaluator": BinaryClassificationEvaluator(),
        "seed": 3,
    }
    searches = [CrossValidator(numFolds=2, **search), TrainValidationSplit(**search)]
    vectors = vectors_only(rows)
    expected = [each.fit(vectors) for each in searches]
    plans = len(packed.plans)
    assert not any(plan.assembled for plan in packed.plans)
    with nothing_left(spark), sparkml_lsml.resident(rows) as resident:
        for given in (rows, resident, resident):
            found = [each.fit(given) for each in searches]
            for one, other in zip(found, expected, strict=True):
                assert numbers(one.bestModel).tolist() == numbers(other.bestModel).tolist()
            assert found[0].avgMetrics == expected[0].avgMetrics
            assert found[1].validationMetrics == expected[1].validationMetrics
        assert len(resident.packed) == 2
        models = logistic.fit(resident, maps)
        assert len(resident.packed) == 3
        again = logistic.fit(resident, maps)
        assert LENT in again[0].summary.notes
        assert "9 columns" in resident._repr_html_()
    for one, other in zip(models, logistic.fit(vectors, maps), strict=True):
        assert numbers(one).tolist() == numbers(other).tolist()
    # two searches of the frame, two of resident rows, and one grid
    assert [plan.assembled for plan in packed.plans[plans:]] == [True] * 5 + [False]
    assert packed.made[plans:] == [False] * 5 + [True]

    packed.plans.clear()
    staged = {**search, "estimator": Pipeline(stages=[assembler(), logistic])}
    one, other = (
        CrossValidator(numFolds=2, **each).fit(given)
        for each, given in ((staged, plain), (search, vectors))
    )
    assert one.avgMetrics == other.avgMetrics
    assert [plan.assembled for plan in packed.plans] == [True, True, True, False]


def test_one_vs_rest_and_pieces(rows: DataFrame, packed: Packed) -> None:
    three = rows.withColumn("label", F.col("id") % 3.0)
    svc = LinearSVC(regParam=0.1, maxIter=5, aggregationDepth=1)
    one, other = (OneVsRest(classifier=svc).fit(each) for each in (three, vectors_only(three)))
    for a, b in zip(one.models, other.models, strict=True):
        assert numbers(a).tolist() == numbers(b).tolist()
    a, b = (svc.partialFit(each) for each in (rows, vectors_only(rows)))
    assert numbers(a).tolist() == numbers(b).tolist()
    assert [plan.assembled for plan in packed.plans] == [True, False] * 2
