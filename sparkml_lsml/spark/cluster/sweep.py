"""Removing what a fit has on the executors: its files, and blocks that Spark keeps."""

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from pyspark import RDD, SparkContext

from sparkml_lsml.errors import BackendError
from sparkml_lsml.spark.cluster.jobs import JobGroup
from sparkml_lsml.spark.cluster.placement import master
from sparkml_lsml.spark.cluster.sizing import executors, slots
from sparkml_lsml.worker.cleaning import remover

ROUNDS = 5
MOST_TASKS = 128
"""Half of the tasks that go to all slots; of more slots, two go to each executor."""

FORGET_SECONDS = 300.0
"""How long executors may take to drop a block: a long collection of garbage is no reason to read
all rows again, and one that is silent for 2 minutes (spark.network.timeout) is dead for Spark."""


def remove_files(sc: SparkContext, name: str, fit: str) -> None:
    """Remove the folder of a fit from every executor.

    The job has no lineage: a job on the cached handles would pack lost blocks anew, only to
    remove them. Its tasks go to whichever executors are free, so it is repeated, a few times,
    until each executor had one. Spark removes the rest when an executor ends, and those of one that
    was killed with the application.

    Parameters
    ----------
    sc : SparkContext
    name : str
        What was fitted.
    fit : str
        Names the folder.
    """
    # a group of its own: what cancels the jobs of the fit must not cancel this one
    jobs = JobGroup(sc, f"{name}-remove", apart=True)
    seen: set[str] = set()
    # long enough that one executor does not take all tasks, and one of its workers neither: each
    # drops the mappings of what was deleted, which take disk space until then
    pause = 0.02 if executors(sc) > 1 else 0.005
    for turn in range(ROUNDS):
        # more would make a dynamic allocation start executors, only to remove what they do not
        # have; of a large cluster each executor gets some, as Spark spreads them over free ones
        tasks = 2 * min(slots(sc), max(MOST_TASKS, executors(sc)))
        remove = remover(fit, pause * 2**turn)
        # an interrupt cancels all jobs of the session, and may do so twice: try again
        with contextlib.suppress(Exception), jobs.job(f"{name} remove blocks"):
            seen |= set(sc.parallelize(range(tasks), tasks).mapPartitions(remove).collect())
            if len(seen) >= executors(sc):
                return


def forget_blocks(rdd: "RDD[Any]", partitions: Iterable[int]) -> None:
    """Drop the cached handles of some partitions, so that their next use computes them anew.

    Raises
    ------
    BackendError
        If executors have not dropped them after some minutes.
    Py4JError
        If Spark does not let Python ask for it.
    """
    sc: Any = rdd.context
    blocks = master(sc)
    number = sc._jvm.org.apache.spark.storage.RDDBlockId
    waiting = [number(rdd.id(), partition) for partition in partitions]
    for block in waiting:
        blocks.removeBlock(block)
    # an executor that still had one would hand it out once more
    until, pause = time.monotonic() + FORGET_SECONDS, 0.02
    while waiting := [one for one in waiting if not blocks.getLocations(one).isEmpty()]:
        if time.monotonic() > until:
            raise BackendError(
                f"executors have not dropped {len(waiting)} cached blocks in {FORGET_SECONDS:g} s: "
                "expected Spark to take executors that do not answer so long for dead "
                "(spark.network.timeout)"
            )
        time.sleep(pause)
        pause = min(2.0 * pause, 1.0)
