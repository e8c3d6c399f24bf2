"""Second derivatives, and starts from the solution for a sample."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import hessian
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.passes.reweighting import HeldOut
from sparkml_lsml.engine.penalties import L1, L2
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.engine.predictors.standardization import Standardization, standardize
from sparkml_lsml.engine.solvers import LBFGS, ProximalLBFGS, Solution, minimize
from sparkml_lsml.engine.solvers import warm_start as warm_start_room
from sparkml_lsml.engine.solvers.smoothed_lbfgs import SmoothedLBFGS
from sparkml_lsml.engine.solvers.warm_start import (
    MOST_PRODUCTS,
    Sample,
    sample_of,
    starts_warm,
    warm_start,
)
from sparkml_lsml.losses import Hinge, Huber, Logistic, Loss, Multinomial, Squared, SquaredHinge

Array = npt.NDArray[np.float64]

ROWS, FEATURES = 20_000, 12
rng = np.random.default_rng(8)
MIX = rng.normal(size=(FEATURES, FEATURES))
X = rng.normal(size=(ROWS, FEATURES)) @ MIX
Y = (X @ rng.normal(size=FEATURES) + 3.0 * rng.normal(size=ROWS) > 0.0).astype(float)
LAYOUT = Layout(FEATURES)
UNITS = standardize(LAYOUT, X.mean(axis=0), X.std(axis=0), curvature=1.0)


def objective(loss: Loss, fold: npt.NDArray[np.int32] | None = None) -> BlockObjective:
    parts = np.array_split(np.arange(ROWS), 3)
    blocks = [Block(X[i], Y[i], None, None if fold is None else fold[i]) for i in parts]
    weights = None if fold is None else HeldOut((1,))
    return BlockObjective(
        LocalBlocks(blocks), loss, LinearPredictor(LAYOUT), UNITS, reweighting=weights
    )


@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", ""])
@pytest.mark.parametrize("compressed", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", ""])
@pytest.mark.parametrize("loss", [Squared(), Logistic(), SquaredHinge()], ids=lambda x: x.name)
def test_second_derivatives_are_those_of_the_formula(
    loss: Loss, fit_intercept: bool, compressed: bool, weighted: bool
) -> None:
    layout, part, y = Layout(FEATURES, fit_intercept=fit_intercept), X[:500], Y[:500]
    units = Standardization(layout, UNITS.scale, UNITS.shift * fit_intercept, label_scale=1.7)
    weight = rng.random(500) if weighted else None
    coef = 0.2 * rng.normal(size=layout.size)
    found, mass = hessian(
        Block(as_csr(part) if compressed else part, y, weight),
        loss,
        LinearPredictor(layout),
        units,
        coef,
    )
    z = (part - units.shift) * units.scale
    if fit_intercept:
        z = np.hstack([z, np.ones((500, 1))])
    raw = 1.7 * (z @ coef)
    bends = {
        "squaredError": np.ones(500),
        "logistic": expit(raw) * expit(-raw),
        "squaredHinge": 2.0 * ((2 * y - 1) * raw < 1.0),
    }
    sums = np.ones(500) if weight is None else weight
    wanted = 1.7**2 * (z * (bends[loss.name] * sums)[:, None]).T @ z
    # a row may lie at the kink of the squared hinge
    close = 5e-3 if loss.name == "squaredHinge" else 1e-6
    np.testing.assert_allclose(found, wanted, rtol=0, atol=close * np.abs(wanted).max())
    assert mass == pytest.approx(sums.sum(), rel=1e-12)


@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", ""])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", ""])
def test_second_derivatives_of_rows_with_few_values_are_those_of_the_formula(
    monkeypatch: pytest.MonkeyPatch, fit_intercept: bool, weighted: bool
) -> None:
    rng = np.random.default_rng(3)
    X = np.where(rng.random((400, 150)) < 0.01, rng.normal(1.0, 2.0, (400, 150)), 0.0)
    X[:, 4] = 1e6 + rng.normal(size=400)
    y, weight = rng.integers(0, 2, 400).astype(float), rng.random(400) if weighted else None
    layout = Layout(150, fit_intercept=fit_intercept)
    deviation = X.std(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros(150), where=deviation > 0.0)
    scale[4] *= 1.0 if fit_intercept else 1e-6
    shift = X.mean(axis=0) * fit_intercept
    coef = 0.2 * rng.normal(size=layout.size)

    def refuse(*_: object) -> None:
        raise AssertionError("rows were made dense")

    # one column lies far from zero with an intercept, and none without
    monkeypatch.setattr(sys.modules[hessian.__module__], "_shorter", refuse)
    units = Standardization(layout, scale, shift)
    found, mass = hessian(
        Block(as_csr(X), y, weight), Logistic(), LinearPredictor(layout), units, coef
    )
    z = (X - shift) * scale
    if fit_intercept:
        z = np.hstack([z, np.ones((400, 1))])
    sums = np.ones(400) if weight is None else weight
    wanted = (z * (expit(z @ coef) * expit(-z @ coef) * sums)[:, None]).T @ z
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    assert mass == pytest.approx(sums.sum(), rel=1e-12)


@dataclass(frozen=True)
class PseudoHuber:
    """sqrt(d^2 + r^2) of the residual r: it bends within d of 0, and hardly beyond."""

    width: float
    name: str = "pseudoHuber"
    constants: tuple[str, ...] = ()
    smooth: bool = True
    curvature: float = np.inf

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        residual = raw - y[:, None, None]
        value = np.hypot(residual, self.width)
        return value[:, :, 0], residual / value


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e6])
def test_second_derivatives_are_differences_in_units_of_the_label(unit: float) -> None:
    own = np.random.default_rng(5)
    layout, y = Layout(FEATURES), unit * own.normal(size=500)
    units = Standardization(layout, UNITS.scale, UNITS.shift, label_scale=unit)
    coef = 0.2 * own.normal(size=layout.size)
    found, _ = hessian(Block(X[:500], y), PseudoHuber(unit), LinearPredictor(layout), units, coef)
    z = np.hstack([(X[:500] - units.shift) * units.scale, np.ones((500, 1))])
    # the second derivative by hand: d^2 / (d^2 + r^2)^(3/2)
    bends = 1.0 / (unit * (1.0 + (z @ coef - y / unit) ** 2) ** 1.5)
    wanted = unit**2 * (z * bends[:, None]).T @ z
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("strength", [1e-2, 1e-5])
@pytest.mark.parametrize("loss", [Logistic(), SquaredHinge(), Hinge()], ids=lambda x: x.name)
def test_a_warm_start_finds_the_same_minimum_sooner(loss: Loss, strength: float) -> None:
    solver = LBFGS(tol=1e-7) if loss.smooth else SmoothedLBFGS(tol=1e-6)
    penalty, zero = UNITS.penalty(0.0, strength), np.zeros((1, LAYOUT.size))
    cold_objective, warm_objective = objective(loss), objective(loss)
    [cold] = minimize(cold_objective, penalty, solver, zero, max_iter=500)
    start, [warmed] = warm_start(warm_objective, [penalty], [solver], zero, Sample(2_000), [500])
    assert warm_objective.passes == 1
    [warm] = minimize(warm_objective, penalty, warmed, start, max_iter=500)
    assert warm.objective == pytest.approx(cold.objective, rel=2e-6)
    assert warm.reason.name == "converged"
    assert warm_objective.passes <= 0.6 * cold_objective.passes


def test_a_sample_that_misleads_costs_passes_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loss, penalty = Logistic(), UNITS.penalty(0.0, 1e-3)
    whole = objective(loss)
    monkeypatch.setattr(
        BlockObjective,
        "sample",
        lambda self, rows, shares: BlockObjective(
            LocalBlocks([Block(5.0 - X[:300, ::-1] ** 2, 1.0 - Y[:300])]),
            loss,
            LinearPredictor(LAYOUT),
            UNITS,
        ),
    )
    zero = np.zeros((1, LAYOUT.size))
    start, solvers = warm_start(whole, [penalty], [LBFGS(tol=1e-7)], zero, Sample(300), [500])
    assert np.abs(start).max() > 0.0
    [found] = minimize(whole, penalty, solvers, start, max_iter=500)
    [wanted] = minimize(whole, penalty, LBFGS(tol=1e-7), zero, max_iter=500)
    assert found.objective == pytest.approx(wanted.objective, rel=1e-7)


def test_a_sample_leaves_out_the_fold_too() -> None:
    fold = (Y > 0.5).astype(np.int32)  # all rows of label 1 are held out
    whole = objective(Logistic(), fold)
    sample = whole.sample(2_000)
    assert 1_600 < sample.blocks.rows < 2_400
    value, gradient = sample.value_and_gradient(np.zeros((1, LAYOUT.size)))
    assert value[0] == pytest.approx(np.log(2.0))
    assert gradient[0, LAYOUT.intercepts] == pytest.approx(0.5)  # none but label 0


def test_which_problems_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    # 13 x 200 are too many of 20,000, and a tenth of 2,000 less than 13 x 20
    assert sample_of(objective(Logistic()), X.nbytes) == Sample(2_000)
    few = objective(Logistic())
    few.blocks = type("Few", (), {"rows": 2_000})()
    assert sample_of(few, 2_000 * 8 * FEATURES) == Sample()
    many = objective(Logistic())
    many.blocks = type("Many", (), {"rows": 10**8})()
    assert sample_of(many, 10**8 * 8 * FEATURES).rows == 200 * LAYOUT.size
    # rows so wide that too few of them fit
    assert sample_of(many, 10**8 * 200_000) == Sample()
    # of many models, what their second derivatives take on the driver: 13^2 numbers each
    assert sample_of(many, 10**8 * 8 * FEATURES, models=10**6) == Sample()
    most = int(MOST_PRODUCTS) // (50_000_000 * LAYOUT.size**2)
    assert most < 20 * LAYOUT.size
    monkeypatch.setattr(warm_start_room, "CURVATURE_BYTES", 2**40)
    assert sample_of(many, 10**8 * 8 * FEATURES, models=50_000_000) == Sample()
    wanted = sample_of(many, 10**8 * 8 * FEATURES, models=3_000_000).rows
    assert wanted == int(MOST_PRODUCTS) // (3_000_000 * LAYOUT.size**2)
    for loss, layout in (
        (Multinomial(), Layout(FEATURES, outputs=3)),
        (Huber(), Layout(FEATURES, constants=1)),
    ):
        other = BlockObjective(
            many.blocks, loss, LinearPredictor(layout), Standardization.identity(layout)
        )
        assert sample_of(other, 10**8 * 8 * FEATURES) == Sample()
    assert starts_warm(LBFGS(), L2(1.0))
    assert starts_warm(SmoothedLBFGS(), L2(1.0))
    assert not starts_warm(LBFGS(), L1(1.0))
    assert not starts_warm(ProximalLBFGS(), L2(1.0))
    assert not starts_warm(SmoothedLBFGS(inner=ProximalLBFGS()), L2(1.0))


def rare_rows(positives: int) -> tuple[Array, Array]:
    """Rows of which so many are positive, drawn where the margins are large."""
    draws = np.random.default_rng(1)
    margins = X @ np.linspace(-0.05, 0.08, FEATURES) + draws.logistic(size=ROWS)
    return X, (margins > np.sort(margins)[-positives - 1]).astype(float)


@pytest.mark.parametrize("positives", [20, 60, 200])
@pytest.mark.parametrize("loss", [Logistic(), SquaredHinge()], ids=lambda x: x.name)
def test_a_sample_that_can_be_separated_moves_no_minimum(loss: Loss, positives: int) -> None:
    """Of 20 positives two are in the sample: its coefficients grow without end, and it bends
    nothing. The minimum is SciPy's, of the textbook formulas of all rows."""
    rows, y = rare_rows(positives)
    whole = BlockObjective(LocalBlocks([Block(rows, y)]), loss, LinearPredictor(LAYOUT), UNITS)
    start = np.zeros((1, LAYOUT.size))
    start[0, LAYOUT.intercepts] = np.log(positives / (ROWS - positives))
    # however the sample came about: also where it should not have been drawn
    starts, solvers = warm_start(whole, [L2(0.0)], [LBFGS()], start, Sample(2_000), [500])
    [found] = minimize(whole, L2(0.0), solvers, starts, max_iter=500)
    assert found.reason.name == "converged"

    Z = np.hstack([(rows - UNITS.shift) * UNITS.scale, np.ones((ROWS, 1))])
    sign = 2.0 * y - 1.0

    def plain(coef: Array) -> tuple[float, Array]:
        margins = sign * (Z @ coef)
        if isinstance(loss, Logistic):
            value, slope = np.logaddexp(0.0, -margins), -expit(-margins)
        else:
            slack = np.maximum(1.0 - margins, 0.0)
            value, slope = slack**2, -2.0 * slack
        return float(value.mean()), np.asarray((slope * sign) @ Z / ROWS)

    options = {"maxiter": 10_000, "ftol": 1e-15, "gtol": 1e-12}
    wanted = optimize.minimize(plain, start[0], jac=True, method="L-BFGS-B", options=options)
    assert found.objective <= wanted.fun * (1.0 + 1e-6)
    cold = BlockObjective(LocalBlocks([Block(rows, y)]), loss, LinearPredictor(LAYOUT), UNITS)
    minimize(cold, L2(0.0), LBFGS(), start, max_iter=500)
    assert whole.passes <= cold.passes + 2


