"""Running passes as Spark jobs: the one place that knows `treeAggregate`.

A Spark Connect backend, which has neither RDDs nor jobs of its own, would fill the same functions
with `mapInArrow` over a cached frame of handles.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark import RDD, SparkContext

from sparkml_lsml.passes import Sum

SMALL_BYTES = 8 * 2**20
"""Results of all partitions together that go to the driver at once, without a tree."""


@dataclass
class Total:
    """The merged sums of partitions, and those of them that could not be computed.

    Attributes
    ----------
    value : Sum or None
        None until the first partition is in: the zero of an aggregation travels inside every task.
    missing : tuple of int
        Partitions whose block could not be opened.
    changed : tuple of int
        Partitions whose block holds other rows than when it was first packed.
    """

    value: Sum | None = None
    missing: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()

    def merge(self, other: "Total") -> "Total":
        """Add another total, in place."""
        if self.value is None:
            self.value = other.value
        elif other.value is not None:
            self.value = self.value.merge(other.value)
        self.missing += other.missing
        self.changed += other.changed
        return self


def _merge(left: Total, right: Total) -> Total:
    return left.merge(right)


PartitionFunction = Callable[[int, Iterable[Any]], Iterator[Total]]


def tree_aggregate(rdd: "RDD[Any]", function: PartitionFunction, depth: int, nbytes: int) -> Total:
    """Run a function on every partition and merge the totals as they travel.

    Parameters
    ----------
    rdd : RDD
    function : callable
        Takes the number of a partition and its rows, which it must read to the end (a Python
        worker that leaves rows unread is ended), and yields `Total`.
    depth : int
        Levels of the tree, at most; 1 while the totals of all partitions are small.
    nbytes : int
        Bytes of the total of one partition.
    """
    levels = 1 if rdd.getNumPartitions() * nbytes <= SMALL_BYTES else depth
    return rdd.mapPartitionsWithIndex(function).treeAggregate(Total(), _merge, _merge, levels)


def run_partitions(
    rdd: "RDD[Any]", function: PartitionFunction, partitions: Sequence[int]
) -> Total:
    """Run a function on some partitions only."""
    totals = rdd.context.runJob(
        rdd.mapPartitionsWithIndex(function), lambda rows: rows, partitions=list(partitions)
    )
    return reduce(_merge, totals, Total())


@contextlib.contextmanager
def broadcast(sc: SparkContext, value: Any) -> Iterator[Any]:
    """A broadcast that is destroyed on every way out."""
    sent = sc.broadcast(value)
    try:
        yield sent
    finally:
        with contextlib.suppress(Exception):  # the context may be gone already
            sent.destroy()


class JobGroup:
    """Names the jobs of one fit in Spark's user interface, and cancels them together.

    Parameters
    ----------
    sc : SparkContext
    name : str
        What is fitted, for example ``LinearSVC_4f2a``.
    """

    def __init__(self, sc: SparkContext, name: str) -> None:
        self._sc = sc
        self.tag = f"sparkml_lsml-{name}-{uuid.uuid4().hex[:8]}"

    @contextlib.contextmanager
    def job(self, description: str) -> Iterator[None]:
        """Tag and describe the jobs that run inside."""
        sc = self._sc
        before = sc.getLocalProperty("spark.job.description")
        sc.addJobTag(self.tag)
        sc.setLocalProperty("spark.job.description", description)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                sc.setLocalProperty("spark.job.description", before)  # type: ignore[arg-type]
                sc.removeJobTag(self.tag)

    def cancel(self) -> None:
        """End whatever jobs of the fit still run."""
        with contextlib.suppress(Exception):
            self._sc.cancelJobsWithTag(self.tag)
