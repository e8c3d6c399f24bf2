"""Parquet files that tasks read themselves: the rows that Spark reads, to the bit, or Spark's road.

Expected is always what Spark's own reader gives of the same files.
"""

from __future__ import annotations

import datetime
import decimal
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pyspark.sql.functions as F
import pytest
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import DoubleType

from sparkml_lsml.classification import LinearSVC, LogisticRegression
from sparkml_lsml.engine.blocks.block import CsrRows
from sparkml_lsml.engine.passes import SamplePass
from sparkml_lsml.errors import DataError, ParamError, SourceChangedError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.rows import parquet
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from tests.spark.helpers import KINDS, cells, frame_of, nothing_left, numbers

PLAN = IngestPlan("features", "label", None, "binary", execution="distributed")
PAST_SPARK = "past Spark"
OLD = pyspark.__version__ < "4"


@pytest.fixture(autouse=True)
def settings(spark: SparkSession) -> Iterator[None]:
    """Take back what a test has set."""
    yield
    for name in (
        parquet.SETTING,
        parquet.BATCH,
        parquet.FIELD_IDS,
        "spark.sql.files.ignoreMissingFiles",
        "spark.sql.files.maxPartitionBytes",
        "spark.sql.parquet.compression.codec",
    ):
        spark.conf.unset(name)


