"""Small random problems, and their minima by SciPy: the references of the solvers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import optimize

from sparkml_lsml.engine.blocks import Block, Moments
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.passes import Pass
from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import standardize
from sparkml_lsml.losses import Loss
from tests.checks.registry import Array, domain


class CountingBlocks(LocalBlocks):
    """Blocks that note how many models each pass was asked for."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__(blocks)
        self.models: list[int] = []

    def run(self, task: Pass, description: str) -> Any:
        self.models.append(len(task.coef))  # type: ignore[attr-defined]
        return super().run(task, description)


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows, and the objective over them that solvers see."""

    objective: BlockObjective
    blocks: CountingBlocks
    X: Array
    y: Array

    @property
    def layout(self) -> Layout:
        return self.objective.layout

    def start(self, models: int = 1) -> Array:
        """Zeros; a constant of the loss is 1."""
        coef = np.zeros((models, self.layout.size))
        coef[:, self.layout.extras] = 1.0
        return coef

    def penalty(self, l1: float, l2: float) -> ElasticNet:
        """Penalty on the coefficients of features with unit variance."""
        return self.objective.standardization.penalty(l1, l2, self.X.std(axis=0, ddof=1))

    def plain(self, coef: Array, penalty: ElasticNet) -> tuple[float, Array]:
        """Objective and its gradient, the L1 part's left out of it, in a few plain lines."""
        layout, units = self.layout, self.objective.standardization
        Z = (self.X - units.shift) * units.scale
        W = coef[layout.weights].reshape(layout.outputs, layout.features)
        raw = Z @ W.T + (coef[layout.intercepts] if layout.fit_intercept else 0.0)
        constants = np.tile(coef[layout.extras], (len(Z), 1))
        raw = units.label_scale * np.concatenate([raw, constants], axis=1)
        value, derivative = self.objective.loss.value_and_derivative(self.y, raw[:, None, :])
        outputs = derivative[:, 0, : layout.outputs]
        parts = [(outputs.T @ Z).ravel()]
        if layout.fit_intercept:
            parts.append(outputs.sum(axis=0))
        parts.append(derivative[:, 0, layout.outputs :].sum(axis=0))
        gradient = units.label_scale * np.concatenate(parts) / len(Z)
        l1, l2 = self.strengths(penalty)
        smooth = float(value.mean()) + 0.5 * float(l2 @ coef**2)
        return smooth + float(l1 @ np.abs(coef)), gradient + l2 * coef

    def strengths(self, penalty: ElasticNet) -> tuple[Array, Array]:
        size = (self.layout.size,)
        return np.broadcast_to(penalty.l1(), size), np.broadcast_to(penalty.l2(), size)

    def minimum(self, penalty: ElasticNet) -> float:
        """The least value of the objective."""
        if self.objective.loss.smooth:
            return self._smooth_minimum(penalty)
        if self.objective.loss.name == "hinge":
            return self._hinge_minimum(penalty)
        raise NotImplementedError(f"no reference for the kinks of {self.objective.loss.name}")

    def _smooth_minimum(self, penalty: ElasticNet) -> float:
        """Minimise over the positive and negative parts of the coefficients, which has no kink."""
        size = self.layout.size
        l1, _ = self.strengths(penalty)

        def split(parts: Array) -> tuple[float, Array]:
            positive, negative = parts[:size], parts[size:]
            coef = positive - negative
            value, slope = self.plain(coef, penalty)
            value += float(l1 @ (positive + negative - np.abs(coef)))
            return value, np.concatenate([slope + l1, l1 - slope])

        bounds: list[tuple[float, float | None]] = [(0.0, None)] * (2 * size)
        for k in range(size - self.layout.constants, size):
            bounds[k], bounds[size + k] = (1e-9, None), (0.0, 0.0)
        at = np.concatenate([self.start()[0], np.zeros(size)])
        options = {"maxiter": 10_000, "maxfun": 50_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30}
        for _ in range(2):  # the second run starts with a fresh memory where the first ended
            found = optimize.minimize(
                split, at, jac=True, method="L-BFGS-B", bounds=bounds, options=options
            )
            at = found.x
        return float(found.fun)

    def _hinge_minimum(self, penalty: ElasticNet) -> float:
        """The quadratic program: slacks at least 1 - margin, and parts of both signs."""
        layout, units = self.layout, self.objective.standardization
        l1, l2 = self.strengths(penalty)
        Z = (self.X - units.shift) * units.scale
        if layout.fit_intercept:
            Z = np.column_stack([Z, np.ones(len(Z))])
        rows, size = Z.shape
        signed = (2.0 * self.y - 1.0)[:, None] * Z
        margins = np.hstack([signed, -signed, np.eye(rows)])
        cost = np.concatenate([l1, l1, np.full(rows, 1.0 / rows)])

        def value(at: Array) -> tuple[float, Array]:
            coef = at[:size] - at[size : 2 * size]
            slope = np.concatenate([l2 * coef, -l2 * coef, np.zeros(rows)])
            return float(cost @ at + 0.5 * l2 @ coef**2), cost + slope

        at = np.concatenate([np.zeros(2 * size), np.ones(rows)])
        limits = {"type": "ineq", "fun": lambda at: margins @ at - 1.0, "jac": lambda at: margins}
        found = optimize.minimize(
            value,
            at,
            jac=True,
            method="SLSQP",
            bounds=[(0.0, None)] * len(at),
            constraints=[limits],
            options={"maxiter": 500, "ftol": 1e-15},
        )
        return float(found.fun)


