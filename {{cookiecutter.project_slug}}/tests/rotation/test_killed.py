"""A rotation that ends at any step leaves a site that works, and the next one finishes it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from apps.keys.errors import KeyStoreError
from apps.keys.keyring import Purpose, forget, key_store
from apps.keys.store import StoredRing
from apps.rotation import keys
from apps.rotation.keys import plan
from apps.rotation.management.commands import rotate_keys
from tests.keys.stores import FailingStore
from tests.rotation.looking import check_all, ids, not_current, ring, rotate, values
from tests.rotation.processes import Process, Site, at_every_step

pytestmark = pytest.mark.django_db

# What PostgreSQL does of its own is in test_writers.py; here it only takes longer.
STRIDE = 1 if connection.vendor == "sqlite" else 5


class Killed(BaseException):
    """Ends a rotation at once; nothing in it handles this."""


class Killer:
    """Ends what runs at its step of this number."""

    def __init__(self) -> None:
        self.steps_left = -1

    def step(self, name: str) -> None:
        # After most steps is before the next one; after a write is before its commit.
        if name.startswith("after") and name != "after _write":
            return
        if self.steps_left == 0:
            raise Killed
        self.steps_left -= 1


def options(purposes: list[Purpose]) -> list[str]:
    return [word for purpose in purposes for word in ("--purpose", purpose)]


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch, store: FailingStore, site: Site) -> Killer:
    """Kills rotations beside a site that goes on."""
    killer = Killer()
    monkeypatch.setattr(rotate_keys, "settle", lambda _say: site.settle())
    at_every_step(monkeypatch, store, killer.step)
    return killer


def rotate_and_kill(killer: Killer, step: int, *arguments: str) -> bool:
    """Run a rotation in a process of its own; return whether it was killed at this step."""
    killer.steps_left = step
    try:
        with Process():
            rotate(*arguments)
    except Killed:
        return True
    finally:
        killer.steps_left = -1
    return False


def is_done(before: dict[Purpose, set[str]], purposes: list[Purpose]) -> bool:
    """Whether the keyrings look as after a complete rotation."""
    return all(len(ids()[p]) == 1 and ids()[p].isdisjoint(before[p]) for p in purposes)


# The others are part of all together.
@pytest.mark.parametrize("purposes", [list(Purpose)], ids=", ".join)
def test_killed_at_each_step(
    purposes: list[Purpose], site: Site, killer: Killer, store: FailingStore
) -> None:
    for step in count(step=STRIDE):
        before, archived = ids(), {p: set(store.archive[p]) for p in Purpose}
        killed = rotate_and_kill(killer, step, *options(purposes))
        site.check()
        # There is nothing to go on with, so the next run would be another rotation.
        rest = ["--resume"] if is_done(before, purposes) else options(purposes)
        with Process():
            rotate(*rest)
        site.check()
        site.settle()
        forget()
        check_all(values())
        for purpose in Purpose:
            retired = set(store.archive[purpose]) - archived[purpose]
            assert retired == (before[purpose] if purpose in purposes else set()), step
        if not killed:
            break
    assert step > 10


@pytest.mark.parametrize("arguments", [["--purpose", "files"], ["--resume"], []], ids=" ".join)
def test_the_next_run_is_for_other_purposes(
    arguments: list[str], site: Site, killer: Killer
) -> None:
    for step in range(0, 24, 2):
        rotate_and_kill(killer, step, "--purpose", "fields", "--purpose", "index")
        begun = [purpose for purpose in Purpose if keys.is_rotating(purpose)]
        made = {purpose: ring(purpose).keys[-1].id for purpose in Purpose}
        with Process():
            said = rotate(*arguments).out
        site.check()
        site.settle()
        forget()
        check_all(values())
        if begun:
            assert f"Going on with the rotation of {', '.join(begun)}." in said
        for purpose in begun:
            assert ring(purpose).active == made[purpose]
        if arguments == ["--resume"]:
            assert {purpose: ring(purpose).active for purpose in Purpose} == made
            assert "Made" not in said


def test_killed_again_and_again(site: Site, killer: Killer, store: FailingStore) -> None:
    old = ids()
    for step in count(3, 2):
        if not rotate_and_kill(killer, step):
            break
        site.check()
    site.settle()
    forget()
    check_all(values())
    assert step > 15
    assert {purpose: set(store.archive[purpose]) for purpose in Purpose} == old


@pytest.mark.usefixtures("rows")
def test_a_finished_rotation_may_be_run_again(store: FailingStore) -> None:
    before = values()
    rotate()
    first = ids()
    rotate()
    check_all(before)
    assert all(first[purpose] < set(store.archive[purpose]) for purpose in Purpose)
    second = ids()
    said = rotate("--resume").out
    assert ids() == second
    assert "Made" not in said
    assert "Rewrote 0 rows" in said


# A store that fails -----------------------------------------------------------------------------


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, store: FailingStore) -> Callable[[int], None]:
    """Let every call to the store fail from one of these calls on; a negative number: none."""
    left = -1

    def call(method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                raise KeyStoreError("The store is away.")
            left -= 1
            return method(*arguments)

        return called

    for name in ("read", "write", "generate", "retire", "retired", "unwrap"):
        monkeypatch.setattr(store, name, call(getattr(store, name)))

    def fail(after: int) -> None:
        nonlocal left
        left = after

    return fail


def test_the_key_store_fails_at_each_call(
    away: Callable[[int], None],
    site: Site,
    store: FailingStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotate_keys, "settle", lambda _say: site.settle())
    before, archived = ids(), {p: set(store.archive[p]) for p in Purpose}
    for calls in count(step=3 * STRIDE):
        rotator = Process()
        away(calls)
        try:
            with rotator:
                rotate()
        except CommandError as error:
            said = str(error)
        else:
            said = "It has not failed."
        away(-1)
        forget()
        site.check()
        if is_done(before, list(Purpose)):
            break
        with Process():
            rotate()
        site.settle()
        forget()
        check_all(values())
        assert {p: set(store.archive[p]) - archived[p] for p in Purpose} == before
        before, archived = ids(), {p: set(store.archive[p]) for p in Purpose}
        assert said == "The store is away. Then run this again: it goes on."
    assert said == "It has not failed."
    assert calls > 30


# Which keys an interrupted rotation had made ----------------------------------------------------


def made_at(purpose: Purpose, *times: str) -> None:
    """Give a purpose keys of these times, the last one active."""
    first = ring(purpose).keys[0]
    new = tuple(
        replace(first, id=f"{n:08x}", created=time, slot=n % 2) for n, time in enumerate(times, 1)
    )
    key_store().write(purpose, StoredRing(active=new[-1].id, keys=new))


FIELDS, INDEX, FILES = Purpose


@pytest.mark.parametrize(
    ("fields", "index", "files", "begun", "new"),
    [
        ([1], [1], [1], [], [FIELDS, INDEX, FILES]),
        ([1], [2], [3], [], [FIELDS, INDEX, FILES]),
        ([1, 5], [1], [1], [FIELDS], [INDEX, FILES]),
        ([1, 5], [1, 5], [1], [FIELDS, INDEX], [FILES]),
        ([1, 5], [1, 5], [1, 5], [FIELDS, INDEX, FILES], []),
        ([1, 5], [5], [1, 5], [FIELDS, FILES], []),  # the index is done
        ([5], [5], [1, 5], [FILES], []),
        ([5], [5], [5], [], [FIELDS, INDEX, FILES]),  # all are
        ([1], [1], [1, 5], [FILES], [FIELDS, INDEX]),  # only the files were rotated
        ([3, 5], [5], [5], [FIELDS], []),  # a key of a backup was restored
        ([3, 5], [7], [5], [FIELDS], [INDEX]),  # the index was rotated since
        ([1, 3, 5], [5], [5], [FIELDS], []),  # two were restored
        ([3, 5], [5, 7], [5], [FIELDS, INDEX], [FILES]),  # restored, and a rotation was killed
    ],
)
def test_plan(
    fields: list[int],
    index: list[int],
    files: list[int],
    begun: list[Purpose],
    new: list[Purpose],
) -> None:
    for purpose, years in zip(Purpose, (fields, index, files), strict=True):
        made_at(purpose, *(f"200{year}-01-01T00:00:00+00:00" for year in years))
    found = plan(Purpose, resume=False)
    assert (found.purposes, found.begun, found.new) == ([*Purpose], begun, new)
    assert plan(Purpose, resume=True).new == []
    only = plan([FILES], resume=False)
    assert only.purposes == [p for p in Purpose if p in {*begun, FILES}]
    assert only.new == [p for p in new if p is FILES]
    assert not begun or found.made.startswith("200")


def test_all_keys_of_one_rotation_have_one_time(store: FailingStore) -> None:
    rotate()
    assert len({ring(purpose).keys[0].created for purpose in Purpose}) == 1
    rotate("--purpose", "fields")
    assert len({ring(purpose).keys[0].created for purpose in Purpose}) == 2


@pytest.mark.usefixtures("rows")
def test_a_restored_key_is_no_rotation_to_go_on_with(store: FailingStore) -> None:
    before, (old,) = values(), ids()[FIELDS]
    rotate()
    current = ids()
    call_command("restore_key", "fields", old)
    assert len(ids()[FIELDS]) == 2
    assert "Made" not in rotate().out
    check_all(before)
    assert ids() == current
    assert set(store.archive[FIELDS]) == {old}
    assert not_current() == []
