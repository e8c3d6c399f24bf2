"""What all configurations share: types of values with their checks, and the base of sections."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from sparkml_lsml.jobs import redaction
from sparkml_lsml.spark.folders.pathtext import path_text


def fault(message: str, key: str | None = None) -> PydanticCustomError:
    """Make an error of a validator; `key` is the key inside a model that it concerns."""
    return PydanticCustomError("sparkml_lsml", "{message}", {"message": message, "key": key})


def _no_reference(value: str) -> str:
    if redaction.has_reference(value):
        raise fault(
            "an environment reference is not understood here; "
            "only paths, table names and values of options may have one"
        )
    return value


def _no_password(value: str) -> str:
    # Spark writes paths to its own logs and its event log, which nobody can redact afterwards.
    if redaction.has_password(value):
        raise fault(
            f"a path must not hold a password, found '{redaction.public(value)}'; give it to "
            "Spark's Hadoop settings instead, e.g. spark.hadoop.fs.s3a.secret.key"
        )
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | os.PathLike) else value


def _as_text(value: Any) -> Any:
    """A `pathlib.Path` of a configuration that was made in Python as YAML would have it."""
    return path_text(value, "a path") if isinstance(value, os.PathLike) else value


def plain(value: Any) -> Any:
    """Accept what YAML can say without tags, except references, which a model would save."""
    if isinstance(value, str):
        return _no_reference(value)
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise fault(f"expected a text as key, found {name!r}")
            plain(item)
    elif isinstance(value, list | tuple):
        for item in value:
            plain(item)
    elif value is None:
        raise fault("has no value; give one, or leave the key out for Spark's default")
    elif not isinstance(value, bool | int | float):
        raise fault(f"expected a plain value, found {type(value).__name__}")
    return value


def finite(value: float) -> float:
    """Refuse NaN and infinity."""
    if not math.isfinite(value):
        raise fault(f"expected a finite number, found {value}")
    return value


def _finite_keys(labels: dict[Any, float]) -> dict[Any, float]:
    for label in labels:
        if isinstance(label, float):
            finite(label)
    return labels


_NonEmpty = StringConstraints(min_length=1)
Text = Annotated[str, _NonEmpty, AfterValidator(_no_reference)]
EnvText = Annotated[str, _NonEmpty]
PathText = Annotated[str, _NonEmpty, BeforeValidator(_as_text), AfterValidator(_no_password)]
Paths = Annotated[
    tuple[PathText, ...], Field(strict=False, min_length=1), BeforeValidator(_as_list)
]
Names = Annotated[tuple[Text, ...], Field(strict=False), BeforeValidator(_as_list)]
Scalar = bool | int | float | EnvText
Labels = Annotated[
    dict[bool | int | float | Text, Annotated[float, AfterValidator(finite)]],
    AfterValidator(_finite_keys),
]
Options = dict[Text, Scalar]
Params = dict[Text, Annotated[Any, AfterValidator(plain)]]


class Section(BaseModel):
    """A group of keys: frozen, without unknown keys, without conversions, and secret in its repr.

    Examples
    --------
    >>> from sparkml_lsml.jobs.config import InputConfig
    >>> InputConfig(format="csv", path=("x",), options={"password": "abc"})
    InputConfig(format='csv', path=['x'], options={'password': '***'})
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, validate_default=False
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name in type(self).model_fields:
            if name in self.model_fields_set:
                value = getattr(self, name)
                shown = isinstance(value, Section) or _holds_sections(value)
                yield (
                    name,
                    value if shown else redaction.public(value, options=name == "options"),
                )


def _holds_sections(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, Section) for item in value)
