"""Fills the figures of docs/reliability.md from what the tests of the numbered cases did.

    export SPARKML_LSML_CASES=cases.txt
    ./dev/test --all && python dev/cases.py cases.txt

A test of a case is called test_case_NN_..., a contract check check_case_NN_...;
`tests/conftest.py` writes a line for each that ran.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \|(?:[^|]*\|){3}$")
KEYS = ("injected", "survived", "lost")


def counted(lines: list[str]) -> dict[int, Counter[str]]:
    """How often each case was brought about, and how it ended: each test once.

    Its last outcome counts. To be skipped is none: what a test did before still holds.
    """
    last: dict[str, str] = {}
    for line in lines:
        outcome, test = line.split(maxsplit=1)
        if outcome != "skipped" or test not in last:
            last[test] = outcome
    figures: dict[int, Counter[str]] = {}
    for test, outcome in last.items():
        match = re.search(r"(?:test|check)_case_(\d+)", test)
        assert match is not None
        if outcome == "skipped":
            print(f"skipped: {test}", file=sys.stderr)
            continue
        case = figures.setdefault(int(match[1]), Counter())
        case["injected"] += 1
        case["survived" if outcome == "passed" else "lost"] += 1
    return figures


def main() -> int:
    figures = counted(Path(sys.argv[1]).read_text().splitlines())
    rows, told = [], set()
    for line in PAGE.read_text().splitlines():
        if match := ROW.match(line):
            number = int(match[1])
            told.add(number)
            case = figures.get(number, Counter())
            values = [case[key] for key in KEYS]
            line = f"| {number} | {match[2]} | {match[3]} | " + " | ".join(map(str, values)) + " |"
            if not case["injected"]:
                print(f"case {number} has no test that ran", file=sys.stderr)
        elif line.startswith("| all |"):
            total = sum(figures.values(), Counter())
            values = [total[key] for key in KEYS]
            line = "| all | | | " + " | ".join(map(str, values)) + " |"
        rows.append(line)
    for number in sorted(figures.keys() - told):
        print(f"case {number} is not in {PAGE.name}", file=sys.stderr)
    PAGE.write_text("\n".join(rows) + "\n")
    return int(bool(figures.keys() ^ told))


if __name__ == "__main__":
    sys.exit(main())
