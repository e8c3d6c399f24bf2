"""The house as its files have it: no circle of imports, and no file that is too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "sparkml_lsml"

MOST_LINES = 400

LONGER = {
    # one loop for each loss and form of rows, which Numba compiles as they stand
    "sparkml_lsml.engine.kernels.loops": 470,
    # what solvers are asked, answer and tell of their progress: most of it is docstrings
    "sparkml_lsml.engine.solvers.base": 500,
}
"""Lines of the modules that are longer than `MOST_LINES`, and must not grow."""


@cache
def modules() -> dict[str, str]:
    """The source of each module, by its name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements, also within functions; not those for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from statements(ast.Module(child.orelse, []))
        else:
            yield from statements(child)


def imported(statement: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Names of the modules that a statement may import: of the package or of others."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
        return
    assert statement.level == 0, f"line {statement.lineno} has a relative import"
    for alias in statement.names:
        whole = f"{statement.module}.{alias.name}"
        yield whole if whole in modules() else str(statement.module)


@cache
def graph() -> dict[str, set[str]]:
    """What each module imports of the package."""
    return {
        name: {
            other
            for statement in statements(ast.parse(source))
            for other in imported(statement)
            if other in modules()
        }
        for name, source in modules().items()
    }


def way(start: str, end: str) -> list[str]:
    """The modules from one to another along imports; [] if there is no way."""
    before = {start: ""}
    waiting = [start]
    for name in waiting:
        if name == end:
            found = [name]
            while before[found[0]]:
                found.insert(0, before[found[0]])
            return found
        for other in sorted(graph()[name] - before.keys()):
            before[other] = name
            waiting.append(other)
    return []


def test_no_circle_of_imports() -> None:
    # an import within a function breaks no circle: it only hides that two files know each other
    circles = [
        " -> ".join([name, *back])
        for name, others in graph().items()
        for other in sorted(others)
        if (back := way(other, name))
    ]
    assert circles == []


def test_the_graph_sees_imports() -> None:
    """Guards the test above: an import at the top, one in a function, and a way through others."""
    assert "sparkml_lsml.cli.launch" in graph()["sparkml_lsml.cli.app"]
    assert "sparkml_lsml.cli.show" in graph()["sparkml_lsml.cli.app"]
    assert way("sparkml_lsml.classification", "sparkml_lsml.engine.blocks.block")
    assert not way("sparkml_lsml.errors", "sparkml_lsml.classification")


def test_no_module_is_too_long() -> None:
    lines = {name: source.count("\n") for name, source in modules().items()}
    found = {name: count for name, count in lines.items() if count > MOST_LINES}
    assert {name for name, count in found.items() if count > LONGER.get(name, 0)} == set()
    # a limit that is no longer needed is one that is forgotten
    assert LONGER.keys() <= found.keys()