@pytest.mark.parametrize("positives", [30, 150, 600])
def test_rare_classes_take_at_most_twice_the_passes_of_balanced_ones(positives: int) -> None:
    """Normal features and a plane with noise, where most of the common rows are far from the rare
    ones. The minimum is scikit-learn's."""
    draws = np.random.default_rng(0)
    rows, features = 150_000, 20
    X = draws.normal(size=(rows, features))
    margins = X @ (0.5 * draws.normal(size=features)) + draws.logistic(size=rows)
    layout = Layout(features)
    units = standardize(layout, X.mean(axis=0), X.std(axis=0), curvature=1.0)

    def fit(count: int) -> tuple[BlockObjective, Solution]:
        y = (margins > np.sort(margins)[-count - 1]).astype(float)
        found = BlockObjective(
            LocalBlocks([Block(X, y)]), Logistic(), LinearPredictor(layout), units
        )
        sample = sample_of(found, X.nbytes, 1, {0.0: rows - count, 1.0: count})
        start = np.zeros((1, layout.size))
        start[0, layout.intercepts] = np.log(count / (rows - count))
        warm, solvers = warm_start(found, [L2(0.0)], [LBFGS()], start, sample, [100])
        [solution] = minimize(found, L2(0.0), solvers, warm)
        return found, solution

    balanced, _ = fit(rows // 2)
    rare, solution = fit(positives)
    assert rare.passes <= 2 * balanced.passes
    y = (margins > np.sort(margins)[-positives - 1]).astype(float)
    exact = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9).fit(X, y)
    losses = np.logaddexp(0.0, (1.0 - 2.0 * y) * exact.decision_function(X))
    assert solution.objective <= losses.mean() * (1.0 + 1e-6)


