"""Is this environment fit for fits, and fast: everything `doctor` looks at, in order."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import sparkml_lsml
from sparkml_lsml.cli import machine
from sparkml_lsml.cli.findings import Finding, Status, release, worst
from sparkml_lsml.cli.launch import Answer, Launch
from sparkml_lsml.cli.settings import check_settings
from sparkml_lsml.cli.workers import check_workers

SCHEMA_VERSION = 1
"""Of the JSON; raised when a key is renamed, removed, or changes its meaning."""

_MARKS = {Status.OK: ("OK", "green"), Status.WARNING: ("warning", "yellow")}
_MARKS[Status.PROBLEM] = ("PROBLEM", "bold red")
_REASONS = (
    (
        r"Cannot run program|No such file or directory",
        "PYSPARK_PYTHON, or spark.pyspark.python, names a Python that the workers do not have",
    ),
    (
        r"PYTHON_VERSION_MISMATCH|different minor versions?|bad marshal data",
        "let PYSPARK_PYTHON and PYSPARK_DRIVER_PYTHON name the same version of Python",
    ),
    (
        r"No module named",
        "install the module in the workers' Python, which PYSPARK_PYTHON names",
    ),
    (
        r"within [\d.]+ s$",
        "look whether the cluster has room for it and whether executors reach the driver "
        "(spark.driver.host), or allow more with --timeout",
    ),
    (
        r"JAVA_GATEWAY_EXITED",
        "run spark-submit --version, which shows what Java says",
    ),
)


def examine(launch: Launch | None, environment: Mapping[str, str] | None = None) -> list[Finding]:
    """Look at everything.

    Parameters
    ----------
    launch
        How to start Spark; None leaves Spark, its settings and its workers alone.
    environment
        Variables of the process.
    """
    variables = os.environ if environment is None else environment
    findings = [
        *machine.check_python(),
        *machine.check_packages(),
        *machine.check_blas(variables),
        *machine.check_java(variables),
        *machine.check_environment(variables),
    ]
    if launch is None:
        return findings
    # Without NumPy on the driver its workers can still be looked at; without Java nothing can.
    stops = [f for f in findings if f.status is Status.PROBLEM]
    if any(f.area != "Python" or f.name == "pyspark" for f in stops):
        advice = "mend the problems above, then run this again"
        found = "not started, and so neither its settings nor its workers were looked at"
        return [*findings, Finding("Spark", "session", Status.WARNING, found, advice)]
    return [*findings, *_spark(launch.run())]


def _spark(answer: Answer) -> Iterator[Finding]:
    session, workers = answer.session, answer.workers
    if session is None:
        found = f"does not start: {answer.fault}"
        yield Finding("Spark", "session", Status.PROBLEM, found, _advice(answer.fault))
        return
    found = f"Spark {session['spark']}, {session['master']}, in {session['seconds']:.1f} s"
    if release(session["spark"])[:2] != release(session["pyspark"])[:2]:
        advice = "unset SPARK_HOME, or install the release of pyspark that it holds"
        found = f"{found}; but PySpark is {session['pyspark']}"
        yield Finding("Spark", "session", Status.PROBLEM, found, advice)
    else:
        yield Finding("Spark", "session", Status.OK, found)
    yield from check_settings(session["conf"], release(session["spark"]))
    if workers is None:
        found = f"fails: {answer.fault}"
        yield Finding("Workers", "job", Status.PROBLEM, found, _advice(answer.fault))
        return
    reports = workers["reports"]
    where = " and ".join(
        _count(number, what)
        for number, what in (
            (workers["executors"], "executor"),
            (len({report["host"] for report in reports}), "machine"),
        )
    )
    found = f"{len(reports)} tasks on {where}, in {workers['seconds']:.1f} s"
    yield Finding("Workers", "job", Status.OK, found)
    local = re.match(r"local(\[|$)", session["master"]) is not None
    yield from check_workers(reports, _driver(), session["conf"], local=local)


def _driver() -> dict[str, str]:
    """Versions on the driver."""
    import platform

    names = (*machine.REQUIRED, "numba")
    found = {name: machine.imported(name)[0] for name in names}
    return found | {"python": platform.python_version(), "sparkml_lsml": sparkml_lsml.__version__}


def _advice(fault: str) -> str:
    for pattern, advice in _REASONS:
        if re.search(pattern, fault):
            return advice
    return "look at the log of Spark for what came before"


# ---------------------------------------------------- what is printed


def to_dict(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as plain values, for ``--json``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "package_version": sparkml_lsml.__version__,
        "status": str(worst(findings)),
        "findings": [
            {
                "area": finding.area,
                "name": finding.name,
                "status": str(finding.status),
                "found": finding.found,
                "advice": finding.advice,
            }
            for finding in findings
        ],
    }


def render(findings: Sequence[Finding], console: Console) -> None:
    """Print the findings, area by area, and what they come to."""
    width = max(len(word) for word, _ in _MARKS.values())
    for area, part in itertools.groupby(findings, lambda finding: finding.area):
        found = list(part)
        names = max(len(finding.name) for finding in found)
        console.print(Text(area, "bold"))
        for finding in found:
            word, style = _MARKS[finding.status]
            line = Table.grid(padding=(0, 2, 0, 0))
            line.add_column(width=width)
            line.add_column(width=names)
            line.add_column(overflow="fold")
            line.add_row(Text(word, style), Text(finding.name), Text(finding.found))
            console.print(Padding(line, (0, 0, 0, 2)))
            if finding.advice:
                advice = Table.grid(padding=(0, 1, 0, 0))
                advice.add_row(Text("→", style), Text(finding.advice))
                console.print(Padding(advice, (0, 0, 0, width + 4)))
        console.print()
    console.print(Text.assemble(*_summary(findings)))


def _summary(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    problems, warnings = (
        sum(finding.status is status for finding in findings)
        for status in (Status.PROBLEM, Status.WARNING)
    )
    if problems:
        first = (f"{_count(problems, 'problem')}: fits will fail", "bold red")
    else:
        first = ("Fits can run here", "bold green")
    if not warnings:
        return [first, (".", "")]
    return [first, ("; ", ""), (_count(warnings, "warning"), "yellow"), (".", "")]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")
