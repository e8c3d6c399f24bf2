"""Mini-batches on every partition at once, with an optimiser: how networks are trained."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from sparkml_lsml.engine.kernels.local_steps import OptimiserSteps, Round
from sparkml_lsml.engine.kernels.optimisers import Adam, Optimiser, Sgd
from sparkml_lsml.engine.kernels.schedules import Schedule, Shape
from sparkml_lsml.engine.objective import Objective
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import TINY, Answer, Array, Query, Reason, State
from sparkml_lsml.engine.solvers.steps import GROWTH_LIMIT

HALVINGS = 6
"""Times that a round is tried again, each with half the step."""


@dataclass(frozen=True)
class LocalStepsState(State):
    """State of `LocalSteps`.

    Attributes
    ----------
    velocity : array of shape (size,)
        What the last rounds moved the average by, with the outer momentum.
    rounds : int
        Rounds that are complete.
    part, parts : int
        Rounds of this epoch that are complete, and rounds an epoch; 1 where a round takes whole
        epochs.
    partitions : int
    floor : float
        Share of the step at which the cosine ends.
    number : str
        The type of the coefficients that are sent.
    buffers : int
        Numbers at the end that are averaged, and have no momentum.
    share : float
        Of the step, that is left of it after rounds that came to nothing.
    halvings : int
        Tries of the next round that came to nothing.
    loss : float
        Sum of the losses of the rounds of this epoch so far.
    start : float
        Loss of the first mini-batches.
    least : float
        The objective that later ones are compared with.
    waited : int
        Epochs in a row that were too near to it.
    detail : str
        What was wrong with the last round; '' if nothing was.
    """

    velocity: Array = field(default_factory=lambda: np.zeros(0))
    rounds: int = 0
    part: int = 0
    parts: int = 1
    partitions: int = 1
    floor: float = 0.0
    number: str = "float64"
    buffers: int = 0
    share: float = 1.0
    halvings: int = 0
    loss: float = 0.0
    start: float = float("inf")
    least: float = float("inf")
    waited: int = 0
    detail: str = ""


@dataclass(frozen=True)
class LocalSteps:
    r"""Local steps: every partition trains for an epoch, and the models are averaged by weight.

    An iteration is an epoch. A model must not get worse because a cluster grew: p partitions take p
    times fewer steps each, so that steps are scaled by p (SGD) or by its root (Adam, whose steps
    are of a length that gradients do not decide), and an outer momentum keeps a share
    :math:`\mu` of what the rounds before have moved the average by,

    .. math:: v \leftarrow \mu v + (\bar{w} - w), \qquad w \leftarrow w + v.

    And the ``cosine`` of a network ends at the share :math:`1 - 1 / p` of the step instead of 0,
    since averages take away the noise that shorter steps would. A single partition takes none of
    it. What an optimiser remembers begins anew in each round, which does better than averaging it;
    one vector travels each way.

    A round in which a partition meets a loss or coefficients that are not finite, or which ends
    with a loss a hundred times that of the first, is not averaged in. It is done again with half
    the step, and what is left of the step stays so. After six halvings the model has diverged.

    The objective of the history is the mean loss of the mini-batches of the epoch, each before its
    step, and the penalty at its end. The last model is evaluated over all rows.

    Parameters
    ----------
    optimizer : {"adam", "adamw", "sgd", "momentum", "nesterov"}
        ``adamw`` takes the L2 penalty as a decay of the weights beside the step.
    step_size : float
        The longest step, in units of the scale of the labels.
    schedule : {"cosine", "constant", "invscaling"}
        See `Schedule`.
    power : float
    warmup : float
        Share of ``max_epochs`` over which the step grows.
    max_epochs : int
        The whole training: where ``cosine`` ends at 0.
    batch_size : int
        Rows a step.
    local_epochs : int
        Epochs a round.
    local_steps : int
        Where positive, mini-batches a round, about: a part of an epoch. With one local epoch.
    momentum : float
        Of ``momentum`` and ``nesterov``.
    beta1, beta2, epsilon : float
        Of ``adam`` and ``adamw``.
    max_grad_norm : float
        Longer gradients are shortened to this length.
    outer_momentum : float
        :math:`\mu`, in [0, 1).
    tol : float
        Stop when the objective has not fallen by this much, relative to it, for ``patience``
        epochs in a row; with ``cosine``, when it has neither fallen nor risen by it.
    patience : int
    seed : int

    References
    ----------
    Stich (2019), Local SGD Converges Fast and Communicates Little, ICLR; Douillard et al. (2023),
    DiLoCo: Distributed Low-Communication Training of Language Models (outer momentum); Krizhevsky
    (2014), One weird trick for parallelizing convolutional neural networks (the root).

    Examples
    --------
    >>> import numpy as np
    >>> from sparkml_lsml.engine.blocks import Block
    >>> from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
    >>> from sparkml_lsml.engine.penalties import L2
    >>> from sparkml_lsml.engine.predictors import DensePredictor, Standardization
    >>> from sparkml_lsml.engine.predictors.initialise import start
    >>> from sparkml_lsml.engine.solvers import minimize
    >>> from sparkml_lsml.losses import Logistic
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> exclusive_or = Block(X, np.array([0.0, 1.0, 1.0, 0.0]))
    >>> network = DensePredictor((2, 16, 1))
    >>> units = Standardization.identity(network.layout)
    >>> objective = BlockObjective(LocalBlocks([exclusive_or]), Logistic(), network, units)
    >>> solver = LocalSteps(step_size=0.05, batch_size=2, max_epochs=100)
    >>> first = start(network, seed=1)[None, :]
    >>> [found] = minimize(objective, L2(0.0), solver, first, max_iter=100)
    >>> margins = network.scoring(found.coef)(X)[:, 0]
    >>> (margins > 0.0).astype(int).tolist(), found.reason.name
    ([0, 1, 1, 0], 'completed')
    """

    optimizer: Literal["adam", "adamw", "sgd", "momentum", "nesterov"] = "adam"
    step_size: float = 2e-3
    schedule: Shape = "cosine"
    power: float = 0.5
    warmup: float = 0.0
    max_epochs: int = 100
    batch_size: int = 128
    local_epochs: int = 1
    local_steps: int = 0
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_grad_norm: float = float("inf")
    outer_momentum: float = 0.5
    tol: float = 1e-4
    patience: int = 10
    seed: int = 0
    name: str = "local-steps"
    needs_smooth: bool = False
    estimates: bool = True

    def init(self, coef: Array, objective: Objective) -> LocalStepsState:
        """The state before the first pass."""
        if self.local_steps and self.local_epochs != 1:
            raise ValueError(
                f"found local_steps={self.local_steps} and local_epochs={self.local_epochs}: a "
                "round takes a part of an epoch, or several: expected one of them"
            )
        batches = objective.rows_per_block / self.batch_size
        parts = max(1, round(batches / self.local_steps)) if self.local_steps else 1
        return LocalStepsState(
            coef,
            velocity=np.zeros_like(coef),
            parts=parts,
            partitions=objective.partitions,
            # steps need not fall so far where averages take away noise as well, and what noise is
            # left does a network good; it keeps a convex objective from its minimum
            floor=0.0 if objective.predictor.convex else 1.0 - 1.0 / objective.partitions,
            number=objective.predictor.dtype.name,
            buffers=objective.predictor.layout.buffers,
        )

    def query(self, state: LocalStepsState, penalty: ElasticNet) -> Query:
        """A round from the current average."""
        settings = OptimiserSteps(
            optimiser=self._optimiser,
            schedule=self._schedule(state),
            begins=state.iteration + state.part / state.parts,
            epochs=self._epochs(state),
            part=state.part,
            parts=state.parts,
            batch_size=self.batch_size,
            max_norm=self.max_grad_norm,
        )
        # what blocks would round to anyway travels rounded
        coef = state.coef.astype(state.number)
        return Query(coef, local=settings, seed=(self.seed, state.iteration))

    def step(self, state: LocalStepsState, answer: Answer, penalty: ElasticNet) -> LocalStepsState:
        """Move to the average of the blocks; or back, to try again with half the step."""
        found: Round = answer.result
        wrong = self._wrong(state, found)
        if wrong:
            halvings = state.halvings + 1
            return replace(state, share=state.share / 2.0, halvings=halvings, detail=wrong)
        momentum = self.outer_momentum if state.partitions > 1 else 0.0
        moved = found.coef - state.coef
        velocity = momentum * state.velocity + moved
        if state.buffers:
            velocity[-state.buffers :] = moved[-state.buffers :]
        coef = state.coef + velocity
        start = found.first if state.rounds == 0 else state.start
        part, loss = state.part + 1, state.loss + found.loss
        after = replace(
            state,
            coef=coef,
            velocity=velocity,
            rounds=state.rounds + 1,
            part=part,
            halvings=0,
            loss=loss,
            start=start,
            detail="",
        )
        if part < state.parts:
            return after
        objective = loss / part + penalty.value(coef)
        least, waited = self._compared(state, objective)
        return replace(
            after,
            iteration=state.iteration + self._epochs(state),
            objective=objective,
            step_size=self._schedule(state).at(state.iteration),
            part=0,
            loss=0.0,
            least=least,
            waited=waited,
        )

    def terminate(self, state: LocalStepsState) -> Reason | None:
        """Stop at the end of the schedule, on a standstill, or on divergence."""
        if state.halvings > HALVINGS:
            return Reason("diverged", state.iteration + 1, state.detail)
        if state.waited >= self.patience:
            return Reason("settled", state.iteration)
        if self.schedule == "cosine" and state.iteration >= self.max_epochs:
            return Reason("completed", state.iteration)
        return None

    @property
    def _optimiser(self) -> Optimiser:
        if self.optimizer in ("adam", "adamw"):
            return Adam(self.beta1, self.beta2, self.epsilon, self.optimizer == "adamw")
        plain = self.optimizer == "sgd"
        return Sgd(0.0 if plain else self.momentum, self.optimizer == "nesterov")

    def _schedule(self, state: LocalStepsState) -> Schedule:
        step = self.step_size * self._optimiser.scale(state.partitions) * state.share
        return Schedule(step, self.schedule, self.power, self.max_epochs, state.floor, self.warmup)

    def _epochs(self, state: LocalStepsState) -> int:
        """Epochs of the next round: no more than are left."""
        return max(1, min(self.local_epochs, self.max_epochs - state.iteration))

    def _compared(self, state: LocalStepsState, objective: float) -> tuple[float, int]:
        """What the next objective is compared with, and epochs that did not differ enough."""
        fallen, enough = state.least - objective, self.tol * max(abs(objective), TINY)
        if self.schedule != "cosine":
            return min(state.least, objective), 0 if fallen > enough else state.waited + 1
        # shorter steps are to come, which take away the noise that keeps an objective up
        return (objective, 0) if abs(fallen) > enough else (state.least, state.waited + 1)

    def _wrong(self, state: LocalStepsState, found: Round) -> str:
        """What is wrong with a round; '' if nothing is."""
        number = state.rounds + 1
        if found.failures:
            others = len(found.failures) - 1
            more = f", and in {others} more of {state.partitions} partitions" if others else ""
            return f"round {number}: {found.failures[0]}{more}"
        start = found.first if state.rounds == 0 else state.start
        limit = GROWTH_LIMIT * max(abs(start), 1.0)
        if not found.loss <= limit:
            return f"round {number}: the loss has grown to {found.loss:g}"
        if not np.isfinite(found.coef).all():
            return f"round {number}: averages of coefficients are not finite"
        return ""
