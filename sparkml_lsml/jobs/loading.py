"""From a YAML file to a checked configuration, or an error with key, line and advice."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from sparkml_lsml.jobs import redaction, yamlfile
from sparkml_lsml.jobs.base import Section
from sparkml_lsml.jobs.errors import Path, Problem, one_line

C = TypeVar("C", bound=Section)

_EXPECTED = {
    "string_type": "a text",
    "string_sub_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "tuple_type": "a list",
    "list_type": "a list",
}


def read_config(kind: type[C], source: str | os.PathLike[str]) -> tuple[C, yamlfile.Document]:
    """Read and check a configuration.

    Parameters
    ----------
    kind
        `TrainConfig`, `TuneConfig`, `ScoreConfig` or `EvaluateConfig`.
    source
        Path of a local YAML file.

    Returns
    -------
    tuple
        The configuration, its references to the environment unresolved, and the file's
        `Document`, which knows the line of every key.

    Raises
    ------
    ConfigError
        With every problem found: no YAML, a key unknown, missing, given twice or of the wrong
        type, an environment variable that is not set.
    """
    document = yamlfile.read(os.fspath(source))
    return check(kind, document), document


def load_config(kind: type[C], source: str | os.PathLike[str]) -> C:
    """Read and check a configuration; see `read_config`.

    Examples
    --------
    >>> from sparkml_lsml.jobs import TrainConfig, load_config
    >>> load_config(TrainConfig, "conf/train-regression.yaml").pipeline.estimator.class_name
    'LinearRegression'
    """
    return read_config(kind, source)[0]


def check(kind: type[C], document: yamlfile.Document) -> C:
    """Turn a document into a configuration.

    Raises
    ------
    ConfigError
        As in `read_config`.
    """
    try:
        config = kind.model_validate(document.tree)
    except ValidationError as error:
        raise document.error([*_problems(kind, document.tree, error)]) from None
    problems = environment_problems(config)
    if problems:
        raise document.error(
            [Problem(_real_path(document.tree, p.path), p.message) for p in problems]
        )
    return config


def environment_problems(config: Section) -> list[Problem]:
    """List the references to the environment that cannot be resolved, or hide a password."""
    problems = []
    for path, text in _texts(config.model_dump(by_alias=True), ()):
        try:
            value = redaction.resolve(text)
        except ValueError as error:
            problems.append(Problem(path, str(error)))
            continue
        if "options" not in path and redaction.has_password(value):
            message = f"resolved, '{text}' holds a password; give it to Spark's Hadoop settings"
            problems.append(Problem(path, message))
    return problems


def import_problems(config: Any) -> list[Problem]:
    """Import the modules that a configuration of a job names, and list those that cannot be."""
    problems = []
    for number, name in enumerate(config.imports):
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            # a script without a guard ends the process, and with it the job, as if all were well
            message = (
                f"cannot import '{name}' ({one_line(error)}): expected a module that Python finds. "
                "Install it, or give its file to spark-submit with --py-files"
            )
            problems.append(Problem(("imports", number), message))
    return problems


def nearest(name: str, known: Iterable[str]) -> str:
    """Phrase a guess at what a mistyped name was meant to be; empty if nothing is near.

    Examples
    --------
    >>> nearest("regparm", ["regParam", "maxIter"])
    "; did you mean 'regParam'?"
    """
    folded = {item.lower().replace("_", ""): item for item in known}
    close = difflib.get_close_matches(name.lower().replace("_", ""), folded, n=1, cutoff=0.6)
    return f"; did you mean '{folded[close[0]]}'?" if close else ""


def section_in(annotation: Any) -> type[Section] | None:
    """Find the section that an annotation such as ``tuple[StageConfig, ...]`` holds."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = (section_in(argument) for argument in get_args(annotation))
    return next((item for item in found if item is not None), None)


def keys_of(kind: type[Section]) -> dict[str, Any]:
    """Map every key of a section, as it is written in YAML, to its field."""
    return {field.alias or name: field for name, field in kind.model_fields.items()}


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def _problems(kind: type[Section], tree: Any, error: ValidationError) -> Iterator[Problem]:
    seen: set[tuple[Path, str]] = set()
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "too_short" and any(
            len(other["loc"]) > len(detail["loc"])
            and other["loc"][: len(detail["loc"])] == detail["loc"]
            for other in details
        ):
            continue  # Only short because the items that were given are wrong.
        path = _real_path(tree, detail["loc"], missing=detail["type"] == "missing")
        if detail["type"] == "sparkml_lsml" and detail["ctx"].get("key"):
            path = (*path, detail["ctx"]["key"])
        message = _message(kind, path, dict(detail))
        # Each member of a union reports its own mismatch of one and the same value.
        if (path, message) not in seen:
            seen.add((path, message))
            yield Problem(path, message)


def _real_path(tree: Any, location: Path, *, missing: bool = False) -> Path:
    """Keep of Pydantic's location what the file has: unions and keys add parts of their own."""
    path: list[int | str] = []
    for part in location:
        if isinstance(tree, dict) and (part in tree or (missing and part == location[-1])):
            tree = tree.get(part)
        elif isinstance(tree, dict) and any(str(name) == part for name in tree):
            tree = next(item for name, item in tree.items() if str(name) == part)
        elif isinstance(tree, list | tuple) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        elif isinstance(tree, str) and part == 0:
            continue  # a single text where a list may stand
        else:
            break
        path.append(part)
    return tuple(path)


def _message(kind: type[Section], path: Path, detail: dict[str, Any]) -> str:
    error = detail["type"]
    found = _found(detail.get("input"))
    if error == "sparkml_lsml":
        return str(detail["ctx"]["message"])
    if error == "extra_forbidden":
        section = _section_at(kind, path[:-1])
        known = [*keys_of(section)] if section else []
        guess = nearest(str(path[-1]), known) or ";"
        return f"unknown key{guess} known here: {', '.join(known)}"
    if error == "missing":
        section = _section_at(kind, path[:-1])
        description = (keys_of(section)[str(path[-1])].description or "") if section else ""
        return f"this key is required: {description}".rstrip(": ")
    if error == "literal_error":
        choices = detail["ctx"]["expected"]
        text = detail.get("input")
        guess = (
            nearest(text, choices.replace("'", "").replace(" or ", ", ").split(", "))
            if (isinstance(text, str))
            else ""
        )
        return f"expected {choices}, found {found}{guess}"
    if "[key]" in detail["loc"]:
        return f"its keys should be texts or numbers, found {found}"
    if error in _EXPECTED:
        expected = _EXPECTED[error]
        if path and _is_scalar_union(kind, path):
            expected = "a text, a number, or true or false"
        return f"expected {expected}, found {found}"
    if error == "string_too_short":
        return "is empty; give a text"
    if error == "too_short":
        return "is empty; give at least one"
    return f"{detail['msg'].replace('Input should', 'should')}, found {found}"


def _is_scalar_union(kind: type[Section], path: Path) -> bool:
    return len(path) >= 2 and path[-2] == "options"


def _section_at(kind: type[Section], path: Path) -> type[Section] | None:
    section: type[Section] | None = kind
    named = False  # whether the next part is a name that the file gives to a section
    for part in path:
        if isinstance(part, int) or section is None:
            continue
        if named:
            named = False
            continue
        field = keys_of(section).get(part)
        annotation: Any = field.annotation if field is not None else None
        section, named = section_in(annotation), get_origin(annotation) is dict
    return section


def _found(value: Any) -> str:
    """Name a value and its type; not the text of an option, which could be a secret."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        shown = redaction.public(value)
        return f"the text '{shown}'" if len(shown) <= 60 else "a text"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
