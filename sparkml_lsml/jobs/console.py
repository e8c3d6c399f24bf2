"""Standard error, also where `spark-submit` has put something else in its place."""

from __future__ import annotations

import os
import sys


def to_stderr(text: str) -> None:
    """Print text and a line break on standard error.

    `spark-submit` runs a Python program with both its outputs joined into its own standard output.
    There, the text goes through the JVM, which holds the real standard error.

    Parameters
    ----------
    text
        One or more lines.
    """
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        from pyspark import SparkContext

        try:
            SparkContext._ensure_initialized()
            jvm = SparkContext._jvm
            if jvm is not None:
                jvm.System.err.println(text)
                return
        except Exception as error:
            # The JVM has gone; what is to be said is still worth saying, and where it went too.
            text = f"(no standard error: {type(error).__name__})\n{text}"
    print(text, file=sys.stderr, flush=True)
