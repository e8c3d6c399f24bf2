"""Weights that differ between models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.passes.reweighting import TILE, HeldOut, Poisson, reweighted

ROWS = 3 * TILE + 100
BLOCK = Block(np.ones((ROWS, 1)), np.zeros(ROWS), fold=np.arange(ROWS, dtype=np.int32) % 3)


def test_counts_are_poisson() -> None:
    drawn = Poisson(seed=3, replicates=tuple(range(20))).factors(BLOCK, 2, 0, ROWS)
    assert drawn.shape == (ROWS, 20)
    observed = np.bincount(drawn.astype(int).ravel(), minlength=8)
    wanted = stats.poisson(1.0).pmf(np.arange(7)) * drawn.size
    assert stats.chisquare(observed[:7], wanted * observed[:7].sum() / wanted.sum()).pvalue > 1e-3
    # replicates, rows and partitions are independent of each other
    assert np.abs(np.corrcoef(drawn.T) - np.eye(20)).max() < 0.05
    other = Poisson(3, (0,)).factors(BLOCK, 3, 0, ROWS)[:, 0]
    assert abs(np.corrcoef(drawn[:, 0], other)[0, 1]) < 0.05
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.05


def test_counts_do_not_depend_on_the_pieces() -> None:
    many = Poisson(7, (4, -1, 0))
    whole = many.factors(BLOCK, 1, 0, ROWS)
    cuts = [0, 5, TILE - 1, TILE, 2 * TILE + 7, ROWS]
    parts = [many.factors(BLOCK, 1, start, stop) for start, stop in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(whole[:, 1], np.ones(ROWS))
    np.testing.assert_array_equal(many.of([2]).factors(BLOCK, 1, 0, ROWS)[:, 0], whole[:, 2])
    assert (Poisson(8, (4,)).factors(BLOCK, 1, 0, ROWS)[:, 0] != whole[:, 0]).any()


@pytest.mark.parametrize("weighted", [False, True])
def test_a_block_for_one_model(weighted: bool) -> None:
    weight = np.arange(float(ROWS)) if weighted else None
    block = Block(BLOCK.X, BLOCK.y, weight, BLOCK.fold)
    assert reweighted(block, 0, None) is block
    found = reweighted(block, 0, HeldOut((1, 2)).of([1]))
    assert BLOCK.fold is not None
    wanted = (BLOCK.fold != 2) * (np.ones(ROWS) if weight is None else weight)
    np.testing.assert_array_equal(found.weight, wanted)
