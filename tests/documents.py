"""The code blocks of the README and of the documentation, and how they are run.

A page is a story: its Python blocks run in order, in one namespace. A ``text`` block directly
behind a Python block shows what that prints, ``...`` for what may differ; with ``text about`` its
numbers may differ too. If it begins with the name of an error, the block raises that error. Pages
begin with the frames that ``docs/guide/index.md`` makes.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^\s`{]*)(?P<rest>[^\n]*)$")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?: (?:ms|s|min)\b)?")
"""A number, with the unit of a time, which depends on how long it took."""

RAISES = re.compile(r"^(\w+(?:Error|Exception)): ")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes
    ----------
    page : Path
    line : int
        Of its first line of text.
    language : str
        '' where there is none; of a directive, such as ``{toctree}``, too.
    text : str
    output : str or None
        The ``text`` block behind a Python block.
    about : bool
        Whether the numbers of the output are examples.
    """

    page: Path
    line: int
    language: str
    text: str
    output: str | None = None
    about: bool = False

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All Markdown of the project that is written by hand."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("notebooks/*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(found)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order, with Python's output beside its block."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    last = 0  # the line behind the last block that can have an output
    for language, first, text, begins, rest in _fences(lines):
        between = "".join(lines[last : begins - 1]).strip()
        if language == "text" and found and found[-1].language == "python" and not between:
            before = found.pop()
            about = rest.strip() == "about"
            found.append(Block(page, before.line, "python", before.text, text, about))
        else:
            found.append(Block(page, first, language, text))
        last = first + text.count("\n")
    return found


def _fences(lines: list[str]) -> Iterator[tuple[str, int, str, int, str]]:
    """Language, first line within, text, opening line, and what follows the language there."""
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        begins, first, text = number, number + 1, []
        closing = opening["indent"] + opening["ticks"]
        while number < len(lines) and lines[number].rstrip() != closing:
            text.append(lines[number].removeprefix(opening["indent"]))
            number += 1
        number += 1
        content = "".join(line + "\n" for line in text)
        yield opening["language"], first, content, begins, opening["rest"]


def run(block: Block, names: dict[str, Any], storage: Path) -> None:
    """Run a Python block, and compare what it prints with what its page shows.

    Parameters
    ----------
    names : dict
        The namespace of the page, which the block adds to.
    storage : Path
        Stands for the file systems of a cluster: ``hdfs:///models`` is a folder of it, and so is
        ``/Volumes``.
    """
    text = re.sub(r'(?:hdfs|s3a|dbfs)://(?=/)|(?<=")(?=/Volumes/)', f"file://{storage}", block.text)
    shown = block.output or ""
    expected = RAISES.match(shown)
    printed = io.StringIO()
    # the lines of the page, for tracebacks
    code = compile("\n" * (block.line - 1) + text, str(block.page), "exec")
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, names)
    except Exception as error:
        if expected is None:
            raise AssertionError(f"{block.place} raised {type(error).__name__}: {error}") from error
        printed.write(f"{type(error).__name__}: {error}\n")
    if block.output is None:
        return
    checker = doctest.OutputChecker()
    got = printed.getvalue()
    wanted = shown
    if block.about:
        wanted, got = NUMBER.sub("0", wanted), NUMBER.sub("0", got)
    if not checker.check_output(wanted, got, FLAGS):
        raise AssertionError(f"{block.place} printed\n{printed.getvalue()}\nexpected\n{shown}")
