"""Keys for tests: made at random, held by this process alone, not wrapped by anything."""

import base64
import os
from datetime import UTC, datetime

from apps.keys.keyring import DataKey, Purpose
from apps.keys.store import StoredKey, StoredRing


class MemoryKeyStore:
    """A `KeyStore` without KMS, which no process that serves may use (encryption.E020)."""

    def __init__(self) -> None:
        self.rings: dict[str, StoredRing] = {}
        self.archive: dict[str, dict[str, StoredKey]] = {purpose: {} for purpose in Purpose}
        for purpose in Purpose:
            secret, wrapped = self.generate(purpose)
            key = StoredKey(
                id=DataKey(secret).id.hex(), wrapped=wrapped, created=datetime.now(UTC).isoformat()
            )
            self.rings[purpose] = StoredRing(active=key.id, keys=(key,))

    def read(self, purpose: str) -> StoredRing | None:
        return self.rings.get(purpose)

    def create(self, purpose: str, ring: StoredRing) -> bool:
        return self.rings.setdefault(purpose, ring) is ring

    def write(self, purpose: str, ring: StoredRing) -> None:
        self.rings[purpose] = ring

    def unwrap(self, purpose: str, wrapped: str) -> bytes:
        return base64.b64decode(wrapped)

    def generate(self, purpose: str) -> tuple[bytes, str]:
        secret = os.urandom(32)
        return secret, base64.b64encode(secret).decode()

    def retired(self, purpose: str) -> dict[str, StoredKey]:
        return self.archive[purpose]

    def retire(self, purpose: str, key: StoredKey) -> None:
        self.archive[purpose][key.id] = key
