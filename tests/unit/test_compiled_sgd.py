"""The compiled epochs of SGD beside their NumPy twins."""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sparkml_lsml.engine.kernels.sgd as room
from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import SgdEpochs, compiled, sgd_epochs, wide_sgd
from sparkml_lsml.engine.penalties import ElasticNet
from sparkml_lsml.losses import Hinge, Logistic, Loss, SquaredHinge
from sparkml_lsml.losses.smoothed_hinge import SmoothedHinge
from tests.unit.formulas import FORMULAS, Array, Formula
from tests.unit.test_sgd_kernels import LAST, Task, make_task

pytest.importorskip("numba")
loops = importlib.import_module("sparkml_lsml.engine.kernels.loops")

SQUARED = FORMULAS["squared"]
LOSSES: list[Loss] = [Hinge(), SquaredHinge(), Logistic(), SmoothedHinge(0.3), SmoothedHinge(0.0)]
PROBLEMS = [SQUARED, *(replace(FORMULAS["logistic"], loss=loss) for loss in LOSSES)]

FORMS = ["dense", "narrow", "wide"]
"""Dense rows, and sparse ones that are updated as dense rows or entry by entry."""

every_form = pytest.mark.parametrize("form", FORMS)
every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


def run(task: Task, how: SgdEpochs, form: str, dtype: str = "float64", fast: bool = True) -> Array:
    X = task.X.astype(dtype)
    block = Block(X if form == "dense" else as_csr(X), task.y, task.weight)
    with ExitStack() as patches:
        patches.enter_context(patch.object(room, "WIDE", 0 if form == "wide" else 10**9))
        # low for both twins: NumPy would sum the gradient at the start in single precision
        patches.enter_context(patch.object(compiled, "LARGE", 1))
        if not fast:
            for module in (room, wide_sgd):
                patches.enter_context(patch.object(module, "compiled", return_value=None))
        return sgd_epochs(*task.arguments(block, how, (3, 1, 4)))


ROUNDS = st.builds(
    SgdEpochs,
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 5),
    step_size=st.just(0.05),
    decay=st.sampled_from([0.0, 0.3]),
    power=st.sampled_from([0.5, 1.0]),
    momentum=st.sampled_from([0.0, 0.8]),
    nesterov=st.booleans(),
    average=st.booleans(),
    variance_reduction=st.booleans(),
)

# an L2 strength of 15 leaves a quarter of the weights after a step, one of 20 nothing
STRENGTHS = st.fixed_dictionaries(
    {
        "l1": st.sampled_from([0.0, 0.1]),
        "l2": st.sampled_from([0.0, 0.4, 15.0, 20.0]),
        "uneven": st.booleans(),
    }
)

ROWS = st.fixed_dictionaries(
    {
        "fit_intercept": st.booleans(),
        "weighted": st.sampled_from(["plain", "weighted", "nothing"]),
        "density": st.sampled_from([0.03, 0.4, 1.0]),
        "features": st.sampled_from([5, 40]),
        "centred": st.booleans(),
    }
)


@every_form
@every_dtype
@settings(max_examples=100, deadline=None, derandomize=True)
@given(formula=st.sampled_from(PROBLEMS), how=ROUNDS, strengths=STRENGTHS, rows=ROWS)
def test_twins_agree(
    form: str,
    dtype: str,
    formula: Formula,
    how: SgdEpochs,
    strengths: dict[str, Any],
    rows: dict[str, Any],
) -> None:
    task = make_task(formula, **strengths, **rows)
    wanted = run(task, how, form, dtype, fast=False)
    found = run(task, how, form, dtype)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)


@every_form
@pytest.mark.parametrize("reduced", [False, True], ids=["", "svrg"])
def test_a_penalty_of_one_strength_for_all_is_spread(form: str, reduced: bool) -> None:
    task = replace(make_task(SQUARED), penalty=ElasticNet(l1_strength=0.1, l2_strength=0.3))
    how = replace(LAST, variance_reduction=reduced)
    np.testing.assert_allclose(run(task, how, form), run(task, how, form, fast=False), rtol=1e-9)


@every_form
def test_large_blocks_and_no_others_take_the_loops(form: str) -> None:
    task = make_task(SQUARED)
    name = "wide_epoch" if form == "wide" else "narrow_epoch"
    with patch.object(loops, name, wraps=getattr(loops, name)) as loop:
        run(task, LAST, form, fast=False)
        task.narrow(LAST, compressed=form != "dense")
        assert loop.call_count == 0
        run(task, LAST, form)
        assert loop.call_count == LAST.epochs
        # the Numba of runtimes that people have confuses tuples of more arrays: see `narrow_epoch`
        tuples = [given for given in loop.call_args.args if isinstance(given, tuple)]
        assert max(sum(isinstance(one, np.ndarray) for one in given) for given in tuples) <= 4


@every_form
def test_a_round_that_diverged_says_so(form: str) -> None:
    task = make_task(SQUARED, l1=0.1, l2=0.1)
    task = replace(task, coef=np.full_like(task.coef, np.nan))
    assert np.isnan(run(task, LAST, form)).all()


def test_a_precision_is_compiled_once() -> None:
    """Whatever the settings are, and whole numbers among them."""
    hows = [LAST, replace(LAST, momentum=1, nesterov=True), replace(LAST, variance_reduction=True)]
    for form in FORMS:
        for dtype in ("float64", "float32"):
            for how in hows:
                for weighted in ("plain", "weighted"):
                    task = make_task(SQUARED, weighted=weighted, fit_intercept=weighted == "plain")
                    whole = replace(task.standardization, label_scale=2)
                    run(replace(task, standardization=whole), how, form, dtype)
    assert len(loops.narrow_epoch.signatures) == 2
    assert len(loops.wide_epoch.signatures) == 2