def table(rows: int = 60, features: int = 4, seed: int = 0) -> dict[str, Any]:
    """Draw columns x0, x1, ... with some zeros, a label, a weight and an indicator."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features)) * (rng.random((rows, features)) < 0.8)
    found: dict[str, Any] = {f"x{k}": X[:, k] for k in range(features)}
    found["label"] = (X.sum(axis=1) + rng.normal(size=rows) > 0.0).astype(float)
    found["weight"] = rng.random(rows)
    found["held"] = rng.random(rows) < 0.3
    return found


def lists(rows: int = 60, kind: pa.DataType | None = None, **more: Any) -> pa.Table:
    """Draw the same, with the features as lists."""
    data = table(rows, **more)
    X = np.column_stack([values for name, values in data.items() if name.startswith("x")])
    columns = {"features": pa.array(list(X), pa.list_(kind or pa.float64()))}
    return pa.table(columns | {name: data[name] for name in ("label", "weight", "held")})


def written(folder: Path, found: pa.Table, **how: Any) -> str:
    """Write a table as the only file of a folder."""
    folder.mkdir(exist_ok=True)
    pq.write_table(found, folder / f"part-{len(list(folder.iterdir()))}.parquet", **how)
    return str(folder)


def contents(blocks: ResidentBlocks) -> dict[str, Any]:
    """Name all that a fit sees of its rows."""
    block = blocks.run(SamplePass(), "all").block()
    X = block.X
    parts = [X.data, X.indices, X.indptr] if isinstance(X, CsrRows) else [X]
    arrays = [np.asarray(each) for each in (*parts, block.y, block.weight, block.fold)]
    report = blocks.report
    moments = [
        (each.rows, each.weight, np.asarray(each.stored_mean), np.asarray(each.stored_m2))
        for each in (report.moments, report.label_moments)
        if each is not None
    ]
    return {
        "arrays": [(str(each.dtype), each.shape, each.tobytes()) for each in arrays if each.shape],
        "known": {n: identity for n, (identity, _) in blocks._known.items()},
        "labels": report.labels,
        "means": report.label_means,
        "lengths": (report.shortest, report.longest),
        "moments": [(r, w, mean.tobytes(), m2.tobytes()) for r, w, mean, m2 in moments],
    }


def packed(spark: SparkSession, source: DataFrame, plan: IngestPlan, *, direct: bool) -> Any:
    """Give the contents of the rows by one of the roads, or the error."""
    spark.conf.set(parquet.SETTING, str(direct).lower())
    with nothing_left(spark):
        try:
            with ResidentBlocks.pack(source, plan) as blocks:
                assert (PAST_SPARK in blocks.reading) == direct, blocks.reading
                return contents(blocks)
        except DataError as error:
            return str(error)


def assert_same(spark: SparkSession, source: DataFrame, plan: IngestPlan = PLAN) -> Any:
    """Check that both roads lead to the same rows, in the same partitions, or the same error."""
    found = packed(spark, source, plan, direct=True)
    assert found == packed(spark, source, plan, direct=False)
    return found


def assert_by_spark(spark: SparkSession, source: DataFrame, why: str, plan: Any = PLAN) -> None:
    """Check that Spark reads these rows, whatever is asked for, and that the reason is told."""
    spark.conf.set(parquet.SETTING, "true")
    with nothing_left(spark), ResidentBlocks.pack(source, plan) as blocks:
        assert blocks.reading.startswith("by Spark")
        assert why in blocks.reading
        found = contents(blocks)
    assert found == packed(spark, source, plan, direct=False)


# ---------------------------------------------------------------- what is read is what Spark reads


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_features_of_every_kind(spark: SparkSession, tmp_path: Path, kind: str, dtype: str) -> None:
    data = table(90, 5)
    X = np.column_stack([data[f"x{k}"] for k in range(5)])
    made = frame_of(
        spark,
        {
            "features": (KINDS[kind], cells(X, kind)),
            "label": (DoubleType(), data["label"].tolist()),
        },
        3,
    )
    made.write.parquet(str(tmp_path / "rows"))
    source = spark.read.parquet(str(tmp_path / "rows"))
    found = assert_same(spark, source, replace(PLAN, dtype=dtype))
    assert sum(rows for rows, _ in found["known"].values()) == 90 == source.count()


INTEGERS = ("tinyint", "smallint", "int", "bigint")


@pytest.mark.parametrize("kind", [*INTEGERS, "float", "double", "boolean"])
def test_numbers_of_every_type(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    made = spark.range(50, numPartitions=2).select(
        *((F.col("id") * k % 7 == 0).cast(kind).alias(f"x{k}") for k in (1, 2)),
        (F.col("id") % 2).cast(kind).alias("label"),
        (F.col("id") % 5 > 0).cast(kind).alias("weight"),
        (F.col("id") % 3 == 0).alias("held"),
    )
    if kind in ("bigint", "double"):  # which doubles, or decimal digits, do not hold exactly
        made = made.withColumn("x2", (F.col("x2") + 2**53 + 1).cast(kind))
    made.write.parquet(str(tmp_path / "rows"))
    plan = replace(
        PLAN, features=("x2", "x1"), weight="weight", fold=F.col("held").cast("int"), folds=2
    )
    plan = replace(plan, validation="held", factors={1.0: 3.0, 0.0: 0.7})
    assert_same(spark, spark.read.parquet(str(tmp_path / "rows")), plan)


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "none"},
        {"compression": "gzip"},
        {"compression": "zstd"},
        {"data_page_version": "2.0"},
        {"use_dictionary": False, "row_group_size": 1},
        {"use_dictionary": False, "row_group_size": 7, "data_page_size": 64},
        pytest.param(
            {"use_dictionary": False, "column_encoding": {"label": "BYTE_STREAM_SPLIT"}},
            marks=pytest.mark.skipif(OLD, reason="Spark 3 does not read it"),
        ),
        {"version": "1.0", "write_statistics": False},
        {"store_schema": False, "write_page_index": True},
    ],
    ids=str,
)
def test_files_of_every_make(spark: SparkSession, tmp_path: Path, how: dict[str, Any]) -> None:
    folder = written(tmp_path / "rows", lists(60), **how)
    written(tmp_path / "rows", lists(45, seed=1), **how)
    assert_same(spark, spark.read.parquet(folder))


@pytest.mark.parametrize("size", [300, 1000, 4000, 100_000])
def test_files_in_parts(spark: SparkSession, tmp_path: Path, size: int) -> None:
    """A row group belongs to the part that has its middle."""
    folder = written(tmp_path / "rows", lists(400), row_group_size=50)
    written(tmp_path / "rows", lists(30, seed=1), row_group_size=3)
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(size))
    assert_same(spark, spark.read.parquet(folder))


@pytest.mark.parametrize("batch", [1, 7, 60, 10_000, 0])
def test_batches_are_as_long_as_sparks(spark: SparkSession, tmp_path: Path, batch: int) -> None:
    """Moments are merged batch by batch, so that they differ in the last bits otherwise."""
    folder = written(tmp_path / "rows", lists(100), row_group_size=9)
    spark.conf.set(parquet.BATCH, str(batch))
    assert_same(spark, spark.read.parquet(folder))


def test_many_small_files(spark: SparkSession, tmp_path: Path) -> None:
    for number in range(40):
        written(tmp_path / "rows", lists(number % 4, seed=number))
    assert_same(spark, spark.read.parquet(str(tmp_path / "rows")))


def test_columns_are_found_by_what_they_are(spark: SparkSession, tmp_path: Path) -> None:
    """Renamed, dropped, in another order, with names that need quotes."""
    data = lists().rename_columns(["a.b", "y `", "weight", "held"])
    folder = written(tmp_path / "rows", data)
    source = spark.read.parquet(folder).select(
        F.col("weight").alias("label2"), F.col("`y ```").alias("Label"), F.col("`a.b`").alias("x.y")
    )
    found = assert_same(spark, source, replace(PLAN, features="x.y"))
    assert sum(rows for rows, _ in found["known"].values()) == 60
    columns = F.col("weight").alias("label"), F.col("`y ```").alias("weight"), F.col("`a.b`")
    swapped = spark.read.parquet(folder).select(*columns)
    plan = replace(PLAN, features="`a.b`", label="label", weight="weight", task="regression")
    assert_same(spark, swapped, plan)


def test_paths_with_blanks_and_signs(spark: SparkSession, tmp_path: Path) -> None:
    folder = written(tmp_path / "ro ws, range: 1-2 %20ü+#", lists())
    assert_same(spark, spark.read.parquet(folder))


def test_a_column_of_partitions_beside_those_of_the_files(
    spark: SparkSession, tmp_path: Path
) -> None:
    root = tmp_path / "rows"
    root.mkdir()
    for day in (1, 2):
        written(root / f"day={day}", lists(20, seed=day))
    source = spark.read.parquet(str(root))
    assert_same(spark, source)
    assert_by_spark(spark, source, "column of partitions", replace(PLAN, weight="day"))


# ------------------------------------------------------------------------- bad rows, on both roads


def vectors(label: list[Any], features: list[Any], weight: list[Any]) -> Callable[..., DataFrame]:
    def made(spark: SparkSession, folder: Path) -> DataFrame:
        columns = {
            "label": (DoubleType(), label),
            "features": (KINDS["dense"], features),
            "weight": (DoubleType(), weight),
        }
        frame_of(spark, columns, 1).write.parquet(str(folder))
        return spark.read.parquet(str(folder))

    return made


ROW = Vectors.dense(1.0, 2.0)
BAD: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "null label": ([None, 1.0, 0.0], [ROW] * 3, [1.0] * 3),
    "NaN label": ([float("nan"), 1.0, 0.0], [ROW] * 3, [1.0] * 3),
    "label 3": ([3.0, 1.0, 0.0], [ROW] * 3, [1.0] * 3),
    "null features": ([0.0, 1.0, 0.0], [ROW, None, ROW], [1.0] * 3),
    "infinite feature": (
        [0.0, 1.0, 0.0],
        [ROW, Vectors.dense(1.0, float("inf")), ROW],
        [1.0] * 3,
    ),
    "lengths": ([0.0, 1.0, 0.0], [ROW, Vectors.dense(1.0), ROW], [1.0] * 3),
    "sparse length": ([0.0, 1.0], [ROW, Vectors.sparse(3, [0], [1.0])], [1.0] * 2),
    "null weight": ([0.0, 1.0, 0.0], [ROW] * 3, [1.0, None, 1.0]),
    "negative weight": ([0.0, 1.0, 0.0], [ROW] * 3, [1.0, -1.0, 1.0]),
    "all at once": (
        [None, 2.0, 0.0],
        [None, ROW, Vectors.dense(float("nan"), 1.0)],
        [None, -1.0, float("nan")],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_told_alike(spark: SparkSession, tmp_path: Path, name: str) -> None:
    source = vectors(*BAD[name])(spark, tmp_path / "rows")
    plan = replace(PLAN, weight="weight")
    assert "cannot be trained on" in assert_same(spark, source, plan)


@pytest.mark.parametrize("kind", ["double", "int", "boolean"])
def test_nulls_in_columns_of_numbers(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    values = [(1, None, 0), (None, 1, 1), (0, 1, None), (1, 1, 1)]
    made = spark.createDataFrame(values, "a int, b int, label int").coalesce(1)
    made.select(*(F.col(name).cast(kind) for name in made.columns)).write.parquet(
        str(tmp_path / "rows")
    )
    source = spark.read.parquet(str(tmp_path / "rows"))
    found = assert_same(spark, source, replace(PLAN, features=("a", "b")))
    assert "2 rows whose features are null" in found
    assert "1 rows whose label is null" in found


def test_null_elements_and_null_indicators(spark: SparkSession, tmp_path: Path) -> None:
    rows = pa.table(
        {
            "features": pa.array([[1.0, None], [2.0, 3.0], [float("nan"), 1.0]]),
            "label": [0.0, 1.0, 1.0],
            "held": [True, None, False],
        }
    )
    source = spark.read.parquet(written(tmp_path / "rows", rows))
    plan = replace(PLAN, fold=F.col("held").cast("int"), folds=2, validation="held")
    assert "2 rows whose features hold NaN" in assert_same(spark, source)
    assert "1 rows whose fold" in assert_same(spark, source, plan)


def test_no_rows(spark: SparkSession, tmp_path: Path) -> None:
    source = spark.read.parquet(written(tmp_path / "rows", lists().slice(0, 0)))
    assert "the frame has no rows" in assert_same(spark, source)


# ------------------------------------------------------------------------------ models and searches


@pytest.mark.parametrize("estimator", [LogisticRegression, LinearSVC, LinearRegression])
@pytest.mark.parametrize("execution", ["local", "distributed"])
def test_models_are_the_same_to_the_bit(
    spark: SparkSession, tmp_path: Path, estimator: Any, execution: str
) -> None:
    source = spark.read.parquet(written(tmp_path / "rows", lists(200), row_group_size=30))
    fit = estimator(
        maxIter=5, weightCol="weight", validationIndicatorCol="held", execution=execution
    )
    if estimator is not LinearRegression:
        fit.setClassWeight("balanced")
    models = {}
    for direct in ("true", "false"):
        spark.conf.set(parquet.SETTING, direct)
        with nothing_left(spark):
            models[direct] = fit.fit(source)
    assert np.array_equal(numbers(models["true"]), numbers(models["false"]))
    assert models["true"].summary.reading == "from 1 Parquet file, past Spark"
    assert "past Spark" in str(models["true"].summary)
    assert "directParquet is false" in models["false"].summary.reading


@pytest.fixture
def read_in_tasks(monkeypatch: pytest.MonkeyPatch) -> list[parquet.ParquetScan]:
    """Note the scans that tasks were asked for."""
    scans: list[parquet.ParquetScan] = []
    packed = parquet.ParquetScan.packed

    def noted(scan: parquet.ParquetScan, *arguments: Any) -> Any:
        scans.append(scan)
        return packed(scan, *arguments)

    monkeypatch.setattr(parquet.ParquetScan, "packed", noted)
    return scans


def test_small_files_take_no_job(
    spark: SparkSession, tmp_path: Path, read_in_tasks: list[parquet.ParquetScan]
) -> None:
    """Driver and executor are one process here; elsewhere the driver may not have the files."""
    source = spark.read.parquet(written(tmp_path / "rows", lists(200), row_group_size=30))
    fit = LogisticRegression(maxIter=5, validationIndicatorCol="held", weightCol="weight")
    models = {}
    for direct in ("true", "false"):
        spark.conf.set(parquet.SETTING, direct)
        with nothing_left(spark):
            models[direct] = fit.fit(source)
        assert models[direct].summary.execution == "local"
    assert not read_in_tasks
    assert PAST_SPARK in models["true"].summary.reading
    assert np.array_equal(numbers(models["true"]), numbers(models["false"]))


def test_files_that_unfold(
    spark: SparkSession, tmp_path: Path, read_in_tasks: list[parquet.ParquetScan]
) -> None:
    """A file of few bytes may hold more rows than the driver solves."""
    X = np.zeros((5000, 20))
    X[::2] = 1.0
    rows = pa.table({"features": pa.array(list(X)), "label": X[:, 0]})
    source = spark.read.parquet(written(tmp_path / "rows", rows, row_group_size=100))
    assert (tmp_path / "rows" / "part-0.parquet").stat().st_size < 300_000
    plan = replace(PLAN, execution="auto", local_bytes=300_000)
    with nothing_left(spark), ResidentBlocks.pack(source, plan) as blocks:
        assert not blocks.local
        assert PAST_SPARK in blocks.reading
        assert blocks.rows == 5000
    assert len(read_in_tasks) == 1


def test_a_column_far_from_zero_is_read_twice(spark: SparkSession, tmp_path: Path) -> None:
    data = table(80)
    data["x0"] = 1e9 + np.arange(80.0) / 1024
    folder = written(tmp_path / "rows", pa.table(data))
    fit = LinearRegression(featuresCols=["x0", "x1"], execution="distributed")
    models = {}
    for direct in ("true", "false"):
        spark.conf.set(parquet.SETTING, direct)
        models[direct] = fit.fit(spark.read.parquet(folder))
    assert "second read" in str(models["true"].summary)
    assert np.array_equal(numbers(models["true"]), numbers(models["false"]))


# -------------------------------------------------------------------------- what is left to Spark


def test_plans_that_do_more_than_read(spark: SparkSession, tmp_path: Path) -> None:
    folder = written(tmp_path / "rows", lists(60))
    source = spark.read.parquet(folder)
    bare = "not a bare scan of Parquet files: found"
    assert_by_spark(spark, source.where("label >= 0"), f"{bare} Filter")
    assert_by_spark(spark, source.limit(50), bare)
    assert_by_spark(spark, source.union(source), f"{bare} Union")
    assert_by_spark(spark, source.sample(fraction=0.99, seed=1), f"{bare} Sample")
    assert_by_spark(spark, source.repartition(2), bare)
    assert_by_spark(spark, source.limit(50).select("*"), f"{bare} GlobalLimit")
    assert_by_spark(spark, source.withColumn("label", 1 - F.col("label")), "'label' is computed")
    cached = source.cache()
    cached.count()
    try:
        assert_by_spark(spark, cached, f"{bare} InMemoryRelation")
    finally:
        cached.unpersist()
    arrays = (KINDS["double"], [[1.0, 2.0], [2.0, 1.0]])
    made = frame_of(spark, {"features": arrays, "label": (DoubleType(), [0.0, 1.0])})
    assert_by_spark(spark, made, bare)
    made.write.orc(str(tmp_path / "orc"))
    assert_by_spark(spark, spark.read.orc(str(tmp_path / "orc")), "read by OrcFileFormat")


def test_types_that_are_read_in_another_way(spark: SparkSession, tmp_path: Path) -> None:
    rows = lists(3).append_column("price", pa.array([decimal.Decimal("0.10")] * 3))
    source = spark.read.parquet(written(tmp_path / "rows", rows))
    assert_by_spark(spark, source, "'price' is decimal(2,2)", replace(PLAN, weight="price"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (parquet.FIELD_IDS, "true"),
        ("spark.sql.files.ignoreMissingFiles", "true"),
        (parquet.SETTING, "false"),
    ],
)
def test_settings_that_change_what_is_read(
    spark: SparkSession, tmp_path: Path, setting: str, value: str
) -> None:
    source = spark.read.parquet(written(tmp_path / "rows", lists()))
    spark.conf.set(setting, value)
    with ResidentBlocks.pack(source, PLAN) as blocks:
        assert blocks.reading == f"by Spark ({setting} is {value})"
    if setting != parquet.SETTING:
        spark.conf.unset(setting)
        lax = spark.read.option("ignoremissingfiles", "TRUE").parquet(str(tmp_path / "rows"))
        assert_by_spark(spark, lax, "option ignoreMissingFiles is true")


def test_the_setting_is_true_or_false(spark: SparkSession, tmp_path: Path) -> None:
    source = spark.read.parquet(written(tmp_path / "rows", lists()))
    spark.conf.set(parquet.SETTING, "yes")
    with pytest.raises(ParamError, match="directParquet is 'yes': expected true or false"):
        ResidentBlocks.pack(source, PLAN)


def test_schemas_that_differ_from_file_to_file(spark: SparkSession, tmp_path: Path) -> None:
    """What Spark makes of them is Spark's to say: other types, missing columns, other cases."""
    folder = written(tmp_path / "rows", lists(20))
    other = lists(20, seed=1)
    at = other.schema.get_field_index("weight")
    written(tmp_path / "rows", other.set_column(at, "weight", pa.array([1.5] * 20, pa.float32())))
    plan = replace(PLAN, weight="weight")
    source = spark.read.schema(
        "features array<double>, label double, weight double, held boolean"
    ).parquet(folder)
    if OLD:
        with nothing_left(spark), pytest.raises(Exception, match="column cannot be converted"):
            ResidentBlocks.pack(source, plan)
    else:
        assert_by_spark(spark, source, "column 'weight' is float there, expected double", plan)
    missing = written(tmp_path / "missing", lists(20))
    written(tmp_path / "missing", lists(20, seed=1).drop_columns(["held"]))
    merged = spark.read.option("mergeSchema", "true").parquet(missing)
    assert_same(spark, merged)
    spark.conf.set(parquet.SETTING, "true")
    plan = replace(PLAN, fold=F.col("held").cast("int"), folds=2, validation="held")
    with pytest.raises(DataError, match="20 rows whose fold"):
        ResidentBlocks.pack(merged, plan)
    cases = written(tmp_path / "cases", lists(20))
    written(tmp_path / "cases", lists(20).rename_columns(["features", "LABEL", "weight", "held"]))
    source = spark.read.schema("features array<double>, label double").parquet(cases)
    assert_by_spark(spark, source, "does not have the column 'label' once")


