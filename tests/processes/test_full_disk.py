"""A disk that is really full, and a real limit of the address space (case 45)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest

from sparkml_lsml.engine.blocks.block import Block
from sparkml_lsml.engine.blocks.disks import FREE_SPACE_KEPT
from sparkml_lsml.engine.blocks.files import BlockFiles, BlockWriter
from sparkml_lsml.errors import DiskError
from sparkml_lsml.worker.packing import write_report
from tests.processes.filling import BATCH, DENSE, DISK, WIDTH
from tests.programs import environment

ROOT = Path(__file__).resolve().parents[2]
MOUNT = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@"'


def cannot(why: str) -> NoReturn:
    """Skip the test, or fail where it is counted: what was not brought about was not survived."""
    if os.environ.get("SPARKML_LSML_CASES"):
        pytest.fail(f"the figures of case 45 need this test: {why}")
    pytest.skip(why)


def in_a_tmpfs(size: int, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees a small file system at ``folder``, which ends with it."""
    folder.mkdir(exist_ok=True)
    if shutil.which("unshare") is None:
        cannot("it needs unshare, to mount a small file system")
    namespace = ["unshare", "--mount", "--map-root-user", "sh", "-c", MOUNT, "sh"]
    probe = subprocess.run(
        [*namespace, "1m", str(folder), "true"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        cannot(f"this machine mounts no file system for a test: {probe.stderr.strip()}")
    return subprocess.run(
        [*namespace, str(size), str(folder), *command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what the fits of `filling` came to."""
    disk = tmp_path_factory.mktemp("full") / "disk"
    done = in_a_tmpfs(DISK, disk, sys.executable, "-m", "tests.processes.filling", str(disk))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["folder"] = str(disk)
    return found


def room(message: str) -> tuple[int, int]:
    """Bytes that are needed according to an error, and those that are free."""
    told = re.search(r": ([\d,]+) more bytes are needed, ([\d,]+) are free", message)
    assert told is not None, message
    wanted, free = (int(number.replace(",", "")) for number in told.groups())
    return wanted, free


def assert_expected(found: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "nbytes"),
    [
        ("dense", BATCH * 8 * (WIDTH + 1)),
        ("dense, held out", BATCH * (8 * (WIDTH + 1) + 4)),
        # no batch but what was written before, with the column of each number and a pointer a row
        ("dense, then sparse", DENSE * (8 + 4) * WIDTH + 8 * (DENSE + 1)),
    ],
    ids=["dense", "folds", "sparse"],
)
def test_case_45_full_disk_names_folder_and_bytes(
    fits: dict[str, Any], rows: str, nbytes: int
) -> None:
    message = fits[rows]["message"]
    assert message.startswith(f"no room for training rows in {fits['folder']}")
    wanted, free = room(message)
    assert wanted == nbytes
    assert 0 < free < wanted + FREE_SPACE_KEPT
    assert "spark.local.dir" in message
    assert fits[rows]["left"] == []
    assert_expected(fits["next fit"], fits["expected"])


@pytest.mark.slow
def test_case_45_address_space_names_setting_and_bytes(fits: dict[str, Any]) -> None:
    found = fits["memory"]
    assert found["limit"] == found["expected limit"]
    assert "bytes cannot be mapped" in found["message"]
    assert f"its address space of {found['limit']:,} bytes" in found["message"]
    assert "spark.executor.pyspark.memory" in found["message"]
    assert found["left"] == []
    assert_expected(found["next fit"], fits["expected"])


@pytest.mark.slow
def test_case_45_no_room_for_what_lies_beside_a_block(fits: dict[str, Any]) -> None:
    message = fits["report"]["message"]
    assert message.startswith(f"no room for the moments of the columns in {fits['folder']}")
    assert "use fewer partitions" in message
    assert fits["report"]["left"] == []
    assert_expected(fits["next fit"], fits["expected"])


def report_beside(folder: Path) -> tuple[BlockFiles, bytes]:
    writer = BlockWriter(folder / "fit", "float64", False)
    writer.append(Block(np.ones((3, 2)), np.ones(3)))
    return writer.finish(), bytes(1000)


def test_case_45_a_report_leaves_room_for_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = FREE_SPACE_KEPT + 1000
    files, report = report_beside(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free, total=free))
    write_report(files, report)
    assert (Path(files.folder) / "report").read_bytes() == report
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free - 1, total=free))
    with pytest.raises(DiskError) as caught:
        write_report(files, report)
    for part in (files.folder, "1,000 more bytes", f"{free - 1:,} are free", "spark.local.dir"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # the task may be tried again on this disk


def test_case_45_a_report_that_fills_the_disk_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, report = report_beside(tmp_path)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(DiskError, match=f"in {files.folder}: 1,000 more bytes") as caught:
        write_report(files, report)
    assert isinstance(caught.value.__cause__, OSError)
    assert list(tmp_path.iterdir()) == []


WRITE = """
import sys
from pathlib import Path
import numpy as np
from sparkml_lsml.engine.blocks import Block, disks, files
from sparkml_lsml.engine.blocks.duals import write_duals
from sparkml_lsml.errors import DiskError

folder = Path(sys.argv[1]) / "fit"
rows = Block(np.ones((1_000, 100)), np.ones(1_000))
# others take the room between the look at the disk and the write
look = files.BlockWriter._check_room
files.BlockWriter._check_room = lambda self, wanted: None
writer = files.BlockWriter(folder, "float64", False)
try:
    while True:
        writer.append(rows)
except DiskError as error:
    assert error.__cause__.errno == 28, error.__cause__
    print(error)
files.BlockWriter._check_room = look
writer.abort()
assert list(Path(sys.argv[1]).iterdir()) == []

writer = files.BlockWriter(folder, "float64", False)
disks.FREE_SPACE_KEPT = 0
writer.append(rows)
block = writer.finish().open()
with (folder / "others").open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(2**16))
    except OSError:
        pass
assert block.X.sum() == 100_000  # what is mapped is there
try:
    write_duals(block, np.zeros(10**6), 0, 1)
except DiskError as error:
    print(error)
assert not list(Path(block.folder).glob("duals-*"))
"""


def test_case_45_disk_that_fills_up_under_a_write(tmp_path: Path) -> None:
    """What the disk says itself, where the look at its free room came too early."""
    disk = tmp_path / "disk"
    done = in_a_tmpfs(8 * 2**20, disk, sys.executable, "-W", "error", "-c", WRITE, str(disk))
    assert done.returncode == 0, done.stderr
    rows, duals = done.stdout.splitlines()
    assert rows.startswith(f"no room for training rows in {disk}/fit: ")
    wanted, free = room(rows)
    # of 1,000 rows of 100 numbers and a label
    assert free < wanted <= 808_000
    assert duals.startswith(f"no room for 8,000,000 bytes of dual variables in {disk}/fit/")
