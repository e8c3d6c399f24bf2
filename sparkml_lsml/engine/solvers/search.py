"""The search along a direction that the solvers share: what to try next, and when to give up."""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from sparkml_lsml.engine.solvers.base import Array, Progress, Reason, Smooth, State, norm

DECREASE, CURVATURE = 1e-4, 0.9
"""Shares of the slope: by which a step has to lower the objective, and above which the slope where
it ends shows that it was too short."""

MAX_TRIALS = 60
"""Steps along a direction, at most. Each is a tenth to a half of the one before, so that the last
would be lost in rounding wherever the direction leads down."""

FEW_TRIALS = 10
"""Steps along a direction that a memory or a sample proposed, which may be what is wrong."""

NEAREST, FARTHEST = 2.0, 1000.0
"""How far the next step goes, in lengths of one that was too short."""

MEASURABLE = 1e-10
"""Share of the objective above which a change is no rounding."""

EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Search:
    r"""Where the search along a direction stands.

    Steps that did not lower the objective enough are too long, steps behind which it still falls as
    fast are too short, and what is tried lies between the longest short and the shortest long one:
    at the minimum of the parabola through what is known of them. While no step was too long, the
    secant of two slopes says how far to go on. A search that is never told a slope only ever
    shortens its step.

    Attributes
    ----------
    value : float
        The objective where the search began.
    slope : float
        What a step of 1 promises, to first order: negative.
    trial : float
        The step to try, in lengths of the direction.
    trials : int
        Steps that were tried.
    short, short_value, short_slope : float
        The longest step that was too short, and objective and slope behind it; first the start.
    long : float
        The shortest step that was too long.
    last : bool
        Whether the step that is tried is the longest short one, which has to do.
    promised, bend : float
        What the shortest long step promised, while that was more than rounding, and what the
        objective differed by from there, in squares of it.
    doubtful : bool
        Whether ever shorter steps missed what they promised by as much, relative to it: a slope
        that is right is missed by its square.

    References
    ----------
    Nocedal and Wright (2006), Numerical Optimization, 3.5; Lewis and Overton (2013), Nonsmooth
    optimization via quasi-Newton methods, section 4 (the weak Wolfe conditions, which also make
    sense where a derivative jumps).

    Examples
    --------
    >>> search = Search.along(4.0, slope=-8.0, trial=4.0)  # of (2 - 2t)^2
    >>> search.lower_enough(36.0)
    False
    >>> search.too_long(36.0).trial
    1.0
    """

    value: float = float("inf")
    slope: float = 0.0
    trial: float = 1.0
    trials: int = 0
    short: float = 0.0
    short_value: float = float("inf")
    short_slope: float = 0.0
    long: float = float("inf")
    last: bool = False
    promised: float = float("inf")
    bend: float = float("inf")
    doubtful: bool = False

    @classmethod
    def along(cls, value: float, slope: float, trial: float = 1.0) -> Self:
        """A search that begins."""
        return cls(value, slope, trial, short_value=value, short_slope=slope)

    def lower_enough(self, there: float, promised: float | None = None) -> bool:
        """Whether the trial lowered the objective by a share of what was promised.

        ``promised`` is the change to first order, where it is not proportional to the step.
        """
        promised = self.trial * self.slope if promised is None else promised
        return bool(np.isfinite(there)) and there <= self.value + DECREASE * promised

    def steep(self, slope: float) -> bool:
        """Whether the objective falls behind the trial nearly as it did at the start."""
        some = self.last or self.trials + 1 >= FEW_TRIALS  # then any step that leads down will do
        return slope < CURVATURE * self.slope and not some

    def too_long(self, there: float) -> Self:
        """The search after a trial that did not lower the objective enough."""
        width = self.trial - self.short
        share = 0.1
        if np.isfinite(there):
            bend = there - self.short_value - self.short_slope * width
            best = -0.5 * self.short_slope * width / bend if bend > 0.0 else 0.5
            share = min(max(best, 0.1), 0.5)
        known = replace(self._compared(there), long=self.trial)
        if self.short > 0.0 and (self.trials + 1 >= FEW_TRIALS or width <= EPSILON * self.trial):
            return replace(known, last=True)._try(self.short)
        return known._try(self.short + share * width)

    def _compared(self, there: float) -> Self:
        """Compare by how much trials missed what they promised, where that can be seen."""
        promised = -self.slope * self.trial
        if not np.isfinite(there) or promised <= MEASURABLE * abs(self.value):
            return self
        bend = (there - self.value + promised) / promised**2
        doubtful = bend > self.bend * np.sqrt(self.promised / promised)
        return replace(self, promised=promised, bend=bend, doubtful=bool(doubtful))

    def halved(self, there: float) -> Self:
        """The search after a trial that was too long for a bound, wherever the minimum lies."""
        return replace(self._compared(there), long=self.trial)._try(0.5 * self.trial)

    def too_short(self, there: float, slope: float) -> Self:
        """The search after a trial behind which the objective still falls."""
        known = replace(self, short=self.trial, short_value=there, short_slope=slope)
        if np.isfinite(self.long):
            return known._try(0.5 * (self.trial + self.long))
        bent = slope - self.short_slope
        reach = -slope * (self.trial - self.short) / bent if bent > 0.0 else np.inf
        ahead = self.trial + max(reach, 0.0)
        return known._try(min(max(ahead, NEAREST * self.trial), FARTHEST * self.trial))

    def _try(self, trial: float) -> Self:
        return replace(self, trial=trial, trials=self.trials + 1)

    @property
    def leads_down(self) -> bool:
        """Whether the direction promises a lower objective at all."""
        return self.slope < 0.0

    @property
    def lost(self) -> bool:
        """Whether what the trial promises is lost in the rounding of the objective.

        Then nothing was found along a direction that leads down, at any length that could show.
        """
        return abs(self.slope) * self.trial <= EPSILON * abs(self.value)

    def ended(self, trials: int) -> bool:
        """Whether to give up, after so many trials at the most."""
        return not self.last and (self.lost or self.trials >= trials)

    @property
    def reason(self) -> str:
        """Why a search failed that has ended."""
        return "precision" if self.lost and not self.doubtful else "line_search"