def test_lists_that_only_arrow_knows(spark: SparkSession, tmp_path: Path) -> None:
    data = table(12)
    X = np.column_stack([data["x0"], data["x1"]])
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 2)
    rows = pa.table({"features": fixed, "label": data["label"]})
    assert_by_spark(spark, spark.read.parquet(written(tmp_path / "rows", rows)), "fixed_size_list")
    large = fixed.cast(pa.large_list(pa.float64()))
    rows = pa.table({"features": large, "label": data["label"]})
    assert_same(spark, spark.read.parquet(written(tmp_path / "large", rows)))


# ----------------------------------------------------------------------------------------- faults


def test_a_file_is_cut_or_no_parquet(spark: SparkSession, tmp_path: Path) -> None:
    """Spark says what is wrong with it; what was packed of the others is released."""
    for name, cut in (("cut", 0.6), ("empty", 0.0)):
        folder = written(tmp_path / name, lists(60))
        written(tmp_path / name, lists(60, seed=1))
        source = spark.read.parquet(folder)
        path = tmp_path / name / "part-1.parquet"
        size = path.stat().st_size
        os.truncate(path, int(cut * size))
        with nothing_left(spark), pytest.raises(Exception, match=r"part-1\.parquet"):
            ResidentBlocks.pack(source, PLAN)


