"""From Arrow to NumPy: every form in which features arrive, sliced, with nulls, and damaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkml_lsml.engine.blocks import CsrRows
from sparkml_lsml.engine.blocks.arrow import (
    DENSE,
    DENSE_SHARE,
    SPARSE,
    Features,
    as_assembled,
    to_features,
)

Array = npt.NDArray[np.float64]

VECTOR = pa.struct(
    [
        ("type", pa.int8()),
        ("size", pa.int32()),
        ("indices", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float64())),
    ]
)
"""What Spark's VectorUDT is in Arrow."""


def dense_vector(values: Any) -> dict[str, Any]:
    return {
        "type": DENSE,
        "size": None,
        "indices": None,
        "values": [float(value) for value in values],
    }


def sparse_vector(values: Any, explicit_zeros: bool = False) -> dict[str, Any]:
    kept = [j for j, value in enumerate(values) if value != 0.0 or (explicit_zeros and j % 2)]
    return {
        "type": SPARSE,
        "size": len(values),
        "indices": kept,
        "values": [float(values[j]) for j in kept],
    }


def raw_vector(size: int, indices: list[int] | None, values: list[float]) -> dict[str, Any]:
    return {"type": SPARSE, "size": size, "indices": indices, "values": values}


def vectors(rows: list[dict[str, Any] | None]) -> pa.Array:
    return pa.array(rows, type=VECTOR)


def dense_of(features: Features) -> Array:
    assert features.X is not None
    if isinstance(features.X, CsrRows):
        return np.asarray(features.X.rows(0, features.X.shape[0]).toarray())
    return np.asarray(features.X)


def random_rows(seed: int, rows: int, features: int, density: float) -> Array:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, features)) * (rng.random((rows, features)) < density)


FORMS = ("dense", "sparse", "mixed")


def encode(X: Array, form: str, explicit_zeros: bool = False) -> list[dict[str, Any]]:
    return [
        dense_vector(row)
        if form == "dense" or (form == "mixed" and number % 2)
        else sparse_vector(row, explicit_zeros)
        for number, row in enumerate(X)
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("density", [0.0, 0.1, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_vectors_arrive_as_they_are(form: str, density: float, dtype: npt.DTypeLike) -> None:
    X = random_rows(0, 12, 9, density)
    features = to_features(vectors(encode(X, form)), dtype)
    np.testing.assert_array_equal(dense_of(features), X.astype(dtype))
    assert features.X is not None
    values = features.X.data if isinstance(features.X, CsrRows) else features.X
    assert values.dtype == dtype
    assert features.present.all()
    assert (features.shortest, features.longest, features.bad_indices) == (9, 9, 0)


@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 12),
    features=st.integers(1, 7),
    density=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    explicit_zeros=st.booleans(),
    form=st.sampled_from(FORMS),
    nulls=st.sets(st.integers(0, 11)),
    cut=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_slice_of_vectors_with_nulls_arrives_as_it_is(
    seed: int,
    rows: int,
    features: int,
    density: float,
    explicit_zeros: bool,
    form: str,
    nulls: set[int],
    cut: tuple[int, int],
) -> None:
    X = random_rows(seed, rows, features, density)
    encoded: list[dict[str, Any] | None] = [*encode(X, form, explicit_zeros)]
    for row in nulls & set(range(rows)):
        encoded[row] = None
    start, stop = sorted(min(end, rows) for end in cut)
    found = to_features(vectors(encoded).slice(start, stop - start))
    present = np.array([row not in nulls for row in range(start, stop)], dtype=bool)
    np.testing.assert_array_equal(found.present, present)
    assert found.bad_indices == 0
    if present.any():
        np.testing.assert_array_equal(dense_of(found), X[start:stop][present])
        assert (found.shortest, found.longest) == (features, features)
    else:
        assert found.X is None
        assert (found.shortest, found.longest) == (0, 0)


@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 12),
    features=st.integers(1, 6),
    nulls=st.sets(st.integers(0, 11)),
    cut=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    large=st.booleans(),
    single=st.booleans(),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_slice_of_lists_with_nulls_arrives_as_it_is(
    seed: int,
    rows: int,
    features: int,
    nulls: set[int],
    cut: tuple[int, int],
    large: bool,
    single: bool,
) -> None:
    dtype = np.float32 if single else np.float64
    X = random_rows(seed, rows, features, 1.0).astype(dtype)
    element = pa.float32() if single else pa.float64()
    column = pa.array(
        [None if row in nulls else X[row].tolist() for row in range(rows)],
        type=pa.large_list(element) if large else pa.list_(element),
    )
    start, stop = sorted(min(end, rows) for end in cut)
    found = to_features(column.slice(start, stop - start), dtype)
    present = np.array([row not in nulls for row in range(start, stop)], dtype=bool)
    np.testing.assert_array_equal(found.present, present)
    if present.any():
        np.testing.assert_array_equal(dense_of(found), X[start:stop][present])
    else:
        assert found.X is None


def test_lists_that_have_the_right_type_are_not_copied() -> None:
    column = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], type=pa.list_(pa.float64()))
    X = to_features(column.slice(1)).X
    assert isinstance(X, np.ndarray)
    assert np.shares_memory(X, column.values.to_numpy())


