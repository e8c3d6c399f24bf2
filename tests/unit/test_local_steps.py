"""Local steps: their rounds against a plain loop, and what a cluster may not change."""

from __future__ import annotations

import itertools
import math
import pickle
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import wide_training
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.local_steps import OptimiserSteps, Round, StepsSum
from sparkml_lsml.engine.kernels.optimisers import Adam, Sgd
from sparkml_lsml.engine.kernels.schedules import Schedule
from sparkml_lsml.engine.kernels.value_gradient import value_and_gradient
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.penalties import L2
from sparkml_lsml.engine.predictors import DensePredictor, Standardization
from sparkml_lsml.engine.predictors.initialise import start
from sparkml_lsml.engine.solvers import LocalSteps, Solution, minimize
from sparkml_lsml.engine.solvers.base import Answer
from sparkml_lsml.engine.solvers.local_steps import HALVINGS
from sparkml_lsml.losses import Loss, Multinomial, Squared
from tests.checks.dense import network

Array = npt.NDArray[np.float64]

ROWS, FEATURES = 60, 4
RNG = np.random.default_rng(8)
X = RNG.normal(size=(ROWS, FEATURES)) * [1.0, 5.0, 0.2, 1.0] + [0.0, 3.0, 1.0, -2.0]
X[RNG.random((ROWS, FEATURES)) < 0.3] = 0.0
WEIGHT = np.where(np.arange(ROWS) % 6 == 0, 0.0, RNG.uniform(0.5, 2.0, ROWS))
LABELS = {"classes": RNG.integers(3, size=ROWS).astype(float), "real": 50.0 * RNG.normal(size=ROWS)}
SEED = (3, 0, 1)


def units_of(predictor: DensePredictor, kind: str) -> Standardization:
    label = float(LABELS["real"].std()) if kind == "real" else 1.0
    return Standardization(predictor.layout, 1.0 / X.std(axis=0), X.mean(axis=0), label)


def plain_loop(
    predictor: DensePredictor,
    loss: Loss,
    kind: str,
    settings: OptimiserSteps,
    l2: Array,
    units: Standardization,
    coef: Array,
    X: Array = X,
) -> Array:
    """The round in the words of a textbook, over rows that were scaled beforehand."""
    w = coef.copy()
    Z, y = (X - units.shift) * units.scale, LABELS[kind]
    kept = np.flatnonzero(WEIGHT)
    mean = WEIGHT[kept].mean()
    rng = np.random.default_rng(SEED)
    m, v = np.zeros_like(w), np.zeros_like(w)
    t, head = 0, predictor.layout.head
    steps = settings.epochs * math.ceil(len(kept) / settings.batch_size)
    optimiser = settings.optimiser
    ramp = max(1.0, min(optimiser.ramp, steps / 3.0))
    for epoch in range(settings.epochs):
        order = kept[rng.permutation(len(kept))]
        batches = math.ceil(len(order) / settings.batch_size)
        for number in range(batches):
            rows = order[number * settings.batch_size : (number + 1) * settings.batch_size]
            point = w.copy()
            point[head] *= units.label_scale
            block = Block(Z[rows], y[rows], WEIGHT[rows])
            _, [slope], _ = value_and_gradient(block, loss, predictor, point[None, :])
            slope[head] *= units.label_scale
            g = slope / (len(rows) * mean)
            unit = units.label_scale**-2
            decoupled = isinstance(optimiser, Adam) and optimiser.decoupled
            g = unit * (g if decoupled else g + l2 * w)
            g *= min(1.0, settings.max_norm / np.sqrt(g @ g))
            t += 1
            rate = settings.schedule.at(settings.begins + epoch + number / batches)
            rate *= min(1.0, t / ramp)
            if isinstance(optimiser, Adam):
                if decoupled:
                    w = w - rate * unit * l2 * w
                m = 0.9 * m + 0.1 * g
                v = 0.999 * v + 0.001 * g**2
                w = w - rate * (m / (1 - 0.9**t)) / (
                    np.sqrt(v / (1 - 0.999**t)) + optimiser.epsilon
                )
            else:
                m = optimiser.momentum * m - rate * g
                w = w + (optimiser.momentum * m - rate * g if optimiser.nesterov else m)
    return w


