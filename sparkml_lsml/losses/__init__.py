"""Losses, one a file: formula, value and derivative, in NumPy alone."""

from sparkml_lsml.losses.base import KinkedLoss, Loss
from sparkml_lsml.losses.hinge import Hinge
from sparkml_lsml.losses.huber import Huber
from sparkml_lsml.losses.logistic import Logistic
from sparkml_lsml.losses.multinomial import Multinomial
from sparkml_lsml.losses.registry import loss, register, registered, reserve, unregister
from sparkml_lsml.losses.smoothed_hinge import SmoothedHinge
from sparkml_lsml.losses.squared import Squared
from sparkml_lsml.losses.squared_hinge import SquaredHinge

__all__ = [
    "Hinge",
    "Huber",
    "KinkedLoss",
    "Logistic",
    "Loss",
    "Multinomial",
    "SmoothedHinge",
    "Squared",
    "SquaredHinge",
    "loss",
    "register",
    "registered",
    "unregister",
]

reserve(
    Hinge(),
    Huber(),
    Logistic(),
    Multinomial(),
    SmoothedHinge(),
    Squared(),
    SquaredHinge(),
)
