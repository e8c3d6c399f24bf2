"""Validation rows of a fit: which they are, whether they can serve, and what they chose."""

from collections.abc import Mapping

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.solvers.base import Best
from sparkml_lsml.errors import DataError, ParamError
from sparkml_lsml.spark.params.bases import CheckedParams

TRAINED, VALIDATED = 0, 1
"""Folds of a frame with a validation: its indicator, cast to an integer."""


def refuse_validation(estimator: CheckedParams, what: str) -> None:
    """Raise where an estimator has a validation, which ``what`` does not take."""
    column = estimator.value("validationIndicatorCol")
    if column:
        raise ParamError(
            f"{what} takes no validationIndicatorCol, found '{column}': its models would stop at "
            "different distances from their minima. Clear it, and filter the rows"
        )


def check_validation(column: str, report: Report) -> None:
    """Refuse a validation that leaves no rows to train on, or has none that count.

    Parameters
    ----------
    column : str
    report : Report
        Of all rows, with that of each fold.

    Raises
    ------
    DataError
        Also where a class is only in the validation.
    """
    for fold, what in ((TRAINED, "train on"), (VALIDATED, "validate")):
        moments = report.folds[fold].label_moments
        if moments is None or moments.weight <= 0.0:
            raise DataError(
                f"validationIndicatorCol='{column}' leaves no rows of positive weight to {what}: "
                "expected both true and false in the column"
            )
    known, met = report.folds[TRAINED].labels, report.folds[VALIDATED].labels
    missing = _counted(met) - _counted(known)
    if missing:
        found = ", ".join(f"{label:g}" for label in sorted(missing)[:5])
        raise DataError(
            f"validationIndicatorCol='{column}': no row to train on has the label {found}, which "
            "validation rows have. Expected no class that is only in the validation"
        )


def _counted(labels: Mapping[float, tuple[int, float]]) -> set[float]:
    return {label for label, (_, weight) in labels.items() if weight > 0.0}


def validation_notes(best: Best | None, rows: int) -> tuple[str, ...]:
    """What the summary says of the iteration that was kept."""
    if best is None:
        return ()
    return (
        f"coefficients of iteration {best.iteration}, with the least loss over {rows:,} "
        f"validation rows: {best.loss:.9g}",
    )
