"""Early stopping: the rule by hand, and the loop beside fits that are cut off one by one."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import CsrRows, as_csr
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.passes.reweighting import Validation
from sparkml_lsml.engine.passes.validation import ValidationPass
from sparkml_lsml.engine.penalties import L2
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.engine.solvers import (
    LBFGS,
    Accelerated,
    GradientDescent,
    LocalSGD,
    MiniBatchSGD,
    SmoothedLBFGS,
    Solution,
    minimize,
)
from sparkml_lsml.engine.solvers.base import Best, Run
from sparkml_lsml.engine.solvers.checkpoint import read_run, write_run
from sparkml_lsml.engine.solvers.early_stopping import EarlyStopping
from sparkml_lsml.losses import Hinge, Logistic, Multinomial, Squared

Array = npt.NDArray[np.float64]

HELD = 1
LAYOUT = Layout(features=12)


def rows(seed: int = 0, number: int = 60) -> tuple[Array, Array, Array, Array]:
    """Noisy labels and few rows a feature, so that a fit to the end learns the noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(number, LAYOUT.features))
    y = (X[:, 0] + 1.5 * rng.normal(size=number) > 0).astype(float)
    weight = rng.uniform(0.5, 2.0, size=number)
    return X, y, weight, rng.random(number) < 0.4


def objective(loss: Any = None, sparse: bool = False) -> BlockObjective:
    X, y, weight, held = rows()
    kept: Any = as_csr(X) if sparse else X
    assert sparse == isinstance(kept, CsrRows)
    block = Block(kept, y, weight, held.astype(np.int32))
    halves = [block.subset(np.arange(30)), block.subset(np.arange(30, 60))]
    return BlockObjective(
        LocalBlocks(halves),
        loss or Logistic(),
        LinearPredictor(LAYOUT),
        Standardization.identity(LAYOUT),
        reweighting=Validation(HELD),
    )


def trained_alone(loss: Any = None) -> BlockObjective:
    """The objective where the validation rows never were."""
    X, y, weight, held = rows()
    part = ~held
    blocks = LocalBlocks([Block(X[part], y[part], weight[part])])
    return BlockObjective(
        blocks, loss or Logistic(), LinearPredictor(LAYOUT), Standardization.identity(LAYOUT)
    )


def log_loss(coef: Array) -> float:
    """Mean logistic loss over the validation rows, by its formula."""
    X, y, weight, held = rows()
    margin = (2 * y - 1) * (X @ coef[:-1] + coef[-1])
    return float(np.average(np.logaddexp(0.0, -margin)[held], weights=weight[held]))


@cache
def cut_off(solver: Any, most: int, penalty: float) -> tuple[list[Array], list[float]]:
    """Coefficients and objectives of fits to the training rows that end after 0, 1, 2, ..."""
    start = np.zeros((1, LAYOUT.size))
    found = [
        minimize(trained_alone(), L2(penalty), solver, start, max_iter=k)[0] for k in range(most)
    ]
    return [each.coef for each in found], [each.objective for each in found]


def stopped(losses: list[float], patience: int, tol: float = 0.0) -> tuple[int, int]:
    """Where a fit stops, and which iteration is best: the definition, looking at the whole."""
    for end in range(1, len(losses)):
        improved = [k for k in range(1, end + 1) if min(losses[:k]) - losses[k] > tol * losses[k]]
        if end - max(improved, default=0) >= patience:
            return end, int(np.argmin(losses[: end + 1]))
    return len(losses) - 1, int(np.argmin(losses))


def solve(solver: Any, rule: EarlyStopping, penalty: float = 0.0, **more: Any) -> Solution:
    start = np.zeros((1, LAYOUT.size))
    [found] = minimize(
        more.pop("objective", None) or objective(),
        L2(penalty),
        solver,
        start,
        early_stopping=rule,
        **more,
    )
    return found


