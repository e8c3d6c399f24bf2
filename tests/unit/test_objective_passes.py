"""The objective over blocks: one mean over all rows, however they are spread, in counted passes."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import SgdEpochs, sgd_epochs
from sparkml_lsml.engine.kernels.local import LocalModel, ModelSum
from sparkml_lsml.engine.objective import DRAWS, BlockObjective, LocalBlocks
from sparkml_lsml.engine.passes import (
    GradientPass,
    GramPass,
    GramSum,
    LocalUpdatePass,
    LossSum,
    Pass,
)
from sparkml_lsml.engine.passes import gradient as gradient_room
from sparkml_lsml.engine.penalties import L2, ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.errors import ParamError
from sparkml_lsml.losses import Huber, Logistic, Loss, Multinomial, Squared
from tests.unit.formulas import FORMULAS, Array, Formula, make_block

ROWS, FEATURES = 60, 3
CUTS: dict[str, list[int]] = {
    "two": [30],
    "many": list(range(7, 60, 7)),
    "uneven": [1, 2, 55],
    "some empty": [0, 20, 20, 60],
}

every_formula = pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
every_cut = pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
both_forms = pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])


class Watched(LocalBlocks):
    """Blocks that note what they were asked to run."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        super().__init__(blocks)
        self.asked: list[tuple[str, str]] = []

    def run(self, task: Pass, description: str) -> Any:
        self.asked.append((type(task).__name__, description))
        return super().run(task, description)


def draw(formula: Formula, seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) < 0.7)
    return X, formula.labels(rng, ROWS), rng.uniform(0.0, 2.0, size=ROWS)


def split(formula: Formula, cuts: list[int], compressed: bool = False) -> list[Block]:
    parts = (np.split(rows, cuts) for rows in draw(formula))
    return [make_block(X, y, weight, compressed) for X, y, weight in zip(*parts, strict=True)]


def make_objective(formula: Formula, blocks: Sequence[Block], name: str = "fit") -> BlockObjective:
    layout = formula.layout(FEATURES, True)
    standardization = Standardization(
        layout, np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, -1.0]), 1.5
    )
    return BlockObjective(
        Watched(blocks), formula.loss, LinearPredictor(layout), standardization, name
    )


def start(formula: Formula, models: int = 2) -> Array:
    return formula.coef(np.random.default_rng(7), formula.layout(FEATURES, True), models)


@every_formula
@every_cut
@both_forms
def test_the_mean_over_many_blocks_is_the_mean_over_all_rows(
    formula: Formula, cuts: list[int], compressed: bool
) -> None:
    X, y, weight = draw(formula)
    objective = make_objective(formula, split(formula, cuts, compressed))
    coef = start(formula)
    value, gradient = objective.value_and_gradient(coef)
    units = objective.standardization
    Z = (X - units.shift) * units.scale
    for k, row in enumerate(coef):
        wanted = formula.total(Z, y, weight, row, True, 1.5) / weight.sum()
        assert value[k] == pytest.approx(wanted, rel=1e-12)
        slope = formula.gradient(Z, y, weight, row, True, 1.5) / weight.sum()
        np.testing.assert_allclose(gradient[k], slope, atol=1e-12)


@every_cut
@both_forms
def test_normal_equations_of_many_blocks_are_those_of_all_rows(
    cuts: list[int], compressed: bool
) -> None:
    formula = FORMULAS["squared"]
    X, y, weight = draw(formula)
    objective = make_objective(formula, split(formula, cuts, compressed))
    total = objective.gram(0.25)
    units = objective.standardization
    Z = np.column_stack([(X - units.shift) * units.scale, y - 0.25])
    np.testing.assert_allclose(total.products, (Z.T * weight) @ Z, atol=1e-11)
    np.testing.assert_allclose(total.sums, weight @ Z, atol=1e-12)
    assert total.weight == pytest.approx(weight.sum(), rel=1e-14)


def local_models(objective: BlockObjective, penalties: list[ElasticNet]) -> tuple[LocalModel, ...]:
    parts = objective.loss, objective.predictor, objective.standardization
    return tuple(LocalModel(*parts, penalty, k) for k, penalty in enumerate(penalties))


SETTINGS = [
    SgdEpochs(epochs=1, batch_size=4, step_size=0.05),
    SgdEpochs(epochs=2, batch_size=2, step_size=0.01, average=False),
]


