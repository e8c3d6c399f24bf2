"""Pictures of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.contestants import MLLIB, OURS, SKLEARN

Results = dict[str, Any]
COLOURS = {OURS: "#0072b2", MLLIB: "#e69f00", SKLEARN: "#999999"}

mpl.rcParams.update(
    {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9,
        "svg.hashsalt": "sparkml_lsml",
    }
)


def fits(results: Results) -> Figure | None:
    """Seconds of each fit: a bar for the least, a line to the most."""
    cases = results.get("fits", [])
    if not cases:
        return None
    figure = Figure(figsize=(8, 0.6 + 0.75 * len(cases)), layout="constrained")
    axes = figure.subplots()
    height = 0.26
    for place, case in enumerate(cases):
        for number, (name, colour) in enumerate(COLOURS.items()):
            if name not in case["systems"]:
                continue
            seconds = case["systems"][name]["seconds"]
            least = min(seconds)
            y = place + (number - 1) * height
            axes.barh(y, least, height * 0.9, color=colour)
            axes.plot([least, max(seconds)], [y, y], color="black", linewidth=0.8)
            axes.text(max(seconds) * 1.05, y, f"{least:.2g}", va="center", fontsize=8)
    axes.set_yticks(range(len(cases)), [case["title"].replace(", ", "\n", 1) for case in cases])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.08)
    axes.set_xlabel("seconds from Parquet to the model (least; the line: to the most)")
    handles = [mpl.patches.Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)
    return figure


def scaling(results: Results) -> Figure | None:
    """Seconds of ingest, of a pass and of a fit, along each axis."""
    found = results.get("scaling", [])
    if not found:
        return None
    names = list(dict.fromkeys(point["axis"] for point in found))
    figure = Figure(figsize=(2.3 * len(names), 3), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        here = [point for point in found if point["axis"] == name]
        values = [point["value"] for point in here]
        for what, colour in (("fit", "#0072b2"), ("ingest", "#009e73"), ("pass", "#d55e00")):
            axes.plot(values, [point[what] for point in here], "o-", color=colour, label=what)
        ideal = here[0]["fit"]
        if name == "rows":
            line = [ideal * value / values[0] for value in values]
            axes.plot(values, line, ":", color="grey", label="in proportion")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(values, [f"{value:,}" for value in values], rotation=45, fontsize=7)
        axes.minorticks_off()
        axes.set_xlabel(name)
    panels[0].set_ylabel("seconds")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def passes(results: Results) -> Figure | None:
    """What a pass is made of: an empty job, reading the bytes, the arithmetic."""
    cases = results.get("passes", [])
    if not cases:
        return None
    figure = Figure(figsize=(8, 1 + 0.5 * len(cases)), layout="constrained")
    axes = figure.subplots()
    for place, case in enumerate(cases):
        one = {name: min(each) for name, each in case["seconds"].items()}
        begin = 0.0
        for what, colour in (("job", "#999999"), ("read", "#009e73"), ("pass", "#0072b2")):
            end = max(begin, one[what])
            axes.barh(place, end - begin, 0.6, left=begin, color=colour)
            begin = end
    axes.set_yticks(range(len(cases)), [case["title"] for case in cases])
    axes.invert_yaxis()
    axes.set_xlabel("seconds of a pass for loss and gradient")
    shades = {"an empty job": "#999999", "reading the bytes": "#009e73", "the rest": "#0072b2"}
    handles = [mpl.patches.Patch(color=colour, label=name) for name, colour in shades.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)
    return figure


def save(results: Results, folder: Path) -> list[Path]:
    """Draw all pictures that there are results for."""
    written = []
    for draw in (fits, scaling, passes):
        figure = draw(results)
        if figure is not None:
            path = folder / f"{draw.__name__}-{results['settings']['run']}.png"
            figure.savefig(path, dpi=150)
            written.append(path)
    return written
