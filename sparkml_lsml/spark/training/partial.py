"""Models that learn from one piece of rows after another."""

import logging
import time
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.kernels.sgd import SgdEpochs
from sparkml_lsml.engine.kernels.sgd_steps import batch_rows
from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.engine.solvers import Iteration, Reason, Solution
from sparkml_lsml.errors import DataError, DivergedError, NoRowsError, ParamError
from sparkml_lsml.spark.models.pieces import Pieces, gini
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.starting import check_features
from sparkml_lsml.spark.training.batch import Batch
from sparkml_lsml.spark.training.custom_losses import check_losses
from sparkml_lsml.spark.training.member import Member
from sparkml_lsml.spark.training.trainable import Trainable
from sparkml_lsml.spark.training.training import Training

log = logging.getLogger("sparkml_lsml")

Array = npt.NDArray[np.float64]

TRIES, SHRINK = 6, 3.0
"""Rounds over a piece, at most, each with the step divided by 3."""

POWER = 0.5
"""Of the schedule "adaptive": the step that averages allow (Bach and Moulines)."""


def _spread(piece: Report, classes: int, before: Pieces | None) -> Array | None:
    """See `Pieces`."""
    if before is not None and before.spread is None:
        return None
    if classes:
        counts = np.array([piece.labels.get(float(k), (0, 0.0))[1] for k in range(classes)])
        found = np.array([gini(counts), *counts])
    else:
        moments = piece.label_moments
        assert moments is not None
        found = moments.weight * moments.variance(sample=False)
    return found if before is None or before.spread is None else found + before.spread


def partial_fit(
    estimator: Trainable,
    dataset: DataFrame,
    model: Any,
    classes: int | None,
    updates: "type[Update]",
) -> Any:
    """A model that has also learned from a piece of rows.

    Parameters
    ----------
    estimator : Trainable
    dataset : DataFrame
    model : model or None
        From the piece before.
    classes : int or None
        Number of classes; None for that of the model, or as many as the first piece shows.
    updates : type of Update
        What learns from the piece.

    Returns
    -------
    model
        ``model`` itself for a piece without rows; otherwise a new one.
    """
    given: Any = estimator.copy()._normalise()
    own = given.copy()
    solver = updates.solver
    if own.value("solver") not in ("auto", solver):
        raise ParamError(
            f"{type(own).__name__}: partialFit takes {updates.steps} over a piece, found "
            f"solver={own.value('solver')!r}: set solver='auto' or {solver!r}"
        )
    updates.check(own)
    # what a fit learns from all rows, a piece of them does not tell
    if own.value("validationIndicatorCol"):
        raise ParamError(
            f"{type(own).__name__}: partialFit keeps no best iteration, found "
            f"validationIndicatorCol={own.value('validationIndicatorCol')!r}: leave it out"
        )
    if own.hasParam("classWeight") and own.value("classWeight") == "balanced":
        raise ParamError(
            f"{type(own).__name__}: partialFit does not know the classes of pieces to come, found "
            "classWeight='balanced': give a map of labels to weights"
        )
    # a piece is one iteration, also to those who watch
    own._set(solver=solver, checkpointDir="", maxIter=1)
    own._check_fit(dataset)
    started = time.perf_counter()
    try:
        known = classes if isinstance(classes, int) else int(getattr(model, "numClasses", 0))
        training = Training(own, dataset, classes=known, centre=False)
    except NoRowsError:
        if model is None:
            raise
        return model
    with training:
        if training.sorted:
            training.shuffle()
        piece = training.report
        if model is not None:
            check_features(model, own.settings(), piece.longest)
        before = None if model is None else model._pieces
        seen = _merged(piece, before, own, model, classes)
        member = training.member(own, seen)
        with training.watch([member]) as watch:
            check_losses([member.problem.loss], training.blocks, type(own).__name__)
            update = updates(member, training, before, model)
            solution, after = update.run(piece)
            blocks = training.blocks
            notes: tuple[str, ...] = (f"piece {after.number}; {after.features.rows:,} rows so far",)
            if after.sorted:
                notes += (
                    f"{after.share:.0%} of the spread of the labels lies between the pieces, of "
                    f"mixed ones at most {after.chance:.0%}: the model follows its last pieces. "
                    "Shuffle the rows before they are cut into pieces (orderBy(rand())), or fit "
                    "all of them at once",
                )
                if before is None or not before.sorted:
                    log.warning("%s: %s", type(own).__name__, notes[-1])
            summary = TrainingSummary(
                history=solution.history,
                objective=solution.objective,
                reason=solution.reason,
                solver=solver,
                solver_reason="partialFit",
                execution="local" if blocks.local else "distributed",
                execution_reason=f"{blocks.nbytes / 2**20:.1f} MB",
                rows=blocks.rows,
                features=member.layout.features,
                partitions=blocks.partitions,
                nbytes=blocks.nbytes,
                ingest_seconds=blocks.seconds,
                seconds=time.perf_counter() - started,
                passes=update.objective.passes,
                sent=blocks.sent,
                notes=(*notes, *blocks.notes),
            )
            watch.summaries[0] = summary
            for line in solution.history:
                watch.iteration(0, line)
        # its Params are those that the user has set
        found = replace(member, params=given).model(solution.coef, summary, solution)
        found._pieces = after
        return found


