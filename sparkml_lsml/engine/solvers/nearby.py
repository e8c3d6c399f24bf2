"""Iterations over the rows near the kinks of a loss, with tangents of the loss of all others."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from sparkml_lsml.engine.objective import Anchor
from sparkml_lsml.engine.solvers.base import Array, State

NEARBY = 0.05
"""The first width, in units of the margin, whose steps move few rows from one side of the kink to
the other. At 0.1 a fifth of 1,000,000 sparse rows was not enough, and at 0.01 an eighth was."""

FIRST_ITERATIONS = 20
"""Iterations between the first two passes over all rows; more while these find few rows astray."""

LEAST_SHARE = 0.06
"""Share of the rows below which it saves nothing to take fewer: passes of 3 % were misled."""

COVERED = 1.0
"""How many widths away from the kink a row is, at least, of which a tangent is taken: at half a
width it is bent already."""

GAINED = 0.5
"""Share of what was promised that all rows have to gain."""

FEW_MISSED, MANY_MISSED = 0.01, 0.1
"""Shares of what was promised, by which all rows are above their tangents: fewer of the rows may be
taken next time, or more have to be."""

NEARER = 0.1
"""Share of the tolerance that the last width may be above the loss where most passes take few rows:
for these, a narrower one costs little."""

SHORTER = 4
"""Part of the iterations after which all rows are asked, where they were no better off."""

ROUNDING = 1e-13
"""Share of the objective below which a difference is none."""


@dataclass(frozen=True)
class Nearby(State):
    """The last point where loss and gradient of all rows are known, and the near rows of which.

    Attributes
    ----------
    coef : array of shape (size,)
        The anchor.
    objective : float
        There, of all rows, for the width that is being solved.
    width, share : float
        See `Anchor`.
    inner : state of the solver of this width at the anchor
    """

    width: float = 0.0
    share: float = 0.0
    inner: Any = None

    @property
    def anchor(self) -> Anchor:
        """What queries name."""
        return Anchor(self.coef, self.width, self.share)


@dataclass(frozen=True)
class Screening:
    """How many rows to take, and for how many iterations; the near rows, while there are any.

    Attributes
    ----------
    most : float
        Share of the rows that there is room for; 0 where all are taken in each pass.
    share : float
        Share to take next.
    limit : int
        Iterations until all rows are asked; 0 to take them all for the rest of this width.
    near : Nearby or None
    checking : bool
        Whether the pass takes all rows, where those near the last anchor have led.
    """

    most: float = 0.0
    share: float = 0.0
    limit: int = FIRST_ITERATIONS
    near: Nearby | None = None
    checking: bool = False

    def begun(
        self, anchor: Anchor, inner: Any, radius: float, width: float, iteration: int
    ) -> Self:
        """After a pass over all rows at an anchor, if those that are not near are far enough.

        Parameters
        ----------
        anchor : Anchor
        inner : state of the solver of this width there
        radius : float
            See `Objective.near`.
        width : float
        iteration : int
            Iterations that led there.
        """
        if radius < COVERED * max(width, anchor.width):
            return replace(self, near=None, limit=0)
        near = Nearby(
            anchor.coef,
            inner.objective,
            iteration,
            width=anchor.width,
            share=anchor.share,
            inner=inner,
        )
        return replace(self, near=near)

    def narrowed(self, coef: Array) -> Self:
        """For the next width, which begins at these coefficients."""
        there = self.near is not None and np.array_equal(self.near.coef, coef)
        limit = self.limit or FIRST_ITERATIONS
        return replace(self, limit=limit, near=self.near if there else None)

    def shortened(self, here: State) -> Self:
        """Fewer iterations than led to ``here``; none where few did."""
        limit = min(self.limit, here.iteration) // SHORTER
        return replace(self, limit=limit, near=self.near if limit else None)

    def judged(self, found: float, here: State) -> Self:
        """After a pass over all rows at ``here``, which the near rows promised more or less of."""
        assert self.near is not None
        promised = self.near.objective - here.objective
        missed = found - here.objective
        share, limit = self.share, self.limit
        if not missed <= MANY_MISSED * promised:
            share = min(self.most, 2.0 * share)
        elif missed <= FEW_MISSED * promised:
            share, limit = max(min(LEAST_SHARE, self.most), 0.5 * share), 2 * limit
        return replace(self, share=share, limit=limit, checking=False)

    def kept(self, found: float, here: State) -> bool:
        """Whether all rows gained enough of what near ones promised."""
        assert self.near is not None
        before = self.near.objective
        promised = before - here.objective
        return bool(found <= before - GAINED * promised + ROUNDING * abs(before))
