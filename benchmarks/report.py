"""Writes the results: Markdown beside the JSON, and the tables of docs/performance.md.

``python -m benchmarks.report build/benchmarks/results-default.json`` fills the docs anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import tables

Results = dict[str, Any]
DOCS = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def markdown(results: Results) -> str:
    """All tables as one document."""
    parts = [f"# Benchmark, run {results['settings']['run']}"]
    for heading, table in tables.every(results):
        parts += [f"## {heading}", table.markdown()]
    return "\n\n".join(parts) + "\n"


def fill(text: str, results: Results) -> str:
    """Put the tables between the markers of a text; those of sections that were not run stay.

    Raises
    ------
    ValueError
        If a marker names a table that does not exist.
    """
    found = {table.name: table.markdown() for _, table in tables.every(results)}

    def replace(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name not in found:
            raise ValueError(f"no table is called {name!r}: expected one of {', '.join(found)}")
        return match.group() if found[name] == tables.EMPTY else f"{begin}\n{found[name]}\n{end}"

    pattern = r"(<!-- table: (\w+) -->)\n.*?(<!-- end of table -->)"
    return re.sub(pattern, replace, text, flags=re.DOTALL)


def main(
    results: Annotated[
        list[Path],
        typer.Argument(help="The JSON that ./dev/bench wrote; a later one has the last word."),
    ],
    docs: Annotated[Path, typer.Option(help="The page to fill.")] = DOCS,
) -> None:
    """Fill the tables of the performance page from the results of a run."""
    text = docs.read_text(encoding="utf-8")
    found: Results = {}
    for path in results:
        found |= json.loads(path.read_text(encoding="utf-8"))
    docs.write_text(fill(text, found), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
