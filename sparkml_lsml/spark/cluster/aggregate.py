"""Running passes as Spark jobs: the one place that knows how totals travel.

A Spark Connect backend, which has neither RDDs nor jobs of its own, would fill the same functions
with `mapInArrow` over a cached frame of handles.
"""

import contextlib
import logging
import math
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark import RDD, SparkContext

from sparkml_lsml.errors import SparkMLError
from sparkml_lsml.worker.totals import PartitionFunction, Total

log = logging.getLogger("sparkml_lsml")

SMALL_BYTES = 8 * 2**20
"""Results of all partitions together that go to the driver at once, without a tree."""

LAST_BYTES = 512 * 2**20
"""Totals that the driver takes from the last level of a tree, together; and, in the order of the
partitions, those of a single job, whose latency is no matter."""

LAST_TASKS_SECONDS = 15.0
"""How long to wait for the tasks of a job that was cancelled: Spark ends a Python worker that does
not stop by itself about 4 seconds later."""


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


@contextlib.contextmanager
def broadcast(sc: SparkContext, value: Any) -> Iterator[Any]:
    """A broadcast that is destroyed on every way out."""
    sent = None
    try:
        with _uninterrupted():
            sent = sc.broadcast(value)
        yield sent
    finally:
        if sent is not None:
            with _uninterrupted(), contextlib.suppress(Exception):  # the context may be gone
                sent.destroy()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back a Ctrl-C until the end: half a broadcast is a file that nobody knows of."""
    usual = signal.getsignal(signal.SIGINT)
    # other threads are not interrupted, and may not touch handlers
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return
    held: list[Any] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if held:
            usual(signal.SIGINT, held[0])


def broadcast_bytes(sent: Any) -> int:
    """Bytes of a broadcast, which the driver keeps in a file."""
    try:
        return Path(sent._path).stat().st_size
    except (AttributeError, OSError):  # what a broadcast is made of is PySpark's own affair
        return 0


_around: ContextVar["JobGroup | None"] = ContextVar("_around", default=None)


def surrounding_jobs() -> "JobGroup | None":
    """The group of jobs, for example of a grid of fits, that this thread works for."""
    return _around.get()


class JobGroup:
    """Names the jobs of one fit in Spark's user interface, and cancels them together.

    Parameters
    ----------
    sc : SparkContext
    name : str
        What is fitted, for example ``LinearSVC``.
    outer : JobGroup, optional
        A group that this one is part of: it stops with it.
    """

    def __init__(self, sc: SparkContext, name: str, outer: "JobGroup | None" = None) -> None:
        self._sc = sc
        self.tag = f"sparkml_lsml-{name}-{uuid.uuid4().hex[:8]}"
        self._outer = outer
        self._stopped = False
        self._broken = False

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """Let `surrounding_jobs` be this group while this thread is inside."""
        token = _around.set(self)
        try:
            yield
        finally:
            _around.reset(token)

    @contextlib.contextmanager
    def job(self, description: str) -> Iterator[None]:
        """Tag and describe the jobs that run inside."""
        self.check()
        jsc = self._sc._jsc.sc()
        before = jsc.getLocalProperties()
        # a copy: the threads of PySpark's CrossValidator share one object, and with it their tags
        jsc.setLocalProperties(before.clone())
        try:
            for group in (self, self._outer):
                if group is not None:
                    self._sc.addJobTag(group.tag)
            self._sc.setLocalProperty("spark.job.description", description)
            yield
        except BaseException:
            self._broken = True
            raise
        finally:
            with contextlib.suppress(Exception):
                jsc.setLocalProperties(before)

    def check(self) -> None:
        """Raise `SparkMLError` if the group, or the one around it, was stopped."""
        if self._stopped or (self._outer is not None and self._outer._stopped):
            raise SparkMLError("this fit was stopped, because another fit of the same grid failed")

    def stop(self) -> None:
        """Cancel the jobs that run, in whatever thread, and let no others begin."""
        self._stopped = True
        with contextlib.suppress(Exception):
            self._sc.cancelJobsWithTag(self.tag)

    def cancel(self) -> None:
        """End whatever jobs of the fit still run.

        After a job that failed or was cancelled, wait until its last tasks have ended too: one of
        them might still write a file.
        """
        with contextlib.suppress(Exception):
            self._sc.cancelJobsWithTag(self.tag)
            until = time.monotonic() + LAST_TASKS_SECONDS
            while self._broken and self._active_tasks() and time.monotonic() < until:
                time.sleep(0.1)

    def _active_tasks(self) -> int:
        tracker = self._sc._jsc.sc().statusTracker()
        number = 0
        # tasks that outlive their job belong to the last one, or to a shuffle that it began
        for job in sorted(tracker.getJobIdsForTag(self.tag))[-3:]:
            stages = tracker.getJobInfo(job).get().stageIds()
            found = [tracker.getStageInfo(stage) for stage in stages]
            number += sum(stage.get().numActiveTasks() for stage in found if stage.isDefined())
        return number