@pytest.mark.parametrize("rows", ["dense", "sparse", "sparse, not centred"])
@pytest.mark.parametrize(
    "optimiser",
    [Adam(), Adam(decoupled=True), Sgd(), Sgd(0.9), Sgd(0.9, nesterov=True)],
    ids=["adam", "adamw", "sgd", "momentum", "nesterov"],
)
@pytest.mark.parametrize(("kind", "loss"), [("classes", Multinomial()), ("real", Squared())])
def test_a_round_is_the_plain_loop(kind: str, loss: Loss, optimiser: Any, rows: str) -> None:
    predictor = network((FEATURES, 5, 3 if kind == "classes" else 1))
    units = units_of(predictor, kind)
    if rows == "sparse, not centred":
        units = replace(units, shift=np.zeros(FEATURES))
    penalty = units.penalty(0.0, 0.1)
    schedule = Schedule(0.02, "cosine", epochs=5)
    settings = OptimiserSteps(optimiser, schedule, 1.0, epochs=2, batch_size=8, max_norm=0.5)
    coef = start(predictor, 2)
    block = Block(X if rows == "dense" else as_csr(X), LABELS[kind], WEIGHT)
    model = LocalModel(loss, predictor, units, penalty, 0)
    found = settings.run(block, 1, model, coef, SEED)
    l2 = np.broadcast_to(penalty.l2(), coef.shape)
    expected = plain_loop(predictor, loss, kind, settings, l2, units, coef)
    np.testing.assert_allclose(found.coef, expected, rtol=1e-9, atol=1e-11)
    assert np.abs(expected - coef).max() > 0.01
    assert (found.weight, found.steps) == (WEIGHT.sum(), 14)


