"""Value and gradient over the rows of a block: those of the formula, whatever the form of rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import sparkml_lsml.engine.blocks.block as blocks_room
from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import value_and_gradient
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor, transposed_product
from sparkml_lsml.engine.predictors.standardization import Standardization
from sparkml_lsml.losses import Squared
from tests.unit.formulas import FORMULAS, Array, Formula, make_block, ones_or

every_formula = pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
both_forms = pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
both_weights = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
both_intercepts = pytest.mark.parametrize("fit_intercept", [True, False], ids=["bias", "no bias"])


def draw(
    formula: Formula, weighted: bool, rows: int = 40, features: int = 4, seed: int = 0
) -> tuple[Array, Array, Array | None, np.random.Generator]:
    """Rows of which a third of the values, and the first row, are zero."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features)) * (rng.random((rows, features)) < 0.67)
    X[:1] = 0.0
    weight = rng.uniform(0.0, 2.0, size=rows) if weighted else None
    if weight is not None:
        weight[1::7] = 0.0
    return X, formula.labels(rng, rows), weight, rng


def expected(
    formula: Formula, X: Array, y: Array, weight: Array | None, coef: Array, fit_intercept: bool
) -> tuple[Array, Array, float]:
    sums = ones_or(weight, len(y))
    value = [formula.total(X, y, sums, row, fit_intercept) for row in coef]
    gradient = [formula.gradient(X, y, sums, row, fit_intercept) for row in coef]
    return np.array(value), np.array(gradient), float(sums.sum())


def assert_sums(
    found: tuple[Array, Array, float], wanted: tuple[Array, Array, float], tol: float = 1e-12
) -> None:
    for got, want in zip(found, wanted, strict=True):
        size = float(np.max(np.abs(want), initial=1.0))
        np.testing.assert_allclose(got, want, rtol=0.0, atol=tol * size)


@every_formula
@both_forms
@both_weights
@both_intercepts
@pytest.mark.parametrize("models", [1, 3])
def test_sums_are_those_of_the_formula(
    formula: Formula, compressed: bool, weighted: bool, fit_intercept: bool, models: int
) -> None:
    X, y, weight, rng = draw(formula, weighted)
    layout = formula.layout(4, fit_intercept)
    coef = formula.coef(rng, layout, models)
    block = make_block(X, y, weight, compressed)
    found = value_and_gradient(block, formula.loss, LinearPredictor(layout), coef)
    assert [part.shape for part in found[:2]] == [(models,), (models, layout.size)]
    assert_sums(found, expected(formula, X, y, weight, coef, fit_intercept))


@every_formula
@both_forms
@both_weights
def test_rows_in_single_precision_are_worked_on_in_double(
    formula: Formula, compressed: bool, weighted: bool
) -> None:
    X, y, weight, rng = draw(formula, weighted)
    single = X.astype(np.float32)
    layout = formula.layout(4, True)
    coef = formula.coef(rng, layout, 2)
    rows = as_csr(single) if compressed else single
    found = value_and_gradient(Block(rows, y, weight), formula.loss, LinearPredictor(layout), coef)
    assert found[0].dtype == found[1].dtype == np.float64
    assert_sums(found, expected(formula, single.astype(float), y, weight, coef, True))


@both_forms
def test_intercepts_labels_and_sums_are_doubles_beside_rows_in_single_precision(
    compressed: bool,
) -> None:
    # float32 has no 1 beside 1e8: all of this would be lost in it
    rows = np.zeros((3, 1), dtype=np.float32)
    block = Block(as_csr(rows) if compressed else rows, np.full(3, 1e8))
    value, gradient, _ = value_and_gradient(
        block, Squared(), LinearPredictor(Layout(1)), np.array([[2.0, 1e8 + 1]])
    )
    np.testing.assert_array_equal(value, [1.5])
    np.testing.assert_array_equal(gradient, [[0.0, 3.0]])


