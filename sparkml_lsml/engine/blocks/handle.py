"""Where a packed block is, and what identifies its rows."""

from dataclasses import dataclass

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.files import BlockFiles


@dataclass(frozen=True, eq=False)
class Handle:
    """A packed block: where it is, and what identifies its rows.

    Attributes
    ----------
    rows : int
    weight : float
    checksum : int
        Of labels, weights and features, so that a block that was packed again can be told from
        one with other rows; whatever their order, unless that decides what a model sees of them.
    files : BlockFiles or None
    block : Block or None
        The rows themselves where they are few.
    report_bytes : int
        Bytes of the report where it is so large that it lies beside the rows, or else 0.
    unreadable : str
        Why a task could not read its files itself; then there are no rows.
    """

    rows: int
    weight: float
    checksum: int
    files: BlockFiles | None = None
    block: Block | None = None
    report_bytes: int = 0
    unreadable: str = ""

    @property
    def identity(self) -> tuple[int, int]:
        """What must be the same when the block is packed again.

        The checksum covers the weights; their sum depends, in its last bits, on the order of the
        rows, which is not the same after every shuffle.
        """
        return self.rows, self.checksum

    @property
    def folder(self) -> str:
        """Where the files are, '' for rows in memory."""
        return "" if self.files is None else self.files.folder

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        if self.files is not None:
            return self.files.nbytes
        return self.block.nbytes if self.block is not None else 0
