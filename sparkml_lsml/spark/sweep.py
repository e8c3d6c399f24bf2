"""Removing the files of a fit from the executors."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pyspark import SparkContext

from sparkml_lsml.blocks.pack import fit_folder
from sparkml_lsml.spark.aggregate import JobGroup
from sparkml_lsml.spark.session import executors, slots
from sparkml_lsml.spark.workers import forget_deleted

ROUNDS = 5


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
    jobs = JobGroup(sc, f"{name}-remove")
    seen: set[str] = set()
    # long enough that one executor does not take all tasks
    pause = 0.02 if executors(sc) > 1 else 0.0
    for turn in range(ROUNDS):
        # more would make a dynamic allocation start executors, only to remove what they do not have
        tasks = 2 * slots(sc)
        remover = _remover(fit, pause * 2**turn)
        # an interrupt cancels all jobs of the session, and may do so twice: try again
        with contextlib.suppress(Exception), jobs.job(f"{name} remove blocks"):
            seen |= set(sc.parallelize(range(tasks), tasks).mapPartitions(remover).collect())
            if len(seen) >= executors(sc):
                return


def _remover(fit: str, pause: float) -> Callable[[Iterable[Any]], Iterator[str]]:
    def remove(rows: Iterable[Any]) -> Iterator[str]:
        for _ in rows:
            pass
        roots = os.environ.get("SPARK_LOCAL_DIRS", "")
        for root in roots.split(","):
            if root:
                shutil.rmtree(fit_folder(Path(root), fit), ignore_errors=True)
        forget_deleted()
        time.sleep(pause)
        yield roots

    return remove
