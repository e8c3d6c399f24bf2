"""The goals, and how the measured ratios compare with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants import MLLIB, OURS, SKLEARN
from benchmarks.data import SPARSE_FEATURES
from benchmarks.measure import Result
from benchmarks.neural import EPOCHS, NARROW, PARTITIONS, TORCH
from benchmarks.reading import BY_SPARK, DIRECT, FIRST, READ, SECOND
from benchmarks.snapml import SNAPML

Results = dict[str, Any]
SLACK = 1e-4
"""How far our objective may lie above MLlib's, relative to it; and metrics apart."""
MNIST = 60_000
"""Rows."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Finding:
    """A measured ratio.

    ``held`` is what has to hold besides the ratio; ``rows`` is the size it was measured at.
    """

    ratio: float
    rows: int
    held: bool = True
    remark: str = ""


@dataclass(frozen=True)
class Goal:
    """A ratio to reach, at least or (``most``) at most, and where the results have it."""

    what: str
    ratio: float
    rows: int
    find: Callable[[Results], Iterator[Finding]]
    most: bool = False
    unit: str = "x"

    def judge(self, results: Results) -> tuple[str, str]:
        """What was measured, and whether that is the goal."""
        found = sorted(self.find(results), key=lambda each: each.rows != self.rows)
        if not found:
            return NOT_MEASURED, ""
        finding = found[0]
        number = f"{finding.ratio:.2f}" if finding.ratio >= 0.005 else f"{finding.ratio:.0e}"
        measured = f"{number} {self.unit}".strip()
        measured += f", {finding.remark}" if finding.remark else ""
        if finding.rows != self.rows:
            return f"{NOT_MEASURED} ({measured} at {finding.rows:,} rows)", ""
        reached = finding.ratio <= self.ratio if self.most else finding.ratio >= self.ratio
        return measured, "yes" if reached and finding.held else "no"

    @property
    def asked(self) -> str:
        return f"{'at most ' if self.most else ''}{self.ratio:g} {self.unit}".strip()


def least_of(system: dict[str, Any]) -> float:
    seconds: list[float] = system["seconds"]
    return min(seconds)


def excess(systems: dict[str, Any]) -> float | None:
    """How far our objective is above MLlib's, relative to it."""
    if OURS not in systems or MLLIB not in systems:
        return None
    ours, theirs = (float(systems[name]["objective"]) for name in (OURS, MLLIB))
    return (ours - theirs) / abs(theirs)


def fit(
    estimator: str, kind: str, against: str, reg_param: float
) -> Callable[[Results], Iterator[Finding]]:
    def find(results: Results) -> Iterator[Finding]:
        for case in results.get("fits", []):
            wanted = case["estimator"], case["data"]["kind"], case["regParam"]
            systems = case["systems"]
            if wanted != (estimator, kind, reg_param) or against not in systems:
                continue
            above = excess(systems)
            held = above is None or above <= SLACK
            remark = "" if held else f"objective {above:+.1e} relative to MLlib's"
            ratio = least_of(systems[against]) / least_of(systems[OURS])
            yield Finding(ratio, case["data"]["rows"], held, remark)

    return find


def any_small(results: Results) -> Iterator[Finding]:
    """The worst of the estimators on the small data set."""
    every = []
    for name in ("LinearSVC", "LogisticRegression", "LinearRegression"):
        for finding in fit(name, "breast_cancer", MLLIB, 1e-2)(results):
            remark = ", ".join(part for part in (name, finding.remark) if part)
            every.append(Finding(finding.ratio, finding.rows, finding.held, remark))
    if every:
        yield min(every, key=lambda each: (each.held, each.ratio))


def grid(name: str) -> Callable[[Results], Iterator[Finding]]:
    def find(results: Results) -> Iterator[Finding]:
        for case in results.get("tuning", []):
            base, ours = case["systems"]["stock, MLlib"], case["systems"].get(name)
            if ours is None:
                continue
            pairs = zip(ours["metrics"], base["metrics"], strict=True)
            apart = max(abs(one - other) for one, other in pairs)
            same = ours["best"] == base["best"]
            remark = f"{'same' if same else 'another'} best model, metrics {apart:.0e} apart"
            ratio = least_of(base) / least_of(ours)
            yield Finding(ratio, case["data"]["rows"], same and apart <= SLACK, remark)

    return find


def pass_of_read(results: Results) -> Iterator[Finding]:
    for case in results.get("passes", []):
        if case["data"]["float32"]:
            seconds = {name: min(each) for name, each in case["seconds"].items()}
            yield Finding(seconds["pass"] / seconds["read"], case["data"]["rows"])


