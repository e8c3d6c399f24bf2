"""How the rows of a fit are packed: where passes run, and what the driver learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.engine.blocks.disks import RESERVE
from sparkml_lsml.engine.passes import SamplePass
from sparkml_lsml.errors import DataError, DiskError, ParamError
from sparkml_lsml.spark.cluster import reserve
from sparkml_lsml.spark.cluster.reserve import disk_reserve
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from tests.spark.helpers import binary_rows, frame, nothing_left

PLAN = IngestPlan("features", "label", None, "binary")


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    X, y = binary_rows(rows=60, features=4)
    return frame(spark, X, y, partitions=2)


@pytest.mark.parametrize(("local_bytes", "local"), [(32 * 2**20, True), (60 * 5 * 8 - 1, False)])
def test_the_plan_says_how_much_the_driver_solves(
    spark: SparkSession, rows: DataFrame, local_bytes: int, local: bool
) -> None:
    plan = replace(PLAN, local_bytes=local_bytes)
    with nothing_left(spark), ResidentBlocks.pack(rows, plan) as blocks:
        assert blocks.nbytes == 60 * 5 * 8
        assert blocks.local == local
        assert blocks.passes == 0
        assert blocks.run(SamplePass(), "all").block().rows == 60
        assert blocks.passes == 1
        assert (blocks.sent > 0) != local


def test_a_plan_without_moments(spark: SparkSession, rows: DataFrame) -> None:
    for execution in ("local", "distributed"):
        plan = replace(PLAN, execution=execution, moments=False)  # type: ignore[arg-type]
        with nothing_left(spark), ResidentBlocks.pack(rows, plan) as blocks:
            assert blocks.report.moments is None
            assert blocks.report.label_moments is not None
            assert sum(count for count, _ in blocks.report.labels.values()) == 60


@pytest.fixture
def reserves(spark: SparkSession) -> Iterator[SparkSession]:
    """Give a session whose setting of the reserve is taken back."""
    yield spark
    spark.conf.unset(RESERVE)


def test_a_tenth_of_the_disks_of_a_cluster_stays_free(
    reserves: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disk_reserve(reserves) == 0.0  # a laptop's disk may be nearly full
    monkeypatch.setattr(reserve, "is_local", lambda _: False)
    assert disk_reserve(reserves) == 0.1
    for value in (0.0, 0.25):
        reserves.conf.set(RESERVE, str(value))
        assert disk_reserve(reserves) == value


@pytest.mark.parametrize("value", ["1", "-0.1", "10%", "nan"])
def test_a_reserve_is_a_part(reserves: SparkSession, rows: DataFrame, value: str) -> None:
    reserves.conf.set(RESERVE, value)
    with pytest.raises(ParamError, match=f"{RESERVE} is '{value}': expected the part"):
        ResidentBlocks.pack(rows, PLAN)


def test_a_reserve_larger_than_the_free_room_refuses_the_rows(
    reserves: SparkSession, rows: DataFrame
) -> None:
    reserves.conf.set(RESERVE, "0.999999")
    plan = replace(PLAN, execution="distributed")
    with nothing_left(reserves), pytest.raises(DiskError, match=f"are kept for .*{RESERVE}"):
        ResidentBlocks.pack(rows, plan)


def test_an_error_releases_what_was_packed(spark: SparkSession, rows: DataFrame) -> None:
    plan = replace(PLAN, execution="distributed", weight="weight")
    weighed = rows.selectExpr("*", "0.0 as weight")
    with nothing_left(spark), pytest.raises(DataError, match="all 60 weights"):
        ResidentBlocks.pack(weighed, plan)
