"""What the summary of a network says of its mini-batches."""

from dataclasses import replace

from sparkml_lsml.neural.params import STEPS
from sparkml_lsml.spark.models.summary import TrainingSummary

FEW_BATCHES = 100
"""Mini-batches of a block and epoch below which averages of several blocks learn slowly."""


def noted(summary: TrainingSummary, batch: int, optimizer: str) -> TrainingSummary:
    """The summary of a fit, with notes on its steps where partitions were averaged.

    Parameters
    ----------
    summary : TrainingSummary
    batch : int
        Rows in a mini-batch.
    optimizer : str
    """
    blocks = summary.partitions
    if summary.solver != "local-steps" or blocks < 2:
        return summary
    factor, why = blocks**0.5, f"the root of {blocks:,}"
    if optimizer in STEPS:
        factor, why = float(blocks), "their number"
    notes = [
        f"{blocks:,} partitions were averaged after each round: steps were multiplied by "
        f"{factor:.3g}, {why}"
    ]
    batches = summary.rows / blocks / batch
    if batches < FEW_BATCHES:
        notes.append(
            f"an epoch of a partition has about {max(1, round(batches)):,} mini-batches of {batch} "
            f"rows: below {FEW_BATCHES} the average of {blocks:,} partitions learns slowly. Take "
            "fewer partitions (coalesce), a smaller batchSize, or more localEpochs"
        )
    return replace(summary, notes=(*summary.notes, *notes))
