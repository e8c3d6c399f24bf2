"""From a DataFrame to rows that can be packed, and errors about rows that cannot."""

import pyspark.sql.functions as F
from pyspark.sql import Column, DataFrame

from sparkml_lsml.engine.blocks.report import PROBLEMS, Report, Task
from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.params.feature_columns import Features, told
from sparkml_lsml.spark.rows.columns import feature_column
from sparkml_lsml.spark.rows.frames import column_of

Factors = dict[float, float]
"""By label, what the weights of its rows are multiplied by."""


def weighed(weight: Column | None, label: Column, factors: Factors) -> Column:
    """The weight of each row times the factor of its class; 1 for a label that has none."""
    table = F.create_map(*(F.lit(each) for pair in factors.items() for each in pair))
    # the sum turns -0.0 into 0.0, which is another key
    factor = F.coalesce(table[label + F.lit(0.0)], F.lit(1.0)) if factors else F.lit(1.0)
    return factor if weight is None else weight * factor


def training_frame(
    dataset: DataFrame,
    features: Features,
    label: str,
    weight: str | None,
    partitions: int,
    fold: Column | None = None,
    factors: Factors | None = None,
) -> DataFrame:
    """Features, label and weight, in at most as many partitions as there are cores.

    Partitions are joined, never split: that would be a shuffle that nobody asked for.
    """
    y = column_of(dataset, label).cast("double")
    columns = [
        feature_column(dataset, features).alias("features"),
        y.alias("label"),
    ]
    weights = None if weight is None else column_of(dataset, weight).cast("double")
    if factors is not None:
        weights = weighed(weights, y, factors)
    if weights is not None:
        columns.append(weights.alias("weight"))
    if fold is not None:
        # a fraction is the number of no fold, as null is
        whole = fold.cast("double") == F.floor(fold.cast("double"))
        columns.append(F.when(whole, fold.cast("int")).alias("fold"))
    return dataset.select(*columns).coalesce(partitions)


def raise_for_problems(
    report: Report,
    task: Task,
    label: str,
    features: Features,
    *others: str | None,
    purpose: str = "trained on",
) -> None:
    """Raise one error about all rows that cannot be used.

    Raises
    ------
    DataError
        It says how many rows have which problem.
    """
    found = []
    expected = {
        "binary": "labels must be 0 or 1",
        "multiclass": "labels must be 0, 1, 2, ...",
        "regression": "labels must be finite numbers",
    }[task]
    for problem, count in report.problems.items():
        example = report.examples.get(problem)
        found.append(
            f"{count:,} {PROBLEMS[problem]}" + (f" (such as {example})" if example else "")
        )
    if report.longest >= 0 and report.shortest != report.longest:
        found.append(
            f"rows of different lengths: the shortest has {report.shortest:,} features, the "
            f"longest {report.longest:,}"
        )
    if report.too_many_labels:
        found.append("so many different labels that they are not classes")
    if found:
        columns = " or ".join(told(name) for name in (features, label, *others) if name)
        raise DataError(
            f"column {columns} cannot be {purpose}: found {'; '.join(found)}. "
            f"Expected finite features of one length, weights of 0 or more, and {expected}. "
            "Filter or repair these rows first"
        )
