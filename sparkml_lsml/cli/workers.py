"""What `doctor` makes of the reports of Python workers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sparkml_lsml.cli.findings import Finding, Status, gigabytes, release
from sparkml_lsml.cli.machine import REQUIRED
from sparkml_lsml.display import text

Report = Mapping[str, Any]
"""As `sparkml_lsml.cli.probe.look` returns it."""

LEAST_FREE, LITTLE_FREE = 10**9, 10 * 10**9
"""Bytes of a local disk: with less than the first a fit of any size will fail."""
SLOW_DISK = 100e6
"""Bytes a second."""
_NETWORK = re.compile(r"nfs|cifs|smb|fuse|ceph|gluster|lustre|afs|9p|beegfs")
_MEMORY = ("tmpfs", "ramfs")
_HEAP_SHARE = 0.75
_SHIP = "or ship an environment with spark.archives (venv-pack, conda-pack)"


def check_workers(
    reports: Sequence[Report], driver: Mapping[str, str], conf: Mapping[str, str], *, local: bool
) -> Iterator[Finding]:
    """Compare the workers with the driver, and look at their threads, memory and disks.

    Parameters
    ----------
    reports
        At least one.
    driver
        Versions on the driver: ``python``, ``numpy`` and so on; packages it lacks are not there.
    conf
        Settings of the session.
    local
        Whether the workers run on the driver's machine, in which case nothing is shipped to them.
    """
    advice = f"let PYSPARK_PYTHON name Python {driver['python']} there, {_SHIP}"
    yield _compare("Python", reports, lambda r: r["python"], driver["python"], advice)
    for name in REQUIRED:
        if name != "pyspark":  # Spark brings its own to the workers
            version = driver.get(name, "")
            same = ".".join(version.split(".")[:2])
            wanted = f"'{name}=={same}.*'" if same else name
            advice = f"in the workers' Python: pip install {wanted}, {_SHIP}"
            yield _compare(name, reports, _version_of(name), version, advice)
    yield _ours(reports, driver["sparkml_lsml"], local=local)
    without = [r for r in reports if not r["packages"]["numba"]]
    if without and driver.get("numba"):
        yield Finding(
            "Workers",
            "numba",
            Status.WARNING,
            f"missing{_where(without, reports)}",
            "large fits run in NumPy there, which is slower: pip install numba",
        )
    yield _threads(reports, int(conf.get("spark.task.cpus") or 1))
    yield from _memory(reports, conf, local=local)
    yield from _folders(reports)


def _version_of(name: str) -> Callable[[Report], str | None]:
    return lambda report: report["packages"][name]


def _compare(
    name: str,
    reports: Sequence[Report],
    version: Callable[[Report], str | None],
    expected: str,
    advice: str,
) -> Finding:
    missing = [r for r in reports if not version(r)]
    if missing:
        pythons = ", ".join(sorted({r["executable"] for r in missing}))
        found = f"missing in {pythons}{_where(missing, reports)}"
        return Finding("Workers", name, Status.PROBLEM, found, advice)
    other = [r for r in reports if release(str(version(r)))[:2] != release(expected)[:2]]
    if other and expected:
        versions = ", ".join(sorted({str(version(r)) for r in other}))
        found = f"{versions}{_where(other, reports)}, but {expected} on the driver"
        return Finding("Workers", name, Status.PROBLEM, found, advice)
    return Finding(
        "Workers", name, Status.OK, ", ".join(sorted({str(version(r)) for r in reports}))
    )


def _ours(reports: Sequence[Report], expected: str, *, local: bool) -> Finding:
    missing = [r for r in reports if not r["packages"]["sparkml_lsml"]]
    if not missing or local:
        advice = "pip install sparkml_lsml there, or give its zip to spark-submit --py-files"
        return _compare("sparkml_lsml", reports, _version_of("sparkml_lsml"), expected, advice)
    found = f"missing{_where(missing, reports)}; the first fit ships it"
    return Finding("Workers", "sparkml_lsml", Status.OK, found)


def _threads(reports: Sequence[Report], cpus: int) -> Finding:
    known = [r for r in reports if r["threads"] is not None]
    if not known:
        found = "not known: no variable sets them, and threadpoolctl is not installed"
        advice = f"set spark.executorEnv.OMP_NUM_THREADS={cpus}, the cores of a task"
        return Finding("Workers", "BLAS threads", Status.WARNING, found, advice)
    most = max(r["threads"] for r in known)
    cores = f"{cpus} core" + ("s" if cpus > 1 else "")
    if most > cpus:
        many = [r for r in known if r["threads"] > cpus]
        advice = (
            "tasks that run side by side get in each other's way: set "
            f"spark.executorEnv.OMP_NUM_THREADS={cpus}, and take OPENBLAS_NUM_THREADS and "
            "MKL_NUM_THREADS out of the environment"
        )
        found = f"{most}, and tasks of {cores}{_where(many, reports)}"
        return Finding("Workers", "BLAS threads", Status.WARNING, found, advice)
    return Finding("Workers", "BLAS threads", Status.OK, f"{most}, and tasks of {cores}")


def _memory(
    reports: Sequence[Report], conf: Mapping[str, str], *, local: bool
) -> Iterator[Finding]:
    limited = [r for r in reports if r["limit"] is not None]
    if limited:
        yield Finding(
            "Workers",
            "address space",
            Status.WARNING,
            f"limited to {gigabytes(min(r['limit'] for r in limited))}{_where(limited, reports)}",
            "mapped training data count: take away spark.executor.pyspark.memory or ulimit -v",
        )
    sizes = [r["memory"] for r in reports if r["memory"]]
    if not sizes:
        return
    key = "spark.driver.memory" if local else "spark.executor.memory"
    heap, memory = text.size_of(conf.get(key, "1g")), min(sizes)
    found = f"{gigabytes(memory)}, Java may take {gigabytes(heap)} ({key})"
    if heap > _HEAP_SHARE * memory:
        advice = f"training data live outside of Java: leave them room with a smaller {key}"
        yield Finding("Workers", "memory", Status.WARNING, found, advice)
    else:
        yield Finding("Workers", "memory", Status.OK, found)


def _folders(reports: Sequence[Report]) -> Iterator[Finding]:
    """One finding for the worst local folder, which is where a fit would fail."""
    found = [
        (_folder(folder, _where([report], reports)), folder.get("free", 0))
        for report in reports
        for folder in report["folders"]
    ]
    order = list(Status)
    if found:
        worst = max(order.index(finding.status) for finding, _ in found)
        same = [(f, free) for f, free in found if order.index(f.status) == worst]
        yield min(same, key=lambda item: item[1])[0]


def _folder(folder: Mapping[str, Any], where: str) -> Finding:
    name, at = "local disk", f"{folder['path']}{where}"
    elsewhere = "let SPARK_LOCAL_DIRS (or spark.local.dir) name a folder on a fast local disk"
    if "error" in folder:
        found = f"{at}: {folder['error']}"
        return Finding("Workers", name, Status.PROBLEM, found, elsewhere)
    speed = f", writes {folder['speed'] / 1e6:,.0f} MB/s" if folder["speed"] else ""
    kind = f", {folder['kind']}" if folder["kind"] else ""
    size = f"{gigabytes(folder['free'])} of {gigabytes(folder['total'])} free"
    found = f"{size}{kind}{speed} ({at})"
    if folder["free"] < LEAST_FREE:
        advice = f"training data are written there, 8 bytes a value: free it up, or {elsewhere}"
        return Finding("Workers", name, Status.PROBLEM, found, advice)
    if folder["kind"] in _MEMORY:
        advice = f"files there hold memory that nothing can free meanwhile: {elsewhere}"
        return Finding("Workers", name, Status.WARNING, found, advice)
    if folder["kind"] and _NETWORK.search(folder["kind"]):
        advice = f"training data would travel over the network: {elsewhere}"
        return Finding("Workers", name, Status.WARNING, found, advice)
    if folder["free"] < LITTLE_FREE:
        advice = f"enough for 1,000,000 rows of {folder['free'] // 8_000_000:,} values: {elsewhere}"
        return Finding("Workers", name, Status.WARNING, found, advice)
    if folder["speed"] and folder["speed"] < SLOW_DISK:
        advice = f"data that memory does not hold are read from it in each pass: {elsewhere}"
        return Finding("Workers", name, Status.WARNING, found, advice)
    return Finding("Workers", name, Status.OK, found)


def _where(some: Sequence[Report], every: Sequence[Report]) -> str:
    """On which machines, where there are several."""
    hosts, all_hosts = sorted({r["host"] for r in some}), {r["host"] for r in every}
    if len(all_hosts) == 1:
        return ""  # there is no other
    named = ", ".join(hosts[:3]) + (", ..." if len(hosts) > 3 else "")
    return f" on {len(hosts)} of {len(all_hosts)} machines ({named})"
