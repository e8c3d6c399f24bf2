"""What a checkpoint is of: two fits with the same fingerprint have the same solution."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from sparkml_lsml.blocks.moments import Moments

BUCKETS = 1_024
"""Columns are told apart up to this number, beyond it groups of neighbours."""

CLOSE = 1e-9
"""What means and deviations may differ by, relative to them: rows are added up in any order."""

TOLD = 8
"""Differences that are named, at most."""

Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Fingerprint:
    """Params, schema and size of the data, and the moments of the features.

    Attributes
    ----------
    exact : dict
        What must be the same: of JSON's types, with floats of nine digits.
    moments : list of dict
        Sums of means, of deviations, and of the magnitudes of both, of neighbouring columns; for
        each set of rows that a model of the batch sees, in order.
    """

    exact: dict[str, Any]
    moments: list[Figures] = field(default_factory=list)

    @staticmethod
    def of(exact: dict[str, Any], moments: Iterable[Moments]) -> "Fingerprint":
        """The fingerprint of these facts and of the rows of these moments."""
        return Fingerprint(_rounded(exact), [_figures(each) for each in moments])

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
        return Fingerprint(**found)


def differences(there: Fingerprint, here: Fingerprint) -> list[str]:
    """How two fingerprints differ, in words; empty if they do not.

    Examples
    --------
    >>> differences(Fingerprint({"rows": 10}), Fingerprint({"rows": 12}))
    ['rows: 10 there, 12 here']
    """
    found = [
        f"{name}: {_short(old)} there, {_short(new)} here"
        for name, old, new in islice(_pairs(there.exact, here.exact), TOLD)
    ]
    if len(there.moments) != len(here.moments):
        return found or ["the number of sets of rows"]
    for mine, theirs in zip(here.moments, there.moments, strict=True):
        for what in ("mean", "deviation"):
            old, new = np.array(theirs[what]), np.array(mine[what])
            if old.shape != new.shape:
                continue  # the number of features was told already
            close = np.abs(old - new) <= CLOSE * np.maximum(theirs["size"], mine["size"])
            for column in np.flatnonzero(~close)[:1]:
                found.append(
                    f"the {what} of {_columns(int(column), here)}: {old[column]:.9g} there, "
                    f"{new[column]:.9g} here"
                )
    return found


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


def _columns(column: int, fingerprint: Fingerprint) -> str:
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
    return repr(value)


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
