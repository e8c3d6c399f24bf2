"""Losses of users in a fit: how they travel to executors, and the pass that tries them there."""

import copyreg
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.passes import Pass
from sparkml_lsml.errors import DataError, ParamError, PersistenceError, shown
from sparkml_lsml.losses import registry
from sparkml_lsml.losses.custom import CustomKinkedLoss, CustomLoss
from sparkml_lsml.losses.verification import faults, not_finite
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.spark.training import by_value

TRIED_LABELS = 32
"""Different labels of a block that a loss is tried on: the least, the largest, some in between."""

CHUNK_ROWS = 65_536


# ---------------------------------------------------- how a loss travels


def _reduce(loss: CustomLoss) -> tuple[Any, ...]:
    fields = (loss.name, loss.smooth, loss.curvature)
    return by_value.reduced(type(loss), loss.inner, fields, f"loss '{loss.name}'")


for _kind in (CustomLoss, CustomKinkedLoss):
    copyreg.pickle(_kind, _reduce)


# ---------------------------------------------------- the pass that tries a loss


@dataclass
class Findings:
    """What was found of a loss in some blocks; merges.

    Attributes
    ----------
    faults : list of str
    rows : int
        Rows whose loss is not finite where the prediction is 0.
    label : float
        The label of one of them.
    """

    faults: list[str] = field(default_factory=list)
    rows: int = 0
    label: float = 0.0

    def merge(self, other: "Findings") -> "Findings":
        """Add what was found in other blocks, in place."""
        self.label = self.label if self.rows else other.label
        self.rows += other.rows
        self.faults = (self.faults + other.faults)[:1]
        return self


@dataclass(frozen=True, eq=False)
class LossCheck:
    """Tries a loss on labels of each block, where the block is.

    Parameters
    ----------
    loss : CustomLoss
    """

    loss: CustomLoss

    @property
    def nbytes(self) -> int:
        """See `Pass.nbytes`."""
        return 0

    def __call__(self, block: Block, partition: int) -> Findings:
        """Findings of one block."""
        y = np.asarray(block.y if block.weight is None else block.y[block.weight > 0.0])
        if len(y) == 0:
            return Findings()
        try:
            found = Findings()
            for start in range(0, len(y), CHUNK_ROWS):
                piece = y[start : start + CHUNK_ROWS]
                bad = piece[not_finite(self.loss, piece)]
                if len(bad):
                    found.merge(Findings(rows=len(bad), label=float(bad[0])))
        except ParamError as error:
            return Findings([str(error)])
        if found.rows:
            return found
        labels = np.unique(y)
        some = np.linspace(0, len(labels) - 1, min(TRIED_LABELS, len(labels))).astype(int)
        return Findings(faults(self.loss, labels[some]))


class _Runs(Protocol):
    def run(self, task: Pass, description: str) -> Any: ...


def check_losses(losses: Sequence[Any], blocks: _Runs, name: str) -> None:
    """Try the losses of users on the rows of a fit, each in one pass over the labels.

    Raises
    ------
    ParamError
        If a loss is not what it says, with an example.
    DataError
        If labels have no finite loss, with their number.
    BackendError
        If the executors lack a module that a loss needs.
    """
    different = {repr(loss): loss for loss in losses if isinstance(loss, CustomLoss)}
    for loss in different.values():
        found: Findings = blocks.run(LossCheck(loss), f"{name} check of loss '{loss.name}'")
        if found.rows:
            raise DataError(
                f"loss '{loss.name}' or its derivative is not finite for the prediction 0 in "
                f"{found.rows:,} rows, for example for the label {found.label:g}: expected labels "
                "that it is defined for"
            )
        if found.faults:
            [fault] = found.faults
            prefix = "" if fault.startswith(f"loss '{loss.name}'") else f"loss '{loss.name}': "
            raise ParamError(prefix + fault)


# ---------------------------------------------------- the Param


def loss_range(*built_in: str) -> Range:
    """The range of a Param ``loss``: an estimator's own losses, and those registered."""
    return Range(
        lambda v: v in built_in or registry.is_registered(v),
        f"one of {', '.join(map(repr, built_in))}, or the name of a loss that was registered with "
        "sparkml_lsml.losses.register",
    )


def check_saved_loss(metadata: dict[str, Any], built_in: Sequence[str]) -> None:
    """Refuse metadata that name a loss which nobody registered.

    Raises
    ------
    PersistenceError
        If they do.
    """
    name = metadata["paramMap"].get("loss")
    if isinstance(name, str) and name not in built_in and not registry.is_registered(name):
        raise PersistenceError(
            f"was saved with the loss {shown(name)}, which is not known here: register it "
            "with sparkml_lsml.losses.register before loading. Known are "
            f"{', '.join([*built_in, *registry.registered()])}"
        )
