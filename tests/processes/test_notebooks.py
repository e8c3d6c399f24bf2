"""The notebooks: each runs from top to bottom, and its two forms hold the same cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dev.notebooks import execute, notebook_of, scripts, text_of


def name(path: Path) -> str:
    return path.stem


def test_there_are_five() -> None:
    expected = ["descent", "quickstart", "streaming", "text", "tuning"]
    assert [script.stem for script in scripts()] == expected


@pytest.mark.parametrize("script", scripts(), ids=name)
def test_both_forms_hold_the_same_cells(script: Path) -> None:
    found = script.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert found == text_of(notebook_of(script)), "run: python dev/notebooks.py --pair"


@pytest.mark.slow
@pytest.mark.parametrize("script", scripts(), ids=name)
def test_a_notebook_runs_from_top_to_bottom_and_draws(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dev.notebooks.BUILT", tmp_path)
    notebook = execute(script)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    assert not any(told(output) for output in outputs)


def told(output: Any) -> bool:
    """Whether an output is a warning or an error, which readers would ask about."""
    return output.output_type == "error" or output.get("name") == "stderr"
