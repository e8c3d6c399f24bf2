"""Losses of users in a fit: how they travel to executors, and what is found of them there."""

import copyreg
from collections.abc import Sequence
from typing import Any, Protocol

from sparkml_lsml.engine.passes import Pass
from sparkml_lsml.errors import DataError, ParamError, PersistenceError, shown
from sparkml_lsml.losses import registry
from sparkml_lsml.losses.custom import CustomKinkedLoss, CustomLoss
from sparkml_lsml.spark.params.ranges import Range
from sparkml_lsml.spark.training import by_value
from sparkml_lsml.worker.trying import Findings, LossCheck

# ---------------------------------------------------- how a loss travels


def _reduce(loss: CustomLoss) -> tuple[Any, ...]:
    fields = (loss.name, loss.smooth, loss.curvature)
    return by_value.reduced(type(loss), loss.inner, fields, f"loss '{loss.name}'")


for _kind in (CustomLoss, CustomKinkedLoss):
    copyreg.pickle(_kind, _reduce)


# ---------------------------------------------------- what is found of a loss


class _Runs(Protocol):
    def run(self, task: Pass, description: str, small: int | None = None) -> Any: ...


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
