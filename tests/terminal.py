"""A terminal's screen after what was written to it, as far as lines of progress need one."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]")


class Screen:
    """Lines of text with a cursor."""

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self._row = self._column = 0

    def write(self, text: str) -> None:
        """Do what a terminal does with text, with carriage returns and with control sequences."""
        for match in SEQUENCE.finditer(text):
            piece, (argument, command) = match[0], match.groups()
            if piece == "\r":
                self._column = 0
            elif piece == "\n":
                # the driver of a terminal adds the carriage return
                self._row, self._column = self._row + 1, 0
                if self._row == len(self.lines):
                    self.lines.append("")
            elif command == "K":
                kept = {"2": "", "": self.lines[self._row][: self._column]}
                self.lines[self._row] = kept[argument]
            elif command == "A":
                self._row = max(0, self._row - int(argument or 1))
            elif command is None:
                line = self.lines[self._row].ljust(self._column)
                self.lines[self._row] = line[: self._column] + piece + line[self._column + 1 :]
                self._column += 1

    def text(self) -> list[str]:
        """Lines that are not empty."""
        return [line.rstrip() for line in self.lines if line.strip()]


def run_in_terminal(
    command: list[str], cwd: Path, seconds: float = 120.0, **environment: str
) -> tuple[int, list[tuple[float, str]]]:
    """Run a program in a pseudo-terminal of 100 columns; its status, and what it wrote when."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", 'stty cols 100 rows 30; exec "$@"', "sh", *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cwd,
        env={**os.environ, "TERM": "xterm-256color", **environment},
        start_new_session=True,
    )
    os.close(slave)
    written, started = [], time.monotonic()
    try:
        while time.monotonic() - started < seconds:
            ready, _, _ = select.select([master], [], [], 0.2)
            if ready:
                try:
                    piece = os.read(master, 65_536)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                written.append((time.monotonic() - started, piece.decode(errors="replace")))
            elif process.poll() is not None:
                break
        return process.wait(timeout=max(1.0, seconds - (time.monotonic() - started))), written
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
