"""How much of the executors' local disks a fit leaves free."""

from pyspark.sql import SparkSession

from sparkml_lsml.engine.blocks.disks import RESERVE
from sparkml_lsml.errors import ParamError
from sparkml_lsml.spark.cluster.session import classic, is_local

SHARED = 0.1
"""Part of the disks of a cluster, where others work too. Below that YARN takes a folder out of
service, and with its last one the machine, and Kubernetes evicts pods."""


def disk_reserve(session: SparkSession) -> float:
    """The part of each local disk that blocks leave free; of the user's own machine none.

    Raises
    ------
    ParamError
        If the setting is not a part.
    """
    found = session.conf.get(RESERVE, "")
    if not found:
        return 0.0 if is_local(classic(session)) else SHARED
    try:
        part = float(found)
    except ValueError:
        part = -1.0
    if not 0.0 <= part < 1.0:
        raise ParamError(
            f"{RESERVE} is {found!r}: expected the part of each local disk that training rows "
            f"leave free, at least 0 and less than 1; without it {SHARED} on a cluster"
        )
    return part