@every_formula
@both_forms
@both_intercepts
def test_mapped_coefficients_give_the_objective_of_explicitly_standardised_rows(
    formula: Formula, compressed: bool, fit_intercept: bool
) -> None:
    X, y, weight, rng = draw(formula, weighted=True)
    X = X * 10.0 ** np.arange(-2, 2)
    unit = 1.0 if formula.classes else 3.0
    shift = X.mean(axis=0) if fit_intercept else np.zeros(4)
    layout = formula.layout(4, fit_intercept)
    standardization = Standardization(layout, 1.0 / X.std(axis=0), shift, unit)
    coef = formula.coef(rng, layout, 2)
    value, gradient, _ = value_and_gradient(
        make_block(X, y, weight, compressed),
        formula.loss,
        LinearPredictor(layout),
        standardization.to_stored(coef),
    )
    Z = (X - shift) / X.std(axis=0)
    sums = ones_or(weight, len(y))
    np.testing.assert_allclose(
        value,
        [formula.total(Z, y, sums, row, fit_intercept, unit) for row in coef],
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        standardization.gradient(gradient),
        [formula.gradient(Z, y, sums, row, fit_intercept, unit) for row in coef],
        atol=1e-10,
    )


@every_formula
@both_weights
@pytest.mark.parametrize("rows", [2_047, 2_048, 2_049, 4_096, 5_000])
def test_dense_pieces_are_summed_without_gap_or_overlap(
    formula: Formula, weighted: bool, rows: int
) -> None:
    X, y, weight, rng = draw(formula, weighted, rows=rows, features=2)
    coef = formula.coef(rng, formula.layout(2, True), 2)
    block = Block(X, y, weight)
    assert next(len(piece[1]) for piece in block.chunks()) == min(rows, 2_048)
    found = value_and_gradient(block, formula.loss, LinearPredictor(formula.layout(2, True)), coef)
    assert_sums(found, expected(formula, X, y, weight, coef, True))


@every_formula
@both_weights
def test_sparse_pieces_are_summed_without_gap_or_overlap(
    formula: Formula, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_room, "SPARSE_CHUNK_NONZEROS", 20)
    for rows in range(1, 30, 4):
        X, y, weight, rng = draw(formula, weighted, rows=rows, seed=rows)
        coef = formula.coef(rng, formula.layout(4, True))
        block = make_block(X, y, weight, compressed=True)
        found = value_and_gradient(
            block, formula.loss, LinearPredictor(formula.layout(4, True)), coef
        )
        assert_sums(found, expected(formula, X, y, weight, coef, True))
    assert len(list(block.chunks())) > 2


@every_formula
@both_forms
@both_weights
def test_a_block_without_rows_adds_nothing(
    formula: Formula, compressed: bool, weighted: bool
) -> None:
    weight = np.zeros(0) if weighted else None
    block = make_block(np.zeros((0, 4)), np.zeros(0), weight, compressed)
    layout = formula.layout(4, True)
    coef = formula.coef(np.random.default_rng(0), layout, 2)
    none = np.zeros(0, dtype=np.intp)
    for rows in (None, none):
        value, gradient, total = value_and_gradient(
            block, formula.loss, LinearPredictor(layout), coef, rows
        )
        np.testing.assert_array_equal(value, np.zeros(2))
        np.testing.assert_array_equal(gradient, np.zeros((2, layout.size)))
        np.testing.assert_array_equal(total, np.zeros(2))


@every_formula
@both_forms
@both_weights
def test_chosen_rows_are_summed_as_often_as_they_are_named(
    formula: Formula, compressed: bool, weighted: bool
) -> None:
    X, y, weight, rng = draw(formula, weighted)
    layout = formula.layout(4, True)
    coef = formula.coef(rng, layout, 2)
    rows = np.array([7, 3, 3, 39, 0, 8])
    block = make_block(X, y, weight, compressed)
    picked = None if weight is None else weight[rows]
    assert_sums(
        value_and_gradient(block, formula.loss, LinearPredictor(layout), coef, rows),
        expected(formula, X[rows], y[rows], picked, coef, True),
    )


