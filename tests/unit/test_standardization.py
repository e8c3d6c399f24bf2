"""Virtual scaling and centring: the model of rows that are scaled and centred in fact."""

from __future__ import annotations

import numpy as np
import pytest

from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.standardization import Box, Standardization, standardize
from sparkml_lsml.errors import ParamError
from tests.unit.formulas import Array

LAYOUTS = {
    "plain": Layout(4),
    "no intercept": Layout(4, fit_intercept=False),
    "outputs": Layout(4, outputs=3),
    "outputs, no intercept": Layout(4, outputs=3, fit_intercept=False),
    "constants": Layout(4, constants=2),
    "all": Layout(4, outputs=3, constants=2),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
both_units = pytest.mark.parametrize("unit", [1.0, 2.5], ids=["unit labels", "scaled labels"])


def draw(layout: Layout, unit: float, seed: int = 0) -> tuple[Standardization, Array, Array]:
    """A map, rows, and the coefficients of three models; nothing is centred without intercept."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.1, 5.0, size=layout.features)
    shift = rng.normal(size=layout.features) * layout.fit_intercept
    X = rng.normal(size=(7, layout.features))
    return (
        Standardization(layout, scale, shift, unit),
        X,
        rng.normal(size=(3, layout.size)),
    )


def predictions(X: Array, layout: Layout, coef: Array) -> Array:
    """Raw predictions of every row, model and output."""
    raw = np.einsum("if,mkf->imk", X, layout.weight_matrix(coef))
    return raw + coef[:, layout.intercepts] if layout.fit_intercept else raw


@every_layout
@both_units
def test_virtual_centring_is_explicit_centring(layout: Layout, unit: float) -> None:
    standardization, X, coef = draw(layout, unit)
    Z = (X - standardization.shift) * standardization.scale
    stored = standardization.to_stored(coef)
    np.testing.assert_allclose(
        predictions(X, layout, stored), unit * predictions(Z, layout, coef), rtol=1e-12, atol=1e-13
    )
    # constants of a loss are in the units of the label as well
    np.testing.assert_array_equal(stored[:, layout.extras], unit * coef[:, layout.extras])


@every_layout
@both_units
def test_there_and_back_again(layout: Layout, unit: float) -> None:
    standardization, _, coef = draw(layout, unit)
    back = standardization.from_stored(standardization.to_stored(coef))
    np.testing.assert_allclose(back, coef, rtol=1e-12, atol=1e-13)
    forth = standardization.to_stored(standardization.from_stored(coef))
    np.testing.assert_allclose(forth, coef, rtol=1e-12, atol=1e-13)


@every_layout
@both_units
def test_gradients_follow_the_chain_rule(layout: Layout, unit: float) -> None:
    # to_stored is linear, so gradients map by its transpose: <g, J u> = <J^T g, u>
    standardization, _, coef = draw(layout, unit)
    slopes = np.random.default_rng(9).normal(size=coef.shape)
    mapped = standardization.gradient(slopes)
    for k, direction in enumerate(np.eye(layout.size)):
        moved = standardization.to_stored(np.tile(direction, (3, 1)))
        np.testing.assert_allclose(mapped[:, k], (slopes * moved).sum(axis=1), rtol=1e-12)


@every_layout
def test_identity_changes_nothing(layout: Layout) -> None:
    _, _, coef = draw(layout, 1.0)
    identity = Standardization.identity(layout)
    for mapped in (identity.to_stored(coef), identity.from_stored(coef), identity.gradient(coef)):
        np.testing.assert_array_equal(mapped, coef)


@every_layout
def test_arguments_are_left_alone(layout: Layout) -> None:
    standardization, _, coef = draw(layout, 2.5)
    before = coef.copy()
    coef.flags.writeable = False
    for mapped in (
        standardization.to_stored(coef),
        standardization.from_stored(coef),
        standardization.gradient(coef),
    ):
        assert not np.shares_memory(mapped, coef)
    np.testing.assert_array_equal(coef, before)


@every_layout
@both_units
@pytest.mark.parametrize("standardized", [True, False], ids=["standardised", "stored"])
@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_a_penalty_is_that_of_the_coefficients_in_its_units(
    layout: Layout, unit: float, standardized: bool, l1: float, l2: float
) -> None:
    standardization, X, coef = draw(layout, unit)
    deviation = X.std(axis=0, ddof=1)
    penalty = standardization.penalty(l1, l2, deviation if standardized else 1.0)
    weights = layout.weight_matrix(standardization.to_stored(coef))
    penalised = weights * deviation if standardized else weights
    for model, row in enumerate(coef):
        wanted = l1 * np.abs(penalised[model]).sum() + 0.5 * l2 * (penalised[model] ** 2).sum()
        assert penalty.value(row) == pytest.approx(wanted, rel=1e-12)


@every_layout
def test_intercepts_and_constants_are_not_penalised(layout: Layout) -> None:
    standardization, _, coef = draw(layout, 2.5)
    penalty = standardization.penalty(0.3, 0.7)
    free = coef.copy()
    free[:, layout.weights] = 0.0
    assert [penalty.value(row) for row in free] == [0.0] * 3
    assert np.all(np.asarray(penalty.l1())[layout.weights] > 0.0)


def test_no_penalty_is_the_number_zero() -> None:
    standardization, _, _ = draw(Layout(4), 2.5)
    assert standardization.penalty(0.0, 0.0) == ElasticNet(0.0, 0.0)


def bend(
    X: Array, standardization: Standardization, curvature: float, l2: float, units: Array | float
) -> Array:
    """Largest second derivative of mean loss and penalty in each weight, by hand."""
    Z = (X - standardization.shift) * standardization.scale
    rows = curvature * standardization.label_scale**2 * np.mean(Z**2, axis=0)
    return rows + l2 * (standardization.label_scale * standardization.scale * units) ** 2


@pytest.mark.parametrize("curvature", [0.25, 2.0])
@pytest.mark.parametrize("l2", [0.0, 0.1, 10.0])
@pytest.mark.parametrize("standardized", [True, False], ids=["standardised", "stored"])
@pytest.mark.parametrize("about", ["mean, bias", "mean, no bias", "zero"])
@both_units
def test_every_coordinate_bends_the_objective_equally(
    curvature: float, l2: float, standardized: bool, about: str, unit: float
) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4)) * [0.01, 1.0, 10.0, 300.0] + [1.0, -2.0, 3.0, 400.0]
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    fit_intercept = about == "mean, bias"
    standardization = standardize(
        Layout(4, fit_intercept=fit_intercept),
        mean,
        deviation,
        curvature=curvature,
        l2=l2,
        standardized=standardized,
        label_scale=unit,
        about_zero=about == "zero",
    )
    np.testing.assert_array_equal(standardization.shift, mean if fit_intercept else np.zeros(4))
    assert standardization.label_scale == unit
    # without intercept rows are not centred, but scales may be those of centred rows
    rows = X - mean if about == "mean, no bias" else X
    bends = bend(rows, standardization, curvature, l2, deviation if standardized else 1.0)
    np.testing.assert_allclose(bends, np.full(4, curvature * unit**2), rtol=1e-10)


@pytest.mark.parametrize("about_zero", [True, False])
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_a_constant_column_that_is_a_bias_is_scaled_by_its_value(
    about_zero: bool, l2: float
) -> None:
    layout = Layout(1, fit_intercept=False)
    standardization = standardize(
        layout,
        np.array([-5.0]),
        np.zeros(1),
        curvature=0.25,
        l2=l2,
        standardized=False,
        about_zero=about_zero,
    )
    bends = bend(np.full((9, 1), -5.0), standardization, 0.25, l2, 1.0)
    np.testing.assert_allclose(bends, [0.25], rtol=1e-12)


@pytest.mark.parametrize("curvature", [0.25, float("inf")])
def test_without_penalty_features_get_unit_variance(curvature: float) -> None:
    mean, deviation = np.array([3.0, -1.0]), np.array([0.5, 4.0])
    standardization = standardize(Layout(2), mean, deviation, curvature=curvature)
    np.testing.assert_allclose(standardization.scale, [2.0, 0.25], rtol=1e-15)


def test_an_unbounded_curvature_counts_as_one() -> None:
    mean, deviation = np.array([3.0, -1.0]), np.array([0.5, 4.0])
    found, wanted = (
        standardize(Layout(2), mean, deviation, curvature=bound, l2=0.3).scale
        for bound in (float("inf"), 1.0)
    )
    np.testing.assert_array_equal(found, wanted)


MEAN, DEVIATION = np.array([5.0, 0.0, 1.0, 2.0]), np.array([0.0, 0.0, 2.0, 0.0])
"""Columns: a constant, only zeros, one that varies, another constant."""


@pytest.mark.parametrize(
    ("fit_intercept", "standardized", "used"),
    [
        (True, True, [False, False, True, False]),
        (True, False, [False, False, True, False]),
        (False, True, [False, False, True, False]),
        # without intercept a constant column is a bias that the user made
        (False, False, [True, False, True, True]),
    ],
)
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_columns_that_say_nothing_get_no_coefficient(
    fit_intercept: bool, standardized: bool, used: list[bool], l2: float
) -> None:
    layout = Layout(4, outputs=2, fit_intercept=fit_intercept)
    standardization = standardize(
        layout, MEAN, DEVIATION, curvature=1.0, l2=l2, standardized=standardized
    )
    np.testing.assert_array_equal(standardization.scale > 0.0, used)
    coef = np.random.default_rng(0).normal(size=(3, layout.size))
    for mapped in (standardization.to_stored(coef), standardization.from_stored(coef)):
        np.testing.assert_array_equal(np.any(layout.weight_matrix(mapped), axis=(0, 1)), used)
    slopes = layout.weight_matrix(standardization.gradient(coef))
    np.testing.assert_array_equal(np.any(slopes, axis=(0, 1)), used)


def test_a_column_without_coefficient_leaves_the_intercept_alone() -> None:
    layout = Layout(4)
    standardization = standardize(layout, MEAN, DEVIATION, curvature=1.0)
    coef = np.array([[7.0, 7.0, 3.0, 7.0, 1.0]])
    # only the third column counts: z = (x - 1) / 2, so x has 3 / 2 and the intercept -1 * 3 / 2
    np.testing.assert_allclose(standardization.to_stored(coef), [[0.0, 0.0, 1.5, 0.0, -0.5]])
    # and back: 3 * 2 and an intercept 3 * 1 higher, whatever the others were given
    np.testing.assert_allclose(standardization.from_stored(coef), [[0.0, 0.0, 6.0, 0.0, 4.0]])


@every_layout
@both_units
def test_a_box_holds_the_same_coefficients_in_both_units(layout: Layout, unit: float) -> None:
    standardization, _, coef = draw(layout, unit)
    standardization = Standardization(
        layout, standardization.scale, np.zeros(layout.features), unit
    )
    rng = np.random.default_rng(1)
    lower = np.where(rng.random(layout.size) < 0.3, -np.inf, -rng.random(layout.size))
    upper = np.where(rng.random(layout.size) < 0.3, np.inf, rng.random(layout.size))
    box = standardization.box(Box(lower, upper))
    stored = standardization.to_stored(coef)
    within = (lower <= stored) & (stored <= upper)
    assert 0 < np.count_nonzero(within) < within.size
    np.testing.assert_array_equal((box.lower <= coef) & (coef <= box.upper), within)


def test_a_column_of_scale_0_needs_bounds_that_allow_0() -> None:
    layout = Layout(3, outputs=2)
    standardization = Standardization(layout, np.array([2.0, 0.0, 1.0]), np.zeros(3))
    lower, upper = np.full(8, -1.0), np.full(8, 1.0)
    box = standardization.box(Box(lower, upper))
    np.testing.assert_array_equal(box.lower, [-0.5, -np.inf, -1, -0.5, -np.inf, -1, -1, -1])
    np.testing.assert_array_equal(box.upper, [0.5, np.inf, 1, 0.5, np.inf, 1, 1, 1])
    for bad in (Box(np.where(np.arange(8) == 4, 0.5, lower), upper), Box(lower, -0.5 * upper)):
        with pytest.raises(ParamError, match="feature 1 has the same value in all rows"):
            standardization.box(bad)
