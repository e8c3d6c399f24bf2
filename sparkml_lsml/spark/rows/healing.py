"""The handles of packed blocks, which Spark caches, and what heals blocks that were lost."""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import PurePath
from typing import Any

from pyspark import RDD, StorageLevel

from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.errors import BackendError, SourceChangedError
from sparkml_lsml.spark.cluster.sweep import forget_blocks, remove_files
from sparkml_lsml.spark.cluster.trees import totals
from sparkml_lsml.worker.passing import Identity
from sparkml_lsml.worker.totals import PartitionFunction, Total

log = logging.getLogger("sparkml_lsml")

REBUILDS = 3
"""Times that all blocks are packed anew in one pass before the fit gives up."""


class CachedHandles:
    """The handles of one packing, cached from now on; functions run on the rows that they name.

    Parameters
    ----------
    rdd : RDD
        One row a partition, see `packer`.
    fit : str
        Names the folder of the files.
    depth : int
        Levels of the aggregation tree, at most.
    name : str
        What is fitted, for the log.

    Attributes
    ----------
    known : dict of int to (Identity, str)
        What the block of each partition holds, where it has rows, and its folder.
    written : bool
        Whether there may be files.
    """

    def __init__(self, rdd: "RDD[Any]", fit: str, depth: int, name: str) -> None:
        self.known: dict[int, tuple[Identity, str]] = {}
        self.written = True  # not known otherwise until the job is done
        self._fit, self._depth, self._name = fit, depth, name
        self._rdd: RDD[Any] | None = rdd.persist(StorageLevel.MEMORY_AND_DISK)

    def note(self, handles: Sequence[tuple[int, Handle]]) -> None:
        """Enter the handles of the partitions, once somebody has read them."""
        self.known = {number: (h.identity, h.folder) for number, h in handles if h.rows}
        self.written = any(h.folder for _, h in handles)

    @property
    def partitions(self) -> int:
        """Number of partitions, those without rows among them; 0 after the release."""
        return 0 if self._rdd is None else self._rdd.getNumPartitions()

    def run(self, function: PartitionFunction, nbytes: int, small: int | None = None) -> Total:
        """Run a function on every partition, rebuilding blocks that were lost.

        Parameters
        ----------
        function : callable
            See `PartitionFunction`.
        nbytes : int
            Bytes of what it returns for one partition.
        small : int, optional
            See `totals`.

        Raises
        ------
        SourceChangedError
            If a block that was packed again holds other rows.
        BackendError
            If blocks are lost again and again.
        """
        for _ in range(REBUILDS):
            assert self._rdd is not None
            total = attempt(
                self._rdd, function, self._depth, nbytes, self._name, small, self._places()
            )
            if total.changed:
                raise SourceChangedError(
                    f"partitions {sorted(total.changed)} were read again and hold other rows than "
                    "at first: the source is not deterministic (rand(), limit, files rewritten "
                    "during the fit, a join or window without a full order). Write the frame to "
                    "a table, or checkpoint() it, and fit on that"
                )
            if not total.missing:
                self._note_rebuilt(total.rebuilt)
                return total
            log.warning("%s: blocks %s were lost, packing them anew", self._name, total.missing)
            self._forget(total.missing)
        raise BackendError(
            f"{self._name}: blocks of training rows were lost {REBUILDS} times in one pass. "
            "Expected executors that keep their local folders (spark.local.dir) during a fit"
        )

    def _places(self) -> list[str]:
        """The folder of an executor that has the block of each partition, as far as known."""
        folders = (self.known.get(number, ("", ""))[1] for number in range(self.partitions))
        return [str(PurePath(folder).parent) if folder else "" for folder in folders]

    def release(self) -> None:
        """Drop the handles and remove the files; what is known of them stays."""
        rdd, self._rdd = self._rdd, None
        if rdd is None:
            return
        with contextlib.suppress(Exception):  # best effort: the context may have been stopped
            rdd.unpersist(blocking=False)
        with contextlib.suppress(Exception):
            if self.written:
                remove_files(rdd.context, self._name, self._fit)

    def _forget(self, partitions: Iterable[int]) -> None:
        """Have Spark's lineage pack these blocks again on their next use, and no others."""
        assert self._rdd is not None
        try:
            forget_blocks(self._rdd, partitions)
        except Exception as error:  # of Spark's insides, which not every platform lets Python call
            log.warning("%s: packing all rows anew: %s", self._name, error)
            # the files that are left would only take disk space until all are packed again
            self._rdd.unpersist(blocking=True)
            remove_files(self._rdd.context, self._name, self._fit)
            self._rdd.persist(StorageLevel.MEMORY_AND_DISK)

    def _note_rebuilt(self, rebuilt: Iterable[tuple[int, str]]) -> None:
        partitions = dict(rebuilt)
        for number, folder in partitions.items():
            self.known[number] = (self.known[number][0], folder)
        if partitions and self._rdd is not None:
            log.warning(
                "%s: blocks %s were lost and packed anew, with the same rows",
                self._name,
                sorted(partitions),
            )
            # whoever unpersisted it would have it packed anew in every pass from now on
            self._rdd.persist(StorageLevel.MEMORY_AND_DISK)


def attempt(
    rdd: "RDD[Any]",
    function: PartitionFunction,
    depth: int,
    nbytes: int,
    name: str,
    small: int | None = None,
    places: Sequence[str] = (),
) -> Total:
    """Run a function on every partition, again on those that missed their block, and merge.

    Without a tree the driver merges the totals in the order of the partitions, also those that
    it had to ask for twice: whichever tasks end first, sums are the same to the last bit.

    Parameters
    ----------
    rdd : RDD
    function : callable
        See `PartitionFunction`.
    depth, nbytes, small, places
        See `totals`.
    name : str
        What is fitted, for the log.

    Returns
    -------
    Total
        Its ``missing`` are partitions that missed their block twice.
    """
    run = rdd.mapPartitionsWithIndex(function)
    found = totals(run, depth, nbytes, small, places)
    if missing := sum((total.missing for total in found), ()):
        # a task may just have run on another executor than the one that has the block
        log.warning("%s: blocks %s not found, trying again", name, missing)
        again = rdd.context.runJob(run, lambda rows: rows, partitions=list(missing))
        if len(found) == rdd.getNumPartitions():
            for partition, total in zip(missing, again, strict=True):
                found[partition] = total
        else:
            for total in found:
                total.missing = ()
            found += again
    return reduce(Total.merge, found, Total())
