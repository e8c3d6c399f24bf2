"""Running a function on every partition, and how its totals travel to the driver.

A Spark Connect backend, which has neither RDDs nor jobs of its own, would fill the same functions
with `mapInArrow` over a cached frame of handles.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import itemgetter
from typing import Any

from pyspark import RDD

from sparkml_lsml.worker.totals import PartitionFunction, Total

SMALL_BYTES = 8 * 2**20
"""Results of all partitions together that go to the driver at once, without a tree."""

LAST_BYTES = 512 * 2**20
"""Totals that the driver takes from the last level of a tree, together; and, in the order of the
partitions, those of a single job, whose latency is no matter."""

WIDE_BYTES = 2**20
"""Bytes of a total from which those of a machine are merged there before they travel. Where less
travels, one more stage is taken to cost more than the network; on no cluster was that measured."""


def aggregate(rdd: "RDD[Any]", function: PartitionFunction, depth: int, nbytes: int) -> Total:
    """Run a function on every partition, and merge what it finds.

    Parameters
    ----------
    rdd : RDD
    function : callable
        See `PartitionFunction`.
    depth, nbytes : int
        See `totals`.
    """
    return reduce(Total.merge, totals(rdd.mapPartitionsWithIndex(function), depth, nbytes), Total())


def totals(
    run: "RDD[Total]",
    depth: int,
    nbytes: int,
    small: int | None = None,
    places: Sequence[str] = (),
) -> list[Total]:
    """The totals of all partitions, in their order; or fewer, where a tree has merged them.

    A tree adds up what arrives first.

    Parameters
    ----------
    run : RDD of Total
        One a partition.
    depth : int
        Levels of the tree; 1, no tree, while the totals of all partitions are small, and more
        where the driver would get too much (see `levels`).
    nbytes : int
        Bytes of the total of one partition.
    small : int, optional
        Bytes of the totals of all partitions up to which they come without a tree; `SMALL_BYTES`
        by default.
    places : sequence of str, optional
        Where each partition is computed, as a rule.
    """
    partitions = run.getNumPartitions()
    small = SMALL_BYTES if small is None else small
    if depth == 1 or partitions * nbytes <= small:
        return run.collect()
    shuffled: list[RDD[Any]] = []
    try:
        for targets in levels(places or [""] * partitions, depth, nbytes):
            shuffled.append(_sent(run, targets))
            run = shuffled[-1].mapPartitions(_merged)
        return run.collect()
    finally:
        for rdd in shuffled:
            _remove_files(rdd)


def levels(places: Sequence[str], depth: int, nbytes: int) -> list[list[int]]:
    """To which total of the next level each total goes, level by level.

    As in Spark's own ``treeAggregate``, a total is merged of as many as the root of their number,
    and a level is left out that would not leave the driver fewer. Totals of one place are merged
    with each other, and wide ones only so at first. Levels go on until the driver is sent no more
    than `LAST_BYTES`: Spark refuses more than ``spark.driver.maxResultSize``, by default 1 GB.

    Parameters
    ----------
    places : sequence of str
        Where each partition is computed, the same for all where that is not known.
    depth : int
        Levels, as a rule.
    nbytes : int
        Bytes of the total of one partition.

    Examples
    --------
    >>> levels(["a", "b", "a", "b", "a", "b"], 2, 10)
    [[0, 1, 0, 1, 0, 1]]
    """
    found: list[list[int]] = []
    order = sorted(range(len(places)), key=lambda partition: places[partition])
    apart = nbytes >= WIDE_BYTES and len(set(places)) > 1
    left = len(places)
    most = _root(left, depth)
    while left > most + left / most or (left * nbytes > LAST_BYTES and left > 1):
        targets, number, taken = [0] * left, -1, most
        for one, before in zip(order, [order[0], *order], strict=False):
            if taken == most or (apart and places[one] != places[before]):
                number, taken = number + 1, 0
            targets[one] = number
            taken += 1
        if number + 1 < left:
            found.append(targets)
        if apart:
            most = _root(number + 1, depth)
        # they lie in the order of their places
        left, order, apart = number + 1, list(range(number + 1)), False
    return found


def _root(number: int, depth: int) -> int:
    return max(math.ceil(number ** (1.0 / depth)), 2)


def _sent(run: "RDD[Total]", targets: Sequence[int]) -> "RDD[tuple[int, Total]]":
    """The totals where they are to be merged.

    ``reduceByKey`` would have PySpark's merger look at the memory of the worker, blocks that are
    mapped included, and write every single total to the disk, packed with zlib, if that is large.
    """

    def keyed(partition: int, found: Iterable[Total]) -> Iterator[tuple[int, Total]]:
        for total in found:
            yield targets[partition], total

    return run.mapPartitionsWithIndex(keyed).partitionBy(max(targets) + 1, int)


def _merged(found: Iterable[tuple[int, Total]]) -> Iterator[Total]:
    yield reduce(Total.merge, map(itemgetter(1), found), Total())


def _remove_files(shuffled: "RDD[Any]") -> None:
    """Remove what a shuffle wrote, which Spark keeps until the driver's JVM collects garbage."""
    with contextlib.suppress(Exception):  # of Spark's insides, which not every platform lets call
        [pairs] = _dependencies(shuffled._jrdd.rdd())
        [shuffle] = _dependencies(pairs.rdd())
        shuffled.context._jsc.sc().cleaner().get().doCleanupShuffle(shuffle.shuffleId(), False)


def _dependencies(rdd: Any) -> list[Any]:
    found = rdd.dependencies()
    return [found.apply(number) for number in range(found.size())]
