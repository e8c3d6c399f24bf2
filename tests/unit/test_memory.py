"""What many coefficients take of memory, beside what there is; containers are made up."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparkml_lsml.errors import DataError
from sparkml_lsml.spark.training import memory
from sparkml_lsml.spark.training.memory import check_memory, free_memory, overhead

Patch = pytest.MonkeyPatch
MILLION = 1_000_000


def context(master: str, **settings: str) -> Any:
    conf = {f"spark.executor.{key}": value for key, value in settings.items()}
    return SimpleNamespace(master=master, _conf=conf)


def test_a_sum_that_no_worker_can_return() -> None:
    """PySpark's frames have a length of 32 bits with a sign: less than 2 GiB."""
    most = memory.LARGEST // 8
    with pytest.raises(DataError, match=f"{most + 1:,} coefficients: expected at most {most:,}"):
        check_memory(context("yarn"), "LinearSVC", most + 1, 1)
    assert 8 * most < 2**31 - 1


def test_a_driver_without_the_memory(monkeypatch: Patch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 6 * 10**9)
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        check_memory(context("local[2]"), "LinearSVC", 19 * MILLION, 1)
        assert caplog.text == ""
        check_memory(context("local[2]"), "LinearSVC", 7 * MILLION, 3)
    assert "for 21,000,000 coefficients" in caplog.text
    assert "spark.driver.memoryOverhead" in caplog.text


@pytest.mark.parametrize(
    ("sc", "expected"),
    [
        (context("local[2]"), None),
        (context("spark://host:7077"), None),
        (context("yarn", memory="2g"), 384 * 2**20),
        (context("yarn", memory="20g"), 2 * 2**30),
        (context("k8s://https://host", memory="10g"), 4 * 2**30),
        (context("yarn", memory="10g", memoryOverheadFactor="0.3"), 3 * 2**30),
        (context("yarn", memory="10g", memoryOverhead="512"), 512 * 2**20),
    ],
)
def test_overheads_are_those_of_spark(sc: Any, expected: int | None) -> None:
    """``max(384 MiB, factor x heap)``, from Spark's pages on YARN and Kubernetes."""
    assert overhead(sc) == expected


def test_workers_without_the_memory(monkeypatch: Patch, caplog: pytest.LogCaptureFixture) -> None:
    """Four vectors a task: of 10 million coefficients 0.32 GB, four times that in 2 GiB."""
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    with caplog.at_level(logging.WARNING, "sparkml_lsml"):
        check_memory(context("yarn", memory="20g", cores="4"), "fit", 10 * MILLION, 1)
        assert caplog.text == ""
        check_memory(context("yarn", memory="20g", cores="8"), "fit", 10 * MILLION, 1)
    assert "raise spark.executor.memoryOverhead" in caplog.text


@pytest.mark.parametrize(
    ("limit", "used"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
)
def test_memory_of_a_container(tmp_path: Path, limit: str, used: str) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text("3000000\n")
    (tmp_path / used).write_text("1000000\n")
    assert free_memory(tmp_path) == 2_000_000
    (tmp_path / used).write_text("4000000\n")
    assert free_memory(tmp_path) == 0


def test_memory_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        assert free_memory(tmp_path) is None
        return
    total = int(meminfo.read_text().split()[1]) * 1024
    found = free_memory(tmp_path)
    assert found is not None
    assert 0 < found <= total
