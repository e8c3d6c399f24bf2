"""The pages on new losses, solvers and predictors, done as they say to a copy of the sources."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from tests.documents import ROOT, blocks
from tests.processes.extending import L2, LOSS, SOLVER, Array, rows
from tests.programs import environment

PAGES = ("loss.md", "solver.md")
MOST_FILES = 3
"""Files of the package that a new loss or solver may touch."""

COPIED = ("sparkml_lsml", "tests", "docs/extend")
CAPTION = ":caption: "


def steps(page: str) -> list[tuple[str, str]]:
    """The new files and edits that a page shows: paths, and what is in the blocks."""
    texts = [block.text for block in blocks(ROOT / "docs" / "extend" / page)]
    captioned = [text.partition("\n") for text in texts if text.startswith(CAPTION)]
    return [(first.removeprefix(CAPTION).strip(), body) for first, _, body in captioned]


def edited(text: str, edit: str) -> str:
    """A file after an edit: hunks apart by ``@@``, whose old lines it has exactly once."""
    for hunk in edit.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        # editors strip the blank of a context line that is empty
        marked = [(line[0], line[1:]) if line.strip() else (" ", "\n") for line in lines]
        assert {mark for mark, _ in marked} <= set(" +-"), f"no edit:\n{hunk}"
        old, new = ("".join(line for mark, line in marked if mark in kept) for kept in (" -", " +"))
        assert text.count(old) == 1, f"found {text.count(old)} times, expected once:\n{old}"
        assert old != new
        text = text.replace(old, new)
    return text


def apply(page: str, root: Path) -> set[str]:
    """Do what a page says to the sources below a folder, and return the files that changed."""
    changed = set()
    for path, body in steps(page):
        file = root / path
        file.write_text(edited(file.read_text(), body) if file.exists() else body)
        changed.add(path)
    return changed


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, set[str]]]:
    """Give the extended sources, and the files that each page touched."""
    root = tmp_path_factory.mktemp("extended")
    left_out = shutil.ignore_patterns("__pycache__", "golden")
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", root)
    return root, {page: apply(page, root) for page in PAGES}


@pytest.fixture(scope="module")
def found(extended: tuple[Path, dict[str, set[str]]]) -> dict[str, Any]:
    """Give what `extending` found with the extended sources."""
    root, _ = extended
    done = subprocess.run(
        [sys.executable, "-m", "tests.processes.extending"],
        cwd=root,
        env=environment(PYTHONPATH=str(root)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    # the driver and the Python workers ran the copy
    assert last.pop("sources") == 2 * [str(root / "sparkml_lsml" / "__init__.py")]
    return last


@pytest.mark.parametrize("page", PAGES)
def test_a_page_touches_few_files_of_the_package(
    extended: tuple[Path, dict[str, set[str]]], page: str
) -> None:
    _, changed = extended
    ours = {path for path in changed[page] if path.startswith("sparkml_lsml/")}
    assert 2 <= len(ours) <= MOST_FILES
    new = {path for path in ours if not (ROOT / path).exists()}
    assert len(new) == 1, f"{new} are not there yet, expected one"


def textbook(coef: Array) -> float:
    """Zhang's loss with an L2 penalty on the coefficients, the intercept last."""
    X, y = rows()
    margin = (2.0 * y - 1.0) * (X @ coef[:-1] + coef[-1])
    loss = np.where(margin >= -1.0, np.maximum(0.0, 1.0 - margin) ** 2, -4.0 * margin)
    return float(loss.mean() + 0.5 * L2 * coef[:-1] @ coef[:-1])


def test_the_new_loss_is_minimised_by_the_estimator(found: dict[str, Any]) -> None:
    model = found["fits"]["loss"]
    options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5_000}
    least = optimize.minimize(textbook, np.zeros(3), method="Nelder-Mead", options=options)
    coef = np.array(model["coef"])
    X, y = rows()
    assert ((2.0 * y - 1.0) * (X @ coef[:-1] + coef[-1])).min() < -1.0, "no row is in the tail"
    assert textbook(coef) == pytest.approx(least.fun, rel=1e-7)
    assert model["objective"] == pytest.approx(least.fun, rel=1e-7)
    np.testing.assert_allclose(coef, least.x, rtol=1e-3)
    assert sorted(model["predictions"]) == sorted(X @ coef[:-1] + coef[-1] > 0.0)
    assert f"'{LOSS}'" in model["doc"]
    assert f"the package has a loss named '{LOSS}' itself" in found["refusal"]


def test_the_new_solver_finds_what_another_finds(found: dict[str, Any]) -> None:
    new, other = found["fits"]["solvers"]
    assert SOLVER in new["solver"]
    assert SOLVER not in other["solver"]
    assert new["reason"] in ("converged", "precision")
    assert new["objective"] == pytest.approx(other["objective"], rel=1e-7)
    np.testing.assert_allclose(new["coef"], other["coef"], rtol=1e-3)
    assert found["fits"]["settings"] == [SOLVER, 0.25, 1e-3]
    assert SOLVER in found["fits"]["doc"]


def test_the_predictor_of_the_page_has_the_gradient_of_its_raw_predictions(
    found: dict[str, Any],
) -> None:
    assert set(found["predictor"]) == {
        f"{kind} {what}" for kind in ("dense", "sparse") for what in ("gradient", "scores")
    }
    for what, error in found["predictor"].items():
        assert error < 1e-7, what


def test_an_edit_that_does_not_fit_is_refused() -> None:
    """Guards the runner: a page that has fallen behind the sources must not pass."""
    text = "a\nb\nc\nb\n"
    assert edited(text, " a\n+new\n b\n c\n@@\n-c\n+d\n") == "a\nnew\nb\nd\nb\n"
    for edit in (" b\n+new\n", " x\n+new\n", " a\n", "a\n"):
        with pytest.raises(AssertionError):
            edited(text, edit)
