"""The tables of a report, as rows of text: for the terminal, for Markdown and for the docs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants import MLLIB, OURS
from benchmarks.costs import predictions, residuals
from benchmarks.goals import GOALS, least_of
from benchmarks.reading import FIRST, READ

Results = dict[str, Any]


EMPTY = "Not measured yet."


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, the others are numbers."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        if not self.rows:
            return EMPTY
        rule = ["---"] + ["---:"] * (len(self.columns) - 1)
        lines = [self.columns, tuple(rule), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def goals(results: Results) -> Table:
    rows = [(goal.what, goal.asked, *goal.judge(results)) for goal in GOALS]
    return Table("goals", ("Goal", "Target", "Measured", "Reached"), rows)


def spread(seconds: list[float]) -> str:
    least = f"{min(seconds):.2f}"
    if len(seconds) == 1:
        return f"{least} (once)"
    return f"{least} (to {max(seconds):.2f})"


def ratio(systems: dict[str, Any], name: str, ours: str) -> str:
    if name == ours or ours not in systems:
        return ""
    return f"{least_of(systems[name]) / least_of(systems[ours]):.2f}"


def fits(results: Results) -> Table:
    rows = []
    for case in results.get("fits", []):
        least = min(each["objective"] for each in case["systems"].values())
        for name, each in case["systems"].items():
            rows.append(
                (
                    case["title"],
                    name,
                    spread(each["seconds"]),
                    ratio(case["systems"], name, OURS),
                    f"{each['objective']:.9g}",
                    f"{each['objective'] / least - 1:.1e}",
                    "" if each["iterations"] is None else str(each["iterations"]),
                )
            )
    columns = (
        *("Fit from Parquet", "System", "Seconds", "Of ours"),
        *("Objective", "Above the least", "Iterations"),
    )
    return Table("fits", columns, rows)


def where(results: Results) -> Table:
    """How the seconds of our fits divide."""
    rows = []
    for case in results.get("fits", []):
        ours = case["systems"].get(OURS)
        if ours is None:
            continue
        solve = ours["fit_seconds"] - ours["ingest_seconds"]
        each = solve / max(1, ours["passes"])
        theirs = case["systems"].get(MLLIB, {}).get("objective", -math.inf)
        start = ours["fit_seconds"] - max([0.0, *(second for second, _ in ours["history"])])
        level = [start + second for second, value in ours["history"] if value <= theirs]
        rows.append(
            (
                case["title"],
                f"{ours['solver']}, {ours['execution']}",
                f"{ours['ingest_seconds']:.2f}",
                f"{solve:.2f}",
                str(ours["passes"]),
                f"{each:.4f}",
                f"{level[0]:.2f}" if level else "",
            )
        )
    columns = (
        *("Fit", "Solver", "Seconds to read", "Seconds to solve", "Passes", "Seconds per pass"),
        "Level with MLlib at",
    )
    return Table("where", columns, rows)


def beside_snapml(results: Results) -> Table:
    rows = []
    for case in results.get("snapml", []):
        systems = case["systems"]
        for name, each in systems.items():
            parts = each.get("parts", {})
            told = ", ".join(f"{what} {seconds:.2f}" for what, seconds in parts.items())
            own = (case["title"], name, spread(each["seconds"]), ratio(systems, name, OURS))
            rows.append((*own, f"{each['objective']:.9g}", told))
    columns = ("Fit from Parquet", "System", "Seconds", "Of ours", "Objective", "Last round")
    return Table("snapml", columns, rows)


def tuning(results: Results) -> Table:
    rows = []
    for case in results.get("tuning", []):
        base = case["systems"]["stock, MLlib"]
        for name, each in case["systems"].items():
            apart = max(
                abs(one - other)
                for one, other in zip(each["metrics"], base["metrics"], strict=True)
            )
            faster = f"{least_of(base) / least_of(each):.1f}"
            best = f"{each['best']:.3g}"
            rows.append(
                (case["title"], name, spread(each["seconds"]), faster, best, f"{apart:.0e}")
            )
    columns = ("Grid", "CrossValidator", "Seconds", "Faster by", "Best", "Metrics apart")
    return Table("tuning", columns, rows)


def passes(results: Results) -> Table:
    rows = []
    for case in results.get("passes", []):
        one = {name: min(each) for name, each in case["seconds"].items()}
        rows.append(
            (
                f"{case['title']}, {case['bytes'] / 1e6:,.0f} MB",
                f"{one['spark_read']:.2f}",
                f"{one['ingest']:.2f}",
                f"{one['job']:.3f}",
                f"{one['read']:.3f}",
                f"{one['pass']:.3f}",
                f"{one['pass'] / one['read']:.2f}",
            )
        )
    columns = (
        *("Data", "Spark's read", "Ingest", "Empty job", "Read the bytes", "Pass"),
        "Pass / read",
    )
    return Table("passes", columns, rows)


def reading(results: Results) -> Table:
    """What reading takes, each with the first of its case as the unit."""
    rows = []
    for case in results.get("reading", []):
        unit = READ if READ in case["seconds"] else FIRST
        base = min(case["seconds"][unit])
        for name, seconds in case["seconds"].items():
            share = f"{min(seconds) / base:.2f}"
            rows.append((case["title"], name, spread(seconds), share if name != unit else ""))
    return Table("reading", ("What", "How", "Seconds", "Of the first"), rows)


def scaling(results: Results) -> Table:
    rows = [
        (
            f"{point['axis']} {point['value']:,}",
            f"{point['bytes'] / 1e6:,.0f}",
            f"{point['cores']}",
            f"{point['partitions']}",
            f"{point['ingest']:.2f}",
            str(point["passes"]),
            f"{point['pass']:.3f}",
            f"{point['fit']:.2f}",
        )
        for point in results.get("scaling", [])
    ]
    columns = ("Size", "MB", "Cores", "Blocks", "Ingest s", "Passes", "Pass s", "Fit s")
    return Table("scaling", columns, rows)


def wide(results: Results) -> Table:
    rows = [
        (
            f"{point['data']['features']:,}",
            f"{8 * point['data']['features'] / 2**20:,.0f}",
            f"{point['ingest']:.1f}",
            str(point["passes"]),
            f"{point['pass']:.2f}",
            f"{point['sent'] / 2**20:,.0f}",
            *(f"{point['memory'].get(what, 0) / 2**20:,.0f}" for what in ("driver", "jvm")),
        )
        for point in results.get("wide", [])
    ]
    columns = (
        *("Features", "A vector MB", "Ingest s", "Passes", "Pass s", "Sent per pass MB"),
        *("Driver's Python MB", "All JVMs MB"),
    )
    return Table("wide", columns, rows)


def jobs(results: Results) -> Table:
    rows = []
    for case in results.get("jobs", []):
        for name, each in case["systems"].items():
            # On systems without /proc nothing is known of the memory.
            held = each["memory"]
            memory = [
                f"{held.get(what, 0) / 2**20:,.0f}" if held else "not measured"
                for what in ("jvm", "driver", "workers", "workers_private")
            ]
            faster = ratio(case["systems"], name, OURS)
            rows.append((case["title"], name, spread(each["seconds"]), faster, *memory))
    columns = (
        *("Job", "System", "Seconds", "Of ours", "JVM MB", "Driver's Python MB"),
        *("Python workers MB", "of which private MB"),
    )
    return Table("jobs", columns, rows)


def checkpoints(results: Results) -> Table:
    rows = []
    for case in results.get("checkpoints", []):
        for name, seconds in case["seconds"].items():
            own = spread(case["checkpoints"]) if name == "with" else ""
            rows.append((case["title"], name, spread(seconds), own))
    return Table("checkpoints", ("Fit", "Checkpoints", "Seconds", "of which checkpoints"), rows)


def neural(results: Results) -> Table:
    rows = []
    for case in results.get("neural", []):
        if "seconds" not in case:
            continue
        seconds, accuracy = case["seconds"], case.get("accuracy", "")
        if not isinstance(seconds, dict):
            rows.append((case["title"], OURS, spread(seconds), f"{accuracy:.2f}"))
            continue
        for name, each in seconds.items():
            right = f"{accuracy[name]:.2f}" if accuracy else ""
            rows.append((case["title"], name, spread(each), right))
    return Table("neural", ("Work", "System", "Seconds", "Accuracy in %"), rows)


def driver(results: Results) -> Table:
    columns = (
        *("Features", "Partitions", "Executors", "Ingest s", "A pass s"),
        *("Sent per pass MB", "Received MB", "Python MB"),
    )
    rows = [
        (
            f"{each['features']:,}",
            f"{each['partitions']:,}",
            f"{each['executors']:,}",
            f"{each['ingest']:.1f}",
            f"{each['pass']:.2f}",
            f"{each['sent'] / 2**20:.2f}",
            f"{each['received'] / 2**20:,.0f}",
            f"{each['memory'] / 2**20:,.0f}",
        )
        for each in results.get("driver", [])
    ]
    return Table("driver", columns, rows)


def scoring(results: Results) -> Table:
    rows = []
    for case in results.get("scoring", []):
        systems = {name: {"seconds": seconds} for name, seconds in case["seconds"].items()}
        for name, each in systems.items():
            rows.append((case["title"], name, spread(each["seconds"]), ratio(systems, name, MLLIB)))
    return Table("scoring", ("Rows", "Model", "Seconds", "Of MLlib's"), rows)


def check(results: Results) -> Table:
    rows = [
        (f"{each.axis} {each.value:,}", f"{each.seconds:.3f}", f"{each.model:.3f}", each.apart)
        for each in residuals(results)
    ]
    return Table("check", ("Size", "Measured pass s", "Model s", "Model / measured"), rows)


def cluster(results: Results) -> Table:
    columns = (
        *("Executors", "Features", "Read a block s", "Send s", "Merge s", "Start tasks s"),
        *("A pass s", "A fit of 30 passes s"),
    )
    return Table("cluster", columns, list(predictions(results)))


def machine(results: Results) -> Table:
    rows = [
        (what, str(value))
        for group in ("machine", "versions", "settings")
        for what, value in results.get(group, {}).items()
        if what != "run"  # of several files the last one's: a name that says nothing here
    ]
    return Table("machine", ("What", "Value"), rows)


def every(results: Results) -> Iterator[tuple[str, Table]]:
    """All tables with their headings."""
    yield "Goals", goals(results)
    yield "Fits", fits(results)
    yield "Where our seconds go", where(results)
    yield "Beside Snap ML", beside_snapml(results)
    yield "Cross-validated grids", tuning(results)
    yield "A pass, beside reading the same bytes", passes(results)
    yield "Reading", reading(results)
    yield "Growth", scaling(results)
    yield "Many features, in a local cluster", wide(results)
    yield "Fits with a checkpoint every 10 iterations", checkpoints(results)
    yield "Scoring cached rows", scoring(results)
    yield "A driver that meets many executors, simulated", driver(results)
    yield "Networks", neural(results)
    yield "Whole jobs, cold, and their memory", jobs(results)
    yield "The cost model beside the measurements", check(results)
    yield "What the cost model predicts", cluster(results)
    yield "Machine and versions", machine(results)
