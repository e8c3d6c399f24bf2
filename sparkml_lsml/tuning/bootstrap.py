"""Standard errors and intervals by the bootstrap, all replicates in one batch."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.evaluation import Evaluator
from pyspark.sql import DataFrame

from sparkml_lsml.errors import ParamError
from sparkml_lsml.reweighting import Poisson
from sparkml_lsml.spark.cross_fitting import check_measure, checked, measured
from sparkml_lsml.spark.estimator import LinearEstimator, own_fit
from sparkml_lsml.spark.frames import check_frame
from sparkml_lsml.spark.params import SAMPLING_SOLVERS
from sparkml_lsml.spark.problem import Member
from sparkml_lsml.spark.training import Training
from sparkml_lsml.spark.validating import refuse_validation
from sparkml_lsml.tuning.search import is_weighted, measure_of

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Replicates of a fit.

    Attributes
    ----------
    model
        The model of all rows.
    coefficients : array of shape (replicates, outputs, features)
    intercepts : array of shape (replicates, outputs)
    metrics : array of shape (replicates,)
        Each on the rows that its replicate did not draw, about 37 % of them; empty without an
        evaluator.
    """

    model: Any
    coefficients: Array
    intercepts: Array
    metrics: Array

    @property
    def standard_errors(self) -> Array:
        """Standard errors of the coefficients, shape (outputs, features)."""
        return np.asarray(self.coefficients.std(axis=0, ddof=1))

    @property
    def intercept_standard_errors(self) -> Array:
        """Standard errors of the intercepts, shape (outputs,)."""
        return np.asarray(self.intercepts.std(axis=0, ddof=1))

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Percentile interval of each coefficient: two arrays of shape (outputs, features)."""
        return _interval(self.coefficients, level)

    def intercept_interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Percentile interval of each intercept: two arrays of shape (outputs,)."""
        return _interval(self.intercepts, level)

    def metric_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of the metric.

        Raises
        ------
        ValueError
            If there was no evaluator.
        """
        if not len(self.metrics):
            raise ValueError("no metric was measured: give the bootstrap an evaluator")
        low, high = _interval(self.metrics, level)
        return float(low), float(high)


def bootstrap(
    estimator: LinearEstimator,
    dataset: DataFrame,
    n: int = 100,
    seed: int = 0,
    evaluator: Evaluator | None = None,
) -> Bootstrap:
    """Fit a model and replicates of it, over one ingest and in shared passes.

    In a replicate each row counts as often as a Poisson variable of mean 1 says, which is the limit
    of drawing as many rows with replacement. Features are standardised, and the penalty is scaled,
    by the moments of all rows. Replicates start from the model of all rows.

    Parameters
    ----------
    estimator : LinearSVC, LogisticRegression or LinearRegression
    dataset : DataFrame
    n : int
        Replicates, at least 2: some 50 for standard errors, 1,000 for intervals.
    seed : int
    evaluator : Evaluator, optional
        Of the kinds that `CrossValidator` measures in shared passes. Each replicate is measured on
        the rows that it did not draw, by their weights if the evaluator has the estimator's
        ``weightCol``.

    Raises
    ------
    ParamError
        If ``n`` is below 2, the solver draws rows by itself, the evaluator is of another kind, or
        the estimator is of a subclass with a ``fit`` or ``_fit`` of its own.
    DivergedError
        If a replicate diverged.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapters 6 and 13.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> from sparkml_lsml.regression import LinearRegression
    >>> rows = [(2.0 * i + i % 3, Vectors.dense(i)) for i in range(30)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> found = bootstrap(LinearRegression(), df, n=50, seed=1)
    >>> low, high = found.interval(0.95)
    >>> bool(low[0, 0] < 2.0 < high[0, 0])
    True
    """
    check_frame(dataset, "bootstrap")
    refuse_validation(estimator, "bootstrap")
    if name := own_fit(estimator):
        raise ParamError(
            f"{type(estimator).__name__} has a {name} of its own, which takes rows, and a replicate"
            " is a draw of weights for the rows that were read: expected an estimator of "
            f"sparkml_lsml. Do what {name} does to the rows before the bootstrap"
        )
    if n < 2:
        raise ParamError(f"n={n}: expected at least 2 replicates")
    if estimator.value("solver") in SAMPLING_SOLVERS:
        raise ParamError(
            f"solver='{estimator.value('solver')}' draws rows by itself: use solver='auto'"
        )
    member = estimator.copy({estimator.getParam("seed"): seed})._normalise()
    member._check_columns(dataset)
    measure = None if evaluator is None else measure_of(evaluator, [member])
    if evaluator is not None and measure is None:
        raise ParamError(
            f"{evaluator} is not measured here: expected areas under curves, metrics of the "
            "confusion matrix, rmse, mse, mae or r2 of the columns that the model writes"
        )
    weighted = False if evaluator is None else is_weighted(evaluator, member)
    if weighted is None:
        raise ParamError(
            f"{evaluator} has another weightCol than the estimator, whose is "
            f"'{member.value('weightCol') or ''}': expected the same, or none"
        )
    pose = member._pose(dataset)
    # a replicate draws rows by their places
    with Training(member, dataset, member._task(), ordered=True) as training:
        report = training.report
        whole = Member(member, pose(report), report)
        if measure is not None:
            check_measure(measure(), report, whole.problem)
        [model] = checked(training.solve([whole]), [member], dataset)
        start = whole.coefficients_of(model)
        problem = replace(pose(report), start=lambda layout: start)
        batch = [Member(member, problem, report, replicate=k) for k in range(n)]
        models = checked(training.solve(batch), [member] * n)
        metrics = np.zeros(0)
        if measure is not None:
            unseen = Poisson(seed, tuple(range(n)))
            metrics = measured(
                models,
                unseen,
                measure,
                training.blocks,
                weighted=weighted,
                factors=training.factors,
            )
    return Bootstrap(
        model,
        np.stack([each._coefficients for each in models]),
        np.stack([each._intercepts for each in models]),
        metrics,
    )


def _interval(values: Array, level: float) -> tuple[Array, Array]:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level}: expected a number between 0 and 1")
    low, high = np.quantile(values, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
    return low, high
