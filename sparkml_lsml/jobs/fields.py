"""A description of every key of a configuration, for ``--help``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from sparkml_lsml.jobs.base import Section
from sparkml_lsml.jobs.loading import keys_of, section_in

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "value"}
_PLURALS = {
    "text": "texts",
    "whole number": "whole numbers",
    "number": "numbers",
    "value": "values",
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True)
class Key:
    """One key of a configuration file.

    Attributes
    ----------
    path
        Where it stands, e.g. ``input.format``; ``[]`` stands for each item of a list, ``*`` for
        each name in a mapping.
    type
        What may stand there, in words.
    default
        What holds without it; "required" where there is no default.
    description
        What it does.
    """

    path: str
    type: str
    default: str
    description: str


def describe(kind: type[Section]) -> list[Key]:
    """List every key of a configuration, sections before what they hold.

    A section that appears a second time is not listed again: its type says where it was.

    Examples
    --------
    >>> from sparkml_lsml.jobs.config import SplitConfig
    >>> describe(SplitConfig)[0]
    Key(path='fraction', type='number > 0 and < 1', default='required', \
description='Share of rows that is held out.')
    """
    return [*_describe(kind, "", {})]


def _describe(kind: type[Section], prefix: str, seen: dict[type[Section], str]) -> Iterator[Key]:
    for name, field in keys_of(kind).items():
        path = prefix + name
        section = section_in(field.annotation)
        several, mapped = (get_origin(field.annotation) is kind for kind in (tuple, dict))
        if section is None:
            text = _type_of(field.annotation, field)
        elif section in seen:
            text = f"as {seen[section]}"
        else:
            text = "list of keys" if several else "mapping to keys" if mapped else "keys"
        yield Key(path, text, _default(field), field.description or "")
        if section is not None and section not in seen:
            inner = f"{path}[]" if several else f"{path}.*" if mapped else path
            seen[section] = inner
            yield from _describe(section, f"{inner}.", seen)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == () or value == {}:
        return "none"
    if isinstance(value, Section):
        return "as below"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type_of(annotation: Any, field: FieldInfo | None = None) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_of(arguments[0])
    if origin is Literal:
        return " | ".join(str(item) for item in arguments)
    if origin in (Union, UnionType):
        kinds = [_type_of(item, field) for item in arguments if item is not NoneType]
        return "text, number or true/false" if len(kinds) > 1 else kinds[0]
    if origin is tuple:
        item = _type_of(arguments[0])
        if arguments[-1] is not Ellipsis:
            return f"list of {len(arguments)} {_PLURALS[item]}"
        if item == "value":  # which could be a list itself
            return "list of values"
        return f"{item}, or list of {_PLURALS.get(item, item)}"
    if origin is dict:
        return f"mapping to {_type_of(arguments[1])}"
    bounds = " and".join(
        f" {sign} {getattr(item, name)}"
        for item in (field.metadata if field is not None else ())
        for name, sign in _SIGNS.items()
        if getattr(item, name, None) is not None
    )
    return _NAMES.get(annotation, str(annotation)) + bounds
