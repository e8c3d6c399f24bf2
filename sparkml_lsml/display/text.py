"""Numbers and tables as text."""

import math
import re
from collections.abc import Sequence

Cell = str | int | float | None


def number(value: Cell, digits: int = 6) -> str:
    """A value for people: significant digits, and separators between thousands.

    Examples
    --------
    >>> number(1234567), number(0.123456789), number(12345.678), number(2.5e-9), number(0.5)
    ('1,234,567', '0.123457', '12,345.7', '2.5e-09', '0.5')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    if not math.isfinite(value) or value == 0.0 or size < 1e-4 or size >= 10.0**digits:
        return f"{value:.{digits}g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    shown = f"{value:,.{decimals}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def size_of(text: str) -> int:
    """Bytes of a size as Spark's memory settings have it, in which a bare number is MiB.

    Examples
    --------
    >>> size_of("2g"), size_of("512"), size_of("1.5 GiB")
    (2147483648, 536870912, 1610612736)
    """
    found = re.fullmatch(r"\s*([\d.]+)\s*([kmgt])?(?:i?b)?\s*", text.lower())
    return int(float(found[1]) * _UNITS[found[2] or "m"]) if found else 0


def seconds(value: float) -> str:
    """A time.

    Examples
    --------
    >>> seconds(0.0123), seconds(3.456), seconds(75.0), seconds(7_384.0)
    ('12 ms', '3.46 s', '1 min 15 s', '2 h 3 min')
    """
    if value < 0.1:
        return f"{1e3 * value:.0f} ms"
    if value < 60.0:
        return f"{value:.2f} s"
    if value < 3_600.0:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{value // 3_600:.0f} h {value % 3_600 // 60:.0f} min"


def size(nbytes: float) -> str:
    """Bytes, in units of 1,024.

    Examples
    --------
    >>> size(0), size(2_048), size(3 * 2**20), size(5 * 2**30)
    ('0 B', '2.0 KB', '3.0 MB', '5.0 GB')
    """
    if nbytes < 1_024:
        return f"{nbytes:.0f} B"
    for unit in ("KB", "MB", "GB"):
        nbytes /= 1_024
        if nbytes < 1_024:
            return f"{nbytes:.1f} {unit}"
    return f"{nbytes / 1_024:,.1f} TB"


def shortened(rows: Sequence[Sequence[str]], most: int) -> list[Sequence[str]]:
    """The rows, with an ellipsis for those in the middle where there are more than ``most``.

    Examples
    --------
    >>> shortened([["1"], ["2"], ["3"], ["4"]], 3)
    [['1'], ['…'], ['4']]
    """
    if len(rows) <= most:
        return list(rows)
    first = most // 2
    last = most - first - 1
    return [*rows[:first], ["…"] * len(rows[0]), *rows[len(rows) - last :]]


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names, and beside each what there is to say of it.

    Examples
    --------
    >>> print(facts([("rows", "3"), ("features", "2")]))
    rows      3
    features  2
    """
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in pairs)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns that are aligned to the right.

    Examples
    --------
    >>> print(table(["n", "objective"], [["0", "0.69"], ["10", "0.5"]]))
     n  objective
     0       0.69
    10        0.5
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    ]
    return "\n".join(lines)
