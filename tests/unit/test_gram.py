"""The sums of the normal equations: those of explicitly centred and scaled rows."""

from __future__ import annotations

import numpy as np
import pytest

from sparkml_lsml.blocks import Block
from sparkml_lsml.blocks.block import as_csr
from sparkml_lsml.kernels import gram
from sparkml_lsml.kernels.gram import GRAM_CHUNK_ROWS
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
