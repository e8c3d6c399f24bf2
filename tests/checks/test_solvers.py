"""The contract of a solver, checked for every one that `sparkml_lsml.engine.solvers` lists."""

from __future__ import annotations

import dataclasses
import pickle
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.objective import BlockObjective
from sparkml_lsml.engine.penalties import L2, ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.engine.solvers import (
    GradientDescent,
    Iteration,
    LocalSGD,
    LocalSteps,
    Reason,
    Solution,
    Solver,
    minimize,
)
from sparkml_lsml.engine.solvers.advice import ADVICE
from sparkml_lsml.engine.solvers.base import Progress
from sparkml_lsml.losses import Hinge, Huber, Logistic, Loss, Squared
from tests.checks.problems import CountingBlocks, Problem, is_random, make_problem, make_solver
from tests.checks.registry import DIRECT, ITERATIVE, KINKED, LOSSES, SMOOTH, Array

every_solver = pytest.mark.parametrize("cls", ITERATIVE)
random_solvers = [cls for cls in ITERATIVE if is_random(cls)]
exact_solvers = [cls for cls in ITERATIVE if not is_random(cls)]

PENALTIES = {"none": (0.0, 0.0), "l2": (0.0, 0.05), "l1": (0.02, 0.0), "both": (0.02, 0.05)}

EXACT = 1e-8
"""Relative to the minimum: what a solver that is not random reaches on a smooth loss."""

RANDOM = 1e-2
"""The same for stochastic gradients."""

KINKS = {"l-bfgs": 2e-3, "smoothed-l-bfgs": 1e-4}
"""The same for a loss with kinks, where quasi-Newton methods have no guarantee."""

KINKS_OTHERWISE = 1e-2


def supported(solver: type, losses: list[type]) -> list[type]:
    return [loss for loss in losses if loss().smooth or not solver().needs_smooth]


PAIRS = [(solver, loss) for solver in ITERATIVE for loss in supported(solver, LOSSES)]
every_pair = pytest.mark.parametrize(
    ("cls", "loss"), PAIRS, ids=[f"{solver.__name__}-{loss.__name__}" for solver, loss in PAIRS]
)


@cache
def shared(loss: type, name: str, seed: int = 1) -> tuple[Problem, ElasticNet]:
    """A problem and its penalty, made once."""
    l1, l2 = PENALTIES[name]
    problem = make_problem(loss(), seed=seed, l2=l2)
    return problem, problem.penalty(l1, l2)


@cache
def minimum(loss: type, name: str, seed: int = 1) -> float:
    """The least value of the objective, found once."""
    problem, penalty = shared(loss, name, seed)
    return problem.minimum(penalty)


def solve(
    problem: Problem, penalty: ElasticNet, solver: Solver, start: Array | None = None, **more: Any
) -> Solution:
    coef = problem.start() if start is None else start
    [solution] = minimize(problem.objective, penalty, solver, coef, **more)
    return solution


def relative_excess(problem: Problem, penalty: ElasticNet, coef: Array, least: float) -> float:
    return (problem.plain(coef, penalty)[0] - least) / abs(least)


def test_the_solvers_of_the_package_are_found() -> None:
    assert {cls().name for cls in ITERATIVE} >= {
        "accelerated",
        "adam",
        "gradient-descent",
        "l-bfgs",
        "minibatch-sgd",
        "sgd",
    }
    assert [cls().name for cls in DIRECT] == ["normal"]
    names = [cls().name for cls in [*ITERATIVE, *DIRECT]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("cls", [*ITERATIVE, *DIRECT])
def test_settings_are_frozen_comparable_and_picklable(cls: type) -> None:
    solver = cls()
    for field in dataclasses.fields(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(solver, field.name, None)
    assert pickle.loads(pickle.dumps(solver)) == solver == cls()
    assert make_solver(cls, tol=0.5) != solver


@every_solver
def test_states_are_frozen_and_a_step_leaves_the_old_one_alone(cls: type) -> None:
    problem, penalty = shared(Logistic, "both")
    seen: list[Any] = []

    class Watched(cls):  # type: ignore[misc]
        def step(self, state: Any, answer: Any, penalty: ElasticNet) -> Any:
            after = super().step(state, answer, penalty)
            seen.append((state, pickle.dumps(state)))
            return after

    solve(problem, penalty, Watched(), max_iter=4)
    assert len(seen) >= 4
    for state, frozen in seen:
        assert pickle.dumps(state) == frozen
        with pytest.raises(dataclasses.FrozenInstanceError):
            state.coef = None


@pytest.mark.parametrize(("penalty_name", "seed"), [("l2", 1), ("l1", 1), ("both", 0)])
@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("cls", exact_solvers)
def test_the_minimum_of_a_smooth_loss_is_reached(
    cls: type, loss: type, penalty_name: str, seed: int
) -> None:
    problem, penalty = shared(loss, penalty_name, seed)
    least = minimum(loss, penalty_name, seed)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-10), max_iter=500)
    assert solution.reason.converged, solution.reason
    assert -1e-9 <= relative_excess(problem, penalty, solution.coef, least) <= EXACT


