"""How a keyring changes while its key rotates. Each step is one atomic write.

fields, files   one key -> two, the new one active -> the new one alone
index           one key -> two, both written, the old one searched
                        -> two, both written, the new one searched -> the new one alone
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from apps.keys.errors import KeyStoreError
from apps.keys.keyring import Purpose, forget, key_store
from apps.keys.making import make_key
from apps.keys.store import StoredKey, StoredRing


def _ring(purpose: Purpose) -> StoredRing:
    ring = key_store().read(purpose)
    if ring is None:
        raise KeyStoreError(f"There is no {purpose} keyring. Make it: manage.py create_keys")
    return ring


def _write(purpose: Purpose, ring: StoredRing) -> None:
    key_store().write(purpose, ring)
    forget()


@dataclass(frozen=True)
class Plan:
    """What a run has to do: `begun` are purposes whose rotation was interrupted, `new`
    those that get a new key, which was `made` at one time, in ISO 8601."""

    purposes: list[Purpose]
    begun: list[Purpose]
    new: list[Purpose]
    made: str


def plan(wanted: Collection[Purpose], *, resume: bool) -> Plan:
    """Return what there is to do to rotate these purposes, or only to finish what was begun.

    One rotation gives all its keys the same time. So a purpose whose newest key has the time
    of an interrupted rotation has its key already, and may even be done.
    """
    begun = [purpose for purpose in Purpose if is_rotating(purpose)]
    made = max(map(_newest_made, begun), default=datetime.now(UTC).isoformat())
    purposes = [purpose for purpose in Purpose if purpose in {*wanted, *begun}]
    new = [p for p in purposes if p not in begun and _newest_made(p) != made and not resume]
    return Plan(purposes, begun, new, made)


def is_rotating(purpose: Purpose) -> bool:
    """Whether a key that is not the active one is still in the keyring."""
    return len(_ring(purpose).keys) > 1


def _newest_made(purpose: Purpose) -> str:
    return _ring(purpose).keys[-1].created


def begin(purpose: Purpose, made: str) -> StoredKey:
    """Add a new key and return it. Processes write with it as soon as they know it."""
    ring = _ring(purpose)
    if purpose is Purpose.INDEX:
        (only,) = ring.keys
        new = make_key(purpose, created=made, slot=1 - only.slot)
        _write(purpose, replace(ring, keys=(only, new)))
    else:
        new = make_key(purpose, created=made)
        _write(purpose, StoredRing(active=new.id, keys=(*ring.keys, new)))
    return new


def newest_is_searched() -> bool:
    """Whether the newest index key is the active one; while the index rotates it is not yet."""
    ring = _ring(Purpose.INDEX)
    return ring.active == ring.keys[-1].id


def search_with_newest() -> None:
    """Make the newest index key the one that is searched with."""
    ring = _ring(Purpose.INDEX)
    _write(Purpose.INDEX, replace(ring, active=ring.keys[-1].id))


def retire(purpose: Purpose) -> list[str]:
    """Take every key but the active one out of the keyring; return their ids.

    They are kept among the retired ones first: a backup may need them.
    """
    ring = _ring(purpose)
    old = [key for key in ring.keys if key.id != ring.active]
    for key in old:
        key_store().retire(purpose, key)
    _write(purpose, replace(ring, keys=tuple(key for key in ring.keys if key not in old)))
    return [key.id for key in old]