def test_the_cold_start_is_taken_where_it_is_better() -> None:
    """And then without the curvature of the sample: it is another problem's."""
    whole = objective(Logistic())
    zero = np.zeros((1, LAYOUT.size))
    far = np.full((1, LAYOUT.size), 50.0)
    factor = 1e-6 * np.eye(LAYOUT.size)
    misled = LBFGS(tol=1e-7, curvature=factor, cold=zero[0])
    [found] = minimize(whole, L2(0.0), misled, far, max_iter=500)
    plain = objective(Logistic())
    [wanted] = minimize(plain, L2(0.0), LBFGS(tol=1e-7), zero, max_iter=500)
    np.testing.assert_array_equal(found.coef, wanted.coef)
    assert whole.passes == plain.passes + 1


def test_the_cold_start_of_a_loss_with_kinks_is_that_of_all_widths() -> None:
    """The sample's curvature does not come back with the next width, nor does the comparison."""
    whole, plain = objective(Hinge()), objective(Hinge())
    zero, far = np.zeros((1, LAYOUT.size)), np.full((1, LAYOUT.size), 50.0)
    penalty = UNITS.penalty(0.0, 1e-2)
    inner = LBFGS(curvature=1e-6 * np.eye(LAYOUT.size), cold=zero[0])
    [found] = minimize(whole, penalty, SmoothedLBFGS(inner=inner), far, max_iter=500)
    [wanted] = minimize(plain, penalty, SmoothedLBFGS(), zero, max_iter=500)
    np.testing.assert_array_equal(found.coef, wanted.coef)
    assert whole.passes == plain.passes + 1


