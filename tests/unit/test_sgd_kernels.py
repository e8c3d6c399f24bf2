"""Epochs of SGD: step for step those of an explicit loop over explicit rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as SklearnElasticNet

import sparkml_lsml.engine.kernels.sgd as room
from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import SgdEpochs, sgd_epochs
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.sgd_steps import MIN_STEPS, batch_rows, batches, start_gradient
from sparkml_lsml.engine.kernels.wide_sgd import LazyWeights, wide_epochs
from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.engine.predictors.base import Predictor
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from tests.checks.dense import network
from tests.unit.formulas import FORMULAS, Array, Formula, make_block, ones_or

SEED = (3, 1, 4)

LAST = SgdEpochs(epochs=2, batch_size=3, step_size=0.05, average=False)

every_formula = pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
both_forms = pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
both_intercepts = pytest.mark.parametrize("fit_intercept", [True, False], ids=["bias", "no bias"])
both_kernels = pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])


@dataclass(frozen=True, eq=False)
class Task:
    """A round of SGD: everything but its settings."""

    formula: Formula
    layout: Layout
    X: Array
    y: Array
    weight: Array | None
    standardization: Standardization
    penalty: ElasticNet
    coef: Array

    def block(self, compressed: bool) -> Block:
        return make_block(self.X, self.y, self.weight, compressed)

    def arguments(
        self, block: Block, settings: SgdEpochs, seed: tuple[int, ...]
    ) -> tuple[Any, ...]:
        predictor = LinearPredictor(self.layout)
        parts = (self.formula.loss, predictor, self.standardization, self.penalty)
        return block, LocalModel(*parts, number=0), settings, self.coef, seed

    def narrow(
        self, settings: SgdEpochs, compressed: bool = False, seed: tuple[int, ...] = SEED
    ) -> Array:
        return sgd_epochs(*self.arguments(self.block(compressed), settings, seed))

    def wide(self, settings: SgdEpochs, seed: tuple[int, ...] = SEED) -> Array:
        return wide_epochs(*self.arguments(self.block(compressed=True), settings, seed))


def make_task(
    formula: Formula,
    *,
    fit_intercept: bool = True,
    weighted: str = "weighted",
    l1: float = 0.0,
    l2: float = 0.0,
    uneven: bool = False,
    density: float = 0.5,
    rows: int = 53,
    features: int = 5,
    centred: bool = True,
) -> Task:
    """Rows whose last column has no coefficient; ``uneven`` makes each L2 strength another."""
    rng = np.random.default_rng(rows)
    X = (rng.normal(size=(rows, features)) + 0.5) * (rng.random((rows, features)) < density)
    weight = {
        "plain": None,
        "weighted": rng.uniform(0.0, 2.0, size=rows) * (rng.random(rows) < 0.9),
        "nothing": np.zeros(rows),
    }[weighted]
    layout = formula.layout(features, fit_intercept)
    scale = rng.uniform(0.5, 1.5, size=features)
    scale[-1] = 0.0
    shift = rng.normal(size=features) if fit_intercept and centred else np.zeros(features)
    coef = formula.coef(rng, layout)[0]
    layout.weight_matrix(coef[None, :])[0, :, -1] = 0.0

    def spread(strength: float, factors: Array) -> Array:
        out = np.zeros(layout.size)
        out[layout.weights] = np.tile(
            strength * np.where(scale > 0.0, factors, 0.0), layout.outputs
        )
        return out

    even = np.ones(features)
    return Task(
        formula,
        layout,
        X,
        formula.labels(rng, rows),
        weight,
        Standardization(layout, scale, shift, 1.0 if formula.classes else 1.5),
        ElasticNet(spread(l1, even), spread(l2, even + uneven * rng.random(features))),
        coef,
    )


def soft(values: Array, threshold: Array) -> Array:
    return np.where(np.abs(values) > threshold, values - np.sign(values) * threshold, 0.0)


def explicit(task: Task, settings: SgdEpochs, *, wide: bool = False, every: int = 1) -> Array:
    """The documented steps, with rows that are scaled and centred in fact; weight 0 is no row.

    The wide kernel leaves rows uncentred, and takes what an L2 strength has above the least one as
    the factor ``exp(-extra * rate)``; its average takes one iterate in ``every``.
    """
    formula, layout, units = task.formula, task.layout, task.standardization
    bias, w = layout.fit_intercept, task.coef.copy()
    shift = np.zeros(layout.features) if wide else units.shift
    slope = units.scale * (units.shift - shift)
    Z = (task.X - shift) * units.scale

    def uncentre(at: Array, sign: float) -> Array:
        out = at.copy()
        if bias:
            out[layout.intercepts] += sign * layout.weight_matrix(at[None, :])[0] @ slope
        return out

    def gradient(at: Array, rows: Any, weight: Array) -> Array:
        return formula.gradient(Z[rows], task.y[rows], weight, at, bias, units.label_scale)

    w = uncentre(w, -1.0)
    weight = ones_or(task.weight, len(Z))
    mean = weight[weight > 0.0].mean() if weight.any() else 1.0
    l1, l2 = np.asarray(task.penalty.l1()), np.asarray(task.penalty.l2())
    least = np.min(l2[layout.weights], where=np.tile(units.scale > 0, layout.outputs), initial=9e9)
    extra = np.where(l2 > 0.0, l2 - least, 0.0) if wide else np.zeros_like(l2)
    start, drift = w, np.zeros_like(w)
    if settings.variance_reduction:
        drift = gradient(start, slice(None), weight / (weight.sum() or 1.0))
    velocity, iterates = np.zeros_like(w), []
    plan = list(batches(task.block(False), LinearPredictor(layout), settings, SEED))
    for t, rows in enumerate(plan):
        share = weight[rows] / (len(rows) * mean)
        rate = settings.step_size / (1.0 + settings.decay * t) ** settings.power
        at = w + settings.momentum * velocity if settings.nesterov else w
        change = gradient(at, rows, share)
        if settings.variance_reduction:
            change = change - gradient(start, rows, share)
        moved = w - rate * (change + (l2 - extra) * at)
        moved = np.exp(-extra * rate) * moved - rate * drift + settings.momentum * velocity
        moved = soft(moved, rate * l1)
        velocity, w = moved - w, moved
        if settings.average and t >= len(plan) / 2 and t % every == 0:
            iterates.append(w)
    return uncentre(np.mean(iterates, axis=0) if iterates else w, 1.0)


SETTINGS = {
    "last": LAST,
    "average": replace(LAST, average=True),
    "decay": replace(LAST, decay=0.3, power=0.6),
    "svrg": replace(LAST, variance_reduction=True),
    "svrg average": replace(LAST, variance_reduction=True, average=True, decay=0.1),
}
every_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)

MOMENTA = {
    "heavy ball": replace(LAST, momentum=0.8),
    "nesterov": replace(LAST, momentum=0.8, nesterov=True),
    "nesterov svrg": replace(
        LAST, momentum=0.7, nesterov=True, variance_reduction=True, average=True
    ),
}
every_momentum = pytest.mark.parametrize("settings", MOMENTA.values(), ids=MOMENTA)

STRENGTHS: dict[str, dict[str, Any]] = {
    "none": {},
    "l2": {"l2": 0.4},
    "l1": {"l1": 0.3},
    "both": {"l1": 0.3, "l2": 0.4},
    "uneven l2": {"l2": 0.4, "uneven": True},
    "uneven both": {"l1": 0.3, "l2": 0.4, "uneven": True},
}
every_strength = pytest.mark.parametrize("strengths", STRENGTHS.values(), ids=STRENGTHS)


def assert_same(found: Array, wanted: Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-11)


@every_formula
@every_setting
@both_intercepts
@both_forms
def test_narrow_rows_follow_the_explicit_loop(
    formula: Formula, settings: SgdEpochs, fit_intercept: bool, compressed: bool
) -> None:
    task = make_task(formula, fit_intercept=fit_intercept, l1=0.2, l2=0.3, uneven=True)
    assert_same(task.narrow(settings, compressed), explicit(task, settings))


@every_strength
@every_momentum
def test_momentum_takes_a_share_of_the_last_update_again(
    strengths: dict[str, Any], settings: SgdEpochs
) -> None:
    for name in ("squared", "multinomial"):
        task = make_task(FORMULAS[name], **strengths)
        wanted = explicit(task, settings)
        assert_same(task.narrow(settings), wanted)
        without = replace(settings, momentum=0.0, nesterov=False)
        assert np.abs(task.narrow(without) - wanted).max() > 1e-3


@every_formula
@every_setting
@both_intercepts
def test_wide_rows_follow_the_explicit_loop_where_no_value_is_zero(
    formula: Formula, settings: SgdEpochs, fit_intercept: bool
) -> None:
    # every step reads every column, so that nothing is owed for longer than one
    task = make_task(formula, fit_intercept=fit_intercept, density=1.0, l1=0.2, l2=0.3, uneven=True)
    assert_same(task.wide(settings), explicit(task, settings, wide=True))


def exact(strengths: dict[str, Any], settings: SgdEpochs) -> bool:
    """Whether what many steps owe is what they owe together.

    Factors multiply, drifts add, and a soft threshold of a after one of b is one of a + b. Two of
    the three do not commute where a coefficient changes its sign.
    """
    dense = [bool(strengths.get("l1")), bool(strengths.get("uneven")), settings.variance_reduction]
    return sum(dense) <= 1


LAZY = [
    pytest.param(strengths, settings, id=f"{name}-{way}")
    for name, strengths in STRENGTHS.items()
    for way, settings in SETTINGS.items()
    if exact(strengths, settings) and not settings.average
]


@pytest.mark.parametrize(("strengths", "settings"), LAZY)
@pytest.mark.parametrize("density", [0.4, 0.05])
@pytest.mark.parametrize("name", ["squared", "multinomial"])
def test_wide_rows_follow_the_explicit_loop_where_columns_wait(
    name: str, density: float, strengths: dict[str, Any], settings: SgdEpochs
) -> None:
    task = make_task(FORMULAS[name], density=density, **strengths)
    assert_same(task.wide(settings), explicit(task, settings, wide=True))


@both_intercepts
@pytest.mark.parametrize(
    ("strengths", "settings"), [case for case in LAZY if "uneven" not in str(case.id)]
)
def test_wide_and_narrow_rows_agree_where_nothing_is_centred(
    fit_intercept: bool, strengths: dict[str, Any], settings: SgdEpochs
) -> None:
    task = make_task(FORMULAS["logistic"], fit_intercept=fit_intercept, centred=False, **strengths)
    assert_same(task.wide(settings), task.narrow(settings))


@pytest.mark.parametrize("decay", [0.9, 0.999, 1.0])
@pytest.mark.parametrize("way", ["l1", "svrg"])
def test_a_strong_l2_penalty_does_not_underflow(decay: float, way: str) -> None:
    # weights lose this share of themselves a step: 160 steps would leave them 1e-160 or less
    l2 = 4.0
    settings = replace(
        LAST, epochs=9, step_size=decay / l2, decay=0.0, variance_reduction=way == "svrg"
    )
    task = make_task(FORMULAS["logistic"], l2=l2, l1=0.01 * (way == "l1"), density=0.3)
    found = task.wide(settings)
    assert np.isfinite(found).all()
    assert_same(found, explicit(task, settings, wide=True))


def test_wide_averages_cost_as_much_as_an_epoch() -> None:
    # 54 steps over 200 columns, of which an epoch reads about 106: far fewer averages than steps
    task = make_task(
        FORMULAS["squared"], features=200, density=0.01, l1=0.1, l2=0.1, weighted="plain"
    )
    settings = replace(LAST, epochs=3, average=True)
    nonzeros = np.count_nonzero(task.X)
    steps = 3 * 18
    every = steps * 200 // (3 * nonzeros + 200)
    assert 3 < every < steps / 2
    assert_same(task.wide(settings), explicit(task, settings, wide=True, every=every))


@pytest.mark.parametrize(("difference", "entries"), [(1e-15, 0), (1e-9, 3)])
def test_strengths_that_differ_by_rounding_owe_nothing(difference: float, entries: int) -> None:
    zeros, l2 = np.zeros((1, 3)), 0.3 * (1.0 + difference * np.arange(3.0)[None, :])
    lazy = LazyWeights(zeros, zeros, l2, zeros, np.ones(3, dtype=bool))
    assert lazy.paid.size == entries


@both_intercepts
@pytest.mark.parametrize("nesterov", [False, True])
def test_wide_rows_take_no_momentum(fit_intercept: bool, nesterov: bool) -> None:
    task = make_task(FORMULAS["logistic"], fit_intercept=fit_intercept, l2=0.3)
    moving = replace(LAST, momentum=0.9, nesterov=nesterov)
    np.testing.assert_array_equal(task.wide(moving), task.wide(LAST))


def test_only_sparse_rows_of_many_features_are_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(FORMULAS["logistic"], l2=0.3, features=6)
    settings = replace(LAST, momentum=0.9)  # which tells the two apart
    wide, narrow = task.wide(settings), task.narrow(settings)
    assert np.abs(wide - narrow).max() > 1e-3
    for limit, compressed, wanted in [(5, True, wide), (6, True, narrow), (5, False, narrow)]:
        monkeypatch.setattr(room, "WIDE", limit)
        assert_same(task.narrow(settings, compressed), wanted)


def run(task: Task, settings: SgdEpochs, wide: bool, seed: tuple[int, ...] = SEED) -> Array:
    return task.wide(settings, seed) if wide else task.narrow(settings, seed=seed)


@every_formula
@both_kernels
@pytest.mark.parametrize("weighted", ["plain", "nothing"])
def test_weights_may_be_missing_or_all_zero(formula: Formula, wide: bool, weighted: str) -> None:
    for settings in (LAST, SETTINGS["svrg"]):
        task = make_task(formula, weighted=weighted, l2=0.3)
        assert_same(run(task, settings, wide), explicit(task, settings, wide=wide))


@both_kernels
def test_only_the_proportions_of_weights_count(wide: bool) -> None:
    task = make_task(FORMULAS["logistic"], l2=0.3)
    assert task.weight is not None
    heavy = replace(task, weight=64.0 * task.weight)
    for settings in (LAST, SETTINGS["svrg"]):
        assert_same(run(heavy, settings, wide), run(task, settings, wide))


@every_formula
@both_kernels
def test_no_epochs_change_nothing(formula: Formula, wide: bool) -> None:
    task = make_task(formula, l1=0.1, l2=0.3)
    for settings in SETTINGS.values():
        found = run(task, replace(settings, epochs=0), wide)
        np.testing.assert_allclose(found, task.coef, rtol=1e-14, atol=1e-15)


@every_formula
@both_forms
def test_a_block_without_rows_changes_nothing(
    formula: Formula, compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(formula, l1=0.1, l2=0.3)
    empty = replace(task, X=task.X[:0], y=task.y[:0], weight=None)
    for limit in (0, room.WIDE):
        monkeypatch.setattr(room, "WIDE", limit)
        for settings in SETTINGS.values():
            np.testing.assert_array_equal(empty.narrow(settings, compressed), task.coef)


@both_kernels
@every_setting
def test_the_seed_decides_the_order_and_the_start_stays_as_it_is(
    wide: bool, settings: SgdEpochs
) -> None:
    task = make_task(FORMULAS["logistic"], l1=0.1, l2=0.3)
    before = task.coef.copy()
    first, again = (run(task, settings, wide) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(run(task, settings, wide, seed=(3, 1, 5)) - first).max() > 1e-4
    np.testing.assert_array_equal(task.coef, before)


@both_kernels
def test_rows_in_single_precision_are_worked_on_in_double(wide: bool) -> None:
    task = make_task(FORMULAS["logistic"], l2=0.3)
    single = task.X.astype(np.float32)
    kernel = wide_epochs if wide else sgd_epochs
    block = Block(as_csr(single) if wide else single, task.y, task.weight)
    found = kernel(*task.arguments(block, LAST, SEED))
    assert_same(found, explicit(replace(task, X=single.astype(np.float64)), LAST, wide=wide))


def optimum(task: Task, l1: float, l2: float) -> Array:
    """scikit-learn's minimum over the explicit rows, in units where labels are divided."""
    units = task.standardization
    Z = (task.X - units.shift) * units.scale * units.label_scale
    model = SklearnElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-15, max_iter=1_000_000)
    model.fit(Z, task.y, sample_weight=task.weight)
    return np.append(model.coef_, model.intercept_ / units.label_scale)


