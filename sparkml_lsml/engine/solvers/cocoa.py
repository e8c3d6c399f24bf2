"""CoCoA+: dual coordinate ascent on every partition at once."""

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sparkml_lsml.engine.kernels.dual_round import SdcaRound, SdcaTotals
from sparkml_lsml.engine.kernels.sdca import DUAL_LOSSES, SdcaEpochs
from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Answer, Array, Query, Reason, State

log = logging.getLogger("sparkml_lsml")

MULTIPLIER_STEP = 0.1
"""Step of the method of multipliers, in squared lengths of a row."""


@dataclass(frozen=True)
class CocoaState(State):
    """State of `CoCoA`.

    Attributes
    ----------
    point : array of shape (size,)
        Where the duals put the coefficients; ``coef`` is the best point so far.
    sums : array of shape (2, size)
        What the duals of the classes 0 and 1 add up to.
    multiplier : float
        The intercept less what the last round adds to it.
    dual_files : dict
        Where the duals of each partition are, and ``version`` their number.
    bound : float
        Largest dual objective so far: the minimum is no lower.
    total : float
        Sum of the weights of the rows, 0 before the first pass.
    multiplier_step : float
        How far the intercept moves with a dual; 0 without an intercept.
    recovering : bool
        Duals were lost: the next pass adds up those that are left.
    """

    point: Array = field(default_factory=lambda: np.zeros(0))
    sums: Array = field(default_factory=lambda: np.zeros((2, 0)))
    multiplier: float = 0.0
    dual_files: dict[int, Any] = field(default_factory=dict, metadata={"lasting": False})
    version: int = 0
    bound: float = float("-inf")
    total: float = 0.0
    multiplier_step: float = 0.0
    recovering: bool = False
    partitions: int = 1
    features: int = 0

    def resumed(self, objective: Objective) -> "CocoaState":
        """See `State.resumed`: the duals are gone, what they have proved of the minimum is not."""
        lost = bool(self.total)
        return replace(self, dual_files={}, recovering=lost, partitions=objective.partitions)


