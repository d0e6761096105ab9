"""When keys are read and unwrapped, and what happens when the store fails."""

# ruff: noqa: S603 (a test starts a process of its own)

import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from apps.keys import keyring as keys
from apps.keys.errors import KeyStoreError, UnknownKeyError, WrongKeyError
from apps.keys.keyring import DataKey, Keyring, Purpose, find_key, forget, key_store, keyring
from apps.keys.store import StoredRing
from config.project import BASE_DIR
from tests.keys.stores import Clock, FailingStore

FIELDS = Purpose.FIELDS
UNKNOWN = bytes.fromhex("0a0b0c0d")
REFRESH, MAX_AGE = 60, 300  # seconds, with the KEYRING_MAX_AGE of these tests


def active_id(store: FailingStore, purpose: Purpose = FIELDS) -> bytes:
    return bytes.fromhex(store.rings[purpose].active)


# Once -------------------------------------------------------------------------------------


def test_a_keyring_is_read_once(store: FailingStore, clock: Clock) -> None:
    first = keyring(FIELDS)
    clock.advance(REFRESH - 1)
    assert keyring(FIELDS) is first
    assert find_key(FIELDS, first.active.id) is first.active
    assert store.reads == [FIELDS]


def test_each_purpose_has_its_own_key(store: FailingStore) -> None:
    found = {keyring(purpose).active.id for purpose in Purpose}
    assert len(found) == len(store.reads) == 3
    for purpose in Purpose:
        other = next(p for p in Purpose if p != purpose)
        with pytest.raises(UnknownKeyError):
            find_key(other, keyring(purpose).active.id)


def test_a_key_is_unwrapped_once_however_often_the_keyring_is_read(
    store: FailingStore, clock: Clock
) -> None:
    former = keyring(FIELDS).active
    for _ in range(3):
        clock.advance(MAX_AGE + 1)
        assert keyring(FIELDS).active is former
    new = store.add_key(FIELDS)
    forget()
    assert keyring(FIELDS).active.id.hex() == new.id
    assert find_key(FIELDS, former.id) is former
    assert len(store.reads) == 5
    assert len(store.unwrapped) == 2


def test_a_key_is_not_unwrapped_again_because_another_could_not_be(
    store: FailingStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = store.add_key(FIELDS)
    unwrap = store.unwrap

    def refuse_new(purpose: str, wrapped: str) -> bytes:
        if wrapped == new.wrapped:
            raise KeyStoreError("KMS is away.")
        return unwrap(purpose, wrapped)

    monkeypatch.setattr(store, "unwrap", refuse_new)
    for _ in range(3):
        with pytest.raises(KeyStoreError):
            keyring(FIELDS)
        clock.advance(2)
    assert len(store.unwrapped) == 1


# Again ------------------------------------------------------------------------------------


def test_a_changed_keyring_is_used_after_a_fifth_of_its_longest_age(
    store: FailingStore, clock: Clock
) -> None:
    former = keyring(FIELDS).active
    new = store.add_key(FIELDS)
    clock.advance(REFRESH - 1)
    assert keyring(FIELDS).active is former
    clock.advance(1)
    assert keyring(FIELDS).active.id.hex() == new.id


def test_forget_reads_it_at_once(store: FailingStore) -> None:
    former = keyring(FIELDS).active
    store.add_key(FIELDS)
    forget()
    assert keyring(FIELDS).active is not former


def test_a_value_under_a_key_made_since_is_read_at_once(store: FailingStore, clock: Clock) -> None:
    keyring(FIELDS)
    new = bytes.fromhex(store.add_key(FIELDS).id)
    # Not even a moment after the keyring was read: that was before the key was made.
    assert find_key(FIELDS, new).id == new
    assert keyring(FIELDS).active.id == new
    assert store.reads == [FIELDS] * 2


def test_many_threads_that_meet_a_new_key_ask_once(store: FailingStore) -> None:
    keyring(FIELDS)
    new = bytes.fromhex(store.add_key(FIELDS).id)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: find_key(FIELDS, new), range(8)))
    assert {key.id for key in found} == {new}
    assert store.reads == [FIELDS] * 2


def test_an_unknown_key_is_asked_for_at_most_once_a_second(
    store: FailingStore, clock: Clock
) -> None:
    keyring(FIELDS)
    for number in range(20):  # other ids do not make it more
        with pytest.raises(UnknownKeyError):
            find_key(FIELDS, bytes([number, 1, 1, 1]))
    assert len(store.reads) == 2
    clock.advance(1)
    with pytest.raises(UnknownKeyError):
        find_key(FIELDS, UNKNOWN)
    assert len(store.reads) == 3


