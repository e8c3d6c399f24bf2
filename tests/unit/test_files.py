"""Blocks in files: written whole or not at all, private, and never mapped past their end."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparkml_lsml.engine.blocks import Block, CsrRows
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.blocks.disks import FREE_SPACE_KEPT
from sparkml_lsml.engine.blocks.files import (
    BlockFiles,
    BlockWriter,
    check_address_space,
    remove_if_empty,
)
from sparkml_lsml.errors import DiskError

Array = npt.NDArray[np.float64]
Usage = namedtuple("Usage", ["total", "used", "free"])

ROOT = Path(__file__).parents[2]


def make_block(
    rows: int, features: int = 5, compressed: bool = False, weighted: bool = False, seed: int = 0
) -> Block:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features)) * (rng.random((rows, features)) < 0.4)
    weight = rng.uniform(size=rows) if weighted else None
    return Block(as_csr(X) if compressed else X, rng.normal(size=rows), weight)


def dense(X: Any) -> Array:
    rows = X.rows(0, X.shape[0]).toarray() if isinstance(X, CsrRows) else X
    return np.asarray(rows)


def write(
    folder: Path, blocks: list[Block], dtype: str = "float64", weighted: bool = False
) -> BlockFiles:
    writer = BlockWriter(folder, dtype, weighted)
    for block in blocks:
        writer.append(block)
    return writer.finish()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of a fit, which does not exist yet, in one that must stay."""
    yield tmp_path / "local" / "sparkml_lsml-fit"
    assert tmp_path.exists()


@pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_block_is_read_as_it_was_written(
    folder: Path, compressed: bool, weighted: bool, dtype: str
) -> None:
    blocks = [make_block(rows, 5, compressed, weighted, seed=rows) for rows in (4, 1, 7)]
    files = write(folder, blocks, dtype, weighted)
    block = files.open()
    assert isinstance(block.X, CsrRows) == compressed
    values = block.X.data if isinstance(block.X, CsrRows) else block.X
    assert values.dtype == dtype
    np.testing.assert_array_equal(
        dense(block.X), np.concatenate([dense(part.X) for part in blocks]).astype(dtype)
    )
    np.testing.assert_array_equal(block.y, np.concatenate([part.y for part in blocks]))
    if weighted:
        np.testing.assert_array_equal(
            block.weight,
            np.concatenate([part.weight for part in blocks if part.weight is not None]),
        )
    else:
        assert block.weight is None
    assert (files.rows, files.features) == (12, 5)
    assert (
        files.nbytes
        == block.nbytes
        == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    )


@given(
    parts=st.lists(
        st.tuples(st.integers(1, 6), st.booleans(), st.floats(0, 1)), min_size=1, max_size=6
    )
)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_dense_and_sparse_pieces_in_any_order_are_one_block(
    folder: Path, parts: list[tuple[int, bool, float]]
) -> None:
    blocks = []
    for seed, (rows, compressed, density) in enumerate(parts):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(rows, 4)) * (rng.random((rows, 4)) < density)
        blocks.append(Block(as_csr(X) if compressed else X, rng.normal(size=rows)))
    files = write(folder, blocks)
    block = files.open()
    assert isinstance(block.X, CsrRows) == any(compressed for _, compressed, _ in parts)
    np.testing.assert_array_equal(dense(block.X), np.concatenate([dense(b.X) for b in blocks]))
    np.testing.assert_array_equal(block.y, np.concatenate([b.y for b in blocks]))
    files.delete()
    assert not folder.exists()


