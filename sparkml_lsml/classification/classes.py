"""What the labels say of the classes, and the models and starts that follow from it alone."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame

from sparkml_lsml.blocks.pack import Report
from sparkml_lsml.errors import DataError
from sparkml_lsml.layout import Layout
from sparkml_lsml.spark.frames import column_field

Array = npt.NDArray[np.float64]

MAX_COEFFICIENTS = 2**28
"""Coefficients of a multinomial model, at most (2 GB a vector); beyond it labels are no classes."""


def certain_class(label: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Coefficients and intercepts that give all probability to one class, as MLlib does."""
    intercepts = np.zeros(shape[0])
    if shape[0] == 1:
        intercepts[0] = np.inf if label == 1 else -np.inf
    else:
        intercepts[label] = np.inf
    return np.zeros(shape), intercepts


def frequencies_start(intercepts: Array) -> Callable[[Layout], Array]:
    """Zeros, and intercepts that predict the frequencies of the classes."""

    def start(layout: Layout) -> Array:
        coef = np.zeros(layout.size)
        if layout.fit_intercept:
            coef[layout.intercepts] = intercepts
        return coef

    return start


def declared_classes(dataset: DataFrame, label: str) -> int:
    """Number of classes that a StringIndexer or its like wrote into the column's metadata."""
    metadata = column_field(dataset, label, "labelCol").metadata or {}
    attribute = metadata.get("ml_attr", {})
    return len(attribute.get("vals", ())) or int(attribute.get("num_vals", 0))


def count_classes(report: Report, declared: int, family: str) -> int:
    """Number of classes: one more than the largest label, or as many as are declared."""
    largest = max(report.labels)
    features = max(report.longest, 1)
    if (largest + 1) * features > MAX_COEFFICIENTS:
        raise DataError(
            f"the largest label is {largest:,.0f}, which would mean "
            f"{(largest + 1) * features:,.0f} coefficients: expected classes 0, 1, 2, ... without "
            f"gaps. Found {len(report.labels):,} different labels: index them with "
            "pyspark.ml.feature.StringIndexer"
        )
    classes = int(largest) + 1
    if 0 < declared < classes:
        raise DataError(
            f"the label column declares {declared} classes, found a label {int(largest)}: expected "
            f"labels below {declared}"
        )
    if family == "binomial" and max(classes, declared) > 2:
        raise DataError(
            f"family='binomial' takes labels 0 and 1, found {max(classes, declared)} classes: "
            "use family='auto'"
        )
    return max(classes, declared)
