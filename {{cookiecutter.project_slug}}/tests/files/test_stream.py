"""The format of encrypted files: what goes in comes out, and nothing else does."""

import hmac
import io
import os
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import IO

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from apps.files import stream
from apps.files.stream import CHUNK_SIZE, HEADER_SIZE, TAG_SIZE, key_id, plain_size
from apps.keys.errors import (
    AlteredValueError,
    DecryptionError,
    MalformedValueError,
    UnknownKeyError,
)
from apps.keys.keyring import DataKey

KEY, OTHER_KEY = DataKey(b"k" * 32), DataKey(b"o" * 32)
NAME = "attachments/a"
CANARY = b"canary-4711 "
# "a file of the first release", under the name "known"
KNOWN = (
    "01eea7016e000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223242526"
    "2a3687dc6805850ea1ee3b5b3ee6f7c73e382aaf345783fa6fb3d9db5435776d48048391fb7cf2362b5337"
)
SIZES = [
    *(0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1),
    *(2 * CHUNK_SIZE - 1, 2 * CHUNK_SIZE, 2 * CHUNK_SIZE + 1, 3 * CHUNK_SIZE + 5),
]


def find(key_id: bytes) -> DataKey:
    keys = {key.id: key for key in (KEY, OTHER_KEY)}
    if key_id not in keys:
        raise UnknownKeyError("unknown")
    return keys[key_id]


def encrypted(content: bytes, name: str = NAME, key: DataKey = KEY) -> bytes:
    return stream.encrypt(BytesIO(content), name, key).read()


def decrypt(stored: bytes, name: str = NAME) -> io.BufferedReader:
    return stream.decrypt(BytesIO(stored), name, find)


def refused(stored: bytes, name: str = NAME) -> Exception:
    """Why a file cannot even be opened; the reason must not hold what is in it."""
    with pytest.raises((DecryptionError, UnknownKeyError)) as caught:
        decrypt(stored, name)
    assert "canary" not in str(caught.value)
    return caught.value


