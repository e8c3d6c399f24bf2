"""Encrypted blocks: what is on the disk, what is made of it again, and who else reads it."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from sparkml_lsml.engine.blocks import Block, CsrRows, files, sealing
from sparkml_lsml.engine.blocks.block import as_csr
from sparkml_lsml.engine.blocks.duals import read_duals, write_duals
from sparkml_lsml.engine.blocks.files import BlockFiles, BlockWriter
from sparkml_lsml.engine.blocks.handle import Handle
from sparkml_lsml.engine.blocks.pack import PackSettings, pack
from sparkml_lsml.engine.blocks.sealing import NONCE, TAG, Seal, sealed_bytes
from sparkml_lsml.engine.blocks.sharing import NOTE
from sparkml_lsml.errors import DiskError
from sparkml_lsml.worker.packing import packer, read_report

pytest.importorskip("cryptography")

ROOT = Path(__file__).parents[2]
Array = npt.NDArray[np.float64]

NUMBER = 1234.56789
"""In every row, twice."""
PLAIN = [struct.pack(f"<2{kind}", NUMBER, NUMBER) for kind in "df"]


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let chunks be so short that arrays have several, which end within a number."""
    monkeypatch.setattr(sealing, "CHUNK", 100)
    return 100


def make_block(rows: int, compressed: bool = False, weighted: bool = False) -> Block:
    rng = np.random.default_rng(rows)
    X = rng.normal(size=(rows, 5)) * (rng.random((rows, 5)) < 0.6)
    X[:, 1:3] = NUMBER
    weight = rng.uniform(size=rows) if weighted else None
    return Block(
        as_csr(X) if compressed else X,
        rng.normal(size=rows),
        weight,
        np.arange(rows, dtype=np.int32),
    )


def write(
    folder: Path, blocks: list[Block], dtype: str = "float64", seal: Seal | None = None
) -> BlockFiles:
    writer = BlockWriter(folder, dtype, blocks[0].weight is not None, True, seal)
    for block in blocks:
        writer.append(block)
    return writer.finish()


def arrays(block: Block) -> dict[str, Any]:
    X = block.X
    rows = (
        {"data": X.data, "indices": X.indices, "indptr": X.indptr}
        if isinstance(X, CsrRows)
        else {"data": X}
    )
    return rows | {"labels": block.y, "weights": block.weight, "folds": block.fold}


def plain_files(folder: Path) -> list[str]:
    """Name the files that show the rows."""
    contents = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [name for name, content in contents.items() if any(plain in content for plain in PLAIN)]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("forms", ["ddd", "sss", "dds", "sdd"])
