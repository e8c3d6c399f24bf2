"""Models that every released version has saved, kept under `tests/golden`."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.param import Params
from pyspark.sql import SparkSession

import sparkml_lsml
from tests.spark.helpers import frame

GOLDEN = Path(__file__).parent.parent / "golden"
VERSIONS = {
    path.parent.name: json.loads(path.read_text()) for path in GOLDEN.glob("*/expected.json")
}


def cases(kind: str) -> list[tuple[str, str]]:
    return [(version, name) for version, content in VERSIONS.items() for name in content[kind]]


def load(version: str, kind: str, name: str) -> Any:
    module, _, owner = VERSIONS[version][kind][name]["class"].rpartition(".")
    return getattr(importlib.import_module(module), owner).load(str(GOLDEN / version / name))


def values(params: Params) -> dict[str, Any]:
    """Give the Params that are set, by name, those of a classifier among them."""
    return {
        param.name: values(value) if isinstance(value, Params) else value
        for param, value in params._paramMap.items()
    }


def test_case_65_this_version_is_there() -> None:
    """A release needs its golden models: python -m tests.golden.make."""
    assert sparkml_lsml.__version__ in VERSIONS


@pytest.mark.parametrize(("version", "name"), cases("models"))
def test_case_65_a_model_of_a_released_version(
    spark: SparkSession, version: str, name: str
) -> None:
    content = VERSIONS[version]
    rows = frame(spark, content["rows"], np.zeros(len(content["rows"])), partitions=1)
    scored = load(version, "models", name).transform(rows).select("prediction").collect()
    wanted = content["models"][name]["expected"]
    np.testing.assert_allclose([row.prediction for row in scored], wanted, rtol=1e-12)


@pytest.mark.parametrize(("version", "name"), cases("estimators"))
def test_case_65_an_estimator_of_a_released_version(
    spark: SparkSession, version: str, name: str
) -> None:
    found = values(load(version, "estimators", name))
    wanted = VERSIONS[version]["estimators"][name]["expected"]
    assert {key: found[key] for key in wanted} == wanted


def test_case_65_no_facts_of_a_machine() -> None:
    for path in GOLDEN.rglob("*/metadata/part-*"):
        text = path.read_text()
        assert "/home/" not in text
        assert str(GOLDEN) not in text
