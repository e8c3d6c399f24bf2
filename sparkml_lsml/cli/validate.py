"""Checks of job configurations: everything that can be told without Spark."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sparkml_lsml.jobs import EvaluateConfig, ScoreConfig, TrainConfig, TuneConfig, yamlfile
from sparkml_lsml.jobs.base import Section
from sparkml_lsml.jobs.checking import check_all
from sparkml_lsml.jobs.errors import ConfigError, Problem, dotted

KINDS: dict[str, type[Section]] = {
    "train": TrainConfig,
    "tune": TuneConfig,
    "score": ScoreConfig,
    "evaluate": EvaluateConfig,
}
_TELLING = {"search": "tune", "pipeline": "train", "task": "evaluate", "model": "score"}
"""The keys that tell which job a file is for, the stronger first."""


def job_of(tree: Mapping[Any, Any]) -> str | None:
    """Tell which job a configuration is for, by its keys, also if they are misspelt.

    Examples
    --------
    >>> job_of({"input": {}, "pipline": {}, "output": {}})
    'train'
    """
    for cutoff in (1.0, 0.75):
        for key, job in _TELLING.items():
            if difflib.get_close_matches(key, [str(name) for name in tree], 1, cutoff):
                return job
    return None


@dataclass(frozen=True)
class Checked:
    """What was found in a file.

    Attributes
    ----------
    source
        Path of the file.
    job
        What it is for; None if that cannot be told.
    problems
        All of them, in the order of the file.
    not_imported
        Modules that it names and that were left alone, so that names of losses are not checked.
    """

    source: str
    job: str | None
    problems: tuple[Problem, ...] = ()
    not_imported: tuple[str, ...] = ()


def examine(source: str, job: str | None = None, *, imports: bool = False) -> Checked:
    """Check a file.

    Parameters
    ----------
    source
        Path of a local YAML file.
    job
        ``train``, ``tune``, ``score`` or ``evaluate``; by default what its keys say.
    imports
        Whether to import the modules that it names, which runs their code.
    """
    try:
        document = yamlfile.read(source)
        job = job or job_of(document.tree)
        if job is None:
            keys = ", ".join(f"{key} ({name})" for key, name in _TELLING.items())
            message = f"cannot tell which job this is for: expected one of the keys {keys}"
            return Checked(source, None, (Problem((), f"{message}; or say --job"),))
        config = check_all(KINDS[job], document, imports=imports)
    except ConfigError as error:
        return Checked(source, job, tuple(error.problems))
    return Checked(source, job, (), () if imports else getattr(config, "imports", ()))


def to_dict(found: Sequence[Checked]) -> dict[str, Any]:
    """The result as plain values, for ``--json``."""
    return {
        "valid": not any(each.problems for each in found),
        "files": [
            {
                "file": each.source,
                "job": each.job,
                "problems": [
                    {"line": p.line, "key": dotted(p.path), "message": p.message}
                    for p in each.problems
                ],
                "not_imported": [*each.not_imported],
            }
            for each in found
        ],
    }


def render(found: Sequence[Checked], console: Console) -> None:
    """Print each file, and below it each problem with its place."""
    for each in found:
        source, problems = each.source, each.problems
        kind = f" ({each.job})" if each.job else ""
        if not problems:
            names = ", ".join(each.not_imported)
            but = f", {names} not imported (--imports)" if names else ""
            console.print(
                Text.assemble((source, "bold"), kind, ": ", ("ok", "green"), but), soft_wrap=True
            )
            continue
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        console.print(
            Text.assemble((source, "bold"), kind, ": ", (count, "bold red")), soft_wrap=True
        )
        for problem in problems:
            location = f"{source}:{problem.line}" if problem.line else source
            console.print(
                Text.assemble("  ", (location, "cyan"), "  ", (dotted(problem.path), "bold")),
                soft_wrap=True,  # a place that is broken into lines cannot be clicked on
            )
            message = Table.grid()
            message.add_row("    ", Text(problem.message))
            console.print(message)
