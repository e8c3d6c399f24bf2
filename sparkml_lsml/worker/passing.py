"""Running passes over blocks, and bringing back what was learned while they were packed."""

import pickle  # nosec B403
from collections.abc import Iterable, Iterator
from typing import Any

from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.worker.keeping import open_block, settle
from sparkml_lsml.worker.packing import read_report
from sparkml_lsml.worker.totals import PartitionFunction, Total, array_bytes

Identity = tuple[int, int]
NO_ROWS: tuple[Identity, str] = ((0, 0), "")
"""What is known of a partition that had no rows."""


def _handles(rows: Iterable[Any]) -> Iterator[tuple[Handle, bytes]]:
    for row in rows:
        # written by a task of this very fit
        yield pickle.loads(bytes(row["handle"])), bytes(row["report"])  # nosec B301


def run_pass(sent: Any) -> PartitionFunction:
    """A function that runs the broadcast pass on the block of a partition."""

    def run(partition: int, rows: Iterable[Any]) -> Iterator[Total]:
        settle()
        task, known = sent.value
        total = Total()
        for handle, _ in _handles(rows):
            identity, folder = known.get(partition, NO_ROWS)
            if handle.identity != identity:
                total.changed += (partition,)
            elif handle.rows:
                block = open_block(handle)
                if block is None:
                    total.missing += (partition,)
                    continue
                found = task(block, partition)
                total.merge(Total(found, nbytes=array_bytes(found)))
                if handle.folder != folder:
                    total.rebuilt += ((partition, handle.folder),)
        yield total

    return run


def collect(*, wide: bool) -> PartitionFunction:
    """A function that reads the reports of a partition, and ``wide`` ones beside its rows too."""

    def run(partition: int, rows: Iterable[Any]) -> Iterator[Total]:
        total = Total()
        for handle, saved in _handles(rows):
            try:
                apart = handle.report_bytes and not wide
                report = Report() if apart else read_report(handle, saved)
            except FileNotFoundError:
                total.missing += (partition,)
                continue
            report.handles = [(partition, handle)]
            total.merge(Total(report))
        yield total

    return run
