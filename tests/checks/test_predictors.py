"""The engine with a predictor that is not linear: nothing takes it for a linear one."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import compiled, value_and_gradient
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.sgd import SgdEpochs, sgd_epochs
from sparkml_lsml.engine.kernels.sgd_steps import batches
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.passes.reweighting import Validation
from sparkml_lsml.engine.penalties import L2
from sparkml_lsml.engine.predictors import (
    DensePredictor,
    Layout,
    LinearPredictor,
    Slot,
    Standardization,
)
from sparkml_lsml.engine.predictors.initialise import start as random_start
from sparkml_lsml.engine.solvers import (
    LBFGS,
    Adam,
    CoCoA,
    GradientDescent,
    LocalSGD,
    LocalSteps,
    NormalEquations,
    minimize,
)
from sparkml_lsml.engine.solvers.base import Run, Solution
from sparkml_lsml.engine.solvers.checkpoint import read_run, write_run
from sparkml_lsml.engine.solvers.early_stopping import EarlyStopping
from sparkml_lsml.engine.solvers.warm_start import Sample, sample_of
from sparkml_lsml.losses import Huber, Logistic, Loss, Multinomial, Squared, SquaredHinge
from tests.checks.dense import explicit_raw, network

Array = npt.NDArray[np.float64]

ROWS, FEATURES, HIDDEN = 240, 3, 5
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, FEATURES)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 1.0]
INSIDE = (((X - X.mean(axis=0)) / X.std(axis=0)) ** 2).sum(axis=1)
WEIGHT = RNG.uniform(0.5, 2.0, size=ROWS)
LABELS: dict[str, Array] = {
    "classes": np.digitize(INSIDE, [1.5, 3.0]).astype(float),
    "binary": (INSIDE > 2.4).astype(float),
    "real": 1_000.0 * np.sqrt(INSIDE),
}
"""A sphere, which no plane tells apart."""

CASES: dict[str, tuple[Loss, str, int]] = {
    "multinomial": (Multinomial(), "classes", 3),
    "logistic": (Logistic(), "binary", 1),
    "squaredHinge": (SquaredHinge(), "binary", 1),
    "squared": (Squared(), "real", 1),
    "huber": (Huber(), "real", 1),
}
SOLVERS: dict[str, Any] = {
    "l-bfgs": LBFGS(tol=1e-8),
    "adam": Adam(fraction=0.5, step_size=0.3, schedule="constant", seed=3),
    "local-steps": LocalSteps(step_size=0.03, schedule="constant", batch_size=16, seed=3),
}
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
every_case = pytest.mark.parametrize("case", CASES)


def predictor_of(case: str, **more: Any) -> DensePredictor:
    loss, _, outputs = CASES[case]
    return network((FEATURES, HIDDEN, outputs), constants=len(loss.constants), **more)


def units_of(predictor: DensePredictor, y: Array) -> Standardization:
    scale = float(y.std()) if len(np.unique(y)) > 3 else 1.0
    return Standardization(predictor.layout, 1.0 / X.std(axis=0), X.mean(axis=0), scale)


def objective_of(
    case: str, cuts: int = 1, *, compressed: bool = False, held: Array | None = None, **more: Any
) -> BlockObjective:
    loss, labels, _ = CASES[case]
    y, predictor = LABELS[labels], predictor_of(case, **more)
    fold = None if held is None else held.astype(np.int32)
    whole = Block(as_csr(X) if compressed else X, y, WEIGHT, fold)
    blocks = [whole.subset(rows) for rows in np.array_split(np.arange(ROWS), cuts)]
    weights = None if held is None else Validation(1)
    return BlockObjective(
        LocalBlocks(blocks), loss, predictor, units_of(predictor, y), reweighting=weights
    )


def starts(case: str, models: int = 1) -> Array:
    return np.stack([random_start(predictor_of(case), seed) for seed in range(models)])


def solve(
    objective: BlockObjective, solver: Any, start: Array, max_iter: int = 30, **more: Any
) -> list[Solution]:
    penalties = [objective.standardization.penalty(0.0, l2) for l2 in (1e-3, 1e-2)][: len(start)]
    return minimize(objective, penalties, solver, start, max_iter=max_iter, **more)


# ------------------------------------------------------------------- layout


def test_slices_of_a_network_are_next_to_each_other() -> None:
    layout = Layout.dense([4, 3, 5, 2], constants=1)
    assert (layout.weights, layout.intercepts) == (slice(0, 12), slice(12, 15))
    assert layout.inputs == slice(0, 15)
    assert layout.slots == (slice(15, 30), slice(30, 35), slice(35, 45), slice(45, 47))
    assert layout.decayed == (slice(0, 12), slice(15, 30), slice(35, 45))
    assert layout.extras == slice(47, 48)
    assert layout.head == slice(35, 48)
    assert layout.size == 48


def test_of_a_linear_layout_everything_is_input_and_head() -> None:
    layout = Layout(4, outputs=2, constants=1)
    assert (layout.inputs, layout.slots) == (slice(0, 10), ())
    assert layout.head == slice(0, 11)
    assert layout.decayed == (layout.weights,)


def test_a_layout_may_have_no_map_of_the_features_and_buffers() -> None:
    slots = (Slot(7, decayed=True), Slot(2, head=True))
    layout = Layout(6, outputs=0, fit_intercept=False, inner=slots, buffers=3)
    assert layout.size == 12
    assert layout.buffered == slice(9, 12)
    assert layout.head == slice(7, 9)
    units = Standardization(layout, np.full(6, 2.0), np.ones(6), 10.0)
    coef = np.arange(1.0, 13.0)[None, :]
    stored = units.to_stored(coef)
    np.testing.assert_array_equal(stored[0, :7], coef[0, :7])
    np.testing.assert_array_equal(stored[0, 7:9], 10.0 * coef[0, 7:9])
    np.testing.assert_array_equal(stored[0, 9:], coef[0, 9:])
    for wrong in (slots[::-1], slots[:1]):
        with pytest.raises(ValueError, match="head come last"):
            Layout(6, inner=wrong)


# ------------------------------------------------------ units and gradients


@every_case
def test_stored_coefficients_predict_what_the_solvers_do_of_scaled_rows(case: str) -> None:
    """Scale and shift of the features go into the first map, the scale of labels into the last."""
    objective = objective_of(case)
    predictor, units = objective.predictor, objective.standardization
    assert isinstance(predictor, DensePredictor)
    coef = starts(case, 2)
    stored = units.to_stored(coef)
    Z = (X - units.shift) * units.scale
    raw = predictor.raw(X, stored)
    for k in range(2):
        wanted = units.label_scale * explicit_raw(predictor, Z, coef[k])
        np.testing.assert_allclose(raw[:, k, : predictor.outputs], wanted, rtol=1e-9, atol=1e-9)
    extras = predictor.layout.extras
    np.testing.assert_allclose(stored[:, extras], units.label_scale * coef[:, extras])
    np.testing.assert_allclose(units.from_stored(stored), coef, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("cuts", [1, 4])
@every_case
def test_gradients_are_central_differences_of_the_value(
    case: str, cuts: int, compressed: bool
) -> None:
    objective = objective_of(case, cuts, compressed=compressed)
    coef = starts(case, 2)
    value, gradient = objective.value_and_gradient(coef)
    assert objective.passes == 1
    loss, labels, _ = CASES[case]
    assert isinstance(objective.predictor, DensePredictor)
    raw = objective.predictor.raw(X, objective.standardization.to_stored(coef))
    losses, _ = loss.value_and_derivative(LABELS[labels], raw)
    np.testing.assert_allclose(value, np.average(losses, axis=0, weights=WEIGHT), rtol=1e-12)
    step = 1e-6
    for place in range(coef.shape[1]):
        move = np.zeros_like(coef)
        move[:, place] = step
        ends = [objective.value_and_gradient(coef + sign * move)[0] for sign in (1.0, -1.0)]
        slope = (ends[0] - ends[1]) / (2.0 * step)
        size = np.abs(gradient).max()
        np.testing.assert_allclose(gradient[:, place], slope, rtol=1e-5, atol=1e-7 * size)


def test_a_penalty_acts_on_weights_alone_and_on_those_of_the_head_in_units_of_the_label() -> None:
    objective = objective_of("squared")
    units, layout = objective.standardization, objective.layout
    strengths = np.broadcast_to(units.penalty(0.0, 0.5).l2(), (layout.size,))
    inner, biases = layout.slots
    np.testing.assert_allclose(strengths[layout.weights], 0.5 * np.tile(units.scale**2, HIDDEN))
    np.testing.assert_allclose(strengths[inner], 0.5 * units.label_scale**2)
    assert not strengths[layout.intercepts].any()
    assert not strengths[biases].any()
    l1 = np.broadcast_to(units.penalty(0.5, 0.0).l1(), (layout.size,))
    np.testing.assert_allclose(l1[inner], 0.5 * units.label_scale)


# ----------------------------------------------- what holds for linear alone


def test_a_network_of_one_output_is_not_computed_by_the_loops_of_linear_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its block is large, its loss has a code, and its raw predictions are one a row."""
    pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "LARGE", 0)
    objective = objective_of("logistic")
    predictor = objective.predictor
    assert compiled.compiled(Logistic(), predictor, 1, 10**9) is None
    assert compiled.compiled(Logistic(), LinearPredictor(Layout(FEATURES)), 1, 10**9) is not None
    coef, y = starts("logistic"), LABELS["binary"]
    value, _, weight = value_and_gradient(Block(X, y, WEIGHT), Logistic(), predictor, coef)
    assert isinstance(predictor, DensePredictor)
    margins = (2.0 * y - 1.0) * explicit_raw(predictor, X, coef[0])[:, 0]
    wanted = np.average(np.logaddexp(0.0, -margins), weights=WEIGHT)
    assert value[0] / weight[0] == pytest.approx(wanted, rel=1e-12)