def test_an_encrypted_block_is_the_block_that_it_would_be_without(
    tmp_path: Path,
    chunks: int,
    monkeypatch: pytest.MonkeyPatch,
    weighted: bool,
    dtype: str,
    forms: str,
) -> None:
    monkeypatch.setattr(files, "DENSE_BYTES", 150)  # rows become sparse some at a time
    blocks = [
        make_block(rows, form == "s", weighted)
        for rows, form in zip((9, 1, 30), forms, strict=True)
    ]
    plain = write(tmp_path / "plain", blocks, dtype)
    assert "data" in plain_files(tmp_path / "plain")
    sealed = write(tmp_path / "sealed", blocks, dtype, Seal.new())
    assert plain_files(tmp_path / "sealed") == []
    found, expected = arrays(sealed.open()), arrays(plain.open())
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if array is None:
            assert found[name] is None
            continue
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            found[name][...] = 0
    assert sealed.nbytes == plain.nbytes
    for name, (kind, length) in sealed.arrays().items():
        nbytes = np.dtype(kind).itemsize * length
        assert (Path(sealed.folder) / name).stat().st_size == sealed_bytes(nbytes)
        assert sealed_bytes(nbytes) == nbytes + 28 * -(-nbytes // chunks)


@pytest.mark.parametrize("forms", ["d", "s", "ds"])
@pytest.mark.parametrize("shape", [(3, 0), (0, 4)])
def test_blocks_without_values_are_encrypted_too(
    tmp_path: Path, shape: tuple[int, int], forms: str
) -> None:
    rows = np.zeros(shape), np.ones(shape[0])
    pieces = [Block(as_csr(rows[0]) if form == "s" else rows[0], rows[1]) for form in forms]
    writer = BlockWriter(tmp_path / "fit", "float64", weighted=False, seal=Seal.new())
    for piece in pieces:
        writer.append(piece)
    sealed = writer.finish()
    if shape[0]:  # nobody opens a block without rows
        block = sealed.open()
        assert (block.rows, block.features) == (shape[0] * len(forms), shape[1])
        np.testing.assert_array_equal(block.y, np.ones(block.rows))


def test_chunks_are_those_of_aes_gcm(chunks: int) -> None:
    """Decrypted here by the block cipher and the mode themselves, as NIST SP 800-38D has them."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    data = np.random.default_rng(0).bytes(250)
    seal = Seal.new()
    assert len(seal.key) == 32
    content = seal.sealed("labels", data)
    found, nonces = b"", []
    for number in range(3):
        start = number * (NONCE + chunks + TAG)
        chunk = content[start : start + NONCE + chunks + TAG]
        nonce, tag = chunk[:NONCE], chunk[-TAG:]
        cipher = Cipher(algorithms.AES(seal.key), modes.GCM(nonce, tag)).decryptor()
        cipher.authenticate_additional_data(f"labels/{number}".encode())
        found += cipher.update(chunk[NONCE:-TAG]) + cipher.finalize()
        nonces.append(nonce)
    assert found == data
    # a nonce that comes again would give the rows away
    nonces += [seal.sealed("labels", data)[:NONCE] for _ in range(100)]
    assert len(set(nonces)) == 103


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "change", ["first", "middle", "last", "cut", "grown", "gone", "swapped", "other file"]
)
def test_a_damaged_file_is_a_lost_one(tmp_path: Path, chunks: int, change: str) -> None:
    sealed = write(tmp_path / "fit", [make_block(60, weighted=True)], seal=Seal.new())
    whole = NONCE + chunks + TAG
    path, other = Path(sealed.folder) / "labels", Path(sealed.folder) / "weights"
    before = path.read_bytes()
    after = {
        "first": flipped(before, 0),
        "middle": flipped(before, len(before) // 2),
        "last": flipped(before, len(before) - 1),
        "cut": before[:-1],
        "grown": before + b"x",
        "gone": b"",
        # as it was written, but elsewhere
        "swapped": before[whole : 2 * whole] + before[:whole] + before[2 * whole :],
        "other file": other.read_bytes(),
    }[change]
    assert after != before
    path.write_bytes(after)
    if change == "gone":
        path.unlink()
    with pytest.raises(FileNotFoundError, match="labels"):
        sealed.open()
    path.write_bytes(before)
    assert sealed.open().rows == 60


def test_the_key_travels_with_the_handle_and_shows_nowhere(tmp_path: Path) -> None:
    sealed = write(tmp_path / "fit", [make_block(7)], seal=Seal.new())
    handle = pickle.loads(pickle.dumps(Handle(7, 7.0, 0, sealed)))
    assert handle.files.open().rows == 7
    assert sealed.seal is not None
    for shown in (repr(handle), repr(sealed), repr(sealed.open())):
        assert repr(sealed.seal.key)[2:-1] not in shown
    assert not any(sealed.seal.key in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def refuse(*_: Any) -> Iterator[bytes]:
    raise AssertionError("decrypted once more")


ELSEWHERE = """
import pickle, sys
from sparkml_lsml.engine.blocks.sealing import Seal
files = pickle.load(sys.stdin.buffer)
decrypted = []
opened = Seal.opened
Seal.opened = lambda *args: (decrypted.append(args[2]), opened(*args))[1]
block = files.open()
assert not block.X.flags.writeable
print(block.X.sum(), block.y.sum(), len(decrypted))
"""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_workers_of_a_machine_share_what_one_has_decrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = write(tmp_path / "fit", [make_block(40)], seal=Seal.new())

    def elsewhere() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", ELSEWHERE],
            cwd=ROOT,
            input=pickle.dumps(sealed),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().split()

    block = sealed.open()
    expected = [str(block.X.sum()), str(block.y.sum())]  # type: ignore[union-attr]
    with monkeypatch.context() as patch:
        patch.setattr(Seal, "opened", refuse)
        again = sealed.open()
    assert elsewhere() == [*expected, "0"]
    del block
    assert elsewhere() == [*expected, "3"]  # whoever had it has let go
    assert (Path(sealed.folder) / NOTE).exists()
    np.testing.assert_array_equal(again.X, sealed.open().X)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
@pytest.mark.parametrize("what", ["another file", "a pipe", "nothing"])
def test_a_note_that_is_out_of_date_is_no_block(tmp_path: Path, what: str) -> None:
    sealed = write(tmp_path / "fit", [make_block(8)], seal=Seal.new())
    block = sealed.open()
    expected = np.array(block.X)
    note = Path(sealed.folder) / NOTE
    process, number, inode = note.read_text().split()
    size = Path(f"/proc/self/fd/{number}").stat().st_size
    del block
    reading, writing = os.pipe()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.truncate(other, size)
    by_now = {"another file": other, "a pipe": reading, "nothing": 10**6}[what]
    try:
        note.write_text(f"{process} {by_now} {inode}")
        np.testing.assert_array_equal(sealed.open().X, expected)
    finally:
        for handle in (reading, writing, other):
            os.close(handle)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_memory_is_free_when_nobody_has_the_block(tmp_path: Path) -> None:
    def held() -> int:
        opened = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        ours = [path for path in opened if "memfd:sparkml_lsml" in str(path.readlink())]
        return len({path.stat().st_ino for path in ours})

    sealed = write(tmp_path / "fit", [make_block(8)], seal=Seal.new())
    blocks = [sealed.open(), sealed.open()]
    assert held() == 1
    blocks.clear()
    assert held() == 0
    note = Path(sealed.folder) / NOTE
    assert note.stat().st_mode & 0o777 == 0o600
    sealed.delete()
    assert list(tmp_path.iterdir()) == []


def test_without_files_in_memory_each_worker_has_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    block = make_block(50)
    sealed = write(tmp_path / "fit", [block], seal=Seal.new())
    found = sealed.open()
    np.testing.assert_array_equal(found.X, block.X)
    with pytest.raises(ValueError, match="read-only"):
        found.y[0] = 1.0
    assert not (Path(sealed.folder) / NOTE).exists()


def settings(**more: Any) -> PackSettings:
    return PackSettings("regression", "float64", False, 0, "f00d", encrypted=True, **more)


def batches(rows: int, width: int) -> Iterator[pa.RecordBatch]:
    for _ in range(2):
        X = pa.array([[NUMBER] * width] * rows, type=pa.list_(pa.float64()))
        yield pa.record_batch([X, pa.array(np.arange(float(rows)))], names=["f", "l"])


def test_rows_are_encrypted_where_spark_has_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    handles = [pack(batches(30, 4), settings())[0] for _ in range(2)]
    assert plain_files(tmp_path) == []
    for handle in handles:
        assert handle.files is not None
        np.testing.assert_array_equal(handle.files.open().X, np.full((60, 4), NUMBER))
    keys = {handle.files.seal.key for handle in handles if handle.files and handle.files.seal}
    assert len(keys) == 2  # each block has its own


def test_without_the_package_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(DiskError) as caught:
        pack(batches(30, 4), settings())
    for part in ("spark.io.encryption.enabled", "'cryptography'", "sparkml_lsml[encryption]"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_dual_variables_are_encrypted_too(tmp_path: Path) -> None:
    rows = write(tmp_path / "fit", [make_block(30)], seal=Seal.new()).open()
    kept = np.full(30, NUMBER)
    name = write_duals(rows, kept, 0, 1)
    assert plain_files(tmp_path) == []
    duals = read_duals(rows, name)
    assert duals is not None
    np.testing.assert_array_equal(duals, kept)
    duals[0] = 0.0  # the next step changes them in place
    path = Path(rows.folder) / str(name)
    path.write_bytes(flipped(path.read_bytes(), 20))
    assert read_duals(rows, name) is None


def test_what_was_learned_of_the_columns_is_encrypted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    [row] = packer(settings())(batches(2, 5_000))
    handle = pickle.loads(row["handle"][0].as_py())
    saved = row["report"][0].as_py()
    assert saved == b""
    report = read_report(handle, saved)
    assert report.moments is not None
    # the mean of each column is the number that is in all rows
    np.testing.assert_allclose(report.moments.mean(), np.full(5_000, NUMBER), rtol=1e-14)
    assert plain_files(tmp_path) == []
    path = Path(handle.folder) / "report"
    path.write_bytes(flipped(path.read_bytes(), 2_000))
    with pytest.raises(FileNotFoundError, match="damaged"):
        read_report(handle, saved)