@pytest.mark.parametrize(
    ("losses", "patience", "tol", "end", "best"),
    [
        ([0.7, 0.5, 0.6, 0.55], 2, 0.0, 3, 1),
        ([0.7, 0.5, 0.5, 0.5], 2, 0.0, 3, 1),  # as good is no better
        ([0.7, 0.6, 0.595, 0.59, 0.2], 2, 0.05, 3, 3),  # small steps do not count, but are kept
        ([0.7, 0.8, 0.6, 0.7, 0.5], 2, 0.0, None, 4),
        ([np.inf, np.inf, 0.5, np.nan, np.nan], 3, 0.0, None, 2),
    ],
)
def test_the_rule(
    losses: list[float], patience: int, tol: float, end: int | None, best: int
) -> None:
    rule, found = EarlyStopping(patience, tol), None
    for k, loss in enumerate(losses):
        found = rule.record(found, np.array([float(k)]), 10.0 + k, k, loss)
        if rule.stops(found):
            assert k == end
            break
    else:
        assert end is None
    assert found is not None
    assert (found.iteration, found.coef[0], found.objective) == (best, float(best), 10.0 + best)


@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize(
    "solver",
    [LBFGS(tol=0.0), GradientDescent(tol=0.0), Accelerated(tol=0.0)],
    ids=lambda solver: solver.name,
)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_fit_stops_where_its_iterates_say(solver: Any, patience: int, sparse: bool) -> None:
    coefs, objectives = cut_off(solver, 41, 1e-3)
    losses = [log_loss(coef) for coef in coefs]
    # the case that early stopping is for: training falls, validation rises
    assert objectives[-1] < objectives[int(np.argmin(losses))]
    assert losses[-1] > min(losses) + 0.01
    end, best = stopped(losses, patience)
    assert end < 40
    found = solve(
        solver, EarlyStopping(patience), 1e-3, max_iter=40, objective=objective(sparse=sparse)
    )
    assert (found.reason.name, found.reason.iteration) == ("early_stopping", end)
    assert found.best is not None
    assert found.best.iteration == best
    np.testing.assert_allclose(found.coef, coefs[best], rtol=1e-9, atol=1e-12)
    assert found.objective == pytest.approx(objectives[best], rel=1e-12)
    np.testing.assert_allclose([line.validation for line in found.history], losses[: end + 1])


@pytest.mark.parametrize(
    "solver",
    [LocalSGD(tol=0.0), MiniBatchSGD(tol=0.0, fraction=0.7), SmoothedLBFGS(tol=0.0)],
    ids=lambda solver: solver.name,
)
def test_every_kind_of_solver_keeps_its_best_iterate(solver: Any) -> None:
    found = solve(solver, EarlyStopping(4), max_iter=60)
    assert found.reason.name in ("early_stopping", "max_iter")
    assert found.best is not None
    # a mini-batch has no iteration 0: its first pass takes a step already
    losses = {line.iteration: line.validation for line in found.history}
    assert found.best.loss == min(losses.values()) == losses[found.best.iteration]
    assert log_loss(found.coef) == pytest.approx(found.best.loss)
    X, y, weight, held = rows()
    margin = (2 * y - 1) * (X @ found.coef[:-1] + found.coef[-1])
    trained = np.average(np.logaddexp(0.0, -margin)[~held], weights=weight[~held])
    assert found.objective == pytest.approx(trained)


def test_the_hinge_is_validated_without_its_smoothing() -> None:
    found = solve(SmoothedLBFGS(), EarlyStopping(1), max_iter=1, objective=objective(Hinge()))
    X, y, weight, held = rows()
    # at the start all margins are 0, where the hinge is 1 and what is smoothed is not
    assert found.history[0].validation == pytest.approx(1.0)
    assert found.best is not None
    margin = (2 * y - 1) * (X @ found.coef[:-1] + found.coef[-1])
    hinge = np.average(np.maximum(0.0, 1.0 - margin)[held], weights=weight[held])
    assert found.best.loss == pytest.approx(hinge)


