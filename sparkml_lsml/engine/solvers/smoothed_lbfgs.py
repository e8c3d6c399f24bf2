"""Quasi-Newton for losses with kinks: a sequence of smooth losses that approach them."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sparkml_lsml.engine.objective import Anchor, Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import TINY, Answer, Array, Query, Reason, State
from sparkml_lsml.engine.solvers.lbfgs import LBFGS, LBFGSState, Pair
from sparkml_lsml.engine.solvers.nearby import NEARBY, NEARER, Nearby, Screening
from sparkml_lsml.engine.solvers.proximal_lbfgs import ProximalLBFGS

WIDEST, RATIO = 10.0, 10.0
NARROWER = 0.1
"""The first width where the start is close to the minimum and its curvature is known."""

CLOSE = 0.001
"""The first width where the start is a solution, or nearly one."""

PRECISION = 0.03
"""A smooth loss is solved to this share of its width, which is about what it differs by."""

NARROWEST = 1e-9
"""No width below this: the loss may be zero at its minimum."""

EARLY = 1e-4
"""An objective below this share of the width is as good as zero: on to the next width."""

NARROW = 1.0
"""From this width on rows on the wrong side of a constant model are beyond its parabola."""

ENOUGH = 0.5
"""Share of the tolerance that the last width is meant to be above the loss."""

SCALES = (1.0, 1.02, 1.05, 1.01, 1.1, 0.95, 1.2, 0.9, 1.5, 0.8)
CANDIDATE_NUMBERS = 16_000_000


@dataclass(frozen=True)
class SmoothedState(State):
    """State of `SmoothedLBFGS`: that of the solver of the current width.

    Attributes
    ----------
    objective : float
        The objective of the smoothed loss, or of the loss itself where that was measured last;
        between two passes over all rows that of `Objective.near`, which is no higher.
    """

    inner: Any = None
    width: float = 0.0
    before: int = 0
    """Iterations of the widths before this one."""

    start: Array = field(default_factory=lambda: np.zeros(0))
    """Where the fit began, or would have begun without a sample: a constant model, say."""

    start_objective: float = float("nan")
    """The objective there, of the loss itself; NaN before it was measured."""

    measuring: bool = False
    """Whether the pass takes the loss itself, at the minimum of a smoothed one."""

    rivals: tuple[Array, ...] = ()
    """Where this width may begin as well, if the smoothed loss is lower there."""

    wider: float = 0.0
    """The width before this one, where this one began at its minimum if the start is that of the
    loss; 0 where it did not."""

    measured: float = float("nan")
    """The loss where it was last measured, with its penalty."""

    solved: bool = False
    """Whether this width was solved to the tolerance, or to where it shows that of the loss."""

    early: bool = False
    """Whether this width was left before its minimum: its curvature is no guide to the next."""

    last: bool = False
    """Whether this width is narrow enough."""

    reason: str = ""

    screening: Screening = field(default_factory=Screening)
    """Which rows are taken as they are."""

    @property
    def anchored(self) -> bool:
        """Whether loss and gradient are those of all rows at the coefficients."""
        near = self.screening.near
        return near is None or np.array_equal(near.coef, self.inner.coef)

    def resumed(self, objective: Objective) -> "SmoothedState":
        """The state, back where all rows were asked if near ones can be had no more."""
        near, most = self.screening.near, objective.nearby if self.screening.most else 0.0
        screening = replace(self.screening, most=most)
        if most or near is None:
            return replace(self, screening=screening)
        return self.back(replace(screening, near=None, checking=False), near)

    def back(self, screening: Screening, near: Nearby) -> "SmoothedState":
        """The state at an anchor, without the iterations that led astray."""
        return replace(
            self,
            coef=near.coef,
            objective=near.objective,
            iteration=near.iteration,
            gradient_norm=near.inner.gradient_norm,
            inner=near.inner,
            before=near.iteration,
            screening=screening,
        )

    @property
    def candidates(self) -> Array:
        """The coefficients times some factors, and the start.

        A smoothed margin ends a little short of the kink. Where the iterations ran out early, a
        factor near 1 is all that the loss itself asks for; and the fit may have begun at the
        minimum, which the first widths leave.
        """
        if self.width == 0.0 or self.iteration == 0:
            return self.coef[None, :]
        count = max(1, min(len(SCALES), CANDIDATE_NUMBERS // max(1, len(self.coef))))
        near = self.screening.near
        # where the iterations run out, nobody has asked all rows of the last ones
        known = () if near is None else (near.coef,)
        return np.vstack([np.outer(SCALES[:count], self.coef), self.start, *known])


@dataclass(frozen=True)
class SmoothedLBFGS:
    r"""L-BFGS on smooth losses that approach one with kinks, such as the hinge.

    At a minimum of such a loss many rows lie on its kinks, where L-BFGS gets stuck: gradients of
    the two sides tell it of a curvature that is not there. So each kink is replaced by a parabola
    of width 10, then 1, 0.1 and so on. Each solution is the start of the next width, and the pairs
    of steps and gradients stay. It stops when the smooth loss at its minimum is above the loss by
    less than ``tol``, relative to the objective. A smooth loss is solved as it is.

    Where the objective offers it, iterations of narrow widths take the rows near the kinks and the
    tangents of all others, as of a cutting plane. All rows are asked what they gained, and decide.

    Parameters
    ----------
    tol : float
        Relative tolerance, see `Progress`.
    inner : LBFGS or ProximalLBFGS
        What solves each smooth problem; its own ``tol`` is not used.
    close : bool
        Whether the start is near the minimum, which the wide parabolas would only lead away from.
    unit : float
        The unit of widths: 1 for margins, the spread of the labels where predictions are labels.

    References
    ----------
    Nesterov (2005), Smooth minimization of non-smooth functions, Mathematical Programming 103;
    Kelley (1960), The cutting-plane method for solving convex programs, SIAM Journal 8;
    Chapelle (2007), Training a support vector machine in the primal, Neural Computation 19.

    Examples
    --------
    >>> SmoothedLBFGS(tol=1e-8).name
    'smoothed-l-bfgs'
    """

    tol: float = 1e-6
    inner: LBFGS | ProximalLBFGS = field(default_factory=LBFGS)
    close: bool = False
    unit: float = 1.0
    name: str = "smoothed-l-bfgs"
    needs_smooth: bool = False
    estimates: bool = True

    def init(self, coef: Array, objective: Objective) -> SmoothedState:
        """The state before the first pass."""
        width = 0.0 if objective.loss.smooth else WIDEST * self.unit
        informed = isinstance(self.inner, LBFGS) and self.inner.curvature is not None
        if width and informed:
            width = NARROWER * self.unit
        if width and self.close:
            width = CLOSE * self.unit
        inner, cold = self.inner.init(coef, objective), getattr(self.inner, "cold", None)
        start = coef if cold is None else cold
        # to bring near rows to the driver takes as long as the few passes that they would spare
        share = 0.0 if informed else objective.nearby
        near = Screening(share, share)
        return SmoothedState(coef, inner=inner, width=width, start=start, screening=near)

    def query(self, state: SmoothedState, penalty: ElasticNet) -> Query:
        """Value and gradient of the smoothed loss, at its minimum of the loss itself."""
        if state.measuring:
            near = state.screening.near
            if np.isnan(state.start_objective):
                return Query(state.coef, others=(state.start,))
            return Query(state.coef, anchor=None if near is None else near.anchor)
        query = self.inner.query(state.inner, penalty)
        anchor = self._anchor(state, penalty)
        if state.screening.checking:
            query = Query(state.inner.coef)
        others = query.others + state.rivals
        return replace(query, smoothing=state.width, others=others, anchor=anchor)

    def _anchor(self, state: SmoothedState, penalty: ElasticNet) -> Anchor | None:
        """Where rows are told near from far, if that serves."""
        screening, inner = state.screening, state.inner
        new = Anchor(inner.coef, state.width, screening.share)
        if screening.checking:
            return new
        if screening.near is not None:
            return screening.near.anchor
        begins = inner.here is None and screening.limit > 0 and screening.most > 0.0
        narrow = 0.0 < state.width <= NEARBY * self.unit and not (state.wider or state.rivals)
        smooth = isinstance(inner, LBFGSState) and not np.any(penalty.l1())
        return new if begins and narrow and smooth else None

    def step(self, state: SmoothedState, answer: Answer, penalty: ElasticNet) -> SmoothedState:
        """A step for the current width; at its minimum, on to the next."""
        if state.measuring:
            return self._next_width(state, answer, penalty)
        if state.screening.checking:
            return self._checked(state, answer, penalty)
        anchor = self._anchor(state, penalty) if state.inner.here is None else None
        inner = self.inner.step(state.inner, answer, penalty)
        if anchor is not None and inner.here is not None:
            screening = state.screening.begun(
                anchor, inner, answer.radius, state.width, state.iteration
            )
            state = replace(state, screening=screening)
        if inner.here is None:
            # back at the cold start, where the sample's curvature is not known
            width = WIDEST * self.unit if state.width else 0.0
            return replace(state, coef=inner.coef, inner=inner, width=width)
        if state.rivals:
            [rival], state = state.rivals, replace(state, rivals=())
            if answer.others[0] + penalty.value(rival) < inner.objective:
                pairs = _shortened(inner.pairs, 1.0 / RATIO)
                return replace(state, coef=rival, inner=_again(inner, rival, pairs))
        return self._after(_moved(state, inner))

    def _checked(self, state: SmoothedState, answer: Answer, penalty: ElasticNet) -> SmoothedState:
        """Go on from where near rows led, if all rows are better off there, or back to the anchor.

        The near rows' loss has the gradient of all rows at the anchor, and is convex: so the way
        there leads down for all rows as well, and fewer iterations end where they gain.
        """
        here, near = state.inner, state.screening.near
        assert near is not None
        found = answer.value + penalty.value(here.coef)
        screening = state.screening.judged(found, here)
        if not state.screening.kept(found, here):
            return state.back(screening.shortened(here), near)
        # the last line of the progress is what near rows told
        progress = here.progress
        told = replace(progress, recent=progress.recent[:-1], count=progress.count - 1)
        begun = replace(_again(here, here.coef, here.pairs), progress=told)
        inner = self.inner.step(begun, answer, penalty)
        anchor = Anchor(here.coef, state.width, state.screening.share)
        screening = screening.begun(anchor, inner, answer.radius, state.width, state.iteration)
        state = replace(state, before=state.iteration, screening=screening)
        return self._after(_moved(state, inner))

    def _after(self, state: SmoothedState) -> SmoothedState:
        """At the minimum for the current width, on to the next."""
        inner = state.inner
        between = inner.search.trials == 0
        if state.wider and between and inner.objective < state.start_objective:
            # so is the loss, which is no higher: the start is not its minimum
            refuted = replace(state, start_objective=float("inf"))
            return self._narrowed(refuted, state.wider / RATIO, state.coef, ())
        # the minimum of a wide smoothing is only where the next one starts, and at the narrowest a
        # sample's curvature is none. Iterations over near rows cost little, and spare those of the
        # next width
        roughly = not (state.last or state.screening.near is not None)
        informed = inner.informed if state.width == 0.0 else roughly
        reason = replace(inner, informed=informed).ended(self._tolerance(state))
        # rows that can be separated have a minimum near zero, where a relative tolerance asks for
        # ever more
        early = state.width > 0.0 and not state.last and inner.objective <= EARLY * state.width
        early = early and between
        if not state.anchored:
            due = between and inner.iteration >= state.screening.limit
            check = due or early or reason is not None
            return replace(state, screening=replace(state.screening, checking=check))
        if reason is not None and reason.name == "diverged":
            return replace(state, reason=reason.name)
        if reason is not None and (state.width == 0.0 or state.last):
            lower = state.measured - inner.objective > self.tol * abs(inner.objective)
            if state.last and lower and reason.converged:
                # no row may have been near a kink where the loss was measured
                return replace(state, measuring=True, solved=True)
            return replace(state, reason=_told(reason, state.width))
        if reason is None and not early:
            return state
        sure = state.wider > 0.0 and reason is not None and reason.converged
        return replace(state, measuring=True, early=early and reason is None, solved=sure)

    def _tolerance(self, state: SmoothedState) -> float:
        """What the problem of this width is solved to."""
        if state.width == 0.0 or state.last:
            return self.tol
        size = max(abs(float(state.inner.objective)), 1e-300)
        if state.wider:
            # by how much it is above the start is what shows that the start is the minimum
            return PRECISION * abs(float(state.inner.objective) - state.start_objective) / size
        return min(PRECISION, max(self.tol, PRECISION * state.width / size))

    def _next_width(
        self, state: SmoothedState, answer: Answer, penalty: ElasticNet
    ) -> SmoothedState:
        """Stay where the smooth loss is close to the loss itself, and solve it to the tolerance.

        Its minimum is as far from that of the loss, about, as it is from the loss here: above it
        for our own losses, and above or below for those of users.
        """
        inner, width = state.inner, state.width
        loss = answer.value + penalty.value(state.coef)
        if answer.others:
            first = answer.others[0] + penalty.value(state.start)
            state = replace(state, start_objective=first)
        apart = abs(inner.objective - loss)
        state = replace(state, measuring=False, objective=loss, measured=loss)
        # one more width takes a pass or two where near rows serve
        tol = self.tol if state.screening.near is None else NEARER * self.tol
        if apart <= tol * abs(loss) or width <= NARROWEST * self.unit:
            # no direction led down from where this width began: that is the minimum
            ended = inner.reason == "precision" and inner.iteration == 0
            if ended or state.solved:
                return replace(state, reason="converged")
            return replace(state, last=True)
        pairs = () if state.early else inner.pairs
        if not state.start_objective <= loss:
            return self._narrowed(state, width / RATIO, state.coef, pairs)
        # The start, such as a constant model, may be the minimum. Then those of the smooth losses
        # approach it in proportion to their width.
        if width > NARROW * self.unit:
            rival = state.start + (state.coef - state.start) / RATIO
            return replace(self._narrowed(state, width / RATIO, state.coef, pairs), rivals=(rival,))
        # and so does what they are above it: on to the width that is narrow enough
        above = max(abs(inner.objective - state.start_objective), TINY)
        share = ENOUGH * self.tol * abs(state.start_objective) / above
        share = min(1.0 / RATIO, max(share, NARROWEST * self.unit / width))
        pairs = _shortened(pairs, share)
        coef = state.start + share * (state.coef - state.start)
        return replace(self._narrowed(state, share * width, coef, pairs), wider=width)

    def _narrowed(
        self, state: SmoothedState, width: float, coef: Array, pairs: tuple[Pair, ...]
    ) -> SmoothedState:
        return replace(
            state,
            screening=state.screening.narrowed(coef),
            inner=_again(state.inner, coef, pairs),
            width=width,
            before=state.iteration,
            wider=0.0,
            solved=False,
            last=False,
        )

    def terminate(self, state: SmoothedState) -> Reason | None:
        """Stop at the minimum of the narrowest width."""
        return Reason(state.reason, state.iteration) if state.reason else None


def _moved(state: SmoothedState, inner: Any) -> SmoothedState:
    """The state with that of the solver of its width."""
    return replace(
        state,
        coef=inner.coef,
        objective=inner.objective,
        iteration=state.before + inner.iteration,
        gradient_norm=inner.gradient_norm,
        step_size=inner.step_size,
        inner=inner,
    )


def _again(inner: Any, coef: Array, pairs: tuple[Pair, ...]) -> Any:
    """The state of the solver of the next width, or of another start of this one."""
    begun = type(inner)(coef, pairs=pairs)
    if not isinstance(inner, LBFGSState):
        return begun
    # the cold start is where the first width may begin, and no other
    return replace(begun, curved=inner.curved, compared=True)


def _told(reason: Reason, width: float) -> str:
    """Why the fit ends, where the smooth problem of the last width does."""
    if width == 0.0:
        return reason.name
    return "converged" if reason.converged else "stalled"


def _shortened(pairs: tuple[Pair, ...], share: float) -> tuple[Pair, ...]:
    """Pairs of a smooth loss that has the same slopes at this share of the distance."""
    return tuple((share * step, change, share * product) for step, change, product in pairs)
