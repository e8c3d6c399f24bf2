"""Rows that are packed once for several fits: the models of single fits, one read, nothing left."""

from __future__ import annotations

import gc
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

import sparkml_lsml
from sparkml_lsml.classification import LinearSVC, LogisticRegression, OneVsRest
from sparkml_lsml.errors import DataError
from sparkml_lsml.regression import LinearRegression
from sparkml_lsml.spark.rows.resident import LENT
from sparkml_lsml.tuning import bootstrap, regularization_path
from tests.faults import block_folders, hook_passes, wait_for
from tests.spark.counting import Counted
from tests.spark.helpers import (
    EXECUTIONS,
    added,
    binary_rows,
    frame,
    nothing_left,
    numbers,
    remains,
)

X, Y = binary_rows(rows=200, features=4, seed=21)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    return frame(spark, X, Y, partitions=2)


@pytest.fixture
def counted(rows: DataFrame, tmp_path: Path) -> Counted:
    return Counted(rows, tmp_path / "reads")


def svc(**params: Any) -> LinearSVC:
    return LinearSVC(regParam=0.1, aggregationDepth=1, **params)


def logistic(**params: Any) -> LogisticRegression:
    return LogisticRegression(**{"regParam": 0.1, "aggregationDepth": 1, **params})


def linear(**params: Any) -> LinearRegression:
    return LinearRegression(regParam=0.1, aggregationDepth=1, **params)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_models_are_those_of_single_fits_after_one_read(
    spark: SparkSession, rows: DataFrame, counted: Counted, execution: str
) -> None:
    estimators = [
        logistic(execution=execution),
        svc(execution=execution),
        logistic(execution=execution, regParam=1e-3, elasticNetParam=0.5),
        svc(execution=execution, loss="squaredHinge"),
    ]
    expected = [each.fit(rows) for each in estimators]
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        found = [each.fit(resident) for each in estimators]
        assert counted.reads == 1
        assert len(resident.packed) == 1
        assert "200 rows for multiclass labels" in repr(resident)
        for one, other in zip(found, expected, strict=True):
            assert numbers(one).tolist() == numbers(other).tolist()
            assert one.summary.execution == execution
            assert one.summary.passes == other.summary.passes
        assert [LENT in each.summary.notes for each in found] == [False, True, True, True]
        # metrics are of the frame
        assert found[1].summary.accuracy == expected[1].summary.accuracy
    assert resident.packed == ()


def test_what_is_packed_in_another_way_is_packed_beside_it(
    spark: SparkSession, rows: DataFrame, counted: Counted
) -> None:
    weights = {0.0: 2.0, 1.0: 1.0}
    estimators: list[Any] = [
        svc(),
        linear(),
        svc(dtype="float32"),
        svc(classWeight=weights),
        svc(classWeight=weights, fitIntercept=False),
    ]
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        for number, each in enumerate(estimators):
            assert numbers(each.fit(resident)).tolist() == numbers(each.fit(rows)).tolist()
            assert len(resident.packed) == number + 1
        assert counted.reads == len(estimators)
        for each in estimators:
            each.fit(resident)
        assert counted.reads == len(estimators)


def test_duals_need_blocks_of_their_own(
    spark: SparkSession, rows: DataFrame, counted: Counted
) -> None:
    estimator = svc(solver="cocoa", maxIter=5, execution="distributed", fitIntercept=False)
    expected = numbers(estimator.fit(rows))
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        for _ in range(2):
            np.testing.assert_allclose(numbers(estimator.fit(resident)), expected, rtol=1e-9)
        assert resident.packed == ()
        assert counted.reads == 2


def test_labels_of_more_classes_are_refused_by_the_binary(
    spark: SparkSession, tmp_path: Path
) -> None:
    three = frame(spark, X, np.arange(len(X)) % 3.0)
    with nothing_left(spark), sparkml_lsml.resident(three) as resident:
        assert logistic().fit(resident).numClasses == 3
        with pytest.raises(DataError, match="labels must be 0 or 1"):
            svc().fit(resident)
        assert logistic().fit(resident).numClasses == 3


def test_grids_and_threads(spark: SparkSession, rows: DataFrame, counted: Counted) -> None:
    estimator = logistic(execution="distributed")
    maps = [{estimator.regParam: strength} for strength in (0.01, 0.1, 1.0)]
    expected = [numbers(model) for model in estimator.fit(rows, maps)]
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        found = [numbers(model) for model in estimator.fit(resident, maps)]
        for one, other in zip(found, expected, strict=True):
            assert one.tolist() == other.tolist()

        def fit(extra: Any) -> Any:
            return numbers(estimator.copy(extra).fit(resident))

        with ThreadPoolExecutor(3) as pool:
            for one, other in zip(pool.map(fit, maps), expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-9)
        assert counted.reads == 1


def test_paths_one_vs_rest_and_replicates(
    spark: SparkSession, rows: DataFrame, counted: Counted
) -> None:
    estimator = logistic(execution="distributed")
    strengths = [0.1, 0.01]
    path = regularization_path(estimator, rows, regParams=strengths)
    classes = OneVsRest(classifier=svc(execution="distributed")).fit(rows)
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        found = regularization_path(estimator, resident, regParams=strengths)
        assert found.coefficients.tolist() == path.coefficients.tolist()
        models = OneVsRest(classifier=svc(execution="distributed")).fit(resident).models
        for one, other in zip(models, classes.models, strict=True):
            assert numbers(one).tolist() == numbers(other).tolist()
        assert counted.reads == 1
        replicates = bootstrap(estimator, resident, n=5, seed=3)
        again = bootstrap(estimator, resident, n=5, seed=3)
        assert replicates.coefficients.tolist() == again.coefficients.tolist()
        # which depend on the places of rows, and have blocks of their own
        assert counted.reads == 2


