"""Fills the figures of docs/reliability.md from what the tests of the numbered cases did.

    SPARKML_LSML_CASES=cases.txt .ci/run && python dev/cases.py cases.txt

A test of a case is called test_case_NN_...; `tests/conftest.py` writes a line for each that ran.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \|(?:[^|]*\|){4}$")
REFUSALS = {"raises", "refused"}
"""What a test calls that expects an error."""


def expects_an_error(test: ast.AST) -> bool:
    calls = [node.func for node in ast.walk(test) if isinstance(node, ast.Call)]
    names = {
        call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls
    }
    return bool(names & REFUSALS)


def refusing_tests() -> set[tuple[str, str]]:
    """File and name of the tests that expect an error."""
    found = set()
    for path in ROOT.glob("tests/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and expects_an_error(node):
                found.add((str(path.relative_to(ROOT)), node.name))
    return found


def counted(lines: list[str]) -> dict[int, Counter[str]]:
    """How often each case was tried, and how it ended."""
    refusing, figures = refusing_tests(), {}
    for line in lines:
        outcome, test = line.split(maxsplit=1)
        file, _, name = test.partition("::")
        match = re.match(r"test_case_(\d+)", name)
        if match is None or outcome == "skipped":
            continue
        case = figures.setdefault(int(match[1]), Counter())
        case["tried"] += 1
        refused = (file, name.partition("[")[0]) in refusing
        case["lost" if outcome != "passed" else "refused" if refused else "survived"] += 1
    return figures


def main() -> int:
    figures = counted(Path(sys.argv[1]).read_text().splitlines())
    rows, told = [], set()
    for line in PAGE.read_text().splitlines():
        if match := ROW.match(line):
            number = int(match[1])
            told.add(number)
            case = figures.get(number, Counter())
            values = [case[key] for key in ("tried", "survived", "refused", "lost")]
            line = f"| {number} | {match[2]} | {match[3]} | " + " | ".join(map(str, values)) + " |"
            if not case["tried"]:
                print(f"case {number} has no test that ran", file=sys.stderr)
        elif line.startswith("| all |"):
            total = sum(figures.values(), Counter())
            values = [total[key] for key in ("tried", "survived", "refused", "lost")]
            line = "| all | | | " + " | ".join(map(str, values)) + " |"
        rows.append(line)
    for number in sorted(figures.keys() - told):
        print(f"case {number} is not in {PAGE.name}", file=sys.stderr)
    PAGE.write_text("\n".join(rows) + "\n")
    return int(bool(figures.keys() ^ told))


if __name__ == "__main__":
    sys.exit(main())