def test_an_unknown_key_names_the_fix(store: FailingStore) -> None:
    with pytest.raises(UnknownKeyError, match="restore_key fields 0a0b0c0d"):
        find_key(FIELDS, UNKNOWN)


def test_a_key_that_was_taken_out_is_refused(store: FailingStore, clock: Clock) -> None:
    former = keyring(FIELDS).active
    new = store.add_key(FIELDS)
    store.rings[FIELDS] = StoredRing(active=new.id, keys=(new,))
    assert find_key(FIELDS, former.id) is former
    clock.advance(REFRESH)
    keyring(FIELDS)
    with pytest.raises(UnknownKeyError):
        find_key(FIELDS, former.id)


# Failures ---------------------------------------------------------------------------------


def test_a_failing_store_is_unnoticed_until_the_keyring_is_too_old(
    store: FailingStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    held = keyring(FIELDS)
    store.fails = True
    clock.advance(REFRESH)
    with caplog.at_level(logging.WARNING):
        assert keyring(FIELDS) is held
    assert "keyring_not_refreshed" in caplog.text
    assert "The store is away." in caplog.text
    clock.advance(MAX_AGE - REFRESH - 1)
    assert keyring(FIELDS) is held
    clock.advance(1)
    with pytest.raises(KeyStoreError, match="The store is away"):
        keyring(FIELDS)


def test_old_keys_decrypt_however_long_the_store_is_away(store: FailingStore, clock: Clock) -> None:
    held = keyring(FIELDS)
    store.fails = True
    clock.advance(MAX_AGE * 100)
    with pytest.raises(KeyStoreError):
        keyring(FIELDS)
    reads = len(store.reads)
    assert find_key(FIELDS, held.active.id) is held.active
    assert len(store.reads) == reads


def test_a_failing_store_is_asked_now_and_then(store: FailingStore, clock: Clock) -> None:
    keyring(FIELDS)
    store.fails = True
    clock.advance(REFRESH)
    for second in range(MAX_AGE - REFRESH):  # every 15 seconds, a twentieth of the age
        keyring(FIELDS)
        assert len(store.reads) == 2 + second // 15
        clock.advance(1)


def test_without_keys_a_failing_store_is_asked_once_a_second(
    store: FailingStore, clock: Clock
) -> None:
    """So the requests that come meanwhile fail at once: none waits for its turn to ask."""
    store.fails = True
    for _ in range(2):
        for _ in range(5):
            with pytest.raises(KeyStoreError, match="The store is away"):
                keyring(FIELDS)
            with pytest.raises(KeyStoreError, match="The store is away"):
                find_key(FIELDS, UNKNOWN)
        clock.advance(1)
    assert len(store.reads) == 2
    store.fails = False
    assert keyring(FIELDS).active.id == active_id(store)


def test_an_unknown_key_and_a_failing_store_is_a_failure_of_the_store(
    store: FailingStore, clock: Clock
) -> None:
    keyring(FIELDS)
    store.fails = True
    with pytest.raises(KeyStoreError, match="The store is away"):
        find_key(FIELDS, UNKNOWN)


def test_a_store_that_is_back_is_noticed(store: FailingStore, clock: Clock) -> None:
    keyring(FIELDS)
    store.fails = True
    clock.advance(MAX_AGE)
    with pytest.raises(KeyStoreError):
        keyring(FIELDS)
    store.fails = False
    clock.advance(1)
    assert keyring(FIELDS).active.id == active_id(store)


def test_without_a_keyring_the_fix_is_named(store: FailingStore) -> None:
    del store.rings[FIELDS]
    with pytest.raises(KeyStoreError, match=r"no fields keyring.*manage.py create_keys"):
        keyring(FIELDS)
    assert keyring(Purpose.INDEX)


@pytest.mark.parametrize("secret", [bytes(32), b"short"], ids=["another", "no"])
def test_a_wrong_key_from_kms_is_refused(
    secret: bytes, store: FailingStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "unwrap", lambda _purpose, _wrapped: secret)
    with pytest.raises(WrongKeyError):
        keyring(FIELDS)
    monkeypatch.undo()
    forget()
    assert find_key(FIELDS, active_id(store)).derive("id")[:4] == active_id(store)


def test_an_altered_store_does_not_stop_a_process_that_has_its_keys(
    store: FailingStore, clock: Clock
) -> None:
    held = keyring(FIELDS)
    new = store.add_key(FIELDS)
    ring = store.rings[FIELDS]
    altered = replace(new, wrapped=ring.keys[0].wrapped)
    store.rings[FIELDS] = replace(ring, keys=(ring.keys[0], altered))
    clock.advance(REFRESH)
    assert keyring(FIELDS) is held
    with pytest.raises(WrongKeyError, match=new.id):
        find_key(FIELDS, bytes.fromhex(new.id))
    clock.advance(MAX_AGE)
    with pytest.raises(WrongKeyError, match="the store was altered"):
        keyring(FIELDS)


# Threads and processes ------------------------------------------------------------------------


def test_one_thread_asks_while_the_others_go_on(store: FailingStore, clock: Clock) -> None:
    held = keyring(FIELDS)
    store.add_key(FIELDS)
    clock.advance(REFRESH)
    store.is_asked.clear()
    store.may_answer.clear()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(keyring, FIELDS)
        assert store.is_asked.wait(20)
        assert keyring(FIELDS) is held
        assert find_key(FIELDS, held.active.id) is held.active
        store.may_answer.set()
        assert asking.result(20) is not held
    assert store.reads == [FIELDS] * 2
    assert keyring(FIELDS) is asking.result()


@pytest.mark.parametrize("age", [0, MAX_AGE])
def test_threads_without_a_good_keyring_wait_for_the_one_that_asks(
    age: int, store: FailingStore, clock: Clock
) -> None:
    if age:
        keyring(FIELDS)
        clock.advance(age)
    store.reads.clear()
    store.is_asked.clear()
    store.may_answer.clear()
    with ThreadPoolExecutor(8) as threads:
        asking = [threads.submit(keyring, FIELDS) for _ in range(8)]
        assert store.is_asked.wait(20)
        assert not any(future.done() for future in asking)
        store.may_answer.set()
        found = {id(future.result(20)) for future in asking}
    assert found == {id(keyring(FIELDS))}
    assert store.reads == [FIELDS]


def in_child(check: Callable[[], bool]) -> bool:
    """Whether a check holds in a forked process; a child that hangs is ended."""
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_process_has_its_own_store(store: FailingStore, clock: Clock) -> None:
    held = keyring(FIELDS)

    def check() -> bool:
        own = key_store()
        return own is not store and keyring(FIELDS) is held and own is key_store()

    assert in_child(check)
    assert key_store() is store


def test_a_process_forked_while_a_thread_asks_can_ask_too(
    store: FailingStore, clock: Clock
) -> None:
    with keys._lock:
        assert in_child(lambda: isinstance(keyring(FIELDS), Keyring))


USE_A_KEY = """
import django; django.setup()
from apps.keys.keyring import Purpose, keyring
keyring(Purpose.FIELDS)
"""
CRASH = """
import os, resource
print(*resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.abort()
"""


def crash(directory: Path, program: str) -> tuple[int, list[str]]:
    """Run a program that may write core files; return its own limit, and what it wrote."""
    directory.mkdir()
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    allow = f"import resource; resource.setrlimit(resource.RLIMIT_CORE, ({hard}, {hard}))\n"
    done = subprocess.run(
        [sys.executable, "-c", allow + program + CRASH],
        cwd=directory,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings_offline",
            "PYTHONPATH": str(BASE_DIR),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGABRT, done.stderr
    written = sorted(path.name for path in directory.iterdir())
    for name in written:
        (directory / name).unlink()
    return int(done.stdout.split()[0]), written


def test_a_process_with_keys_leaves_no_core_file(tmp_path: Path) -> None:
    assert crash(tmp_path / "with", USE_A_KEY) == (0, [])


def test_a_process_without_keys_leaves_one(tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("No process may write a core file here.")
    pattern = Path("/proc/sys/kernel/core_pattern")
    if not pattern.exists() or pattern.read_text()[0] in "|/":
        pytest.skip("Core files are written elsewhere here.")
    limit, written = crash(tmp_path / "without", "")
    assert limit != 0
    assert len(written) == 1


# What is derived -----------------------------------------------------------------------------


def test_what_is_derived_depends_on_key_and_label() -> None:
    key, other = DataKey(bytes(range(32))), DataKey(bytes(range(1, 33)))
    made = {key.derive("a"), key.derive("b"), other.derive("a"), key.derive("id")}
    assert {len(derived) for derived in made} == {32}
    assert len(made) == 4
    # HMAC-SHA-256 of "id" under 00 01 02 ... 1f, computed with:
    # printf id | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...1f
    assert (
        key.derive("id").hex() == "8adc89f941958303437a8bc95f97f9cf2e160dcb63ebfe5a2b5c6b773272401e"
    )
    assert key.id == key.derive("id")[:4]


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(WrongKeyError, match="32 bytes"):
        DataKey(bytes(size))