def test_pages_that_are_damaged(spark: SparkSession, tmp_path: Path) -> None:
    folder = written(tmp_path / "rows", lists(4000), compression="snappy")
    source = spark.read.parquet(folder)
    path = tmp_path / "rows" / "part-0.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[4:40] = b"\xff" * 36  # the header of the first page
    path.write_bytes(bytes(damaged))
    with nothing_left(spark), pytest.raises(Exception, match=r"(?s)part-0\.parquet"):
        ResidentBlocks.pack(source, PLAN)


def test_a_file_is_removed_before_it_is_read(spark: SparkSession, tmp_path: Path) -> None:
    folder = written(tmp_path / "rows", lists(60))
    written(tmp_path / "rows", lists(60, seed=1))
    source = spark.read.parquet(folder)
    source.count()
    (tmp_path / "rows" / "part-0.parquet").unlink()
    with nothing_left(spark), pytest.raises(Exception, match=r"part-0\.parquet"):
        ResidentBlocks.pack(source, PLAN)


def test_a_file_that_may_not_be_read(spark: SparkSession, tmp_path: Path) -> None:
    """Spark, which may be somebody else, is asked for it."""
    folder = written(tmp_path / "rows", lists(60))
    source = spark.read.parquet(folder)
    path = tmp_path / "rows" / "part-0.parquet"
    path.chmod(0)
    try:
        if os.access(path, os.R_OK):
            assert_same(spark, source)  # of root, to whom all files are open
        else:
            with nothing_left(spark), pytest.raises(Exception, match="Permission denied"):
                ResidentBlocks.pack(source, PLAN)
    finally:
        path.chmod(0o600)


