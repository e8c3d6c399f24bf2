"""Unions of sorted columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkml_lsml.engine.blocks.columns import union

COLUMNS = st.lists(st.integers(0, 50), unique=True).map(sorted)


@given(COLUMNS, COLUMNS)
def test_it_is_the_union_of_sets(left: list[int], right: list[int]) -> None:
    found = union(np.array(left, dtype=np.int64), np.array(right, dtype=np.int64))
    assert found.tolist() == sorted({*left, *right})


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_type_of_the_numbers_stays(dtype: type[np.generic]) -> None:
    assert union(np.array([1, 3], dtype), np.array([2], dtype)).dtype == dtype
