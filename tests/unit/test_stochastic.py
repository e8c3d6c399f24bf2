"""When solvers whose objective is that of a sample may say that they have converged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.penalties import L2
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.engine.solvers import LBFGS, Adam, MiniBatchSGD, minimize
from sparkml_lsml.losses import Hinge, Logistic


def rows() -> BlockObjective:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(4_000, 20))
    y = (X @ np.linspace(-2.0, 2.0, 20) + rng.normal(size=4_000) > 0.0).astype(float)
    layout = Layout(20)
    units = Standardization.identity(layout)
    return BlockObjective(LocalBlocks([Block(X, y)]), Logistic(), LinearPredictor(layout), units)


def solve(objective: Any, solver: Any, max_iter: int = 100) -> Any:
    start = np.zeros((1, objective.layout.size))
    [solution] = minimize(objective, L2(0.01), solver, start, max_iter=max_iter)
    return solution


@pytest.mark.parametrize("loss", [Logistic(), Hinge()], ids=["logistic", "hinge"])
@pytest.mark.parametrize("kind", [MiniBatchSGD, Adam])
@pytest.mark.parametrize("schedule", ["adaptive", "invscaling"])
def test_steps_that_have_become_short_are_no_convergence(
    loss: Any, kind: Any, schedule: Any
) -> None:
    objective = rows()
    objective = BlockObjective(
        objective.blocks, loss, LinearPredictor(objective.layout), objective.standardization
    )
    solver = kind(tol=1e-4, fraction=0.01, schedule=schedule, step_size=0.5)
    found = solve(objective, solver, max_iter=2_000)
    # the gradients of forty rows do not vanish anywhere
    assert found.reason.name == "max_iter"
    assert not found.reason.converged


@pytest.mark.parametrize("kind", [MiniBatchSGD, Adam])
def test_all_rows_converge_to_the_minimum(kind: Any) -> None:
    objective = rows()
    found = solve(objective, kind(tol=1e-6, schedule="adaptive", average=False), max_iter=3_000)
    least = solve(objective, LBFGS(tol=1e-12)).objective
    assert found.reason.converged
    assert found.objective == pytest.approx(least, rel=1e-4)