@pytest.mark.parametrize("loss", [("classes", Multinomial()), ("real", Squared())], ids=str)
@pytest.mark.parametrize("centred", [(), (1, 7)], ids=["", "two columns centred"])
@pytest.mark.parametrize(
    ("optimiser", "strength", "max_norm"),
    [
        (Adam(epsilon=1e-16), 0.0, 0.5),
        (Adam(epsilon=1e-16, decoupled=True), 0.1, 0.5),
        (Sgd(), 0.1, math.inf),
        (Sgd(0.9), 0.0, 0.5),
        (Sgd(0.9), 0.1, math.inf),
        (Sgd(0.9, nesterov=True), 0.1, math.inf),
    ],
    ids=lambda value: repr(value),
)
def test_a_round_of_wide_rows_is_the_plain_loop_of_all_columns(
    optimiser: Any,
    strength: float,
    max_norm: float,
    centred: tuple[int, ...],
    loss: tuple[str, Loss],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Columns that a mini-batch lacks are not touched by it, and are where they would be."""
    monkeypatch.setattr(wide_training, "COLUMNS_A_VALUE", 0.0)
    monkeypatch.setattr(wide_training, "CHUNK", 11)
    kind, of = loss
    features = 30
    rng = np.random.default_rng(4)
    wide = np.where(rng.random((ROWS, features)) < 0.04, rng.normal(size=(ROWS, features)), 0.0)
    wide[:, list(centred)] += 2.0
    wide[:, 3] = 0.0
    predictor = network((features, 5, 3 if kind == "classes" else 1))
    shift = np.zeros(features)
    shift[list(centred)] = 2.0
    scale = np.where(wide.any(axis=0), rng.uniform(0.5, 2.0, features), 0.0)
    label = units_of(predictor, kind).label_scale
    units = Standardization(predictor.layout, scale, shift, label)
    deviation = np.divide(1.0, scale, out=np.zeros(features), where=scale > 0.0)
    penalty = units.penalty(0.0, strength, deviation)
    schedule = Schedule(0.02, "cosine", epochs=5)
    settings = OptimiserSteps(optimiser, schedule, 1.0, 2, batch_size=4, max_norm=max_norm)
    coef = start(predictor, 2)
    block = Block(as_csr(wide), LABELS[kind], WEIGHT)
    model = LocalModel(of, predictor, units, penalty, 0)
    assert wide_training.pays(block, model, optimiser, 4, max_norm)
    found = settings.run(block, 1, model, coef, SEED)
    l2 = np.broadcast_to(penalty.l2(), coef.shape)
    expected = plain_loop(predictor, of, kind, settings, l2, units, coef, wide)
    used = np.ones(len(coef), dtype=bool)
    # of a weight that is multiplied by 0 nothing is said
    used[: 5 * features] = np.tile(scale > 0.0, 5)
    np.testing.assert_allclose(found.coef[used], expected[used], rtol=1e-9, atol=1e-11)
    assert np.abs(expected - coef)[used].max() > 0.01


@pytest.mark.parametrize(
    ("optimiser", "l1", "l2", "max_norm", "expected"),
    [
        (Adam(), 0.0, 0.0, 1.0, True),
        (Adam(), 0.0, 0.1, math.inf, False),
        (Adam(decoupled=True), 0.0, 0.1, 1.0, True),
        (Adam(beta1=0.9, beta2=0.5), 0.0, 0.0, math.inf, False),
        (Sgd(0.9), 0.0, 0.1, math.inf, True),
        (Sgd(0.9), 0.0, 0.1, 1.0, False),
        (Sgd(), 0.1, 0.0, math.inf, False),
    ],
)
def test_what_is_not_linear_without_a_gradient_steps_along_all_columns(
    optimiser: Any, l1: float, l2: float, max_norm: float, expected: bool
) -> None:
    features = 1_000
    predictor = DensePredictor((features, 2, 2))
    units = Standardization.identity(predictor.layout)
    model = LocalModel(Multinomial(), predictor, units, units.penalty(l1, l2), 0)
    few = Block(as_csr(np.eye(20, features)), np.zeros(20))
    assert wide_training.pays(few, model, optimiser, 10, max_norm) is expected
    assert not wide_training.pays(few, model, optimiser, 500, max_norm)
    dense = Block(np.eye(20, features), np.zeros(20))
    assert not wide_training.pays(dense, model, optimiser, 10, max_norm)


def test_mini_batches_without_values_and_what_is_not_finite() -> None:
    """Rows of zeros train the biases, and a loss that overflows is named, in wide rows too."""
    features = 1_000
    predictor = DensePredictor((features, 4, 3))
    units = Standardization.identity(predictor.layout)
    model = LocalModel(Multinomial(), predictor, units, L2(0.0), 0)
    values = np.zeros((8, features))
    values[0, 5] = 1.0
    settings = OptimiserSteps(batch_size=1)
    block = Block(as_csr(values), np.zeros(8))
    coef = start(predictor, 2)
    assert wide_training.pays(block, model, settings.optimiser, 1, math.inf)
    found = settings.run(block, 0, model, coef, SEED)
    assert found.steps == 8
    changed = np.flatnonzero(found.coef[: 4 * features] != coef[: 4 * features].astype(np.float32))
    assert set(changed % features) == {5}
    assert (found.coef[-3:] != coef[-3:]).all()
    values[3, 7] = np.inf
    [failure] = settings.run(Block(as_csr(values), np.zeros(8)), 4, model, coef, SEED).failures
    assert str(failure).startswith("the loss is nan in mini-batch")
    assert failure.partition == 4


def rounds(
    block: Block, settings: OptimiserSteps, predictor: DensePredictor, seed: tuple[int, ...] = SEED
) -> StepsSum:
    units = units_of(predictor, "classes")
    model = LocalModel(Multinomial(), predictor, units, L2(0.0), 0)
    return settings.run(block, seed[-1], model, start(predictor, 2), seed)


def test_a_round_that_is_run_again_is_the_same_to_the_bit_with_dropout_too() -> None:
    predictor = DensePredictor((FEATURES, 16, 3), dropout=0.3)
    block = Block(X, LABELS["classes"])
    settings = OptimiserSteps(batch_size=8)
    first, again = (rounds(block, settings, predictor) for _ in range(2))
    assert first.coef.dtype == np.float32
    assert first.coef.tobytes() == again.coef.tobytes()
    assert (first.loss, first.first) == (again.loss, again.first)
    other = rounds(block, settings, predictor, (3, 1, 1))
    without = rounds(block, settings, replace(predictor, dropout=0.0))
    assert first.coef.tobytes() != other.coef.tobytes()
    assert first.coef.tobytes() != without.coef.tobytes()


def test_the_loss_of_a_round_is_the_mean_of_its_mini_batches_before_their_steps() -> None:
    """With steps of no length the model stays, and it is the mean loss of all rows."""
    predictor = network((FEATURES, 5, 3))
    settings = OptimiserSteps(Sgd(), Schedule(0.0), batch_size=7)
    block = Block(X, LABELS["classes"], WEIGHT)
    found = rounds(block, settings, predictor)
    stored = units_of(predictor, "classes").to_stored(start(predictor, 2)[None, :])
    [value], _, [weight] = value_and_gradient(block, Multinomial(), predictor, stored)
    assert found.loss == pytest.approx(value, rel=1e-12)
    assert found.weight == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("parts", [1, 3, 20])
def test_the_rounds_of_an_epoch_take_each_row_that_counts_once(parts: int) -> None:
    block = Block(X, LABELS["classes"], WEIGHT)
    settings = OptimiserSteps(batch_size=8, parts=parts)
    rounds_of_it = [replace(settings, begins=4 + k / parts, part=k) for k in range(parts)]
    drawn = [each for one in rounds_of_it for each in one.plan(block, SEED)]
    whole = list(OptimiserSteps(begins=4.0, batch_size=8).plan(block, SEED))
    np.testing.assert_allclose([epoch for epoch, _ in drawn], 4.0 + np.arange(7) / 7.0)
    assert [rows.tolist() for _, rows in drawn] == [rows.tolist() for _, rows in whole]
    together = np.sort(np.concatenate([rows for _, rows in drawn]))
    np.testing.assert_array_equal(together, np.flatnonzero(WEIGHT))
    orders = [np.concatenate([r for _, r in OptimiserSteps().plan(block, (s,))]) for s in (1, 2)]
    assert (orders[0] != orders[1]).any()


def sums() -> list[StepsSum]:
    predictor = DensePredictor((FEATURES, 5, 3))
    cuts = np.array_split(np.arange(ROWS), [11, 30])
    parts = [Block(X[at], LABELS["classes"][at], WEIGHT[at]) for at in cuts]
    settings = OptimiserSteps(batch_size=8)
    return [
        rounds(block, settings, predictor, (3, 0, number)) for number, block in enumerate(parts)
    ]


def test_models_are_averaged_by_weight_in_any_order() -> None:
    parts = sums()
    expected = np.average(
        [part.coef.astype(float) for part in parts], axis=0, weights=[p.weight for p in parts]
    )
    units = units_of(DensePredictor((FEATURES, 5, 3)), "classes")
    for order in itertools.permutations(range(3)):
        a, b, c = (sums()[k] for k in order)
        for total in (a.merge(b).merge(c),):
            found = OptimiserSteps().finish(total, units, 0.0)
            np.testing.assert_allclose(found.coef, expected, rtol=1e-14)
            losses = [part.loss / part.weight for part in parts]
            weights = [part.weight for part in parts]
            assert found.loss == pytest.approx(np.average(losses, weights=weights), rel=1e-14)
    one, other = (sums() for _ in range(2))
    assert one[0].merge(one[1]).coef.tobytes() == other[1].merge(other[0]).coef.tobytes()


# ------------------------------------------------------------------ the solver


@cache
def digits() -> tuple[Array, Array]:
    rows, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(rows))
    return rows[order] / 16.0, labels[order].astype(float)


TRAINED = 1_347
NETWORK = DensePredictor((64, 48, 10))


def objective_of(
    cuts: int,
    loss: Loss | None = None,
    predictor: DensePredictor = NETWORK,
    rows: Array | None = None,
) -> BlockObjective:
    images, labels = digits()
    images = images[:TRAINED] if rows is None else rows
    blocks = [Block(images[at], labels[at]) for at in np.array_split(np.arange(len(images)), cuts)]
    units = Standardization.identity(predictor.layout)
    return BlockObjective(LocalBlocks(blocks), loss or Multinomial(), predictor, units)


def train(objective: BlockObjective, solver: LocalSteps, epochs: int, seed: int = 0) -> Solution:
    assert isinstance(objective.predictor, DensePredictor)
    first = start(objective.predictor, seed)[None, :]
    [found] = minimize(objective, L2(0.0), solver, first, max_iter=epochs)
    return found


def accuracy(found: Solution) -> float:
    images, labels = digits()
    raw = NETWORK.scoring(found.coef)(images[TRAINED:])
    return float((raw.argmax(axis=1) == labels[TRAINED:]).mean())


EPOCHS = 30
TRAINING = LocalSteps(max_epochs=EPOCHS, batch_size=16)


@cache
def accuracy_in(cuts: int) -> float:
    return accuracy(train(objective_of(cuts), TRAINING, EPOCHS))


@pytest.mark.parametrize("cuts", [1, 2, 4, 8])
def test_a_model_gets_no_worse_because_the_cluster_grew(cuts: int) -> None:
    """The same settings for any number of partitions: 450 digits, so that 0.9 points are 4."""
    assert accuracy_in(cuts) >= 0.965
    assert accuracy_in(cuts) >= accuracy_in(1) - 0.01


def test_without_what_the_solver_does_about_it_averages_of_eight_are_worse() -> None:
    """Steps as in one partition, and no outer momentum: what the test above guards against."""
    naive = replace(TRAINING, step_size=TRAINING.step_size / 8**0.5, outer_momentum=0.0)
    assert accuracy(train(objective_of(8), naive, EPOCHS)) < accuracy_in(8) - 0.015


def test_the_history_counts_epochs_and_the_objective_is_of_all_rows_in_the_end() -> None:
    objective = objective_of(2)
    found = train(objective, replace(TRAINING, max_epochs=3), 3)
    assert [line.iteration for line in found.history] == [1, 2, 3]
    assert (found.reason.name, found.reason.fell_short) == ("completed", False)
    assert objective.passes == 4
    [value], _ = objective.value_and_gradient(found.coef[None, :])
    assert found.objective == pytest.approx(value, rel=1e-12)
    objectives = [line.objective for line in found.history]
    assert objectives == sorted(objectives, reverse=True)
    # the cosine ends at a floor where models are averaged
    floor = 0.5
    expected = [
        2e-3 * 2**0.5 * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * e / 3)))
        for e in range(3)
    ]
    assert [line.step_size for line in found.history] == pytest.approx(expected, rel=1e-12)


def test_what_is_sent_is_of_the_type_of_the_network() -> None:
    objective = objective_of(2)
    for precision in ("float32", "float64"):
        objective.predictor = replace(NETWORK, precision=precision)
        state = TRAINING.init(start(NETWORK, 0), objective)
        query = TRAINING.query(state, L2(0.0))
        assert query.coef.dtype == precision
        assert pickle.loads(pickle.dumps(query.local)).batch_size == 16


def test_rounds_may_be_shorter_or_longer_than_an_epoch() -> None:
    short, long = objective_of(2), objective_of(2)
    solver = replace(TRAINING, max_epochs=5, schedule="constant")
    # 674 rows a block are 42 mini-batches, so that 14 of them are a third
    found = train(short, replace(solver, local_steps=14), 4)
    assert [line.iteration for line in found.history] == [1, 2, 3, 4]
    assert [line.passes for line in found.history][:4] == [3, 6, 9, 12]
    found = train(long, replace(solver, local_epochs=2), 5)
    assert [line.iteration for line in found.history] == [2, 4, 5]
    assert found.reason.iteration == 5
    with pytest.raises(ValueError, match="found local_steps=5 and local_epochs=2"):
        train(objective_of(2), replace(solver, local_steps=5, local_epochs=2), 1)


def test_a_standstill_ends_the_training_after_some_epochs_of_patience() -> None:
    solver = replace(TRAINING, tol=0.5, patience=3, schedule="constant")
    found = train(objective_of(1), solver, 50)
    objectives = [line.objective for line in found.history]
    least, waited = math.inf, [0]
    for objective in objectives:
        waited.append(0 if least - objective > 0.5 * objective else waited[-1] + 1)
        least = min(least, objective)
    assert waited.index(3) == len(objectives) == found.reason.iteration
    assert found.reason.name == "settled"
    assert not found.reason.converged
    assert not found.reason.fell_short


def test_the_cosine_goes_on_while_shorter_steps_may_help() -> None:
    """An objective that swings by noise does not stop it, one that stands still does."""
    solver, penalty = replace(TRAINING, tol=1e-3, patience=2), L2(0.0)
    told: dict[str, list[int]] = {}
    for schedule in ("cosine", "constant"):
        for losses in ([1.0, 1.1, 1.05, 1.1], [1.0, 0.9999, 1.0, 0.9999]):
            each: Any = replace(solver, schedule=schedule)
            state = each.init(start(NETWORK, 0), objective_of(1))
            for loss in losses:
                found = Round(state.coef, loss, 1.0, 1, ())
                state = each.step(state, Answer(math.nan, found), penalty)
            told.setdefault(schedule, []).append(state.waited)
    assert told == {"cosine": [0, 3], "constant": [3, 3]}


# ------------------------------------------------------------- rounds that fail


@dataclass(frozen=True)
class Broken:
    """A user's loss that is no number for one label."""

    label: float
    name: str = "broken"
    constants: tuple[str, ...] = ()
    smooth: bool = True
    curvature: float = 0.5

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        value, derivative = Multinomial().value_and_derivative(y, raw)
        return np.where(y[:, None] == self.label, np.nan, value), derivative


def test_case_72_a_partition_with_a_loss_that_is_no_number_is_named() -> None:
    images, labels = digits()
    objective = objective_of(4, Broken(7.0))
    blocks = [Block(images[at], np.minimum(labels[at], 6.0)) for at in np.split(np.arange(400), 4)]
    blocks[2].y[50] = 7.0
    objective.blocks = LocalBlocks(blocks)
    found = train(objective, TRAINING, 5)
    assert found.reason.name == "diverged"
    assert found.reason.iteration == 1
    assert "round 1: the loss is nan in mini-batch" in str(found.reason)
    assert "of partition 2)" in str(found.reason)
    np.testing.assert_array_equal(found.coef, start(NETWORK, 0))
    # the first try, those with shorter steps, and the last look at the start
    assert objective.passes == 1 + HALVINGS + 1


def test_a_round_that_broke_is_done_again_with_half_the_step() -> None:
    """Gradient descent that is stable with a sixteenth of the step alone."""
    objective = objective_of(2, Squared(), replace(NETWORK, sizes=(64, 1)))
    solver = replace(TRAINING, optimizer="sgd", step_size=1.0, schedule="constant")
    found = train(objective, solver, 5)
    assert [line.iteration for line in found.history] == [1, 2, 3, 4, 5]
    steps = [line.step_size for line in found.history]
    assert len(set(steps)) == 1
    assert steps[0] in [2.0 / 2**k for k in range(1, HALVINGS + 1)]
    halvings = round(math.log2(2.0 / steps[0]))
    assert found.history[0].passes == 1 + halvings
    again = train(
        objective_of(2, Squared(), replace(NETWORK, sizes=(64, 1))),
        replace(solver, step_size=1.0 / 2**halvings),
        5,
    )
    assert again.coef.tobytes() == found.coef.tobytes()
    assert found.history[-1].objective < found.history[0].objective


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "momentum", "nesterov"])
@pytest.mark.parametrize("wrong", ["step", "features"])
def test_case_71_what_explodes_is_named_or_finite(optimizer: Any, wrong: str) -> None:
    images = digits()[0][:400]
    rows = images * 1e30 if wrong == "features" else images
    solver = replace(TRAINING, optimizer=optimizer, step_size=1e6 if wrong == "step" else 1e-3)
    found = train(objective_of(2, rows=rows), solver, 3)
    assert np.isfinite(found.coef).all()
    if found.reason.name == "diverged":
        assert "round 1: " in found.reason.detail
    else:
        assert np.isfinite(found.objective)
