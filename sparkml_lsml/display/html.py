"""HTML for notebooks: no scripts, and the colours of the notebook's own theme.

Functions take plain values, which they escape, and return fragments of HTML.
"""

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from sparkml_lsml.display.text import number

# Greys are translucent and text inherits its colour: right on light and on dark pages, also where
# the notebook's theme is not the browser's.
_STYLE = """
.lsml{display:inline-block;max-width:60em;box-sizing:border-box;padding:.9em 1.1em;margin:.2em 0;
border:1px solid rgba(128,128,128,.35);border-radius:6px;color:inherit;
font:13px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
.lsml .lsml{display:block;border:0;padding:.2em 0 0;margin:0}
.lsml b{font-weight:600;font-size:1.1em}
.lsml code{font-size:.92em;opacity:.65;margin-left:.6em;background:none;color:inherit}
.lsml h4{font-size:1em;font-weight:600;margin:1em 0 .3em;color:inherit}
.lsml p{margin:.3em 0}
.lsml dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1.2em;margin:.7em 0 0}
.lsml dt{opacity:.65;font-weight:400;margin:0}
.lsml dd{margin:0}
.lsml ul{display:flex;flex-wrap:wrap;gap:.6em;list-style:none;margin:.8em 0 0;padding:0}
.lsml li{background:rgba(128,128,128,.12);border-radius:5px;padding:.35em .8em;margin:0}
.lsml li span{display:block;opacity:.65;font-size:.88em}
.lsml li strong{font-weight:600;font-size:1.2em;font-variant-numeric:tabular-nums}
.lsml table{border-collapse:collapse;border:0;margin:.3em 0 0;font-size:1em;color:inherit;
font-variant-numeric:tabular-nums}
.lsml th,.lsml td{text-align:right;padding:.16em .9em .16em 0;border:0;background:none;
color:inherit;white-space:nowrap}
.lsml tr{background:none;border:0}
.lsml th{font-weight:400;opacity:.65;border-bottom:1px solid rgba(128,128,128,.35)}
.lsml th.l,.lsml td.l{text-align:left}
.lsml td.bar{min-width:9em;padding-right:0}
.lsml i{display:block;height:.75em;border-radius:2px;background:#2f7fc1}
.lsml i.neg{background:#d9782d}
.lsml summary{cursor:pointer;margin-top:.9em;opacity:.8}
.lsml svg{vertical-align:middle;margin:.2em .8em .2em 0}
.lsml small{font-size:.88em;opacity:.65}
"""


def card(title: str, name: str, *parts: str) -> str:
    """A framed block with a title, the name of an object, and fragments below."""
    also = f"<code>{escape(name)}</code>" if name else ""
    style = f"<style>{_STYLE}</style>"
    return f'{style}<div class="lsml"><b>{escape(title)}</b>{also}{"".join(parts)}</div>'


def heading(text: str) -> str:
    """A heading within a card."""
    return f"<h4>{escape(text)}</h4>"


def paragraph(text: str) -> str:
    """A line of text."""
    return f"<p>{escape(text)}</p>"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names, and beside each what there is to say of it."""
    items = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{''.join(items)}</dl>"


def tiles(pairs: Sequence[tuple[str, float]]) -> str:
    """A few numbers that matter most."""
    items = (
        f"<li><span>{escape(name)}</span><strong>{escape(number(value, 4))}</strong></li>"
        for name, value in pairs
    )
    return f"<ul>{''.join(items)}</ul>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """A table.

    Parameters
    ----------
    left : int
        The first columns, which hold text and are aligned to the left.
    """
    head = _cells("th", header, left)
    body = "".join(f"<tr>{_cells('td', row, left)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(tag: str, cells: Sequence[str], left: int) -> str:
    kinds = (' class="l"' if at < left else "" for at in range(len(cells)))
    each = zip(kinds, cells, strict=True)
    return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in each)


def bars(header: Sequence[str], rows: Sequence[tuple[Sequence[str], float]]) -> str:
    """A table of names and numbers, with a bar for each number; orange below 0."""
    longest = max((abs(value) for _, value in rows if np.isfinite(value)), default=0.0) or 1.0
    body = ""
    for names, value in rows:
        width = 100.0 * min(1.0, abs(value) / longest)
        kind = ' class="neg"' if value < 0.0 else ""
        cells = _cells("td", [*names, number(value)], len(names))
        body += f'<tr>{cells}<td class="bar"><i{kind} style="width:{width:.1f}%"></i></td></tr>'
    head = _cells("th", [*header, ""], len(header) - 1)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def details(title: str, *parts: str) -> str:
    """What shows after a click."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"


def sparkline(values: npt.ArrayLike, caption: str, width: int = 300, height: int = 44) -> str:
    """A small line through values; '' where there are fewer than three that are finite."""
    y = np.asarray(values, dtype=np.float64)
    x = np.arange(len(y))[np.isfinite(y)]
    y = y[np.isfinite(y)]
    if len(y) < 3 or y.max() == y.min():
        return ""
    across = 2 + (width - 4) * x / x[-1]
    down = 2 + (height - 4) * (y.max() - y) / (y.max() - y.min())
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{escape(caption)}">'
        f'<polyline points="{points}" fill="none" stroke="#2f7fc1" stroke-width="1.6"/></svg>'
        f"<small>{escape(caption)}</small>"
    )
