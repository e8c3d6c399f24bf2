"""Dual variables: the step of one, and the files that keep them."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.duals import read_duals, remove_older, write_duals
from sparkml_lsml.engine.kernels.sdca import best_dual, gain
from sparkml_lsml.errors import DiskError
from sparkml_lsml.losses import Hinge, Logistic, Loss, SquaredHinge

RANGES = {"hinge": (0.0, 1.0), "squaredHinge": (0.0, 100.0), "logistic": (0.0, 1.0)}


@pytest.fixture(params=["", "compiled"], scope="module")
def step(request: pytest.FixtureRequest) -> Any:
    """The step as it is and as it is compiled."""
    if not request.param:
        return best_dual
    pytest.importorskip("numba")
    import numba

    from sparkml_lsml.engine.kernels import loops, sdca_loops

    inner = sdca_loops._best_dual

    @numba.njit
    def call(code: int, margin: float, dual: float, bend: float) -> float:
        return inner(code, margin, dual, bend)

    codes = {
        "hinge": loops.HINGE,
        "squaredHinge": loops.SQUARED_HINGE,
        "logistic": loops.LOGISTIC,
    }
    return lambda loss, *rest: call(codes[loss.name], *rest)


@pytest.mark.parametrize("bend", [1e-6, 0.3, 40.0, 1e5])
@pytest.mark.parametrize("dual", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("margin", [-30.0, -1.0, 0.0, 0.9, 1.5, 30.0])
@pytest.mark.parametrize("loss", [Hinge(), SquaredHinge(), Logistic()], ids=lambda loss: loss.name)
def test_step_is_the_maximum(
    step: Any, loss: Loss, margin: float, dual: float, bend: float
) -> None:
    def value(a: float) -> float:
        return float(gain(loss, np.array([a]))[0]) - a * margin - 0.5 * bend * (a - dual) ** 2

    low, high = RANGES[loss.name]
    found = step(loss, margin, dual, bend)
    assert low <= found <= high
    best = optimize.minimize_scalar(
        lambda a: -value(a), bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    # SciPy's search keeps away from the ends of the interval
    most = max(-best.fun, value(low), value(high))
    assert value(found) >= most - 1e-12 * max(1.0, abs(most))


def test_gain_is_the_conjugate_of_the_loss() -> None:
    """The loss is the largest of ``g(a) - a m`` over all duals a, which is what makes it a dual."""
    margins = np.linspace(-4.0, 4.0, 33)
    for loss in (Hinge(), SquaredHinge(), Logistic()):
        low, high = RANGES[loss.name]
        duals = np.linspace(low, min(high, 12.0), 200_001)
        wanted = loss.value_and_derivative(np.ones(33), margins[:, None, None])[0][:, 0]
        found = [np.max(gain(loss, duals) - duals * margin) for margin in margins]
        np.testing.assert_allclose(found, wanted, atol=1e-7)


def block(folder: Path | None) -> Block:
    return Block(np.ones((3, 1)), np.zeros(3), folder="" if folder is None else str(folder))


def test_first_version_is_zero(tmp_path: Path) -> None:
    for where in (None, tmp_path):
        duals = read_duals(block(where), None)
        assert duals is not None
        assert duals.tolist() == [0.0, 0.0, 0.0]


def test_versions_are_files_of_their_own(tmp_path: Path) -> None:
    rows = block(tmp_path)
    names = [write_duals(rows, np.full(3, float(n)), 0, n) for n in (1, 1, 2, 3)]
    names.append(write_duals(rows, np.full(3, 9.0), 1, 1))
    assert len(set(map(str, names))) == 5
    for name, value in zip(names, (1.0, 1.0, 2.0, 3.0, 9.0), strict=True):
        duals = read_duals(rows, name)
        assert duals is not None
        assert duals.tolist() == [value] * 3
        assert stat.S_IMODE((tmp_path / str(name)).stat().st_mode) == 0o600
    remove_older(rows, 0, 3)
    # an attempt that still runs may read the version before; other models have their own
    assert {path.name for path in tmp_path.iterdir()} == {str(name) for name in names[2:]}


def test_files_that_are_gone_or_cut_off_are_lost(tmp_path: Path) -> None:
    rows = block(tmp_path)
    name = str(write_duals(rows, np.ones(3), 0, 1))
    with (tmp_path / name).open("r+b") as file:
        file.truncate(16)
    assert read_duals(rows, name) is None
    (tmp_path / name).unlink()
    assert read_duals(rows, name) is None


def test_rows_in_memory_keep_their_duals_with_the_driver() -> None:
    rows = block(None)
    kept = write_duals(rows, np.array([1.0, 2.0, 3.0]), 0, 1)
    duals = read_duals(rows, kept)
    assert duals is not None
    assert duals.tolist() == [1.0, 2.0, 3.0]
    remove_older(rows, 0, 5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    real = os.open

    def full(path: Any, *rest: Any) -> int:
        real(path, *rest)
        return real("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(DiskError, match="no room for 24 bytes of dual variables"):
        write_duals(block(tmp_path), np.ones(3), 0, 1)
    assert list(tmp_path.iterdir()) == []
