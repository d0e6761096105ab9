"""Fixtures and helpers for encrypted files."""

from collections.abc import Iterator

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, storages

from apps.files.storage import EncryptedS3Storage
from apps.keys.keyring import DataKey, Purpose, forget, key_store, keyring
from apps.keys.making import make_key
from apps.keys.store import StoredRing
from tests.encryption.certificates import Authority
from tests.encryption.conftest import Configure, authority, configure
from tests.encryption.servers import tls
from tests.files.objects import ObjectServer

__all__ = ["authority", "configure"]


@pytest.fixture
def objects(configure: Configure, authority: Authority) -> Iterator[ObjectServer]:
    """An S3 over HTTPS, which the default storage uses as `config.settings` says."""
    with ObjectServer(tls(authority.of("aws"))) as server:
        configure(AWS_ENDPOINT_URL=f"https://localhost:{server.port}")
        yield server


@pytest.fixture
def s3(objects: ObjectServer) -> EncryptedS3Storage:
    """The default storage of a running project."""
    storage = storages["default"]
    assert isinstance(storage, EncryptedS3Storage)
    return storage


def put(storage: InMemoryStorage, name: str, content: bytes) -> None:
    """Put an object into the store behind the application's back."""
    storage.delete(name)
    InMemoryStorage._save(storage, name, ContentFile(content))  # type: ignore[attr-defined]


class Keys:
    """Changes the keyring for files."""

    def add(self) -> DataKey:
        """Make a new active key, and keep the others."""
        new = make_key(Purpose.FILES)
        self.put(StoredRing(active=new.id, keys=(*self.ring.keys, new)))
        return keyring(Purpose.FILES).active

    def remove_old(self) -> None:
        """Leave the active key alone in the keyring."""
        ring = self.ring
        kept = tuple(key for key in ring.keys if key.id == ring.active)
        self.put(StoredRing(active=ring.active, keys=kept))

    @property
    def ring(self) -> StoredRing:
        """What is stored."""
        ring = key_store().read(Purpose.FILES)
        assert ring
        return ring

    def put(self, ring: StoredRing) -> None:
        """Store it, and let this process see it."""
        key_store().write(Purpose.FILES, ring)
        forget()


@pytest.fixture
def file_keys() -> Iterator[Keys]:
    """The keyring for files; it is put back as it was."""
    keys = Keys()
    former = keys.ring
    yield keys
    keys.put(former)
