"""Means and variances: NumPy's, however the rows are cut, weighted, stored or shifted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparkml_lsml.engine.blocks.moments as room
from sparkml_lsml.engine.blocks import Block, Moments
from sparkml_lsml.engine.blocks.block import as_csr

Array = npt.NDArray[np.float64]


def rows(seed: int, number: int = 300, features: int = 4, density: float = 1.0) -> Array:
    rng = np.random.default_rng(seed)
    X = 3.0 * rng.normal(size=(number, features)) + np.arange(features)
    return X * (rng.random(X.shape) < density)


def weights(seed: int, number: int = 300) -> Array:
    return np.random.default_rng(1000 + seed).uniform(0.1, 3.0, size=number)


def block(X: Array, weight: Array | None, compressed: bool) -> Block:
    return Block(as_csr(X) if compressed else X, np.zeros(len(X)), weight)


def expected_mean(X: Array, weight: Array | None) -> Array:
    return np.asarray(np.average(X, axis=0, weights=weight))


def expected_variance(X: Array, weight: Array | None, sample: bool = True) -> Array:
    """NumPy's: its `aweights` have the denominator W - sum(w^2) / W."""
    covariance = np.cov(X, rowvar=False, aweights=weight, ddof=1 if sample else 0)
    return np.diag(np.atleast_2d(covariance))


both_forms = pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
both_weights = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


@both_forms
@both_weights
@pytest.mark.parametrize("density", [1.0, 0.5, 0.05])
@pytest.mark.parametrize("sample", [True, False], ids=["sample", "population"])
def test_moments_are_those_of_numpy(
    compressed: bool, weighted: bool, density: float, sample: bool
) -> None:
    X = rows(0, density=density)
    weight = weights(0) if weighted else None
    moments = Moments.of_block(block(X, weight, compressed))
    np.testing.assert_allclose(moments.mean(), expected_mean(X, weight), rtol=1e-12)
    np.testing.assert_allclose(
        moments.variance(sample), expected_variance(X, weight, sample), rtol=1e-12
    )
    assert moments.rows == len(X)
    assert moments.weight == pytest.approx(weights(0).sum() if weighted else len(X), rel=1e-14)


@both_weights
def test_more_rows_than_a_piece_are_merged(weighted: bool) -> None:
    number = 3 * room.MOMENT_CHUNK_ROWS + 17
    X, weight = rows(1, number), weights(1, number) if weighted else None
    moments = Moments.of_rows(X, weight)
    np.testing.assert_allclose(moments.mean(), expected_mean(X, weight), rtol=1e-12)
    np.testing.assert_allclose(moments.variance(), expected_variance(X, weight), rtol=1e-12)


def parts(
    X: Array, weight: Array | None, cuts: Sequence[int], forms: Sequence[bool]
) -> list[Moments]:
    edges = [0, *sorted(cuts), len(X)]
    found = []
    for k, (start, stop) in enumerate(pairwise(edges)):
        part = None if weight is None else weight[start:stop]
        found.append(Moments.of_block(block(X[start:stop], part, forms[k % len(forms)])))
    return found


