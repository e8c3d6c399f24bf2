"""Removing the files of a fit."""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sparkml_lsml.engine.blocks.disks import fit_folder
from sparkml_lsml.worker.keeping import forget_deleted

SPARKS_OWN = "blockmgr-*"
"""Names of executors' local folders, of which Spark makes one in each that it is given."""


def remover(fit: str, pause: float) -> Callable[[Iterable[Any]], Iterator[str]]:
    """A function that removes a fit from the local folders of an executor, and yields their names.

    It also removes what other executors of the application have left in folders beside them: where
    an external shuffle service serves their files, as on YARN, nobody else does before the
    application ends.

    Parameters
    ----------
    fit : str
        Names the folder of the fit.
    pause : float
        Seconds that it takes at least, so that other workers get some of the tasks.
    """

    def remove(rows: Iterable[Any]) -> Iterator[str]:
        for _ in rows:
            pass
        roots = os.environ.get("SPARK_LOCAL_DIRS", "")
        for root in filter(None, roots.split(",")):
            beside = Path(root).parent.glob(SPARKS_OWN)
            for each in {Path(root), *beside}:
                shutil.rmtree(fit_folder(each, fit), ignore_errors=True)
        forget_deleted()
        time.sleep(pause)
        yield roots

    return remove