def test_a_network_starts_from_no_sample() -> None:
    """One output and no constants, many rows: of a linear model a sample would be drawn."""
    objective = objective_of("logistic")
    objective.blocks = type("Many", (), {"rows": 10**8})()
    assert sample_of(objective, 10**10) == Sample()
    objective.predictor = LinearPredictor(Layout(FEATURES))
    assert sample_of(objective, 10**10).rows > 0


def test_solvers_of_linear_models_refuse_a_network() -> None:
    with pytest.raises(ValueError, match=r"'cocoa' takes linear predictors.*found DensePredictor"):
        solve(objective_of("logistic"), CoCoA(), starts("logistic"))
    objective = objective_of("squared")
    with pytest.raises(ValueError, match=r"normal equations are those of a linear.*DensePred"):
        NormalEquations().solve(objective, [L2(0.0)], 0.0)


@dataclass(frozen=True)
class OfSquares:
    """The same without the class: what is convex is not yet what the normal equations are of."""

    inner: LinearPredictor
    convex: ClassVar[bool] = True
    dtype: ClassVar[Any] = np.dtype(np.float64)

    @property
    def layout(self) -> Layout:
        return self.inner.layout

    @property
    def outputs(self) -> int:
        return 1

    @property
    def width(self) -> int:
        return 1

    def raw(self, X: Any, coef: Array) -> Array:
        return self.inner.raw(np.square(X), coef)

    def raw_and_pullback(self, X: Any, coef: Array, rng: Any = None) -> Any:
        return self.inner.raw_and_pullback(np.square(X), coef)

    def scoring(self, coef: Array) -> Any:
        return lambda X: self.inner.scoring(coef)(np.square(X))

    def step_unit(self, curvature: float, units: Standardization, batch: int) -> float:
        return 0.05


