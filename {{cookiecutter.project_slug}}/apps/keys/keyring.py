"""The data keys of this process: unwrapped once, held in memory, read again now and then.

Envelope encryption: KMS never sees the data, and the store never sees a key that is
not wrapped. https://docs.aws.amazon.com/kms/latest/developerguide/kms-cryptography.html
"""

import hmac
import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from threading import Lock
from typing import NoReturn

import structlog
from django.conf import settings
from django.utils.module_loading import import_string

from apps.keys.errors import DataKeyError, KeyStoreError, UnknownKeyError, WrongKeyError
from apps.keys.store import KeyStore, StoredKey, StoredRing

logger = structlog.get_logger(__name__)

KEY_ID_SIZE = 4  # bytes
# An unknown key id may be a newly made key, or garbage; a store that failed may be back, or
# not: ask only so often.
_SECONDS_BETWEEN_ASKING = 1.0


class Purpose(StrEnum):
    """What a data key is for. No key serves two purposes."""

    FIELDS = "fields"
    INDEX = "index"
    FILES = "files"


class DataKey:
    """32 secret bytes, which never leave this object: only keys derived from them do."""

    __slots__ = ("_secret", "id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise WrongKeyError("A data key must have 32 bytes.")
        self._secret = secret
        # The id is made from the key, so a wrong key cannot pass for the right one.
        self.id = self.derive("id")[:KEY_ID_SIZE]

    def derive(self, label: str) -> bytes:
        """Return the 32 bytes that belong to `label`: HMAC-SHA-256, as in RFC 5869, 2.3."""
        return hmac.digest(self._secret, label.encode(), "sha256")

    def __repr__(self) -> str:
        return f"<DataKey {self.id.hex()}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A data key cannot be pickled or copied.")


@dataclass(frozen=True)
class Keyring:
    """The keys of one purpose at one moment: one encrypts, all decrypt.

    `slots` matters for the blind index only: the place of a key's index in a stored
    value. While the index key rotates there are two, and both are written.
    """

    active: DataKey
    keys: Mapping[bytes, DataKey]
    slots: Mapping[int, DataKey] = field(default_factory=dict)

    @property
    def active_slot(self) -> int:
        """The slot in which the active key's index stands."""
        return next(slot for slot, key in self.slots.items() if key is self.active)


@dataclass
class _Held:
    """A keyring, when it was read, and when to read it again, in seconds of a clock."""

    ring: Keyring
    read_at: float
    refresh_at: float

    @property
    def is_old(self) -> bool:
        max_age: float = settings.KEYRING_MAX_AGE
        return time.monotonic() - self.read_at >= max_age


_held: dict[Purpose, _Held] = {}
_unwrapped: dict[tuple[Purpose, str], DataKey] = {}
_asked_at: dict[Purpose, float] = {}  # for an unknown key id
_failed: dict[Purpose, tuple[float, type[DataKeyError], str]] = {}
_lock = Lock()


@cache
def key_store() -> KeyStore:
    """The store that `settings.KEY_STORE` names."""
    # A process that crashes must not write its memory, and so its keys, to a disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    store: KeyStore = import_string(settings.KEY_STORE)()
    return store


def _begin_child() -> None:
    # gunicorn loads the application before it forks: two processes must not share a client's
    # connections, and no thread of the child would release a lock that was held.
    global _lock
    _lock = Lock()
    key_store.cache_clear()


os.register_at_fork(after_in_child=_begin_child)


def keyring(purpose: Purpose) -> Keyring:
    """Return the keys to encrypt or search with.

    They are at most `settings.KEYRING_MAX_AGE` seconds old, which is what a rotation
    relies on: so long after it changed the keyring, no process uses the former one.
    They are read again after a fifth of that; if the store fails, the old ones serve
    until their time has come. Raises `DataKeyError` then, or if there is no keyring.
    """
    held = _held.get(purpose)
    if held and time.monotonic() < held.refresh_at:
        return held.ring
    return _read(purpose)


