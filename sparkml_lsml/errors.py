"""Errors of the package: each says what was found, what was expected, and what to do."""

import re
from typing import Any

_USER_INFO = re.compile(r"(?<=://)[^/?#\s\"']*@")
"""Everything between :// and the last @ before the path: user, or user:password."""


def without_secrets(text: str) -> str:
    """A path, or a message that names one, without the user and the password of its URIs.

    Examples
    --------
    >>> without_secrets("nothing at s3a://key:secret@bucket/model")
    'nothing at s3a://***@bucket/model'
    """
    return _USER_INFO.sub("***@", text)


def shown(value: Any) -> str:
    """Something that was read, as an error may quote it: on one line, and short."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}... ({len(text):,} characters)"


class SparkMLError(Exception):
    """Base class of the errors of this package; most are also the built-in error that fits."""


class DataError(SparkMLError, ValueError):
    """The training or scoring data cannot be used, for example because labels are NaN."""


class NoRowsError(DataError):
    """A frame that was to be trained on has no rows."""


class ParamError(SparkMLError, ValueError):
    """A Param has a value outside its range, or one that this combination does not support."""


class UnknownParamError(ParamError, TypeError):
    """A name that no Param has."""


class ColumnError(SparkMLError, ValueError):
    """A column is missing, already there, or of a type that cannot be used."""


class ColumnTypeError(ColumnError, TypeError):
    """A column is there, but its type cannot be used."""


class DivergedError(SparkMLError, ArithmeticError):
    """A fit ended in coefficients or an objective that are not finite."""


class DiskError(SparkMLError, OSError):
    """A block of training rows cannot be written: disk, address space or encryption forbid it."""


class SourceChangedError(SparkMLError):
    """Rows read again differ from those read first: the source is not deterministic."""


class BackendError(SparkMLError):
    """The Spark session, or the packages on its executors, cannot run the fit."""


class ExportError(SparkMLError, ValueError):
    """A model computes something that the other library cannot express."""


class PersistenceError(SparkMLError, ValueError):
    """A saved model cannot be read, or a path cannot be written."""
