"""The protocol that a solver fills, and what solvers share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas

from sparkml_lsml.engine.kernels.local import LocalUpdate
from sparkml_lsml.engine.objective import Anchor, Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.advice import ADVICE, STEPS_DIVERGED

Array = npt.NDArray[np.float64]

TINY = float(np.finfo(np.float64).tiny)

CLEARLY = 0.3
"""Share of the tolerance that estimates of what is left to gain have to stay below."""

BLINDLY = 0.003
"""The same for the decrement of a model that was learned on the way: it does not know directions in
which the objective is flat before it has gone there. With a third of the tolerance, 8 of 43
problems ended above it, up to 80 times; with this share none did."""

LONGEST_WINDOW = 40
"""Iterations at most from which an estimate goes on; the slower the progress, the more it takes."""


@dataclass(frozen=True)
class Reason:
    """Why a solver stopped.

    Attributes
    ----------
    name, detail : str
        One of the keys of `ADVICE`, and what was found, where that says more.
    iteration : int
    """

    name: str
    iteration: int
    detail: str = ""

    @property
    def converged(self) -> bool:
        """Whether the result is a minimum to within the tolerance.

        True only where a gradient, a duality gap or a decrement says so, where the arithmetic shows
        no lower objective, and of direct solutions.
        """
        return self.name in ("converged", "precision", "direct")

    @property
    def fell_short(self) -> bool:
        """Whether the solver meant to reach the minimum, and did not show that it has."""
        return self.name in ("max_iter", "line_search", "stalled", "diverged")

    def __str__(self) -> str:
        found = f"iteration {self.iteration}{self.detail and f' ({self.detail})'}"
        lost = self.name == "diverged" and self.detail
        return f"{self.name} at {found}: {STEPS_DIVERGED if lost else ADVICE[self.name]}"


@dataclass(frozen=True)
class Query:
    """What the next pass is to compute for one model.

    Attributes
    ----------
    coef : array of shape (size,)
    fraction : float
        Share of the rows that the value and gradient are taken over.
    local : LocalUpdate or None
        A round of local updates from ``coef`` instead of a gradient.
    seed : tuple of int
    smoothing : float
        Width over which the kinks of the loss are smoothed; 0 for the loss itself.
    others : tuple of arrays of shape (size,)
        Further points whose mean loss is wanted as well, with the same smoothing.
    anchor : Anchor or None
        Take the loss of `Objective.near`; without ``others``.
    """

    coef: Array
    fraction: float = 1.0
    local: LocalUpdate | None = None
    seed: tuple[int, ...] = ()
    smoothing: float = 0.0
    others: tuple[Array, ...] = ()
    anchor: Anchor | None = None


@dataclass(frozen=True)
class Answer:
    """What the pass computed.

    Attributes
    ----------
    value : float
        Mean loss at the query's coefficients; NaN after a local update that does not need it.
    result : array of shape (size,)
        Its gradient there; or what a local update returned, see its ``finish``.
    others : tuple of float
        Mean loss at the query's other points.
    radius : float
        See `Objective.near`; infinite where all rows are taken as they are.
    """

    value: float
    result: Any
    others: tuple[float, ...] = ()
    radius: float = float("inf")


@dataclass(frozen=True)
class State:
    """Where a solver stands; the states of all solvers extend it.

    Attributes
    ----------
    coef : array of shape (size,)
        The best coefficients so far.
    objective : float
        Objective at ``coef``, penalty included; infinite before the first pass.
    iteration : int
        Iterations that are complete; fewer than before where a solver takes some back.
    gradient_norm : float
        Euclidean norm of the gradient (with an L1 part, of the smallest subgradient) at ``coef``.
    step_size : float
        Step of the last iteration.
    gap : float
        How far the objective is from its minimum at most, where the solver knows: the duality gap.
    """

    coef: Array
    objective: float = float("inf")
    iteration: int = 0
    gradient_norm: float = float("nan")
    step_size: float = float("nan")
    gap: float = float("nan")

    @property
    def candidates(self) -> Array:
        """Coefficients that may be the solution, shape (candidates, size): see `Solver`."""
        return self.coef[None, :]

    def resumed(self, objective: Objective) -> Self:
        """The state as a later process goes on from it; some of it may have died with the first."""
        return self


@dataclass(frozen=True)
class Iteration:
    """One line of the history.

    Attributes
    ----------
    iteration : int
    objective : float
    gradient_norm : float
    step_size : float
    passes : int
        Passes over the data since the start.
    seconds : float
        Seconds since the start.
    gap : float
        The duality gap, NaN for a solver that has none.
    sent : int
        Bytes sent between the driver and executors since the start.
    validation : float
        Mean loss, without penalty, over the validation rows; NaN where there are none.
    """

    iteration: int
    objective: float
    gradient_norm: float
    step_size: float
    passes: int
    seconds: float
    gap: float = float("nan")
    sent: int = 0
    validation: float = float("nan")


@dataclass(frozen=True)
class Best:
    """The iteration with the least validation loss so far.

    Attributes
    ----------
    coef : array of shape (size,)
    objective : float
    iteration : int
    loss : float
        Over the validation rows.
    waited : int
        Iterations in a row, up to the last, that did not improve enough.
    """

    coef: Array
    objective: float
    iteration: int
    loss: float
    waited: int = 0


@dataclass(frozen=True, eq=False)
class Precision:
    """What standard errors of least squares follow from.

    Attributes
    ----------
    residual_sum : float
        Weighted sum of the squared residuals.
    inverse : array of shape (features,) or, with an intercept, (features + 1,)
        Diagonal of the inverse of the summed second moments, penalty included, of the features as
        they are and, last, the constant of the intercept.
    """

    residual_sum: float
    inverse: Array


@dataclass(frozen=True)
class Solution:
    """What `minimize` returns for one model.

    Attributes
    ----------
    coef : array of shape (size,)
        In the solver's units.
    objective : float
    history : tuple of Iteration
    reason : Reason
    precision : Precision or None
        Of a direct solution that is the only one.
    best : Best or None
        The iteration that ``coef`` is of, where it was chosen by the validation loss.
    """

    coef: Array
    objective: float
    history: tuple[Iteration, ...]
    reason: Reason
    precision: Precision | None = None
    best: Best | None = None


@dataclass(frozen=True)
class Run:
    """Where a minimisation of a batch of models stands between two passes.

    Attributes
    ----------
    solvers, states : tuples, one a model
    histories : tuple of tuples of Iteration
    reasons : tuple of Reason or None
        Why models stopped; None for those that go on.
    passes, sent : int
        Passes over the data so far, and bytes they sent.
    seconds : float
    bests : tuple of Best or None
        One a model where models are validated, otherwise empty.
    """

    solvers: tuple[Any, ...]
    states: tuple[Any, ...]
    histories: tuple[tuple[Iteration, ...], ...]
    reasons: tuple[Reason | None, ...]
    passes: int
    sent: int
    seconds: float
    bests: tuple[Best | None, ...] = ()

    @property
    def iteration(self) -> int:
        """Iterations of the model that has most."""
        return max(int(state.iteration) for state in self.states)


class Solver(Protocol):
    """An optimiser: frozen settings; all that changes is in the state it is handed.

    A solver is asked what the next pass is to compute (`query`) and told the answer (`step`). It
    never runs a pass itself: that is what lets many models share one.

    Attributes
    ----------
    name
        How the Param ``solver`` calls it.
    needs_smooth : bool
        Whether the loss must have a continuous derivative.
    estimates : bool
        Whether the objective in its states is only an estimate, so that at the end the
        candidates of the last state are evaluated over all rows, and the best is the solution.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def needs_smooth(self) -> bool:
        """See the class."""
        ...

    @property
    def estimates(self) -> bool:
        """See the class."""
        ...

    def init(self, coef: Array, objective: Objective) -> Any:
        """The state before the first pass."""
        ...

    def query(self, state: Any, penalty: ElasticNet) -> Query:
        """What the next pass is to compute."""
        ...

    def step(self, state: Any, answer: Answer, penalty: ElasticNet) -> Any:
        """The state after the pass."""
        ...

    def terminate(self, state: Any) -> Reason | None:
        """Why to stop here; None to go on."""
        ...