@pytest.mark.parametrize(
    ("element", "dtype"), [(pa.float64(), "float32"), (pa.float32(), "float64")]
)
def test_lists_are_converted_to_the_type_that_was_asked_for(
    element: pa.DataType, dtype: str
) -> None:
    X = to_features(pa.array([[0.1, 2.0]], type=pa.list_(element)), dtype).X
    assert isinstance(X, np.ndarray)
    assert X.dtype == dtype
    np.testing.assert_array_equal(X, np.array([[0.1, 2.0]], dtype=np.float32).astype(dtype))


@pytest.mark.parametrize("form", ["list", *FORMS])
def test_null_elements_become_nan_and_leave_their_neighbours_alone(form: str) -> None:
    if form == "list":
        column = pa.array([[1.0, None], [2.0, 3.0]], type=pa.list_(pa.float64()))
    else:
        rows = encode(np.array([[1.0, 9.0], [2.0, 3.0]]), form)
        rows[0]["values"][1] = None
        column = vectors([*rows])
    np.testing.assert_array_equal(dense_of(to_features(column)), [[1.0, np.nan], [2.0, 3.0]])


@pytest.mark.parametrize(
    "column",
    [
        pa.array([], type=VECTOR),
        pa.array([], type=pa.list_(pa.float64())),
        pa.array([None, None], type=VECTOR),
        pa.array([None, None], type=pa.large_list(pa.float32())),
        vectors(encode(np.ones((3, 2)), "mixed")).slice(3),
        pa.chunked_array([], type=pa.list_(pa.float64())),
    ],
    ids=["vectors", "lists", "null vectors", "null lists", "slice", "chunks"],
)
def test_no_usable_rows_are_no_features(column: pa.Array) -> None:
    features = to_features(column)
    assert features.X is None
    assert (features.shortest, features.longest, features.bad_indices) == (0, 0, 0)
    assert len(features.present) == len(column)
    assert not features.present.any()


def test_chunks_are_put_together() -> None:
    X = random_rows(1, 7, 5, 0.3)
    rows = encode(X, "mixed")
    column = pa.chunked_array([vectors(rows[:3]), vectors([None]), vectors(rows[3:])])
    features = to_features(column)
    np.testing.assert_array_equal(dense_of(features), X)
    np.testing.assert_array_equal(features.present, [True] * 3 + [False] + [True] * 4)


def test_sparse_rows_of_many_nonzeros_are_kept_dense() -> None:
    features = 8
    for nonzeros in range(features + 1):
        rows = [
            raw_vector(features, list(range(nonzeros)), [1.0] * nonzeros),
            raw_vector(features, list(range(nonzeros)), [2.0] * nonzeros),
        ]
        found = to_features(vectors(rows))
        assert isinstance(found.X, CsrRows) == (nonzeros < DENSE_SHARE * features)


def test_sparse_rows_cost_memory_for_their_entries_only() -> None:
    # as dense rows these would be 16 GB
    rows = [raw_vector(1_000_000_000, [5, 999_999_999], [1.0, 2.0]) for _ in range(2)]
    X = to_features(vectors(rows)).X
    assert isinstance(X, CsrRows)
    assert X.shape == (2, 1_000_000_000)
    assert X.indices.tolist() == [5, 999_999_999] * 2
    assert X.nbytes < 200


@pytest.mark.parametrize(
    ("rows", "shortest", "longest"),
    [
        ([dense_vector([1, 2]), dense_vector([1, 2, 3])], 2, 3),
        ([sparse_vector([1, 0]), sparse_vector([1, 0, 3])], 2, 3),
        ([dense_vector([1, 2]), sparse_vector([0, 0, 3])], 2, 3),
        ([sparse_vector([0, 2]), dense_vector([])], 0, 2),
    ],
)
def test_rows_of_different_lengths_are_told_by_both(
    rows: list[dict[str, Any]], shortest: int, longest: int
) -> None:
    features = to_features(vectors([*rows]))
    assert features.X is None
    assert (features.shortest, features.longest) == (shortest, longest)


def test_lists_of_different_lengths_are_told_by_both() -> None:
    features = to_features(pa.array([[1.0], [], [1.0, 2.0]]))
    assert features.X is None
    assert (features.shortest, features.longest) == (0, 2)


