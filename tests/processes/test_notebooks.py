"""The notebooks: each runs from top to bottom, and its two forms hold the same cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dev.notebooks import execute, notebook_of, scripts, text_of

SMALLER = {
    "quickstart": [
        ("spark.range(200_000", "spark.range(20_000"),
        # MLlib's hinge takes its hundred iterations, and a minute
        ('"tol": 1e-6}', '"tol": 1e-6, "maxIter": 10}'),
        ("parquet, regParam=0.01)[1]", "parquet, regParam=0.01, maxIter=10)[1]"),
    ],
    "text": [("for bits in (6, 8, 10, 12, 14)", "for bits in (6, 14)")],
}
"""What a notebook does for readers and takes its time for, and less of the same."""


def name(path: Path) -> str:
    return path.stem


def test_there_are_six() -> None:
    expected = ["descent", "neural_networks", "quickstart", "streaming", "text", "tuning"]
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
    monkeypatch.setattr("dev.notebooks.BUILT", tmp_path / "built")
    cells = script.read_text(encoding="utf-8")
    for much, less in SMALLER.get(script.stem, []):
        assert cells.count(much) == 1
        cells = cells.replace(much, less)
    copy = tmp_path / script.name
    copy.write_text(cells, encoding="utf-8")
    notebook = execute(copy)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    assert not any(told(output) for output in outputs)


def told(output: Any) -> bool:
    """Whether an output is a warning or an error, which readers would ask about."""
    return output.output_type == "error" or output.get("name") == "stderr"