@every_formula
@every_cut
@both_forms
def test_a_round_of_local_sgd_averages_the_models_of_the_blocks_by_weight(
    formula: Formula, cuts: list[int], compressed: bool
) -> None:
    blocks = split(formula, cuts, compressed)
    objective = make_objective(formula, blocks)
    strength = np.zeros(objective.layout.size)
    strength[objective.layout.weights] = 0.1
    penalties = [L2(strength), ElasticNet(strength, 0.0)]
    coef = start(formula)
    value, models = objective.local_update(coef, penalties, SETTINGS, seed=(4, 2))
    np.testing.assert_allclose(value, objective.value_and_gradient(coef)[0], rtol=1e-12)
    for k in range(2):
        # a block draws its order from the seed and its number
        alone = [
            sgd_epochs(block, local_models(objective, penalties)[k], SETTINGS[k], coef[k], seed)
            for block, seed in zip(blocks, [(4, 2, n) for n in range(len(blocks))], strict=True)
        ]
        wanted = np.average(alone, axis=0, weights=[block.weight_sum for block in blocks])
        np.testing.assert_allclose(models[k], wanted, rtol=1e-12, atol=1e-13)


def test_passes_are_counted_and_named() -> None:
    formula = FORMULAS["squared"]
    objective = make_objective(formula, split(formula, [30]), name="demo")
    coef = start(formula)
    objective.value_and_gradient(coef)
    objective.value_and_gradient(coef, 0.5, (1,))
    objective.local_update(coef, [L2(0.0)] * 2, SETTINGS, (0,))
    objective.gram(0.0)
    assert objective.passes == 4
    assert isinstance(objective.blocks, Watched)
    assert objective.blocks.asked == [
        ("GradientPass", "demo pass 1"),
        ("GradientPass", "demo pass 2"),
        ("LocalUpdatePass", "demo pass 3"),
        ("GramPass", "demo pass 4"),
    ]


@every_cut
def test_blocks_are_counted_and_each_is_run_once_under_its_number(cuts: list[int]) -> None:
    blocks = split(FORMULAS["squared"], cuts)
    local = LocalBlocks(blocks)
    assert (local.partitions, local.rows) == (len(cuts) + 1, ROWS)
    objective = make_objective(FORMULAS["squared"], blocks)
    assert objective.rows_per_block == pytest.approx(ROWS / (len(cuts) + 1))
    seen: list[tuple[int, int]] = []

    def note(block: Block, partition: int) -> LossSum:
        seen.append((id(block), partition))
        return LossSum()

    local.run(note, "test")
    assert seen == [(id(block), number) for number, block in enumerate(blocks)]


def test_a_sample_follows_from_its_seed() -> None:
    formula = FORMULAS["logistic"]
    objective = make_objective(formula, split(formula, [30]))
    coef = start(formula)
    first, again, other = (
        objective.value_and_gradient(coef, 0.5, seed) for seed in ((1, 2), (1, 2), (1, 3))
    )
    for k in range(2):
        np.testing.assert_array_equal(first[k], again[k])
        assert np.abs(first[k] - other[k]).max() > 1e-3


def test_every_block_draws_a_sample_of_its_own() -> None:
    block = Block(np.eye(FEATURES * 10)[:, :FEATURES], np.arange(30.0))
    task = GradientPass(Squared(), LinearPredictor(Layout(FEATURES)), np.zeros((1, 4)), 0.5, (1,))
    sums = {round(float(task(block, number).gradient[0, -1]), 6) for number in range(4)}
    assert len(sums) == 4


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@both_forms
def test_samples_have_the_wanted_size_and_no_bias(fraction: float, compressed: bool) -> None:
    # row i adds its value v_i with probability f: mean f sum(v), variance f (1 - f) sum(v^2)
    formula = FORMULAS["logistic"]
    X, y, weight = draw(formula)
    [coef] = start(formula, 1)
    task = GradientPass(
        formula.loss, LinearPredictor(formula.layout(FEATURES, True)), coef[None, :], fraction, (0,)
    )
    block = make_block(X, y, weight, compressed)
    draws = 400
    sums = [replace(task, seed=(k,))(block, 0) for k in range(draws)]
    rows = [
        (formula.total(*row, coef, True), *formula.gradient(*row, coef, True), row[2][0])
        for row in zip(*(np.split(part, ROWS) for part in (X, y, weight)), strict=True)
    ]
    single = np.array(rows)
    found = np.mean([[s.value[0], *s.gradient[0], *s.weight] for s in sums], axis=0)
    error = np.sqrt(fraction * (1.0 - fraction) * (single**2).sum(axis=0) / draws)
    assert np.all(np.abs(found - fraction * single.sum(axis=0)) < 4.0 * error)


