"""What a store of wrapped keys keeps, and what it can do."""

import json
from dataclasses import asdict, dataclass
from typing import Protocol, Self

from apps.keys.errors import KeyStoreError

_RESTORE = "Restore a former version of the parameter: aws ssm get-parameter-history."


@dataclass(frozen=True, kw_only=True)
class StoredKey:
    """A wrapped data key. `id` is hexadecimal, `wrapped` what KMS gave, in base64."""

    id: str
    wrapped: str
    created: str
    slot: int = 0


@dataclass(frozen=True, kw_only=True)
class StoredRing:
    """The keyring of one purpose: which keys there are, and which one encrypts."""

    active: str
    keys: tuple[StoredKey, ...]

    def to_json(self) -> str:
        """Return the document that is stored."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read such a document. Raises `KeyStoreError` if it is none."""
        try:
            document = json.loads(text)
            keys = tuple(StoredKey(**key) for key in document["keys"])
            ring = cls(active=document["active"], keys=keys)
            if any(type(key.slot) is not int or key.slot not in (0, 1) for key in keys):
                raise ValueError  # no value would be indexed under such a key
            is_there = ring.active in {key.id for key in keys}
        except (ValueError, TypeError, KeyError) as error:
            raise KeyStoreError(
                f"The stored keyring is damaged: {type(error).__name__}. {_RESTORE}"
            ) from None
        if not is_there:
            raise KeyStoreError(
                f"The stored keyring is damaged: its active key is missing. {_RESTORE}"
            )
        return ring


class KeyStore(Protocol):
    """Keeps wrapped keys. Every method may raise `KeyStoreError`; writes are atomic."""

    def read(self, purpose: str) -> StoredRing | None:
        """Return the keyring, or None if there is none yet."""

    def create(self, purpose: str, ring: StoredRing) -> bool:
        """Store the first keyring; if there is one, leave it and return False."""

    def write(self, purpose: str, ring: StoredRing) -> None:
        """Replace the keyring."""

    def unwrap(self, purpose: str, wrapped: str) -> bytes:
        """Return the plaintext of a wrapped key."""

    def generate(self, purpose: str) -> tuple[bytes, str]:
        """Return a new key, in plaintext and wrapped."""

    def retired(self, purpose: str) -> dict[str, StoredKey]:
        """Return the keys taken out of the keyring, by id."""

    def retire(self, purpose: str, key: StoredKey) -> None:
        """Keep a key among the retired ones, where no application reads it."""
