"""The Spark session: its context, its settings, and what it lets one ask the JVM."""

from collections.abc import Callable
from typing import TypeVar

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.errors import BackendError
from sparkml_lsml.spark.cluster.interrupts import was_interrupted

T = TypeVar("T")


def context(dataset: DataFrame) -> SparkContext:
    """The Spark context of a frame.

    Raises
    ------
    BackendError
        If the frame belongs to a Spark Connect session, which has no context.
    """
    return classic(dataset.sparkSession)


def classic(session: SparkSession) -> SparkContext:
    """The Spark context of a session.

    Raises
    ------
    BackendError
        If it is a session of Spark Connect, which has no context.
    """
    found = getattr(session, "_sc", None)
    if not isinstance(found, SparkContext):
        raise BackendError(
            f"found a session of {type(session).__module__} (Spark Connect), which has neither "
            "RDDs nor a JVM: expected a classic session. Start one, for example with spark-submit"
        )
    return found


def setting(sc: SparkContext, name: str) -> str | None:
    """A setting of Spark; None where there is none."""
    # `getConf` copies all of them, which takes as long as a small job
    found: str | None = sc._conf.get(name)
    return found


def flag(sc: SparkContext, name: str) -> bool:
    """Whether a setting of Spark is true."""
    return (setting(sc, name) or "false").lower() == "true"


def allowed(ask: Callable[[], T], otherwise: Callable[[], T]) -> T:
    """What the JVM answers, and something else where it may not be asked.

    On shared clusters of Databricks, and those with credential passthrough, Py4J calls only methods
    on a list.
    """
    try:
        return ask()
    except Py4JError as error:
        # Py4J may lose its connection as a Ctrl-C is handled, and raises that instead
        if was_interrupted(error):
            raise
        return otherwise()


def is_local(sc: SparkContext) -> bool:
    """Whether driver and executor are one process (``local[n]``)."""
    master = sc.master or ""
    return master.startswith("local") and not master.startswith("local-cluster")
