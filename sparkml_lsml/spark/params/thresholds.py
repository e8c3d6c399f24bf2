"""The Param of thresholds of three or more classes, where the number of classes is known."""

from typing import Any

from sparkml_lsml.errors import ParamError


def check_thresholds(params: Any, classes: int) -> None:
    """Refuse thresholds that are not one for each class.

    Raises
    ------
    ParamError
    """
    thresholds = params.value("thresholds")
    if thresholds is not None and len(thresholds) != classes:
        raise ParamError(
            f"thresholds has {len(thresholds)} entries, expected one for each of the "
            f"{classes} classes"
        )
