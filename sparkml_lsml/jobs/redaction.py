"""Keeping secrets out of everything a job shows: ``${env:NAME}`` references and redaction."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sparkml_lsml.errors import PASSWORD_IN_URI, without_secrets

MASK = "***"

_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(
    r"(?i)([\w.\-]*(?:passw(?:or)?d|pwd|secret|token|credentials?|\bsig|signature|(?:access|account|api|secret)"
    r"[._-]?key)\s*=\s*)([^\s;&,'\")]+)"
)
_SECRET_KEY = re.compile(
    r"(?i)passw|\bpwd\b|secret|token|credential|(access|account|api|private|client|sas)[._-]?key|"
    r"encryption.*key|auth|signature|\bsas\b|\bsig\b"
)
_SHORT = 4


def has_reference(text: str) -> bool:
    """Tell whether a text refers to an environment variable.

    Examples
    --------
    >>> has_reference("s3a://${env:BUCKET}/x"), has_reference("s3a://bucket/x")
    (True, False)
    """
    return "${env:" in text


def has_password(text: str) -> bool:
    """Tell whether a text is a URI of the form ``scheme://user:password@host``.

    Examples
    --------
    >>> has_password("s3://key:secret@bucket/x"), has_password("abfss://box@account/x")
    (True, False)
    """
    return bool(PASSWORD_IN_URI.search(text))


def is_secret_key(key: str) -> bool:
    """Tell whether the value of an option of this name must not be shown.

    Examples
    --------
    >>> is_secret_key("keyStorePassword"), is_secret_key("header")
    (True, False)
    """
    return bool(_SECRET_KEY.search(key))


def resolve(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Replace every ``${env:NAME}`` by the value of the variable.

    Parameters
    ----------
    text
        Any text; without a reference it comes back as it is.
    environ
        Variables to look in; the environment of the process by default.

    Raises
    ------
    ValueError
        If a variable is not set, or a reference is malformed. The message holds names only.

    Examples
    --------
    >>> resolve("${env:BUCKET}/train", {"BUCKET": "s3a://data"})
    's3a://data/train'
    """
    variables = os.environ if environ is None else environ

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"'{match[0]}' is no reference to an environment variable; "
                "write ${env:NAME}, NAME of letters, digits and _"
            )
        if name not in variables:
            raise ValueError(
                f"the environment variable {name} is not set; set it before the job starts"
            )
        return variables[name]

    if has_reference(_REFERENCE.sub("", text)):
        raise ValueError("'${env:' is not closed; write ${env:NAME}")
    return _REFERENCE.sub(value, text)


def public(value: Any, *, options: bool = False) -> Any:
    """Copy a tree of plain values with its secrets masked; references stay references.

    Parameters
    ----------
    value
        Dicts, lists, tuples and scalars, as in a configuration.
    options
        Whether the value holds options of a reader or writer. Only there does a name such as
        ``password`` make its value a secret: elsewhere it would hide ``minTokenLength: 3``.

    Examples
    --------
    >>> public({"path": "ftp://me@host/x", "options": {"password": "abc", "header": True}})
    {'path': 'ftp://***@host/x', 'options': {'password': '***', 'header': True}}
    """
    if isinstance(value, Mapping):
        return {
            name: MASK
            if options and is_secret_key(str(name)) and not _is_reference(item)
            else public(item, options=options or name == "options")
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [public(item, options=options) for item in value]
    if isinstance(value, str):
        return _ASSIGNMENT.sub(rf"\g<1>{MASK}", without_secrets(value))
    return value


class Redactor:
    """Removes the secrets of one configuration from any text.

    Parameters
    ----------
    tree
        The configuration as plain values, with its references unresolved.
    environ
        Variables to look in; the environment of the process by default.

    Examples
    --------
    >>> redact = Redactor({"path": "${env:PLACE}/x"}, {"PLACE": "/mnt/tenant-7"})
    >>> redact("cannot read /mnt/tenant-7/x nor ftp://me:abc@host/y")
    'cannot read ${env:PLACE}/x nor ftp://***@host/y'
    """

    def __init__(self, tree: Any = None, environ: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environ is None else environ
        replacements: dict[str, str] = {}
        for secret, text in _texts(tree):
            for match in _REFERENCE.finditer(text):
                value = variables.get(match[1], "")
                replacements.update(dict.fromkeys(_spellings(value), match[0]))
            if secret and not has_reference(text):
                replacements.update(dict.fromkeys(_spellings(text), MASK))
        # The longest first: one secret may hold another.
        self._patterns = [
            (_pattern(value), shown)
            for value, shown in sorted(replacements.items(), key=lambda item: -len(item[0]))
            if value
        ]

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for pattern, shown in self._patterns:
            text = pattern.sub(lambda _, shown=shown: shown, text)  # type: ignore[misc]
        text = without_secrets(text)
        return _ASSIGNMENT.sub(lambda match: match[1] + MASK, text)


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def _texts(tree: Any, *, options: bool = False, secret: bool = False) -> Iterator[tuple[bool, str]]:
    """Walk over all scalars; with each, whether its name makes it a secret."""
    if isinstance(tree, Mapping):
        for name, item in tree.items():
            hidden = options and is_secret_key(str(name))
            yield from _texts(item, options=options or name == "options", secret=hidden)
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from _texts(item, options=options, secret=secret)
    elif tree is not None and not isinstance(tree, bool):
        yield secret, str(tree)


def _spellings(value: str) -> set[str]:
    """List the ways in which a value may appear: as it is, quoted for Python, JSON or a URI."""
    return {value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value), quote(value, safe="")}


def _pattern(value: str) -> re.Pattern[str]:
    # A short value ("1") would tear up every number in a text: there, whole words only.
    if len(value) < _SHORT:
        return re.compile(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])")
    return re.compile(re.escape(value))
