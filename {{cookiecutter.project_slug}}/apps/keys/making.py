"""Makes data keys."""

from datetime import UTC, datetime

from apps.keys.keyring import DataKey, Purpose, key_store
from apps.keys.store import StoredKey


def make_key(purpose: Purpose, *, created: str | None = None, slot: int = 0) -> StoredKey:
    """Return a new wrapped key, which is in no keyring yet. Raises `KeyStoreError`.

    `created` is a time in ISO 8601, by default the present one.
    """
    created = created or datetime.now(UTC).isoformat(timespec="seconds")
    store = key_store()
    ring = store.read(purpose)
    taken = {key.id for key in ring.keys} if ring else set()
    taken |= store.retired(purpose).keys()
    while True:
        secret, wrapped = store.generate(purpose)
        key_id = DataKey(secret).id
        # Four zero bytes are an empty index slot.
        if any(key_id) and key_id.hex() not in taken:
            return StoredKey(id=key_id.hex(), wrapped=wrapped, created=created, slot=slot)
