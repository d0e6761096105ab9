"""Nobody notices a rotation, neither a process that knows of it nor one that does not yet."""

from dataclasses import replace

import pytest

from apps.fields import values
from apps.keys.keyring import Keyring, Purpose, keyring
from apps.rotation.management.commands import rotate_keys
from tests.keys.stores import FailingStore
from tests.rotation.looking import check_all, ids, not_current, rotate
from tests.rotation.looking import values as all_values
from tests.rotation.processes import Process, Site, at_every_step

pytestmark = pytest.mark.django_db

PURPOSES = [[Purpose.INDEX], list(Purpose)]


def options(purposes: list[Purpose]) -> list[str]:
    return [word for purpose in purposes for word in ("--purpose", purpose)]


def rotate_beside(
    site: Site,
    purposes: list[Purpose],
    monkeypatch: pytest.MonkeyPatch,
    store: FailingStore,
    skipped: int | None = None,
) -> int:
    """Rotate, with a check at every step; return how often the rotation waited.

    The wait of the number `skipped` is left out.
    """
    waits = 0

    def settle(_say: object) -> None:
        nonlocal waits
        waits += 1
        if waits != skipped:
            site.settle()

    monkeypatch.setattr(rotate_keys, "settle", settle)
    at_every_step(monkeypatch, store, site.check)
    rotate(*options(purposes), "--batch-size", "7")
    site.check()
    return waits


@pytest.mark.parametrize("purposes", PURPOSES, ids=", ".join)
def test_every_process_reads_finds_and_keeps_unique_at_every_step(
    purposes: list[Purpose],
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    store: FailingStore,
) -> None:
    old = ids()
    waits = rotate_beside(site, purposes, monkeypatch, store)
    assert waits == (3 if Purpose.INDEX in purposes else 2)
    assert site.checks > 10
    monkeypatch.undo()
    check_all(all_values())
    assert all(ids()[p].isdisjoint(old[p]) == (p in purposes) for p in Purpose)


@pytest.mark.parametrize(
    ("purpose", "skipped", "noticed"),
    [
        # The stale process writes under the old key still, which is then retired.
        (Purpose.FIELDS, 1, "UnknownKeyError"),
        (Purpose.FILES, 1, "UnknownKeyError"),
        # Somebody who read a value before it was rewritten decrypts it now.
        (Purpose.FIELDS, 2, "UnknownKeyError"),
        (Purpose.FILES, 2, "UnknownKeyError"),
        # The stale process writes no index under the new key.
        (Purpose.INDEX, 1, "the stale process wrote, in the fresh one"),
        # A process searches by the old index still, which new rows have no more.
        (Purpose.INDEX, 2, "the fresh process wrote, in the reading one"),
    ],
)
def test_without_waiting_somebody_would_notice(
    purpose: Purpose,
    skipped: int,
    noticed: str,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    store: FailingStore,
) -> None:
    with pytest.raises(AssertionError, match=noticed):
        rotate_beside(site, [purpose], monkeypatch, store, skipped)


def test_without_the_last_waiting_an_old_index_would_be_left(
    site: Site, monkeypatch: pytest.MonkeyPatch, store: FailingStore
) -> None:
    rotate_beside(site, [Purpose.INDEX], monkeypatch, store, skipped=3)
    assert not_current()


def test_with_one_index_only_somebody_would_notice(
    site: Site, monkeypatch: pytest.MonkeyPatch, store: FailingStore
) -> None:
    def one(purpose: Purpose) -> Keyring:
        ring = keyring(purpose)
        return replace(ring, slots={slot: k for slot, k in ring.slots.items() if k is ring.active})

    monkeypatch.setattr(values, "keyring", one)
    with pytest.raises(AssertionError, match="stale process wrote, in the fresh one"):
        rotate_beside(site, [Purpose.INDEX], monkeypatch, store)


def test_with_the_new_index_searched_at_once_somebody_would_notice(
    site: Site, monkeypatch: pytest.MonkeyPatch, store: FailingStore
) -> None:
    # As the other keys, which are the active ones from the beginning.
    from apps.rotation import keys

    begin = keys.begin

    def begin_and_search(purpose: Purpose, made: str) -> object:
        new = begin(purpose, made)
        keys.search_with_newest()
        return new

    monkeypatch.setattr(keys, "begin", begin_and_search)
    with pytest.raises(AssertionError, match="fresh"):
        rotate_beside(site, [Purpose.INDEX], monkeypatch, store)


def test_a_process_does_not_know_what_another_has_read(store: FailingStore) -> None:
    process = Process()
    new = store.add_key(Purpose.FIELDS).id
    assert keyring(Purpose.FIELDS).active.id.hex() == new
    with process:
        assert keyring(Purpose.FIELDS).active.id.hex() != new
    process.refresh()
    with process:
        assert keyring(Purpose.FIELDS).active.id.hex() == new
