"""A round of local updates: each block starts from the common coefficients, for itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.kernels.local import LocalModel, LocalUpdate
from sparkml_lsml.engine.kernels.value_gradient import loss_sums
from sparkml_lsml.engine.passes.reweighting import Reweighting, reweighted
from sparkml_lsml.engine.predictors.standardization import stored_coefficients

Array = npt.NDArray[np.float64]


@dataclass
class UpdateSum:
    """Sums of a round.

    Attributes
    ----------
    value, weight : arrays of shape (models,)
        Losses where the round started, of the models that need them, and weights of the rows.
    parts : list, one a model
        What updates returned.
    """

    value: Array
    weight: Array
    parts: list[Any]

    def merge(self, other: "UpdateSum") -> "UpdateSum":
        """Add another sum, in place."""
        self.value = self.value + other.value
        self.weight = self.weight + other.weight
        self.parts = [one.merge(two) for one, two in zip(self.parts, other.parts, strict=True)]
        return self


@dataclass(frozen=True, eq=False)
class LocalUpdatePass:
    """A round of local updates of a batch of models.

    Parameters
    ----------
    models : tuple of LocalModel
        Of one loss and predictor.
    updates : tuple of LocalUpdate, one a model
    coef : array of shape (models, size)
        In the solver's units.
    seed : tuple of int
    reweighting : Reweighting, optional
    """

    models: tuple[LocalModel, ...]
    updates: tuple[LocalUpdate, ...]
    coef: Array
    seed: tuple[int, ...]
    reweighting: Reweighting | None = None

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        vectors = sum(update.vectors for update in self.updates)
        return 8 * int(self.coef.shape[1]) * vectors

    def __call__(self, block: Block, partition: int) -> UpdateSum:
        """Sums of one block."""
        weights, everybody = self.reweighting, range(len(self.models))
        if weights is None or weights.shared:
            return self._of(everybody, reweighted(block, partition, weights), partition)
        # models see rows of their own
        found = [
            self._of([k], reweighted(block, partition, weights.of([k])), partition)
            for k in everybody
        ]
        return UpdateSum(
            np.concatenate([each.value for each in found]),
            np.concatenate([each.weight for each in found]),
            [part for each in found for part in each.parts],
        )

    def _of(self, numbers: Sequence[int], block: Block, partition: int) -> UpdateSum:
        models = [self.models[k] for k in numbers]
        updates, coef = [self.updates[k] for k in numbers], self.coef[numbers]
        value, weight = np.zeros(len(models)), np.full(len(models), block.weight_sum)
        asking = [k for k, update in enumerate(updates) if update.needs_loss]
        if asking:
            first = models[0]
            stored = stored_coefficients([models[k].units for k in asking], coef[asking])
            sums = loss_sums(block, first.loss, first.predictor, stored)
            value[asking], weight[asking] = sums
        seed = (*self.seed, partition)
        parts = [
            update.run(block, partition, model, start, seed)
            for update, model, start in zip(updates, models, coef, strict=True)
        ]
        return UpdateSum(value, weight, parts)