def find_key(purpose: Purpose, key_id: bytes) -> DataKey:
    """Return the key that a stored value names; however old the keyring, it is right.

    Raises `UnknownKeyError` if not even a fresh keyring has it, or `KeyStoreError` if
    that cannot be found out.
    """
    held = _held.get(purpose)
    if held is None or key_id not in held.ring.keys:
        ring = _read_again(purpose, key_id)
        if key_id not in ring.keys:
            raise UnknownKeyError(
                f"A stored value was encrypted with the {purpose} key {key_id.hex()}, which is "
                "not in the keyring. If it was retired, for example because a backup "
                f"was restored: manage.py restore_key {purpose} {key_id.hex()}"
            )
        return ring.keys[key_id]
    return held.ring.keys[key_id]


def forget() -> None:
    """Let the next use read the keyrings anew: this process has changed one."""
    with _lock:
        _held.clear()
        _failed.clear()


def _read(purpose: Purpose) -> Keyring:
    held = _held.get(purpose)
    if held is None or held.is_old:
        _lock.acquire()
    elif not _lock.acquire(blocking=False):
        return held.ring  # one thread asks; meanwhile the others go on with what is held
    try:
        now_held = _held.get(purpose)
        if now_held and now_held is not held:
            return now_held.ring  # another thread has just read it
        return _load(purpose)
    except DataKeyError as error:
        if held is None or held.is_old:
            raise
        logger.warning("keyring_not_refreshed", purpose=str(purpose), reason=str(error))
        max_age = settings.KEYRING_MAX_AGE
        held.refresh_at = min(time.monotonic() + max_age / 20, held.read_at + max_age)
        return held.ring
    finally:
        _lock.release()


def _read_again(purpose: Purpose, key_id: bytes) -> Keyring:
    with _lock:
        held = _held.get(purpose)
        if held:
            just_asked = time.monotonic() - _asked_at.get(purpose, 0) < _SECONDS_BETWEEN_ASKING
            if just_asked or key_id in held.ring.keys:
                return held.ring
            _asked_at[purpose] = time.monotonic()
        return _load(purpose)


def _load(purpose: Purpose) -> Keyring:
    """Read the store; if it failed a moment ago, raise the same instead."""
    now = time.monotonic()
    failed_at, failure, reason = _failed.get(purpose, (0, None, ""))
    if failure and now - failed_at < _SECONDS_BETWEEN_ASKING:
        raise failure(reason)
    try:
        stored = key_store().read(purpose)
        if stored is None:
            raise KeyStoreError(
                f"There is no {purpose} keyring. Make it once: manage.py create_keys"
            )
        ring = _unwrap(purpose, stored)
    except DataKeyError as error:
        # Those who waited meanwhile, each for its turn, need not wait for the same again.
        _failed[purpose] = time.monotonic(), type(error), str(error)
        raise
    _failed.pop(purpose, None)
    _held[purpose] = _Held(ring, now, now + settings.KEYRING_MAX_AGE / 5)
    return ring


def _unwrap(purpose: Purpose, stored: StoredRing) -> Keyring:
    keys = {key.id: open_key(purpose, key) for key in stored.keys}
    return Keyring(
        active=keys[stored.active],
        keys={key.id: key for key in keys.values()},
        slots={key.slot: keys[key.id] for key in stored.keys},
    )


def open_key(purpose: Purpose, stored: StoredKey) -> DataKey:
    """Return a key, which KMS unwraps once in the life of this process.

    Raises `KeyStoreError`, or `WrongKeyError` if it is not the one that the store names.
    """
    known = _unwrapped.get((purpose, stored.id))
    if known:
        return known
    key = DataKey(key_store().unwrap(purpose, stored.wrapped))
    if key.id.hex() != stored.id:
        raise WrongKeyError(
            f"KMS gave another key than the {purpose} key {stored.id}: the store was altered."
        )
    _unwrapped[purpose, stored.id] = key
    return key
