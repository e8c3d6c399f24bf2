"""How the rows of a fit are to be packed."""

from dataclasses import dataclass
from typing import Literal

from pyspark.sql import Column

from sparkml_lsml.engine.blocks.report import Task
from sparkml_lsml.spark.params.feature_columns import Features
from sparkml_lsml.spark.rows.ingest import Factors

LOCAL_BYTES = 32 * 2**20
"""Data that packs to this or less is solved on the driver: a Spark job costs more than a pass. With
encrypted disks it stays in memory wherever it is solved, which takes no package that encrypts."""


Execution = Literal["auto", "local", "distributed"]


@dataclass(frozen=True)
class IngestPlan:
    """Which columns of a frame to pack, and how.

    Parameters
    ----------
    features : str or tuple of str
    label : str
    weight : str or None
    task : {"binary", "multiclass", "regression"}
    dtype : {"float64", "float32"}
    execution : {"auto", "local", "distributed"}
        Where passes run: ``auto`` takes the driver for data of at most ``local_bytes``.
    depth : int
        Levels of the aggregation tree, at most.
    name : str
        What jobs are called.
    fold : Column or None
        Number of the fold that a row is held out in.
    folds : int
        Number of folds, 0 without.
    validation : str or None
        Column of booleans that the folds 0 and 1 come from.
    factors : dict, optional
        By label, what the weights of its rows are multiplied by.
    ordered : bool
        Whether the places of rows decide what a model sees of them: a block that is packed again
        in another order is then another block.
    centre : bool
        Whether columns whose values lie close together, and far from zero, may be packed less an
        `Origin`: only an intercept takes up what that changes. It takes the moments.
    moments : bool
        Whether to sum the `Moments` of the features; those of the label always are.
    assembled : bool
        Whether ``features`` are the columns of numbers that vectors were asked for of, and are to
        be packed as those would be: mostly zeros as sparse rows.
    local_bytes : int
        Packed bytes up to which ``auto`` solves on the driver. Where a pass works longer on each
        row than one of a linear model, less of them are worth a Spark job.
    """

    features: Features
    label: str
    weight: str | None
    task: Task
    dtype: str = "float64"
    execution: Execution = "auto"
    depth: int = 2
    name: str = "fit"
    fold: Column | None = None
    folds: int = 0
    validation: str | None = None
    factors: Factors | None = None
    ordered: bool = False
    centre: bool = False
    moments: bool = True
    assembled: bool = False
    local_bytes: int = LOCAL_BYTES
