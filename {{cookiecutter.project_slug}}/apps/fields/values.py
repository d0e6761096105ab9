"""How an encrypted value is stored: one byte string per column, nothing beside it.

    version 1 | key id 4 |                          | nonce 12 | ciphertext | tag 16
    version 1 | key id 4 | index slot 20 | slot 20  | nonce 12 | ciphertext | tag 16

The first form (version 1) is for columns that are never searched, the second (version
2) for searchable ones. A slot is the id of an index key and a blind index under it, or
zero bytes. AES-256-GCM (NIST SP 800-38D) authenticates everything before the nonce and
the value's place: `table.column`. So a value cannot be read in another column, and an
index cannot be put on another value.

The row is not bound: one UPDATE may write the same value to many rows, and rows have no
number before they are inserted. See docs/fields.md for what that means.
"""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from apps.keys.errors import AlteredValueError, MalformedValueError
from apps.keys.keyring import KEY_ID_SIZE, DataKey, Purpose, find_key, keyring

PLAIN, SEARCHABLE = b"\x01", b"\x02"
_NONCE_SIZE, _TAG_SIZE = 12, 16
_MAC_SIZE = 16
SLOTS = (0, 1)
SLOT_SIZE = KEY_ID_SIZE + _MAC_SIZE
EMPTY_SLOT = bytes(SLOT_SIZE)
_KEY_END = 1 + KEY_ID_SIZE
_HEADER_SIZE = {PLAIN: _KEY_END, SEARCHABLE: _KEY_END + len(SLOTS) * SLOT_SIZE}


def slot_offset(slot: int) -> int:
    """Where a slot begins in a stored value, in bytes from 0."""
    return 1 + KEY_ID_SIZE + slot * SLOT_SIZE


# A cipher per key and column: a column's values cannot exhaust another's nonces, of
# which one key allows 2^32 at random (NIST SP 800-38D, 8.3).
@lru_cache(maxsize=1024)
def _cipher(key: DataKey, place: str) -> tuple[AESGCM, bytes]:
    return AESGCM(key.derive(f"field {place}")), place.encode()


@lru_cache(maxsize=1024)
def _mac(key: DataKey, place: str) -> HMAC:
    return HMAC(key.derive(f"index {place}"), SHA256())


def blind_index(key: DataKey, place: str, normal: bytes) -> bytes:
    """Return the index of a normalised value: HMAC-SHA-256 cut to 128 bits (RFC 2104, 5).

    Equal values of one column have equal indexes under one key, and nothing else about a
    value can be told without the key.
    """
    mac = _mac(key, place).copy()
    mac.update(normal)
    return key.id + mac.finalize()[:_MAC_SIZE]


def _slots(indexes: Mapping[int, DataKey], place: str, normal: bytes) -> bytes:
    first, second = map(indexes.get, SLOTS)
    return (blind_index(first, place, normal) if first else EMPTY_SLOT) + (
        blind_index(second, place, normal) if second else EMPTY_SLOT
    )


def seal(place: str, plaintext: bytes, normal: bytes | None) -> bytes:
    """Encrypt a value for `place`; with `normal`, its normalised form, it can be searched.

    Raises `apps.keys.errors.DataKeyError` if there is no key.
    """
    key = keyring(Purpose.FIELDS).active
    if normal is None:
        header = PLAIN + key.id
    else:
        header = SEARCHABLE + key.id + _slots(keyring(Purpose.INDEX).slots, place, normal)
    nonce = os.urandom(_NONCE_SIZE)
    cipher, bound = _cipher(key, place)
    return header + nonce + cipher.encrypt(nonce, plaintext, header + bound)


def unseal(place: str, stored: Any) -> bytes:
    """Return the plaintext of a stored value.

    Raises `MalformedValueError`, `AlteredValueError` or `UnknownKeyError`, each with a
    message that holds nothing of the value.
    """
    return unsealer(place)(stored)


def unsealer(place: str) -> Callable[[Any], bytes]:
    """Return `unseal` for one place: the rows of a query look their keys up once."""
    known: dict[bytes, tuple[int, AESGCM, bytes]] = {}

    def unseal_here(stored: Any) -> bytes:
        if not isinstance(stored, bytes):
            # SQLite gives what was put there, of whatever type.
            stored = bytes(stored) if isinstance(stored, memoryview) else b""
        begins = stored[:_KEY_END]
        if begins not in known:
            known[begins] = _opening(place, begins)
        size, cipher, bound = known[begins]
        begin = size + _NONCE_SIZE
        if len(stored) < begin + _TAG_SIZE:
            raise _malformed(place)
        try:
            return cipher.decrypt(stored[size:begin], stored[begin:], stored[:size] + bound)
        except InvalidTag:
            raise AlteredValueError(
                f"A value in {place} was altered, or belongs to another column. Restore the row."
            ) from None

    return unseal_here


def _opening(place: str, begins: bytes) -> tuple[int, AESGCM, bytes]:
    """Return the header's size, the cipher, and to what the values are bound."""
    size = _HEADER_SIZE.get(begins[:1])
    if size is None or len(begins) < _KEY_END:
        raise _malformed(place)
    return size, *_cipher(find_key(Purpose.FIELDS, begins[1:]), place)


def _malformed(place: str) -> MalformedValueError:
    return MalformedValueError(
        f"A value in {place} is not one that this application encrypted: it is cut off, or "
        "it was never encrypted. Restore the row, or migrate the column."
    )


def is_indexed(stored: bytes) -> bool:
    """Return whether a search with the active index key can find a stored value."""
    ring = keyring(Purpose.INDEX)
    offset = slot_offset(ring.active_slot)
    return stored[:1] == SEARCHABLE and stored[offset : offset + KEY_ID_SIZE] == ring.active.id


def current_header(*, searchable: bool) -> tuple[bytes, tuple[bytes, ...]]:
    """Return what a value written now begins with, and the ids that stand in its slots.

    A stored value that differs in one of them is due for rotation.
    """
    begins = (SEARCHABLE if searchable else PLAIN) + keyring(Purpose.FIELDS).active.id
    if not searchable:
        return begins, ()
    slots = keyring(Purpose.INDEX).slots
    empty = bytes(KEY_ID_SIZE)
    return begins, tuple(slots[slot].id if slot in slots else empty for slot in SLOTS)