@given(
    seed=st.integers(0, 50),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    forms=st.lists(st.booleans(), min_size=1, max_size=3),
    order=st.randoms(use_true_random=False),
    weighted=st.booleans(),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_parts_merge_to_the_whole_in_any_order_and_form(
    seed: int, cuts: list[int], forms: list[bool], order: object, weighted: bool
) -> None:
    X = rows(seed, 60, density=0.4)
    weight = weights(seed, 60) if weighted else None
    found = parts(X, weight, cuts, forms)
    order.shuffle(found)  # type: ignore[attr-defined]
    total = Moments.empty(4)
    for part in found:
        total = total.merge(part)
    assert total.rows == 60
    np.testing.assert_allclose(total.mean(), expected_mean(X, weight), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(total.variance(), expected_variance(X, weight), rtol=1e-11)


def test_merging_is_associative() -> None:
    X = rows(2, 90, density=0.5)
    first, second, third = parts(X, weights(2, 90), [20, 50], [False, True, True])
    left, right = first.merge(second).merge(third), first.merge(second.merge(third))
    np.testing.assert_allclose(left.mean(), right.mean(), rtol=1e-13)
    np.testing.assert_allclose(left.variance(), right.variance(), rtol=1e-12)


@both_forms
@both_weights
@pytest.mark.parametrize("seed", range(6))
def test_an_offset_of_1e8_leaves_the_variance_its_digits(
    compressed: bool, weighted: bool, seed: int
) -> None:
    # with the naive sum of squares no digit would be left
    X = np.random.default_rng(seed).normal(size=(1_000, 3))
    weight = weights(seed, 1_000) if weighted else None
    far = X + 1e8
    expected = expected_variance(far - 1e8, weight)
    whole = Moments.of_block(block(far, weight, compressed))
    np.testing.assert_allclose(whole.variance(), expected, rtol=1e-7)
    np.testing.assert_allclose(whole.mean() - 1e8, expected_mean(far - 1e8, weight), atol=1e-6)
    total = Moments.empty(3)
    for part in parts(far, weight, [10, 400, 777], [compressed]):
        total = total.merge(part)
    np.testing.assert_allclose(total.variance(), expected, rtol=1e-7)


@both_forms
@both_weights
@pytest.mark.parametrize("value", [0.1, 3.3, -1e8, 1e-200, 0.0])
def test_a_constant_column_has_variance_zero(
    compressed: bool, weighted: bool, value: float
) -> None:
    for seed in range(4):
        X = rows(seed, 500, 2)
        X[:, 1] = value
        weight = weights(seed, 500) if weighted else None
        total = Moments.empty(2)
        for part in parts(X, weight, [3, 200], [compressed]):
            total = total.merge(part)
        assert total.variance()[1] == 0.0
        assert total.variance(sample=False)[1] == 0.0
        assert total.variance()[0] > 1.0


def test_a_constant_column_of_many_sparse_rows_has_variance_zero() -> None:
    # adding 0.1 a million times errs by 1e-11, far above the rounding of the mean itself
    number = 200_000
    X = np.full((number, 1), 0.1)
    assert Moments.of_block(block(X, None, compressed=True)).variance()[0] == 0.0
    assert Moments.of_block(block(X, weights(0, number), compressed=True)).variance()[0] == 0.0


@both_forms
def test_a_small_spread_is_not_taken_for_a_constant(compressed: bool) -> None:
    X = 1.0 + 1e-9 * np.random.default_rng(0).normal(size=(200, 1))
    moments = Moments.of_block(block(X, None, compressed))
    np.testing.assert_allclose(moments.variance(), expected_variance(X, None), rtol=1e-5)


@both_forms
def test_rows_of_weight_zero_count_for_nothing(compressed: bool) -> None:
    X, weight = rows(3, 100, density=0.6), weights(3, 100)
    weight[::4] = 0.0
    X[::4] = 1e9
    kept = weight > 0.0
    moments = Moments.of_block(block(X, weight, compressed))
    np.testing.assert_allclose(moments.mean(), expected_mean(X[kept], weight[kept]), rtol=1e-12)
    np.testing.assert_allclose(
        moments.variance(), expected_variance(X[kept], weight[kept]), rtol=1e-12
    )


@both_forms
def test_the_scale_of_weights_does_not_matter(compressed: bool) -> None:
    X, weight = rows(4, density=0.5), weights(4)
    first, second = (Moments.of_block(block(X, w, compressed)) for w in (weight, 1000.0 * weight))
    np.testing.assert_allclose(first.mean(), second.mean(), rtol=1e-13)
    np.testing.assert_allclose(first.variance(), second.variance(), rtol=1e-12)


@both_forms
@pytest.mark.parametrize("weight", [None, np.array([2.5])], ids=["plain", "weighted"])
def test_one_row_has_no_spread(compressed: bool, weight: Array | None) -> None:
    moments = Moments.of_block(block(np.array([[3.0, 0.0]]), weight, compressed))
    np.testing.assert_array_equal(moments.mean(), [3.0, 0.0])
    np.testing.assert_array_equal(moments.variance(), [0.0, 0.0])
    np.testing.assert_array_equal(moments.variance(sample=False), [0.0, 0.0])


@both_forms
def test_no_rows_and_weights_of_zero_give_zeros(compressed: bool) -> None:
    for moments in (
        Moments.of_block(block(np.zeros((0, 3)), None, compressed)),
        Moments.of_block(block(np.ones((5, 3)), np.zeros(5), compressed)),
        Moments.empty(3),
    ):
        np.testing.assert_array_equal(moments.mean(), np.zeros(3))
        np.testing.assert_array_equal(moments.variance(), np.zeros(3))


@both_forms
def test_merging_with_no_rows_changes_nothing(compressed: bool) -> None:
    moments = Moments.of_block(block(rows(5, 20, density=0.5), None, compressed))
    for total in (moments.merge(Moments.empty(4)), Moments.empty(4).merge(moments)):
        np.testing.assert_array_equal(total.mean(), moments.mean())
        np.testing.assert_array_equal(total.variance(), moments.variance())


def test_explicit_zeros_are_zeros() -> None:
    X = rows(6, 50, density=0.4)
    compressed = as_csr(np.where(X == 0.0, 7.0, X))
    compressed.data[compressed.data == 7.0] = 0.0
    moments = Moments.of_block(Block(compressed, np.zeros(50)))
    np.testing.assert_allclose(moments.mean(), expected_mean(X, None), rtol=1e-12)
    np.testing.assert_allclose(moments.variance(), expected_variance(X, None), rtol=1e-12)


def test_sparse_moments_hold_no_more_columns_than_occur() -> None:
    X = np.zeros((3, 10))
    X[:, 4] = [1.0, 0.0, 2.0]
    first = Moments.of_block(block(X, None, compressed=True))
    X = np.zeros((2, 10))
    X[0, 7] = 5.0
    both = first.merge(Moments.of_block(block(X, None, compressed=True)))
    assert first.columns is not None
    assert both.columns is not None
    assert first.columns.tolist() == [4]
    assert both.columns.tolist() == [4, 7]
    np.testing.assert_allclose(both.mean()[[4, 7, 0]], [0.6, 1.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(
        both.variance()[[4, 7]], [np.var([1, 0, 2, 0, 0], ddof=1), np.var([5, 0, 0, 0, 0], ddof=1)]
    )


def test_many_nonzeros_are_walked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    X, weight = rows(7, 200, density=0.5), weights(7, 200)
    whole = Moments.of_block(block(X, weight, compressed=True))
    monkeypatch.setattr(room, "MOMENT_CHUNK_NONZEROS", 7)
    cut = Moments.of_block(block(X, weight, compressed=True))
    np.testing.assert_allclose(cut.mean(), whole.mean(), rtol=1e-13)
    np.testing.assert_allclose(cut.variance(), whole.variance(), rtol=1e-12)


@both_weights
def test_columns_without_values_take_no_room(weighted: bool) -> None:
    X = np.zeros((5, 1_000))
    X[[0, 1, 4], [3, 3, 998]] = [2.0, -1.0, 7.0]
    weight = weights(9, 5) if weighted else None
    moments = Moments.of_block(block(X, weight, compressed=True))
    assert moments.columns is not None
    assert moments.columns.tolist() == [3, 998]
    np.testing.assert_allclose(moments.mean(), expected_mean(X, weight), rtol=1e-12)
    np.testing.assert_allclose(moments.variance(), expected_variance(X, weight), rtol=1e-12)


@both_forms
def test_float32_rows_are_summed_in_float64(compressed: bool) -> None:
    X = (rows(8, 5_000) + 1_000.0).astype(np.float32)
    moments = Moments.of_block(Block(as_csr(X) if compressed else X, np.zeros(5_000)))
    exact = X.astype(np.float64)
    np.testing.assert_allclose(moments.mean(), expected_mean(exact, None), rtol=1e-12)
    np.testing.assert_allclose(moments.variance(), expected_variance(exact, None), rtol=1e-10)


@both_forms
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_values_that_overflow_are_told_by_the_result_and_not_by_a_warning(
    compressed: bool, bad: float
) -> None:
    X = rows(9, 40, 2)
    X[5, 1] = bad
    X[30, 1] = -bad
    first, second = parts(X, None, [20], [compressed])
    variance = first.merge(second).variance()
    assert not np.isfinite(variance[1])
    np.testing.assert_allclose(variance[0], expected_variance(X[:, :1], None)[0], rtol=1e-12)


@both_forms
@pytest.mark.parametrize("unit", [1e-120, 1e-8, 1.0, 1e8, 1e120])
def test_weights_and_columns_of_any_size_keep_their_digits(compressed: bool, unit: float) -> None:
    """Weights of 24 orders of magnitude, in parts that are merged; NumPy's of the longest float."""
    rng = np.random.default_rng(12)
    X = unit * (rng.normal(size=(400, 3)) + np.array([0.0, 1e8, -1e4]))
    weight = 10.0 ** rng.uniform(-12.0, 12.0, size=400)
    wide, shares = X.astype(np.longdouble), weight.astype(np.longdouble)
    mean = (shares[:, None] * wide).sum(axis=0) / shares.sum()
    squares = (shares[:, None] * np.square(wide - mean)).sum(axis=0)
    wanted = squares / (shares.sum() - np.square(shares).sum() / shares.sum())
    total = Moments.empty(3)
    for part in parts(X, weight, [10, 200, 399], [compressed]):
        total = total.merge(part)
    for moments in (total, Moments.of_block(block(X, weight, compressed))):
        np.testing.assert_allclose(moments.mean(), mean.astype(float), rtol=1e-13, atol=1e-9 * unit)
        # the rows beside 1e8 hold eight digits of their spread
        np.testing.assert_allclose(moments.variance(), wanted.astype(float), rtol=1e-7)
