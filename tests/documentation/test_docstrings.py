"""The examples in the docstrings of all public modules, run as they stand."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
from types import ModuleType

import pytest
from pyspark.sql import SparkSession

import sparkml_lsml

ESTIMATORS = {
    "sparkml_lsml.classification.linear_svc.LinearSVC",
    "sparkml_lsml.classification.logistic_regression.LogisticRegression",
    "sparkml_lsml.regression.linear_regression.LinearRegression",
}


OF_TORCH = {"sparkml_lsml.networks.images", "sparkml_lsml.networks.sequences"}
"""They import PyTorch, and are imported by what has looked for it."""


def public_modules() -> list[str]:
    """Names of the package's modules, those with a leading underscore left out."""
    found = pkgutil.walk_packages(sparkml_lsml.__path__, "sparkml_lsml.")
    absent = set() if importlib.util.find_spec("torch") else OF_TORCH
    names = [module.name for module in found if module.name not in absent]
    return [name for name in names if not any(part.startswith("_") for part in name.split("."))]


def examples_of(module: ModuleType) -> list[doctest.DocTest]:
    """The examples that a module's own docstrings hold."""
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


def run(test: doctest.DocTest, spark: SparkSession | None) -> str:
    """Run one docstring; what failed, or ''."""
    if spark is not None:
        test.globs["spark"] = spark
    report: list[str] = []
    # a directive of the docstring counts, nothing else is forgiven
    runner = doctest.DocTestRunner(verbose=False)
    result = runner.run(test, out=report.append, clear_globs=True)
    return "".join(report) if result.failed else ""


@pytest.mark.parametrize("name", public_modules())
def test_examples_do_what_they_say(spark: SparkSession, name: str) -> None:
    failures = [run(test, spark) for test in examples_of(importlib.import_module(name))]
    assert not any(failures), "".join(failures)


def test_the_estimators_have_examples() -> None:
    found = {
        test.name
        for name in public_modules()
        for test in examples_of(importlib.import_module(name))
    }
    assert found >= ESTIMATORS
    assert len(found) > len(ESTIMATORS)  # and so do losses, solvers and others


def test_a_wrong_example_fails() -> None:
    """Guards the runner: an example that says something else is not passed over."""
    parser = doctest.DocTestParser()
    wrong = parser.get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    raising = parser.get_doctest(">>> spark\n1\n", {}, "raising", None, None)
    assert "Expected:\n    3\nGot:\n    2" in run(wrong, None)
    assert "NameError" in run(raising, None)
