"""Blocks in memory: dense and compressed rows, pieces of them, and blocks put together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import sparkml_lsml.engine.blocks.block as room
from sparkml_lsml.engine.blocks import Block, CsrRows
from sparkml_lsml.engine.blocks.block import as_csr, short_pointers

Array = npt.NDArray[np.float64]


def sparse_rows(seed: int, rows: int, features: int, density: float = 0.3) -> Array:
    """Draw rows with many zeros, the first and the last one empty."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features)) * (rng.random((rows, features)) < density)
    X[:1] = X[-1:] = 0.0
    return X


def to_dense(rows: npt.NDArray[np.float64] | sparse.csr_array | CsrRows) -> Array:
    if isinstance(rows, CsrRows):
        rows = rows.rows(0, rows.shape[0])
    return rows.toarray() if sparse.issparse(rows) else np.asarray(rows)


def make_block(seed: int, rows: int, features: int, compressed: bool, weighted: bool) -> Block:
    rng = np.random.default_rng(seed)
    X = sparse_rows(seed, rows, features)
    weight = rng.uniform(0.0, 2.0, size=rows) if weighted else None
    return Block(as_csr(X) if compressed else X, rng.normal(size=rows), weight)


def weights(block: Block) -> Array:
    return np.ones(block.rows) if block.weight is None else block.weight


both_forms = pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
both_weights = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_compressing_rows_keeps_every_value_and_drops_zeros(dtype: npt.DTypeLike) -> None:
    X = sparse_rows(0, 20, 7).astype(dtype)
    rows = as_csr(X)
    expected = sparse.csr_array(X)
    np.testing.assert_array_equal(to_dense(rows), X)
    assert len(rows.data) == np.count_nonzero(X)
    np.testing.assert_array_equal(rows.indptr, expected.indptr)
    assert (rows.data.dtype, rows.indices.dtype, rows.indptr.dtype) == (dtype, np.int32, np.int64)
    assert rows.shape == X.shape
    assert rows.nbytes == rows.data.nbytes + rows.indices.nbytes + rows.indptr.nbytes
    assert as_csr(rows) is rows


