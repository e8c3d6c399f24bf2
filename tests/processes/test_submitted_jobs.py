"""The jobs through spark-submit, as users run them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn import metrics as reference

from tests.submitting import (
    cancer_rows,
    last_line,
    left_behind,
    packaged,
    python_without_the_package,
    submit,
    train_tree,
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with the breast cancer data as Parquet, and make it the current one."""
    cancer_rows().to_parquet(tmp_path / "rows.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_submitted_jobs(place: Path) -> None:
    done = submit("train", train_tree(place), place)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    scoring = {
        "input": {"format": "parquet", "path": "rows.parquet"},
        "model": "out/model",
        "output": {"predictions": {"path": "out/scored"}},
    }
    done = submit("score", scoring, place)
    assert done.returncode == 0, done.stderr
    judging = {
        "task": "binary",
        "input": {"format": "parquet", "path": "out/scored"},
        "label": {"column": "target"},
        "output": {"report": "out/evaluation.json"},
    }
    done = submit("evaluate", judging, place)
    assert done.returncode == 0, done.stderr
    report = json.loads((place / "out" / "evaluation.json").read_text(encoding="utf-8"))
    scored = pd.read_parquet(place / "out" / "scored", columns=["target", "prediction"])
    assert report["rows"] == {"evaluated": 569} == {"evaluated": len(scored)}
    assert report["metrics"]["accuracy"] == pytest.approx(
        reference.accuracy_score(scored["target"], scored["prediction"])
    )


def test_case_68_submitted_job_that_fails(place: Path) -> None:
    """A row that cannot be used shows up in a task, after the work has begun."""
    rows = pd.read_parquet(place / "rows.parquet")
    rows.loc[::5, "mean_radius"] = np.inf
    rows.to_parquet(place / "rows.parquet")
    done = submit("train", train_tree(place), place)
    assert done.returncode == 1
    assert last_line(done).startswith("error: ")
    assert "Traceback" not in last_line(done)
    assert len(last_line(done)) > len("error: ") + 10
    # PySpark's own daemon may print that its pipe broke, when its executor ends first
    frames = [line for line in done.stderr.splitlines() if line.lstrip().startswith('File "')]
    assert [line for line in frames if "/pyspark/daemon.py" not in line] == []
    assert [*place.rglob("_SUCCESS"), *place.rglob("report.json"), *left_behind(place)] == []
    assert not (place / "out" / "model").exists()


def test_case_68_submitted_job_with_a_wrong_file(place: Path) -> None:
    text = yaml.safe_dump(train_tree(place)).replace("regParam", "regparam")
    line = 1 + next(i for i, part in enumerate(text.splitlines()) if "regparam" in part)
    done = submit("train", text, place)
    assert done.returncode == 2
    assert f"train.yaml: line {line}: pipeline.estimator.params.regparam" in last_line(done)
    assert last_line(done).startswith("error: ")
    assert "did you mean 'regParam'?" in last_line(done)
    assert not (place / "out").exists()


@pytest.mark.slow
def test_submitted_search(place: Path) -> None:
    def job(search: dict[str, Any]) -> dict[str, Any]:
        tree = train_tree(place, search=search)
        tree["pipeline"]["estimator"]["params"] = {"tol": 1e-9}
        tree["output"].pop("predictions")
        return tree

    grid = {"grid": {"regParam": [0.01, 0.1]}, "metric": "areaUnderPR", "folds": 2}
    done = submit("tune", job(grid), place)
    assert done.returncode == 0, done.stderr
    assert "areaUnderPR, mean and spread of 2 folds" in " ".join(done.stdout.split())
    done = submit("tune", job({"grid": {"regparam": [1]}, "metric": "f1"}), place)
    assert done.returncode == 2
    assert "search.grid.regparam" in last_line(done)


# ---------------------------------------------------- from a zip


@pytest.mark.slow
def test_package_travels_in_a_zip(place: Path, tmp_path: Path) -> None:
    archive = packaged()
    python = str(python_without_the_package(tmp_path / "python"))
    probe = [python, "-c", "import pydantic, pyspark, sparkml_lsml"]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    without = subprocess.run(
        probe, cwd=place, capture_output=True, text=True, check=False, env=alone
    )
    assert "No module named 'sparkml_lsml'" in without.stderr
    tree = train_tree(place)
    # So small a fit would be solved on the driver; scores of Python are our code in the executors.
    options = (
        *("--master", "local-cluster[2,1,1024]", "--py-files", archive),
        *("--conf", "spark.sparkml_lsml.scoring=python"),
        *("--conf", f"spark.pyspark.python={python}"),
    )
    done = submit("train", tree, place, options=options, PYSPARK_PYTHON=python, PYTHONPATH="")
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
    scored = pd.read_parquet(place / "out" / "predictions", columns=["target", "prediction"])
    assert report["metrics"]["accuracy"] == pytest.approx(
        reference.accuracy_score(scored["target"], scored["prediction"])
    )