def _merged(
    piece: Report, before: Pieces | None, params: Any, model: Any, classes: int | None
) -> Report:
    """What is known of all rows so far; it has every class, seen or not."""
    moments, label = piece.moments, piece.label_moments
    assert moments is not None
    if before is not None:
        moments = before.features.merge(moments)
        if before.label is not None and label is not None:
            label = before.label.merge(label)
    labels = piece.labels
    if not labels:
        if classes is not None:
            raise ParamError(f"classes={classes!r}: a regression has none, expected None")
        return replace(piece, moments=moments, label_moments=label)
    largest = int(max(labels))
    known = max(2, largest + 1) if classes is None else classes
    if model is not None and classes is None:
        known = model.numClasses
    if type(known) is not int or known < 2 or (params._task() == "binary" and known != 2):
        least = "2" if params._task() == "binary" else "an integer of 2 or more"
        raise ParamError(f"{type(params).__name__}: classes={known!r}, expected {least}")
    if largest >= known:
        raise DataError(
            f"the piece has a label {largest}, and the model knows {known} classes: expected labels"
            f" below {known}. Give the number of all classes with the first piece: "
            "partialFit(piece, classes=...)"
        )
    # a row more of each class: the first piece may hold one class only, and still says little
    counts = {float(k): labels.get(float(k), (0, 0.0)) for k in range(known)}
    smooth = {label: (rows, weight + 1.0) for label, (rows, weight) in counts.items()}
    return replace(piece, moments=moments, label_moments=label, labels=smooth)


class Update:
    """What learns from a piece.

    Parameters
    ----------
    member : Member
    training : Training
    before : Pieces or None
    model : model or None
    """

    solver: ClassVar[str]
    """Its name."""
    steps: ClassVar[str]
    """What it takes, in words."""

    def __init__(
        self, member: Member, training: Training, before: Pieces | None, model: Any
    ) -> None:
        self._member, self._settings = member, member.settings
        self._units, self._penalty = member.units()
        layout = member.layout
        cold = self._units.to_stored(member.cold_start()[None, :])[0]
        if model is None:
            average = iterate = cold
        else:
            average = member.params.coefficients_of(
                model, member.predictor, self._units.label_scale
            )
            iterate = average if before is None else before.iterate
        if iterate.shape != (layout.size,):
            raise ParamError(
                f"{member.settings.estimator}: the model was trained on its last piece with "
                "another fitIntercept or loss: expected the same Params for all pieces"
            )
        self._average, self._iterate = average, iterate
        moments, label = member.report.moments, member.report.label_moments
        assert moments is not None
        self._seen = before
        self._before = before or Pieces(moments, label, iterate)
        self.objective = Batch.of([member]).objective(training.blocks, [self._units], "partialFit")

    @staticmethod
    def check(estimator: Any) -> None:
        """Refuse Params that a piece cannot be learned with."""

    def run(self, piece: Report) -> tuple[Solution, Pieces]:
        """The solution for the features as they are, and what is to be carried."""
        raise AssertionError(f"{type(self).__name__} defines no run")

    def _after(self, piece: Report, iterate: Array, batches: float, rate: float) -> Pieces:
        """What is to be carried.

        Parameters
        ----------
        piece : Report
        iterate : array of shape (size,)
            In the solver's units.
        batches : float
            Mini-batches of a partition.
        rate : float
        """
        before, report = self._before, self._member.report
        assert report.moments is not None
        return Pieces(
            report.moments,
            report.label_moments if not report.labels else None,
            leave(self._units, iterate, self._iterate),
            before.number + 1,
            before.epochs + self._settings.localEpochs,
            before.batches + batches,
            rate,
            _spread(piece, len(report.labels), self._seen),
        )


