"""Standard errors and intervals by the bootstrap, all replicates in one batch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.ml.evaluation import Evaluator
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.passes.reweighting import Poisson
from sparkml_lsml.engine.solvers import Reason
from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.spark.params.solvers import SAMPLING_SOLVERS
from sparkml_lsml.spark.rows.frames import check_frame
from sparkml_lsml.spark.rows.shared import ResidentRows, frame_of
from sparkml_lsml.spark.rows.validating import refuse_validation
from sparkml_lsml.spark.training.cross_fitting import check_measure, measured
from sparkml_lsml.spark.training.estimator import LinearEstimator, own_fit
from sparkml_lsml.spark.training.training import Training
from sparkml_lsml.tuning.search import SHOWN, is_weighted, measure_of
from sparkml_lsml.worker.drawing import DrawnClasses, DrawnWeight

log = logging.getLogger("sparkml_lsml")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Replicates of a fit.

    A replicate without rows of some class has no coefficients: they are NaN, and standard errors
    and intervals are those of the others. So it is with metrics that the rows outside of a
    replicate do not define, such as areas of one class. ``notes`` count and name them.

    Attributes
    ----------
    model
        The model of all rows.
    coefficients : array of shape (replicates, outputs, features)
    intercepts : array of shape (replicates, outputs)
    metrics : array of shape (replicates,)
        Each on the rows that its replicate did not draw, about 37 % of them; empty without an
        evaluator.
    converged : array of bool of shape (replicates,)
        Whether the solver found the minimum to within the tolerance. Without a penalty there may
        be none, where the classes can be separated: coefficients then grow until ``maxIter``.
    notes : tuple of str
        How many replicates are undefined or did not converge, and which.
    """

    model: Any
    coefficients: Array
    intercepts: Array
    metrics: Array
    converged: npt.NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    @property
    def standard_errors(self) -> Array:
        """Standard errors of the coefficients, shape (outputs, features)."""
        return np.asarray(np.nanstd(self.coefficients, axis=0, ddof=1))

    @property
    def intercept_standard_errors(self) -> Array:
        """Standard errors of the intercepts, shape (outputs,)."""
        return np.asarray(np.nanstd(self.intercepts, axis=0, ddof=1))

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
    dataset: DataFrame | ResidentRows,
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
    dataset : DataFrame or ResidentRows
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
    DataError
        If fewer than two replicates have rows of each class, or none has a metric.
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
    frame = frame_of(dataset)
    check_frame(frame, "bootstrap")
    if not isinstance(estimator, LinearEstimator):
        raise TypeError(
            f"bootstrap: found a {type(estimator).__name__}, expected a linear estimator of "
            "sparkml_lsml"
        )
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
    member._check_fit(frame)
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
    # a replicate draws rows by their places
    with Training(member, dataset, ordered=True) as training:
        report = training.report
        whole = training.member(member, rows=frame)
        if measure is not None:
            check_measure(measure(), report, whole.problem)
        [model] = training.models([whole])
        near = whole.starting(whole.coefficients_of(model))
        known = _known(seed, n, report, training)
        if len(known) < 2:
            raise DataError(
                f"{len(known)} of {n} replicates have rows of each class: expected at least 2. "
                "Draw more of them (n), or bring more rows of the rarest class"
            )
        batch = [replace(near, replicate=k, rows=None) for k in known]
        models = training.models(batch)
        metrics = np.zeros(0)
        if measure is not None:
            metrics = np.full(n, np.nan)
            metrics[known] = measured(
                models,
                Poisson(seed, tuple(known)),
                measure,
                training.blocks,
                weighted=weighted,
                factors=training.factors,
            )
            if np.isnan(metrics).all():
                raise DataError(
                    f"the rows that a replicate leaves out define no metric, in none of {n}: areas "
                    "need rows of both classes, and r2 labels that vary"
                )
    coefficients = np.full((n, *model._coefficients.shape), np.nan)
    intercepts = np.full((n, *model._intercepts.shape), np.nan)
    coefficients[known] = [each._coefficients for each in models]
    intercepts[known] = [each._intercepts for each in models]
    reasons = {k: each.summary.reason for k, each in zip(known, models, strict=True)}
    converged = np.array([k in reasons and reasons[k].converged for k in range(n)])
    notes = _notes(coefficients, metrics, reasons)
    for note in notes:
        log.warning("bootstrap of %s: %s", type(member).__name__, note)
    return Bootstrap(model, coefficients, intercepts, metrics, converged, notes)


def _known(seed: int, n: int, report: Report, training: Training) -> list[int]:
    """Numbers of the replicates that have rows of each class that all rows have."""
    labels = sorted(label for label, (_, weight) in report.labels.items() if weight > 0.0)
    drawn: DrawnWeight = training.blocks.run(
        DrawnClasses(Poisson(seed, tuple(range(n))), tuple(labels)), "replicates"
    )
    return np.flatnonzero((drawn.weight > 0.0).all(axis=0)).tolist()


def _notes(coefficients: Array, metrics: Array, reasons: dict[int, Reason]) -> tuple[str, ...]:
    """Which replicates are undefined, or did not converge."""
    n = len(coefficients)
    missing = [k for k in range(n) if k not in reasons]
    unmeasured = [int(k) for k in np.flatnonzero(np.isnan(metrics)) if k in reasons]
    loose = [k for k, reason in reasons.items() if not reason.converged]
    names = ", ".join(sorted({reasons[k].name for k in loose}))
    left_out = "left out of standard errors and intervals"
    found = (
        (missing, f"lack rows of a class: their coefficients are undefined, and {left_out}"),
        (unmeasured, "leave out rows that do not define the metric: left out of its interval"),
        (loose, f"did not converge ({names}): raise maxIter, or set regParam"),
    )
    return tuple(
        f"{len(numbers)} of {n} replicates ({_shown(numbers)}) {what}"
        for numbers, what in found
        if numbers
    )


def _shown(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:SHOWN])) + ", ..." * (len(numbers) > SHOWN)


def _interval(values: Array, level: float) -> tuple[Array, Array]:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level}: expected a number between 0 and 1")
    low, high = np.nanquantile(values, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
    return low, high