def make_problem(
    loss: Loss,
    *,
    seed: int = 0,
    rows: int = 80,
    features: int = 3,
    blocks: int = 2,
    fit_intercept: bool = True,
    l2: float = 0.0,
    mix: float = 0.5,
) -> Problem:
    """Rows that a linear model explains in part; ``mix`` correlates the columns."""
    rng = np.random.default_rng(seed)
    kind = domain(loss)
    mixing = np.eye(features) + mix * rng.normal(size=(features, features))
    X = rng.normal(size=(rows, features)) @ mixing * 10.0 ** np.linspace(-1, 1, features) + 0.5
    explained = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(features, kind.outputs))
    if kind.labels == "real":
        y = 3.0 * explained[:, 0] + 2.0 * rng.standard_t(3, size=rows)
    elif kind.labels == "classes":
        y = np.argmax(explained + rng.gumbel(size=explained.shape), axis=1).astype(np.float64)
    else:
        y = (explained[:, 0] + rng.logistic(size=rows) > 0.0).astype(np.float64)
    layout = Layout(features, kind.outputs, fit_intercept, len(loss.constants))
    moments = Moments.of_rows(X, None)
    standardization = standardize(
        layout,
        moments.mean(),
        np.sqrt(moments.variance()),
        curvature=loss.curvature,
        l2=l2,
        label_scale=float(y.std(ddof=1)) if kind.labels == "real" else 1.0,
    )
    counting = CountingBlocks(
        [Block(np.ascontiguousarray(X[k::blocks]), y[k::blocks].copy()) for k in range(blocks)]
    )
    return Problem(
        BlockObjective(counting, loss, LinearPredictor(layout), standardization), counting, X, y
    )


SMALL = {"LocalSteps": {"optimizer": "sgd", "step_size": 0.1, "batch_size": 8}}
"""Settings for a hundred rows, of solvers whose own are meant for thousands of mini-batches."""


def make_solver(cls: type, **wanted: Any) -> Any:
    """Construct a solver with those of the settings that it has."""
    known = {field.name for field in fields(cls)}
    wanted = {**SMALL.get(cls.__name__, {}), **wanted}
    return cls(**{name: value for name, value in wanted.items() if name in known})


def is_random(cls: type) -> bool:
    return "seed" in {field.name for field in fields(cls)}
