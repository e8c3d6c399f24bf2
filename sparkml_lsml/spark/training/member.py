"""A model that is trained: from the problem of its estimator to the model that its user gets."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.kernels.wide_training import wide
from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.engine.predictors import Layout, Predictor
from sparkml_lsml.engine.predictors.standardization import Standardization, less_origin, standardize
from sparkml_lsml.engine.solvers import LBFGSB, SmoothedLBFGS, Solution, Solver
from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.spark.models.summary import TrainingSummary
from sparkml_lsml.spark.params.fit_settings import FitSettings
from sparkml_lsml.spark.params.solvers import FIRST_ORDER_SOLVERS, build_solver
from sparkml_lsml.spark.training.problem import Fitted, Problem
from sparkml_lsml.spark.training.trainable import Trainable

Array = npt.NDArray[np.float64]

CENTRED_SHARE = 0.5
"""Share of the rows in which a column of wide rows has to be stored for a network to centre it."""


@dataclass(frozen=True, eq=False)
class Member:
    """A model of a batch: its estimator, its problem, and what is known of its rows.

    ``held_out`` is the fold whose rows it does not see, and ``replicate`` that of a bootstrap whose
    rows it sees; -1 where it sees all. ``positive`` is the class that it tells from the rest, -1
    where labels are what they are. ``rows`` is the frame of its rows, those of its validation
    included, where the summary of its model is to have metrics of them.
    """

    params: Trainable
    problem: Problem
    report: Report
    held_out: int = -1
    replicate: int = -1
    positive: int = -1
    rows: DataFrame | None = None

    @cached_property
    def settings(self) -> FitSettings:
        """What its fit depends on."""
        return self.params.settings()

    @property
    def layout(self) -> Layout:
        """Where its coefficients are."""
        return self.predictor.layout

    @property
    def predictor(self) -> Predictor:
        """Its raw predictions."""
        return self.problem.predictor

    def units(self) -> tuple[Standardization, ElasticNet]:
        """The units that its solver works in, and the penalty in them."""
        problem, moments = self.problem, self.report.moments
        if moments is None:
            # rows that were packed without: features stay as they are
            units = replace(Standardization.identity(self.layout), label_scale=problem.label_scale)
            return units, units.penalty(problem.l1, problem.l2)
        mean, deviation = moments.mean(), np.sqrt(moments.variance(problem.sample_moments))
        overflow = np.flatnonzero(~np.isfinite(mean) | ~np.isfinite(deviation))
        if len(overflow):
            raise DataError(
                f"{len(overflow)} features, the first of them number {overflow[0]}, have values so "
                "large that their variance overflows: rescale them to below 1e150"
            )
        standardized = self.settings.standardization
        if not (standardized or self.predictor.convex):
            # no start of a network would be the same in other units
            units = replace(Standardization.identity(self.layout), label_scale=problem.label_scale)
            return units, units.penalty(problem.l1, problem.l2)
        units = standardize(
            self.layout,
            mean,
            deviation,
            curvature=problem.loss.curvature,
            # behind a first map that is not the last, an L2 penalty bends otherwise
            l2=problem.l2 if self.predictor.convex else 0.0,
            standardized=standardized,
            label_scale=problem.label_scale,
            about_zero=problem.solver in FIRST_ORDER_SOLVERS,
        )
        stored = moments.stored_share()
        values = self.settings.batchSize * float(stored.sum())
        if problem.solver == "local-steps" and wide(len(stored), values):
            # centred, a column is part of every mini-batch; of one that most rows lack the mean is
            # no more than a deviation
            rare = stored < CENTRED_SHARE
            units = replace(units, shift=np.where(rare, 0.0, units.shift))
        if problem.bounds is not None:
            intercepts = self.layout.intercepts
            ends = problem.bounds.lower[intercepts], problem.bounds.upper[intercepts]
            if np.isfinite(ends).any():
                # with centred features these would be bounds on all coefficients together
                units = replace(units, shift=np.zeros_like(units.shift))
        if self.report.origin is not None and problem.solver == "normal":
            units = replace(units, origin=self.report.origin.dense(self.layout.features))
        return units, units.penalty(problem.l1, problem.l2, deviation if standardized else 1.0)

    def solver(self, units: Standardization) -> Solver:
        """The iterative solver, in these units."""
        solver = build_solver(self.problem.solver, self.settings, self.layout.size)
        if isinstance(solver, SmoothedLBFGS):
            near = self.settings.initial is not None
            return replace(solver, unit=self.problem.label_scale, close=near)
        if self.problem.bounds is None:
            return solver
        assert isinstance(solver, LBFGSB)
        box = units.box(self.problem.bounds)
        return replace(solver, lower=box.lower, upper=box.upper)

    def stored(self, units: Standardization, coef: Array) -> Array:
        """Coefficients for the stored features, from those of the solver."""
        [stored] = units.to_stored(coef[None, :])
        bounds = self.problem.bounds
        # what is at a bound may be a digit beyond it in other units
        return stored if bounds is None else np.clip(stored, bounds.lower, bounds.upper)

    def model(self, stored: Array, summary: TrainingSummary, solution: Solution) -> Any:
        """The model of a solution as its user gets it, with the uid and Params of its estimator.

        Parameters
        ----------
        stored : array of shape (layout.size,)
            Coefficients for the stored features.
        summary : TrainingSummary
        solution : Solution
        """
        coef = self._moved(stored, back=True)
        model = self.problem.build(Fitted(coef, self.layout, summary, solution.precision))
        self.params.adopt(model, self.rows)
        return model

    def _moved(self, coef: Array, back: bool = False) -> Array:
        return less_origin(coef, self.layout, self.report.origin, back=back)

    def starting(self, coef: Array) -> "Member":
        """The same, with these coefficients in the solver's units as its cold start."""
        return replace(self, problem=replace(self.problem, start=lambda layout: coef, given=None))

    def start(self) -> Array:
        """Coefficients to start from, in the solver's units."""
        if self.settings.initial is not None:
            return self.coefficients_of(self.settings.initial)
        return self.cold_start()

    def coefficients_of(self, model: Any) -> Array:
        """The coefficients of a model, in the units of this one's solver.

        Raises
        ------
        ParamError
            If the model has other features or classes.
        """
        # a scale of the loss starts at that of the labels
        scale = self.problem.label_scale
        return self._entered(self.params.coefficients_of(model, self.predictor, scale))

    def _entered(self, coef: Array) -> Array:
        """Coefficients in the units of the solver, from those for the features as they are."""
        units, _ = self.units()
        return np.asarray(units.from_stored(self._moved(coef)[None, :])[0])

    def cold_start(self) -> Array:
        """Where a fit starts that is given no model."""
        layout, start = self.layout, self.problem.start
        if self.problem.given is not None:
            return self._entered(self.problem.given)
        if start is not None:
            return start(layout)
        if not self.predictor.convex:
            raise ParamError(
                f"{self.settings.estimator}: its problem has no start, and zeros are a saddle of "
                f"{type(self.predictor).__name__}: expected a Problem with a 'start'"
            )
        return np.zeros(layout.size)
