"""How the time of a fit grows with rows, features, non-zeros, partitions and cores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from benchmarks.contestants import OURS, Case, fit_spark
from benchmarks.data import DataSet, dense, ensure, power_law
from benchmarks.measure import Result, Say
from benchmarks.session import CORES, start

REPEATS = 3


@dataclass(frozen=True)
class Point:
    """One size on one axis."""

    axis: str
    value: int
    data: DataSet
    cores: int = CORES
    partitions: int = CORES


def points(rows: int) -> list[Point]:
    """Sizes to measure growth at, up to a number of rows."""
    found = [Point("rows", n, dense(n)) for n in (rows // 4, rows // 2, rows)]
    found += [Point("features", d, dense(rows // 4, d)) for d in (100, 200, 400)]
    found += [Point("non-zeros per row", n, power_law(rows // 4, n)) for n in (20, 40, 80)]
    found += [Point("partitions", p, dense(rows // 2), partitions=p) for p in (2, 4, 8)]
    found += [Point("cores", c, dense(rows // 2), cores=c, partitions=c) for c in (1, CORES)]
    return found


def measure(rows: int, say: Say) -> Iterator[Result]:
    """Fit our logistic regression at sizes that grow along one axis at a time."""
    spark, running = start(), (CORES, CORES)
    for point in points(rows):
        ensure(point.data)
        if running != (point.cores, point.partitions):
            running = point.cores, point.partitions
            spark = start(*running)
        case = Case("LogisticRegression", point.data)
        fit_spark(spark, case, OURS, execution="distributed", maxIter=2)
        summaries = [
            fit_spark(spark, case, OURS, execution="distributed").summary for _ in range(REPEATS)
        ]
        one = min([(s.seconds - s.ingest_seconds) / s.passes for s in summaries])
        say(f"{point.axis} {point.value:,}: a pass {one:.3f} s")
        yield {
            "axis": point.axis,
            "value": point.value,
            "data": asdict(point.data),
            "cores": point.cores,
            "partitions": summaries[0].partitions,
            "bytes": summaries[0].nbytes,
            "passes": summaries[0].passes,
            "fit": min([each.seconds for each in summaries]),
            "ingest": min([each.ingest_seconds for each in summaries]),
            "pass": one,
        }