def test_what_is_linear_in_its_coefficients_alone_is_not_taken_for_linear_in_the_features() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(200, 2))
    y = np.square(rows) @ [1.0, 2.0] + 3.0
    predictor = OfSquares(LinearPredictor(Layout(2)))
    units = Standardization.identity(predictor.layout)
    objective = BlockObjective(LocalBlocks([Block(rows, y)]), Squared(), predictor, units)
    assert not objective.linear
    with pytest.raises(ValueError, match="normal equations are those of a linear predictor"):
        NormalEquations().solve(objective, [L2(0.0)], float(y.mean()))
    for solver in (
        LBFGS(),
        LocalSGD(variance_reduction=True, schedule="constant", batch_size=1, average=False),
    ):
        [found] = minimize(objective, L2(0.0), solver, np.zeros((1, 3)), max_iter=60)
        np.testing.assert_allclose(found.coef, [1.0, 2.0, 3.0], atol=1e-3)
    objective.blocks = type("Many", (), {"rows": 10**8})()
    assert sample_of(objective, 10**10) == Sample()


def test_the_step_of_a_first_order_solver_is_the_predictors() -> None:
    network, linear = objective_of("logistic"), objective_of("logistic")
    linear.predictor = LinearPredictor(Layout(FEATURES))
    linear.units = Standardization.identity(linear.layout)
    assert network.step_unit() == network.step_unit(8) == 1.0
    # the trace bound: 1/4 a column of unit variance, and the intercept
    assert linear.step_unit() == pytest.approx(1.0)
    assert linear.step_unit(5) == pytest.approx(5.0)


