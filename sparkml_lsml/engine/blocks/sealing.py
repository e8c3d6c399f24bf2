"""Encryption of what a block has on a disk.

Each file is a row of chunks, encrypted and authenticated by AES-256-GCM (NIST SP 800-38D) under a
key that only its block has and a nonce that only the chunk has. The number of the chunk and what
the file holds are authenticated along, so that chunks cannot change places. The key travels with
the handle of the block, which Spark encrypts where it writes it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sparkml_lsml.errors import DiskError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK = 2**20
"""Bytes that are encrypted at a time."""

NONCE = 12
TAG = 16


def sealed_bytes(length: int) -> int:
    """Bytes of a file that holds so many bytes."""
    return length + (NONCE + TAG) * -(-length // CHUNK)


@dataclass(frozen=True)
class Seal:
    """The key of a block.

    Parameters
    ----------
    key : bytes
        32 of them.
    """

    key: bytes = field(repr=False)

    @classmethod
    def new(cls) -> "Seal":
        """A key that nobody knows.

        Raises
        ------
        DiskError
            If there is nothing here to encrypt with.
        """
        made = cls(os.urandom(32))
        made.cipher()
        return made

    def cipher(self) -> "AESGCM":
        """What encrypts with the key."""
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise DiskError(
                "spark.io.encryption.enabled is set, so training rows that memory does not keep "
                "have to be encrypted, and the executors' Python has no package 'cryptography': "
                "install the extra sparkml_lsml[encryption] on all machines, train with fewer "
                "rows, or switch the encryption off and encrypt the disks instead"
            ) from error
        return AESGCM(self.key)

    def sealed(self, what: str, data: bytes) -> bytes:
        """The content of a file that holds ``data``; ``what`` names it."""
        cipher, chunks = self.cipher(), range(0, len(data), CHUNK)
        return b"".join(
            _sealed(cipher, what, number, data[start : start + CHUNK])
            for number, start in enumerate(chunks)
        )

    def opened(self, path: Path, what: str, length: int) -> Iterator[bytes]:
        """What a file holds, chunk by chunk.

        Raises
        ------
        FileNotFoundError
            If the file is missing, or is not what was written with this key.
        """
        from cryptography.exceptions import InvalidTag

        cipher, expected = self.cipher(), sealed_bytes(length)
        with path.open("rb", buffering=0) as file:
            if (found := os.fstat(file.fileno()).st_size) != expected:
                raise FileNotFoundError(f"{path} has {found} bytes, expected {expected}")
            for number, start in enumerate(range(0, length, CHUNK)):
                chunk = file.read(sealed_bytes(min(CHUNK, length - start)))
                try:
                    yield cipher.decrypt(chunk[:NONCE], chunk[NONCE:], _place(what, number))
                except InvalidTag as error:
                    raise FileNotFoundError(
                        f"{path} is damaged: its chunk {number} is not what was written"
                    ) from error


class SealedFile:
    """A file that encrypts what is written to it, in bounded memory.

    Parameters
    ----------
    file : file
        Takes the chunks, without a buffer of its own.
    seal : Seal
    what : str
        Names what it holds.
    """

    def __init__(self, file: IO[bytes], seal: Seal, what: str) -> None:
        self._file, self._what = file, what
        self._cipher = seal.cipher()
        self._waiting = bytearray()
        self._chunks = 0

    def write(self, data: memoryview) -> int:
        """Take some of the bytes; how many."""
        taken = data[: CHUNK - len(self._waiting)]
        self._waiting += taken
        if len(self._waiting) == CHUNK:
            self._flush()
        return len(taken)

    def close(self) -> None:
        """Write what is left, and close the file."""
        try:
            if self._waiting:
                self._flush()
        finally:
            self._file.close()

    def _flush(self) -> None:
        chunk = memoryview(_sealed(self._cipher, self._what, self._chunks, bytes(self._waiting)))
        self._waiting.clear()
        self._chunks += 1
        while len(chunk):  # an unbuffered write may take less than it was given
            chunk = chunk[self._file.write(chunk) :]


def _sealed(cipher: "AESGCM", what: str, number: int, data: bytes) -> bytes:
    nonce = os.urandom(NONCE)
    return nonce + cipher.encrypt(nonce, data, _place(what, number))


def _place(what: str, number: int) -> bytes:
    return f"{what}/{number}".encode()
