"""How the rows of a fit are packed: where passes run, and what the driver learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.engine.passes import SamplePass
from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.rows.resident import IngestPlan, ResidentBlocks
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


def test_an_error_releases_what_was_packed(spark: SparkSession, rows: DataFrame) -> None:
    plan = replace(PLAN, execution="distributed", weight="weight")
    weighed = rows.selectExpr("*", "0.0 as weight")
    with nothing_left(spark), pytest.raises(DataError, match="all 60 weights"):
        ResidentBlocks.pack(weighed, plan)
