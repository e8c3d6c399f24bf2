"""Errors of the package: each says what was found, what was expected, and what to do."""

import re
from typing import Any

PASSWORD_IN_URI = re.compile(
    r"""(?ix) (?<=://) (?:
        [^/?\#\s"']* : [^/?\#\s"']*
        | [^/?\#\s"'@:\[{]+ : (?! \d{1,5} (?: [/?\#,;\s"'] | $ ) ) [^\s"'@]*
        | (?: (?<=s3://) | (?<=s3a://) | (?<=s3n://) ) [^/?\#\s"'@:\[{]+ : [^\s"'@]*
    ) @"""
)
"""What is before the host of a URI, with a password: up to the last @ before the path, or up to the
first one if there is a slash in the password. A port looks like one, but S3 has none."""

_USER = re.compile(
    r"""(?i)(?<=://)(?<!abfs://)(?<!abfss://)(?<!wasb://)(?<!wasbs://)[^/?#\s"']*@"""
)
"""A user alone; in Azure's storage it is a container, which is no secret."""

_SIGNATURE = re.compile(
    r"""(?i)([?&](?:sig|signature|x-(?:amz|goog)-(?:signature|credential|security-token))=)"""
    r"""[^&#\s"',;)\]>]+"""
)
"""What lets whoever has the URI read what is there."""


def without_secrets(text: str) -> str:
    """A path, or a message that names one, without users, passwords and signatures of its URIs.

    Examples
    --------
    >>> without_secrets("nothing at s3a://key:secret@bucket/model")
    'nothing at s3a://***@bucket/model'
    >>> without_secrets("https://account.blob.core.windows.net/box/model?sv=1&sig=secret")
    'https://account.blob.core.windows.net/box/model?sv=1&sig=***'
    """
    text = _USER.sub("***@", PASSWORD_IN_URI.sub("***@", text))
    return _SIGNATURE.sub(r"\1***", text)


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
    """A block of training rows cannot be kept: disk, address space or encryption forbid it."""


class SourceChangedError(SparkMLError):
    """Rows read again differ from those read first: the source is not deterministic."""


class BackendError(SparkMLError):
    """The Spark session, or the packages on its executors, cannot run the fit."""


class ExportError(SparkMLError, ValueError):
    """A model computes something that the other library cannot express."""


class PersistenceError(SparkMLError, ValueError):
    """A saved model cannot be read, or a path cannot be written."""
