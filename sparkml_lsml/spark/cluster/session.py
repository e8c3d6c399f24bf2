"""The Spark session: its context, and its settings."""

from pyspark import SparkContext
from pyspark.sql import DataFrame, SparkSession

from sparkml_lsml.errors import BackendError


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


def is_local(sc: SparkContext) -> bool:
    """Whether driver and executor are one process (``local[n]``)."""
    master = sc.master or ""
    return master.startswith("local") and not master.startswith("local-cluster")
