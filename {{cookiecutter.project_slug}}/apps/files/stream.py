"""Files encrypted in chunks, so that any size takes little memory and no chunk is trusted alone.

    file    header | chunk | chunk | ... | last chunk
    header  version (1 byte) | id of the data key (4) | salt (32) | nonce prefix (7)
    chunk   64 KiB of plaintext (the last one: the rest), encrypted | tag (16)
    nonce   nonce prefix | number of the chunk (4) | 1 if it is the last one, else 0

Each file has a key of its own, HKDF-SHA-256 (RFC 5869) of the data key and the salt, and
is encrypted with AES-256-GCM. The number and the mark in the nonce make a chunk that was
dropped, repeated, moved or cut off fail; the associated data, header and name, make a
file fail that was put in another's place. A file without content is one empty chunk.

This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár,
https://eprint.iacr.org/2015/189, with the layout of Tink's AES-GCM-HKDF streaming AEAD,
https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming
"""

import io
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from apps.keys.errors import AlteredValueError, MalformedValueError
from apps.keys.keyring import KEY_ID_SIZE, DataKey

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

VERSION = b"\x01"
CHUNK_SIZE = 64 * 1024
TAG_SIZE = 16
_SALT_SIZE = 32
_PREFIX_SIZE = 7
_COUNTER_SIZE = 4
HEADER_SIZE = len(VERSION) + KEY_ID_SIZE + _SALT_SIZE + _PREFIX_SIZE
# What the counter can number: 256 TiB, more than an object of S3 can hold.
MAX_CHUNKS = 256**_COUNTER_SIZE


class Readable(Protocol):
    """What is read to be encrypted."""

    def read(self, size: int, /) -> bytes: ...


class SeekableReadable(Readable, Protocol):
    """What is read to be decrypted."""

    def seek(self, offset: int, whence: int = 0, /) -> object: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


def encrypt(plain: Readable, name: str, key: DataKey) -> io.BufferedReader:
    """Return a file to read `plain` from, encrypted while it is read.

    It cannot seek, on purpose: it would encrypt again with the same nonces, and if
    `plain` has changed meanwhile, that gives both contents away. Closing it leaves
    `plain` open. Reading raises `OverflowError` for a file that the counter cannot number.
    """
    return io.BufferedReader(_Encrypting(_encrypted(plain, name, key)), CHUNK_SIZE)


def decrypt(
    stored: SeekableReadable, name: str, find_key: Callable[[bytes], DataKey]
) -> io.BufferedReader:
    """Return a file to read and seek in the plaintext of `stored`, which it closes at its end.

    All of `stored` is authenticated here, before anyone sees a byte, and each chunk again
    when it is read; the plaintext is never kept, but for the chunk in use. Raises
    `AlteredValueError`, `MalformedValueError`, or what `find_key` raises.
    """
    raw = _Decrypting(stored, name, find_key)
    for number in range(raw.chunks):
        raw.chunk(number)
    return io.BufferedReader(raw, CHUNK_SIZE)


def key_id(header: bytes) -> bytes:
    """Return the id of the key that a file was encrypted with, from the file's first bytes.

    It is not authenticated. Raises `MalformedValueError` for a file of another kind.
    """
    if len(header) < HEADER_SIZE:
        raise MalformedValueError(
            "The stored file is shorter than any encrypted file: it was cut off, or stored "
            f"without encryption. {_RESTORE}"
        )
    if not header.startswith(VERSION):
        raise MalformedValueError(
            "The stored file has no known version: it was altered, stored without encryption, "
            f"or written by a newer release of this application. {_RESTORE}"
        )
    return header[len(VERSION) :][:KEY_ID_SIZE]


def plain_size(stored_size: int) -> int:
    """Return how many bytes of plaintext a stored file of that size has.

    Raises `MalformedValueError` if no encrypted file has that size.
    """
    return _layout(stored_size)[0]


_RESTORE = "Restore the object from a backup, or from a former version that the bucket keeps."


