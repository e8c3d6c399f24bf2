"""The compiled kernels beside their NumPy twins."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.kernels import compiled, value_and_gradient
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.engine.predictors.linear import LinearPredictor
from sparkml_lsml.losses import Hinge, Huber, Logistic, Loss, Squared, SquaredHinge
from sparkml_lsml.losses.smoothed_hinge import SmoothedHinge

Array = npt.NDArray[np.float64]

ROWS, FEATURES = 300, 7
LOSSES = [Hinge(), SquaredHinge(), Logistic(), Squared(), SmoothedHinge(0.3), SmoothedHinge(0.0)]


@pytest.fixture
def numba() -> Any:
    return pytest.importorskip("numba")


def rows(sparse: bool, dtype: str, weighted: bool) -> Block:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) < 0.4)
    X[5] = 0.0
    weight = rng.random(ROWS) * (rng.random(ROWS) < 0.8) if weighted else None
    dense = X.astype(dtype)
    y = (rng.random(ROWS) < 0.5).astype(float)
    return Block(as_csr(dense) if sparse else dense, y, weight)


def folds(models: int) -> Array:
    """Factors of 0, 1 and 2: folds and replicates of a bootstrap."""
    return np.random.default_rng(4).integers(0, 3, size=(ROWS, models)).astype(float)


@pytest.mark.parametrize("factors", [False, True], ids=["", "factors"])
@pytest.mark.parametrize("models", [1, 2, 5])
@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", ""])
@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", ""])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_twins_agree(
    numba: Any,
    monkeypatch: pytest.MonkeyPatch,
    loss: Loss,
    sparse: bool,
    dtype: str,
    weighted: bool,
    intercept: bool,
    models: int,
    factors: bool,
) -> None:
    block, layout = rows(sparse, dtype, weighted), Layout(FEATURES, fit_intercept=intercept)
    coef = np.random.default_rng(5).normal(size=(models, layout.size))
    table = folds(models)
    of_rows = (lambda start, stop: table[start:stop]) if factors else None
    wanted = value_and_gradient(block, loss, LinearPredictor(layout), coef, factors=of_rows)
    monkeypatch.setattr(compiled, "LARGE", 1)
    monkeypatch.setattr(compiled, "FACTOR_ROWS", 128)
    assert compiled.compiled(loss, LinearPredictor(layout), models, 1) is not None
    found = value_and_gradient(block, loss, LinearPredictor(layout), coef, factors=of_rows)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fast", [False, True], ids=["numpy", "compiled"])
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_factors_are_weights_of_a_model(
    monkeypatch: pytest.MonkeyPatch, sparse: bool, fast: bool
) -> None:
    if fast:
        pytest.importorskip("numba")
        monkeypatch.setattr(compiled, "LARGE", 1)
    block, layout, table = rows(sparse, "float64", True), Layout(FEATURES), folds(3)
    coef = np.random.default_rng(6).normal(size=(3, layout.size))
    found = value_and_gradient(
        block,
        Logistic(),
        LinearPredictor(layout),
        coef,
        factors=lambda start, stop: table[start:stop],
    )
    assert block.weight is not None
    for k in range(3):
        alone = Block(block.X, block.y, block.weight * table[:, k])
        wanted = value_and_gradient(alone, Logistic(), LinearPredictor(layout), coef[[k]])
        for mine, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(mine[k], theirs[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("raw", [-800.0, 800.0])
@pytest.mark.parametrize("models", [1, 5])
def test_nothing_overflows(
    numba: Any, monkeypatch: pytest.MonkeyPatch, raw: float, models: int
) -> None:
    monkeypatch.setattr(compiled, "LARGE", 1)
    block = Block(np.ones((2, 1)), np.array([0.0, 1.0]))
    coef = np.full((models, 1), raw)
    value, gradient, _ = value_and_gradient(
        block, Logistic(), LinearPredictor(Layout(1, fit_intercept=False)), coef
    )
    np.testing.assert_allclose(value, 800.0)
    np.testing.assert_allclose(gradient, np.sign(raw))


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_not_a_number_is_not_lost(
    numba: Any, monkeypatch: pytest.MonkeyPatch, loss: Loss, sparse: bool
) -> None:
    monkeypatch.setattr(compiled, "LARGE", 1)
    block, layout = rows(sparse, "float64", False), Layout(FEATURES)
    for models in (1, 3):
        coef = np.full((models, layout.size), np.nan)
        value, _, _ = value_and_gradient(block, loss, LinearPredictor(layout), coef)
        assert np.isnan(value).all()


@pytest.mark.parametrize(
    ("loss", "layout", "values"),
    [
        (Huber(), Layout(FEATURES, constants=1), 10**9),
        (Logistic(), Layout(FEATURES, outputs=3), 10**9),
        (Logistic(), Layout(FEATURES), 1_000),
    ],
    ids=["another loss", "several outputs", "few rows"],
)
def test_numpy_serves(loss: Loss, layout: Layout, values: int) -> None:
    assert compiled.compiled(loss, LinearPredictor(layout), 1, values) is None


def test_numpy_serves_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    compiled.has_numba.cache_clear()
    try:
        assert compiled.compiled(Logistic(), LinearPredictor(Layout(FEATURES)), 1, 10**9) is None
    finally:
        compiled.has_numba.cache_clear()


SCRIPT = """
import numpy as np
from sparkml_lsml.engine.kernels import loops
print(loops.losses_and_slopes._cache.cache_path)
one = np.ones(1)
loops.losses_and_slopes(one, one, np.ones((0, 0)), 2, one, np.zeros((1, 1)), one.copy(), one.copy())
print(sum(loops.losses_and_slopes.stats.cache_hits.values()))
"""


# root may write everywhere, so Numba is told that it may not
UNWRITABLE = """
import numba.core.caching
for name in ("InTreeCacheLocator", "InTreeCacheLocatorFsAgnostic", "UserWideCacheLocator"):
    for prefix in ("", "_"):
        locator = getattr(numba.core.caching, prefix + name, None)
        if locator is not None:
            locator.from_function = classmethod(lambda *arguments: None)
"""


def test_machine_code_is_kept_where_neither_package_nor_home_can_be_written(
    numba: Any, tmp_path: Path
) -> None:
    """The second process loads what the first compiled; nobody else may write to the folder."""
    source = Path(compiled.__file__).parents[2]
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(source)}
    env.pop("NUMBA_CACHE_DIR", None)
    lines = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", UNWRITABLE + SCRIPT],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        lines.append(done.stdout.split())
    assert lines[0][0] == lines[1][0]
    assert lines[0][0].startswith(str(tmp_path))
    assert [hits for _, hits in lines] == ["0", "1"]
    [folder] = tmp_path.glob("sparkml_lsml-kernels-*")
    assert folder.stat().st_mode & 0o777 == 0o700


FORGETFUL = """
import numba.core.caching
for prefix in ("", "_"):
    locator = getattr(numba.core.caching, prefix + "ZipCacheLocator", None)
    if locator is not None:
        locator.from_function = classmethod(lambda *arguments: None)
"""


def test_a_numba_that_keeps_nothing_of_a_package_in_a_zip(numba: Any, tmp_path: Path) -> None:
    """As that of Databricks 15.4 does, where the driver has shipped the package."""
    source = Path(compiled.__file__).parents[3]
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((source / "sparkml_lsml").rglob("*.py")):
            file.write(path, path.relative_to(source))
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL + SCRIPT],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(archive)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["None", "0"]
