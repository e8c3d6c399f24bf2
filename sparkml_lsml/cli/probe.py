"""The program that `doctor` starts to see Spark from inside: a session, and one small job.

It runs in a process of its own, ``python -m sparkml_lsml.cli.probe``, which can be ended when Spark
does not answer. What it finds it prints as lines of JSON behind `MARK`, since Java prints to the
same place. As the functions of a main program travel to the executors by value, what `look` needs
is imported inside of it: an executor may lack any package, this one included.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

MARK = "sparkml_lsml-doctor "
PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "numba", "sparkml_lsml")
MOST_TASKS = 200
_TRIAL = 32 * 1024 * 1024


def main() -> int:
    """Print what is found, stage by stage; 1 if there was an error, which is printed too."""
    from sparkml_lsml.cli.settings import READ
    from sparkml_lsml.jobs.errors import one_line

    keys = [*READ, "spark.executor.memory", "spark.driver.memory", "spark.task.cpus"]
    started = time.perf_counter()
    try:
        from pyspark import SparkContext, __version__
        from pyspark.sql import SparkSession

        session = SparkSession.builder.appName("sparkml_lsml doctor").getOrCreate()
        sc = session.sparkContext
        conf = {key: value for key in keys if (value := sc.getConf().get(key)) is not None}
        arrow = "spark.sql.execution.arrow.pyspark.enabled"
        conf[arrow] = session.conf.get(arrow) or "false"  # releases differ in its default
        tell(
            "session",
            seconds=time.perf_counter() - started,
            spark=sc.version,
            pyspark=__version__,
            master=sc.master,
            conf=conf,
        )
        started = time.perf_counter()
        tasks = max(2, min(sc.defaultParallelism, MOST_TASKS))
        reports = sc.parallelize(range(tasks), tasks).map(look).collect()
        jsc: Any = sc._jsc
        known = int(jsc.sc().getExecutorMemoryStatus().size())  # the driver counts as one
        executors = known if known == 1 else known - 1
        tell(
            "workers",
            seconds=time.perf_counter() - started,
            executors=executors,
            reports=reports,
        )
        SparkContext.stop(sc)
    except Exception as error:
        tell("error", message=one_line(error))
        return 1
    return 0


def tell(stage: str, **facts: Any) -> None:
    """Print one line for `doctor`."""
    print(MARK + json.dumps({"stage": stage, **facts}), flush=True)


def look(_: int) -> dict[str, Any]:
    """What a Python worker is and has; runs on an executor, with nothing but Python at hand."""
    import importlib
    import os
    import shutil
    import socket
    import sys
    import time

    time.sleep(0.1)  # or the first executors would be done with all tasks before others have one
    found: dict[str, Any] = {
        "host": socket.gethostname(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "cores": os.cpu_count(),
    }
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = str(getattr(importlib.import_module(name), "__version__", "?"))
        except Exception:
            packages[name] = None
    found["packages"] = packages
    try:
        pools = importlib.import_module("threadpoolctl").threadpool_info()
        found["threads"] = max(p["num_threads"] for p in pools if p["user_api"] == "blas")
    except Exception:
        names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
        values = [os.environ[name] for name in names if os.environ.get(name, "").isdigit()]
        found["threads"] = int(values[0]) if values else None
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        found["limit"] = None if limit == resource.RLIM_INFINITY else limit
        found["memory"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError, AttributeError):
        found["limit"] = found["memory"] = None
    found["folders"] = []
    for path in filter(None, os.environ.get("SPARK_LOCAL_DIRS", "").split(",")):
        try:
            usage = shutil.disk_usage(path)
            folder = {"path": path, "free": usage.free, "total": usage.total}
            folder |= {"kind": kind_of(path), "speed": None}
            if usage.free > 10 * _TRIAL:
                folder["speed"] = speed_of(path)
            found["folders"].append(folder)
        except OSError as error:
            found["folders"].append({"path": path, "error": error.strerror or str(error)})
    return found


def kind_of(path: str) -> str | None:
    """The kind of file system that a folder is on, such as ``ext4``; None where it is not told."""
    import os

    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return None
    real = os.path.realpath(path) + "/"
    held = [(point, kind) for point, kind in mounts if real.startswith(point.rstrip("/") + "/")]
    return max(held, key=lambda mount: len(mount[0]))[1] if held else None


def speed_of(path: str) -> float:
    """Bytes a second that a folder's disk takes, from one file that is removed again."""
    import os
    import tempfile
    import time

    with tempfile.TemporaryFile(dir=path) as file:
        data = os.urandom(1024 * 1024)
        started = time.perf_counter()
        for _ in range(_TRIAL // len(data)):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return _TRIAL / max(time.perf_counter() - started, 1e-9)


if __name__ == "__main__":
    sys.exit(main())
