"""The jobs as users run them: the package as it is shipped, spark-submit, a job's rows and file."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyspark
import yaml
from sklearn.datasets import load_breast_cancer

from tests.programs import JVM_OPTIONS

ROOT = Path(__file__).resolve().parents[1]


def cancer_rows() -> pd.DataFrame:
    """The breast cancer data with an id for each row, as `train_tree` reads them."""
    frame: pd.DataFrame = load_breast_cancer(as_frame=True).frame
    frame = frame.rename(columns=lambda name: name.replace(" ", "_"))
    return frame.assign(id=np.arange(len(frame)))


def train_tree(folder: Path, **changes: Any) -> dict[str, Any]:
    """Describe a small training as a YAML file would."""
    return {
        "input": {"format": "parquet", "path": str(folder / "rows.parquet")},
        "split": {"fraction": 0.3, "by": "id"},
        "label": {"column": "target"},
        "pipeline": {
            "stages": [
                {
                    "class": "VectorAssembler",
                    "params": {
                        "inputCols": ["mean_radius", "mean_texture", "mean_smoothness"],
                        "outputCol": "features",
                    },
                }
            ],
            "estimator": {"class": "LogisticRegression", "params": {"regParam": 0.01}},
        },
        "output": {
            "model": str(folder / "out" / "model"),
            "predictions": {"path": str(folder / "out" / "predictions")},
            "report": str(folder / "out" / "report.json"),
        },
        **changes,
    }


def left_behind(folder: Path) -> list[str]:
    """List what a job may have forgotten: its temporary names."""
    return [path.name for path in folder.rglob(".*") if path.suffix in (".new", ".old")]


def submission(
    job: str,
    tree: dict[str, Any] | str,
    folder: Path,
    *arguments: str,
    options: tuple[str, ...] = ("--master", "local[2]"),
    **environment: str,
) -> dict[str, Any]:
    """Command, folder and environment of a job, for `subprocess`."""
    conf_file = folder / f"{job}.yaml"
    text = tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False)
    conf_file.write_text(text, encoding="utf-8")
    command = [
        str(Path(pyspark.__path__[0]) / "bin" / "spark-submit"),
        *("--properties-file", str(ROOT / "conf" / "spark-defaults.conf")),
        *("--driver-memory", "1g", "--conf", "spark.ui.enabled=false"),
        *options,
        *(str(ROOT / "jobs" / f"{job}.py"), "--conf-file", str(conf_file), *arguments),
    ]
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYSPARK_", "SPARK_", "COLUMNS"))
    }
    python = {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    jvm = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_SUBMIT_OPTS": JVM_OPTIONS}
    own = {**inherited, **jvm, **python, **environment}
    return {"args": command, "cwd": folder, "env": own}


def submit(*arguments: Any, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a job to its end; the arguments are those of `submission`."""
    return subprocess.run(
        **submission(*arguments, **settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.rstrip("\n").splitlines()[-1]


def packaged() -> str:
    """The zip for ``--py-files``, made by dev/package, by one test at a time."""
    with (ROOT / "dev" / "package").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        built = subprocess.run([file.name], capture_output=True, text=True, check=True, timeout=600)
    (archive,) = [line for line in built.stdout.splitlines() if line.endswith("-py-files.zip")]
    return archive


def python_without_the_package(folder: Path) -> Path:
    """Make a Python that has every installed package but ours.

    A line of a .pth file puts the installed packages on its path. The .pth files among those, one
    of which makes an editable install of ours importable, are not followed a second time.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin" / "python"