@every_formula
@both_forms
@pytest.mark.parametrize("cuts", [[1], [13, 14], [0, 20], [5, 10, 15, 20, 40]])
def test_sums_of_parts_add_up_to_the_whole(
    formula: Formula, compressed: bool, cuts: list[int]
) -> None:
    X, y, weight, rng = draw(formula, weighted=True)
    assert weight is not None
    layout = formula.layout(4, True)
    coef = formula.coef(rng, layout, 2)
    parts = [
        value_and_gradient(
            make_block(*part, compressed), formula.loss, LinearPredictor(layout), coef
        )
        for part in zip(*(np.split(rows, cuts) for rows in (X, y, weight)), strict=True)
    ]
    whole = value_and_gradient(
        make_block(X, y, weight, compressed), formula.loss, LinearPredictor(layout), coef
    )
    assert len(parts) == len(cuts) + 1
    value, gradient, total = (sum(part) for part in zip(*parts, strict=True))
    assert_sums((value, gradient, total), whole)


@both_forms
@pytest.mark.parametrize("value", [1e200, 1e308])
def test_a_row_of_weight_zero_is_no_row_even_where_its_loss_overflows(
    compressed: bool, value: float
) -> None:
    X = np.array([[1.0, 2.0], [value, value], [3.0, -1.0]])
    y = np.array([1.0, -value, 0.5])
    weight = np.array([1.0, 0.0, 2.0])
    coef, keep = np.array([[2.0, 3.0, 0.5]]), [0, 2]
    with np.errstate(over="ignore", invalid="ignore"):
        found = value_and_gradient(
            make_block(X, y, weight, compressed), Squared(), LinearPredictor(Layout(2)), coef
        )
    formula = FORMULAS["squared"]
    assert_sums(found, expected(formula, X[keep], y[keep], weight[keep], coef, True))


@every_formula
@both_forms
@both_intercepts
def test_raw_predictions_are_doubles_whatever_the_rows(
    formula: Formula, compressed: bool, fit_intercept: bool
) -> None:
    X, y, _, rng = draw(formula, weighted=False)
    layout = formula.layout(4, fit_intercept)
    [(rows, _, _)] = make_block(X.astype(np.float32), y, None, compressed).chunks()
    assert LinearPredictor(layout).raw(rows, formula.coef(rng, layout)).dtype == np.float64


@every_formula
@both_forms
@both_intercepts
def test_raw_predictions_are_products_of_rows_and_weights(
    formula: Formula, compressed: bool, fit_intercept: bool
) -> None:
    X, y, _, rng = draw(formula, weighted=False, rows=6)
    layout = formula.layout(4, fit_intercept)
    coef = formula.coef(rng, layout, 3)
    [(rows, _, _)] = make_block(X, y, None, compressed).chunks()
    raw = LinearPredictor(layout).raw(rows, coef)
    outputs, constants = layout.outputs, layout.constants
    assert raw.shape == (6, 3, outputs + constants)
    for i, m, k in np.ndindex(6, 3, outputs):
        bias = coef[m, 4 * outputs + k] if fit_intercept else 0.0
        product = X[i] @ coef[m, 4 * k : 4 * (k + 1)] + bias
        assert raw[i, m, k] == pytest.approx(product, rel=1e-12, abs=1e-14)
    for i, m in np.ndindex(6, 3):
        np.testing.assert_array_equal(raw[i, m, outputs:], coef[m, layout.size - constants :])


@both_forms
def test_the_transposed_product_is_in_double_whatever_the_rows(compressed: bool) -> None:
    X, _, _, rng = draw(FORMULAS["squared"], weighted=False)
    single = X.astype(np.float32)
    columns = rng.normal(size=(40, 3))
    product = transposed_product(sparse.csr_array(single) if compressed else single, columns)
    assert product.dtype == np.float64
    wanted = np.einsum("ik,ij->kj", columns, single.astype(np.float64))
    np.testing.assert_allclose(product, wanted, atol=1e-13)