@pytest.mark.parametrize("penalty_name", ["l2", "l1", "both"])
@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("cls", random_solvers)
def test_stochastic_gradients_come_close_to_the_minimum_of_a_smooth_loss(
    cls: type, loss: type, penalty_name: str
) -> None:
    problem, penalty = shared(loss, penalty_name)
    least = minimum(loss, penalty_name)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-6), max_iter=100)
    assert -1e-9 <= relative_excess(problem, penalty, solution.coef, least) <= RANDOM


@pytest.mark.parametrize("penalty_name", ["l2", "l1", "both"])
@pytest.mark.parametrize(
    ("cls", "loss"), [pair for pair in PAIRS if pair[1] in KINKED], ids=lambda cls: cls.__name__
)
def test_solvers_come_close_to_the_minimum_of_a_loss_with_kinks(
    cls: type, loss: type, penalty_name: str
) -> None:
    problem, penalty = shared(loss, penalty_name)
    least = minimum(loss, penalty_name)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-8), max_iter=200)
    allowed = KINKS.get(cls().name, KINKS_OTHERWISE)
    assert -1e-7 <= relative_excess(problem, penalty, solution.coef, least) <= allowed


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("cls", exact_solvers)
def test_the_minimum_is_reached_without_intercept_and_from_elsewhere(cls: type, loss: type) -> None:
    problem = make_problem(loss(), seed=3, fit_intercept=False, l2=0.1)
    penalty = problem.penalty(0.01, 0.1)
    start = problem.start() + np.random.default_rng(0).uniform(0, 1, size=problem.layout.size)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-10), start, max_iter=500)
    assert (
        -1e-9 <= relative_excess(problem, penalty, solution.coef, problem.minimum(penalty)) <= EXACT
    )


@pytest.mark.parametrize("loss", [loss for loss in SMOOTH if loss().name != "huber"])
@pytest.mark.parametrize("cls", exact_solvers)
def test_coefficients_that_an_l1_penalty_removes_are_exactly_zero(cls: type, loss: type) -> None:
    problem = make_problem(loss(), seed=1)
    penalty = problem.penalty(100.0, 0.0)
    solution = solve(problem, penalty, make_solver(cls, tol=1e-10), max_iter=300)
    np.testing.assert_array_equal(solution.coef[problem.layout.weights], 0.0)


@every_pair
def test_the_objective_reported_is_that_of_the_coefficients(cls: type, loss: type) -> None:
    problem, penalty = shared(loss, "both")
    for max_iter in (1, 2, 7):
        solution = solve(problem, penalty, cls(), max_iter=max_iter)
        value = problem.plain(solution.coef, penalty)[0]
        assert solution.objective == pytest.approx(value, rel=1e-12)


@every_pair
def test_history_counts_iterations_and_passes(cls: type, loss: type) -> None:
    problem, penalty = shared(loss, "both")
    problem.blocks.models.clear()
    lines: list[Iteration] = []
    solution = solve(
        problem, penalty, cls(), max_iter=15, callbacks=[lambda line, k: lines.append(line)]
    )
    assert tuple(lines) == solution.history
    numbers = [line.iteration for line in solution.history]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] <= 15
    passes = [line.passes for line in solution.history]
    assert passes == sorted(set(passes))
    assert passes[-1] <= len(problem.blocks.models)
    seconds = [line.seconds for line in solution.history]
    assert seconds == sorted(seconds)
    assert all(np.isfinite(line.objective) for line in solution.history)