def test_the_mean_of_a_sample_is_that_of_its_rows() -> None:
    # a loss of 1/2 for every row: whatever is drawn, the mean is 1/2
    block = Block(np.zeros((ROWS, 1)), np.ones(ROWS), np.random.default_rng(0).random(ROWS))
    layout = Layout(1)
    objective = BlockObjective(
        LocalBlocks([block, block]),
        Squared(),
        LinearPredictor(layout),
        Standardization.identity(layout),
    )
    for seed in range(5):
        value, gradient = objective.value_and_gradient(np.zeros((1, 2)), 0.3, (seed,))
        np.testing.assert_allclose(value, [0.5], rtol=1e-14)
        np.testing.assert_allclose(gradient, [[0.0, -1.0]], rtol=1e-14)


@pytest.mark.parametrize("weight", [None, np.zeros(ROWS)], ids=["no rows drawn", "no weight"])
def test_samples_without_rows_are_an_error(weight: Array | None) -> None:
    """Rather than a gradient of 0, which a solver would take for the minimum."""
    formula = FORMULAS["squared"]
    X, y, _ = draw(formula)
    objective = make_objective(formula, [Block(X, y, weight)])
    fraction = 1e-12 if weight is None else 0.5
    with pytest.raises(ParamError, match=rf"had no row in {DRAWS} draws: .*miniBatchFraction"):
        objective.value_and_gradient(start(formula), fraction, (0,))


def test_a_sample_without_rows_is_drawn_again() -> None:
    formula = FORMULAS["squared"]
    X, y, _ = draw(formula)
    objective = make_objective(formula, [Block(X, y)])
    one_by_one = [
        make_objective(formula, [Block(X[k : k + 1], y[k : k + 1])]).value_and_gradient(
            start(formula)
        )[0]
        for k in range(len(y))
    ]
    singles = 0
    for seed in range(40):
        value, _ = objective.value_and_gradient(start(formula), 0.2 / len(y), (seed,))
        singles += any(np.allclose(value, single, rtol=1e-12) for single in one_by_one)
    # of samples with rows, 0.903 have one: exp(-0.2) * 0.2 / (1 - exp(-0.2))
    assert 28 <= singles <= 40


def loss_sum(seed: int) -> LossSum:
    rng = np.random.default_rng(seed)
    return LossSum(rng.normal(size=2), rng.normal(size=(2, 3)), float(rng.random()))


def assert_sum(found: LossSum, parts: Sequence[LossSum]) -> None:
    assert found.value is not None
    assert found.gradient is not None
    np.testing.assert_allclose(found.value, sum(part.value for part in parts), rtol=1e-14)
    np.testing.assert_allclose(found.gradient, sum(part.gradient for part in parts), rtol=1e-14)
    assert found.weight == pytest.approx(sum(part.weight for part in parts), rel=1e-14)


def test_an_empty_sum_is_neutral_on_either_side() -> None:
    assert_sum(LossSum().merge(loss_sum(0)), [loss_sum(0)])
    assert_sum(loss_sum(0).merge(LossSum()), [loss_sum(0)])
    both = LossSum().merge(LossSum())
    assert (both.value, both.gradient, both.weight) == (None, None, 0.0)


def test_sums_merge_in_any_order() -> None:
    parts = [loss_sum(k) for k in range(4)]
    left = LossSum()
    for k in range(4):
        left = left.merge(loss_sum(k))
    assert_sum(left, parts)
    pairs = loss_sum(3).merge(loss_sum(1)).merge(loss_sum(2).merge(loss_sum(0)))
    assert_sum(pairs, parts)


def test_adding_rows_is_merging_their_sum() -> None:
    added, other = loss_sum(0), loss_sum(1)
    assert other.value is not None
    assert other.gradient is not None
    added.add(other.value, other.gradient, other.weight)
    assert_sum(added, [loss_sum(0), loss_sum(1)])


