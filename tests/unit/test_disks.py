"""The local folders of an executor: which one takes a block, and what stays free on its disk."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparkml_lsml.engine.blocks import Block, disks
from sparkml_lsml.engine.blocks.disks import (
    FREE_SPACE_KEPT,
    RESERVE,
    chosen_folder,
    fit_folder,
    room,
    write_new,
)
from sparkml_lsml.engine.blocks.files import BlockWriter
from sparkml_lsml.errors import DiskError
from sparkml_lsml.worker.packing import write_report

Usage = namedtuple("Usage", ["total", "used", "free"])
GB = 10**9


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the current folder, in which folders have the same names in each run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def an_executor(
    monkeypatch: pytest.MonkeyPatch,
    gigabytes: dict[str, float],
    on: dict[str, int] | None = None,
    total: int = 0,
) -> None:
    """Let Spark name these local folders, with so much free room, of these file systems."""
    for name in gigabytes:
        Path(name).mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("SPARK_LOCAL_DIRS", ",".join(gigabytes))
    free = {name: int(number * GB) for name, number in gigabytes.items()}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(total, 0, free[str(path)]))
    devices = on or {name: number for number, name in enumerate(gigabytes)}
    monkeypatch.setattr(disks, "device", lambda path: devices[str(path)])


def spread(blocks: int, fit: str = "f00d", reserve: float = 0.0) -> Counter[str]:
    """Give how many of so many blocks each local folder gets."""
    for number in range(blocks):
        with chosen_folder(fit, reserve) as folder:
            (folder / f"{number}.partial").mkdir(parents=True)
    found: Counter[str] = Counter()
    for root in os.environ["SPARK_LOCAL_DIRS"].split(","):
        folder = fit_folder(Path(root), fit)
        found[root] = len(list(folder.iterdir())) if folder.exists() else 0
    return found


@pytest.mark.parametrize("fit", [f"fit{number}" for number in range(12)])
def test_four_folders_share_the_blocks_of_four_tasks(
    here: Path, monkeypatch: pytest.MonkeyPatch, fit: str
) -> None:
    # none has less than half of the room of another
    an_executor(monkeypatch, {"a": 100, "b": 101, "c": 60, "d": 99.5})
    assert spread(4, fit) == dict.fromkeys("abcd", 1)
    an_executor(monkeypatch, dict.fromkeys("abcd", 100))
    assert spread(8, f"{fit}, equal") == dict.fromkeys("abcd", 2)


def test_a_folder_gets_blocks_by_its_room(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_executor(monkeypatch, {"a": 100, "b": 300})
    found = spread(40)
    assert abs(found["a"] - 10) <= 1, found
    assert abs(found["b"] - 30) <= 1, found


def test_folders_of_one_disk_share_its_room(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_executor(monkeypatch, {"a": 100, "b": 100, "c": 100}, on={"a": 1, "b": 1, "c": 2})
    found = spread(40)
    for name, expected in {"a": 10, "b": 10, "c": 20}.items():
        assert abs(found[name] - expected) <= 1, found


def test_a_disk_without_room_above_the_reserve_gets_no_block(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of 1,000 GB a tenth is kept: all of a, and 1 GB is left of b
    an_executor(monkeypatch, {"a": 90, "b": 101, "c": 900}, total=1000 * GB)
    assert spread(4, reserve=0.1) == {"a": 0, "b": 0, "c": 4}
    # where no disk has any, one is taken all the same: writing to it says what is missing
    an_executor(monkeypatch, {"a": 90, "b": 99}, total=1000 * GB)
    assert sum(spread(1, "full", 0.1).values()) == 1


def test_executors_of_one_machine_do_not_begin_with_the_same_disk(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: Counter[str] = Counter()
    for executor in range(60):
        free = {f"disk{n}/blockmgr-{executor}": 100.0 + 0.01 * n for n in range(12)}
        an_executor(monkeypatch, free)
        chosen += Counter(path.split("/")[0] for path in spread(1).elements())
    # 5 each in the mean; of 60 that choose at random one in a thousand leaves out three of twelve
    assert len(chosen) >= 10, chosen
    assert max(chosen.values()) <= 15, chosen


def test_tasks_choose_one_after_another(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_executor(monkeypatch, {"a": 100, "b": 100})
    other = os.open("a", os.O_RDONLY)
    try:
        with chosen_folder("f00d", 0.0), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


def test_a_file_system_without_locks_takes_blocks(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    an_executor(monkeypatch, {"a": 100, "b": 100})
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert spread(2) == {"a": 1, "b": 1}


def test_what_stays_free_is_a_part_of_the_disk_and_never_less_than_spark_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for total, reserve, kept in (
        (50 * GB, 0.1, 5 * GB),
        (50 * GB, 0.0, FREE_SPACE_KEPT),
        (FREE_SPACE_KEPT, 0.1, FREE_SPACE_KEPT),
    ):
        usage = Usage(total, 0, 7)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        assert room(Path("any"), reserve) == (7, kept)


def test_a_tenth_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block(np.ones((100, 4)), np.ones(100))
    writer = BlockWriter(tmp_path / "fit", "float64", weighted=False, reserve=0.1)
    left = 10 * GB + block.nbytes
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 * GB, 0, left))
    writer.append(block)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 * GB, 0, left - 1))
    with pytest.raises(DiskError, match="no room for training rows") as caught:
        writer.append(block)
    for part in (f"{left - 1:,} are free", "10,000,000,000 bytes are kept", RESERVE):
        assert part in str(caught.value)
    files = writer.finish()
    with pytest.raises(DiskError, match=f"10,000,000,000 bytes are kept.*{RESERVE}"):
        write_report(files, bytes(block.nbytes + 1), reserve=0.1)


def test_what_is_written_was_not_there_before(tmp_path: Path) -> None:
    """Nor does a link lead a report somewhere else."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    link = tmp_path / "link"
    link.symlink_to(victim)
    for path in (victim, link):
        with pytest.raises(FileExistsError):
            write_new(path, b"lost")
    writer = BlockWriter(tmp_path / "fit", "float64", weighted=False)
    writer.append(Block(np.ones((3, 1)), np.ones(3)))
    files = writer.finish()
    (Path(files.folder) / "report").symlink_to(victim)
    with pytest.raises(DiskError) as caught:
        write_report(files, b"lost")
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert victim.read_bytes() == b"kept"
