"""Columns whose values lie close together: which they are, and what is subtracted from them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import CsrRows, as_csr
from sparkml_lsml.engine.blocks.moments import Moments
from sparkml_lsml.engine.blocks.origin import Origin, close_columns
from sparkml_lsml.engine.passes import RangePass
from tests.unit.formulas import make_block

FAR = 1.7e15
both_forms = pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])


@both_forms
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_columns_that_differ_by_little_are_told_from_all_others(
    compressed: bool, weighted: bool
) -> None:
    rng = np.random.default_rng(1)
    steps = rng.integers(0, 4, 3_000) / 4.0
    columns = {
        "normal": rng.normal(size=3_000),
        "far": 1e6 + rng.normal(size=3_000),
        "one": np.ones(3_000),
        "quarters of 1.7e15": FAR + steps,
        "zeros": np.zeros(3_000),
        "indicator": (rng.random(3_000) < 0.01).astype(float),
        "steps of 1e-9": 1.0 + 1e-9 * steps,
        "nanoseconds": np.full(3_000, 1.7e18),
        "negative": -FAR - steps,
    }
    X = np.column_stack(list(columns.values()))
    weight = rng.uniform(0.1, 2.0, 3_000) if weighted else None
    block = make_block(X, np.zeros(3_000), weight, compressed)
    found = close_columns(Moments.of_block(block), "float64")
    wanted = ["quarters of 1.7e15", "steps of 1e-9", "negative"]
    # others that are the same in all rows may be among them: the ranges tell
    assert set(np.flatnonzero([name in wanted for name in columns])) <= set(found.tolist())
    ranges = RangePass(found)(block, 0)
    differ = found[ranges.low < ranges.high]
    assert [list(columns)[at] for at in differ] == wanted


@both_forms
def test_ranges_are_those_of_rows_that_count(compressed: bool) -> None:
    rng = np.random.default_rng(2)
    X = np.where(rng.random((90, 7)) < 0.5, rng.normal(size=(90, 7)), 0.0)
    X[:, 3] = 5.0 + rng.random(90)
    weight = rng.integers(0, 2, 90).astype(float)
    columns = np.array([0, 3, 6])
    task = RangePass(columns)
    parts = [slice(0, 40), slice(40, 41), slice(41, 41), slice(41, 90)]
    total = task(make_block(X[:0], np.zeros(0), weight[:0], compressed), 0)
    for at in parts:
        total = total.merge(task(make_block(X[at], np.zeros(90)[at], weight[at], compressed), 0))
    kept = X[weight > 0.0][:, columns]
    np.testing.assert_array_equal(total.low, kept.min(axis=0))
    np.testing.assert_array_equal(total.high, kept.max(axis=0))


@both_forms
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_differences_are_exact(compressed: bool, dtype: str) -> None:
    rng = np.random.default_rng(3)
    steps = rng.integers(-400, 400, 50) / 4.0
    X = np.column_stack([rng.integers(0, 3, 50), FAR + steps, np.zeros(50), -FAR / 2 + steps])
    X[7, 1] = 0.0  # a row that has no value there, as one of weight 0 may
    origin = Origin(np.array([1, 3]), np.array([FAR - 1.0, -FAR / 2]))
    found = origin.subtract(as_csr(X) if compressed else X, dtype)
    wanted = X.copy()
    wanted[:, 1], wanted[:, 3] = steps + 1.0, steps
    wanted[7, 1] = 1.0 - FAR
    if compressed:
        assert isinstance(found, CsrRows)
        assert (found.indices.dtype, found.indptr.dtype) == (np.int32, np.int64)
        assert found.data.dtype == dtype
        matrix = found.rows(0, 50)
        assert isinstance(matrix, sparse.csr_array)
        found = matrix.toarray()
    np.testing.assert_array_equal(found, wanted.astype(dtype))


def test_intercepts_are_rounded_once() -> None:
    rng = np.random.default_rng(4)
    weights, intercepts = rng.normal(size=(3, 5)), rng.normal(size=3)
    origin = Origin(np.array([0, 2, 4]), np.array([FAR, -3e12, 1e9 + 0.25]))
    for back, sign in ((False, 1), (True, -1)):
        found = origin.intercepts(weights, intercepts, back)
        for row, intercept, one in zip(weights.tolist(), intercepts, found, strict=True):
            wanted = Fraction(float(intercept)) + sign * sum(
                Fraction(row[at]) * Fraction(float(value))
                for at, value in zip((0, 2, 4), origin.values, strict=True)
            )
            assert one == float(wanted)
    # what a prediction may be off: half a unit in the last place of its terms
    assert origin.rounding(np.array([[0.0, 9.0, 1.0, 0.0, 2.0]])) == pytest.approx(
        2.0**-53 * 3.002e12, rel=1e-3, abs=0
    )


def test_values_in_single_precision_may_differ_where_they_look_the_same() -> None:
    same = np.full((20, 2), [1.0, FAR], dtype=np.float32)
    moments = Moments.of_block(Block(same, np.zeros(20)))
    assert close_columns(moments, "float32").tolist() == [1]
    assert close_columns(moments, "float64").tolist() == []
