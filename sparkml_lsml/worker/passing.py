"""Running passes over blocks, and bringing back what was learned while they were packed."""

import hashlib
import pickle  # nosec B403
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.worker.keeping import is_own, open_block, settle
from sparkml_lsml.worker.packing import read_report
from sparkml_lsml.worker.totals import PartitionFunction, Total, array_bytes

Identity = tuple[int, int]

Array = npt.NDArray[np.uint64]


def stamp(folder: str) -> int:
    """A number for the folder of a block, another one for each."""
    return int.from_bytes(hashlib.blake2b(folder.encode(), digest_size=8).digest(), "big")


def _handles(rows: Iterable[Any]) -> Iterator[tuple[Handle, bytes]]:
    for row in rows:
        # written by a task of this very fit
        yield pickle.loads(bytes(row["handle"])), bytes(row["report"])  # nosec B301


def run_pass(sent: Any, elsewhere: Callable[[], None] | None = None) -> PartitionFunction:
    """A function that runs the broadcast pass on the block of a partition.

    Parameters
    ----------
    sent : Broadcast of (Pass, Array)
        The pass, and what is known of the block of each partition, shape ``(partitions, 3)``: its
        rows, its checksum, and the `stamp` of its folder; zeros where there are no rows.
    elsewhere : callable, optional
        Called where the block is another executor's, before that is told.
    """

    def run(partition: int, rows: Iterable[Any]) -> Iterator[Total]:
        settle()
        task, known = sent.value
        total = Total()
        for handle, _ in _handles(rows):
            count, checksum, folder = map(int, known[partition])
            if handle.unreadable and count:
                total.unreadable = handle.unreadable
            elif handle.identity != (count, checksum):
                total.changed += (partition,)
            elif handle.rows:
                block = open_block(handle)
                if block is None:
                    _tell_absent(total, partition, handle)
                    if total.displaced and elsewhere is not None:
                        elsewhere()
                    continue
                found = task(block, partition)
                total.merge(Total(found, nbytes=array_bytes(found)))
                if stamp(handle.folder) != folder:
                    total.rebuilt += ((partition, handle.folder),)
        yield total

    return run


def _tell_absent(total: Total, partition: int, handle: Handle) -> None:
    if is_own(handle.folder):
        total.missing += (partition,)
    else:
        total.displaced += (partition,)


def collect(*, wide: bool) -> PartitionFunction:
    """A function that reads the reports of a partition, and ``wide`` ones beside its rows too."""

    def run(partition: int, rows: Iterable[Any]) -> Iterator[Total]:
        total = Total()
        for handle, saved in _handles(rows):
            try:
                apart = handle.report_bytes and not wide
                report = Report() if apart else read_report(handle, saved)
            except FileNotFoundError:
                _tell_absent(total, partition, handle)
                continue
            report.handles = [(partition, handle)]
            total.merge(Total(report))
        yield total

    return run