@pytest.mark.parametrize(
    ("cls", "loss"),
    [(cls, loss) for cls, loss in PAIRS if not cls().estimates],
    ids=lambda cls: cls.__name__,
)
def test_the_objective_never_rises(cls: type, loss: type) -> None:
    problem, penalty = shared(loss, "both")
    solution = solve(problem, penalty, make_solver(cls, tol=1e-9), max_iter=60)
    objectives = [line.objective for line in solution.history]
    for before, after in pairwise(objectives):
        assert after <= before + 1e-11 * abs(before)
    assert solution.objective == objectives[-1]


@every_solver
@pytest.mark.parametrize("max_iter", [1, 2, 5])
def test_max_iter_is_respected_and_named(cls: type, max_iter: int) -> None:
    problem, penalty = shared(Logistic, "both")
    solution = solve(problem, penalty, make_solver(cls, tol=0.0), max_iter=max_iter)
    assert solution.reason == Reason("max_iter", max_iter)
    assert "maxIter" in str(solution.reason)
    assert not solution.reason.converged


@every_solver
def test_max_iter_zero_only_evaluates_the_start(cls: type) -> None:
    problem, penalty = shared(Logistic, "both")
    start = problem.start() + 0.25
    solution = solve(problem, penalty, cls(), start, max_iter=0)
    np.testing.assert_array_equal(solution.coef, start[0])
    assert solution.objective == pytest.approx(problem.plain(start[0], penalty)[0], rel=1e-12)
    assert solution.reason == Reason("max_iter", 0)
    [line] = solution.history
    assert (line.iteration, line.passes, line.objective) == (0, 1, solution.objective)


@every_pair
@pytest.mark.parametrize("tol", [1e-2, 1e-4])
def test_every_stop_has_a_name_and_advice(cls: type, loss: type, tol: float) -> None:
    problem, penalty = shared(loss, "l2")
    solution = solve(problem, penalty, make_solver(cls, tol=tol), max_iter=100)
    assert solution.reason.name in ADVICE
    assert str(solution.reason) == (
        f"{solution.reason.name} at iteration {solution.reason.iteration}: "
        f"{ADVICE[solution.reason.name]}"
    )
    assert solution.reason.iteration <= 100


@pytest.mark.parametrize("cls", exact_solvers)
def test_a_lower_tolerance_costs_passes_and_comes_closer(cls: type) -> None:
    problem, penalty = shared(Logistic, "both", 0)
    least = minimum(Logistic, "both", 0)
    loose, tight = (
        solve(problem, penalty, make_solver(cls, tol=tol), max_iter=500) for tol in (1e-2, 1e-10)
    )
    assert loose.reason.name == tight.reason.name == "converged"
    assert loose.history[-1].passes < tight.history[-1].passes
    assert tight.objective <= loose.objective
    assert relative_excess(problem, penalty, loose.coef, least) <= 1e-2


@every_pair
def test_a_fit_that_starts_at_the_minimum_stays_there(cls: type, loss: type) -> None:
    problem, penalty = shared(loss, "l2")
    least = minimum(loss, "l2")
    best = solve(problem, penalty, make_solver(ITERATIVE[0], tol=1e-12), max_iter=500)
    again = solve(problem, penalty, cls(), best.coef[None, :], max_iter=300)
    if is_random(cls):
        assert relative_excess(problem, penalty, again.coef, least) <= RANDOM
    else:
        assert again.objective <= best.objective * (1.0 + 1e-12)
        assert again.reason.converged or (again.reason.name == "stalled" and not loss().smooth)


@every_pair
def test_arguments_are_left_alone(cls: type, loss: type) -> None:
    problem, penalty = shared(loss, "both")
    start = problem.start(2)
    start.flags.writeable = False
    before = start.copy()
    solutions = minimize(problem.objective, penalty, cls(), start, max_iter=4)
    for solution in solutions:
        assert solution.coef.flags.writeable or solution.coef.base is start
    np.testing.assert_array_equal(start, before)


@every_solver
def test_a_fit_can_be_repeated_exactly(cls: type) -> None:
    problem, penalty = shared(Logistic, "both")
    first, second = (solve(problem, penalty, cls(), max_iter=12) for _ in range(2))
    np.testing.assert_array_equal(first.coef, second.coef)
    assert first.objective == second.objective
    assert first.reason == second.reason


