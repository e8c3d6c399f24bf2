"""The public API beside MLlib's, name by name: what is missing is listed here, with its reason."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from pyspark.ml import classification as mllib_classification
from pyspark.ml import regression as mllib_regression
from pyspark.ml.linalg import Matrices, Matrix, Vector, Vectors
from pyspark.ml.param import Param, TypeConverters
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml import classification, regression
from sparkml_lsml.classification import summary as classification_summary
from sparkml_lsml.regression import summary as regression_summary
from tests.spark.helpers import binary_rows, frame

ESTIMATORS: dict[str, tuple[Any, Any]] = {
    "LinearSVC": (mllib_classification.LinearSVC, classification.LinearSVC),
    "LogisticRegression": (
        mllib_classification.LogisticRegression,
        classification.LogisticRegression,
    ),
    "LinearRegression": (mllib_regression.LinearRegression, regression.LinearRegression),
}
MODELS: dict[str, tuple[Any, Any]] = {
    "LinearSVCModel": (mllib_classification.LinearSVCModel, classification.LinearSVCModel),
    "LogisticRegressionModel": (
        mllib_classification.LogisticRegressionModel,
        classification.LogisticRegressionModel,
    ),
    "LinearRegressionModel": (
        mllib_regression.LinearRegressionModel,
        regression.LinearRegressionModel,
    ),
}
SUMMARIES: dict[str, tuple[Any, Any]] = {
    **{
        name: (getattr(mllib_classification, name), getattr(classification_summary, name))
        for name in (
            "LinearSVCSummary",
            "LinearSVCTrainingSummary",
            "LogisticRegressionSummary",
            "LogisticRegressionTrainingSummary",
            "BinaryLogisticRegressionSummary",
            "BinaryLogisticRegressionTrainingSummary",
        )
    },
    **{
        name: (getattr(mllib_regression, name), getattr(regression_summary, name))
        for name in ("LinearRegressionSummary", "LinearRegressionTrainingSummary")
    },
}
CLASSES = ESTIMATORS | MODELS | SUMMARIES

MISSING: dict[str, str] = {}
"""Public names of MLlib's classes that ours do not have, as Class.name, and why."""

OTHER_DEFAULTS: dict[str, str] = {}
"""Params whose default is not MLlib's, as Class.param, and why."""

OTHER_VALUES: dict[str, Any] = {
    "aggregationDepth": 3,
    "elasticNetParam": 0.5,
    "epsilon": 1.5,
    "family": "multinomial",
    "featuresCol": "a",
    "fitIntercept": False,
    "labelCol": "b",
    "loss": "huber",
    "maxBlockSizeInMB": 2.0,
    "maxIter": 7,
    "predictionCol": "c",
    "probabilityCol": "d",
    "rawPredictionCol": "e",
    "regParam": 0.25,
    "solver": "l-bfgs",
    "standardization": False,
    "threshold": 0.75,
    "thresholds": [0.25, 0.75],
    "tol": 1e-3,
    "weightCol": "f",
    "lowerBoundsOnCoefficients": Matrices.dense(1, 3, [0.0, 0.0, 0.0]),
    "upperBoundsOnCoefficients": Matrices.dense(1, 3, [1.0, 1.0, 1.0]),
    "lowerBoundsOnIntercepts": Vectors.dense([0.0]),
    "upperBoundsOnIntercepts": Vectors.dense([1.0]),
}
"""A value of each Param of MLlib's that is not its default."""

each_class = pytest.mark.parametrize("name", CLASSES)
each_estimator = pytest.mark.parametrize("name", ESTIMATORS)
each_model = pytest.mark.parametrize("name", MODELS)


def public(cls: Any) -> set[str]:
    """Public names of a class or an instance, those of a dataclass's fields included."""
    fields = getattr(cls, "__dataclass_fields__", {})
    return {name for name in [*dir(cls), *fields] if not name.startswith("_")}


def params_of(cls: Any) -> list[str]:
    """Names of the Params of a class."""
    return sorted(name for name in public(cls) if isinstance(getattr(cls, name, None), Param))


def keywords(function: Any) -> dict[str, Any]:
    """Keywords of a constructor and their defaults."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def settable(name: str) -> list[str]:
    """Params of an estimator of MLlib, all of which ours lets one set."""
    return params_of(ESTIMATORS[name][0])


@pytest.fixture(scope="module")
def models(spark: SparkSession) -> dict[str, tuple[Any, Any]]:
    """MLlib's models and ours, fitted with the defaults."""
    rows = frame(spark, *binary_rows(30))
    return {
        f"{name}Model": (theirs(maxIter=3).fit(rows), ours(maxIter=3).fit(rows))
        for name, (theirs, ours) in ESTIMATORS.items()
    }


# ---------------------------------------------------- names