def test_a_curvature_that_misleads_is_dropped() -> None:
    """Next to nothing bends in the sample, so its steps are a million times too long."""
    whole = objective(Logistic())
    zero = np.zeros((1, LAYOUT.size))
    misled = LBFGS(tol=1e-7, curvature=1e-9 * np.eye(LAYOUT.size))
    [found] = minimize(whole, L2(0.0), misled, zero, max_iter=500)
    [wanted] = minimize(objective(Logistic()), L2(0.0), LBFGS(tol=1e-10), zero, max_iter=500)
    assert found.reason.name == "converged"
    assert found.objective <= wanted.objective * (1.0 + 1e-7)


def test_of_rare_classes_more_rows_are_drawn() -> None:
    many = objective(Logistic())
    many.blocks = type("Many", (), {"rows": 10**6})()
    nbytes = 10**6 * 8 * FEATURES
    usual = 200 * LAYOUT.size

    def of(positives: int) -> Sample:
        return sample_of(many, nbytes, 1, {0.0: 10**6 - positives, 1.0: positives})

    # ten rows for each of 13 coefficients
    assert of(500_000) == of(60_000) == Sample(usual)
    # where these are too few, more of the other class as well
    assert of(10_000) == Sample(10 * usual)
    assert of(1_000) == Sample(10 * usual, {1.0: 0.13})
    assert of(130) == of(13) == Sample(10 * usual, {1.0: 1.0})
    # too few to tell what separates them from the others
    assert of(12) == of(0) == Sample()
    # of many classes no more rows than of a sample that knows none
    classes = dict.fromkeys(map(float, range(1_000)), 1_000)
    shares = sample_of(many, nbytes, 1, classes).shares
    assert sum(1_000 * share for share in shares.values()) <= usual


def test_a_sample_by_labels_stands_for_all_rows() -> None:
    """Sums over it, as weighted, are sums over all rows up to chance; rare rows are all there."""
    rows, y = rare_rows(100)
    weight = np.random.default_rng(3).uniform(0.5, 1.5, size=ROWS)
    whole = BlockObjective(
        LocalBlocks([Block(rows, y, weight)]), Logistic(), LinearPredictor(LAYOUT), UNITS
    )
    drawn = whole.sample(4_000, {1.0: 1.0})
    [block] = drawn.blocks._blocks
    assert block.y.sum() == 100
    positive = block.weight[block.y == 1.0].sum() / block.weight.sum()
    assert positive == pytest.approx(weight[y == 1.0].sum() / weight.sum(), rel=0.05)
    coef = np.full((1, LAYOUT.size), 0.01)
    value, _ = drawn.value_and_gradient(coef)
    assert value[0] == pytest.approx(whole.value_and_gradient(coef)[0][0], rel=0.01)