@dataclass(frozen=True)
class CoCoA:
    r"""Dual coordinate ascent with the duals of each partition kept beside its rows (CoCoA+).

    For the hinge, its square and the logistic loss with an L2 penalty. Each round every
    partition runs epochs of dual coordinate ascent over its own rows against a model of the others'
    that is pessimistic by the number of partitions, and what the partitions changed is added up. A
    round is one pass, and sends one vector each way.

    The coefficients follow from the duals, and the dual objective is a lower bound of the
    minimum: the solver stops when the best objective is above the best bound by no more than
    ``tol``, relative to it. An intercept is free of any penalty, which asks of the duals that both
    classes add up to the same; the multiplier of that condition is the intercept (the method of
    multipliers). For the bound, the duals of the heavier class are scaled down until it holds.

    Parameters
    ----------
    epochs : int
        Visits of each row in a round.
    tol : float
        Relative duality gap to stop at.
    seed : int
        Of the order of the rows.

    References
    ----------
    Jaggi et al. (2014), Communication-efficient distributed dual coordinate ascent; Ma et al.
    (2015), Adding vs. averaging in distributed primal-dual optimization; Shalev-Shwartz and Zhang
    (2013), Stochastic dual coordinate ascent methods for regularized loss minimization.

    Examples
    --------
    >>> CoCoA(epochs=2).name
    'cocoa'
    """

    epochs: int = 1
    tol: float = 1e-6
    seed: int = 0
    name: str = "cocoa"
    needs_smooth: bool = False
    estimates: bool = False

    def init(self, coef: Array, objective: Objective) -> CocoaState:
        """The state before the first pass: all duals are 0.

        Raises
        ------
        ValueError
            If the dual of the loss is not known.
        """
        layout = objective.layout
        if not objective.linear:
            raise ValueError(
                "solver 'cocoa' takes linear predictors, whose duals are known, found "
                f"{type(objective.predictor).__name__}: use solver='auto'"
            )
        if not isinstance(objective.loss, DUAL_LOSSES):
            known = ", ".join(f"'{loss.name}'" for loss in DUAL_LOSSES)
            raise ValueError(
                f"solver 'cocoa' takes the losses {known}, found '{objective.loss.name}': use "
                "solver='auto'"
            )
        point = coef.copy()
        point[layout.weights] = 0.0
        return CocoaState(
            point,
            point=point,
            sums=np.zeros((2, layout.size)),
            multiplier=float(point[layout.intercepts].sum()),
            partitions=objective.partitions,
            features=layout.features,
        )

    def query(self, state: CocoaState, penalty: ElasticNet) -> Query:
        """A round of epochs; first only the loss, and after a loss of duals only their sums.

        Raises
        ------
        ValueError
            If the penalty is not an L2 penalty alone.
        """
        if not state.total and (np.any(penalty.l1()) or not np.any(penalty.l2())):
            raise ValueError(
                "solver 'cocoa' takes an L2 penalty alone, found an L1 penalty or none: use "
                "solver='auto'"
            )
        epochs = self.epochs if state.total and not state.recovering else 0
        settings = SdcaEpochs(epochs, float(state.partitions), state.multiplier_step, state.total)
        wanted = SdcaRound(settings, state.version, state.dual_files, change=not state.recovering)
        return Query(state.point, seed=(self.seed, state.version), local=wanted)

    def step(self, state: CocoaState, answer: Answer, penalty: ElasticNet) -> CocoaState:
        """Judge the point that the round started from, and go on from where its duals lead."""
        totals: SdcaTotals = answer.result
        if totals.lost:
            log.warning(
                "cocoa: the dual variables of partitions %s were lost: they start from 0 again",
                sorted(totals.lost),
            )
            left = {k: v for k, v in state.dual_files.items() if k not in totals.lost}
            return replace(state, dual_files=left, recovering=True)
        if state.recovering:
            state = replace(state, sums=totals.sums, recovering=False)
            return self._move(state, totals, penalty)
        value = answer.value + penalty.value(state.point)
        if not state.total:
            strengths = self._strengths(state, penalty)
            length = float(np.sum(1.0 / strengths[strengths > 0.0]))
            has_intercept = len(state.point) > state.features
            step = MULTIPLIER_STEP * length if has_intercept else 0.0
            return replace(
                state,
                objective=value,
                bound=0.0,
                gap=value,
                total=totals.weight,
                multiplier_step=step,
            )
        if value < state.objective:
            state = replace(state, coef=state.point, objective=value)
        state = replace(
            state,
            iteration=state.version,
            version=state.version + 1,
            sums=state.sums + totals.sums,
            dual_files=totals.dual_files,
        )
        return self._move(state, totals, penalty)

    def terminate(self, state: CocoaState) -> Reason | None:
        """Stop when the duality gap is small enough."""
        if not np.isfinite(state.objective):
            return Reason("diverged", state.iteration) if state.total else None
        if state.gap <= self.tol * abs(state.objective):
            return Reason("converged", state.iteration)
        return None

    def _strengths(self, state: CocoaState, penalty: ElasticNet) -> Array:
        full = np.broadcast_to(np.asarray(penalty.l2(), dtype=np.float64), (len(state.point),))
        return full[: state.features]

    def _move(self, state: CocoaState, totals: SdcaTotals, penalty: ElasticNet) -> CocoaState:
        """The point that the duals lead to, and the bound that they prove."""
        strengths = self._strengths(state, penalty)
        inverse = np.divide(1.0, strengths, out=np.zeros_like(strengths), where=strengths > 0.0)
        shares = np.ones(2)
        point, multiplier = state.point.copy(), state.multiplier
        if state.multiplier_step:
            # what the duals of each class add up to, which is the same for both at the end
            sums = np.abs(state.sums[:, state.features :]).sum(axis=1)
            excess = state.multiplier_step * float(sums[1] - sums[0])
            multiplier += excess
            point[state.features :] = multiplier + excess
            shares = np.divide(sums.min(), sums, out=np.ones(2), where=sums > 0.0)
        point[: state.features] = inverse * state.sums[:, : state.features].sum(axis=0)
        feasible = shares @ state.sums[:, : state.features]
        bound = float(shares @ totals.gains) - 0.5 * float(feasible @ (inverse * feasible))
        bound = max(state.bound, bound)
        return replace(
            state,
            point=point,
            multiplier=multiplier,
            bound=bound,
            gap=state.objective - bound,
            step_size=1.0,
        )
