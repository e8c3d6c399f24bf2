"""The handles of packed blocks, which Spark caches, and what heals blocks that are not found."""

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import PurePath
from typing import Any

import numpy as np
from py4j.protocol import Py4JError
from pyspark import RDD, StorageLevel

from sparkml_lsml.display import text
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.errors import BackendError, SourceChangedError
from sparkml_lsml.spark.cluster.causes import LOST_BLOCKS
from sparkml_lsml.spark.cluster.placement import placement
from sparkml_lsml.spark.cluster.sweep import forget_blocks, remove_files
from sparkml_lsml.spark.cluster.trees import totals
from sparkml_lsml.worker.passing import Array, Identity, stamp
from sparkml_lsml.worker.totals import PartitionFunction, Total

log = logging.getLogger("sparkml_lsml")

REBUILDS = 3
"""Times that one block is packed anew in one pass before the fit gives up."""

PAUSES = (0.1, 2.0)
"""Seconds to wait for a busy executor, at first and at most, before it is asked again. Spark itself
waits for it as long as ``spark.locality.wait`` says, before it places a task elsewhere."""

MOVED_AFTER = 5
"""Passes one after the other in which a block was displaced, behind which the next one moves it:
its executor has others, or other work, while there are executors with nothing to do."""

DISPLACED_SECONDS = 600.0
"""How long to wait for a busy executor before its blocks are read again elsewhere."""


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
    check : callable
        Raises where the fit is to end, and is called now and then.

    Attributes
    ----------
    known : dict of int to (Identity, str)
        What the block of each partition holds, where it has rows, and its folder.
    written : bool
        Whether there may be files.
    rebuilt : int
        Blocks that were packed anew so far.
    waited : float
        Seconds that passes took longer because executors were busy.
    """

    def __init__(
        self, rdd: "RDD[Any]", fit: str, depth: int, name: str, check: Callable[[], None]
    ) -> None:
        self.known: dict[int, tuple[Identity, str]] = {}
        self.written = True  # not known otherwise until the job is done
        self.rebuilt = 0
        self.waited = 0.0
        self._fit, self._depth, self._name, self._check = fit, depth, name, check
        self._lock = threading.Lock()
        self._rdd: RDD[Any] | None = rdd.persist(StorageLevel.MEMORY_AND_DISK)
        self._table: Array | None = None
        self._displaced: Counter[int] = Counter()
        # by partition, the executor that wrote its block, as far as Spark tells
        self._writers: dict[int, str] = {}

    def note(self, handles: Sequence[tuple[int, Handle]]) -> None:
        """Enter the handles of the partitions, once somebody has read them."""
        self.known = {number: (h.identity, h.folder) for number, h in handles if h.rows}
        self.written = any(h.folder for _, h in handles)
        self._table = None
        self._note_writers(self.known)

    @property
    def partitions(self) -> int:
        """Number of partitions, those without rows among them; 0 after the release."""
        return 0 if self._rdd is None else self._rdd.getNumPartitions()

    def notes(self, rebuilt: int = 0, waited: float = 0.0) -> tuple[str, ...]:
        """What summaries are to say of faults, behind those of earlier fits."""
        found: tuple[str, ...] = ()
        rebuilt, waited = self.rebuilt - rebuilt, self.waited - waited
        if rebuilt:
            found += (
                f"{rebuilt:,} block{'s were' if rebuilt > 1 else ' was'} lost with "
                "executors or files, and packed anew, which read their rows again from the source",
            )
        if waited:
            found += (f"waited {text.seconds(waited)} for executors with other work",)
        return found

    @property
    def table(self) -> Array:
        """What passes are told of the blocks, see `run_pass`."""
        if self._table is None:
            self._table = table_of(self.known, self.partitions)
        return self._table

    def run(
        self,
        function: PartitionFunction,
        nbytes: int,
        small: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> Total:
        """Run a function on every partition, waiting for blocks and rebuilding those that are lost.

        A block is lost where its files are gone, or its executor. One that was asked of another
        executor, since its own is busy, is displaced: it is waited for, and not read again.
        Without a tree the driver merges the totals in the order of the partitions, also those that
        it had to ask for twice: whichever tasks end first, sums are the same to the last bit.

        Parameters
        ----------
        function : callable
            See `PartitionFunction`.
        nbytes : int
            Bytes of what it returns for one partition.
        small : int, optional
            See `totals`.
        check : callable, optional
            In place of that of the packing, where a later fit uses its blocks.

        Raises
        ------
        SourceChangedError
            If a block that was packed again holds other rows.
        BackendError
            If one block is lost again and again.
        """
        with self._lock:  # of fits that share the blocks, one after another
            return self._run(function, nbytes, small, check or self._check)

    def _run(
        self,
        function: PartitionFunction,
        nbytes: int,
        small: int | None,
        check: Callable[[], None],
    ) -> Total:
        assert self._rdd is not None
        tasks = self._rdd.mapPartitionsWithIndex(function)
        found = totals(tasks, self._depth, nbytes, small, self._places())
        lost: Counter[int] = Counter()
        patience = Patience()
        elsewhere = {number for total in found for number in total.displaced}
        while absent := {number for total in found for number in total.missing + total.displaced}:
            self._raise_for_changes(found)
            check()
            gone = {number for total in found for number in total.missing}
            gone |= self._unreachable(absent - gone, patience)
            if gone:
                lost.update(gone)
                self._give_up(lost)
                log.warning("%s: blocks %s were lost, packing them anew", self._name, sorted(gone))
                self._forget(gone)
            else:
                patience.wait(self._name, absent)
            entered(found, tasks, sorted(absent))
        self._raise_for_changes(found)
        self.waited += patience.seconds
        self._displaced = Counter({number: self._displaced[number] + 1 for number in elsewhere})
        total = reduce(Total.merge, found, Total())
        self._note_rebuilt(total.rebuilt)
        return total

    def _places(self) -> list[str]:
        """The executor that has the block of each partition, as far as known."""
        if self._writers:
            return [self._writers.get(number, "") for number in range(self.partitions)]
        folders = (self.known.get(number, ("", ""))[1] for number in range(self.partitions))
        return [str(PurePath(folder).parent) if folder else "" for folder in folders]

    def _unreachable(self, displaced: Collection[int], patience: "Patience") -> set[int]:
        """Which displaced blocks no wait will bring back, or are better off elsewhere."""
        if not displaced:
            return set()
        if patience.over():
            return set(displaced)
        assert self._rdd is not None
        now = placement(self._rdd)
        if now is None:  # once more, as a task may just have been placed elsewhere
            return set(displaced) if patience.pauses else set()
        # who holds the handle says less: those of a decommissioned executor move, files do not
        writers = {**now.holders, **self._writers}
        gone = {number for number in displaced if writers.get(number) not in now.executors}
        moved = {n for n in set(displaced) - gone if self._displaced[n] >= MOVED_AFTER}
        if moved:
            log.warning(
                "%s: blocks %s were asked of other executors in %d passes: moving them",
                self._name,
                sorted(moved),
                MOVED_AFTER,
            )
        return gone | moved

    def _note_writers(self, partitions: Iterable[int]) -> None:
        if self._rdd is not None and self.written and (now := placement(self._rdd)) is not None:
            self._writers.update((n, now.holders[n]) for n in partitions if n in now.holders)

    def _give_up(self, lost: "Counter[int]") -> None:
        worst = [number for number, times in lost.items() if times > REBUILDS]
        if worst:
            raise BackendError(
                f"{self._name}: blocks {worst} of training rows were lost {REBUILDS + 1} times in "
                "one pass. Expected executors that keep their local folders (spark.local.dir) "
                "during a fit"
            )

    @staticmethod
    def _raise_for_changes(found: Sequence[Total]) -> None:
        if gone := next((total.unreadable for total in found if total.unreadable), ""):
            raise SourceChangedError(f"{LOST_BLOCKS[0]}: {gone}. {LOST_BLOCKS[1]}")
        if changed := sorted(number for total in found for number in total.changed):
            raise SourceChangedError(
                f"partitions {changed} were read again and hold other rows than at first: the "
                "source is not deterministic (rand(), limit, files rewritten during the fit, a "
                "join or window without a full order). Write the frame to a table, or "
                "checkpoint() it, and fit on that"
            )

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
        except Py4JError as error:  # Spark's insides, which not every platform lets Python call
            log.warning("%s: packing all rows anew: %s", self._name, error)
            # the files that are left would only take disk space until all are packed again
            self._rdd.unpersist(blocking=True)
            remove_files(self._rdd.context, self._name, self._fit)
            self._rdd.persist(StorageLevel.MEMORY_AND_DISK)

    def _note_rebuilt(self, rebuilt: Iterable[tuple[int, str]]) -> None:
        partitions = dict(rebuilt)
        if not partitions or self._rdd is None:
            return
        for number, folder in partitions.items():
            self.known[number] = (self.known[number][0], folder)
        self.rebuilt += len(partitions)
        self._table = None
        self._note_writers(partitions)
        log.warning(
            "%s: blocks %s were lost and packed anew, with the same rows",
            self._name,
            sorted(partitions),
        )
        # whoever unpersisted it would have it packed anew in every pass from now on
        self._rdd.persist(StorageLevel.MEMORY_AND_DISK)


def table_of(known: Mapping[int, tuple[Identity, str]], partitions: int) -> Array:
    """What is known of blocks, in the form that passes take, see `run_pass`."""
    table = np.zeros((partitions, 3), dtype=np.uint64)
    for number, ((rows, checksum), folder) in known.items():
        table[number] = rows, checksum, stamp(folder)
    return table


class Patience:
    """Growing pauses."""

    def __init__(self) -> None:
        self.pauses = 0
        self._since = time.monotonic()
        self._told = 0.0

    @property
    def seconds(self) -> float:
        """Since the first pause began; 0 without."""
        return time.monotonic() - self._since if self.pauses else 0.0

    def over(self) -> bool:
        """Whether nobody would wait any longer."""
        return self.seconds > DISPLACED_SECONDS

    def wait(self, name: str, blocks: Iterable[int]) -> None:
        """Wait a little, and say so when it gets long."""
        if not self.pauses:
            self._since = time.monotonic()
        elif self.seconds > 2.0 * self._told:
            self._told = max(self.seconds, 0.5)
            log.warning(
                "%s: waiting for the executors of blocks %s, which are busy, since %.0f s",
                name,
                sorted(blocks),
                self.seconds,
            )
        first, most = PAUSES
        self.pauses += 1
        time.sleep(min(first * 1.5**self.pauses, most))


def entered(found: list[Total], tasks: "RDD[Total]", partitions: Sequence[int]) -> None:
    """Ask some partitions once more, and enter what they find in place of their first totals."""
    again = tasks.context.runJob(tasks, list, partitions=list(partitions))
    if len(found) == tasks.getNumPartitions():
        for partition, total in zip(partitions, again, strict=True):
            found[partition] = total
    else:  # a tree has merged them
        for total in found:
            total.missing = total.displaced = ()
        found += again