@both_kernels
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(("l1", "l2"), [(0.01, 0.3), (0.3, 0.2)])
def test_without_variance_the_optimum_is_a_fixed_point(
    wide: bool, average: bool, l1: float, l2: float
) -> None:
    task = make_task(FORMULAS["squared"], l1=l1, l2=l2)
    task = replace(task, coef=optimum(task, l1, l2))
    if l1 > 0.1:
        assert 0 < np.count_nonzero(task.coef[:4]) < 4
    settings = replace(LAST, epochs=4, average=average)
    reduced = run(task, replace(settings, variance_reduction=True), wide)
    np.testing.assert_allclose(reduced, task.coef, atol=1e-8)
    assert np.abs(run(task, settings, wide) - task.coef).max() > 1e-2


@every_formula
def test_the_start_gradient_is_that_of_the_mean_loss_in_stored_features(formula: Formula) -> None:
    task = make_task(formula)
    found = start_gradient(
        task.block(True),
        formula.loss,
        LinearPredictor(task.layout),
        task.standardization,
        task.coef,
    )
    weight = ones_or(task.weight, len(task.X))
    stored = task.standardization.to_stored(task.coef[None, :])[0]
    assert_same(
        found, formula.gradient(task.X, task.y, weight / weight.sum(), stored, fit_intercept=True)
    )