def checkpoints(results: Results) -> Iterator[Finding]:
    """The worst of the estimators, by the seconds that checkpoints themselves take.

    Whole fits differ by more than these from one run to the next.
    """
    found = []
    for case in results.get("checkpoints", []):
        without = min(case["seconds"]["without"])
        share = min(case["checkpoints"]) / without
        found.append(Finding(1.0 + share, case["data"]["rows"], remark=case["title"]))
    if found:
        yield max(found, key=lambda each: each.ratio)


def scoring(
    kind: str, what: str, *, float32: bool = False
) -> Callable[[Results], Iterator[Finding]]:
    """The worst of the estimators."""

    def find(results: Results) -> Iterator[Finding]:
        found = []
        for case in results.get("scoring", []):
            data, seconds = case["data"], case["seconds"]
            title = str(case["title"])
            if (data["kind"], data["float32"]) == (kind, float32) and title.endswith(what):
                ratio = min(seconds[OURS]) / min(seconds[MLLIB])
                found.append(Finding(ratio, data["rows"], remark=title.partition(",")[0]))
        if found:
            yield max(found, key=lambda each: each.ratio)

    return find


def scoring_goals() -> Iterator[Goal]:
    million = 1_000_000
    what, of = "transform of 1M rows", "of MLlib's time"
    for kind, columns, ratio in (
        ("dense", "all columns", 1.15),
        ("dense", "prediction only", 0.8),
        ("sparse", "all columns", 1.1),
    ):
        title = f"{what}, {kind} vectors, {columns}, {of}"
        yield Goal(title, ratio, million, scoring(kind, columns), most=True)
    title = f"{what}, float arrays, all columns, {of} behind array_to_vector"
    find = scoring("dense", "all columns", float32=True)
    yield Goal(title, 0.45, million, find, most=True)


def whole_job(results: Results) -> Iterator[Finding]:
    for case in results.get("jobs", []):
        systems = case["systems"]
        yield Finding(least_of(systems[MLLIB]) / least_of(systems[OURS]), case["data"]["rows"])


def beside_snapml(estimator: str) -> Callable[[Results], Iterator[Finding]]:
    def find(results: Results) -> Iterator[Finding]:
        for case in results.get("snapml", []):
            systems = case["systems"]
            if case["estimator"] == estimator:
                ours, theirs = (float(systems[name]["objective"]) for name in (OURS, SNAPML))
                apart = (ours - theirs) / abs(theirs)
                ratio = least_of(systems[SNAPML]) / least_of(systems[OURS])
                remark = f"objective {abs(apart):.0e} {'above' if apart > 0.0 else 'below'}"
                yield Finding(ratio, case["data"]["rows"], apart <= SLACK, remark)

    return find


def fit_goals() -> Iterator[Goal]:
    million = 1_000_000
    for name, mllib, sklearn in (("LinearSVC", 6.0, 2.0), ("LogisticRegression", 5.0, 1.5)):
        what = f"{name}{' hinge' if name == 'LinearSVC' else ''}, dense 1M x 100, faster than"
        yield Goal(f"{what} MLlib", mllib, million, fit(name, "dense", MLLIB, 1e-2))
        loading = f"{what} scikit-learn with loading"
        yield Goal(loading, sklearn, million, fit(name, "dense", SKLEARN, 1e-2))
        yield Goal(f"{what} Snap ML with loading", 1.0, million, beside_snapml(name))
    name = "LinearRegression"
    what = f"{name}, normal equations, dense 1M x 100, faster than MLlib"
    yield Goal(what, 3.0, million, fit(name, "dense", MLLIB, 1e-2))
    for name, ratio in (("LinearSVC", 6.0), ("LogisticRegression", 5.0), ("LinearRegression", 4.0)):
        what = f"{name}, 1M x 100 in separate columns, faster than VectorAssembler and MLlib"
        yield Goal(what, ratio, million, fit(name, "columns", MLLIB, 1e-2))
    for name, ratio in (("LinearSVC", 3.0), ("LogisticRegression", 2.2)):
        what = f"{name}, sparse 1M x 47k, faster than MLlib"
        yield Goal(what, ratio, million, fit(name, "sparse", MLLIB, 1e-4))


def road(
    kind: str, unit: str, measured: str, *, beginning: str = "", inverse: bool = False
) -> Callable[[Results], Iterator[Finding]]:
    """Seconds of one way to read in units of another; or how much faster the second one is."""

    def find(results: Results) -> Iterator[Finding]:
        for case in results.get("reading", []):
            data, seconds = case["data"], case["seconds"]
            title = str(case["title"])
            if (data["kind"], data["float32"]) != (kind, False) or unit not in seconds:
                continue
            if title.startswith(beginning):
                ratio = min(seconds[measured]) / min(seconds[unit])
                yield Finding(1.0 / ratio if inverse else ratio, data["rows"])

    return find


