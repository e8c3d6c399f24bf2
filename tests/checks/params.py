"""The contract of an estimator's Params; no check here needs rows.

A check takes a `Subject`, and runs for each class that has what `needs` names.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pyspark.ml import Estimator
from pyspark.ml.param import TypeConverters
from pyspark.ml.util import MLReadable, MLWritable

from tests.checks.subjects import Subject, state

WRONG_TYPES: dict[Any, Any] = {
    TypeConverters.toBoolean: "yes",
    TypeConverters.toFloat: "much",
    TypeConverters.toInt: 1.5,
    TypeConverters.toString: 3,
}
"""A value that the converter of a Param refuses."""

OUT_OF_RANGE: dict[str, Any] = {
    "elasticNetParam": 2.0,
    "maxBlockSizeInMB": -1.0,
    "maxIter": -1,
    "parallelism": 0,
    "regParam": -1.0,
    "tol": -1.0,
}


def check_keywords_are_the_params(subject: Subject) -> None:
    """A keyword for each Param, which shows its default; None where it has none."""
    made = subject.cls()
    parameters = list(inspect.signature(subject.cls.__init__).parameters.values())[1:]
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    assert {parameter.name for parameter in parameters} == {param.name for param in made.params}
    for parameter in parameters:
        name = parameter.name
        default = made.getOrDefault(name) if made.hasDefault(name) else None
        assert parameter.default == default, name
        assert not made.isSet(name)


def check_params_explain_themselves(subject: Subject) -> None:
    made = subject.make()
    text = made.explainParams().splitlines()
    assert len(text) == len(made.params) > 0
    for line, param in zip(text, made.params, strict=True):
        assert line.startswith(f"{param.name}: {param.doc} ("), line
        assert param.doc.strip()
        for word, values in (("default", made._defaultParamMap), ("current", made._paramMap)):
            assert (f"{word}: {values[param]}" in line) if param in values else (word not in line)
        assert line.endswith("(undefined)") != made.isDefined(param)


def check_setters_and_getters(subject: Subject) -> None:
    """A setter and a getter for each Param; setters return the estimator."""
    made = subject.make()
    assert made.setPredictionCol("p").setLabelCol("y").setParams(featuresCol="x") is made
    assert (made.getPredictionCol(), made.getLabelCol(), made.getFeaturesCol()) == ("p", "y", "x")
    for param in made.params:
        upper = param.name[0].upper() + param.name[1:]
        setter, getter = getattr(made, f"set{upper}"), getattr(made, f"get{upper}")
        if made.isDefined(param):
            value = getter()
            assert setter(value) is made, param.name
            assert made.isSet(param)
            assert getter() == value


def check_unknown_params_are_refused(subject: Subject) -> None:
    made = subject.make()
    before = state(made)
    for attempt in (
        lambda: subject.cls(regularization=1.0),
        lambda: made.setParams(regularization=1.0),
        lambda: subject.cls("features"),
    ):
        with pytest.raises((TypeError, ValueError)):
            attempt()
    assert state(made) == before


def check_wrong_types_are_refused(subject: Subject) -> None:
    made = subject.make()
    before = state(made)
    for param in made.params:
        wrong = WRONG_TYPES.get(param.typeConverter)
        if wrong is not None:
            with pytest.raises(TypeError, match=param.name):
                made.setParams(**{param.name: wrong})
    assert state(made) == before


def check_values_out_of_range_are_refused(subject: Subject) -> None:
    """When they are set, and not in the fit."""
    made = subject.make()
    before = state(made)
    for name, value in OUT_OF_RANGE.items():
        if made.hasParam(name):
            with pytest.raises(ValueError, match=name):
                made.setParams(**{name: value})
    assert state(made) == before


def check_uids(subject: Subject) -> None:
    made, other = subject.cls(), subject.cls()
    assert made.uid != other.uid
    assert made.uid.startswith(f"{subject.cls.__name__}_")
    assert {param.parent for param in made.params} == {made.uid}


def check_copies_of_an_estimator(subject: Subject) -> None:
    made = subject.make()
    before = state(made)
    copied = made.copy({made.predictionCol: "p"})
    assert type(copied) is subject.cls
    uid, values, defaults = before
    assert state(copied) == (uid, values | {"predictionCol": "p"}, defaults)
    copied.setParams(labelCol="y")
    copied._setDefault(featuresCol="x")
    assert state(made) == before


def check_types_of_an_estimator(subject: Subject) -> None:
    made = subject.make()
    for expected in (Estimator, MLReadable, MLWritable):
        assert isinstance(made, expected)