Callback = Callable[[Iteration, int], bool | None]
"""Called with each line of the history and the number of its model; True stops that model."""

Keeper = Callable[[Run], None]
"""Called after each pass that ended an iteration of a model, with where the minimisation stands."""


@dataclass(frozen=True)
class Smooth:
    """Objective and gradient at a point, penalty included.

    Attributes
    ----------
    value : float
        The whole objective.
    smooth : float
        The objective without its L1 part.
    gradient : array of shape (size,)
        Gradient of the smooth part.
    subgradient : array of shape (size,)
        The subgradient of the whole objective that has the smallest norm: zero at a minimum.
    """

    value: float
    smooth: float
    gradient: Array
    subgradient: Array

    @staticmethod
    def at(coef: Array, answer: Answer, penalty: ElasticNet) -> "Smooth":
        """Add the penalty to the answer of a gradient pass at ``coef``."""
        extra, slope = penalty.smooth_value_and_gradient(coef)
        smooth, gradient = answer.value + extra, answer.result + slope
        l1 = np.asarray(penalty.l1())
        if not l1.any():
            return Smooth(smooth, smooth, gradient, gradient)
        value = smooth + float(np.sum(l1 * np.abs(coef)))
        at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0.0)
        subgradient = np.where(coef != 0.0, gradient + l1 * np.sign(coef), at_zero)
        return Smooth(value, smooth, gradient, subgradient)


