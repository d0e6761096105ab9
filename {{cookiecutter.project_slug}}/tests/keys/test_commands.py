"""`create_keys` and `restore_key`: no run of them can lose a key."""

import base64
from collections.abc import Callable, Iterator
from io import StringIO
from threading import Barrier, Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from apps.fields.values import unseal
from apps.keys.errors import KeyStoreError, UnknownKeyError, WrongKeyError
from apps.keys.keyring import Purpose, forget, keyring
from apps.keys.management.commands import create_keys as command
from apps.keys.store import StoredRing
from apps.rotation.waiting import only_one
from apps.users.models import User
from tests.fields import stored
from tests.keys.stores import Clock, FailingStore
from tests.secrets.parameter_store import Killed

FIELDS = Purpose.FIELDS
pytestmark = pytest.mark.django_db
on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has no lock for it"
)


def call(name: str, *arguments: str) -> str:
    said = StringIO()
    call_command(name, *arguments, stdout=said)
    return said.getvalue()


# create_keys ------------------------------------------------------------------------------


@pytest.fixture
def empty(store: FailingStore) -> FailingStore:
    """The store as it is before the first release."""
    store.rings.clear()
    return store


def test_the_first_run_makes_all_keys_and_the_second_none(empty: FailingStore) -> None:
    assert call("create_keys") == "Made keys for: fields, index, files.\n"
    made = dict(empty.rings)
    assert set(made) == set(Purpose)
    for purpose in Purpose:
        assert len(made[purpose].keys) == 1
        assert keyring(purpose).active.id.hex() == made[purpose].active
    assert call("create_keys") == "All keys exist.\n"
    assert empty.rings == made


