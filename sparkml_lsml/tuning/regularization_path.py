"""Models over a sequence of penalties, each of which starts from the one before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.spark.params.solvers import SAMPLING_SOLVERS
from sparkml_lsml.spark.rows.frames import check_frame
from sparkml_lsml.spark.rows.shared import ResidentRows, frame_of
from sparkml_lsml.spark.rows.validating import refuse_validation
from sparkml_lsml.spark.training.batch import Batch
from sparkml_lsml.spark.training.estimator import LinearEstimator, own_fit
from sparkml_lsml.spark.training.training import Training

Array = npt.NDArray[np.float64]

NO_FEATURES = 1e100
"""A regParam that leaves no feature in any model."""

ABOVE = 1.0 + 1e-6
"""The path begins so much above the penalty of the first feature: rounding must not let it in."""


@dataclass(frozen=True, eq=False)
class RegularizationPath:
    """Models from the strongest penalty to the weakest.

    Attributes
    ----------
    regParams : array of shape (points,)
        In descending order.
    coefficients : array of shape (points, outputs, features)
    intercepts : array of shape (points, outputs)
    models : list of models
        Of the estimator, each with its ``regParam``.
    passes : int
        Passes over the packed rows, for all models.
    """

    regParams: Array
    coefficients: Array
    intercepts: Array
    models: list[Any]
    passes: int

    @property
    def features(self) -> npt.NDArray[np.int64]:
        """Number of features that each model uses, shape (points,)."""
        return np.asarray(np.any(self.coefficients != 0.0, axis=1).sum(axis=1), dtype=np.int64)


def regularization_path(
    estimator: LinearEstimator,
    dataset: DataFrame | ResidentRows,
    regParams: Sequence[float] | None = None,
    n: int = 100,
    ratio: float = 1e-3,
    together: int = 10,
) -> RegularizationPath:
    r"""Fit a model for each of a sequence of penalties, over one ingest and with warm starts.

    Models are fitted from the strongest penalty to the weakest, ``together`` at a time in shared
    passes, and start from the last solution before them, which is close. Least squares with the
    solver ``normal`` take one pass for all penalties.

    Without ``regParams`` the path begins at the smallest one at which all coefficients are 0,

    .. math:: \lambda_{\max} = \frac{1}{\alpha}\,
        \max_j \left|\frac{\partial \ell}{\partial c_j}\right|,

    with :math:`\alpha` = elasticNetParam and the gradient of the mean loss at the model that has an
    intercept only, in the coefficients c that are penalised (of features with unit variance, with
    standardization).

    Parameters
    ----------
    estimator : LinearSVC, LogisticRegression or LinearRegression
        Its own ``regParam`` is not used.
    dataset : DataFrame or ResidentRows
    regParams : sequence of float, optional
        In any order.
    n : int
        Points of the path where ``regParams`` is not given, at least 2.
    ratio : float
        The last of them relative to the first, between 0 and 1; they are evenly spaced in their
        logarithm.
    together : int
        Neighbours on the path that share their passes. With 1 each model starts from the one
        before it, which is the least arithmetic; more take far fewer passes, each over rows that
        are read once for all of them.

    Raises
    ------
    ParamError
        If a value is out of its range, the solver draws rows by itself, or ``regParams`` is missing
        where no coefficient becomes exactly 0 (elasticNetParam=0) or the loss has kinks (hinge).
    DataError, ColumnError
        If the rows cannot be trained on, or all labels are the same.
    DivergedError
        If a model diverged.

    References
    ----------
    Friedman, Hastie and Tibshirani (2010), Regularization paths for generalized linear models via
    coordinate descent, Journal of Statistical Software 33, section 2.5.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> from sparkml_lsml.regression import LinearRegression
    >>> rows = [(3.0 * i + i % 4, Vectors.dense(i, i % 4)) for i in range(20)]
    >>> df = spark.createDataFrame(rows, ["label", "features"])
    >>> path = regularization_path(LinearRegression(elasticNetParam=1.0), df, n=5)
    >>> path.features.tolist(), path.coefficients.shape
    ([0, 1, 2, 2, 2], (5, 1, 2))
    """
    frame = frame_of(dataset)
    check_frame(frame, "regularization_path")
    if not isinstance(estimator, LinearEstimator):
        raise TypeError(
            f"regularization_path: found a {type(estimator).__name__}, expected a linear estimator "
            "of sparkml_lsml"
        )
    base = estimator.copy()._normalise()
    base._check_fit(frame)
    _check(base, regParams, n, ratio, together)
    if own_fit(base):
        return _one_by_one(base, frame, regParams)
    with Training(base, dataset) as training:
        blocks = training.blocks
        if len(blocks.report.labels) == 1:
            raise DataError(
                f"all {blocks.rows:,} labels are {next(iter(blocks.report.labels)):g}: expected "
                "two classes, since with one of them all models of the path are the same"
            )
        before: Any = None
        if regParams is None:
            strongest, before = _strongest(base, training)
            strengths = np.geomspace(strongest, ratio * strongest, n)
        else:
            strengths = np.sort(np.asarray(regParams, dtype=np.float64))[::-1]
        estimators = [_with(base, regParam=float(strength)) for strength in strengths]
        members = [training.member(each, rows=frame) for each in estimators]
        # the normal equations take one pass for all, and start from each other
        step = len(members) if members[0].problem.solver == "normal" else together
        models: list[Any] = []
        for first in range(0, len(members), step):
            batch = members[first : first + step]
            if before is not None:
                batch = [each.starting(each.coefficients_of(before)) for each in batch]
            models += training.models(batch)
            before = models[-1]
        return RegularizationPath(
            strengths,
            np.stack([model._coefficients for model in models]),
            np.stack([model._intercepts for model in models]),
            models,
            blocks.passes,
        )


def _one_by_one(
    base: LinearEstimator, dataset: DataFrame, regParams: Sequence[float] | None
) -> RegularizationPath:
    """The path of a subclass with a ``fit`` of its own, which knows what it does with the rows."""
    if regParams is None:
        raise ParamError(
            f"{type(base).__name__} has a {own_fit(base)} of its own, and where a path begins "
            "follows from the rows that it trains on: give regParams"
        )
    strengths = np.sort(np.asarray(regParams, dtype=np.float64))[::-1]
    models = [_with(base, regParam=float(strength)).fit(dataset) for strength in strengths]
    return RegularizationPath(
        strengths,
        np.stack([model._coefficients for model in models]),
        np.stack([model._intercepts for model in models]),
        models,
        sum(model.summary.passes for model in models if model.hasSummary),
    )


def _check(
    base: LinearEstimator, regParams: Sequence[float] | None, n: int, ratio: float, together: int
) -> None:
    """Refuse what cannot be fitted, before any job runs."""
    refuse_validation(base, "regularization_path")
    if base.value("solver") in SAMPLING_SOLVERS:
        raise ParamError(f"solver='{base.value('solver')}' draws rows by itself: use solver='auto'")
    if base.getInitialModel() is not None:
        raise ParamError(
            "a path starts each model from the one before: found an estimator with an initial "
            "model, expected one without. Call setInitialModel(None)"
        )
    if together < 1:
        raise ParamError(f"together={together}: expected 1 or more models that share their passes")
    if regParams is not None:
        if not len(regParams):
            raise ParamError("regParams is empty: expected at least one, or None for a sequence")
        for value in regParams:
            _with(base, regParam=float(value))
        return
    if n < 2 or not 0.0 < ratio < 1.0:
        raise ParamError(
            f"n={n}, ratio={ratio}: expected at least 2 points, and a ratio of the last to the "
            "first between 0 and 1"
        )
    if base.value("elasticNetParam") == 0.0:
        raise ParamError(
            "elasticNetParam=0.0: without an L1 penalty no regParam makes all coefficients 0, where"
            " the path would begin. Give regParams, or set elasticNetParam"
        )


def _with(base: LinearEstimator, **params: Any) -> LinearEstimator:
    extra = {base.getParam(name): value for name, value in params.items()}
    return base.copy(extra)._normalise()


def _strongest(base: LinearEstimator, training: Training) -> tuple[float, Any]:
    """The first regParam of a path, and the model without features that is its solution."""
    empty = _with(base, regParam=NO_FEATURES, tol=min(base.value("tol"), 1e-9), maxIter=100)
    member = training.member(empty)
    if not member.problem.loss.smooth:
        raise ParamError(
            f"loss='{member.problem.loss.name}' has kinks, where the penalty of the first feature "
            "has no formula: give regParams"
        )
    [model] = training.models([member])
    unit = training.member(_with(base, regParam=1.0))
    units, penalty = unit.units()
    objective = Batch.of([unit]).objective(training.blocks, [units], type(base).__name__)
    _, [gradient] = objective.value_and_gradient(unit.coefficients_of(model)[None, :])
    l1 = np.broadcast_to(penalty.l1(), gradient.shape)
    strongest = float(np.max(np.abs(gradient[l1 > 0.0]) / l1[l1 > 0.0], initial=0.0))
    if strongest == 0.0:
        raise DataError(
            "no feature has to do with the label, so that all models of the path are the same: "
            "expected features and labels that vary. Give regParams to fit them all the same"
        )
    return ABOVE * strongest, model