def test_a_fit_that_fails_leaves_the_rows(
    spark: SparkSession, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any, passes: int) -> None:
        if passes == 3:
            raise OSError("out of luck")

    estimator = logistic(execution="distributed")
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        first = numbers(estimator.fit(resident))
        with monkeypatch.context() as context:
            hook_passes(context, fail)
            with pytest.raises(OSError, match="out of luck"):
                estimator.fit(resident)
        assert numbers(estimator.fit(resident)).tolist() == first.tolist()
        assert counted.reads == 1


def test_case_44_blocks_that_are_deleted_between_fits(
    spark: SparkSession, counted: Counted
) -> None:
    estimator = logistic(execution="distributed")
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        first = estimator.fit(resident)
        for folder in block_folders(spark):
            shutil.rmtree(folder)
        second, third = estimator.fit(resident), estimator.fit(resident)
        for model in (second, third):
            assert numbers(model).tolist() == numbers(first).tolist()
        # told by the fit that met it, and by no other
        assert [note for note in second.summary.notes if "2 blocks were lost" in note]
        assert not [note for note in third.summary.notes if "lost" in note]
        assert counted.reads == 2


def test_rows_that_nobody_holds_are_removed(spark: SparkSession, counted: Counted) -> None:
    before = remains(spark)
    resident = sparkml_lsml.resident(counted.frame)
    logistic(execution="distributed").fit(resident)
    assert added(before, remains(spark))
    del resident
    gc.collect()
    wait_for(lambda: not added(before, remains(spark)), "the end of rows that nobody holds")


def test_unpersist(spark: SparkSession, counted: Counted) -> None:
    estimator = logistic(execution="distributed")
    with nothing_left(spark):
        resident = sparkml_lsml.resident(counted.frame)
        assert repr(resident) == "ResidentRows: nothing packed yet"
        first = numbers(estimator.fit(resident))
        resident.unpersist()
        assert resident.packed == ()
        assert numbers(estimator.fit(resident)).tolist() == first.tolist()
        assert counted.reads == 2
        resident.unpersist()


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_metrics_are_of_the_frame(
    spark: SparkSession, rows: DataFrame, counted: Counted, execution: str
) -> None:
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        model = logistic(execution=execution).fit(resident)
        found, expected = model.evaluate(resident), model.evaluate(rows)
    # asked when nothing is packed any more
    for name in ("accuracy", "areaUnderROC", "logLoss"):
        value, other = getattr(found, name), getattr(expected, name)
        value, other = (each() if callable(each) else each for each in (value, other))
        assert value == other
    assert counted.reads == 2


def test_classes_are_counted_once(spark: SparkSession, rows: DataFrame, counted: Counted) -> None:
    estimators = [logistic(classWeight="balanced"), svc(classWeight="balanced")]
    note = "the classes were counted first, which took a read of the rows"
    with nothing_left(spark), sparkml_lsml.resident(counted.frame) as resident:
        for number, each in enumerate(estimators):
            model = each.fit(resident)
            assert numbers(model).tolist() == numbers(each.fit(rows)).tolist()
            assert (note in model.summary.notes) == (number == 0)
        assert counted.reads == 2
        resident.unpersist()
        assert note in estimators[0].fit(resident).summary.notes
        assert counted.reads == 4


def test_a_piece_is_read_once_anyway(spark: SparkSession, rows: DataFrame) -> None:
    with pytest.raises(TypeError, match=r"LogisticRegression: found resident rows.*rows\.frame"):
        logistic().partialFit(sparkml_lsml.resident(rows))  # type: ignore[arg-type]


def test_what_is_packed_is_shown(spark: SparkSession, rows: DataFrame) -> None:
    with nothing_left(spark), sparkml_lsml.resident(rows) as resident:
        assert "nothing packed yet" in resident._repr_html_()
        svc().fit(resident)
        assert "in all" not in resident._repr_html_()
        linear(execution="distributed").fit(resident)
        shown = resident._repr_html_()
        # 200 rows of 5 doubles
        cells = ["features", "label (multiclass)", "", "", "200", "7.8 KB", "the driver"]
        left = "".join(f'<td class="l">{cell}</td>' for cell in cells[:3])
        row = left + "".join(f"<td>{cell}</td>" for cell in cells[3:])
        assert f"<tr>{row}</tr>" in shown
        assert ">2 blocks<" in shown
        assert "<p>15.6 KB in all</p>" in shown
        assert repr(resident) == (
            "ResidentRows: 200 rows for multiclass labels, 7.8 KB in the driver; "
            "200 rows for regression labels, 7.8 KB in 2 blocks"
        )


def test_what_is_no_frame() -> None:
    with pytest.raises(TypeError, match="resident: found a list, expected a DataFrame"):
        sparkml_lsml.resident([1, 2])  # type: ignore[arg-type]
