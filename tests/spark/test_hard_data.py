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

from tests.checks.hard import EXECUTIONS, check_hard_data, scenarios
from tests.checks.subjects import SPECS, Rows, Spec, Subject


def cases() -> Iterator[Any]:
    for spec in SPECS:
        if spec.whose == "ours":
            for name in scenarios(spec.task):
                for execution in EXECUTIONS:
                    yield pytest.param(spec, name, execution, id=f"{spec}-{name}-{execution}")


@pytest.fixture(scope="module")
def subjects(spark: SparkSession) -> dict[Spec, Subject]:
    rows: dict[Any, Rows] = {spec.task: Rows(spark, spec.task) for spec in SPECS}
    return {spec: Subject(spec, rows[spec.task], Path) for spec in SPECS}


@pytest.mark.parametrize(("spec", "name", "execution"), list(cases()))
def test_hard_data(subjects: dict[Spec, Subject], spec: Spec, name: str, execution: str) -> None:
    check_hard_data(subjects[spec], name, execution)