LINE = LinearPredictor(Layout(features=1))
NETWORK = network((1, 2, 1))


@pytest.mark.parametrize(
    ("predictor", "rows", "batch_size", "size"),
    [
        (LINE, 1, 128, 1),
        (LINE, 15, 128, 1),
        (LINE, 40, 128, 2),
        (LINE, 40, 1, 1),
        (LINE, 2_048, 128, 128),
        (LINE, 10_000, 128, 128),
        # a network's batches are as large as asked for, on the smallest block too
        (NETWORK, 1, 128, 1),
        (NETWORK, 40, 16, 16),
        (NETWORK, 40, 128, 40),
    ],
)
def test_batches_visit_every_row_once_an_epoch_in_a_new_order(
    predictor: Predictor, rows: int, batch_size: int, size: int
) -> None:
    block = Block(np.zeros((rows, 1)), np.zeros(rows))
    settings = SgdEpochs(epochs=3, batch_size=batch_size)
    plan = list(batches(block, predictor, settings, SEED))
    assert batch_rows(batch_size, rows, predictor) == size
    steps = -(-rows // size)
    assert [len(batch) for batch in plan[: steps - 1]] == [size] * (steps - 1)
    assert len(plan) == 3 * steps
    orders = [np.concatenate(plan[k * steps : (k + 1) * steps]) for k in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(rows))
    if rows >= 15:
        assert len({order.tobytes() for order in orders}) == 3
    if rows >= MIN_STEPS and predictor.convex:
        assert steps >= MIN_STEPS


def test_the_step_falls_as_documented() -> None:
    settings = SgdEpochs(step_size=0.5, decay=3.0, power=2.0)
    assert [settings.rate(t) for t in range(3)] == [0.5, 0.5 / 16.0, 0.5 / 49.0]
    assert SgdEpochs(step_size=0.5).rate(1_000) == 0.5
