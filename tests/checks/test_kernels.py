"""Every kernel beside every loss: gradients, curvature and sums, against decimal arithmetic.

The references know nothing of blocks, layouts or arrays: they add up the textbook formulas of
`tests.checks.references` row after row, with a hundred digits, and difference that VALUE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import MIN_EMIN, Context, Decimal, localcontext
from functools import cache

import numpy as np
import pytest
from scipy import optimize

from sparkml_lsml.engine.blocks import Block, Moments
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import (
    SgdEpochs,
    compiled,
    gram,
    hessian,
    sgd,
    sgd_epochs,
    value_and_gradient,
)
from sparkml_lsml.engine.kernels.local import LocalModel
from sparkml_lsml.engine.kernels.sdca import DUAL_LOSSES, best_dual, dual_sums, gain
from sparkml_lsml.engine.kernels.sgd_steps import start_gradient
from sparkml_lsml.engine.kernels.value_gradient import loss_sums
from sparkml_lsml.engine.penalties import L2
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses import Loss, Squared
from sparkml_lsml.losses.one_vs_rest import OneVsRestLoss
from tests.checks.references import FORMULAS
from tests.checks.registry import LOSSES, Array, domain, draw_labels

FORMS = ["dense", "sparse", "dense float32", "sparse float32"]
ROWS, FEATURES, MODELS = 6, 3, 3

STEP = Decimal("1e-30")
PRECISE = Context(prec=100, Emin=MIN_EMIN)

every_loss = pytest.mark.parametrize("cls", LOSSES)
every_form = pytest.mark.parametrize("form", FORMS)
both_ways = pytest.mark.parametrize("fast", [False, True], ids=["numpy", "compiled"])
both_intercepts = pytest.mark.parametrize("fit_intercept", [True, False], ids=["bias", "no bias"])


@dataclass(frozen=True, eq=False)
class Task:
    """A few rows, which float32 holds exactly, and coefficients for them."""

    loss: Loss
    layout: Layout
    X: Array
    y: Array
    weight: Array
    factors: Array
    coef: Array

    def block(self, form: str, *, weighted: bool = True, rows: int = ROWS) -> Block:
        X = self.X[:rows].astype(np.float32 if "float32" in form else np.float64)
        weight = self.weight[:rows] if weighted else None
        return Block(as_csr(X) if "sparse" in form else X, self.y[:rows], weight)

    def total(self, shares: Array, coef: list[Decimal], y: Array | None = None) -> Decimal:
        """Sum of the losses of all rows times their shares, in a few plain lines."""
        layout, sum_ = self.layout, Decimal(0)
        for row, label, share in zip(self.X, self.y if y is None else y, shares, strict=True):
            raw = []
            for output in range(layout.outputs):
                weights = coef[output * FEATURES : (output + 1) * FEATURES]
                at = sum((Decimal(x) * w for x, w in zip(row.tolist(), weights, strict=True)), _0)
                raw.append(at + (coef[layout.intercepts][output] if layout.fit_intercept else 0))
            raw += coef[layout.extras]
            sum_ += Decimal(float(share)) * FORMULAS[self.loss.name](Decimal(float(label)), raw)
        return sum_


_0 = Decimal(0)


def decimals(values: Array) -> list[Decimal]:
    return [Decimal(value) for value in values.tolist()]


def slopes(value: Callable[[list[Decimal]], Decimal], at: list[Decimal]) -> Array:
    """Central differences: off by 1e-60."""
    found = []
    for k in range(len(at)):
        up, down = list(at), list(at)
        up[k] += STEP
        down[k] -= STEP
        found.append(float((value(up) - value(down)) / (2 * STEP)))
    return np.array(found)


def bends(value: Callable[[list[Decimal]], Decimal], at: list[Decimal]) -> Array:
    """Second differences."""
    size = len(at)
    found = np.zeros((size, size))
    for j, k in np.ndindex(size, size):
        terms = []
        for left, right in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            moved = list(at)
            moved[j] += left * STEP
            moved[k] += right * STEP
            terms.append(left * right * value(moved))
        found[j, k] = float(sum(terms, _0) / (4 * STEP**2))
    return found


@cache
def make_task(cls: type, fit_intercept: bool = True, seed: int = 0) -> Task:
    rng = np.random.default_rng(seed)
    loss = cls()
    layout = Layout(FEATURES, domain(loss).outputs, fit_intercept, len(loss.constants))
    X = rng.normal(size=(ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) < 0.7)
    X = X.astype(np.float32).astype(np.float64)
    coef = 2.0 * rng.normal(size=(MODELS, layout.size))
    coef[:, layout.extras] = 0.5 + rng.random((MODELS, layout.constants))
    weight = rng.uniform(0.1, 2.0, size=ROWS)
    weight[2] = 0.0
    factors = rng.integers(0, 3, size=(ROWS, MODELS)).astype(np.float64)
    return Task(loss, layout, X, draw_labels(loss, rng, ROWS), weight, factors, coef)


@cache
def expected_sums(cls: type, fit_intercept: bool, kind: str) -> tuple[Array, Array, Array]:
    """Values, gradients and weights of all models."""
    task = make_task(cls, fit_intercept)
    values, gradients, weights = [], [], []
    with localcontext(PRECISE):
        for k in range(MODELS):
            shares, at = shares_of(task, kind)[:, k], decimals(task.coef[k])
            values.append(float(task.total(shares, at)))
            gradients.append(slopes(lambda coef, s=shares: task.total(s, coef), at))  # type: ignore[misc]
            weights.append(float(shares.sum()))
    return np.array(values), np.stack(gradients), np.array(weights)


def shares_of(task: Task, kind: str) -> Array:
    shares = np.ones((ROWS, MODELS))
    if kind != "plain":
        shares *= task.weight[:, None]
    if kind == "reweighted":
        shares *= task.factors
    return shares


def use_loops(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """Take the compiled loops whatever the number of rows."""
    if fast:
        pytest.importorskip("numba")
        monkeypatch.setattr(compiled, "LARGE", 1)


@pytest.mark.parametrize("models", [1, MODELS])
@pytest.mark.parametrize("kind", ["plain", "weighted", "reweighted"])
@both_intercepts
@both_ways
@every_form
@every_loss
def test_gradient_is_the_difference_of_the_exact_value(
    monkeypatch: pytest.MonkeyPatch,
    cls: type,
    form: str,
    fast: bool,
    fit_intercept: bool,
    kind: str,
    models: int,
) -> None:
    use_loops(monkeypatch, fast)
    task = make_task(cls, fit_intercept)
    block, coef = task.block(form, weighted=kind != "plain"), task.coef[:models]
    factors = None
    if kind == "reweighted":
        factors = lambda start, stop: task.factors[start:stop, :models]  # noqa: E731
    found = value_and_gradient(
        block, task.loss, LinearPredictor(task.layout), coef, factors=factors
    )
    wanted = expected_sums(cls, fit_intercept, kind)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want[:models], rtol=1e-13, atol=1e-13)
    if kind != "reweighted":
        value, weight = loss_sums(block, task.loss, LinearPredictor(task.layout), coef)
        np.testing.assert_allclose(value, wanted[0][:models], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(weight, wanted[2][:models], rtol=1e-13)


@pytest.mark.parametrize("cls", [cls for cls in LOSSES if domain(cls()).labels == "binary"])
@both_ways
@every_form
def test_gradient_of_one_class_against_the_rest_is_the_difference_of_the_exact_value(
    monkeypatch: pytest.MonkeyPatch, cls: type, form: str, fast: bool
) -> None:
    use_loops(monkeypatch, fast)
    task = make_task(cls)
    classes = np.array([2.0, 0.0, 1.0, 1.0, 2.0, 0.0])
    block = task.block(form)
    block = Block(block.X, classes, block.weight)
    loss = OneVsRestLoss(task.loss, (2, 0, 1))
    value, gradient, _ = value_and_gradient(block, loss, LinearPredictor(task.layout), task.coef)
    with localcontext(PRECISE):
        for k, number in enumerate(loss.classes):
            y, at = (classes == number).astype(np.float64), decimals(task.coef[k])
            exact = task.total(task.weight, at, y)
            slope = slopes(lambda coef, y=y: task.total(task.weight, coef, y), at)  # type: ignore[misc]
            assert value[k] == pytest.approx(float(exact), rel=1e-13)
            np.testing.assert_allclose(gradient[k], slope, rtol=1e-13, atol=1e-13)


def units_of(task: Task) -> Standardization:
    """A scale and centre that are exact in binary."""
    shift = np.array([0.5, -0.25, 1.0]) if task.layout.fit_intercept else np.zeros(FEATURES)
    return Standardization(task.layout, np.array([2.0, 0.5, 4.0]), shift, 2.0)


def in_units(task: Task, units: Standardization, coef: list[Decimal]) -> list[Decimal]:
    """`Standardization.to_stored` in decimals."""
    layout, out = task.layout, [Decimal(units.label_scale) * c for c in coef]
    for output in range(layout.outputs):
        for j in range(FEATURES):
            at = output * FEATURES + j
            out[at] *= Decimal(float(units.scale[j]))
            if layout.fit_intercept:
                bias = layout.outputs * FEATURES + output
                out[bias] -= out[at] * Decimal(float(units.shift[j]))
    return out


@pytest.mark.parametrize(
    "cls", [cls for cls in LOSSES if domain(cls()).outputs == 1 and not cls().constants]
)
@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "plain"])
@both_intercepts
@every_form
def test_hessian_is_the_second_difference_of_the_exact_value(
    cls: type, form: str, fit_intercept: bool, weighted: bool
) -> None:
    task = make_task(cls, fit_intercept)
    units, coef = units_of(task), 0.1 * task.coef[0]
    found, weight = hessian(
        task.block(form, weighted=weighted), task.loss, LinearPredictor(task.layout), units, coef
    )
    shares = task.weight if weighted else np.ones(ROWS)
    with localcontext(PRECISE):
        wanted = bends(lambda at: task.total(shares, in_units(task, units, at)), decimals(coef))
    # the kernel differences derivatives over 1e-3
    np.testing.assert_allclose(found, wanted, atol=1e-6 * max(1.0, np.abs(wanted).max()))
    assert weight == pytest.approx(shares.sum(), rel=1e-15)


@every_loss
@pytest.mark.parametrize("reduced", [False, True], ids=["", "svrg"])
@pytest.mark.parametrize(
    ("form", "wide"), [(form, wide) for wide in (False, True) for form in FORMS[wide :: 1 + wide]]
)
@both_intercepts
@both_ways
def test_a_step_of_sgd_follows_the_difference_of_the_exact_value(
    monkeypatch: pytest.MonkeyPatch,
    cls: type,
    form: str,
    fast: bool,
    fit_intercept: bool,
    wide: bool,
    reduced: bool,
) -> None:
    use_loops(monkeypatch, fast)
    if wide:
        monkeypatch.setattr(sgd, "WIDE", 0)
    task, rate, strength = make_task(cls, fit_intercept), 0.125, 0.5
    units = units_of(task)
    if wide:  # which scales, but does not centre
        units = Standardization(task.layout, units.scale, np.zeros(FEATURES), units.label_scale)
    settings = SgdEpochs(step_size=rate, average=False, variance_reduction=reduced)
    l2 = np.zeros(task.layout.size)
    l2[task.layout.weights] = strength
    coef = 0.2 * task.coef[0]
    coef[task.layout.extras] = 0.75
    model = LocalModel(task.loss, LinearPredictor(task.layout), units, L2(l2), number=0)
    found = sgd_epochs(task.block(form, rows=1), model, settings, coef, (0,))
    # a block of one row is a batch; weights count by their share of the block
    shares = np.eye(ROWS)[0]
    with localcontext(PRECISE):
        slope = slopes(lambda at: task.total(shares, in_units(task, units, at)), decimals(coef))
    np.testing.assert_allclose(found, coef - rate * (slope + l2 * coef), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------- dual coordinate ascent

every_dual = pytest.mark.parametrize("cls", DUAL_LOSSES)


@every_dual
def test_gain_of_a_dual_is_the_conjugate_of_the_loss(cls: type) -> None:
    """Fenchel: g(a) is the least value of loss(m) + a m, over all margins m."""
    loss: Loss = cls()

    def value(margin: float, dual: float) -> float:
        losses, _ = loss.value_and_derivative(np.ones(1), np.full((1, 1, 1), margin))
        return float(losses[0, 0]) + dual * margin

    for dual in (0.01, 0.2, 0.5, 0.77, 0.99):
        least = optimize.minimize_scalar(
            value, bounds=(-12.0, 12.0), args=(dual,), method="bounded", options={"xatol": 1e-10}
        )
        assert gain(loss, np.array([dual]))[0] == pytest.approx(float(least.fun), abs=1e-6)


@every_dual
@both_ways
@pytest.mark.parametrize("bend", [0.0, 1e-12, 0.3, 1e6, 1e150])
@pytest.mark.parametrize("size", [0.0, 0.5, 3.0, 800.0, 1e8, 1e150, 1e300])
def test_best_dual_beats_its_neighbours_and_never_leaves_its_range(
    cls: type, fast: bool, bend: float, size: float
) -> None:
    loss: Loss = cls()
    if loss.name == "squaredHinge" and size > 1e150:
        size = 1e150  # the square itself would overflow
    best = best_dual
    if fast:
        pytest.importorskip("numba")
        from sparkml_lsml.engine.kernels import loops, sdca_loops

        code = getattr(loops, compiled.CODES[cls])

        def best(loss: Loss, margin: float, dual: float, bend: float) -> float:
            return float(sdca_loops._best_dual(code, margin, dual, bend))

    for margin in (size, -size):
        for dual in (0.0, 1e-9, 0.4, 1.0):
            found = best(loss, margin, dual, bend)
            assert np.isfinite(found)
            assert found >= 0.0
            bounded = loss.name != "squaredHinge"
            assert found <= 1.0 or not bounded
            step = 1e-4
            places = [found - step, found, found + step]
            inside = [a for a in places if a >= 0.0 and (a <= 1.0 or not bounded)]

            def earned(a: float, margin: float = margin, dual: float = dual) -> Decimal:
                g = Decimal(float(gain(loss, np.array([a]))[0]))
                away = Decimal(a) - Decimal(dual)
                return g - Decimal(a) * Decimal(margin) - Decimal(bend) * away**2 / 2

            most = earned(found)
            # beyond rounding of the duals no neighbour earns more
            slack = Decimal("1e-9") * (1 + abs(most))
            assert all(earned(a) <= most + slack for a in inside)


# ---------------------------------------------------- float64 sums of float32 rows

MANY = 2_000_000
VALUE = float(np.float32(0.1))


def sum_of_gradient(block: Block) -> float:
    # the derivative of every row is 1
    _, gradient, _ = value_and_gradient(
        block, Squared(), LinearPredictor(Layout(1)), np.array([[0.0, 1.0]])
    )
    return float(gradient[0, 0])


def sum_of_gradient_of_models(block: Block) -> float:
    coef = np.tile([0.0, 1.0], (MODELS, 1))
    _, gradient, _ = value_and_gradient(block, Squared(), LinearPredictor(Layout(1)), coef)
    np.testing.assert_array_equal(gradient[:, 0], gradient[0, 0])
    return float(gradient[0, 0])


def sum_of_reweighted_gradient(block: Block) -> float:
    _, gradient, _ = value_and_gradient(
        block,
        Squared(),
        LinearPredictor(Layout(1)),
        np.array([[0.0, 1.0]]),
        factors=lambda start, stop: np.ones((stop - start, 1)),
    )
    return float(gradient[0, 0])


def sum_of_start_gradient(block: Block) -> float:
    layout = Layout(1)
    units = Standardization.identity(layout)
    return MANY * float(
        start_gradient(block, Squared(), LinearPredictor(layout), units, np.array([0.0, 1.0]))[0]
    )


def sum_of_value(block: Block) -> float:
    # half the square of a prediction x / sqrt(x) adds up to half of x
    coef = np.array([[1.0 / np.sqrt(VALUE)]])
    value, _ = loss_sums(block, Squared(), LinearPredictor(Layout(1, fit_intercept=False)), coef)
    return 2.0 * float(value[0])


def sum_of_gram(block: Block) -> float:
    _, sums = gram(block, np.zeros(1), np.ones(1), 0.0)
    return float(sums[0])


def sum_of_hessian(block: Block) -> float:
    layout = Layout(1)
    total, _ = hessian(
        block, Squared(), LinearPredictor(layout), Standardization.identity(layout), np.zeros(2)
    )
    return float(total[0, 1])


def sum_of_moments(block: Block) -> float:
    return MANY * float(Moments.of_block(block).mean()[0])


def sum_of_duals(block: Block) -> float:
    sums, _ = dual_sums(block, DUAL_LOSSES[0](), Layout(1), 1.0, np.ones(MANY))
    return -float(sums[0, 0])


SUMS = [
    sum_of_gradient,
    sum_of_gradient_of_models,
    sum_of_reweighted_gradient,
    sum_of_start_gradient,
    sum_of_value,
    sum_of_gram,
    sum_of_hessian,
    sum_of_moments,
    sum_of_duals,
]
COMPILED = SUMS[:4]
"""Those whose kernel has a compiled twin."""


@cache
def many_rows(form: str) -> Block:
    X = np.full((MANY, 1), 0.1, dtype=np.float32)
    return Block(as_csr(X) if form == "sparse" else X, np.zeros(MANY))


@pytest.mark.parametrize(
    ("kernel", "fast"),
    [(kernel, fast) for kernel in SUMS for fast in (False, True)[: 1 + (kernel in COMPILED)]],
    ids=lambda value: getattr(value, "__name__", "compiled" if value else "numpy"),
)
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_two_million_rows_of_float32_are_added_up_in_float64(
    monkeypatch: pytest.MonkeyPatch, kernel: Callable[[Block], float], form: str, fast: bool
) -> None:
    # 24 and 21 bits fit the 53 of a double, so this product is the exact sum; one that float32
    # adds up is off by 1e-6 in pieces of 2,000 rows, and by 1e-2 in pieces of a million
    use_loops(monkeypatch, fast)
    assert kernel(many_rows(form)) == pytest.approx(MANY * VALUE, rel=1e-12, abs=0.0)


@pytest.mark.parametrize("size", [1e-30, 1e25])
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_squares_of_float32_rows_neither_overflow_nor_vanish(form: str, size: float) -> None:
    """The length of a row is a sum of squares, and 1e25 has no square in float32."""
    pytest.importorskip("numba")
    from sparkml_lsml.engine.kernels import loops, sdca_loops
    from sparkml_lsml.engine.kernels.compiled import fixed

    x = float(np.float32(size))
    rows = fixed(np.ones(1), np.ones(1), np.zeros(1, dtype=np.int64))
    numbers = (loops.SQUARED_HINGE, 1.0, 0.0, 0.0)
    duals, offsets, positive = np.zeros(1), np.zeros(3), np.zeros(2)
    inverse, slant = np.array([1.0 / x / x]), np.zeros(1)
    if form == "dense":
        [X] = fixed(np.full((1, 1), size, dtype=np.float32))
        state = (duals, np.zeros(1), offsets, positive)
        sdca_loops.dense_sdca(X, rows, numbers, fixed(inverse, slant), state)
    else:
        found = as_csr(np.full((1, 1), size, dtype=np.float32))
        matrix = fixed(found.data, found.indices, found.indptr)
        columns = np.stack([np.zeros(1), inverse, slant], axis=1)
        sdca_loops.sparse_sdca(matrix, rows, numbers, columns, (duals, offsets, positive))
    # max of a - a^2 / 4 - a^2 / 2
    assert duals[0] == pytest.approx(2.0 / 3.0, rel=1e-12)
