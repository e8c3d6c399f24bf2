"""What the solvers share that step along the gradient of a sample: one step a pass."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from sparkml_lsml.engine.solvers.base import Array, Reason, State
from sparkml_lsml.engine.solvers.steps import GROWTH_LIMIT

PATIENCE = 20
"""Steps without a lower smoothed objective after which the schedule ``adaptive`` shortens them."""

TINY = float(np.finfo(np.float64).tiny)

SHORTEST = 1e-8
"""Share of the first step below which what a step moves says nothing any more."""


@dataclass(frozen=True)
class StochasticState(State):
    """State of a solver whose objective is that of a sample.

    Attributes
    ----------
    point : array of shape (size,)
        The last iterate. ``coef`` is the average of the later iterates.
    rate : float
        Step, before the schedule.
    start : float
        Objective of the first sample.
    smoothed, best : float
        Moving average of the estimated objective, and its lowest value.
    waited : int
        Steps since that was lowest.
    first : float
        The first step, as the history tells it.
    moved : float
        What a step of the first length would have moved the coefficients by, relative to them: a
        schedule shortens steps wherever they are, and short ones say nothing of the minimum.
    reason : str
        Why the solver stopped; '' while it goes on.
    """

    point: Array = field(default_factory=lambda: np.zeros(0))
    rate: float = 1.0
    start: float = float("inf")
    smoothed: float = float("inf")
    best: float = float("inf")
    waited: int = 0
    first: float = float("nan")
    moved: float = float("inf")
    reason: str = ""

    def stepped(
        self,
        point: Array,
        value: float,
        gradient: Array,
        rate: float,
        *,
        average: bool,
        adaptive: bool,
        **own: Any,
    ) -> Self:
        """The state after a step.

        Parameters
        ----------
        point : array of shape (size,)
            Where the step led.
        value : float
            Objective of the sample that the step was taken for.
        gradient : array of shape (size,)
        rate : float
            The step, as the history is to tell it.
        average : bool
            Whether ``coef`` is an average.
        adaptive : bool
            Whether steps shrink when the objective does not fall.
        **own
            Fields that only the solver has.
        """
        start = self.start if np.isfinite(self.start) else value
        t = self.iteration + 1
        # weights proportional to t: the average is that of the later half, without a start
        share = 2.0 / (t + 1.0) if average else 1.0
        coef = self.coef + share * (point - self.coef)
        grown = not np.isfinite(value) or value > GROWTH_LIMIT * max(abs(start), 1.0)
        if grown or not np.isfinite(coef).all():
            return replace(self, iteration=t, objective=value, start=start, reason="diverged")
        smoothed = value if self.iteration == 0 else 0.8 * self.smoothed + 0.2 * value
        waited = 0 if smoothed < self.best else self.waited + 1
        shrink = adaptive and waited >= PATIENCE
        first = rate if np.isnan(self.first) else self.first
        moved = float(np.linalg.norm(point - self.point)) * first / max(rate, TINY)
        if rate < SHORTEST * first:
            moved = float("inf")  # of so short a step rounding leaves nothing
        return replace(
            self,
            coef=coef,
            objective=value,
            iteration=t,
            gradient_norm=float(np.linalg.norm(gradient)),
            step_size=rate,
            point=point,
            rate=self.rate / 3.0 if shrink else self.rate,
            start=start,
            smoothed=smoothed,
            best=min(self.best, smoothed),
            waited=0 if shrink else waited,
            first=first,
            moved=moved / max(float(np.linalg.norm(point)), 1.0),
            **own,
        )

    def ended(self, tol: float) -> Reason | None:
        """Why to stop: the coefficients stand still, or diverge; None to go on."""
        if self.reason:
            return Reason(self.reason, self.iteration)
        if self.moved <= tol:
            return Reason("converged", self.iteration)
        return None