@dataclass(frozen=True)
class SearchState(State):
    """What the states of solvers that search along directions have in common.

    Attributes
    ----------
    here : Smooth or None
        Objective and gradient where the search began; None before the first pass.
    search : Search
    decrement : float or None
        What the solver's model of the objective promises to gain, None where it has none.
    informed : bool
        Whether that model knows the second derivatives in all directions.
    reason : str
        Why the search failed, '' while it goes on.
    progress : Progress
    """

    here: Smooth | None = None
    search: Search = field(default_factory=Search)
    decrement: float | None = None
    informed: bool = False
    reason: str = ""
    progress: Progress = field(default_factory=Progress)

    def searched(self, search: Search, proposed: bool) -> Self | None:
        """The state after a trial that was not accepted, which may end the fit.

        None where a memory or a sample ``proposed`` the direction, and was given trials enough: it
        may be what is wrong.
        """
        if not search.ended(FEW_TRIALS if proposed else MAX_TRIALS):
            return replace(self, search=search)
        return None if proposed else replace(self, search=search, reason=search.reason)

    def ended(self, tol: float) -> Reason | None:
        """Why to stop: at the tolerance, or where no step lowers the objective; None to go on."""
        if self.here is None:
            return None
        if not np.isfinite(self.objective):
            return Reason("diverged", self.iteration)
        reason = ""
        if self.search.trials == 0:
            reason = self.progress.verdict(
                tol, self.objective, self.gradient_norm, self.decrement, self.informed
            )
        reason = reason or self.reason
        return Reason(reason, self.iteration) if reason else None


def first_step(here: Smooth) -> float:
    """A first step along the negative gradient, which says nothing of the right length.

    It moves by 1 at most, and by no more than the gradient is of the objective: neither depends on
    the unit of the objective, which is that of squared labels for one.
    """
    length = norm(here.subgradient)
    return 1.0 / max(length, abs(here.value), 1e-300)


def below_bound(here: Smooth, there: Smooth, move: Array, step: float) -> bool:
    r"""Whether a proximal step of this length was short enough for what it moved by.

    Then the smooth part of the objective is below its bound :math:`f + g^T m + |m|^2 / (2 t)`, up
    to rounding.

    References
    ----------
    Beck and Teboulle (2009), A fast iterative shrinkage-thresholding algorithm for linear inverse
    problems, section 4 (backtracking).
    """
    bound = here.smooth + float(here.gradient @ move) + 0.5 / step * float(move @ move)
    return bool(np.isfinite(there.value)) and there.smooth <= bound + 1e-12 * abs(bound)
