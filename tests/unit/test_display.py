"""How results look: numbers, text, HTML that is safe and balanced, and what plots show."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import sklearn.metrics as reference

from sparkml_lsml.display import html, plots, text
from sparkml_lsml.engine.metrics.score_counts import ScoreCounts


class Balanced(HTMLParser):
    """Reads HTML, and fails where a tag is not closed by its own."""

    VOID = ("polyline",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs), attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + "\n"


def read(fragment: str) -> Balanced:
    parser = Balanced()
    parser.feed(fragment)
    parser.close()
    assert parser.open == []
    assert "script" not in parser.seen
    return parser


EVIL = "<script>alert('x')</script>\"&"


def test_html_escapes_all_that_it_is_given() -> None:
    parts = [
        html.heading(EVIL),
        html.paragraph(EVIL),
        html.facts([(EVIL, EVIL)]),
        html.tiles([(EVIL, 0.5)]),
        html.table([EVIL], [[EVIL]], left=1),
        html.bars([EVIL, EVIL], [([EVIL], 1.0), ([EVIL], -np.inf), ([EVIL], np.nan)]),
        html.sparkline([3.0, 2.0, np.nan, 1.0], EVIL),
    ]
    seen = read(html.card(EVIL, EVIL, *parts, html.details(EVIL, *parts)))
    assert seen.text.count(EVIL) == 3 + 2 * 13
    assert "svg" in seen.seen


def test_colours_are_those_of_the_page() -> None:
    card = html.card("title", "")
    assert "color:inherit" in card
    assert "url(" not in card
    assert "background:#fff" not in card


def test_a_line_needs_three_values() -> None:
    assert html.sparkline([1.0, 2.0], "") == ""
    assert html.sparkline([1.0, 1.0, 1.0], "") == ""
    assert html.sparkline([np.nan] * 5, "") == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12_345_678, "12,345,678"),
        (12_345.678, "12,345.7"),
        (999_999.9, "1,000,000"),
        (1e6, "1e+06"),
        (0.25, "0.25"),
        (-0.000123456789, "-0.000123457"),
        (1e-7, "1e-07"),
        (0.0, "0"),
        (100.0, "100"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (None, ""),
        ("text", "text"),
    ],
)
def test_numbers(value: Any, shown: str) -> None:
    assert text.number(value) == shown


def test_long_tables_keep_their_ends() -> None:
    rows = [[str(n)] for n in range(100)]
    assert [row[0] for row in text.shortened(rows, 5)] == ["0", "1", "…", "98", "99"]
    assert text.shortened(rows[:5], 5) == rows[:5]


# ---------------------------------------------------- plots


@pytest.fixture(autouse=True)
def _no_windows() -> Iterator[None]:
    before = mpl.get_backend()
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")
    mpl.use(before)


rng = np.random.default_rng(3)
Y = (rng.random(300) < 0.4).astype(float)
SCORE = rng.normal(size=300) + Y
COUNTS = ScoreCounts()
COUNTS.add(Y, np.ones(300), SCORE)
CURVE = COUNTS.curve()


def line(ax: Any, label: str) -> Any:
    [found] = [one for one in ax.lines if one.get_label().startswith(label)]
    return np.array(found.get_data())


def test_curves() -> None:
    ax = plots.roc(CURVE, ax=None)
    fpr, tpr, _ = reference.roc_curve(Y, SCORE, drop_intermediate=False)
    np.testing.assert_allclose(line(ax, "area")[:, :-1], [fpr, tpr], atol=1e-12)
    area = reference.roc_auc_score(Y, SCORE)
    assert f"area {area:.4f}" in [label.get_text() for label in ax.get_legend().get_texts()]
    ax = plots.precision_recall(CURVE, ax=None)
    assert line(ax, "chance")[1].tolist() == [Y.mean()] * 2
    recall, precision = line(ax, "area")
    assert (recall[0], recall[-1]) == (0.0, 1.0)
    assert precision[-1] == pytest.approx(Y.mean())


def test_thresholds() -> None:
    ax = plots.thresholds(CURVE, 0.25, "margin", ax=None)
    x, y = line(ax, "recall")
    at = 100
    assert y[at] == pytest.approx(reference.recall_score(Y, x[at] <= SCORE))
    assert line(ax, "threshold 0.25")[0].tolist() == [0.25, 0.25]
    assert "margin" in ax.get_xlabel()
    # a threshold that predicts one class only is not on the axis
    ax = plots.thresholds(CURVE, np.inf, "margin", ax=None)
    assert len(ax.lines) == 3


@pytest.mark.parametrize("normalize", [False, True])
def test_confusion_matrix(normalize: bool) -> None:
    matrix = np.array([[1_500.0, 500.0], [0.0, 0.0]])
    ax = plots.confusion_matrix(np.array([0.0, 7.0]), matrix, normalize=normalize, ax=None)
    shown = [each.get_text() for each in ax.texts]
    numbers = ["0.750", "0.250", "0.000", "0.000"] if normalize else ["1,500", "500", "0", "0"]
    assert shown == numbers
    assert [each.get_text() for each in ax.get_yticklabels()] == ["0", "7"]
    many = plots.confusion_matrix(np.arange(40.0), np.eye(40), normalize=normalize, ax=None)
    assert not many.texts
    assert len(many.get_xticks()) <= plots.MOST_CELLS


def test_residuals() -> None:
    ax = plots.residuals(SCORE, Y - SCORE, 10_000, ax=None)
    assert (
        np.array(ax.collections[0].get_offsets()).tolist()
        == np.stack([SCORE, Y - SCORE], axis=1).tolist()
    )
    assert ax.get_title(loc="right") == "300 of 10,000 rows"


def test_given_axes_are_drawn_into() -> None:
    import matplotlib.pyplot as plt

    _, (left, right) = plt.subplots(1, 2)
    assert plots.roc(CURVE, ax=left) is left
    assert plots.residuals(SCORE, SCORE, 300, ax=right) is right
    assert len(plt.get_fignums()) == 1


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"sparkml_lsml\[plot\]"):
        plots.roc(CURVE, ax=None)