def test_rows_without_elements_have_zero_features() -> None:
    features = to_features(pa.array([[], []], type=pa.list_(pa.float64())))
    assert dense_of(features).shape == (2, 0)


GOOD = raw_vector(9, [0, 8], [1.0, 2.0])


@pytest.mark.parametrize(
    ("bad", "number"),
    [
        ([raw_vector(9, [1, 9], [1.0, 2.0])], 1),
        ([raw_vector(9, [-1, 2], [1.0, 2.0])], 1),
        ([raw_vector(9, [3, 2], [1.0, 2.0])], 1),
        ([raw_vector(9, [3, 3], [1.0, 2.0])], 1),
        ([raw_vector(9, [5, 1, 9], [1.0, 2.0, 3.0])], 1),
        ([raw_vector(9, [3, 2], [1.0, 2.0]), raw_vector(9, [9], [1.0])], 2),
        ([raw_vector(9, [1, 2], [1.0])], 1),
        ([raw_vector(9, None, [1.0])], 1),
        # the sum of the lengths is right, and every column number would be
        ([raw_vector(9, [0, 1], [1.0]), raw_vector(9, [2], [1.0, 2.0])], 2),
    ],
    ids=[
        "too large",
        "negative",
        "falling",
        "twice",
        "several",
        "two rows",
        "too many",
        "none",
        "cancelling",
    ],
)
@pytest.mark.parametrize("with_dense", [False, True], ids=["sparse", "mixed"])
def test_damaged_indices_are_counted_and_never_used(
    bad: list[dict[str, Any]], number: int, with_dense: bool
) -> None:
    around: list[dict[str, Any] | None] = [GOOD, *bad, raw_vector(9, [], []), None, GOOD]
    if with_dense:
        around.insert(1, dense_vector(range(9)))
    features = to_features(vectors(around))
    assert features.X is None
    assert features.bad_indices == number


def test_indices_may_fall_from_row_to_row_and_rows_may_be_empty() -> None:
    rows = [
        raw_vector(9, [], []),
        raw_vector(9, [7, 8], [1.0, 2.0]),
        raw_vector(9, [], []),
        raw_vector(9, [0], [3.0]),
        raw_vector(9, [], []),
    ]
    features = to_features(vectors([*rows]))
    assert features.bad_indices == 0
    assert dense_of(features)[[1, 1, 3], [7, 8, 0]].tolist() == [1.0, 2.0, 3.0]
    assert dense_of(features).sum() == 6.0


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, 2.0]),
        pa.array(["1.0", "2.0"]),
        pa.array([b"12345678"]),
        pa.array([[1.0, 2.0]], type=pa.list_(pa.float64(), 2)),
        pa.array([["1.5", "2.5"]]),
        pa.array([[[1.5]], [[2.5]]]),
    ],
    ids=["double", "string", "binary", "fixed-size list", "list of strings", "list of lists"],
)
def test_other_types_are_refused_by_name(column: pa.Array) -> None:
    with pytest.raises(TypeError, match="expected vectors, or arrays of float or double"):
        to_features(column)


@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 12),
    features=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.2, 0.5, 0.6, 1.0]),
    odd=st.sampled_from([None, -0.0, np.nan, 1e-60]),
    single=st.booleans(),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_numbers_are_kept_as_the_vectors_of_an_assembler(
    seed: int, rows: int, features: int, density: float, odd: float | None, single: bool
) -> None:
    dtype = np.float32 if single else np.float64
    X = random_rows(seed, rows, features, density)
    X[X == 0.0] = 0.0
    if odd is not None:
        X[0, 0] = odd
    # Vector.compressed of Spark, after an assembler that leaves out what equals 0
    encoded = [
        sparse_vector(row)
        if 1.5 * (np.count_nonzero(row) + 1.0) < features
        else dense_vector(np.where(row == 0.0, 0.0, row))
        for row in X
    ]
    expected = to_features(vectors([*encoded]), dtype)
    lists = pa.array(X.tolist(), type=pa.list_(pa.float64()))
    found = as_assembled(to_features(lists), dtype)
    assert type(found.X) is type(expected.X)
    parts = ("data", "indices", "indptr") if isinstance(found.X, CsrRows) else ("view",)
    for name in parts:
        one, other = (getattr(each.X, name) for each in (found, expected))
        one, other = (each() if callable(each) else each for each in (one, other))
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    assert (found.shortest, found.longest) == (expected.shortest, expected.longest)


def test_there_may_be_no_rows_to_assemble() -> None:
    empty = to_features(pa.array([None], type=pa.list_(pa.float64())))
    assert as_assembled(empty).X is None
