"""The Params of what is saved, as JSON has them."""

from typing import Any

import numpy as np
from pyspark.ml.linalg import Matrix, Vector

from sparkml_lsml.errors import PersistenceError, shown
from sparkml_lsml.spark.folders.matrices import from_json, to_json
from sparkml_lsml.spark.folders.metadata import check_uid

MAPS = ("classWeight", "networkParams")
"""Params that are maps."""


def params_to_json(instance: Any) -> dict[str, Any]:
    """The uid and the Params of an instance, as JSON has them."""
    return {
        "uid": instance.uid,
        "paramMap": {p.name: _plain(v) for p, v in instance._paramMap.items()},
        "defaultParamMap": {p.name: _plain(v) for p, v in instance._defaultParamMap.items()},
    }


def params_from_json(instance: Any, found: dict[str, Any]) -> None:
    """Give an instance the uid and the Params that `params_to_json` has told.

    Raises
    ------
    ValueError, TypeError
        If it has no such Param, or the Param no such value.
    """
    check_uid(found["uid"])
    instance._resetUid(found["uid"])
    for defaults, key in ((True, "defaultParamMap"), (False, "paramMap")):
        for name, value in found[key].items():
            if not instance.hasParam(name):
                raise ValueError(f"it has no Param {shown(name)}")
            # some are a map for their Param too; all other maps are matrices
            if isinstance(value, dict) and name not in MAPS:
                value = from_json(value)
            if defaults:
                instance._setDefault(**{name: value})
            else:
                instance._set(**{name: value})


def _plain(value: Any) -> Any:
    """A Param's value as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, float | int | str | bool | list) or value is None:
        return value
    if isinstance(value, Vector | Matrix):
        return to_json(value)
    if isinstance(value, dict):  # weights of classes, or keywords of a network
        return {k if isinstance(k, str) else repr(k): each for k, each in value.items()}
    raise PersistenceError(
        f"a Param holds a {type(value).__name__}, which cannot be saved: expected a number, a "
        "string, a list, a vector, a matrix or weights of classes"
    )
