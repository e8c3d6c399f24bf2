"""The sums of the normal equations: those of explicitly centred and scaled rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import CsrRows, as_csr
from sparkml_lsml.engine.kernels import gram
from sparkml_lsml.engine.kernels.gram import GRAM_CHUNK_ROWS, sparse_pieces
from tests.unit.formulas import Array, make_block, ones_or

both_forms = pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
both_weights = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])

SHIFT, SCALE, LABEL = np.array([0.5, -2.0, 0.0]), np.array([2.0, 0.1, 0.0]), 1.5


def draw(rows: int, weighted: bool) -> tuple[Array, Array, Array | None]:
    rng = np.random.default_rng(rows)
    X = rng.normal(size=(rows, 3)) * (rng.random((rows, 3)) < 0.6)
    weight = rng.uniform(0.0, 2.0, size=rows) if weighted else None
    if weight is not None:
        weight[::5] = 0.0
    return X, rng.normal(size=rows), weight


def by_hand(X: Array, y: Array, weight: Array | None) -> tuple[Array, Array]:
    """Row after row, with the ones of an intercept as the last column, then split."""
    Z = np.column_stack([(X - SHIFT) * SCALE, y - LABEL, np.ones(len(X))])
    full = np.zeros((5, 5))
    for z, w in zip(Z, ones_or(weight, len(X)), strict=True):
        full += w * np.outer(z, z)
    return full[:4, :4], full[:4, 4]


@both_forms
@both_weights
@pytest.mark.parametrize(
    "rows", [1, 30, GRAM_CHUNK_ROWS - 1, GRAM_CHUNK_ROWS, GRAM_CHUNK_ROWS + 1, 2_500]
)
def test_sums_are_those_of_explicit_rows(compressed: bool, weighted: bool, rows: int) -> None:
    X, y, weight = draw(rows, weighted)
    products, sums = gram(make_block(X, y, weight, compressed), SHIFT, SCALE, LABEL)
    wanted = by_hand(X, y, weight)
    np.testing.assert_allclose(products, wanted[0], rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(sums, wanted[1], rtol=1e-12, atol=1e-11)


@both_forms
@both_weights
def test_sums_of_parts_add_up_to_the_whole(compressed: bool, weighted: bool) -> None:
    X, y, weight = draw(200, weighted)
    whole = gram(make_block(X, y, weight, compressed), SHIFT, SCALE, LABEL)
    parts = [
        gram(
            make_block(X[cut], y[cut], None if weight is None else weight[cut], compressed),
            SHIFT,
            SCALE,
            LABEL,
        )
        for cut in (slice(0, 1), slice(1, 1), slice(1, 150), slice(150, None))
    ]
    for k in range(2):
        np.testing.assert_allclose(sum(part[k] for part in parts), whole[k], atol=1e-11)


@both_forms
def test_features_far_from_zero_keep_all_their_digits(compressed: bool) -> None:
    # small integers far out: exact when centred first, while their squares would not fit a double
    rng = np.random.default_rng(0)
    small = rng.integers(-8, 8, size=(3_000, 3)).astype(np.float64)
    far = np.array([1e9, -3e12, 1e15])
    block = make_block(small + far, small[:, 0] + 2e14, None, compressed)
    products, sums = gram(block, far, np.ones(3), 2e14)
    Z = np.column_stack([small, small[:, 0]])
    np.testing.assert_array_equal(products, Z.T @ Z)
    np.testing.assert_array_equal(sums, Z.sum(axis=0))


@both_forms
def test_rows_in_single_precision_are_multiplied_in_double(compressed: bool) -> None:
    X, y, weight = draw(300, weighted=True)
    single = X.astype(np.float32)
    rows = as_csr(single) if compressed else single
    products, sums = gram(Block(rows, y, weight), SHIFT, SCALE, LABEL)
    wanted = by_hand(single.astype(np.float64), y, weight)
    np.testing.assert_allclose(products, wanted[0], rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(sums, wanted[1], rtol=1e-12, atol=1e-11)


@both_forms
@both_weights
def test_a_block_without_rows_adds_nothing(compressed: bool, weighted: bool) -> None:
    X, y, weight = draw(0, weighted)
    products, sums = gram(make_block(X, y, weight, compressed), SHIFT, SCALE, LABEL)
    np.testing.assert_array_equal(products, np.zeros((4, 4)))
    np.testing.assert_array_equal(sums, np.zeros(4))


@both_forms
def test_the_rows_of_a_block_stay_as_they_are(compressed: bool) -> None:
    X, y, weight = draw(50, weighted=True)
    block = make_block(X.copy(), y.copy(), weight, compressed)
    gram(block, SHIFT, SCALE, LABEL)
    stored, labels, _ = block.take(np.arange(50))
    np.testing.assert_array_equal(stored.toarray() if compressed else stored, X)
    np.testing.assert_array_equal(labels, y)


def wide(rows: int, weighted: bool) -> tuple[Array, Array, Array | None]:
    """Rows of 200 features with 4 values each: two columns lie far from zero, one not quite."""
    rng = np.random.default_rng(rows)
    X = np.where(rng.random((rows, 200)) < 0.01, rng.normal(1.0, 2.0, (rows, 200)), 0.0)
    X[:, 3] = 1e9 + rng.integers(0, 5, rows)
    X[:, 199] = -40.0 + rng.normal(size=rows)
    X[:, 7] = 3.5 + rng.normal(size=rows)
    weight = rng.uniform(0.0, 2.0, size=rows) if weighted else None
    if weight is not None:
        weight[::5] = 0.0
    return X, 100.0 + rng.normal(size=rows), weight


@pytest.fixture
def never_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(rows: sparse.csr_array) -> Array:
        raise AssertionError(f"{rows.shape[0]} rows were made dense")

    def columns(rows: sparse.csr_array, *_: object) -> Array:
        return refuse(rows) if rows.shape[1] > 2 else plain(rows)

    plain = sparse.csr_array.toarray
    monkeypatch.setattr(sparse.csr_array, "toarray", columns)


@both_weights
@pytest.mark.usefixtures("never_dense")
def test_rows_with_few_values_are_multiplied_as_they_are(weighted: bool) -> None:
    X, y, weight = wide(700, weighted)
    shares = ones_or(weight, len(X))
    shift = shares @ X / shares.sum()
    deviation = np.sqrt(shares @ np.square(X - shift) / shares.sum())
    scale = np.divide(1.0, deviation, out=np.zeros(200), where=deviation > 0.0)
    products, sums = gram(make_block(X, y, weight, True), shift, scale, 99.0)
    # the same sums in extended precision
    Z = np.column_stack([(X.astype(np.longdouble) - shift) * scale, y.astype(np.longdouble) - 99])
    wanted = (Z * shares[:, None]).T @ Z
    np.testing.assert_allclose(products, wanted.astype(float), rtol=0, atol=1e-13 * shares.sum())
    np.testing.assert_allclose(sums, (shares @ Z).astype(float), rtol=0, atol=1e-14 * shares.sum())
    np.testing.assert_array_equal(products, products.T)


@pytest.mark.usefixtures("never_dense")
def test_of_few_values_too_those_far_from_zero_keep_all_their_digits() -> None:
    # whole numbers, and scales that are powers of two: products are exact
    rng = np.random.default_rng(0)
    whole = rng.integers(-8, 8, (900, 300)).astype(float)
    small = np.where(rng.random((900, 300)) < 0.01, whole, 0.0)
    small[:, 11] = rng.integers(-8, 8, 900)
    far, scale = np.zeros(300), np.full(300, 0.25)
    far[11], far[12] = 1e15, 3.0
    block = make_block(small + far * (np.arange(300) == 11), small[:, 11] + 2e14, None, True)
    products, sums = gram(block, far, scale, 2e14)
    Z = np.column_stack([(small - far * (np.arange(300) == 12)) * 0.25, small[:, 11]])
    np.testing.assert_array_equal(products, Z.T @ Z)
    np.testing.assert_array_equal(sums, Z.sum(axis=0))


def test_pieces_of_rows_hold_all_rows_once_and_bound_their_products() -> None:
    lengths = np.array([0, 2_000, 3, 1, 0, 1_500, 700, 700, 700, 0])
    pointers = np.append(0, np.cumsum(lengths))
    X = CsrRows(np.ones(pointers[-1]), np.zeros(pointers[-1], np.int32), pointers, 2_000)
    pieces = list(sparse_pieces(X))
    assert [row for start, stop in pieces for row in range(start, stop)] == list(range(10))
    assert all(sum(lengths[a:b] ** 2) <= 2_000**2 for a, b in pieces if b > a + 1)
