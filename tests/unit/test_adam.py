"""Adam against the formulas of its paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from sparkml_lsml.engine.solvers import Adam
from sparkml_lsml.engine.solvers.base import Answer
from sparkml_lsml.losses import Hinge, Logistic
from tests.checks.problems import Problem, make_problem
from tests.checks.registry import Array

ALPHA = 0.05
"""What the step of half a unit stands for."""


def by_hand(problem: Problem, penalty: Any, steps: int, decay: float = 0.0) -> Array:
    """Algorithm 1 of Kingma and Ba (2015) over all rows, number by number."""
    point = problem.start()[0]
    m, v = [0.0] * len(point), [0.0] * len(point)
    for t in range(1, steps + 1):
        alpha = ALPHA / t**decay
        gradient = problem.plain(point, penalty)[1]
        for j, g in enumerate(gradient.tolist()):
            m[j] = 0.9 * m[j] + (1.0 - 0.9) * g
            v[j] = 0.999 * v[j] + (1.0 - 0.999) * g**2
            corrected_m, corrected_v = m[j] / (1.0 - 0.9**t), v[j] / (1.0 - 0.999**t)
            point[j] -= alpha * corrected_m / (math.sqrt(corrected_v) + 1e-8)
    return point


def run(problem: Problem, penalty: Any, solver: Adam, steps: int) -> Any:
    """The state after some steps over all rows."""
    state = solver.init(problem.start()[0], problem.objective)
    for _ in range(steps):
        query = solver.query(state, penalty)
        values, gradients = problem.objective.value_and_gradient(query.coef[None, :])
        state = solver.step(state, Answer(float(values[0]), gradients[0]), penalty)
    return state


@pytest.mark.parametrize("loss", [Logistic(), Hinge()], ids=["logistic", "hinge"])
@pytest.mark.parametrize(
    ("schedule", "decay"), [("constant", 0.0), ("adaptive", 0.0), ("invscaling", 0.5)]
)
def test_the_iterates_are_those_of_the_paper(loss: Any, schedule: Any, decay: float) -> None:
    problem = make_problem(loss, seed=5, l2=0.1)
    penalty = problem.penalty(0.0, 0.1)
    solver = Adam(step_size=0.5, schedule=schedule)
    for steps in (1, 2, 10):
        expected = by_hand(problem, penalty, steps, decay)
        found = run(problem, penalty, solver, steps)
        np.testing.assert_allclose(found.point, expected, rtol=1e-9, atol=1e-12)
        assert found.iteration == steps


def test_the_first_step_moves_every_coefficient_by_the_same() -> None:
    """Section 2.1 of the paper: the size of a step does not depend on that of the gradient."""
    problem = make_problem(Logistic(), seed=5)
    found = run(problem, problem.penalty(0.0, 0.0), Adam(step_size=0.5), 1)
    np.testing.assert_allclose(np.abs(found.point - problem.start()[0]), ALPHA, rtol=1e-5)


def test_the_l1_penalty_takes_the_proximal_step_of_its_metric() -> None:
    """The step minimises |x - goal|^2 / 2 in the metric of the step, plus the penalty."""
    problem = make_problem(Logistic(), seed=5)
    l1 = 0.05
    plain = run(problem, problem.penalty(0.0, 0.0), Adam(step_size=0.5), 1)
    penalty = problem.penalty(l1, 0.0)
    found = run(problem, penalty, Adam(step_size=0.5), 1)
    slope = np.abs(problem.plain(problem.start()[0], problem.penalty(0.0, 0.0))[1])
    strengths, _ = problem.strengths(penalty)
    for j, goal in enumerate(plain.point):
        # the root of the mean square is the gradient itself after one step
        metric = (slope[j] + 1e-8) / ALPHA

        def cost(x: float, goal: float = goal, metric: float = metric, j: int = j) -> float:
            return float(0.5 * metric * (x - goal) ** 2 + strengths[j] * abs(x))

        best = optimize.minimize_scalar(cost, bounds=(-1.0, 1.0), method="bounded").x
        assert found.point[j] == pytest.approx(best, abs=1e-5)


def test_the_average_weighs_later_iterates_more() -> None:
    """By their numbers; the last iterate competes with it."""
    problem = make_problem(Logistic(), seed=5)
    penalty = problem.penalty(0.0, 0.0)
    points = [by_hand(problem, penalty, steps) for steps in range(1, 6)]
    state = run(problem, penalty, Adam(step_size=0.5), 5)
    expected = np.average(points, axis=0, weights=range(1, 6))
    np.testing.assert_allclose(state.candidates, [expected, points[-1]], rtol=1e-9)
    alone = run(problem, penalty, Adam(step_size=0.5, average=False), 5)
    np.testing.assert_array_equal(*alone.candidates)
