"""`validate`: which job a file is for, and every problem with its line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparkml_lsml.cli.app import main
from sparkml_lsml.cli.validate import examine, job_of
from sparkml_lsml.jobs.cli import main as train

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
    assert jobs == ["evaluate): ok", "score): ok", *["train): ok"] * 3, "tune): ok"]


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
    found = examine(str(file))
    assert found.job is None
    assert "--job" in found.problems[0].message
    assert examine(str(file), "score").problems != ()


RUNS = """\
imports: {module}
input: {{format: parquet, path: rows.parquet}}
pipeline:
  estimator:
    class: {estimator}
    params:
      loss: {loss}
output:
  model: out/model
  report: out/report.json
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that leaves a file where it is run, and registers no loss."""
    name = "of_a_pull_request"
    trace = tmp_path / "was run"
    code = f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def was_run(folder: Path) -> bool:
    return (folder / "was run").exists()


def test_nothing_of_a_file_is_run_unless_asked(
    tmp_path: Path, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(RUNS.format(module=module, estimator="LinearSVC", loss="mine"), "utf-8")
    assert main(["validate", str(file)]) == 0
    assert f"ok, {module} not imported (--imports)" in capsys.readouterr().out
    assert main(["validate", str(file), "--no-imports", "--json"]) == 0
    [told] = json.loads(capsys.readouterr().out)["files"]
    assert told["not_imported"] == [module]
    assert train("train", ["--conf-file", str(file), "--check", "--no-imports"]) == 0
    assert not was_run(tmp_path)
    # the job would import it
    assert train("train", ["--conf-file", str(file), "--no-imports"]) == 2
    assert "--no-imports goes with --check" in capsys.readouterr().err
    assert not was_run(tmp_path)
    assert main(["validate", str(file), "--imports"]) == 1
    assert "loss='mine'" in capsys.readouterr().out
    assert was_run(tmp_path)


def test_the_check_of_a_job_imports_as_the_job_does(tmp_path: Path, module: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(RUNS.format(module=module, estimator="LinearSVC", loss="hinge"), "utf-8")
    assert train("train", ["--conf-file", str(file), "--check"]) == 0
    assert was_run(tmp_path)


@pytest.mark.parametrize(
    ("estimator", "loss", "words"),
    [
        ("LinearSVC", "3", "expected a text"),
        ("LogisticRegression", "mine", "no Param of this name"),
    ],
)
def test_other_problems_of_a_loss_are_told_without_imports(
    tmp_path: Path, module: str, estimator: str, loss: str, words: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(RUNS.format(module=module, estimator=estimator, loss=loss), "utf-8")
    [problem] = examine(str(file)).problems
    assert words in problem.message
    assert not was_run(tmp_path)


def test_without_imports_in_the_file_losses_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    text = RUNS.format(module="x", estimator="LinearSVC", loss="mine")
    file.write_text(text.partition("\n")[2], encoding="utf-8")
    [problem] = examine(str(file)).problems
    assert "loss='mine'" in problem.message


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
