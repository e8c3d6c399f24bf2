"""Measures fits, grids, passes, growth and whole jobs, and reports them beside the goals."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import (
    checkpoints,
    driver,
    fits,
    grids,
    growth,
    jobs,
    neural,
    passes,
    plots,
    reading,
    scoring,
    snapml,
    tables,
    wide,
)
from benchmarks.contestants import MLLIB, OURS, TOL, Case
from benchmarks.data import BREAST_CANCER, FOLDER, DataSet, dense, power_law, separate
from benchmarks.measure import PAIRS, SLOW, Result
from benchmarks.report import markdown
from benchmarks.session import CORES, DRIVER_MEMORY, start

ESTIMATORS = ("LinearSVC", "LogisticRegression", "LinearRegression")
PACKAGES = ("sparkml_lsml", "pyspark", "numpy", "scipy", "scikit-learn", "pyarrow")
SPARK_ONLY = (OURS, MLLIB)

console = Console(highlight=False)
if not console.is_terminal or console.width > 110:
    console = Console(width=110, highlight=False)


@dataclass(frozen=True)
class Mode:
    """How much is measured."""

    name: str
    cases: tuple[Case, ...]
    passes: tuple[DataSet, ...]
    tuning: tuple[int, ...] = ()
    scaling: int = 0
    jobs: tuple[int, ...] = ()
    wide: tuple[int, ...] = ()
    checkpoints: int = 0
    scoring: int = 0
    reading: int = 0
    driver: tuple[int, ...] = ()


def small() -> tuple[Case, ...]:
    return tuple(Case(name, BREAST_CANCER) for name in ESTIMATORS)


def large(rows: int, dense_reg: tuple[float, ...], sparse_reg: tuple[float, ...]) -> list[Case]:
    """List the fits of the larger data sets; LinearRegression has no solver by normal equations
    for as many columns as the sparse rows have.
    """
    found = [Case(name, dense(rows), reg) for reg in dense_reg for name in ESTIMATORS]
    if dense_reg:
        found += [Case(name, separate(rows), dense_reg[0], SPARK_ONLY) for name in ESTIMATORS]
    found += [
        Case(name, power_law(rows), reg, SPARK_ONLY)
        for reg in sparse_reg
        for name in ESTIMATORS[:2]
    ]
    return found


def modes() -> dict[str, Mode]:
    million = 1_000_000
    both = (dense(million), dense(million, float32=True))
    return {
        "quick": Mode(
            "quick",
            # One of three: LinearSVC with its many passes would take half of the 2 minutes.
            (*small(), *large(50_000, (1e-2,), ())[1:2]),
            (dense(50_000),),
        ),
        "default": Mode(
            "default",
            (*small(), *large(million, (1e-2,), (1e-4,))),
            both,
            tuning=(200_000,),
            scaling=400_000,
            jobs=(200_000,),
            checkpoints=million,
            scoring=million,
            reading=million,
            driver=(100, 1_000, 10_000),
        ),
        "full": Mode(
            "full",
            (*small(), *large(million, (1e-2, 1e-4), (1e-2, 1e-4))),
            (*both, dense(10 * million, float32=True)),
            tuning=(200_000, million),
            scaling=million,
            jobs=(200_000, million),
            wide=(million, 10 * million, 20 * million),
            checkpoints=million,
            scoring=million,
            reading=million,
            driver=(100, 1_000, 10_000),
        ),
    }


def processor() -> str:
    """Name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def facts(run: str) -> dict[str, Any]:
    """Machine, versions, settings and seeds of a run."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: version(name) for name in PACKAGES}
    java = start().sparkContext._jvm
    assert java is not None
    versions["Java"] = java.java.lang.System.getProperty("java.version")
    return {
        "machine": {
            "processor": processor(),
            "cores of the machine": os.cpu_count(),
            "memory": f"{memory / 2**30:.0f} GiB",
            "system": f"{platform.system()} {platform.machine()}",
            "load at the start": round(os.getloadavg()[0], 1),
        },
        "versions": {"Python": platform.python_version(), **versions},
        "settings": {
            "run": run,
            "cores": CORES,
            "driver memory": DRIVER_MEMORY,
            "tol": TOL,
            "pairs": PAIRS,
            "one pair above": f"{SLOW:g} s",
            "seed of the data": 0,
            "seed of the folds": grids.FOLDS_SEED,
            "date": time.strftime("%Y-%m-%d"),
        },
    }


def say(text: str) -> None:
    console.print(f"  {text}", soft_wrap=True)


def write(results: dict[str, Any]) -> Path:
    path = FOLDER / f"results-{results['settings']['run']}.json"
    path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    return path


def show(table: tables.Table) -> None:
    shown = Table(box=box.ROUNDED, show_lines=True)
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)


def relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small data, under 2 minutes.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="10M x 100 float32 and the 1M grid too.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="fits, tuning, passes, reading, scaling, wide, checkpoints, driver, scoring, "
            "jobs; or neural and snapml, which install torch and Snap ML. May be given again."
        ),
    ] = None,
) -> None:
    """Measure, and write tables and pictures to build/benchmarks; by default in some 20 minutes."""
    if quick and full:
        raise typer.BadParameter("--quick and --full exclude each other")
    begin = time.perf_counter()
    # That two iterations of a warm-up are few is no news here.
    logging.getLogger("sparkml_lsml").setLevel(logging.ERROR)
    mode = modes()["quick" if quick else "full" if full else "default"]
    steps: dict[str, tuple[Any, Callable[[], Iterator[Result]]]] = {
        "fits": (mode.cases, lambda: fits.measure(start(), [*mode.cases], say)),
        "tuning": (mode.tuning, lambda: grids.measure(start(), [*mode.tuning], say)),
        "passes": (mode.passes, lambda: passes.measure(start(), [*mode.passes], say)),
        "reading": (mode.reading, lambda: reading.measure(start(), mode.reading, say)),
        "scaling": (mode.scaling, lambda: growth.measure(mode.scaling, say)),
        "wide": (mode.wide, lambda: wide.measure([*mode.wide], say)),
        "checkpoints": (
            mode.checkpoints,
            lambda: checkpoints.measure(start(), mode.checkpoints, say),
        ),
        "driver": (mode.driver, lambda: driver.measure([*mode.driver], say)),
        "scoring": (mode.scoring, lambda: scoring.measure(start(), mode.scoring, say)),
        "jobs": (mode.jobs, lambda: jobs.measure([*mode.jobs], say)),
        # not ones of a whole run: they take a package registry
        "neural": (only and "neural" in only, lambda: neural.measure(start(), say)),
        "snapml": (
            only and "snapml" in only,
            lambda: snapml.measure(start(), mode.passes[0].rows, say),
        ),
    }
    unknown = set(only or ()) - set(steps)
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: expected {', '.join(steps)}")
    # Some sections do not overwrite the results of all.
    results = facts("-".join([mode.name, *(only or ())]))
    path = write(results)
    for name, (wanted, measure) in steps.items():
        if not wanted or (only and name not in only):
            continue
        console.print(f"\n[bold]{name}[/bold]")
        results[name] = []
        for found in measure():
            results[name].append(found)
            # What is measured is kept, whatever happens to the rest.
            path = write(results)
    console.print()
    show(tables.goals(results))
    console.print(f"  {relative(path)} and {path.with_suffix('.md').name}", soft_wrap=True)
    for picture in plots.save(results, FOLDER):
        console.print(f"  {relative(picture)}", soft_wrap=True)
    console.print(f"\n  {time.perf_counter() - begin:.0f} seconds in all")


if __name__ == "__main__":
    typer.run(main)
