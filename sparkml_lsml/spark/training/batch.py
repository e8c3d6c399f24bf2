"""Models that share their passes: which ones can, what they have in common, and their minima."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.objective import BlockObjective
from sparkml_lsml.engine.passes.near import near_memory
from sparkml_lsml.engine.passes.reweighting import HeldOut, Poisson, Reweighting, Validation
from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.engine.predictors import Predictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.engine.solvers import NormalEquations, Solution, minimize
from sparkml_lsml.engine.solvers.base import Callback
from sparkml_lsml.engine.solvers.early_stopping import EarlyStopping
from sparkml_lsml.engine.solvers.warm_start import Sample, sample_of, starts_warm, warm_start
from sparkml_lsml.losses import Loss
from sparkml_lsml.spark.folders.checkpoint import Checkpoint
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from sparkml_lsml.spark.rows.validating import VALIDATED
from sparkml_lsml.spark.training.member import Member

Array = npt.NDArray[np.float64]

BATCH_BYTES = 512 * 2**20
"""Memory of the driver for the vectors of solvers that share their passes."""

VECTORS = 30
"""Vectors of coefficients that a model of a batch holds: twice the memory of L-BFGS, and more."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Models that share their passes, and what they have in common.

    Attributes
    ----------
    numbers : tuple of int
        Of the models among all of the training.
    members : tuple of Member
    loss : Loss
    predictor : Predictor
    direct : bool
        Whether the normal equations give the minima, in one pass over the same rows.
    initial : model or None
        The model that the user has them start from.
    reweighting : Reweighting or None
        Which rows each of them sees, where not all see all.
    classes : tuple of int, or None
        The class that each tells from the rest, where labels are classes.
    """

    numbers: tuple[int, ...]
    members: tuple[Member, ...]
    loss: Loss
    predictor: Predictor
    direct: bool
    initial: Any
    reweighting: Reweighting | None
    classes: tuple[int, ...] | None

    @staticmethod
    def of(members: Sequence[Member], numbers: Sequence[int] | None = None) -> "Batch":
        """The batch of members with equal keys, see `batch_key`."""
        first = members[0]  # the others agree with it in all that is asked of it
        return Batch(
            tuple(range(len(members)) if numbers is None else numbers),
            tuple(members),
            first.problem.loss,
            first.predictor,
            first.problem.solver == "normal",
            first.settings.initial,
            _reweighting(members),
            None if first.positive < 0 else tuple(member.positive for member in members),
        )

    def objective(
        self,
        blocks: ResidentBlocks,
        units: Sequence[Standardization],
        name: str,
        *,
        validated: bool = False,
    ) -> BlockObjective:
        """What they minimise, each in its units.

        ``validated`` is whether the blocks hold rows of a validation, which none of them sees.
        """
        return BlockObjective(
            blocks,
            self.loss,
            self.predictor,
            tuple(units),
            name,
            reweighting=Validation(VALIDATED) if validated else self.reweighting,
            classes=self.classes,
            # several models have near rows of their own, and passes in common
            nearest=None if blocks.local or len(units) > 1 else near_memory(blocks.nbytes),
        )

    @property
    def labels(self) -> dict[float, int]:
        """Rows of each class, as the first model sees them; with `classes` each its own."""
        if self.classes is None:
            return {label: rows for label, (rows, _) in self.members[0].report.labels.items()}
        return {float(m.positive): m.report.labels.get(1.0, (0, 0.0))[0] for m in self.members}

    @property
    def label_mean(self) -> float:
        """Mean label of the rows of a batch that is solved directly."""
        moments = self.members[0].report.label_moments
        return 0.0 if moments is None else float(moments.mean()[0])


def batch_key(member: Member) -> Hashable:
    """What models have to agree in for sharing their passes."""
    problem, settings = member.problem, member.settings
    direct = None
    if problem.solver == "normal":
        # one matrix of products serves all: of the same rows, less the same means
        direct = member.held_out, member.replicate, settings.standardization
    return (
        repr(problem.loss),
        member.predictor,
        direct,
        # they start from one model, or each from its own cold start
        id(settings.initial),
        # labels are classes, or what they are
        member.positive >= 0,
        # the rows of replicates follow from it; None where they are those of folds, or all
        settings.seed if member.replicate >= 0 else None,
    )


def batches(members: Sequence[Member]) -> list[Batch]:
    """The batches of these models, in the order of their first ones.

    They are split where the vectors of their solvers would take more than `BATCH_BYTES`.
    """
    found: dict[Hashable, list[list[int]]] = {}
    for number, member in enumerate(members):
        room = max(1, BATCH_BYTES // (8 * VECTORS * member.predictor.layout.size))
        group = found.setdefault(batch_key(member), [[]])
        if len(group[-1]) >= room:
            group.append([])
        group[-1].append(number)
    parts = [part for group in found.values() for part in group]
    return [Batch.of([members[number] for number in part], part) for part in parts]


@dataclass(frozen=True, eq=False)
class Minima:
    """What the models of a batch came to.

    Attributes
    ----------
    coefficients : list of arrays of shape (size,)
        For the stored features.
    solutions : list of Solution
        In the units of each solver.
    passes : int
        With those of earlier processes that a checkpoint tells of.
    notes : tuple of str
        On where they started.
    """

    coefficients: list[Array]
    solutions: list[Solution]
    passes: int
    notes: tuple[str, ...] = ()


def minimise(
    batch: Batch,
    blocks: ResidentBlocks,
    name: str,
    checkpoint: Checkpoint | None = None,
    *,
    validated: bool = False,
    callback: Callback | None = None,
) -> Minima:
    """Minimise the objectives of a batch.

    Parameters
    ----------
    batch : Batch
    blocks : ResidentBlocks
    name : str
        What passes are called in Spark's user interface.
    checkpoint : Checkpoint, optional
        Where the batch keeps how far it is, and may have come to already.
    validated : bool
        Whether models stop by the loss over the rows of a validation.
    callback : callable, optional
        Told of each iteration, with the number of its model in the batch.
    """
    members = batch.members
    units, penalties = zip(*(member.units() for member in members), strict=True)
    objective = batch.objective(blocks, units, name, validated=validated)
    passes = 0
    notes: tuple[str, ...] = ()
    if batch.direct:
        solutions = _directly(batch, objective, penalties, callback)
        if batch.initial is not None:
            notes = (f"solved directly: the initial model {batch.initial.uid} was not needed",)
    else:
        solvers = [member.solver(one) for member, one in zip(members, units, strict=True)]
        start = np.stack([member.start() for member in members])
        limits = [member.settings.maxIter for member in members]
        resume = (
            None if checkpoint is None else checkpoint.load(solvers, batch.predictor.layout.size)
        )
        sample = Sample()
        if resume is not None:
            notes = (f"resumed at iteration {resume.iteration} from a checkpoint",)
            passes = resume.passes
        elif batch.initial is not None:
            # a sample would lead away from a start that has seen more rows than it
            notes = (f"started from the model {batch.initial.uid}",)
        # stopping early means to stay near the start, which a sample's solution is not
        elif (
            not (blocks.local or validated)
            and min(limits) > 0
            and all(map(starts_warm, solvers, penalties))
        ):
            sample = sample_of(objective, blocks.nbytes, len(members), batch.labels)
        if sample.rows:
            start, warm = warm_start(objective, penalties, solvers, start, sample, limits)
            if any(one is not other for one, other in zip(warm, solvers, strict=True)):
                notes += (f"started from the solution for a sample of some {sample.rows:,} rows",)
            solvers = warm
        rules = [
            EarlyStopping(member.settings.patience, member.settings.validationTol)
            for member in members
        ]
        solutions = minimize(
            objective,
            penalties,
            solvers,
            start,
            max_iter=limits,
            resume=resume,
            keep=checkpoint,
            callbacks=() if callback is None else (callback,),
            early_stopping=rules if validated else None,
        )
    coef = [
        member.stored(one, solution.coef)
        for member, one, solution in zip(members, units, solutions, strict=True)
    ]
    return Minima(coef, solutions, passes + objective.passes, notes)


def _directly(
    batch: Batch,
    objective: BlockObjective,
    penalties: Sequence[ElasticNet],
    callback: Callback | None,
) -> list[Solution]:
    """The solutions of the normal equations."""
    solver = NormalEquations(tol=min(member.settings.tol for member in batch.members))
    solutions = solver.solve(objective, penalties, batch.label_mean)
    if callback is not None:
        for number, solution in enumerate(solutions):
            callback(solution.history[-1], number)
    return solutions


def _reweighting(members: Sequence[Member]) -> Reweighting | None:
    if any(member.held_out >= 0 for member in members):
        return HeldOut(tuple(member.held_out for member in members))
    if any(member.replicate >= 0 for member in members):
        seed = members[0].settings.seed
        return Poisson(seed, tuple(member.replicate for member in members))
    return None
