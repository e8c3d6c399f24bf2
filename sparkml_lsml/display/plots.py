"""Plots of results with matplotlib, which the extra ``plot`` installs.

Each function draws into the given Axes, or into those of a new figure, and returns them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.metrics.curve import Curve

Array = npt.NDArray[np.float64]

# colours that people with any colour vision tell apart (Okabe and Ito, 2008)
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#8a8a8a"

MOST_CELLS = 15
"""Classes up to which a confusion matrix shows its numbers."""


def _axes(ax: Any, width: float, height: float) -> Any:
    """The Axes to draw into."""
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                f"plots need the module {error.name}: pip install 'sparkml_lsml[plot]'",
                name=error.name,
            ) from error
        ax = plt.subplots(figsize=(width, height), layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="0.5", alpha=0.18, linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def _separate_thousands(axis: Any) -> None:
    axis.set_major_formatter("{x:,.10g}")


def _legend(ax: Any, **where: Any) -> None:
    ax.legend(frameon=False, fontsize="small", **where)


def convergence(
    x: Array, lines: Sequence[tuple[str, Array]], xlabel: str, ylabel: str, log: bool, ax: Any
) -> Any:
    """Draw what iterations did; values that a log scale cannot show are left out."""
    ax = _axes(ax, 5.6, 3.6)
    drawn: list[Array] = []
    for (label, y), colour in zip(lines, (BLUE, ORANGE), strict=False):
        shown = np.isfinite(y) & ((y > 0.0) if log else True)
        marker = "o" if shown.sum() <= 60 else ""
        ax.plot(x[shown], y[shown], color=colour, marker=marker, markersize=3.5, label=label)
        drawn.append(y[shown])
    if log and any(len(y) for y in drawn):
        ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if xlabel != "seconds":
        ax.xaxis.get_major_locator().set_params(integer=True)
    if len(lines) > 1:
        _legend(ax)
    return ax


def _square(ax: Any, xlabel: str, ylabel: str) -> None:
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=xlabel, ylabel=ylabel, aspect="equal")


def roc(curve: Curve, ax: Any) -> Any:
    """Receiver operating characteristic, with that of chance."""
    ax = _axes(ax, 4.4, 4.2)
    x, y = curve.roc()
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="chance")
    ax.plot(x, y, color=BLUE, label=f"area {curve.area_under_roc:.4f}")
    ax.fill_between(x, y, color=BLUE, alpha=0.08, linewidth=0)
    _square(ax, "false positive rate", "true positive rate")
    _legend(ax, loc="lower right")
    return ax


def precision_recall(curve: Curve, ax: Any) -> Any:
    """Precision over recall, with that of chance: the share of class 1."""
    ax = _axes(ax, 4.4, 4.2)
    recall, precision = curve.precision_recall()
    base = float(curve.precision[-1])
    ax.plot([0, 1], [base, base], color=GREY, linewidth=1, linestyle="--", label="chance")
    area = curve.area_under_precision_recall
    ax.plot(recall, precision, color=BLUE, label=f"area {area:.4f}")
    _square(ax, "recall", "precision")
    _legend(ax, loc="lower left")
    return ax


def thresholds(curve: Curve, now: float | None, score: str, ax: Any) -> Any:
    """Precision, recall and F-measure over the threshold, and where that of the model is."""
    ax = _axes(ax, 5.6, 3.8)
    finite = np.isfinite(curve.threshold)
    x = curve.threshold[finite]
    lines = (
        ("precision", curve.precision, BLUE),
        ("recall", curve.recall, ORANGE),
        ("F-measure", curve.f_measure(), GREEN),
    )
    for label, y, colour in lines:
        # a threshold holds down to the next lower score
        ax.plot(x, y[finite], color=colour, label=label, drawstyle="steps-post")
    if now is not None and np.isfinite(now):
        ax.axvline(now, color=GREY, linewidth=1, linestyle="--", label=f"threshold {now:g}")
    ax.set(ylim=(-0.01, 1.01), xlabel=f"threshold on the {score}", ylabel="metric")
    _legend(ax)
    return ax


def confusion_matrix(classes: Array, matrix: Array, normalize: bool, ax: Any) -> Any:
    """Weights, or shares of each label, as a heat map."""
    side = min(9.0, 2.4 + 0.5 * len(classes))
    ax = _axes(ax, side + 0.6, side)
    ax.grid(False)
    values = matrix
    if normalize:
        rows = matrix.sum(axis=1, keepdims=True)
        values = np.divide(matrix, rows, out=np.zeros_like(matrix), where=rows > 0.0)
    image = ax.imshow(values, cmap="Blues", vmin=0.0)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85)
    bar.outline.set_visible(False)
    _separate_thousands(bar.ax.yaxis)
    ax.spines[:].set_visible(False)
    names = [f"{value:g}" for value in classes]
    step = -(-len(names) // MOST_CELLS)
    ticks = range(0, len(names), step)
    ax.set_xticks(ticks, names[::step])
    ax.set_yticks(ticks, names[::step])
    ax.tick_params(length=0)
    ax.set(xlabel="prediction", ylabel="label")
    if len(classes) <= MOST_CELLS:
        middle = 0.5 * float(values.max())
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > middle else "black"
            shown = f"{value:.3f}" if normalize else _weight(value)
            ax.text(column, row, shown, ha="center", va="center", color=colour, fontsize="small")
    return ax


def _weight(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1_000.0 else f"{value:,.4g}"


def residuals(prediction: Array, residual: Array, rows: int, ax: Any) -> Any:
    """Residuals over predictions of some rows."""
    ax = _axes(ax, 5.6, 3.8)
    drawn = len(prediction)
    alpha = float(np.clip(20.0 / np.sqrt(max(1, drawn)), 0.3, 0.9))
    ax.scatter(prediction, residual, s=11, color=BLUE, alpha=alpha, linewidths=0)
    ax.axhline(0.0, color=GREY, linewidth=1, linestyle="--")
    of = f"{drawn:,} of {rows:,} rows" if drawn < rows else f"{rows:,} rows"
    ax.set_title(of, fontsize="small", loc="right", color=GREY)
    ax.set(xlabel="prediction", ylabel="residual (label − prediction)")
    for axis in (ax.xaxis, ax.yaxis):
        _separate_thousands(axis)
    return ax