def test_dense_rows_are_turned_into_sparse_ones_in_pieces(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # rows of 2 MB: 16 MB at a time are 8 of the 20
    features = 250_000
    X = np.zeros((20, features))
    X[np.arange(20), 1000 * np.arange(20)] = np.arange(20) + 1.0
    pieces: list[int] = []
    original = BlockWriter._append_sparse
    monkeypatch.setattr(
        BlockWriter,
        "_append_sparse",
        lambda self, X: (pieces.append(X.shape[0]), original(self, X))[1],
    )
    block = write(folder, [Block(X, np.zeros(20)), Block(as_csr(X[:1]), np.zeros(1))]).open()
    assert pieces == [8, 8, 4, 1]
    assert isinstance(block.X, CsrRows)
    assert block.X.data.tolist() == [*np.arange(20) + 1.0, 1.0]
    assert block.X.indices.tolist() == [*1000 * np.arange(20), 0]
    assert block.X.indptr.tolist() == list(range(22))
    assert "dense" not in {path.name for path in folder.rglob("*")}


@pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize(("rows", "features"), [(0, 4), (3, 0), (0, 0)])
def test_blocks_without_rows_or_features_are_written_too(
    folder: Path, compressed: bool, rows: int, features: int
) -> None:
    X = np.zeros((rows, features))
    block = write(folder, [Block(as_csr(X) if compressed else X, np.zeros(rows))]).open()
    assert (block.rows, block.features) == (rows, features)


def test_rows_without_entries_are_written_too(folder: Path) -> None:
    pieces = [Block(np.zeros((2, 3)), np.ones(2)), Block(as_csr(np.zeros((4, 3))), np.ones(4))]
    block = write(folder, pieces).open()
    np.testing.assert_array_equal(dense(block.X), np.zeros((6, 3)))
    assert block.y.sum() == 6.0


def test_rows_without_weights_weigh_one_among_rows_that_have_some(folder: Path) -> None:
    blocks = [make_block(2, weighted=True), make_block(3, weighted=False)]
    block = write(folder, blocks, weighted=True).open()
    assert block.weight is not None
    assert blocks[0].weight is not None
    np.testing.assert_array_equal(block.weight, [*blocks[0].weight, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
def test_files_are_private_whatever_the_umask(folder: Path, compressed: bool) -> None:
    before = os.umask(0)
    try:
        files = write(folder, [make_block(4, 5, compressed, weighted=True)], weighted=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(files.folder).stat().st_mode) == 0o700
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path(files.folder).iterdir()}
    expected = {"data", "labels", "weights"} | ({"indices", "indptr"} if compressed else set())
    assert found == dict.fromkeys(expected, 0o600)


def test_a_block_has_its_final_name_only_when_it_is_whole(folder: Path) -> None:
    writer = BlockWriter(folder, "float64", weighted=False)
    writer.append(make_block(3))
    [unfinished] = folder.iterdir()
    assert unfinished.suffix == ".partial"
    files = writer.finish()
    [finished] = folder.iterdir()
    assert finished == Path(files.folder)
    assert finished == unfinished.with_suffix("")


def test_mapped_rows_cannot_be_changed(folder: Path) -> None:
    block = write(folder, [make_block(3)]).open()
    assert isinstance(block.X, np.ndarray)
    assert type(block.X) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        block.X[0, 0] = 1.0


@pytest.mark.parametrize("compressed", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("change", ["cut", "grown", "emptied", "gone"])
def test_a_file_that_is_not_as_long_as_it_was_is_refused_before_it_is_mapped(
    folder: Path, compressed: bool, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(folder, [make_block(6, 5, compressed, weighted=True)], weighted=True)
    mapped: list[str] = []
    memmap = np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda path, **how: (mapped.append(path.name), memmap(path, **how))[1]
    )
    for name in files.arrays():
        path = Path(files.folder) / name
        before = path.read_bytes()
        if change == "gone":
            path.unlink()
        else:
            path.write_bytes({"cut": before[:-1], "grown": before + b"x", "emptied": b""}[change])
        mapped.clear()
        with pytest.raises(FileNotFoundError, match=name):
            files.open()
        assert name not in mapped
        path.write_bytes(before)
        files.open()


def test_a_handle_can_be_sent_and_opened_elsewhere(folder: Path) -> None:
    block = make_block(5, compressed=True)
    files = pickle.loads(pickle.dumps(write(folder, [block])))
    np.testing.assert_array_equal(dense(files.open().X), dense(block.X))


def test_deleting_the_last_block_removes_the_folder_of_the_fit(folder: Path) -> None:
    first, second = write(folder, [make_block(2)]), write(folder, [make_block(3)])
    first.delete()
    assert folder.exists()
    assert second.open().rows == 3
    second.delete()
    assert not folder.exists()
    assert folder.parent.exists()
    second.delete()  # gone already: nothing to do


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_abort_removes_everything(folder: Path, pieces: int) -> None:
    writer = BlockWriter(folder, "float64", weighted=True)
    for number in range(pieces):
        writer.append(make_block(3, compressed=number > 1, weighted=True))
    writer.abort()
    assert not folder.exists()
    writer.abort()


def test_abort_leaves_other_blocks_alone(folder: Path) -> None:
    files = write(folder, [make_block(4)])
    writer = BlockWriter(folder, "float64", weighted=False)
    writer.append(make_block(3))
    writer.abort()
    assert files.open().rows == 4
    assert len(list(folder.iterdir())) == 1


def test_a_full_disk_is_found_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = make_block(100)
    writer = BlockWriter(folder, "float64", weighted=False)
    free = FREE_SPACE_KEPT + block.nbytes
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 * free, free, free))
    writer.append(block)
    written = names(folder)
    # another task has released its files by the time that the error is written
    left = iter([free - 1])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, next(left, 2 * free)))
    with pytest.raises(DiskError) as error:
        writer.append(block)
    assert names(folder) == written
    for part in (str(folder), f"{block.nbytes:,}", f"{free - 1:,}", "spark.local.dir"):
        assert part in str(error.value)
    writer.abort()
    assert not folder.exists()