@pytest.mark.parametrize("cls", random_solvers)
def test_the_seed_decides_what_is_drawn(cls: type) -> None:
    problem, penalty = shared(Logistic, "both")
    first, again, other = (
        solve(problem, penalty, make_solver(cls, seed=seed, fraction=0.3), max_iter=6).coef
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-6


@pytest.mark.parametrize(("loss", "told"), [(Logistic, "converged"), (Hinge, "stalled")])
def test_gradient_descent_tells_a_minimum_from_a_kink(loss: type, told: str) -> None:
    """A subgradient of the hinge is not small at its minimum, nor anywhere else on a kink."""
    problem, penalty = shared(loss, "l2")
    solution = solve(problem, penalty, GradientDescent(), max_iter=3000)
    assert solution.reason.name == told
    assert solution.reason.converged == (told == "converged")


@pytest.mark.parametrize("loss", KINKED)
@pytest.mark.parametrize("cls", [cls for cls in ITERATIVE if cls().needs_smooth])
def test_a_loss_with_kinks_is_refused_where_smoothness_is_needed(cls: type, loss: type) -> None:
    problem, penalty = shared(loss, "l2")
    problem.blocks.models.clear()
    with pytest.raises(ValueError, match=f"'{cls().name}'.*'{loss().name}'"):
        solve(problem, penalty, cls())
    assert problem.blocks.models == []


def fixed_steps(cls: type, step_size: float) -> Solver | None:
    """The solver with a step that it keeps, if it has such a setting."""
    names = {field.name for field in dataclasses.fields(cls)}
    if not names & {"schedule", "line_search"} or cls is LocalSteps:
        return None  # local steps are halved until a round comes to something
    solver: Solver = make_solver(
        cls, step_size=step_size, schedule="constant", line_search="fixed", average=False
    )
    return solver


FIXED = [cls for cls in ITERATIVE if fixed_steps(cls, 1.0) is not None]
STEPPING = [
    cls for cls in ITERATIVE if "step_size" in {field.name for field in dataclasses.fields(cls)}
]


@pytest.mark.parametrize("step_size", [1e2, 1e4, 1e8, 1e200])
@pytest.mark.parametrize("penalty_name", ["none", "l2", "l1"])
@pytest.mark.parametrize("cls", FIXED)
def test_a_fixed_step_that_is_too_long_ends_as_diverged(
    cls: type, penalty_name: str, step_size: float
) -> None:
    problem, penalty = shared(Squared, penalty_name)
    solution = solve(problem, penalty, fixed_steps(cls, step_size), max_iter=200)
    assert solution.reason.name == "diverged", solution.reason
    assert 0 < solution.reason.iteration < 50
    assert not solution.reason.converged
    assert np.isfinite(solution.coef).all()


@pytest.mark.parametrize("step_size", [30.0, 1e4, 1e9])
@pytest.mark.parametrize("penalty_name", ["none", "l2"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("cls", FIXED)
def test_a_fixed_step_never_ends_as_converged_above_its_start(
    cls: type, loss: type, penalty_name: str, step_size: float
) -> None:
    problem, penalty = shared(loss, penalty_name)
    start = problem.plain(problem.start()[0], penalty)[0]
    solution = solve(problem, penalty, fixed_steps(cls, step_size), max_iter=60)
    assert solution.reason.name == "diverged" or np.isfinite(solution.objective)
    if solution.reason.converged:
        assert solution.objective <= start * (1.0 + 1e-12)
    assert np.isfinite(solution.coef).all()


@pytest.mark.parametrize("step_size", [1e-3, 30.0, 1e3])
@pytest.mark.parametrize(
    "cls", [cls for cls in STEPPING if not is_random(cls)], ids=lambda cls: cls.__name__
)
def test_a_step_that_adapts_recovers_from_a_bad_start(cls: type, step_size: float) -> None:
    for loss in supported(cls, SMOOTH):
        problem, penalty = shared(loss, "l2")
        least = minimum(loss, "l2")
        solver = make_solver(cls, step_size=step_size, tol=1e-9)
        solution = solve(problem, penalty, solver, max_iter=300)
        assert relative_excess(problem, penalty, solution.coef, least) <= 1e-6


@pytest.mark.parametrize("cls", FIXED)
def test_the_default_step_of_a_smooth_loss_is_short_enough_to_keep(cls: type) -> None:
    # the promise of the step's unit: 1 cannot diverge
    for loss in SMOOTH:
        if not np.isfinite(loss().curvature):
            continue
        for seed in range(3):
            problem = make_problem(loss(), seed=seed, features=6, l2=0.2, mix=2.0)
            penalty = problem.penalty(0.01, 0.2)
            solution = solve(problem, penalty, fixed_steps(cls, 1.0), max_iter=60)
            assert solution.reason.name != "diverged"
            assert solution.objective < solution.history[0].objective


@every_solver
@pytest.mark.parametrize("max_iter", [0, 20])
def test_a_start_without_a_finite_objective_is_named_as_diverged(cls: type, max_iter: int) -> None:
    problem = make_problem(Huber(), seed=0)
    start = problem.start()
    start[0, -1] = -1.0  # a negative scale costs infinitely much
    solution = solve(problem, L2(0.0), cls(), start, max_iter=max_iter)
    assert solution.reason.name == "diverged"
    assert not solution.reason.converged


@every_solver
def test_a_problem_that_is_solved_from_the_start_stops_there(cls: type) -> None:
    layout = Layout(features=2, fit_intercept=True)
    blocks = CountingBlocks([Block(np.eye(2), np.zeros(2)), Block(-np.eye(2), np.zeros(2))])
    objective = BlockObjective(
        blocks, Squared(), LinearPredictor(layout), Standardization.identity(layout)
    )
    for penalty in (L2(0.0), ElasticNet(0.1, 0.1)):
        [solution] = minimize(objective, penalty, cls(), np.zeros((1, 3)), max_iter=50)
        assert solution.objective == 0.0
        # rounds of local updates sum no gradient that would show it
        expected = {LocalSGD: "stalled", LocalSteps: "settled"}.get(cls, "converged")
        assert solution.reason.name == expected
        np.testing.assert_array_equal(solution.coef, np.zeros(3))


BATCH = [(0.0, 0.5), (0.3, 0.0), (0.0, 0.02), (0.02, 0.05), (0.0, 5.0)]


@every_pair
def test_models_in_one_batch_are_the_models_fitted_one_by_one(cls: type, loss: type) -> None:
    problem = make_problem(loss(), seed=2, l2=0.05)
    penalties = [problem.penalty(l1, l2) for l1, l2 in BATCH]
    solver = make_solver(cls, tol=1e-4, fraction=0.6)
    most = 12 if is_random(cls) else 40
    together = minimize(
        problem.objective, penalties, solver, problem.start(len(BATCH)), max_iter=most
    )
    assert len(together) == len(BATCH)
    for solution, penalty in zip(together, penalties, strict=True):
        alone = solve(problem, penalty, solver, max_iter=most)
        assert solution.reason == alone.reason
        np.testing.assert_allclose(solution.coef, alone.coef, rtol=0, atol=1e-10)
        assert solution.objective == pytest.approx(alone.objective, rel=1e-12)
        assert [line.passes for line in solution.history] == [line.passes for line in alone.history]


@every_solver
def test_models_that_are_done_leave_the_batch(cls: type) -> None:
    problem = make_problem(Logistic(), seed=2, l2=0.05)
    penalties = [problem.penalty(l1, l2) for l1, l2 in BATCH]
    solver = make_solver(cls, tol=1e-3, patience=2)
    lengths = []
    for penalty in penalties:
        problem.blocks.models.clear()
        solve(problem, penalty, solver, max_iter=60)
        lengths.append(len(problem.blocks.models) - solver.estimates)
    assert len(set(lengths)) > 1, "all models take as long: nothing would be tested"
    problem.blocks.models.clear()
    passes = problem.objective.passes
    minimize(problem.objective, penalties, solver, problem.start(len(BATCH)), max_iter=60)
    expected = [sum(length > done for length in lengths) for done in range(max(lengths))]
    if solver.estimates:
        # the objective of all of them over all rows
        state = solver.init(problem.start()[0], problem.objective)
        expected.append(len(BATCH) * len(state.candidates))
    assert problem.blocks.models == expected
    assert problem.objective.passes - passes == len(expected)


@every_solver
def test_a_callback_stops_its_model_and_no_other(cls: type) -> None:
    problem, penalty = shared(Logistic, "both")
    calls: list[tuple[int, int]] = []

    def stop_second(line: Iteration, model: int) -> bool:
        calls.append((model, line.iteration))
        return model == 1 and line.iteration >= 3

    solver = make_solver(cls, tol=0.0)
    solutions = minimize(
        problem.objective,
        penalty,
        solver,
        problem.start(3),
        max_iter=8,
        callbacks=[stop_second, lambda line, model: None],
    )
    assert [solution.reason.name for solution in solutions] == ["max_iter", "callback", "max_iter"]
    assert solutions[1].reason.iteration == 3
    assert max(iteration for model, iteration in calls if model == 1) == 3
    for model, solution in enumerate(solutions):
        assert [line.iteration for line in solution.history] == [
            iteration for number, iteration in calls if number == model
        ]


@pytest.mark.parametrize("cls", DIRECT)
@pytest.mark.parametrize("penalty_name", PENALTIES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_direct_solvers_reach_the_minimum_in_one_pass(
    cls: type, penalty_name: str, fit_intercept: bool, seed: int
) -> None:
    l1, l2 = PENALTIES[penalty_name]
    problem = make_problem(Squared(), seed=seed, fit_intercept=fit_intercept, l2=l2)
    penalty = problem.penalty(l1, l2)
    rows = BlockObjective(
        RowsOnly(problem),
        Squared(),
        LinearPredictor(problem.layout),
        problem.objective.standardization,
    )
    [solution] = make_solver(cls, tol=1e-9).solve(rows, [penalty], float(problem.y.mean()))
    assert rows.passes == 1
    assert solution.reason.converged
    least = problem.minimum(penalty)
    assert -1e-10 <= relative_excess(problem, penalty, solution.coef, least) <= EXACT
    assert solution.objective == pytest.approx(problem.plain(solution.coef, penalty)[0], rel=1e-10)
    assert [line.passes for line in solution.history] == [1]


class RowsOnly(CountingBlocks):
    """The blocks of a problem for passes that have no coefficients."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.blocks._blocks)

    def run(self, task: Any, description: str) -> Any:
        return super(CountingBlocks, self).run(task, description)


def told(objectives: list[float], decrement: float | None = None, tol: float = 1e-6) -> str:
    """What is said of a history of objectives, behind a gradient that is not small."""
    progress = Progress()
    for objective in objectives:
        progress = progress.record(objective)
    return progress.verdict(tol, objectives[-1], gradient_norm=1.0, decrement=decrement)


def test_progress_takes_no_swing_for_a_standstill() -> None:
    # an objective that jumps between two values, or rises, has not converged
    for objectives in ([5.0, 9.0] * 5, [9.0, 5.0] * 5, list(np.geomspace(1.0, 50.0, 10))):
        assert told(objectives) == told(objectives, decrement=0.0) == ""


def test_a_standstill_is_no_minimum_unless_something_shows_it() -> None:
    standing = [3.0, 2.0, *[1.0] * 10]
    assert told(standing) == "stalled"
    assert told(standing, decrement=1e-3) == "stalled"
    assert told(standing, decrement=1e-9) == "converged"


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("promised", [0.0, None])
def test_what_is_left_to_gain_follows_from_the_rate_of_progress(
    rate: float, promised: float | None
) -> None:
    """A geometric series: what is left is the last fall times rate / (1 - rate)."""
    falls = rate ** np.arange(1, 2_000)
    objectives = [1.0 + float(fall) for fall in falls]
    stop = next(n for n in range(2, 2_000) if told(objectives[:n], promised))
    assert told(objectives[:stop], promised) == "converged"
    assert falls[stop - 1] <= 1e-6  # the minimum is 1
    # and not long behind where that is so; five lines are the least without a model
    assert falls[stop - 1] >= 0.02 * rate**3 * 1e-6


def test_progress_is_relative_to_the_objective() -> None:
    for unit in (1e-30, 1e-6, 1.0, 1e6):
        assert Progress().verdict(1e-3, unit, gradient_norm=0.9e-3 * unit) == "converged"
        assert Progress().verdict(1e-3, unit, gradient_norm=1.1e-3 * unit) == ""


def test_a_new_loss_is_taken_by_every_solver() -> None:
    """A loss that the package does not know: the protocol is all that solvers rely on."""

    @dataclasses.dataclass(frozen=True)
    class Quartic:
        name: str = "quartic"
        constants: tuple[str, ...] = ()
        smooth: bool = True
        curvature: float = float("inf")

        def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
            residual = raw - (2.0 * y - 1.0)[:, None, None]
            return (0.25 * residual**4)[:, :, 0], residual**3

    assert isinstance(Quartic(), Loss)
    problem = make_problem(Quartic(), seed=1, l2=0.1)
    penalty = problem.penalty(0.0, 0.1)
    least = problem.minimum(penalty)
    for cls in ITERATIVE:
        solution = solve(problem, penalty, make_solver(cls, tol=1e-9), max_iter=300)
        allowed = RANDOM if is_random(cls) else 1e-6
        assert relative_excess(problem, penalty, solution.coef, least) <= allowed, cls
