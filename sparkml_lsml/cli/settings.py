"""Settings of Spark that cost a fit time or room; the times are from conf/spark-defaults.conf."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from sparkml_lsml.cli.findings import Finding, Status

_INFINITE = "infinity"


@dataclass(frozen=True)
class Setting:
    """A setting, and when it is as it should be.

    Attributes
    ----------
    key, default
        Its name, and what holds where it is not set.
    good
        Whether a value costs nothing.
    cost
        What another value costs.
    better
        The value to set; empty where not setting it is best.
    since
        First release of Spark that knows it.
    """

    key: str
    default: str
    good: Callable[[str], bool]
    cost: str
    better: str = ""
    since: tuple[int, ...] = ()

    @property
    def advice(self) -> str:
        """What to do about another value."""
        remedy = f"set it to {self.better}" if self.better else "do not set it"
        return f"{self.cost}: {remedy}"


def _true(value: str) -> bool:
    return value.strip().lower() == "true"


def _false(value: str) -> bool:
    return not _true(value)


def _unset(value: str) -> bool:
    return not value


def _waits(value: str) -> bool:
    """Whether a duration such as ``3s`` or ``500ms`` is longer than nothing."""
    return not value or re.fullmatch(r"0+(\.0+)?\s*[a-z]*", value.strip().lower()) is None


SETTINGS = (
    Setting(
        "spark.python.unix.domain.socket.enabled",
        "false",
        _true,
        "over TCP each pass over the data waits some 40 ms for an acknowledgement",
        "true",
        since=(4, 1),
    ),
    Setting(
        "spark.python.worker.reuse",
        "true",
        _true,
        "each pass starts Python, imports NumPy and maps the training data anew, 0.2 s and more",
        "true",
    ),
    Setting(
        "spark.python.use.daemon",
        "true",
        _true,
        "each task starts a Python of its own, which no later pass uses again",
        "true",
    ),
    Setting(
        "spark.sql.execution.arrow.pyspark.enabled",
        "false",
        _true,
        "toPandas and createDataFrame pickle row by row instead of sending columns",
        "true",
    ),
    *(
        Setting(
            key,
            "3s" if key == "spark.locality.wait" else "",
            _waits,
            "a task whose executor is busy runs elsewhere at once, where its training data are "
            "missing and are read anew",
            "3s",
        )
        for key in (
            "spark.locality.wait",
            "spark.locality.wait.process",
            "spark.locality.wait.node",
        )
    ),
    Setting(
        "spark.io.encryption.enabled",
        "false",
        _false,
        "training data of more than some 32 MB are encrypted on local disks, which takes the "
        "package cryptography on all executors, and stay decrypted in memory outside the heap",
        "false, and encrypt the disks",
    ),
    Setting(
        "spark.executor.pyspark.memory",
        "",
        _unset,
        "it limits the address space of Python workers, in which mapped training data count: below "
        "an executor's share of the data a fit is refused",
    ),
)
_SHOWN_UNSET = {"spark.locality.wait.process", "spark.locality.wait.node"}
"""Not worth a line while they are not set."""

_IDLE = Setting(
    "spark.dynamicAllocation.cachedExecutorIdleTimeout",
    _INFINITE,
    lambda value: value == _INFINITE,
    "executors with training data leave in a pause between two passes, and their rows are read "
    "anew",
)
_KILLS = {
    Setting(
        f"{where}.killOnIdleTimeout",
        "false",
        _false,
        f"a Python worker that sends nothing for as long as {where}.idleTimeoutSeconds is ended, "
        "also while it reads or computes, and after some repetitions the fit fails",
        "false",
        since=(4, 1),
    ): f"{where}.idleTimeoutSeconds"
    for where in ("spark.python.worker", "spark.sql.execution.pyspark.udf")
}
"""Each with the time without which nothing is ended."""

_TIMEOUT = "spark.python.worker.idleTimeoutSeconds"
_POOL = Setting(
    "spark.python.factory.idleWorkerMaxPoolSize",
    "",
    _unset,
    "of the idle Python workers of an executor all but so many are ended, and each pass starts "
    "others, which import NumPy and map the training data anew",
    "no less than spark.executor.cores, or do not set it",
    since=(4, 1),
)
_PROGRESS = "spark.ui.showConsoleProgress"
_PIPELINED = "spark.python.udf.pipelined.enabled"
_CORES = "spark.executor.cores"
READ = (
    *(each.key for each in SETTINGS),
    *(each.key for each in (_IDLE, _POOL, *_KILLS)),
    *_KILLS.values(),
    _PROGRESS,
    _PIPELINED,
    _CORES,
    "spark.dynamicAllocation.enabled",
)
"""The keys that `check_settings` looks at."""


def check_settings(conf: Mapping[str, str], version: tuple[int, ...]) -> Iterator[Finding]:
    """Judge the settings of a session.

    Parameters
    ----------
    conf
        The settings that have a value, by key.
    version
        Release of Spark.

    Examples
    --------
    >>> bad = check_settings({"spark.python.worker.reuse": "false"}, (4, 3))
    >>> [finding.name for finding in bad if finding.status == "warning"][:2]
    ['spark.python.unix.domain.socket.enabled', 'spark.python.worker.reuse']
    """
    for setting in SETTINGS:
        if version >= setting.since and (setting.key in conf or setting.key not in _SHOWN_UNSET):
            yield _judge(setting, conf)
    if _true(conf.get("spark.dynamicAllocation.enabled", "false")):
        yield _judge(_IDLE, conf)
    for kills, timeout in _KILLS.items():
        limit = conf.get(timeout) or conf.get(_TIMEOUT) or "0"
        if version >= kills.since and kills.key in conf and _waits(limit):
            yield _judge(kills, conf)
    if version >= _POOL.since and _POOL.key in conf:
        cores = int(conf.get(_CORES) or 0)
        enough = replace(_POOL, good=lambda value: 0 < cores <= int(value))
        yield _judge(enough, conf)
    if _true(conf.get(_PIPELINED, "false")):
        found = "true; fits and transform take as long as without it"
        yield Finding("Settings", _PIPELINED, Status.OK, found)
    if _true(conf.get(_PROGRESS, "false")):
        # Right in a terminal: no more than a hint.
        found = "true; in a log file its bars overwrite what is logged"
        yield Finding("Settings", _PROGRESS, Status.OK, found)


def _judge(setting: Setting, conf: Mapping[str, str]) -> Finding:
    value = conf.get(setting.key, setting.default)
    found = value if setting.key in conf else f"not set ({setting.default or 'none'})"
    if setting.good(value):
        return Finding("Settings", setting.key, Status.OK, found)
    return Finding("Settings", setting.key, Status.WARNING, found, setting.advice)