def test_a_disk_that_fills_up_while_rows_become_sparse_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = BlockWriter(folder, "float64", weighted=False)
    writer.append(make_block(50))
    left = iter([10**12])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, next(left, 0)))
    with pytest.raises(DiskError, match="no room"):
        writer.append(make_block(2, compressed=True))
    writer.abort()
    assert not folder.exists()


class FullDisk:
    """A file on a disk that takes so many bytes and no more."""

    def __init__(self, file: IO[bytes], room: int, at_most: int) -> None:
        self._file, self._room, self._at_most = file, room, at_most

    def write(self, data: memoryview) -> int:
        if self._room <= 0:
            raise OSError(28, "No space left on device")
        taken = self._file.write(data[: min(self._at_most, self._room)])
        self._room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def wrap_files(
    monkeypatch: pytest.MonkeyPatch, room: int, at_most: int, file: type[FullDisk] = FullDisk
) -> None:
    fdopen = os.fdopen
    monkeypatch.setattr(
        os, "fdopen", lambda *args, **how: file(fdopen(*args, **how), room, at_most)
    )


def test_a_disk_that_is_full_all_the_same_gives_the_same_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = BlockWriter(folder, "float64", weighted=False)
    wrap_files(monkeypatch, room=100, at_most=10**6)
    with pytest.raises(DiskError, match="no room for training rows") as error:
        writer.append(make_block(100))
    assert isinstance(error.value.__cause__, OSError)
    writer.abort()
    assert not folder.exists()


def test_short_writes_are_continued(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = make_block(50)
    wrap_files(monkeypatch, room=10**9, at_most=13)
    files = write(folder, [block])
    np.testing.assert_array_equal(files.open().X, block.X)


class FullAtClose(FullDisk):
    """A file of a file system that says only at the end that its disk is full."""

    def close(self) -> None:
        self._file.close()
        raise OSError(28, "No space left on device")


def test_a_disk_that_fails_at_the_end_gives_an_error_and_no_block(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrap_files(monkeypatch, room=10**9, at_most=10**9, file=FullAtClose)
    writer = BlockWriter(folder, "float64", weighted=False)
    writer.append(make_block(3))
    with pytest.raises(DiskError):
        writer.finish()
    assert all(path.suffix == ".partial" for path in folder.iterdir())
    writer.abort()
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        BlockWriter(tmp_path / "file" / "fit", "float64", weighted=False)


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.blocks.files import BlockWriter, check_address_space
from sparkml_lsml.errors import DiskError

writer = BlockWriter(Path(sys.argv[1]), "float64", False)
for _ in range(8):  # 64 MB, 8 MB at a time
    writer.append(Block(np.ones((1_000, 1_000)), np.ones(1_000)))
files = writer.finish()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
for spare, expected in ((32, "refused"), (256, "mapped")):
    resource.setrlimit(resource.RLIMIT_AS, (used + spare * 2**20, resource.RLIM_INFINITY))
    try:
        found = "mapped" if files.open().X[-1, -1] == 1.0 else "wrong"
    except DiskError as error:
        found = "refused"
        print(error)
    assert found == expected, (spare, found)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_limit_of_the_address_space_is_an_error_and_not_a_crash(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, str(folder)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "64,064,000 bytes cannot be mapped" in done.stdout
    assert "spark.executor.pyspark.memory" in done.stdout


def test_without_a_limit_nothing_is_refused() -> None:
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        pytest.skip("this process has a limit")
    check_address_space(2**62)


def test_only_empty_folders_are_removed(tmp_path: Path) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "file").write_text("")
    for path in (full, empty, tmp_path / "absent"):
        remove_if_empty(path)
    assert full.exists()
    assert not empty.exists()
