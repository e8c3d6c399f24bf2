"""What programs that tests start are given: how their JVMs start, and no settings of this one."""

from __future__ import annotations

import os
import sys

JVM_OPTIONS = os.environ.get("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
"""Rows are few and plans are many, so that time goes into starting and compiling; ``./dev/test``
adds an archive of classes to them."""


def environment(**more: str) -> dict[str, str]:
    """That of this process, without what it says of Spark, for a program with this Python."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("SPARK")}
    own = {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_SUBMIT_OPTS": JVM_OPTIONS,
    }
    return {**inherited, **own, **more}