def test_sums_of_models_and_of_normal_equations_add_every_part() -> None:
    models = [ModelSum(np.full(3, 10.0**k), 0.5**k) for k in range(3)]
    merged = models[0].merge(models[1]).merge(models[2])
    np.testing.assert_array_equal(merged.coef, np.full(3, 111.0))
    assert merged.weight == 1.75
    grams = [GramSum(np.full((2, 2), 10.0**k), np.full(2, 2.0**k), 0.5**k) for k in range(3)]
    total = grams[0].merge(grams[1]).merge(grams[2])
    np.testing.assert_array_equal(total.products, np.full((2, 2), 111.0))
    np.testing.assert_array_equal(total.sums, np.full(2, 7.0))
    assert total.weight == 1.75


def test_passes_and_sums_survive_the_way_to_a_worker_and_back() -> None:
    formula = FORMULAS["huber"]
    [block] = split(formula, [])
    objective = make_objective(formula, [block])
    layout, units = objective.layout, objective.standardization
    passes: list[Pass] = [
        GradientPass(formula.loss, LinearPredictor(layout), start(formula), 0.5, (1,)),
        LocalUpdatePass(
            local_models(objective, [L2(0.1)] * 2), tuple(SETTINGS), start(formula), (1,)
        ),
        GramPass(units.shift, units.scale, 0.5),
    ]
    for task in passes:
        here = task(block, 0)
        there = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(task))(block, 0)))
        for name, value in vars(here).items():
            found = getattr(there, name)
            if name == "parts":
                for part, other in zip(value, found, strict=True):
                    np.testing.assert_array_equal(other.coef, part.coef)
                    assert other.weight == part.weight
            else:
                np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_a_pass_leaves_coefficients_and_rows_alone(fraction: float) -> None:
    formula = FORMULAS["huber"]
    blocks = split(formula, [30])
    for block in blocks:
        assert isinstance(block.X, np.ndarray)
        block.X.flags.writeable = block.y.flags.writeable = False
    objective = make_objective(formula, blocks)
    coef = start(formula)
    coef.flags.writeable = False
    objective.value_and_gradient(coef, fraction, (0,))
    objective.local_update(coef, [L2(0.1)] * 2, SETTINGS, (0,))
    objective.gram(0.5)


WIDE_FEATURES = 30


def wide_blocks(seed: int) -> list[Block]:
    """Sparse rows whose blocks share some columns, or all, or none; one block has them all."""
    rng = np.random.default_rng(seed)
    found = []
    for columns in ([1, 2, 3], [1, 2, 3], [3, 7], [20, 29], [], list(range(WIDE_FEATURES))):
        X = np.zeros((8, WIDE_FEATURES))
        X[:, columns] = rng.normal(size=(8, len(columns)))
        found.append(Block(as_csr(X), rng.integers(0, 2, 8).astype(float)))
    return found


@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", ""])
@pytest.mark.parametrize(
    ("loss", "outputs", "constants"),
    [(Logistic(), 1, 0), (Multinomial(), 3, 0), (Huber(), 1, 1)],
    ids=["one output", "several outputs", "a constant"],
)
def test_columns_without_values_do_not_travel(
    monkeypatch: pytest.MonkeyPatch, loss: Loss, outputs: int, constants: int, intercept: bool
) -> None:
    layout = Layout(WIDE_FEATURES, outputs, intercept, constants)
    rng = np.random.default_rng(5)
    coef = np.abs(rng.normal(size=(2, layout.size)))
    blocks = wide_blocks(6)
    task = GradientPass(loss, LinearPredictor(layout), coef)
    wanted = [task(block, number) for number, block in enumerate(blocks)]
    assert all(one.places is None for one in wanted)
    monkeypatch.setattr(gradient_room, "WIDE", 10)
    found = [task(block, number) for number, block in enumerate(blocks)]
    shared = layout.size - layout.intercepts.start
    assert [None if one.places is None else len(one.places) for one in found] == [
        outputs * columns + shared if columns < WIDE_FEATURES else None
        for columns in (3, 3, 2, 2, 0, WIDE_FEATURES)
    ]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.whole_gradient(layout.size), other.gradient)
    expected = reduce(LossSum.merge, wanted, LossSum())
    for order in permutations(range(len(blocks)), 3):
        rest = [number for number in range(len(blocks)) if number not in order]
        parts = [task(blocks[number], number) for number in (*order, *rest)]
        total = reduce(LossSum.merge, parts, LossSum())
        whole = total.whole_gradient(layout.size)
        np.testing.assert_allclose(whole, expected.gradient, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(total.value, expected.value, rtol=1e-12)
