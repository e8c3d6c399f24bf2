"""Runs the notebooks into build/notebooks, those that did not change left out, and pairs them.

    python dev/notebooks.py            # run what changed, for the documentation
    python dev/notebooks.py --pair     # write the .ipynb files anew from the .py files

`notebooks/*.py` are the sources, in jupytext's percent format; `notebooks/*.ipynb` hold the same
cells, without outputs, for Jupyter, GitHub and Databricks.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "notebooks"
BUILT = ROOT / "build" / "notebooks"
SECONDS = 600
KEY = "sparkml_lsml_fingerprint"


def scripts() -> list[Path]:
    """The sources of the notebooks."""
    return sorted(SOURCES.glob("*.py"))


def notebook_of(script: Path) -> Any:
    """The notebook of a script, without outputs; the same bytes every time."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.NotebookNode()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def text_of(notebook: Any) -> str:
    """What the ``.ipynb`` file holds."""
    return str(nbformat.writes(notebook, version=4, indent=1)) + "\n"


def fingerprint(script: Path) -> str:
    """A hash of all that decides what a notebook shows: its source and the package."""
    digest = hashlib.sha256()
    for path in [script, *sorted((ROOT / "sparkml_lsml").rglob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def execute(script: Path) -> Any:
    """Run a notebook from top to bottom; `CellExecutionError` where a cell raises."""
    notebook = notebook_of(script)
    environment = os.environ | {
        # the package of this clone, in the kernel and in Spark's workers
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        # frozen modules make the debugger of the kernel warn
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    BUILT.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": BUILT}},
        # what the JVM and the workers of Spark say is no output of a cell
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],
    )
    client.execute(env=environment)
    return notebook


def run(script: Path) -> bool:
    """Run a notebook into build/notebooks unless it is there already; whether it ran through."""
    target = BUILT / f"{script.stem}.ipynb"
    mark = fingerprint(script)
    if target.exists() and nbformat.read(target, as_version=4).metadata.get(KEY) == mark:
        return True
    started = time.monotonic()
    try:
        notebook = execute(script)
    except CellExecutionError as error:
        print(f"{script.relative_to(ROOT)} failed:\n{error}", file=sys.stderr)
        return False
    notebook.metadata[KEY] = mark
    nbformat.write(notebook, target)
    print(f"{script.relative_to(ROOT)}: {time.monotonic() - started:.0f} s")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", action="store_true", help="write the .ipynb files anew")
    parser.add_argument("names", nargs="*", help="names of notebooks; all without")
    arguments = parser.parse_args()
    chosen = [script for script in scripts() if script.stem in (arguments.names or [script.stem])]
    if arguments.pair:
        for script in chosen:
            script.with_suffix(".ipynb").write_text(text_of(notebook_of(script)), encoding="utf-8")
        return 0
    ran = [run(script) for script in chosen]  # all of them, also behind one that failed
    return int(not all(ran))


if __name__ == "__main__":
    sys.exit(main())
