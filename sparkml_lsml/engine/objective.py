"""The objective that solvers minimise: the mean loss over all rows, wherever they lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.kernels.local import LocalModel, LocalUpdate
from sparkml_lsml.engine.passes import (
    Blocks,
    CurvaturePass,
    CurvatureSum,
    GradientPass,
    GramPass,
    GramSum,
    LocalBlocks,
    LocalUpdatePass,
    LossSum,
    Pass,
    RowsSum,
    SamplePass,
    UpdateSum,
)
from sparkml_lsml.engine.passes.near import Anchor, NearMemory, serves
from sparkml_lsml.engine.passes.reweighting import Reweighting, Validation
from sparkml_lsml.engine.passes.validation import ValidationPass, ValidationSum
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.predictors import Layout, LinearPredictor, Predictor
from sparkml_lsml.engine.predictors.standardization import Standardization, stored_coefficients
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses.base import KinkedLoss, Loss
from sparkml_lsml.losses.one_vs_rest import OneVsRestLoss

Array = npt.NDArray[np.float64]

__all__ = ["Anchor", "BlockObjective", "LocalBlocks", "Objective"]

ORDERED_BYTES = 256 * 2**20
"""Sums of a round of a network that are merged in the order of the partitions, all together."""

DRAWS = 100
"""Samples that are drawn, at most, until one has rows: an empty one says nothing of the loss."""


class Objective(Protocol):
    """A mean loss over rows as a function of the coefficients of a batch of models.

    Every method is ONE pass over the data. Penalties are not part of it: they live on the driver.
    """

    loss: Loss
    predictor: Predictor
    passes: int

    @property
    def layout(self) -> Layout:
        """That of the predictor."""
        ...

    @property
    def linear(self) -> bool:
        """Whether raw predictions are linear in the features and in the coefficients."""
        ...

    @property
    def standardization(self) -> Standardization:
        """The units of the only model, or of the first."""
        ...

    def of(self, model: int) -> "Objective":
        """The objective of one model of the batch."""
        ...

    @property
    def rows_per_block(self) -> float:
        """Rows of a partition, on average."""
        ...

    @property
    def sent(self) -> int:
        """Bytes that passes have sent between the driver and executors so far."""
        ...

    def value_and_gradient(
        self,
        coef: Array,
        fraction: float = 1.0,
        seed: tuple[int, ...] = (),
        smoothing: Array | None = None,
        models: Sequence[int] | None = None,
    ) -> tuple[Array, Array]:
        """Mean loss and its gradient at ``coef``.

        Parameters
        ----------
        coef : array of shape (models, size)
        fraction : float
            Below 1 over a sample of the rows that follows from ``seed``.
        seed : tuple of int
        smoothing : array of shape (models,), optional
            Widths over which the kinks of a `KinkedLoss` are smoothed.
        models : sequence of int, optional
            The models of the batch that ``coef`` belongs to; all of them by default.

        Returns
        -------
        value : array of shape (models,)
        gradient : array of shape (models, size)
        """
        ...

    @property
    def nearby(self) -> float:
        """Largest share of the rows that `near` can take as they are; 0 where it does not serve."""
        ...

    def near(self, coef: Array, width: float, anchor: Anchor) -> tuple[float, Array, float]:
        """A loss below that of all rows, see `NearRows`: a pass for an anchor, and none after it.

        Parameters
        ----------
        coef : array of shape (size,)
            Of the only model.
        width : float
            Over which the kinks are smoothed; 0 for the loss itself.
        anchor : Anchor

        Returns
        -------
        value : float
        gradient : array of shape (size,)
        radius : float
            Rows nearer to a kink are all taken as they are. From half the width, at least, value
            and gradient are those of all rows at the anchor, and no higher elsewhere.
        """
        ...

    def local_update(
        self,
        coef: Array,
        penalties: Sequence[ElasticNet],
        updates: Sequence[LocalUpdate],
        seed: tuple[int, ...],
        models: Sequence[int] | None = None,
    ) -> tuple[Array, list[Any]]:
        """A round of local updates that starts at ``coef`` in every block.

        Returns
        -------
        value : array of shape (models,)
            Mean loss at ``coef``; NaN where the update does not need it.
        results : list
            What `LocalUpdate.finish` made of the results of all blocks.
        """
        ...

    def step_unit(self, batch: int = 1) -> float:
        """What a step size of 1 means, see `Predictor.step_unit`."""
        ...

    @property
    def partitions(self) -> int:
        """Number of blocks, each of which runs a local update of its own."""
        ...

    def validation_loss(self, coef: Array, models: Sequence[int] | None = None) -> Array:
        """Mean loss at ``coef`` over the rows that are held out of the training of all models.

        Shapes as in `value_and_gradient`. Only those rows are read.
        """
        ...


@dataclass(eq=False)
class BlockObjective:
    """The mean loss over blocks, in the standardised coefficients that solvers work with.

    Parameters
    ----------
    blocks : Blocks
        `LocalBlocks`, or the resident blocks of a cluster: the maths is the same.
    loss : Loss
    predictor : Predictor
    units : Standardization, or one for each model
    name : str
        What jobs are called in Spark's user interface.
    reweighting : Reweighting, optional
        Weights that differ between the models.
    classes : tuple of int, optional
        For each model the class that it tells from the rest; the loss is then a binary one, and
        labels are classes.
    nearest : NearMemory, optional
        What answers `near`, for one model.
    """

    blocks: Blocks
    loss: Loss
    predictor: Predictor
    units: Standardization | Sequence[Standardization]
    name: str = "fit"
    passes: int = 0
    reweighting: Reweighting | None = None
    classes: tuple[int, ...] | None = None
    nearest: NearMemory | None = None

    @property
    def layout(self) -> Layout:
        """See `Objective.layout`."""
        return self.predictor.layout

    @property
    def linear(self) -> bool:
        """See `Objective.linear`."""
        return isinstance(self.predictor, LinearPredictor)

    @property
    def standardization(self) -> Standardization:
        """See `Objective.standardization`."""
        return self.units if isinstance(self.units, Standardization) else self.units[0]

    def of(self, model: int) -> "BlockObjective":
        """See `Objective.of`."""
        [units] = self._units(1, [model])
        classes = None if self.classes is None else (self.classes[model],)
        return replace(self, units=units, reweighting=self._weights(1, [model]), classes=classes)

    @property
    def sent(self) -> int:
        """See `Objective.sent`."""
        return self.blocks.sent

    @property
    def rows_per_block(self) -> float:
        """See `Objective.rows_per_block`."""
        return self.blocks.rows / self.partitions

    def value_and_gradient(
        self,
        coef: Array,
        fraction: float = 1.0,
        seed: tuple[int, ...] = (),
        smoothing: Array | None = None,
        models: Sequence[int] | None = None,
    ) -> tuple[Array, Array]:
        """See `Objective.value_and_gradient`."""
        units = self._units(len(coef), models)
        stored = stored_coefficients(units, coef)
        loss = self._loss(len(coef), models, smoothing)
        weights = self._weights(len(coef), models)
        for attempt in range(DRAWS):
            drawn = (attempt, *seed) if attempt else seed
            task = GradientPass(loss, self.predictor, stored, fraction, drawn, weights)
            total: LossSum = self._run(task)
            weight = np.asarray(total.weight)
            if fraction == 1.0 or (weight > 0.0).all():
                break
        else:
            raise ParamError(
                f"a sample of {fraction:g} of {self.blocks.rows:,} rows had no row in {DRAWS} "
                "draws: expected a miniBatchFraction that takes some rows of each partition"
            )
        assert total.value is not None
        assert total.gradient is not None
        # a model that sees no row stays where it is
        weight = np.where(weight > 0.0, weight, np.inf)
        gradient = total.whole_gradient(self.layout.size) / weight[:, None]
        rows = [one.gradient(row[None, :])[0] for one, row in zip(units, gradient, strict=True)]
        return total.value / weight, np.stack(rows)

    @property
    def nearby(self) -> float:
        """See `Objective.nearby`."""
        alone = self.reweighting is None and self.classes is None
        if self.nearest is None or not alone or not serves(self.loss, self.predictor):
            return 0.0
        # at a minimum as many rows as there are coefficients may lie on the kinks
        room = self.nearest.most * self.blocks.rows
        return self.nearest.most if room >= self.layout.size else 0.0

    def near(self, coef: Array, width: float, anchor: Anchor) -> tuple[float, Array, float]:
        """See `Objective.near`."""
        assert self.nearest is not None
        rows = self.nearest.rows(self._run, self.loss, self.predictor, self.standardization, anchor)
        return *rows.value_and_gradient(coef, width), rows.radius

    def local_update(
        self,
        coef: Array,
        penalties: Sequence[ElasticNet],
        updates: Sequence[LocalUpdate],
        seed: tuple[int, ...],
        models: Sequence[int] | None = None,
    ) -> tuple[Array, list[Any]]:
        """See `Objective.local_update`."""
        assert self.classes is None
        numbers = range(len(coef)) if models is None else models
        units = self._units(len(coef), models)
        asked = tuple(
            LocalModel(self.loss, self.predictor, one, penalty, number)
            for one, penalty, number in zip(units, penalties, numbers, strict=True)
        )
        weights = self._weights(len(coef), models)
        task = LocalUpdatePass(asked, tuple(updates), coef, seed, weights)
        # where training is not convex, last bits grow from round to round
        total: UpdateSum = self._run(task, *(() if self.predictor.convex else (ORDERED_BYTES,)))
        needed = np.array([update.needs_loss for update in updates])
        value = np.where(needed, total.value / total.weight, np.nan)
        results = [
            update.finish(part, one, float(weight))
            for update, part, one, weight in zip(
                updates, total.parts, units, total.weight, strict=True
            )
        ]
        return value, results

    def step_unit(self, batch: int = 1) -> float:
        """See `Objective.step_unit`."""
        return self.predictor.step_unit(self.loss.curvature, self.standardization, batch)

    @property
    def partitions(self) -> int:
        """See `Objective.partitions`."""
        return max(1, self.blocks.partitions)

    def validation_loss(self, coef: Array, models: Sequence[int] | None = None) -> Array:
        """See `Objective.validation_loss`."""
        assert isinstance(self.reweighting, Validation)
        stored = stored_coefficients(self._units(len(coef), models), coef)
        loss = self._loss(len(coef), models, None)
        task = ValidationPass(loss, self.predictor, stored, self.reweighting.fold)
        total: ValidationSum = self._run(task)
        return total.value / total.weight

    def _units(self, number: int, models: Sequence[int] | None) -> list[Standardization]:
        if isinstance(self.units, Standardization):
            return [self.units] * number
        return [self.units[k] for k in (range(number) if models is None else models)]

    def _loss(self, number: int, models: Sequence[int] | None, smoothing: Array | None) -> Loss:
        loss = self.loss
        if smoothing is not None:
            assert isinstance(loss, KinkedLoss)
            loss = loss.smoothed(smoothing)
        if self.classes is None:
            return loss
        asking = range(number) if models is None else models
        return OneVsRestLoss(loss, tuple(self.classes[k] for k in asking))

    def sample(self, rows: float, shares: Mapping[float, float] | None = None) -> "BlockObjective":
        """The same objective over about so many of the rows, in this process.

        Rows of the labels in ``shares`` are drawn in these fractions instead, and weigh less.
        """
        fraction = min(1.0, rows / max(1, self.blocks.rows))
        task = SamplePass(fraction, shares=tuple((shares or {}).items()))
        found: RowsSum = self._run(task)
        return replace(self, blocks=LocalBlocks([found.block()]), passes=0, nearest=None)

    def curvature(self, coef: Array, smoothing: float, model: int) -> Array:
        """Mean second derivatives of the loss of a model; for few rows in this process.

        Parameters
        ----------
        coef : array of shape (size,)
        smoothing : float
            Width over which the kinks of a `KinkedLoss` are smoothed.
        model : int
        """
        kinked = isinstance(self.loss, KinkedLoss)
        loss = self._loss(1, [model], np.array([smoothing]) if kinked else None)
        [units] = self._units(1, [model])
        weights = self._weights(1, [model])
        assert isinstance(self.predictor, LinearPredictor)
        task = CurvaturePass(loss, self.predictor, units, coef, weights)
        total: CurvatureSum = self._run(task)
        return total.products / total.weight

    def gram(self, label_shift: float) -> GramSum:
        """Sums of the normal equations of the first model, in its standardised features."""
        units, weights = self.standardization, self._weights(1, [0])
        result: GramSum = self._run(GramPass(units.shift, units.scale, label_shift, weights))
        return result

    def _weights(self, number: int, models: Sequence[int] | None) -> Reweighting | None:
        if self.reweighting is None:
            return None
        return self.reweighting.of(range(number) if models is None else models)

    def _run(self, task: Pass, *small: int) -> Any:
        self.passes += 1
        return self.blocks.run(task, f"{self.name} pass {self.passes}", *small)