@given(
    rows=st.integers(1, 12),
    features=st.integers(1, 6),
    seed=st.integers(0, 99),
    cut=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_slice_of_compressed_rows_is_the_slice_of_the_dense_ones(
    rows: int, features: int, seed: int, cut: tuple[int, int]
) -> None:
    X = sparse_rows(seed, rows, features)
    start, stop = sorted(min(end, rows) for end in cut)
    np.testing.assert_array_equal(to_dense(as_csr(X).rows(start, stop)), X[start:stop])


@given(
    rows=st.integers(1, 12),
    features=st.integers(1, 6),
    seed=st.integers(0, 99),
    data=st.data(),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_taking_rows_keeps_order_and_repeats(
    rows: int, features: int, seed: int, data: st.DataObject
) -> None:
    picked = np.array(
        data.draw(st.lists(st.integers(0, rows - 1), max_size=2 * rows)), dtype=np.intp
    )
    dense = make_block(seed, rows, features, compressed=False, weighted=True)
    for block in (dense, Block(as_csr(dense.X), dense.y, dense.weight)):
        X, y, weight = block.take(picked)
        np.testing.assert_array_equal(to_dense(X), dense.X[picked])
        np.testing.assert_array_equal(y, dense.y[picked])
        assert weight is not None
        np.testing.assert_array_equal(weight, weights(dense)[picked])


def test_a_slice_of_compressed_rows_shares_their_memory() -> None:
    rows = as_csr(sparse_rows(1, 10, 4))
    assert np.shares_memory(rows.rows(2, 7).data, rows.data)


@both_forms
@both_weights
def test_sizes_of_a_block(compressed: bool, weighted: bool) -> None:
    block = make_block(3, 9, 4, compressed, weighted)
    assert (block.rows, block.features) == (9, 4)
    assert block.weight_sum == pytest.approx(weights(block).sum(), rel=1e-15)
    expected = block.y.nbytes + (9 * 8 if weighted else 0)
    expected += block.X.nbytes if compressed else 9 * 4 * 8
    assert block.nbytes == expected


@both_forms
@both_weights
@pytest.mark.parametrize("models", [1, 3, 1000])
def test_chunks_walk_all_rows_once_and_in_order(
    compressed: bool, weighted: bool, models: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "CHUNK_BYTES", 32 * 5 * 8)
    monkeypatch.setattr(room, "SPARSE_CHUNK_NONZEROS", 40)
    block = make_block(4, 333, 5, compressed, weighted)
    pieces = list(block.chunks(models))
    assert len(pieces) > 3
    np.testing.assert_array_equal(
        np.concatenate([to_dense(X) for X, _, _ in pieces]), to_dense(block.X)
    )
    np.testing.assert_array_equal(np.concatenate([y for _, y, _ in pieces]), block.y)
    if weighted:
        np.testing.assert_array_equal(np.concatenate([w for _, _, w in pieces]), block.weight)
    else:
        assert all(w is None for _, _, w in pieces)


@pytest.mark.parametrize("features", [1, 100, 10_000, 1_000_000])
def test_dense_chunks_are_bounded_in_rows_and_bytes(features: int) -> None:
    # the rows of a broadcast array cost no memory, however many they are
    X = np.broadcast_to(np.zeros(1), (5_000, features))
    sizes = [len(y) for _, y, _ in Block(X, np.zeros(5_000)).chunks()]
    assert sum(sizes) == 5_000
    assert max(sizes) <= 2_048
    assert max(sizes) * features * 8 <= max(room.CHUNK_BYTES, 32 * features * 8)
    assert min(sizes[:-1]) >= 32


def test_sparse_chunks_shrink_for_many_models() -> None:
    # one non-zero a row: without the bound all rows times all models would be one product
    rows = 50_000
    X = CsrRows(np.ones(rows), np.zeros(rows, dtype=np.int32), np.arange(rows + 1), 2)
    block = Block(X, np.zeros(rows))
    assert len(list(block.chunks(1))) == 1
    assert all(len(y) * 4_000 <= 20_000_000 for _, y, _ in block.chunks(4_000))


@both_forms
def test_a_block_without_rows_has_no_chunks(compressed: bool) -> None:
    X = np.zeros((0, 3))
    block = Block(as_csr(X) if compressed else X, np.zeros(0))
    assert list(block.chunks()) == []
    assert (block.rows, block.features, block.weight_sum) == (0, 3, 0.0)


FORMS = {
    "dense": [False, False, False],
    "sparse": [True, True, True],
    "mixed": [False, True, False],
}


@pytest.mark.parametrize("forms", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("weighted", [(False,) * 3, (True,) * 3, (True, False, True)])
def test_blocks_put_together_hold_all_rows_in_order(
    forms: list[bool], weighted: tuple[bool, ...]
) -> None:
    blocks = [
        make_block(seed, rows, 4, compressed, heavy)
        for seed, (rows, compressed, heavy) in enumerate(
            zip((5, 1, 8), forms, weighted, strict=True)
        )
    ]
    whole = Block.concat(blocks)
    assert isinstance(whole.X, CsrRows) == any(forms)
    np.testing.assert_array_equal(
        to_dense(whole.X), np.concatenate([to_dense(block.X) for block in blocks])
    )
    np.testing.assert_array_equal(whole.y, np.concatenate([block.y for block in blocks]))
    if any(weighted):
        np.testing.assert_array_equal(
            whole.weight, np.concatenate([weights(block) for block in blocks])
        )
    else:
        assert whole.weight is None


def test_one_block_is_put_together_without_a_copy() -> None:
    block = make_block(0, 4, 3, compressed=False, weighted=False)
    assert Block.concat([block]) is block


def test_compressed_rows_put_together_keep_their_types() -> None:
    parts = [as_csr(sparse_rows(seed, 6, 4).astype(np.float32)) for seed in range(3)]
    whole = Block.concat([Block(part, np.zeros(6)) for part in parts]).X
    assert isinstance(whole, CsrRows)
    assert (whole.data.dtype, whole.indices.dtype, whole.indptr.dtype) == (
        np.float32,
        np.int32,
        np.int64,
    )


def test_pointers_of_more_values_than_32_bits_count_stay_what_they_are() -> None:
    few, many = np.array([0, 3, 2**31 - 1]), np.array([0, 70_000, 2**31, 2**31 + 70_000])
    assert short_pointers(few).dtype == np.int32
    np.testing.assert_array_equal(short_pointers(few), few)
    np.testing.assert_array_equal(short_pointers(many), many)
