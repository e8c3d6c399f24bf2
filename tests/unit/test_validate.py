"""`validate`: which job a file is for, and every problem with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparkml_lsml.cli.app import main
from sparkml_lsml.cli.validate import job_of, problems_of

ROOT = Path(__file__).resolve().parents[2]
WRONG = """\
input: {format: parquet, path: rows.parquet}
splitt: {fraction: 0.25}
pipeline:
  stages:
    - class: VectorAsembler
  estimator:
    class: LinearSVC
    params:
      regparam: 1e-2
      maxIter: -1
output:
  model: out/model
  report: out/report.json
"""


def test_every_example_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(str(path) for path in (ROOT / "conf").glob("*.yaml"))
    assert main(["validate", *files]) == 0
    jobs = [line.split("(")[1] for line in capsys.readouterr().out.splitlines() if "(" in line]
    assert jobs == ["evaluate): ok", "score): ok", "train): ok", "train): ok", "tune): ok"]


def test_all_problems_with_their_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(WRONG, encoding="utf-8")
    assert main(["validate", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is False
    [found] = told["files"]
    assert found["job"] == "train"
    assert [(p["line"], p["key"]) for p in found["problems"]] == [
        (2, "splitt"),
        (5, "pipeline.stages[0].class"),
        (9, "pipeline.estimator.params.regparam"),
        (10, "pipeline.estimator.params.maxIter"),
    ]
    guesses = ("'split'?", "'VectorAssembler'?", "'regParam'?")
    for problem, guess in zip(found["problems"], guesses, strict=False):
        assert f"did you mean {guess}" in problem["message"]
    assert main(["validate", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{file} (train): 4 problems"
    places = [line.split() for line in lines if line.startswith("  ") and ".yaml:" in line]
    assert places[0] == [f"{file}:2", "splitt"]


@pytest.mark.parametrize(
    ("tree", "job"),
    [
        ({"pipeline": {}, "search": {}}, "tune"),
        ({"pipline": {}}, "train"),
        ({"task": "binary", "model": "m"}, "evaluate"),
        ({"modle": "m", "input": {}}, "score"),
        ({"input": {}}, None),
        ({1: 2}, None),
    ],
)
def test_the_job_of_a_file(tree: dict[Any, Any], job: str | None) -> None:
    assert job_of(tree) == job


def test_a_file_of_no_job(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("input: {}\n", encoding="utf-8")
    job, [problem] = problems_of(str(file))
    assert job is None
    assert "--job" in problem.message
    assert problems_of(str(file), "score")[1] != []


def test_secrets_are_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    secret = "input: {format: parquet, path: x, options: {password: regparam9}}"
    file.write_text(
        WRONG.replace(WRONG.splitlines()[0], secret).replace("regparam", "regparam9"),
        encoding="utf-8",
    )
    assert main(["validate", str(file)]) == 1
    assert "Param of this name" in capsys.readouterr().out


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("a: [", encoding="utf-8")
    assert main(["validate", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]) == 1
    out = capsys.readouterr().out
    assert "not valid YAML" in out
    assert "cannot be read" in out
    assert main(["validate", "a.yaml", "--job", "trian"]) == 2