def chunks(stored: bytes) -> list[bytes]:
    """The header, and every chunk with its tag."""
    step = stream.CHUNK_SIZE + TAG_SIZE
    starts = range(HEADER_SIZE, len(stored), step)
    return [stored[:HEADER_SIZE], *(stored[start : start + step] for start in starts)]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chunks of 16 bytes: a few of them are soon altered in every possible place."""
    with monkeypatch.context() as patched:
        patched.setattr(stream, "CHUNK_SIZE", 16)
        yield


# What goes in comes out -------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_round_trip(size: int) -> None:
    content = os.urandom(size)
    stored = encrypted(content)
    assert decrypt(stored).read() == content
    assert plain_size(len(stored)) == size
    assert key_id(stored[:HEADER_SIZE]) == KEY.id


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=100), reads=st.lists(st.integers(0, 40), max_size=5))
def test_round_trip_of_anything_read_in_any_steps(
    small_chunks: None, content: bytes, reads: list[int]
) -> None:
    reader = stream.encrypt(BytesIO(content), NAME, KEY)
    stored = b"".join([*(reader.read(size) for size in reads), reader.read()])
    decrypted = decrypt(stored)
    assert b"".join([*(decrypted.read(size) for size in reads), decrypted.read()]) == content
    assert plain_size(len(stored)) == len(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.binary(max_size=100),
    moves=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 2), st.integers(0, 120))),
)
def test_seeking_is_as_in_any_file(
    small_chunks: None, content: bytes, moves: list[tuple[int, int, int]]
) -> None:
    decrypted, plain = decrypt(encrypted(content)), BytesIO(content)
    for offset, whence, size in moves:
        if whence == os.SEEK_END:
            offset = -min(offset, len(content))
        assert decrypted.seek(offset, whence) == plain.seek(offset, whence)
        assert decrypted.read(size) == plain.read(size)
        assert decrypted.tell() == plain.tell()


def test_no_position_before_the_beginning() -> None:
    with pytest.raises(ValueError, match="before the beginning"):
        decrypt(encrypted(b"abc")).seek(-1)


def test_a_source_that_gives_less_than_it_is_asked_for() -> None:
    class Slow(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1000))

    content = os.urandom(CHUNK_SIZE + 1)
    assert decrypt(stream.encrypt(Slow(content), NAME, KEY).read()).read() == content


def test_a_read_gives_all_that_was_asked_for() -> None:
    """s3transfer takes less for the end of the file."""
    reader = stream.encrypt(BytesIO(bytes(300_000)), NAME, KEY)
    assert [len(reader.read(100_000)) for _ in range(3)] == [100_000] * 3


# The format ---------------------------------------------------------------------------


def test_the_format_is_the_documented_one() -> None:
    """Decrypts with nothing but the documentation, so that nobody changes one alone."""
    content = os.urandom(CHUNK_SIZE + 1)
    header, first, last = chunks(encrypted(content))
    version, identity, salt, prefix = header[:1], header[1:5], header[5:37], header[37:]
    assert (version, identity, len(prefix)) == (b"\x01", KEY.id, 7)
    extracted = hmac.digest(salt, KEY.derive("files"), "sha256")  # RFC 5869, 2.2 and 2.3
    cipher = AESGCM(hmac.digest(extracted, b"apps.files.stream\x01", "sha256"))
    place = header + NAME.encode()
    parts = [
        cipher.decrypt(prefix + b"\0\0\0\0" + b"\0", first, place),
        cipher.decrypt(prefix + b"\0\0\0\x01" + b"\x01", last, place),
    ]
    assert b"".join(parts) == content


def test_a_file_of_the_first_release_can_be_read() -> None:
    stored = bytes.fromhex(KNOWN)
    assert decrypt(stored, "known").read() == b"a file of the first release"


def test_nothing_is_encrypted_alike_twice(small_chunks: None) -> None:
    pieces = [piece for _ in range(50) for piece in chunks(encrypted(bytes(64)))]
    assert len(set(pieces)) == len(pieces) == 50 * 5


def test_no_nonce_serves_twice(small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bytes] = []
    keys: list[bytes] = []

    class Recording:
        def __init__(self, key: bytes) -> None:
            keys.append(key)

        def encrypt(self, nonce: bytes, chunk: bytes, _place: bytes) -> bytes:
            used.append(keys[-1] + nonce)
            return chunk + bytes(TAG_SIZE)

    monkeypatch.setattr(stream, "AESGCM", Recording)
    for _ in range(20):
        encrypted(bytes(16 * 300))  # the counter's first byte overflows
    assert len(used) == len(set(used)) == 20 * 300
    assert len(set(keys)) == 20


def test_plaintext_is_not_in_the_file() -> None:
    assert CANARY not in encrypted(CANARY * 10_000)


def test_the_counter_does_not_wrap(small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    too_long = encrypted(bytes(16 * 3 + 1))
    monkeypatch.setattr(stream, "MAX_CHUNKS", 3)
    assert decrypt(encrypted(bytes(16 * 3))).read() == bytes(16 * 3)
    with pytest.raises(OverflowError, match="more than 48 bytes cannot be encrypted"):
        encrypted(bytes(16 * 3 + 1))
    assert isinstance(refused(too_long), MalformedValueError)


def test_the_counter_s_limit_is_what_four_bytes_hold() -> None:
    assert stream.MAX_CHUNKS == 2**32


# What was altered is not opened --------------------------------------------------------


def test_every_flipped_bit_is_found(small_chunks: None) -> None:
    for content in (b"", CANARY, CANARY * 4):
        stored = encrypted(content)
        for position in range(len(stored) * 8):
            altered = bytearray(stored)
            altered[position // 8] ^= 1 << position % 8
            refused(bytes(altered))


def test_every_truncation_is_found(small_chunks: None) -> None:
    for content in (b"", CANARY, CANARY * 4):
        stored = encrypted(content)
        for size in range(len(stored)):
            refused(stored[:size])


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_truncation_at_a_border_of_whole_chunks_is_found(kept: int) -> None:
    header, *parts = chunks(encrypted(CANARY * 20_000))
    assert len(parts) == 4
    refused(b"".join([header, *parts[:kept]]))


@pytest.mark.parametrize("more", [b"\0", b"\0" * TAG_SIZE, b"\0" * (CHUNK_SIZE + TAG_SIZE)])
@pytest.mark.parametrize("size", SIZES)
def test_appended_bytes_are_found(size: int, more: bytes) -> None:
    refused(encrypted(bytes(size)) + more)


@pytest.mark.parametrize("size", [4 * 16, 3 * 16 + 5])
def test_no_other_order_of_the_chunks_is_accepted(small_chunks: None, size: int) -> None:
    """Left out, repeated, exchanged: every row of up to five of the four chunks."""
    header, *parts = chunks(encrypted(os.urandom(size)))
    for count in range(6):
        for order in product(range(4), repeat=count):
            if order != (0, 1, 2, 3):
                refused(b"".join([header, *(parts[number] for number in order)]))


def test_chunks_of_another_file_are_found() -> None:
    """Of the same name, size and key: a former version of the object."""
    old, new = (chunks(encrypted(os.urandom(2 * CHUNK_SIZE))) for _ in range(2))
    for number in range(3):
        mixed = [*new]
        mixed[number] = old[number]
        refused(b"".join(mixed))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.binary(max_size=60),
    start=st.integers(0, 200),
    removed=st.integers(0, 50),
    put=st.binary(max_size=50),
)
def test_any_edit_is_found(
    small_chunks: None, content: bytes, start: int, removed: int, put: bytes
) -> None:
    stored = encrypted(content)
    altered = stored[:start] + put + stored[start + removed :]
    assume(altered != stored)
    refused(altered)


@pytest.mark.parametrize("name", ["", "attachments/b", "attachments/a ", "attachments/a-thumbnail"])
def test_a_file_under_another_name_is_found(name: str) -> None:
    for size in (0, 1, CHUNK_SIZE + 1):
        assert isinstance(refused(encrypted(bytes(size)), name), AlteredValueError)


def test_another_key_does_not_open_it() -> None:
    stored = bytearray(encrypted(CANARY))
    stored[1:5] = OTHER_KEY.id
    assert isinstance(refused(bytes(stored)), AlteredValueError)


def test_an_unknown_key_is_named_as_such() -> None:
    stored = encrypted(CANARY, key=DataKey(b"u" * 32))
    assert isinstance(refused(stored), UnknownKeyError)


@pytest.mark.parametrize("stored", [b"", CANARY, CANARY * 20, b"\x02" + bytes(200)])
def test_what_was_never_encrypted_is_malformed(stored: bytes) -> None:
    error = refused(stored)
    assert isinstance(error, MalformedValueError)
    assert "Restore the object" in str(error)


def test_no_other_size_is_possible(small_chunks: None) -> None:
    possible = {len(encrypted(bytes(size))): size for size in range(100)}
    for stored_size in range(max(possible)):
        if stored_size in possible:
            assert plain_size(stored_size) == possible[stored_size]
        else:
            with pytest.raises(MalformedValueError, match="no encrypted file has"):
                plain_size(stored_size)


@pytest.mark.parametrize("edit", ["alter", "cut"])
def test_what_is_altered_after_it_was_opened_is_not_read(edit: str) -> None:
    stored = BytesIO(encrypted(CANARY * 20_000))
    file = stream.decrypt(stored, NAME, find)
    assert file.read(10) == CANARY[:10]
    with stored.getbuffer() as content:
        content[-1] ^= 1
    if edit == "cut":
        stored.truncate(HEADER_SIZE + 3 * (CHUNK_SIZE + TAG_SIZE))
    file.seek(3 * CHUNK_SIZE)
    with pytest.raises(AlteredValueError, match="Part 4 of 4"):
        file.read(1)


# What the files can and cannot do --------------------------------------------------------


def test_a_file_being_encrypted_cannot_go_back() -> None:
    reader = stream.encrypt(BytesIO(b"abc"), NAME, KEY)
    assert not reader.seekable()
    with pytest.raises(io.UnsupportedOperation):
        reader.seek(0)


@pytest.mark.parametrize(
    "make", [lambda: stream.encrypt(BytesIO(), NAME, KEY), lambda: decrypt(encrypted(b""))]
)
def test_nothing_reads_around_the_cipher_or_writes(make: Callable[[], IO[bytes]]) -> None:
    """gunicorn would send a file with a descriptor as it is on the disk."""
    file = make()
    assert not file.writable()
    with pytest.raises(io.UnsupportedOperation):
        file.fileno()


def test_closing() -> None:
    plain, stored = BytesIO(b"abc"), BytesIO(encrypted(b"abc"))
    stream.encrypt(plain, NAME, KEY).close()
    assert not plain.closed
    file = stream.decrypt(stored, NAME, find)
    file.close()
    assert stored.closed
    with pytest.raises(ValueError, match="closed"):
        file.read()


class Zeros(io.RawIOBase):
    """50 MB of zeros, which take no memory."""

    def __init__(self) -> None:
        self.left = 50_000_000

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        count = min(size, self.left)
        self.left -= count
        return bytes(count)


def test_any_size_takes_little_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with (tmp_path / "stored").open("wb+") as stored:
            reader = stream.encrypt(Zeros(), NAME, KEY)
            while some := reader.read(100_000):
                stored.write(some)
            decrypted = stream.decrypt(stored, NAME, find)
            count = 0
            while some := decrypted.read(100_000):
                count += len(some)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 50_000_000
    assert peak < 1_000_000