def lose(blocks: ResidentBlocks) -> None:
    """Remove the files of all blocks."""
    for _, folder in blocks._known.values():
        for path in Path(folder).iterdir():
            path.unlink()
        Path(folder).rmdir()


def test_lost_blocks_are_read_again(spark: SparkSession, tmp_path: Path) -> None:
    source = spark.read.parquet(written(tmp_path / "rows", lists(60)))
    with nothing_left(spark), ResidentBlocks.pack(source, PLAN) as blocks:
        before = contents(blocks)
        lose(blocks)
        assert contents(blocks) == before
        assert "1 block was lost" in " ".join(blocks.notes)


def test_the_file_is_another_by_then(spark: SparkSession, tmp_path: Path) -> None:
    source = spark.read.parquet(written(tmp_path / "rows", lists(60)))
    path = tmp_path / "rows" / "part-0.parquet"
    with nothing_left(spark), ResidentBlocks.pack(source, PLAN) as blocks:
        pq.write_table(lists(60, seed=7), path)
        lose(blocks)
        with pytest.raises(SourceChangedError, match="hold other rows than at first"):
            contents(blocks)
    with nothing_left(spark), ResidentBlocks.pack(source, PLAN) as blocks:
        path.unlink()
        lose(blocks)
        with pytest.raises(SourceChangedError, match=r"cannot be packed anew: .*part-0\.parquet"):
            contents(blocks)


