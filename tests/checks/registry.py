"""What the contract checks run over: whatever a room of the package lists in its `__all__`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import sparkml_lsml.engine.penalties
import sparkml_lsml.engine.solvers
import sparkml_lsml.losses
from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.losses import Loss

Array = npt.NDArray[np.float64]


def classes(room: ModuleType, *methods: str) -> list[type]:
    """List the classes of a room that have these methods; protocols only describe them."""
    listed = [getattr(room, name) for name in room.__all__]
    return [
        item
        for item in listed
        if inspect.isclass(item)
        and not getattr(item, "_is_protocol", False)
        and all(callable(getattr(item, method, None)) for method in methods)
    ]


LOSSES: list[type] = classes(sparkml_lsml.losses, "value_and_derivative")
PENALTIES: list[type] = classes(sparkml_lsml.engine.penalties, "prox")
DUAL: list[type] = [sparkml_lsml.engine.solvers.CoCoA]
"""Solvers of the dual problem, which few losses and penalties have: `test_cocoa` checks them."""

ITERATIVE: list[type] = [
    cls
    for cls in classes(sparkml_lsml.engine.solvers, "init", "query", "step", "terminate")
    if cls not in DUAL
]
DIRECT: list[type] = classes(sparkml_lsml.engine.solvers, "solve")

SMOOTH = [cls for cls in LOSSES if cls().smooth]
KINKED = [cls for cls in LOSSES if not cls().smooth]


@dataclass(frozen=True)
class Domain:
    """Which labels a loss takes, and how many linear predictors."""

    labels: Literal["binary", "classes", "real"] = "binary"
    outputs: int = 1


DOMAINS = {
    "huber": Domain("real"),
    "multinomial": Domain("classes", outputs=3),
    "squaredError": Domain("real"),
}
"""Losses of other labels than 0 and 1. A new binary loss needs no entry."""


def domain(loss: Loss) -> Domain:
    return DOMAINS.get(loss.name, Domain())


def draw_labels(loss: Loss, rng: np.random.Generator, rows: int) -> Array:
    kind = domain(loss)
    if kind.labels == "real":
        return rng.normal(size=rows)
    classes = 2 if kind.labels == "binary" else kind.outputs
    return rng.integers(classes, size=rows).astype(np.float64)


def draw_raw(
    loss: Loss, rng: np.random.Generator, rows: int, models: int, size: float = 2.0
) -> Array:
    """Draw raw predictions; the constants of a loss, which come last, are positive."""
    raw = size * rng.normal(size=(rows, models, domain(loss).outputs))
    constants = np.exp(0.5 * rng.normal(size=(rows, models, len(loss.constants))))
    return np.concatenate([raw, constants], axis=2)


def make_penalty(cls: type, strengths: Callable[[str], Any]) -> ElasticNet:
    """Construct a penalty; `strengths` gives the value of each parameter of its constructor."""
    penalty = cls(**{name: strengths(name) for name in inspect.signature(cls).parameters})
    assert isinstance(penalty, ElasticNet)
    return penalty
