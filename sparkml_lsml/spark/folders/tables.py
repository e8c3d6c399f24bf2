"""The tables of a saved folder, such as factors by the id of a user: what its metadata say of them.

Executors write and read their rows, in any number of files. Everything here runs without Spark.
"""

import re
from typing import Any

from sparkml_lsml.errors import PersistenceError, shown

MAX_TABLES, MAX_COLUMNS = 16, 64
SCALARS = ("boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "string", "binary")
TYPES = (*SCALARS, *(f"array<{kind}>" for kind in SCALARS))
"""Types of columns, by Spark's names. Files of these are the same in every session."""

Schema = list[list[str]]
"""Name and type of each column."""
Declared = dict[str, Any]
"""By the name of a table its ``schema``, its number of ``rows`` and their ``checksum``."""

_NAME = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_CHECKSUM = re.compile(r"-?\d{1,38}")


def check_schema(table: str, schema: Any) -> Schema:
    """Refuse columns that no table of a model has.

    Raises
    ------
    PersistenceError

    Examples
    --------
    >>> check_schema("users", [["id", "string"], ["factors", "array<float>"]])
    [['id', 'string'], ['factors', 'array<float>']]
    """
    good = isinstance(schema, list) and 1 <= len(schema) <= MAX_COLUMNS
    good = good and all(
        isinstance(column, list) and len(column) == 2 and all(isinstance(c, str) for c in column)
        for column in schema
    )
    if not good:
        raise PersistenceError(
            f"has a table '{table}' of the schema {shown(schema)}, expected name and type of 1 to "
            f"{MAX_COLUMNS} columns"
        )
    for name, kind in schema:
        if not _NAME.fullmatch(name) or kind not in TYPES:
            raise PersistenceError(
                f"has a table '{table}' with a column {shown(name)} of type {shown(kind)}, "
                f"expected a plain name, and one of {', '.join(SCALARS)} or an array of these"
            )
    # Spark tells names apart by their letters alone
    if len({name.lower() for name, _ in schema}) != len(schema):
        raise PersistenceError(f"has a table '{table}' that names a column twice")
    checked: Schema = schema
    return checked


def check_declared(declared: Declared) -> None:
    """Refuse what metadata say of tables if no save has written it.

    Raises
    ------
    PersistenceError
    """
    if len(declared) > MAX_TABLES:
        raise PersistenceError(f"names {len(declared):,} tables, expected at most {MAX_TABLES}")
    for name, entry in declared.items():
        # it becomes part of a path; a folder "metadata" is that of a saved part
        if not _NAME.fullmatch(name) or name.lower() == "metadata":
            raise PersistenceError(f"has a table named {shown(name)}, expected a plain name")
        if not isinstance(entry, dict) or entry.keys() != {"schema", "rows", "checksum"}:
            raise PersistenceError(
                f"says {shown(entry)} of table '{name}', expected its schema, rows and checksum"
            )
        check_schema(name, entry["schema"])
        rows, checksum = entry["rows"], entry["checksum"]
        if type(rows) is not int or rows < 0:
            raise PersistenceError(f"has a table '{name}' of {shown(rows)} rows")
        if not isinstance(checksum, str) or not _CHECKSUM.fullmatch(checksum):
            raise PersistenceError(f"has a table '{name}' with the checksum {shown(checksum)}")
