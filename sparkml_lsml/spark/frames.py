"""What is a frame, and what is none: told before anything is asked of it."""

from typing import Any

from pyspark.sql import DataFrame

from sparkml_lsml.errors import without_secrets

CONNECT = "pyspark.sql.connect."
"""Modules of Spark Connect, whose frames `session.context` refuses where it has to."""


def check_frame(found: Any, caller: str, *, streaming: bool = False) -> None:
    """Refuse what is no DataFrame of Spark, and what is one without an end.

    Parameters
    ----------
    found : anything
    caller : str
        Whom it was given to, for the error.
    streaming : bool
        Whether a streaming frame will do.

    Raises
    ------
    TypeError
        It says what was found, and which call makes a frame of it.
    """
    if type(found).__module__.startswith(CONNECT):
        return
    if not isinstance(found, DataFrame):
        what, how = _described(found)
        raise TypeError(f"{caller}: found {what}, expected a DataFrame of Spark. {how}")
    if not streaming and found.isStreaming:
        raise TypeError(
            f"{caller}: found a streaming DataFrame, expected one with an end. To learn from its "
            "micro-batches give a sparkml_lsml.streaming.StreamingTrainer to its "
            "writeStream.foreachBatch; or write it to a table, and take that (spark.table)"
        )


def _described(found: Any) -> tuple[str, str]:
    """What something is, in words, and how a frame comes of it."""
    kind = type(found)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if found is None:
        return "None", "Make one: spark.createDataFrame(rows), spark.table(name) or spark.read"
    if isinstance(found, str):
        shown = without_secrets(repr(found))
        return (
            f"the text {shown}",
            f"Of a table or view: spark.table({shown}); of files: spark.read.parquet({shown}) and "
            "its like",
        )
    if kind.__module__.startswith("pyspark.pandas."):
        return f"a {kind.__qualname__} of pandas-on-Spark ({name})", "Call its to_spark()"
    if kind.__module__.startswith("pyspark.") and not hasattr(found, "toDF"):
        return f"a {name}", "Give the frame that it was made of"
    given = "an RDD" if kind.__module__.startswith("pyspark.") else f"a {name}"
    return (
        given,
        "Make one of it: spark.createDataFrame(it), with vectors or lists of numbers as features",
    )