@each_class
def test_every_public_name_is_there_or_listed(name: str) -> None:
    theirs, ours = CLASSES[name]
    listed = {entry.split(".")[1] for entry in MISSING if entry.split(".")[0] == name}
    assert len(public(theirs)) > 10 or name in SUMMARIES
    assert public(theirs) - public(ours) == listed
    assert all(reason for reason in MISSING.values())


def test_the_lists_name_only_what_mllib_has() -> None:
    for entry in [*MISSING, *OTHER_DEFAULTS]:
        name, member = entry.split(".")
        assert member in public(CLASSES[name][0]), entry


@each_class
def test_what_is_called_there_is_called_here(name: str) -> None:
    theirs, ours = CLASSES[name]
    for member in public(theirs) & public(ours):
        if inspect.isfunction(inspect.getattr_static(theirs, member)):
            # the summary of MLlib's LinearSVCModel is a method, ours can be read and called
            good = callable(getattr(ours, member)) or f"{name}.{member}" == "LinearSVCModel.summary"
            assert good, member
        elif isinstance(inspect.getattr_static(theirs, member), property):
            assert not inspect.isfunction(getattr(ours, member, None)), member


@each_class
def test_methods_take_what_they_take_there(name: str) -> None:
    theirs, ours = CLASSES[name]
    for member in sorted(public(theirs) & public(ours)):
        there, here = getattr(theirs, member), getattr(ours, member, None)
        if not inspect.isfunction(there) or not inspect.isfunction(here):
            continue
        if member == "setParams":
            continue  # has a test of its own
        expected = list(inspect.signature(there).parameters)
        found = list(inspect.signature(here).parameters)
        assert found[: len(expected)] == expected, member


# ---------------------------------------------------- Params of the estimators


@each_estimator
def test_params_have_mllibs_type(spark: SparkSession, name: str) -> None:
    theirs, ours = (cls() for cls in ESTIMATORS[name])
    names = params_of(ESTIMATORS[name][0])
    assert len(names) >= 13
    for param in names:
        assert ours.hasParam(param)
        there, here = theirs.getParam(param), ours.getParam(param)
        assert here.typeConverter == there.typeConverter, param
        assert here.parent == ours.uid
        assert here.doc, param


@each_estimator
def test_params_have_mllibs_default(spark: SparkSession, name: str) -> None:
    theirs, ours = (cls() for cls in ESTIMATORS[name])
    for param in params_of(ESTIMATORS[name][0]):
        there, here = theirs.getParam(param), ours.getParam(param)
        if f"{name}.{param}" in OTHER_DEFAULTS:
            assert ours.getOrDefault(here) != theirs.getOrDefault(there)
            continue
        assert ours.isDefined(here) == theirs.isDefined(there), param
        assert ours.hasDefault(here) == theirs.hasDefault(there), param
        if theirs.isDefined(there):
            found, expected = ours.getOrDefault(here), theirs.getOrDefault(there)
            assert (found, type(found)) == (expected, type(expected)), param


@each_estimator
def test_the_constructor_takes_mllibs_keywords(name: str) -> None:
    theirs, ours = ESTIMATORS[name]
    expected, found = keywords(theirs.__init__), keywords(ours.__init__)
    assert set(expected) == set(params_of(theirs))
    assert {key: found[key] for key in expected if key in found} == expected
    # and a keyword for each Param of our own
    assert set(found) == set(params_of(ours))


@each_estimator
def test_set_params_takes_mllibs_keywords(spark: SparkSession, name: str) -> None:
    theirs, ours = ESTIMATORS[name]
    assert set(keywords(theirs.setParams)) == set(params_of(theirs))
    values = {param: OTHER_VALUES[param] for param in settable(name)}
    values.pop("threshold", None)  # may not disagree with thresholds
    estimator = ours()
    assert estimator.setParams(**values) is estimator
    for param, value in values.items():
        assert estimator.getOrDefault(param) == value
        if estimator.hasDefault(param):
            assert (
                estimator.getOrDefault(param)
                != estimator._defaultParamMap[estimator.getParam(param)]
            )


@each_estimator
def test_setters_getters_and_keywords_do_what_mllibs_do(spark: SparkSession, name: str) -> None:
    for param in settable(name):
        upper = param[0].upper() + param[1:]
        seen = []
        for cls in ESTIMATORS[name]:
            value = OTHER_VALUES[param]
            estimator = cls()
            if (cls, param) == (mllib_regression.LinearRegression, "loss"):
                estimator._set(loss=value)  # PySpark's setLoss asks for a Param lossType
            else:
                assert getattr(estimator, f"set{upper}")(value) is estimator
            got = getattr(estimator, f"get{upper}")()
            again = getattr(cls(**{param: value}), f"get{upper}")()
            seen.append((got, type(got), again, estimator.isSet(param)))
        assert seen[0] == seen[1], param
        assert seen[1][0] == OTHER_VALUES[param]


