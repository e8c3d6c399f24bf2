"""Running a function on every partition, and how its totals travel to the driver.

A Spark Connect backend, which has neither RDDs nor jobs of its own, would fill the same functions
with `mapInArrow` over a cached frame of handles.
"""

import logging
import math
from functools import reduce
from typing import Any

from pyspark import RDD

from sparkml_lsml.worker.totals import PartitionFunction, Total

log = logging.getLogger("sparkml_lsml")

SMALL_BYTES = 8 * 2**20
"""Results of all partitions together that go to the driver at once, without a tree."""

LAST_BYTES = 512 * 2**20
"""Totals that the driver takes from the last level of a tree, together; and, in the order of the
partitions, those of a single job, whose latency is no matter."""


def aggregate(
    rdd: "RDD[Any]",
    function: PartitionFunction,
    depth: int,
    nbytes: int,
    name: str,
    small: int | None = None,
) -> Total:
    """Run a function on every partition, again on those that missed their block, and merge.

    Without a tree the driver merges the totals in the order of the partitions, also those that
    it had to ask for twice: whichever tasks end first, sums are the same to the last bit. A tree
    adds up what arrives first.

    Parameters
    ----------
    rdd : RDD
    function : callable
        Takes the number of a partition and its rows, which it must read to the end (a Python
        worker that leaves rows unread is ended), and yields one `Total`.
    depth : int
        Levels of the tree; 1, no tree, while the totals of all partitions are small, and more
        where the driver would get too much (see `levels`).
    nbytes : int
        Bytes of the total of one partition.
    name : str
        What is fitted, for the log.
    small : int, optional
        Bytes of the totals of all partitions up to which they come without a tree; `SMALL_BYTES`
        by default.
    """
    run = rdd.mapPartitionsWithIndex(function)
    small = SMALL_BYTES if small is None else small
    if depth == 1 or rdd.getNumPartitions() * nbytes <= small:
        totals = run.collect()
    else:
        depth = levels(rdd.getNumPartitions(), depth, nbytes)
        totals = [run.treeAggregate(Total(), Total.merge, Total.merge, depth)]
    if missing := sum((total.missing for total in totals), ()):
        # a task may just have run on another executor than the one that has the block
        log.warning("%s: blocks %s not found, trying again", name, missing)
        again = rdd.context.runJob(run, lambda found: found, partitions=list(missing))
        if len(totals) == rdd.getNumPartitions():
            for partition, total in zip(missing, again, strict=True):
                totals[partition] = total
        else:
            totals[0].missing = ()
            totals += again
    return reduce(Total.merge, totals, Total())


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
