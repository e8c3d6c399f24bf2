"""CoCoA+: its minimum, the bound that its duals prove, and duals that are lost."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import compiled
from sparkml_lsml.engine.kernels.dual_round import SdcaRound
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.passes import LocalUpdatePass
from sparkml_lsml.engine.passes.reweighting import HeldOut
from sparkml_lsml.engine.penalties import L1, L2, ElasticNet
from sparkml_lsml.engine.solvers import CoCoA, Solution, minimize
from sparkml_lsml.losses import Hinge, Logistic, Loss, Squared, SquaredHinge
from tests.checks.problems import Problem, make_problem

LOSSES = [Hinge(), SquaredHinge(), Logistic()]
STRENGTH = 0.05

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)


def with_blocks(problem: Problem, blocks: list[Block]) -> BlockObjective:
    return replace(problem.objective, blocks=LocalBlocks(blocks), passes=0)


def solve(objective: BlockObjective, penalty: ElasticNet, **settings: Any) -> Solution:
    solver = CoCoA(**{"tol": 1e-7, **settings})
    [solution] = minimize(
        objective, penalty, solver, np.zeros((1, objective.layout.size)), max_iter=3_000
    )
    return solution


@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", ""])
@pytest.mark.parametrize("blocks", [1, 3])
@every_loss
def test_gap_bounds_the_distance_to_the_minimum(loss: Loss, blocks: int, intercept: bool) -> None:
    problem = make_problem(loss, blocks=blocks, fit_intercept=intercept, l2=STRENGTH)
    penalty = problem.penalty(0.0, STRENGTH)
    least = problem.minimum(penalty)
    solution = solve(problem.objective, penalty)
    assert solution.reason.name == "converged", solution.reason
    assert problem.plain(solution.coef, penalty)[0] == pytest.approx(solution.objective, rel=1e-12)
    # SciPy's minimum is itself exact to some 1e-9
    assert -1e-8 * least <= solution.objective - least <= 1.1e-7 * least
    for line in solution.history:
        assert line.objective - line.gap <= least * (1.0 + 1e-8)
        assert line.objective >= least * (1.0 - 1e-8)
    gaps = [line.gap for line in solution.history]
    assert gaps == sorted(gaps, reverse=True)


@every_loss
def test_sparse_compiled_weighted_and_uneven_rows_change_nothing(
    loss: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(loss, blocks=1, l2=STRENGTH)
    penalty = problem.penalty(0.0, STRENGTH)
    expected = solve(problem.objective, penalty).objective
    X, y = problem.X, problem.y
    # each row twice at half the weight, and one without weight that would change everything
    twice, labels = np.vstack([X, X, [[1e3] * X.shape[1]]]), np.concatenate([y, y, [1.0]])
    weight = np.append(np.full(2 * len(y), 0.5), 0.0)
    cuts = [slice(0, 7), slice(7, 100), slice(100, None)]
    dense = [Block(twice[cut], labels[cut], weight[cut]) for cut in cuts]
    sparse = [Block(as_csr(b.X), b.y, b.weight) for b in dense]  # type: ignore[arg-type]
    for large in (1, 10**9):
        monkeypatch.setattr(compiled, "LARGE", large)
        for blocks in (dense, sparse):
            found = solve(with_blocks(problem, blocks), penalty)
            assert found.reason.name == "converged"
            assert found.objective == pytest.approx(expected, rel=2e-7)


def test_intercept_of_uneven_classes() -> None:
    """With 2 positives among 80 rows the duals of the classes can only be the same if few are."""
    problem = make_problem(Hinge(), blocks=2, l2=STRENGTH)
    y = np.zeros(len(problem.y))
    y[np.argsort(problem.X[:, 0])[-2:]] = 1.0
    uneven = replace(problem, y=y)
    objective = with_blocks(problem, [Block(problem.X[k::2], y[k::2]) for k in range(2)])
    penalty = problem.penalty(0.0, STRENGTH)
    least = replace(uneven, objective=objective).minimum(penalty)
    assert solve(objective, penalty).objective == pytest.approx(least, rel=1e-6)


def test_rows_of_a_fold_that_is_held_out_have_no_duals() -> None:
    problem = make_problem(Logistic(), blocks=2, l2=STRENGTH)
    penalty = problem.penalty(0.0, STRENGTH)
    fold = (np.arange(len(problem.y)) % 4 == 0).astype(np.int32)
    cuts = [slice(k, None, 2) for k in range(2)]
    blocks = [Block(problem.X[cut], problem.y[cut], fold=fold[cut]) for cut in cuts]
    held = replace(with_blocks(problem, blocks), reweighting=HeldOut((1,)))
    rest = fold == 0
    alone = with_blocks(problem, [Block(problem.X[rest], problem.y[rest])])
    expected = solve(alone, penalty).objective
    assert solve(held, penalty).objective == pytest.approx(expected, rel=2e-7)


class Forgetful(LocalBlocks):
    """Blocks that lose the duals of some partitions at the start of a pass."""

    def __init__(self, blocks: list[Block], losses: dict[int, list[int]]) -> None:
        super().__init__(blocks)
        self.losses = losses
        self.passes: list[str] = []

    def run(self, task: Any, description: str) -> Any:
        assert isinstance(task, LocalUpdatePass)
        gone = self.losses.get(len(self.passes), [])
        [wanted] = task.updates
        assert isinstance(wanted, SdcaRound)
        kept = {
            number: "gone" if number in gone else at for number, at in wanted.dual_files.items()
        }
        task = replace(task, updates=(replace(wanted, dual_files=kept),))
        found = [task(block, number) for number, block in enumerate(self._blocks)]
        total = reduce(lambda left, right: left.merge(right), found)
        [part] = total.parts
        self.passes.append("lost" if part.lost else "sums" if not wanted.change else "round")
        return total


@every_loss
def test_duals_that_are_lost_start_from_zero_again(loss: Loss) -> None:
    problem = make_problem(loss, blocks=3, l2=STRENGTH)
    penalty = problem.penalty(0.0, STRENGTH)
    least = problem.minimum(penalty)
    whole: Any = problem.blocks
    blocks = Forgetful(list(whole._blocks), {4: [1], 9: [0, 2], 12: [0, 1, 2]})
    solution = solve(replace(problem.objective, blocks=blocks, passes=0), penalty)
    assert blocks.passes[3:15] == [
        *("round", "lost", "sums"),
        *("round", "round", "round", "lost", "sums"),
        *("round", "lost", "sums", "round"),
    ]
    assert solution.reason.name == "converged"
    assert solution.objective - least <= 1.1e-7 * least
    for line in solution.history:
        assert line.objective - line.gap <= least * (1.0 + 1e-8)
    # a round that was lost is done again under its own number
    numbers = [line.iteration for line in solution.history]
    assert numbers == sorted(set(numbers))


def test_a_pass_that_runs_twice_changes_nothing_twice() -> None:
    problem = make_problem(Hinge(), blocks=2, l2=STRENGTH)
    penalty = problem.penalty(0.0, STRENGTH)
    expected = solve(problem.objective, penalty, tol=1e-3)

    class Twice(LocalBlocks):
        def run(self, task: Any, description: str) -> Any:
            super().run(task, description)
            return super().run(task, description)

    whole: Any = problem.blocks
    objective = replace(problem.objective, blocks=Twice(whole._blocks), passes=0)
    found = solve(objective, penalty, tol=1e-3)
    np.testing.assert_array_equal(found.coef, expected.coef)


@pytest.mark.parametrize("penalty", [L1(0.1), L2(0.0)], ids=["l1", "none"])
def test_penalties_without_a_dual_are_refused(penalty: ElasticNet) -> None:
    with pytest.raises(ValueError, match="takes an L2 penalty alone"):
        solve(make_problem(Hinge()).objective, penalty)


def test_losses_without_a_dual_are_refused() -> None:
    with pytest.raises(ValueError, match="takes the losses 'hinge', 'squaredHinge', 'logistic'"):
        solve(make_problem(Squared()).objective, L2(0.1))