class SgdUpdate(Update):
    """Epochs of SGD, and the average over the pieces."""

    solver = "sgd"
    steps = "epochs of SGD"

    # a step that is too long overflows, which the value tells
    @np.errstate(over="ignore", invalid="ignore")
    def run(self, piece: Report) -> tuple[Solution, Pieces]:
        """The average as the solution for the features as they are, and what is to be carried."""
        before, objective, penalty = self._before, self.objective, self._penalty
        report = self._member.report
        assert piece.moments is not None
        assert report.moments is not None
        start = enter(self._units, self._iterate)
        average = enter(self._units, self._average)
        # weights that grow with the rows so far, as those of 1, 2, 3, ... for pieces of one size
        weight, total = piece.moments.weight, report.moments.weight
        share = min(1.0, 2.0 * weight / (total + weight)) if self._settings.averaging else 1.0
        rows = batch_rows(self._settings.batchSize, objective.rows_per_block, objective.predictor)
        epochs = self._settings.localEpochs
        unit = objective.step_unit(rows)
        adaptive = self._settings.learningRate == "adaptive"
        rate, tries = before.rate, 0
        while True:
            sgd = self._epochs(rate * unit, penalty)
            seed = (self._settings.seed, before.number)
            [value], [goal] = objective.local_update(start[None, :], [penalty], [sgd], seed)
            mean = average + share * (goal - average)
            values, _ = objective.value_and_gradient(np.stack([goal, mean]), models=[0, 0])
            first = float(value) + penalty.value(start)
            last, found = (
                float(v) + penalty.value(c) for v, c in zip(values, (goal, mean), strict=True)
            )
            tries += 1
            if not adaptive or last <= first:
                break
            rate /= SHRINK
            if tries == TRIES:
                # the start is as good as it gets on this piece
                goal, mean = start, average + share * (start - average)
                values, _ = objective.value_and_gradient(mean[None, :], models=[0])
                last, found = first, float(values[0]) + penalty.value(mean)
                break
        if not (np.isfinite(goal).all() and np.isfinite([last, found]).all()):
            raise DivergedError(f"{self._settings.estimator}: {Reason('diverged', tries)}")
        batches = epochs * max(1.0, objective.rows_per_block / rows)
        after = self._after(piece, goal, batches, rate)
        step, nan = sgd.step_size, float("nan")
        history = (
            Iteration(0, first, nan, nan, 1, 0.0),
            Iteration(1, found, nan, step, objective.passes, 0.0, sent=objective.sent),
        )
        coef = leave(self._units, mean, self._average)
        return Solution(coef, found, history, Reason("piece", 1)), after

    def _epochs(self, rate: float, penalty: ElasticNet) -> SgdEpochs:
        """The epochs, with the step that the schedule has come to."""
        before, schedule = self._before, self._settings.learningRate
        rate *= self._settings.value("stepSize")
        decay = 0.0
        if schedule == "adaptive":
            rate /= (1.0 + before.epochs) ** POWER
        elif schedule == "invscaling":
            rate /= (1.0 + before.epochs) ** self._settings.powerT
        elif schedule == "optimal":
            strength = max(float(np.max(penalty.l2())), 1e-6)
            rate = 1.0 / (1.0 / rate + strength * before.batches)
            decay = strength * rate
        return SgdEpochs(
            epochs=self._settings.localEpochs,
            batch_size=self._settings.batchSize,
            step_size=rate,
            decay=decay,
            momentum=self._settings.momentum,
            nesterov=self._settings.nesterov,
            average=self._settings.averaging,
            variance_reduction=self._settings.varianceReduction,
        )


def enter(units: Standardization, stored: Array) -> Array:
    """Coefficients in the solver's units; columns without a unit move into the intercept.

    A column may be constant in the first pieces of a model that knows more of it: its part of the
    margins is a constant until then.
    """
    layout = units.layout
    [coef] = units.from_stored(stored[None, :])
    if layout.fit_intercept:
        coef[layout.intercepts] += _constants(units, stored) @ units.shift / units.label_scale
    return np.asarray(coef)


def leave(units: Standardization, coef: Array, stored: Array) -> Array:
    """Coefficients for the features as they are; columns without a unit keep what they had."""
    layout = units.layout
    [out] = units.to_stored(coef[None, :])
    kept = _constants(units, stored)
    out[layout.weights] += kept.reshape(-1)
    if layout.fit_intercept:
        out[layout.intercepts] -= kept @ units.shift
    return np.asarray(out)


def _constants(units: Standardization, stored: Array) -> Array:
    """The weights of columns that have no unit, zeros elsewhere; shape (outputs, features)."""
    weights = units.layout.weight_matrix(stored[None, :])[0]
    return np.where(units.scale > 0.0, 0.0, weights)
