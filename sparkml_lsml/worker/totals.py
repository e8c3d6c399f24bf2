"""What the partitions of a job have found, and which of them could not."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # to score takes no pass, and to import them time
    from sparkml_lsml.engine.passes import Sum


@dataclass
class Total:
    """The merged sums of partitions, and those of them that could not be computed.

    Attributes
    ----------
    value : Sum or None
        None until the first partition is in.
    missing : tuple of int
        Partitions whose block is gone.
    displaced : tuple of int
        Partitions that were asked of another executor than the one that wrote their block.
    changed : tuple of int
        Partitions whose block holds other rows than when it was first packed.
    rebuilt : tuple of (int, str)
        Partitions whose block lies in another folder than the driver knows, and that folder:
        Spark packed them anew after it lost an executor.
    nbytes : int
        Bytes of the arrays of all partitions, as they left their tasks.
    unreadable : str
        Why the rows of a partition could not be read again; '' if all could.
    """

    value: "Sum | None" = None
    missing: tuple[int, ...] = ()
    displaced: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    rebuilt: tuple[tuple[int, str], ...] = ()
    nbytes: int = 0
    unreadable: str = ""

    def merge(self, other: "Total") -> "Total":
        """Add another total, in place."""
        if self.value is None:
            self.value = other.value
        elif other.value is not None:
            self.value = self.value.merge(other.value)
        self.missing += other.missing
        self.displaced += other.displaced
        self.changed += other.changed
        self.rebuilt += other.rebuilt
        self.nbytes += other.nbytes
        self.unreadable = self.unreadable or other.unreadable
        return self


PartitionFunction = Callable[[int, Iterable[Any]], Iterator[Total]]
"""Takes the number of a partition and its rows, which it must read to the end (a Python worker that
leaves rows unread is ended), and yields one `Total`."""


def array_bytes(value: Any) -> int:
    """Bytes of the arrays that an object holds, however deep."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(array_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(array_bytes, value))
    return sum(map(array_bytes, vars(value).values())) if hasattr(value, "__dict__") else 0
