"""Who is compared: ours, MLlib with the same Params, and scikit-learn on the same Parquet."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyspark.ml.classification
import pyspark.ml.regression
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import DataFrame, SparkSession
from scipy import sparse
from sklearn import linear_model, svm
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import sparkml_lsml.classification
import sparkml_lsml.regression
from benchmarks.data import DataSet, load
from benchmarks.session import CORES
from benchmarks.synthetic import Array

OURS, MLLIB, SKLEARN = "sparkml_lsml", "MLlib", "scikit-learn"
SPARK_MODULES = {
    OURS: (sparkml_lsml.classification, sparkml_lsml.regression),
    MLLIB: (pyspark.ml.classification, pyspark.ml.regression),
}
TOL = 1e-6


@dataclass(frozen=True)
class Case:
    """One estimator on one data set."""

    estimator: str
    data: DataSet
    reg_param: float = 1e-2
    systems: tuple[str, ...] = (OURS, MLLIB, SKLEARN)

    @property
    def label(self) -> str:
        return "target" if self.estimator == "LinearRegression" else "label"

    @property
    def title(self) -> str:
        return f"{self.estimator}, {self.data.title}, regParam {self.reg_param:g}"


@dataclass(frozen=True)
class Fitted:
    """A model in the units of the rows, and what its system tells of the way there.

    ``details`` is empty for the others; ours tells its solver, passes and seconds to read.
    """

    coefficients: Array
    intercept: float
    iterations: int | None
    details: dict[str, Any]


def frame(spark: SparkSession, data: DataSet) -> DataFrame:
    return spark.read.parquet(str(data.path))


def estimator(system: str, name: str, **params: Any) -> Any:
    """Make an estimator of ours or of MLlib's, which stops by its own rule."""
    modules = SPARK_MODULES[system]
    kind = next(getattr(module, name) for module in modules if hasattr(module, name))
    if name == "LinearRegression":
        params = {"solver": "normal", "labelCol": "target", **params}
    return kind(**{"tol": TOL, **params})


def fit_spark(spark: SparkSession, case: Case, system: str, **params: Any) -> Any:
    """Read the Parquet and fit an estimator of ours or of MLlib's."""
    rows, columns = frame(spark, case.data), case.data.columns
    if columns and system == OURS:
        params["featuresCols"] = columns
    elif columns:
        rows = VectorAssembler(inputCols=columns, outputCol="features").transform(rows)
    wanted = estimator(system, case.estimator, regParam=case.reg_param, **params)
    return wanted.fit(rows)


def fit_sklearn(case: Case) -> Fitted:
    """Read the same Parquet, scale the columns as the others do, and fit.

    scikit-learn sums losses where MLlib averages them, hence the rows in its strengths. LIBLINEAR
    puts the intercept under the penalty, which changes little with centred columns.
    """
    x, y = load(case.data, case.label)
    scaler = StandardScaler(with_mean=not sparse.issparse(x), copy=False)
    x = scaler.fit_transform(x)
    strength = case.reg_param * len(y)
    if case.estimator == "LinearSVC":
        model = svm.LinearSVC(C=1 / strength, loss="hinge", tol=TOL, dual=True)
    elif case.estimator == "LogisticRegression":
        model = linear_model.LogisticRegression(C=1 / strength, tol=TOL)
    else:
        model = linear_model.Ridge(alpha=strength / y.std(), solver="cholesky")
    with threadpool_limits(CORES), warnings.catch_warnings():
        # Whether it got there is in the objective.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    coefficients = np.ravel(model.coef_) / scaler.scale_
    mean = 0.0 if scaler.mean_ is None else float(scaler.mean_ @ coefficients)
    found = getattr(model, "n_iter_", None)
    iterations = None if found is None else int(np.max(found))
    return Fitted(coefficients, float(np.ravel(model.intercept_)[0]) - mean, iterations, {})


def fits(spark: SparkSession, case: Case) -> dict[str, Callable[[], Any]]:
    """What each system of a case has to run."""
    work: dict[str, Callable[[], Any]] = {SKLEARN: partial(fit_sklearn, case)}
    for system in SPARK_MODULES:
        work[system] = partial(fit_spark, spark, case, system)
    return {system: work[system] for system in case.systems}


def fitted(system: str, model: Any) -> Fitted:
    """What is known of a fitted model."""
    if isinstance(model, Fitted):
        return model
    summary = model.summary() if callable(model.summary) else model.summary
    details = {}
    if system == OURS:
        details = {
            "solver": summary.solver,
            "execution": summary.execution,
            "passes": summary.passes,
            "ingest_seconds": summary.ingest_seconds,
            "fit_seconds": summary.seconds,
            "reason": str(summary.reason),
            "history": [(line.seconds, line.objective) for line in summary.history],
        }
    coefficients = np.asarray(model.coefficients.toArray())
    return Fitted(coefficients, float(model.intercept), int(summary.totalIterations), details)
