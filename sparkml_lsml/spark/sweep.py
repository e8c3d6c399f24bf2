"""Removing the files of a fit from the executors."""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pyspark import SparkContext

from sparkml_lsml.blocks.pack import fit_folder
from sparkml_lsml.spark.aggregate import JobGroup
from sparkml_lsml.spark.session import parallelism

ROUNDS = 3


def remove_files(sc: SparkContext, jobs: JobGroup, fit: str, folders: set[str] | None) -> None:
    """Remove the folder of a fit from every executor.

    The job has no lineage: a job on the cached handles would pack lost blocks anew, only to
    remove them. Its tasks go to whichever executors are free, so it is repeated, a few times,
    until every known folder was removed; Spark removes the rest when an executor ends.

    Parameters
    ----------
    sc : SparkContext
    jobs : JobGroup
    fit : str
    folders : set of str, or None
        Folders of the blocks; None where they are not known, after an ingest that failed.
    """
    left = set(folders or ())
    for _ in range(ROUNDS):
        tasks = 2 * parallelism(sc)
        with jobs.job("remove blocks"):
            left -= set(sc.parallelize(range(tasks), tasks).mapPartitions(_remover(fit)).collect())
        if not left:
            return


def _remover(fit: str) -> Callable[[Iterable[Any]], Iterator[str]]:
    def remove(rows: Iterable[Any]) -> Iterator[str]:
        from sparkml_lsml.spark.resident import forget_deleted

        for _ in rows:
            pass
        removed = []
        for root in os.environ.get("SPARK_LOCAL_DIRS", "").split(","):
            folder = fit_folder(Path(root), fit)
            if root and folder.is_dir():
                removed += [str(path) for path in folder.iterdir()]
                shutil.rmtree(folder, ignore_errors=True)
        forget_deleted()
        time.sleep(0.02)  # long enough that one executor does not take all tasks
        yield from removed

    return remove
