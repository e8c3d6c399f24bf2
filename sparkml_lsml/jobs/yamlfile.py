"""A strict reader of YAML: plain values only, every key once, and the line of each known."""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import Any

import yaml

from sparkml_lsml.jobs.errors import ConfigError, Path, Problem

_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_CORE + name for name in ("map", "seq", "str", "int", "float", "bool", "null")}


class Document:
    """A YAML file as plain values, with the line on which each value stands.

    Attributes
    ----------
    source
        Name of the file as it was given.
    tree
        The file's mapping.
    lines
        Line, counted from 1, of the key that each path names.
    """

    def __init__(self, source: str, tree: dict[Any, Any], lines: dict[Path, int]) -> None:
        self.source = source
        self.tree = tree
        self.lines = lines

    def locate(self, path: Path) -> int | None:
        r"""Find the line of a key, or of the nearest key around it that the file has.

        Examples
        --------
        >>> parse("a:\n  b: 1").locate(("a", "c"))
        1
        """
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return self.lines.get(())

    def error(self, problems: list[Problem]) -> ConfigError:
        """Build an error in which every problem has its line, in the order of the file."""
        located = [Problem(p.path, p.message, p.line or self.locate(p.path)) for p in problems]
        return ConfigError(sorted(located, key=lambda p: p.line or 0), self.source)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2.

    PyYAML follows YAML 1.1, in which ``1e-6`` is a text, ``no`` is false, ``010`` is 8 and ``1:30``
    is 90: each of these would turn into a silent mistake in a job.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Refused before they are followed: nested aliases grow without bound, or form a ring.
        event = self.peek_event()
        anchored = getattr(event, "anchor", None) is not None
        if isinstance(event, yaml.AliasEvent) or anchored:
            raise _RefusedError(
                event.start_mark.line + 1,
                "a value that begins with & or * (an anchor or alias) is not supported; "
                "repeat the value, or put a text in quotes",
            )
        return super().compose_node(parent, index)


# Its own table: the base class's is shared by all loaders of the process.
_Loader.yaml_implicit_resolvers = {}
for _tag, _expression, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_CORE + _tag, re.compile(rf"^(?:{_expression})$"), list(_first))
_Loader.add_constructor(_CORE + "int", lambda _, node: int(node.value))
_Loader.add_constructor(
    _CORE + "float",
    lambda _, node: float(re.sub(r"\.(inf|nan)$", r"\1", node.value, flags=re.IGNORECASE)),
)


class _RefusedError(Exception):
    def __init__(self, line: int, message: str, path: Path = ()) -> None:
        self.problem = Problem(path, message, line)
        super().__init__(message)


def read(source: str) -> Document:
    """Read a YAML file that holds one mapping.

    Parameters
    ----------
    source
        Path of a local file in UTF-8.

    Raises
    ------
    ConfigError
        If the file cannot be read or is not plain YAML; see `parse`.
    """
    try:
        text = FilePath(source).read_text(encoding="utf-8-sig")
    except OSError as error:
        advice = "give the path of a local YAML file"
        raise ConfigError(
            [Problem((), f"cannot be read ({error.strerror or error}); {advice}")], source
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem((), "is not a text in UTF-8")], source) from error
    return parse(text, source)


def parse(text: str, source: str = "<text>") -> Document:
    r"""Read YAML text that holds one mapping.

    Parameters
    ----------
    text
        The YAML.
    source
        Name used in errors.

    Raises
    ------
    ConfigError
        If it is not YAML, holds several documents, anything but plain values (a tag such as
        ``!!python/object`` is never followed), an anchor, or a key twice.

    Examples
    --------
    >>> parse("a: 1e-6\nb: [x, no]").tree
    {'a': 1e-06, 'b': ['x', 'no']}
    """
    lines: dict[Path, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise _RefusedError(1, "the file is empty; expected a mapping of keys")
        if not isinstance(node, yaml.MappingNode):
            raise _RefusedError(_line(node), "expected a mapping of keys at the top of the file")
        tree = _construct(loader, node, (), lines)
    except _RefusedError as refusal:
        raise ConfigError([refusal.problem], source) from None
    except yaml.MarkedYAMLError as error:
        # Only the problem and its line: a snippet of the file could hold a secret.
        mark = error.problem_mark or error.context_mark
        problem = Problem(
            (), f"not valid YAML: {error.problem or error.context}", mark.line + 1 if mark else None
        )
        raise ConfigError([problem], source) from None
    except yaml.YAMLError as error:
        message = f"not valid YAML: {getattr(error, 'reason', type(error).__name__)}"
        raise ConfigError([Problem((), message)], source) from None
    except RecursionError:
        raise ConfigError([Problem((), "nested too deeply")], source) from None
    return Document(source, tree, lines)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _construct(loader: _Loader, node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    if node.tag not in _PLAIN_TAGS:
        known = node.tag.startswith(_CORE)
        name = f"the tag !!{node.tag.removeprefix(_CORE)}" if known else "a tag of one's own"
        raise _RefusedError(
            _line(node), f"{name} is refused: a job file holds plain values only", path
        )
    lines.setdefault(path, _line(node))
    if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
        return [
            _construct(loader, item, (*path, index), lines) for index, item in enumerate(node.value)
        ]
    if isinstance(node, yaml.MappingNode) and node.tag == _CORE + "map":
        return _construct_mapping(loader, node, path, lines)
    if not isinstance(node, yaml.ScalarNode):
        raise _RefusedError(_line(node), "its tag does not fit the value", path)
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, KeyError):
        name = node.tag.removeprefix(_CORE)
        raise _RefusedError(_line(node), f"the value is no {name}", path) from None


def _construct_mapping(
    loader: _Loader, node: yaml.MappingNode, path: Path, lines: dict[Path, int]
) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    first: dict[Any, int] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _RefusedError(_line(key_node), "a key must be a plain text or number", path)
        key = _construct(loader, key_node, (*path, key_node.value), {})
        here: Path = (*path, key if isinstance(key, str) else key_node.value)
        if key in first:
            raise _RefusedError(
                _line(key_node),
                f"the key appears twice, on lines {first[key]} and {_line(key_node)}; keep one",
                here,
            )
        first[key] = lines[here] = _line(key_node)
        result[key] = _construct(loader, value_node, here, lines)
    return result
