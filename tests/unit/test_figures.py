"""The figures of the reliability page, from notes of more than one run."""

from __future__ import annotations

import pytest

from dev.cases import counted


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["passed"], {"injected": 1, "survived": 1}),
        (["failed"], {"injected": 1, "lost": 1}),
        (["passed", "passed"], {"injected": 1, "survived": 1}),
        (["failed", "passed"], {"injected": 1, "survived": 1}),
        # by its teardown, for example
        (["passed", "failed"], {"injected": 1, "lost": 1}),
        (["skipped", "passed"], {"injected": 1, "survived": 1}),
        (["failed", "skipped"], {"injected": 1, "lost": 1}),
    ],
)
def test_a_test_counts_once_by_its_last_outcome(
    outcomes: list[str], expected: dict[str, int]
) -> None:
    lines = [f"{each} tests/a.py::test_case_07_strings[a b]" for each in outcomes]
    assert counted(lines) == {7: expected}


def test_tests_of_a_case_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "passed tests/a.py::test_case_07_strings[a]",
        "failed tests/a.py::test_case_07_strings[b]",
        "skipped tests/a.py::test_case_08_numbers",
        "passed tests/checks/b.py::test_checks[check_case_08_labels]",
        "skipped tests/a.py::test_case_09_nulls",
    ]
    assert counted(lines) == {
        7: {"injected": 2, "survived": 1, "lost": 1},
        8: {"injected": 1, "survived": 1},
    }
    assert capsys.readouterr().err.splitlines() == [
        "skipped: tests/a.py::test_case_08_numbers",
        "skipped: tests/a.py::test_case_09_nulls",
    ]
