"""What a split hashes of a value: the same for the same value, whatever type its file gave it.

An id is a bigint in Parquet, an int or a double where Spark infers CSV, and a text where it does
not. Spark's hash depends on the type, so rows that were trained on would be held out.
"""

from __future__ import annotations

from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegralType,
    StringType,
)

from sparkml_lsml.jobs.errors import JobError

EXACT = 2**53
"""Integers up to here have a double of their own."""

_WHOLE = r"^[+-]?[0-9]+(\.0*)?$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_LARGEST = str(2**63 - 1)

_TEXTS = (BinaryType, BooleanType, DateType, DecimalType, StringType)
_DECIDING = (*_TEXTS, DoubleType, IntegralType, VectorUDT)


def deciding(value: Column, kind: DataType, name: str) -> list[Column]:
    """What to hash of a column of ``split.by``.

    Raises
    ------
    JobError
        If values of its type are others, or have no hash, once a file has them as another type.
        Of a double the job fails, with the same advice, where it has integers beyond `EXACT`.
    """
    advice = "Read ids as bigint, decimal or text (input.schema), or name other columns"
    if not isinstance(kind, _DECIDING):
        raise JobError(
            f"split.by: the column '{name}' is of type {kind.simpleString()}, and read as another "
            "type, such as text or double, the same values would be divided otherwise; expected "
            f"whole numbers, decimals, doubles, texts, booleans or dates. {advice}"
        )
    if isinstance(kind, DoubleType):
        message = F.concat(
            F.lit(f"split.by: the column '{name}' is of type double and has the value "),
            value.cast("string"),
            F.lit(
                f": whole numbers beyond {EXACT:,} are not exact there, and read as bigint or text "
                f"the same ids would be divided otherwise. {advice}"
            ),
        )
        lost = ~F.isnan(value) & (F.abs(value) > EXACT)  # NaN is above all numbers
        value = F.when(lost, F.raise_error(message)).otherwise(value)
    return comparable(value, kind)


def comparable(value: Column, kind: DataType) -> list[Column]:
    """A value as columns of which at most one is not null, which is all that a hash sees of it.

    These are a bigint for whole numbers, as which a text of digits counts, with zeros before or
    behind them; a double for other numbers; and a text. NaN and empty texts are null, as missing
    ids are in other files. Two ids that are taken for one, such as 7 and 007, only stay together.
    Types that no file changes, and those of columns that nobody has named, are as they are.
    """
    if isinstance(kind, IntegralType):
        return [value.cast("bigint")]
    if isinstance(kind, FloatType):
        value = value.cast("string").cast("double")  # 0.1 is to be that of a text
    if isinstance(kind, FloatType | DoubleType):
        return list(_of_number(value))
    if isinstance(kind, VectorUDT):
        return [_of_vector(value)]
    if not isinstance(kind, _TEXTS):
        return [value]
    text = F.nullif(F.trim(value.cast("string")), F.lit(""))
    # casts under `when`: in ANSI mode they fail for other texts
    digits = F.when(text.rlike(_WHOLE), F.regexp_replace(text, r"^\+|\.0*$", ""))
    digits = F.regexp_replace(digits, r"^(-?)0+(?=[0-9])", "$1")
    size = F.regexp_replace(digits, "-", "")
    long = F.length(size) < len(_LARGEST)
    long |= (F.length(size) == len(_LARGEST)) & (size <= _LARGEST)
    number = F.when(digits.isNull() & text.rlike(_NUMBER), text.cast("double"))
    whole, fraction = _of_number(number)
    return [
        F.coalesce(F.when(long, digits.cast("bigint")), whole),
        fraction,
        F.when(digits.isNull() & number.isNull(), text).when(~long, digits),
    ]


def _of_vector(value: Column) -> Column:
    """Places and numbers of a vector that are not 0, be it dense or sparse."""
    vector = F.unwrap_udt(value)
    entries = F.transform(
        vector["values"],
        lambda entry, k: F.struct(
            F.coalesce(F.get(vector["indices"], k), k).alias("place"), entry.alias("value")
        ),
    )
    return F.filter(entries, lambda entry: entry["value"] != 0.0)


def _of_number(value: Column) -> tuple[Column, Column]:
    """A double as a bigint where it is whole and exact, and as itself elsewhere."""
    # under `when`: in ANSI mode floor fails where the result is no bigint
    whole = F.when(F.abs(value) <= EXACT, value == F.floor(value)).otherwise(False)
    return F.when(whole, value.cast("bigint")), F.when(~whole & ~F.isnan(value), value)