# ------------------------------------------------------------------- solvers


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("case", [case for case, (_, kind, _) in CASES.items() if kind != "real"])
def test_networks_learn_what_no_plane_can(case: str, name: str) -> None:
    """A linear fit of a sphere is as good as the constant; a network has far less to lose."""
    linear = objective_of(case)
    loss, _, outputs = CASES[case]
    layout = Layout(FEATURES, outputs, constants=len(loss.constants))
    linear.predictor = LinearPredictor(layout)
    linear.units = replace(linear.standardization, layout=layout)
    start = np.zeros((1, layout.size))
    start[0, layout.extras] = 1.0
    [plane] = minimize(linear, L2(0.0), LBFGS(), start)
    steps = 30 if name == "l-bfgs" else 150
    found = solve(objective_of(case), SOLVERS[name], starts(case, 1), steps)[0]
    assert found.objective < 0.7 * plane.objective


@pytest.mark.parametrize("solver", [SOLVERS["l-bfgs"], SOLVERS["adam"]], ids=["l-bfgs", "adam"])
def test_blocks_may_be_cut_in_any_way(solver: Any) -> None:
    """Sums of any cut are the same up to rounding, and so are samples of whole blocks."""
    whole = replace(solver, fraction=1.0) if isinstance(solver, Adam) else solver
    one, four = (
        solve(objective_of("multinomial", cuts), whole, starts("multinomial"), 12)[0]
        for cuts in (1, 4)
    )
    np.testing.assert_allclose(four.coef, one.coef, rtol=1e-7, atol=1e-9)
    assert [line.passes for line in four.history] == [line.passes for line in one.history]


@every_solver
def test_two_in_one_batch_are_what_they_are_alone(solver: Any) -> None:
    start = starts("multinomial", 2)
    together = objective_of("multinomial", 3)
    both = solve(together, solver, start)
    passes = []
    for k, l2 in enumerate((1e-3, 1e-2)):
        single = objective_of("multinomial", 3)
        penalty = single.standardization.penalty(0.0, l2)
        [found] = minimize(single, penalty, solver, start[[k]], max_iter=30)
        np.testing.assert_allclose(both[k].coef, found.coef, rtol=1e-9, atol=1e-11)
        passes.append(single.passes)
    assert together.passes <= max(passes) + 1 < sum(passes)


@pytest.mark.parametrize("at", [1, 7])
@every_solver
def test_a_run_goes_on_from_a_checkpoint_to_the_bit(solver: Any, at: int) -> None:
    kept: list[bytes] = []

    def keep(run: Run) -> None:
        file = io.BytesIO()
        write_run(run, file)
        kept.append(file.getvalue())

    objective, start = objective_of("multinomial", 2), starts("multinomial", 2)
    whole = solve(objective, solver, start, 15, keep=keep)
    run = read_run(io.BytesIO(kept[at]), [solver] * 2)
    rest = solve(objective_of("multinomial", 2), solver, start, 15, resume=run)
    for first, second in zip(whole, rest, strict=True):
        assert second.coef.tobytes() == first.coef.tobytes()
        told, told_again = (
            [(line.objective, str(line.gradient_norm), line.passes) for line in found.history]
            for found in (first, second)
        )
        assert told_again == told


@every_solver
def test_early_stopping_keeps_the_best_iteration_of_the_validation(solver: Any) -> None:
    held = np.arange(ROWS) % 3 == 0
    objective = objective_of("multinomial", 2, held=held)
    rule = EarlyStopping(patience=8)
    start = starts("multinomial")
    [found] = minimize(objective, L2(0.0), solver, start, max_iter=200, early_stopping=rule)
    losses = {line.iteration: line.validation for line in found.history}
    assert found.reason.name == "early_stopping"
    assert found.best is not None
    assert found.best.iteration == min(losses, key=losses.__getitem__)
    raw = objective.predictor.raw(X[held], objective.standardization.to_stored(found.coef[None]))
    values, _ = Multinomial().value_and_derivative(LABELS["classes"][held], raw)
    wanted = np.average(values[:, 0], weights=WEIGHT[held])
    assert min(losses.values()) == pytest.approx(wanted, rel=1e-9)