def reading_goals() -> Iterator[Goal]:
    million, of = 1_000_000, "of Spark's read of the same rows"
    for what, ratio, kind, measured in (
        ("vectors of a bare scan of Parquet", 1.3, "dense", DIRECT),
        ("vectors from any plan", 2.8, "dense", BY_SPARK),
        ("100 columns of a bare scan", 1.8, "columns", DIRECT),
    ):
        find = road(kind, READ, measured)
        yield Goal(f"Ingest of 1M x 100, {what}, {of}", ratio, million, find, most=True)
    for what in (DIRECT, BY_SPARK):
        title = f"A second fit on resident rows, 1M x 100, faster than a first one, read {what}"
        find = road("dense", FIRST, SECOND, beginning=f"fits, read {what}", inverse=True)
        yield Goal(title, 4.0, million, find)


def networks(
    kind: str, measure: Callable[[Result], Finding]
) -> Callable[[Results], Iterator[Finding]]:
    def find(results: Results) -> Iterator[Finding]:
        cases = [case for case in results.get("neural", []) if case["kind"] == kind]
        yield from map(measure, cases)

    return find


def least_accuracy(results: Results) -> Iterator[Finding]:
    """Of all numbers of partitions, and how far apart they are."""
    found = [c["accuracy"] for c in results.get("neural", []) if c["kind"] == "partitions"]
    if found:
        apart = max(found) - min(found)
        # small rows are joined into as many blocks as there are cores
        blocks = max(case["partitions"] for case in results["neural"] if "partitions" in case)
        held = apart <= 0.5 and blocks >= max(PARTITIONS)
        remark = f"{apart:.2f} points apart, in {blocks} blocks at most"
        yield Finding(min(found), MNIST, held, remark)


def times(unit: str, measured: str) -> Callable[[Result], Finding]:
    """Seconds of one in units of those of another."""

    def find(case: Result) -> Finding:
        seconds = case["seconds"]
        return Finding(min(seconds[measured]) / min(seconds[unit]), MNIST)

    return find


def network_goals() -> Iterator[Goal]:
    what = f"MNIST, 784-256-10, {EPOCHS} epochs in 1, 2, 4 and 8 partitions and sorted by label"
    yield Goal(f"{what}, the least accuracy", 98.0, MNIST, least_accuracy, unit="%")
    what = "784-64-10, to the accuracy of 100 iterations of MLlib's, faster than MLlib"
    yield Goal(what, 10.0, MNIST, networks("to accuracy", times(OURS, MLLIB)))
    what = "784-64-10, l-bfgs at equal iterations, faster than MLlib"
    yield Goal(what, 2.0, MNIST, networks("iterations", times(OURS, MLLIB)))
    what = "784-256-10, an epoch in batches of 128, of torch's time with as many threads"
    yield Goal(what, 1.0, MNIST, networks("epoch", times(TORCH, OURS)), most=True)
    what = "Gradients of networks, each activation with each loss, beside torch's: apart, relative"
    apart = networks("gradients", lambda case: Finding(case["apart"], MNIST))
    yield Goal(what, 1e-6, MNIST, apart, most=True, unit="")
    what = "Sparse rows of 47,000 features into a network, of the time of 1,000 features"
    wide = times(f"{NARROW:,}", f"{SPARSE_FEATURES:,}")
    yield Goal(what, 2.0, MNIST, networks("widths", wide), most=True)


GOALS = [
    *fit_goals(),
    *reading_goals(),
    Goal(
        "Grid of 10 regParam x 3 folds, 200k x 100: stock CrossValidator with our estimator, "
        "faster than with MLlib's",
        3.5,
        200_000,
        grid("stock, sparkml_lsml"),
    ),
    Goal("The same, our CrossValidator", 15.0, 200_000, grid("sparkml_lsml")),
    Goal("The same on 1M x 100", 25.0, 1_000_000, grid("sparkml_lsml")),
    Goal(
        "A pass over 10M x 100 float32, of reading those bytes once",
        3.0,
        10_000_000,
        pass_of_read,
        most=True,
    ),
    Goal(
        "A fit with a checkpoint every 10 iterations, dense 1M x 100, of one without",
        1.02,
        1_000_000,
        checkpoints,
        most=True,
    ),
    Goal("breast_cancer, the slowest estimator, faster than MLlib", 5.0, 569, any_small),
    *scoring_goals(),
    *network_goals(),
    Goal("spark-submit of a training job, 200k x 100, cold, faster", 1.2, 200_000, whole_job),
]
