"""The contract of estimators and models: each class of the package, and MLlib's beside it.

A class is checked by being listed in the ``__all__`` of its room; the checks are in
``tests/checks``. MLlib's classes change only with PySpark: what they pass beyond their Params is
marked ``mllib``, and run for each new version of it. Where they differ from ours is checked with
the slow tests. So is a class of ours with labels of a second kind, where a check does not need
them, and MLlib's is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from tests.checks import estimators, models, params
from tests.checks.subjects import SELDOM, SPECS, Check, Rows, Spec, Subject, applies, checks_of

PARAMS = checks_of(params)
CHECKS = [*PARAMS, *checks_of(estimators), *checks_of(models)]

DOCS = Path(__file__).parents[2] / "docs" / "mllib-differences.md"

EVERY = ("LinearSVC", "LogisticRegression", "LinearRegression", "OneVsRest")
DIFFERENCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "check_setters_and_getters": ("`setLoss` of `LinearRegression`", ("LinearRegression",)),
    "check_values_out_of_range_are_refused": ("A value out of range", EVERY),
    "check_boolean_labels": ("Label", ("LinearSVC", "LogisticRegression")),
    "check_features_in_arrays": ("Features", EVERY),
    "check_labels_that_are_no_classes": (
        "Labels of `OneVsRest` that are negative or fractions",
        ("OneVsRest",),
    ),
    "check_missing_columns_are_named": ("A column that `OneVsRest` misses", ("OneVsRest",)),
    "check_columns_of_other_names": ("`rawPredictionCol` of `OneVsRest`", ("OneVsRest",)),
    "check_an_empty_name_leaves_the_column_out": (
        "`rawPredictionCol` of `OneVsRest`",
        ("OneVsRest",),
    ),
    "check_an_estimator_is_saved_and_loaded": ("`OneVsRest` after loading", ("OneVsRest",)),
    "check_a_model_is_saved_and_loaded": ("`OneVsRest` after loading", ("OneVsRest",)),
    "check_labels_of_one_class": ("Labels 0 only, for `LinearSVC`", ("LinearSVC",)),
    "check_weights_are_numbers_of_rows": ("Solver of the hinge loss", ("LinearSVC",)),
    "check_a_model_has_uid_and_params_of_its_estimator": (
        "uid of a `OneVsRestModel`",
        ("OneVsRest",),
    ),
    "check_columns_tell_the_number_of_classes": (
        "Metadata of the columns that a `OneVsRestModel` adds",
        ("OneVsRest",),
    ),
    "check_rows_without_features_get_null": ("Rows without features, in `transform`", EVERY),
    "check_pickles": ("Pickle of an estimator or a model", EVERY),
}
"""Checks that MLlib's classes fail: the row of the page on differences, and which classes."""


def runs() -> Iterator[Any]:
    """Each class with each check that applies to it."""
    for spec in SPECS:
        for check in CHECKS:
            general = spec.second and not hasattr(check, "needs")
            if applies(check, spec) and not (spec.whose == "mllib" and general):
                name = f"{spec}-{check.__name__}"
                yield pytest.param(spec, check, id=name, marks=list(marks(spec, check)))


def marks(spec: Spec, check: Check) -> Iterator[pytest.MarkDecorator]:
    if spec.whose == "mllib":
        row, classes = DIFFERENCES.get(check.__name__, ("", ()))
        if spec.cls.__name__ in classes:
            yield pytest.mark.xfail(reason=f"{DOCS.name}: {row}", strict=True)
        if check not in PARAMS:
            yield pytest.mark.slow if spec.cls.__name__ in classes else pytest.mark.mllib
    elif (spec.second and not hasattr(check, "needs")) or (
        spec.cls.__name__ in SELDOM and check not in PARAMS
    ):
        yield pytest.mark.slow


@pytest.fixture(scope="module")
def subjects(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[Spec, Subject]:
    rows = {task: Rows(spark, task) for task in {spec.task for spec in SPECS}}

    def folder() -> Path:
        return tmp_path_factory.mktemp("kept")

    return {spec: Subject(spec, rows[spec.task], folder) for spec in SPECS}


@pytest.mark.parametrize(("spec", "check"), list(runs()))
def test_contract(subjects: dict[Spec, Subject], spec: Spec, check: Check) -> None:
    check(subjects[spec])


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_are_explained(name: str) -> None:
    row, classes = DIFFERENCES[name]
    assert f"\n| {row} |" in DOCS.read_text()
    compared = {spec.cls.__name__ for spec in SPECS if spec.whose == "mllib"}
    [check] = [check for check in CHECKS if check.__name__ == name]
    assert classes
    for cls in classes:
        assert cls in compared
        assert any(applies(check, spec) for spec in SPECS if spec.cls.__name__ == cls)
