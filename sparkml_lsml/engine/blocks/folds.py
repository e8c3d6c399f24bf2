"""What is known of the rows of each fold of a cross-validation."""

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.block import Block, CsrRows
from sparkml_lsml.engine.blocks.moments import MOMENT_CHUNK_ROWS, Moments
from sparkml_lsml.engine.blocks.report import Report, Task, note_labels

PIECE_BYTES = 64 * 2**20
"""Sparse rows of a fold that are copied at a time."""


def fold_reports(block: Block, folds: int, task: Task, *, moments: bool = True) -> list[Report]:
    """A report of the rows of each fold.

    Parameters
    ----------
    block : Block
        With the fold of each row.
    folds : int
    task : {"binary", "multiclass", "regression"}
    moments : bool
        Whether to sum those of the features.
    """
    assert block.fold is not None
    found = []
    for number in range(folds):
        held = block.fold == number
        report = Report()
        if held.any():
            report.see_lengths(block.features, block.features)
            if moments:
                report.moments = _moments(block, held)
            weight = None if block.weight is None else block.weight[held]
            note_labels(report, block.y[held], weight, task)
        found.append(report)
    return found


def without(folds: list[Report], number: int) -> Report:
    """A report of the rows of all folds but one: what a model is trained on."""
    total = Report()
    for other, report in enumerate(folds):
        if other != number:
            total.merge(report)
    return total


def _moments(block: Block, held: npt.NDArray[np.bool_]) -> Moments:
    total = Moments.empty(block.features)
    if isinstance(block.X, CsrRows):
        # copies of a part of the fold's rows at a time, and never of the others
        own = np.flatnonzero(held)
        step = max(1, block.rows * PIECE_BYTES // max(block.nbytes, 1))
        for start in range(0, len(own), step):
            total = total.merge(Moments.of_block(block.subset(own[start : start + step])))
        return total
    for start in range(0, block.rows, 8 * MOMENT_CHUNK_ROWS):
        piece = slice(start, start + 8 * MOMENT_CHUNK_ROWS)
        rows = held[piece]
        weights = None if block.weight is None else block.weight[piece][rows]
        total = total.merge(Moments.of_rows(block.X[piece][rows], weights))
    return total