def test_threshold_and_thresholds_replace_each_other(spark: SparkSession) -> None:
    theirs, ours = ESTIMATORS["LogisticRegression"]
    for cls in (theirs, ours):
        estimator = cls(thresholds=[0.25, 0.75])
        assert estimator.getThreshold() == 0.75
        estimator.setThreshold(0.25)
        assert not estimator.isSet("thresholds")
        assert estimator.getThresholds() == [0.75, 0.25]
        if cls is ours:  # PySpark documents the same, but inherits a setter that does not clear
            estimator.setThresholds([0.5, 0.5])
            assert not estimator.isSet("threshold")
            assert estimator.getThreshold() == 0.5
        with pytest.raises(ValueError, match="threshold"):
            cls(threshold=0.3, thresholds=[0.5, 0.5])


# ---------------------------------------------------- models


@each_model
def test_models_have_mllibs_params(models: dict[str, tuple[Any, Any]], name: str) -> None:
    theirs, ours = models[name]
    assert [param.name for param in theirs.params] == params_of(MODELS[name][0])
    for there in theirs.params:
        here = ours.getParam(there.name)
        assert here.typeConverter == there.typeConverter, there.name
        assert here.parent == ours.uid
        assert ours.isSet(here) == theirs.isSet(there), there.name
        assert ours.isDefined(here) == theirs.isDefined(there), there.name
        if theirs.isDefined(there):
            assert ours.getOrDefault(here) == theirs.getOrDefault(there), there.name


@each_model
def test_model_attributes_have_mllibs_types(models: dict[str, tuple[Any, Any]], name: str) -> None:
    theirs, ours = models[name]
    compared = set()
    for member in public(theirs):
        there, here = getattr(theirs, member), getattr(ours, member)
        if isinstance(there, bool | int | float | str):
            assert type(here) is type(there), member
        elif isinstance(there, Vector | Matrix):
            assert isinstance(here, Vector if isinstance(there, Vector) else Matrix), member
            assert here.toArray().shape == there.toArray().shape, member
        else:
            continue
        compared.add(member)
    assert {"uid", "numFeatures", "hasSummary", "intercept", "coefficients"} <= compared
    assert ours.hasSummary is True
    assert ours.numFeatures == theirs.numFeatures == 3


@each_model
def test_model_setters_do_what_mllibs_do(models: dict[str, tuple[Any, Any]], name: str) -> None:
    setters = sorted(n for n in public(MODELS[name][0]) if n.startswith("set") and n != "set")
    assert "setFeaturesCol" in setters
    for setter in setters:
        param = setter[3].lower() + setter[4:]
        seen = []
        for model in models[name]:
            changed = model.copy()
            assert getattr(changed, setter)(OTHER_VALUES[param]) is changed
            seen.append(changed.getOrDefault(param))
            assert not model.isSet(param)
        assert seen[0] == seen[1] == OTHER_VALUES[param]


@each_model
def test_summaries_have_mllibs_types(models: dict[str, tuple[Any, Any]], name: str) -> None:
    theirs, ours = models[name]
    # MLlib's LinearSVCModel has a method, the others a property; ours reads as both
    there = theirs.summary() if callable(theirs.summary) else theirs.summary
    assert ours.summary() is ours.summary
    for summary in (there, ours.summary):
        assert type(summary.totalIterations) is int
        history = list(summary.objectiveHistory)
        assert all(type(value) is float for value in history)
    starts = ours.summary.objectiveHistory[0], there.objectiveHistory[0]
    if name == "LogisticRegressionModel":
        assert starts[0] == pytest.approx(starts[1])
    elif name == "LinearSVCModel":  # ours smooths the hinge, and its history is an upper bound
        assert starts[0] >= starts[1]


@each_model
def test_the_models_agree(
    spark: SparkSession, models: dict[str, tuple[Any, Any]], name: str
) -> None:
    """Guards the fixture: what is compared here are models of the same rows."""
    theirs, ours = models[name]
    rows: DataFrame = frame(spark, *binary_rows(30))
    there, here = (
        np.array([row.prediction for row in model.transform(rows).collect()])
        for model in (theirs, ours)
    )
    assert np.abs(there - here).mean() < 0.1


def test_type_converters_convert_as_there(spark: SparkSession) -> None:
    for name in ESTIMATORS:
        for cls in ESTIMATORS[name]:
            estimator = cls()
            assert estimator.setMaxIter(5.0).getMaxIter() == 5
            assert type(estimator.setRegParam(1).getRegParam()) is float
            with pytest.raises(TypeError, match="regParam"):
                estimator.setRegParam("0.1")
            with pytest.raises(TypeError, match="fitIntercept"):
                estimator.setFitIntercept("yes")
            with pytest.raises(TypeError, match="maxIter"):
                estimator.setMaxIter(1.5)
            assert estimator.maxIter.typeConverter == TypeConverters.toInt