def test_models_of_a_batch_stop_one_by_one() -> None:
    penalties, start = [L2(1e-3), L2(0.5)], np.zeros((2, LAYOUT.size))
    rules = [EarlyStopping(1), EarlyStopping(3)]
    together = minimize(
        objective(), penalties, LBFGS(tol=0.0), start, max_iter=30, early_stopping=rules
    )
    for k, found in enumerate(together):
        alone = solve(LBFGS(tol=0.0), rules[k], float(penalties[k].l2()), max_iter=30)
        assert found.reason == alone.reason
        assert found.best is not None
        assert alone.best is not None
        assert found.best.iteration == alone.best.iteration
        np.testing.assert_allclose(found.coef, alone.coef, rtol=1e-9, atol=1e-12)


def test_multinomial_losses_are_validated() -> None:
    layout = Layout(features=2, outputs=3)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(50, 2)), rng.integers(0, 3, 50).astype(float)
    held = np.arange(50) % 3 == 0
    units = Standardization.identity(layout)
    blocks = LocalBlocks([Block(X, y, fold=held.astype(np.int32))])
    three = BlockObjective(
        blocks, Multinomial(), LinearPredictor(layout), units, reweighting=Validation(HELD)
    )
    coef = rng.normal(size=(2, layout.size))
    raw = np.einsum("ni,moi->nmo", X, coef[:, :6].reshape(2, 3, 2)) + coef[:, 6:]
    logs = raw - np.log(np.exp(raw).sum(axis=2, keepdims=True))
    expected = [-logs[held, m, y[held].astype(int)].mean() for m in range(2)]
    np.testing.assert_allclose(three.validation_loss(coef), expected)


@pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
def test_rows_with_many_values_are_copied_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    rng = np.random.default_rng(2)
    X, y, held = rng.normal(size=(60, 20)), rng.normal(size=60), np.arange(60) % 2
    block = Block(as_csr(X) if compressed else X, y, fold=held.astype(np.int32))
    copied: list[int] = []
    subset = Block.subset

    def count(self: Block, rows: npt.NDArray[np.intp]) -> Block:
        copied.append(20 * len(rows))
        return subset(self, rows)

    monkeypatch.setattr(Block, "subset", count)
    monkeypatch.setattr("sparkml_lsml.engine.passes.validation.PIECE_VALUES", 100)
    layout, coef = Layout(20), rng.normal(size=(1, 21))
    found = ValidationPass(Squared(), LinearPredictor(layout), coef, 1)(block, 0)
    assert copied == [100] * 6
    residuals = (X @ coef[0, :20] + coef[0, 20] - y)[held == 1]
    assert found.value[0] == pytest.approx(0.5 * np.square(residuals).sum(), rel=1e-12)


def test_a_resumed_run_stops_where_the_whole_does() -> None:
    rule, solver = EarlyStopping(3), LBFGS(tol=0.0)
    whole = solve(solver, rule, 1e-3, max_iter=40)
    assert whole.reason.name == "early_stopping"

    class Died(BaseException):
        pass

    # in the middle of the patience, which has to go on from where it was
    at, last = whole.reason.iteration - 1, []

    def keep(run: Run) -> None:
        last[:] = [run]
        if run.iteration == at:
            raise Died

    with pytest.raises(Died):
        solve(solver, rule, 1e-3, max_iter=40, keep=keep)
    file = io.BytesIO()
    write_run(last[0], file)
    run = read_run(file, [solver])
    assert isinstance(run.bests[0], Best)
    assert run.bests[0].waited == 2
    again = solve(solver, rule, 1e-3, max_iter=40, resume=run)
    assert again.reason == whole.reason
    assert np.array_equal(again.coef, whole.coef)
    without = [
        [replace(line, seconds=0.0, gap=0.0) for line in each.history] for each in (again, whole)
    ]
    assert without[0] == without[1]
