"""Hard data, see ``tests/checks/hard.py``: every estimator is checked by being listed.

Both sides of the size that is solved on the driver: with "distributed" small rows are solved as
large ones are, with starts from a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import sparkml_lsml.classification
from sparkml_lsml.classification import LinearSVC
from tests.checks.hard import (
    EXECUTIONS,
    check_hard_data,
    check_hard_data_calibrated,
    check_hard_data_of_networks,
    framed,
    hinges,
    made,
    scenarios,
)
from tests.checks.subjects import FOLDED, NETWORKS, SELDOM, SPECS, Rows, Spec, Subject
from tests.references.stored import stored


def cases() -> Iterator[Any]:
    for spec in SPECS:
        if spec.whose == "ours":
            for name in scenarios(spec.task):
                for execution in EXECUTIONS:
                    # all networks are trained alike, be it here or there
                    often = execution == "local" and spec.cls.__name__ not in SELDOM
                    slow = spec.cls.__name__ in NETWORKS and (spec.second or not often)
                    yield pytest.param(
                        spec,
                        name,
                        execution,
                        id=f"{spec}-{name}-{execution}",
                        marks=[pytest.mark.slow] * slow,
                    )


@pytest.fixture(scope="module")
def subjects(spark: SparkSession) -> dict[Spec, Subject]:
    rows: dict[Any, Rows] = {spec.task: Rows(spark, spec.task) for spec in SPECS}
    return {spec: Subject(spec, rows[spec.task], Path) for spec in SPECS}


@pytest.mark.parametrize(("spec", "name", "execution"), list(cases()))
def test_hard_data(subjects: dict[Spec, Subject], spec: Spec, name: str, execution: str) -> None:
    networks = spec.cls.__name__ in NETWORKS
    check = check_hard_data_of_networks if networks else check_hard_data
    check(subjects[spec], name, execution)


@pytest.mark.parametrize("name", scenarios("binary"))
@pytest.mark.parametrize("cls", FOLDED)
def test_hard_data_of_random_folds(spark: SparkSession, cls: str, name: str) -> None:
    found = getattr(sparkml_lsml.classification, cls)
    for execution in EXECUTIONS:
        check_hard_data_calibrated(found, name, execution, spark)


@pytest.mark.parametrize("name", ["fewer_rows_than_columns", "one_row_a_partition"])
def test_what_is_stored_is_mllibs(spark: SparkSession, name: str) -> None:
    """The two that take no time; the others are found by `tests.references.make` too."""
    found = hinges(made(name, "binary"), spark)
    assert found == pytest.approx(stored("hinges")[name], rel=1e-6)


def test_what_is_stored_has_all_scenarios() -> None:
    assert list(stored("hinges")) == list(scenarios("binary"))


def test_a_hinge_that_learns_nothing_says_so(spark: SparkSession) -> None:
    frame = framed("rare_1_in_1_000", "binary", spark)
    model = LinearSVC(regParam=1e-3).fit(frame)
    assert not model.coefficients.toArray().any()
    [note] = [note for note in model.summary.notes if "all coefficients are 0" in note]
    assert "classWeight='balanced'" in note
    assert model.summary.reason.name == "converged"
    assert model.summary.passes <= 20
    weighed = LinearSVC(regParam=1e-3, classWeight="balanced").fit(frame)
    assert weighed.coefficients.toArray().any()
    assert not [note for note in weighed.summary.notes if "all coefficients are 0" in note]
