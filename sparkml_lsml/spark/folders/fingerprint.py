"""What a checkpoint is of: Params, schema and rows of a fit."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pyspark.ml.linalg import Matrix, Vector

from sparkml_lsml.engine.blocks.moments import Moments
from sparkml_lsml.spark.folders.matrices import to_json

BUCKETS = 1_024
"""Columns are told apart up to this number, beyond it groups of neighbours."""

CLOSE = 1e-9
"""What means and deviations of the same rows differ by, relative to them: they are added up in any
order."""

TOLD = 8
"""Differences that are named, at most."""

LABEL = "the label"
"""Name of the moments of the label."""

Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Fingerprint:
    """Params, schema, and a checksum of the rows; moments of the rows to tell what is different.

    Attributes
    ----------
    exact : dict
        What must be the same: of JSON's types, with floats of nine digits.
    moments : dict
        Sums of means, of deviations, and of the magnitudes of both, of neighbouring columns; for
        each set of rows that a model of the batch sees, by its name.
    """

    exact: dict[str, Any]
    moments: dict[str, Figures] = field(default_factory=dict)

    @staticmethod
    def of(exact: dict[str, Any], moments: Mapping[str, Moments]) -> "Fingerprint":
        """The fingerprint of these facts and of the rows of these moments."""
        figures = {name: _figures(each) for name, each in moments.items()}
        return Fingerprint(_rounded(exact), figures)

    @property
    def digest(self) -> str:
        """Hexadecimal digits that are others for other facts."""
        text = json.dumps(self.exact, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """As text."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "Fingerprint":
        """From text.

        Raises
        ------
        ValueError
            If the text is not of a fingerprint.
        """
        found = json.loads(text)
        if not isinstance(found, dict) or set(found) != {"exact", "moments"}:
            raise ValueError("it is not the fingerprint of a fit")
        exact, moments = found["exact"], found["moments"]
        plain = isinstance(exact, dict) and isinstance(moments, dict)
        if not plain or not all(_are_figures(each) for each in moments.values()):
            raise ValueError("it is a fingerprint that is damaged")
        return Fingerprint(exact, moments)


def differences(there: Fingerprint, here: Fingerprint) -> list[str]:
    """How two fingerprints differ, in words; empty if they do not.

    Examples
    --------
    >>> differences(Fingerprint({"rows": 10}), Fingerprint({"rows": 12}))
    ['rows: 10 there, 12 here']
    """
    found = [
        f"{name}: {_short(old)} there, {_short(new)} here"
        for name, old, new in _pairs(there.exact, here.exact)
    ]
    for name in here.moments.keys() & there.moments.keys():
        mine, theirs = here.moments[name], there.moments[name]
        for what in ("mean", "deviation"):
            old, new = np.array(theirs[what]), np.array(mine[what])
            if old.shape != new.shape:
                continue  # the number of features was told already
            close = np.abs(old - new) <= CLOSE * np.maximum(theirs["size"], mine["size"])
            for column in np.flatnonzero(~close)[:1]:
                found.append(
                    f"the {what} of {_columns(int(column), name, here)}: {old[column]:.9g} there, "
                    f"{new[column]:.9g} here"
                )
    return found[:TOLD]


def _are_figures(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and set(found) == {"mean", "deviation", "size"}
        and all(isinstance(values, list) for values in found.values())
        and all(type(v) in (int, float) for values in found.values() for v in values)
        and len({len(values) for values in found.values()}) == 1
    )


def _figures(moments: Moments) -> Figures:
    mean, deviation = moments.mean(), np.sqrt(moments.variance(sample=False))
    group = -(-max(1, len(mean)) // BUCKETS)
    starts = np.arange(0, len(mean), group)

    def sums(values: Any) -> list[float]:
        return [float(v) for v in np.add.reduceat(values, starts)] if len(values) else []

    return {
        "mean": sums(mean),
        "deviation": sums(deviation),
        "size": sums(np.abs(mean) + deviation),
    }


def _columns(column: int, name: str, fingerprint: Fingerprint) -> str:
    if name == LABEL:
        return LABEL
    features = int(fingerprint.exact.get("features", 0))
    group = -(-max(1, features) // BUCKETS)
    if group == 1:
        return f"feature {column}"
    return f"the features {column * group} to {min(features, (column + 1) * group) - 1}"


def _rounded(value: Any) -> Any:
    """Floats with nine digits: a penalty that was computed from the rows differs in its last."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(f"{value:.9g}") if np.isfinite(value) else repr(value)
    if isinstance(value, dict):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_rounded(each) for each in value]
    if isinstance(value, Vector | Matrix):
        return to_json(value)
    raise TypeError(f"a {type(value).__name__} is no part of a fingerprint")


def _pairs(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Names and values of what differs."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            inner = f"{name}.{key}" if name else str(key)
            yield from _pairs(there.get(key), here.get(key), inner)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, (old, new) in enumerate(zip(there, here, strict=True)):
            yield from _pairs(old, new, f"{name}.{number}")
    elif there != here:
        yield name, there, here


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
