"""What the labels say of the classes, and the models and starts that follow from it alone."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.predictors.layout import Layout
from sparkml_lsml.errors import DataError

Array = npt.NDArray[np.float64]

MAX_COEFFICIENTS = 2**27
"""Coefficients of a multinomial model, at most: 1 GB a vector, of the 2 that a Python worker can
send Spark. Beyond it labels are no classes."""


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


def odd_labels(report: Report, classes: int = 2, names: Sequence[str] = ()) -> tuple[str, ...]:
    """What to warn of: one class alone, or classes without rows among three or more.

    Parameters
    ----------
    report : Report
        Of the rows that a model is trained on.
    classes : int
        Of the model.
    names : sequence of str
        Of the classes, where the column of labels declares them.
    """
    if len(report.labels) == 1:
        [(label, (rows, _))] = report.labels.items()
        return (f"all {rows:,} labels are {label:g}: there are no two classes to tell apart",)
    missing = [k for k in range(classes) if float(k) not in report.labels]
    if classes <= 2 or not missing:
        return ()
    shown = [f"{k} ('{names[k]}')" if k < len(names) else f"{k}" for k in missing[:5]]
    more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
    why = f"labels go up to {max(report.labels):g}"
    do = "Number the classes 0, 1, 2, ... without gaps, with pyspark.ml.feature.StringIndexer"
    if max(missing) > max(report.labels):
        why = f"the column of labels declares {classes} classes"
        do = (
            "Index the labels of these rows anew, with StringIndexer(handleInvalid='error') or "
            "'skip'; or drop what the column declares: "
            "withColumn(label, col(label).alias(label, metadata={}))"
        )
    return (
        f"no row has the label {', '.join(shown)}{more}, yet {why}: the model knows {classes} "
        f"classes, as MLlib's does, and is no binary one. {do}",
    )


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


def check_both_classes(labels: dict[float, tuple[int, float]], which: str) -> None:
    """Refuse rows of one class, where a binary classifier is to be fitted fold by fold.

    Parameters
    ----------
    labels : dict of float to (int, float)
        Rows and weight of each label, as in a `Report`.
    which : str
        Which rows, for the message.

    Raises
    ------
    DataError
    """
    masses = [weight for _, weight in labels.values() if weight > 0.0]
    if len(masses) < 2:
        found = ", ".join(f"{label:g}" for label in labels)
        raise DataError(
            f"{which} have the label {found} alone: expected both classes, 0 and 1. Use fewer "
            "folds, or a foldCol with both classes outside of each fold"
        )