def test_parts_that_leave_row_groups_out(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever rule gives row groups to parts of files: each is read, and once."""
    source = spark.read.parquet(written(tmp_path / "rows", lists(60), row_group_size=10))
    asked = parquet._splits

    def shortened(*arguments: Any) -> Any:
        return tuple(
            tuple((path, start, end // 2) for path, start, end in splits)
            for splits in asked(*arguments)
        )

    monkeypatch.setattr(parquet, "_splits", shortened)
    assert_by_spark(spark, source, "its parts are not those of its 6 row groups")

    def twice(*arguments: Any) -> Any:
        return tuple(splits + splits for splits in asked(*arguments))

    monkeypatch.setattr(parquet, "_splits", twice)
    assert_by_spark(spark, source, "its parts are not those of its 6 row groups")


def test_platforms_that_refuse_to_tell(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from py4j.protocol import Py4JError

    source = spark.read.parquet(written(tmp_path / "rows", lists(60)))

    def refused(*_: Any) -> Any:
        raise Py4JError("method is not whitelisted")

    monkeypatch.setattr(parquet, "_sources", refused)
    assert_by_spark(spark, source, "does not tell which files it reads")


def test_dates_do_not_matter(spark: SparkSession, tmp_path: Path) -> None:
    """Columns that a fit does not want may be of any type."""
    rows = lists(3).append_column("day", pa.array([datetime.date(1500, 1, 1)] * 3))
    assert_same(spark, spark.read.parquet(written(tmp_path / "rows", rows)))
