"""The contract of a fit: what it does to what is around it, and what it makes of its rows."""

from __future__ import annotations

import re
from multiprocessing.pool import ThreadPool

import pyspark.sql.functions as F
import pytest

from tests.checks.subjects import (
    Subject,
    assert_same,
    assert_same_scores,
    needs,
    numbers_of,
    owner,
    scores,
    state,
)
from tests.spark.helpers import jobs_so_far, nothing_left

LABEL_TYPES = ("tinyint", "bigint", "float", "decimal(5,2)")


# ---------------------------------------------------- fits


def check_fits_leave_nothing_behind(subject: Subject) -> None:
    """Estimator, frame and cache are as before; no file, cached RDD or broadcast stays."""
    made = subject.make()
    before = state(made)
    frame = subject.frame.select("*")
    with nothing_left(subject.spark):
        made.fit(frame)
    assert state(made) == before
    assert not frame.is_cached
    assert frame.schema == subject.frame.schema
    frame.cache().count()
    try:
        level = frame.storageLevel
        with nothing_left(subject.spark):
            made.fit(frame)
        assert frame.is_cached
        assert frame.storageLevel == level
    finally:
        frame.unpersist(blocking=True)


def check_fits_know_nothing_of_each_other(subject: Subject) -> None:
    """A fit to other rows in between, or at the same time in another thread, changes nothing."""
    made = subject.make()
    some = subject.frame.where("id % 3 > 0")
    other = made.fit(some)
    assert abs(numbers_of(other) - numbers_of(subject.model)).max() > 1e-3
    with ThreadPool(2) as pool:
        together = pool.map(made.fit, [subject.frame, some])
    for found, expected in zip(together, (subject.model, other), strict=True):
        assert_same(found, expected, rtol=1e-9)


def check_param_maps_of_a_fit(subject: Subject) -> None:
    """One map gives a model, a list a model each; the estimator stays as it is."""
    made = subject.make()
    before = state(made)
    strengths = (2.0, 0.1)
    maps = [subject.changes(made, regParam=strength) for strength in strengths]
    expected = [subject.make(regParam=2.0).fit(subject.frame), subject.model]
    assert abs(numbers_of(expected[0]) - numbers_of(expected[1])).max() > 1e-3
    one = made.fit(subject.frame, maps[0])
    assert_same(one, expected[0], rtol=1e-9)
    for found in (
        made.fit(subject.frame, maps),
        # what a search asks for, in whichever order
        [model for _, model in sorted(made.fitMultiple(subject.frame, maps), key=lambda n: n[0])],
    ):
        for model, alone, strength in zip(found, expected, strengths, strict=True):
            assert_same(model, alone)
            assert owner(model, "regParam").getRegParam() == strength
    assert made.fit(subject.frame, []) == []
    with pytest.raises(TypeError):
        made.fit(subject.frame, "regParam")
    assert state(made) == before


def check_missing_columns_are_named(subject: Subject) -> None:
    """Before any job, by an error that says which columns there are."""
    names = ["featuresCol", "labelCol"]
    names += ["weightCol"] if hasattr(subject.cls, "weightCol") else []
    jobs = jobs_so_far(subject.spark)
    for name in names:
        with pytest.raises(Exception, match="absent") as caught:
            subject.make(**{name: "absent"}).fit(subject.frame)
        assert re.search(r"label\W+features", str(caught.value)), name
    assert jobs_so_far(subject.spark) == jobs


# ---------------------------------------------------- labels


def check_case_08_labels_of_every_type(subject: Subject) -> None:
    for kind in LABEL_TYPES:
        typed = subject.frame.withColumn("label", F.col("label").cast(kind))
        assert_same(subject.make().fit(typed), subject.model, rtol=1e-9)


@needs("binary")
def check_boolean_labels(subject: Subject) -> None:
    typed = subject.frame.withColumn("label", F.col("label").cast("boolean"))
    assert_same(subject.make().fit(typed), subject.model, rtol=1e-9)


@needs("classes")
def check_labels_that_are_no_classes(subject: Subject) -> None:
    for wrong in (-1.0, 0.5):
        label = F.when(F.col("id") == 3, F.lit(wrong)).otherwise(F.col("label"))
        with pytest.raises(Exception, match=f"(?i)label[^|]*{wrong}"), nothing_left(subject.spark):
            subject.make().fit(subject.frame.withColumn("label", label))


@needs("classes")
def check_labels_of_one_class(subject: Subject) -> None:
    """Which is then predicted, for whatever features."""
    for only in (0.0, 1.0):
        same = subject.frame.withColumn("label", F.lit(only))
        assert set(scores(subject.make().fit(same), subject.frame)["prediction"]) == {only}


# ---------------------------------------------------- weights


@needs("weightCol")
def check_weights_have_no_unit(subject: Subject) -> None:
    """Weights times 1000 are the same weights, and equal weights are none."""
    made = subject.make(weightCol="weight")
    expected = made.fit(subject.frame)
    times = subject.frame.withColumn("weight", 1000.0 * F.col("weight"))
    assert_same(made.fit(times), expected)
    assert abs(numbers_of(expected) - numbers_of(subject.model)).max() > 1e-3
    assert_same(made.fit(subject.frame.withColumn("weight", F.lit(3))), subject.model)


@needs("weightCol")
def check_rows_of_weight_zero_are_absent(subject: Subject) -> None:
    made = subject.make(weightCol="weight")
    assert_same(made.fit(subject.rows.with_an_outlier(0.0)), subject.model)
    other = numbers_of(made.fit(subject.rows.with_an_outlier(1.0)))
    assert abs(other - numbers_of(subject.model)).max() > 1e-3


@needs("weightCol")
def check_weights_are_numbers_of_rows(subject: Subject) -> None:
    """Without standardization: MLlib's variances know the number of rows."""
    made = subject.make(standardization=False)
    copies = F.explode(F.array_repeat("id", F.col("weight").cast("int"))).alias("copy")
    repeated = made.fit(subject.frame.select("*", copies).drop("copy"))
    weighted = made.copy({made.weightCol: "weight"}).fit(subject.frame)
    assert_same(weighted, repeated, rtol=1e-5)


# ---------------------------------------------------- features and partitions


def check_sparse_and_dense_features(subject: Subject) -> None:
    """The same model, and the same scores, from dense and sparse vectors and from both."""
    for kind in ("sparse", "mixed"):
        same = subject.rows.of(kind)
        assert_same(subject.make().fit(same), subject.model)
        assert_same_scores(scores(subject.model, same), subject.scores)


def check_features_in_arrays(subject: Subject) -> None:
    for kind in ("double", "float"):
        same = subject.rows.of(kind)
        assert_same(subject.make().fit(same), subject.model)
        assert_same_scores(scores(subject.model, same), subject.scores)


def check_order_and_partitions_of_the_rows(subject: Subject) -> None:
    backwards = subject.frame.orderBy(F.desc("id"))
    for same in (backwards.coalesce(1), subject.frame.repartition(5, "id")):
        assert_same(subject.make().fit(same), subject.model)
