"""A key store whose failures a test can choose, and a clock that it can advance."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from apps.keys import keyring as keys
from apps.keys.keyring import key_store
from tests.keys.stores import Clock, FailingStore


def _begin() -> None:
    """Know nothing of any key, as a process that has just been started."""
    key_store.cache_clear()
    for known in (keys._held, keys._unwrapped, keys._asked_at, keys._failed):
        known.clear()


@pytest.fixture
def store(settings: Settings) -> Iterator[FailingStore]:
    """The store of this process, which has only just begun; it has a key for each purpose."""
    settings.KEY_STORE = "tests.keys.stores.FailingStore"
    settings.KEYRING_MAX_AGE = 300
    _begin()
    made = key_store()
    assert isinstance(made, FailingStore)
    yield made
    _begin()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the keyrings; it stands still until a test advances it."""
    clock = Clock()
    monkeypatch.setattr(keys, "time", clock)
    return clock