def _layout(stored_size: int) -> tuple[int, int]:
    """Return the size of the plaintext, and the number of chunks."""
    whole, rest = divmod(stored_size - HEADER_SIZE, CHUNK_SIZE + TAG_SIZE)
    chunks = whole + bool(rest)
    size = stored_size - HEADER_SIZE - chunks * TAG_SIZE
    # Only the chunk of a file without content is empty.
    is_complete = rest > TAG_SIZE or (rest == 0 and whole > 0) or (rest == TAG_SIZE and whole == 0)
    if stored_size < HEADER_SIZE or not is_complete or chunks > MAX_CHUNKS:
        raise MalformedValueError(
            "The stored file has a size that no encrypted file has: it was cut off, "
            f"or stored without encryption. {_RESTORE}"
        )
    return size, chunks


class _Cipher:
    """Encrypts and decrypts the chunks of one file."""

    def __init__(self, key: DataKey, header: bytes, name: str) -> None:
        self._prefix = header[-_PREFIX_SIZE:]
        salt = header[-_SALT_SIZE - _PREFIX_SIZE : -_PREFIX_SIZE]
        kdf = HKDF(SHA256(), length=32, salt=salt, info=b"apps.files.stream")
        self._aead = AESGCM(kdf.derive(key.derive("files")))
        self._place = header + name.encode()

    def _nonce(self, number: int, last: bool) -> bytes:
        return self._prefix + number.to_bytes(_COUNTER_SIZE) + bytes([last])

    def encrypt(self, chunk: bytes, number: int, last: bool) -> bytes:
        return self._aead.encrypt(self._nonce(number, last), chunk, self._place)

    def decrypt(self, chunk: bytes, number: int, last: bool) -> bytes:
        return self._aead.decrypt(self._nonce(number, last), chunk, self._place)


def _read_chunk(plain: Readable) -> bytes:
    """Read a whole chunk, or what is left: one read may give less than it is asked for."""
    parts = []
    missing = CHUNK_SIZE
    while missing and (part := plain.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _encrypted(plain: Readable, name: str, key: DataKey) -> Iterator[bytes]:
    header = VERSION + key.id + os.urandom(_SALT_SIZE + _PREFIX_SIZE)
    cipher = _Cipher(key, header, name)
    yield header
    chunk = _read_chunk(plain)
    for number in range(MAX_CHUNKS):
        following = _read_chunk(plain) if len(chunk) == CHUNK_SIZE else b""
        yield cipher.encrypt(chunk, number, last=not following)
        if not following:
            return
        chunk = following
    raise OverflowError(
        f"A file of more than {MAX_CHUNKS * CHUNK_SIZE} bytes cannot be encrypted: "
        "store it in parts."
    )


class _Encrypting(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        target = memoryview(buffer)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _Decrypting(io.RawIOBase):
    def __init__(
        self, stored: SeekableReadable, name: str, find_key: Callable[[bytes], DataKey]
    ) -> None:
        self._stored = stored
        stored.seek(0)
        header = stored.read(HEADER_SIZE)
        key = find_key(key_id(header))
        stored.seek(0, os.SEEK_END)
        self._size, self.chunks = _layout(stored.tell())
        self._cipher = _Cipher(key, header, name)
        self._position = 0

    def chunk(self, number: int) -> bytes:
        self._stored.seek(HEADER_SIZE + number * (CHUNK_SIZE + TAG_SIZE))
        chunk = self._stored.read(CHUNK_SIZE + TAG_SIZE)
        try:
            return self._cipher.decrypt(chunk, number, last=number == self.chunks - 1)
        except InvalidTag:
            raise AlteredValueError(
                f"Part {number + 1} of {self.chunks} of the stored file is not what was stored "
                "under this name: the file was altered, cut off, or put here from elsewhere. "
                f"{_RESTORE}"
            ) from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("The position is before the beginning of the file.")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if self._position >= self._size:
            return 0
        number, offset = divmod(self._position, CHUNK_SIZE)
        target = memoryview(buffer)
        part = memoryview(self.chunk(number))[offset:][: len(target)]
        target[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        if not self.closed:
            self._stored.close()
        super().close()