def norm(vector: Array) -> float:
    """Euclidean norm, which underflows only where its value does: LAPACK's, unlike NumPy's."""
    return float(blas.dnrm2(vector))


@dataclass(frozen=True)
class Progress:
    r"""Whether iterations still pay: the rule for stopping that the solvers share.

    A solver has *converged* when the norm of its (sub)gradient is at most ``tol`` times the
    objective, or when what further iterations would gain is clearly less than that. Two estimates
    of the gain have to agree. One is what the solver's model of the objective promises: for a
    quasi-Newton method half of the squared Newton decrement, :math:`-g^T d / 2`. That is too little
    where the model has not seen all directions yet, so that much less is asked of one that was
    learned from the steps alone. The other goes on from the last third of the
    iterations as a geometric series: if the objective fell by A in the first half of these and by B
    in the second, it is :math:`B^2 / (A - B)`.

    It has *stalled* when the last ``window`` iterations together moved the objective by no more
    than a fiftieth of ``tol``, relative to it, and nothing shows a minimum.

    Attributes
    ----------
    window : int
        Longer for a method whose objective may rise for a while.
    recent : tuple of float
        Objectives of the last iterations.
    count : int
        Objectives that were recorded.

    References
    ----------
    Boyd and Vandenberghe (2004), Convex Optimization, 9.5.1 (the Newton decrement).

    Examples
    --------
    >>> progress = Progress()
    >>> for objective in (1.5, 1.05, 1.005, 1.0005, 1.00005):
    ...     progress = progress.record(objective)
    >>> progress.verdict(1e-3, 1.00005, gradient_norm=0.1)
    ''
    >>> progress.verdict(1e-3, 1.00005, gradient_norm=0.1, decrement=1e-6)
    'converged'
    """

    window: int = 4
    recent: tuple[float, ...] = ()
    count: int = 0

    def record(self, objective: float) -> Self:
        """Progress after one more iteration."""
        kept = max(self.window, LONGEST_WINDOW) + 1
        return replace(self, recent=(*self.recent, objective)[-kept:], count=self.count + 1)

    def verdict(
        self,
        tol: float,
        objective: float,
        gradient_norm: float,
        decrement: float | None = None,
        informed: bool = False,
    ) -> str:
        """Why to stop, '' to go on.

        Parameters
        ----------
        tol : float
        objective, gradient_norm : float
        decrement : float, optional
            What the solver's model promises to gain; None where it has no model.
        informed : bool
            Whether that model knows the second derivatives in all directions.
        """
        size = tol * max(abs(objective), TINY)
        if gradient_norm <= size:
            return "converged"
        gain, fell = self._gain(self.window if decrement is None else 2)
        if decrement is None:
            # the series stands alone, and a fast start would make it too hopeful
            shown = max(gain, fell) <= CLEARLY * size
        else:
            share = CLEARLY if informed else BLINDLY
            shown = gain <= CLEARLY * size and decrement <= share * size
        if shown:
            return "converged"
        last = self.recent[-(self.window + 1) :]
        # the whole range: an objective that swings or rises has not come to rest
        if len(last) > self.window and max(last) - min(last) <= 0.02 * size:
            left = gain if decrement is None else decrement
            return "converged" if left <= CLEARLY * size else "stalled"
        return ""

    def _gain(self, least: int) -> tuple[float, float]:
        """What further iterations would gain, to judge by the last of at least so many.

        And what the later half of these gained. Both are infinite where they do not tell.
        """
        iterations = max(least, min(self.count // 3, LONGEST_WINDOW))
        last = self.recent[-(iterations + 1) :]
        if len(last) <= iterations:
            return float("inf"), float("inf")
        middle = last[iterations // 2]
        before, behind = last[0] - middle, middle - last[-1]
        if not before > behind > 0.0:
            return float("inf"), float("inf")
        return behind**2 / (before - behind), behind
