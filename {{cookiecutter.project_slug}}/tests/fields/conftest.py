"""Rows that most tests of the fields begin with, and changes of keys."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from apps.keys import keyring as keys
from apps.keys.keyring import Purpose, key_store
from apps.keys.making import make_key
from apps.keys.memory import MemoryKeyStore
from apps.keys.store import StoredRing
from tests.fields.library.models import Loan, Reader


@pytest.fixture
def ada(db: None) -> Reader:
    """A reader."""
    return Reader.objects.create(
        email="Ada@Example.com", name="Ada", notes="likes engines", plain="one"
    )


@pytest.fixture
def bob(db: None) -> Reader:
    """Another one."""
    return Reader.objects.create(email="bob@example.com", name="Bob", plain="two")


@pytest.fixture
def lend() -> Callable[..., Loan]:
    """Make a loan: `lend(reader, "Emma")`."""

    def make(reader: Reader, book: str, **values: object) -> Loan:
        place = {"shelf": "a", "place": str(Loan.objects.count()), "due": "2030-01-01"}
        return Loan.objects.create(reader=reader, book=book, **place | values)

    return make


def _forget() -> None:
    for held in (keys._held, keys._unwrapped, keys._asked_at):
        held.clear()


@pytest.fixture
def change_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Give this process a store with other keys when called."""

    def change() -> None:
        other = MemoryKeyStore()
        monkeypatch.setattr(keys, "key_store", lambda: other)
        _forget()

    yield change
    monkeypatch.undo()
    _forget()


@contextmanager
def _index_key_in_the_second_slot(*, beside_the_former: bool) -> Iterator[None]:
    store = key_store()
    former = store.read(Purpose.INDEX)
    assert former is not None
    key = make_key(Purpose.INDEX, slot=1)
    kept = former.keys if beside_the_former else ()
    store.write(Purpose.INDEX, StoredRing(active=key.id, keys=(*kept, key)))
    _forget()
    yield
    store.write(Purpose.INDEX, former)
    _forget()


@pytest.fixture
def second_index_key() -> Iterator[None]:
    """Write both slots of the index and search in the second, as in the midst of a rotation."""
    with _index_key_in_the_second_slot(beside_the_former=True):
        yield


@pytest.fixture
def rotated_index_key() -> Iterator[None]:
    """Write the second slot of the index only, as after a rotation."""
    with _index_key_in_the_second_slot(beside_the_former=False):
        yield
