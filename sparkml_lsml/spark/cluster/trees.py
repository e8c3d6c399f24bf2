"""Running a function on every partition, and how its totals travel to the driver.

A Spark Connect backend, which has neither RDDs nor jobs of its own, would fill the same functions
with `mapInArrow` over a cached frame of handles.
"""

import math
from functools import reduce
from typing import Any

from pyspark import RDD

from sparkml_lsml.worker.totals import PartitionFunction, Total

SMALL_BYTES = 8 * 2**20
"""Results of all partitions together that go to the driver at once, without a tree."""

LAST_BYTES = 512 * 2**20
"""Totals that the driver takes from the last level of a tree, together; and, in the order of the
partitions, those of a single job, whose latency is no matter."""


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


def totals(run: "RDD[Total]", depth: int, nbytes: int, small: int | None = None) -> list[Total]:
    """The totals of all partitions, in their order; or one, where a tree has merged them.

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
    """
    small = SMALL_BYTES if small is None else small
    if depth == 1 or run.getNumPartitions() * nbytes <= small:
        return run.collect()
    depth = levels(run.getNumPartitions(), depth, nbytes)
    return [run.treeAggregate(Total(), Total.merge, Total.merge, depth)]


def levels(partitions: int, depth: int, nbytes: int) -> int:
    """Levels of a tree whose last one sends the driver no more than `LAST_BYTES`, if it can.

    Spark merges on the executors only until some root of the number of partitions is left, and
    refuses results of more than ``spark.driver.maxResultSize`` together, by default 1 GB.

    Parameters
    ----------
    partitions : int
    depth : int
        Levels, at least.
    nbytes : int
        Bytes of the total of one partition.
    """
    while _left(partitions, depth) * nbytes > LAST_BYTES and 2**depth < partitions:
        depth += 1
    return depth


def _left(partitions: int, depth: int) -> int:
    """Totals that `RDD.treeAggregate` leaves to the driver."""
    scale = max(math.ceil(partitions ** (1.0 / depth)), 2)
    left = float(partitions)
    while left > scale + left / scale:
        left /= scale
    return int(left)