def test_plain_gradient_descent_lowers_the_loss_of_a_network() -> None:
    objective = objective_of("logistic")
    [found] = solve(objective, GradientDescent(), starts("logistic"), 100)
    values = [line.objective for line in found.history]
    assert all(after <= before for before, after in itertools.pairwise(values))
    assert values[-1] < 0.9 * values[0]


# ------------------------------------------------------------- local updates


@pytest.mark.parametrize("reduced", [False, True])
@every_case
def test_a_local_step_is_one_against_the_gradient(case: str, reduced: bool) -> None:
    """Of one batch of all rows; variance reduction then changes nothing."""
    objective = objective_of(case)
    loss, labels, _ = CASES[case]
    units, coef = objective.standardization, starts(case)[0]
    penalty = units.penalty(0.0, 1e-3)
    settings = SgdEpochs(batch_size=10**6, step_size=0.1, average=False)
    settings = replace(settings, variance_reduction=reduced)
    model = LocalModel(loss, objective.predictor, units, penalty, 0)
    # so few rows make batches of 1/16 of them; a single row is a batch of all
    block = Block(X[:1], LABELS[labels][:1], WEIGHT[:1])
    found = sgd_epochs(block, model, settings, coef, (0,))
    single = replace(objective, blocks=LocalBlocks([block]))
    _, [gradient] = single.value_and_gradient(coef[None, :])
    slope = gradient + penalty.smooth_value_and_gradient(coef)[1]
    size = max(1.0, np.abs(slope).max())
    np.testing.assert_allclose(found, coef - 0.1 * slope, rtol=1e-10, atol=1e-12 * size)


def test_variance_reduction_takes_the_gradient_at_the_start_by_its_own_pullback() -> None:
    """A step from elsewhere: g(at) - g(start) + mean gradient at the start."""
    objective = objective_of("multinomial")
    units, penalty = objective.standardization, L2(0.0)
    settings = SgdEpochs(
        epochs=2, batch_size=1, step_size=0.1, average=False, variance_reduction=True
    )
    model = LocalModel(objective.loss, objective.predictor, units, penalty, 0)
    block = Block(X[:1], LABELS["classes"][:1])
    single = replace(objective, blocks=LocalBlocks([block]))
    at = start = starts("multinomial")
    for _ in range(2):  # of one row all gradients at the start cancel
        at = at - 0.1 * single.value_and_gradient(at)[1]
    found = sgd_epochs(block, model, settings, start[0], (0,))
    np.testing.assert_allclose(found, at[0], rtol=1e-10, atol=1e-12)


def test_rounds_of_local_updates_train_a_network() -> None:
    objective = objective_of("logistic", 2)
    solver = LocalSGD(step_size=0.1, schedule="constant", average=False, batch_size=8)
    [found] = solve(objective, solver, starts("logistic"), 40)
    assert found.objective < 0.75 * found.history[0].objective


def test_rows_without_weight_are_in_no_mini_batch() -> None:
    """Such as those of a validation: they cost as much, and a normalisation would see them."""
    weight = np.where(np.arange(100) % 4 == 0, 0.0, 1.0)
    block = Block(np.zeros((100, 1)), np.zeros(100), weight)
    settings = SgdEpochs(epochs=3, batch_size=4)
    plan = list(batches(block, network((1, 2, 1)), settings, (1,)))
    drawn = np.concatenate(plan)
    assert sorted(drawn.tolist()) == sorted(3 * np.flatnonzero(weight).tolist())
    assert {len(rows) for rows in plan} <= {4, 75 % 4}


# -------------------------------------------------------------------- dtype


def test_pieces_are_computed_in_the_dtype_of_the_predictor_and_summed_in_double() -> None:
    single = objective_of("multinomial", precision="float32")
    double = objective_of("multinomial")
    coef = starts("multinomial")
    value, gradient = single.value_and_gradient(coef)
    exact, wanted = double.value_and_gradient(coef)
    assert gradient.dtype == np.float64
    assert value[0] != exact[0]
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    np.testing.assert_allclose(gradient, wanted, rtol=0.0, atol=1e-5)
    # a bias whose derivative is 1 in every row: float32 would stop counting at 2^24
    rows = 3 * 2**23
    block = Block(np.zeros((rows, 1), dtype=np.float32), np.full(rows, -1.0))
    tiny = DensePredictor((1, 1), precision="float32")
    _, sums, _ = value_and_gradient(block, Squared(), tiny, np.zeros((1, 2)))
    assert sums[0, 1] == rows