@pytest.mark.parametrize("number", range(3))
def test_a_run_that_was_killed_is_completed(
    number: int, empty: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = empty.create

    def die(purpose: str, ring: StoredRing) -> bool:
        if len(empty.rings) == number:
            raise Killed
        return create(purpose, ring)

    monkeypatch.setattr(empty, "create", die)
    with pytest.raises(Killed):
        call("create_keys")
    before = dict(empty.rings)
    assert len(before) == number
    monkeypatch.undo()
    call("create_keys")
    assert set(empty.rings) == set(Purpose)
    assert before.items() <= empty.rings.items()


def test_of_two_runs_at_once_one_makes_the_keys(
    empty: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Barrier(2, timeout=20)
    generate = empty.generate

    def generate_together(purpose: str) -> tuple[bytes, str]:
        both.wait()  # each has seen that there is none
        return generate(purpose)

    monkeypatch.setattr(empty, "generate", generate_together)
    monkeypatch.setattr(command, "_columns_in_use", lambda: iter(()))
    said: list[str] = []
    threads = [Thread(target=lambda: said.append(call("create_keys"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    made = " ".join(said)
    assert all(made.count(purpose) == 1 for purpose in Purpose)
    for purpose in Purpose:
        assert keyring(purpose).active.id.hex() == empty.rings[purpose].active


def test_a_store_that_wrongly_has_no_keyring_keeps_it(
    store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(store.rings)
    monkeypatch.setattr(store, "read", lambda _purpose: None)
    assert call("create_keys") == "All keys exist.\n"
    assert store.rings == before


def test_a_store_that_fails_gets_no_keys(store: FailingStore) -> None:
    store.fails = True
    before = dict(store.rings)
    with pytest.raises(KeyStoreError, match="The store is away"):
        call("create_keys")
    assert store.rings == before


@pytest.mark.parametrize("lost", [[*Purpose], *([purpose] for purpose in Purpose)], ids=str)
def test_lost_keys_of_stored_values_are_not_replaced(
    lost: list[Purpose], store: FailingStore, user: User
) -> None:
    kept = {purpose: ring for purpose, ring in store.rings.items() if purpose not in lost}
    store.rings = dict(kept)
    with pytest.raises(CommandError) as caught:
        call("create_keys")
    message = str(caught.value)
    assert message.startswith(f"There are no keys for {', '.join(lost)}, but users_user.email ")
    assert "Restore the parameters below /" in message
    assert store.rings == kept


@pytest.fixture
def schema(db: None) -> Iterator[Callable[[str], None]]:
    """Change the tables, for this test."""
    with transaction.atomic():

        def execute(sql: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql)

        yield execute
        transaction.set_rollback(True)


def test_keys_are_made_before_the_tables(
    empty: FailingStore, schema: Callable[[str], None]
) -> None:
    schema("ALTER TABLE library_tag RENAME TO elsewhere")
    schema("ALTER TABLE library_reader RENAME COLUMN notes TO plain_notes")
    assert call("create_keys").startswith("Made keys")


def test_keys_are_made_before_a_plain_column_is_encrypted(
    empty: FailingStore, schema: Callable[[str], None]
) -> None:
    schema("ALTER TABLE library_tag RENAME TO elsewhere")
    schema("CREATE TABLE library_tag (id integer, word text, hue text)")
    schema("INSERT INTO library_tag VALUES (1, 'in plaintext still', NULL)")
    assert call("create_keys").startswith("Made keys")


def test_keys_are_made_before_a_column_of_plain_bytes_is_encrypted(
    empty: FailingStore, schema: Callable[[str], None]
) -> None:
    binary = "bytea" if connection.vendor == "postgresql" else "blob"
    schema("ALTER TABLE library_tag RENAME TO elsewhere")
    schema(f"CREATE TABLE library_tag (id integer, word {binary}, hue text)")
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO library_tag (id, word) VALUES (1, %s)", [b"in plaintext"])
    assert call("create_keys").startswith("Made keys")


# restore_key ------------------------------------------------------------------------------


@pytest.fixture
def old_backup(store: FailingStore, user: User) -> tuple[str, bytes]:
    """The id of a key that was retired, and a value that is encrypted under it."""
    value = stored.read(user, "email")
    assert value
    (former,) = store.rings[FIELDS].keys
    new = store.add_key(FIELDS)
    store.retire(FIELDS, former)
    store.write(FIELDS, StoredRing(active=new.id, keys=(new,)))
    forget()
    retired = former.id
    with pytest.raises(UnknownKeyError, match=f"manage.py restore_key fields {retired}"):
        unseal("users_user.email", value)
    return retired, value


def test_a_restored_key_decrypts_and_does_not_encrypt(
    store: FailingStore, old_backup: tuple[str, bytes], clock: Clock
) -> None:
    key_id, value = old_backup
    active = store.rings[FIELDS].active
    assert call("restore_key", "fields", key_id) == (
        f"The fields key {key_id} decrypts again. Now: rotate_keys --resume\n"
    )
    assert unseal("users_user.email", value) == b"ada@example.com"
    assert store.rings[FIELDS].active == keyring(FIELDS).active.id.hex() == active != key_id


def test_a_key_is_restored_once(store: FailingStore, old_backup: tuple[str, bytes]) -> None:
    key_id, _value = old_backup
    call("restore_key", "fields", key_id)
    once = store.rings[FIELDS]
    assert "decrypts again" in call("restore_key", "fields", key_id)
    assert store.rings[FIELDS] == once
    assert [key.id for key in once.keys] == [key_id, once.active]  # the newest is the last


@pytest.mark.parametrize("key_id", ["0a0b0c0d", "", "x"])
def test_an_unknown_key_is_not_restored(
    key_id: str, store: FailingStore, old_backup: tuple[str, bytes]
) -> None:
    before = dict(store.rings)
    with pytest.raises(CommandError, match=f"Retired keys: {old_backup[0]}"):
        call("restore_key", "fields", key_id)
    with pytest.raises(CommandError, match="Retired keys: none"):
        call("restore_key", "files", old_backup[0])
    assert store.rings == before


def test_an_index_key_is_not_restored(store: FailingStore) -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        call("restore_key", "index", "0a0b0c0d")


def test_a_retired_key_that_was_altered_is_not_restored(
    store: FailingStore, old_backup: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, _value = old_backup
    before = dict(store.rings)
    other = base64.b64decode(store.rings[Purpose.FILES].keys[0].wrapped)
    monkeypatch.setattr(store, "unwrap", lambda _purpose, _wrapped: other)
    monkeypatch.setattr("apps.keys.keyring._unwrapped", {})  # as in a process of its own
    with pytest.raises(WrongKeyError):
        call("restore_key", "fields", key_id)
    assert store.rings == before


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_no_key_is_restored_while_a_rotation_runs(
    store: FailingStore, old_backup: tuple[str, bytes]
) -> None:
    key_id, _value = old_backup
    before = dict(store.rings)
    failed: list[Any] = []

    def restore() -> None:
        try:
            call("restore_key", "fields", key_id)
        except CommandError as error:
            failed.append(error)
        finally:
            connection.close()

    with only_one("default"):
        thread = Thread(target=restore)
        thread.start()
        thread.join(20)
    assert "Another rotation is running" in str(failed[0])
    assert store.rings == before
