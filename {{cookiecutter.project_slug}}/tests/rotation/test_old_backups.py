"""A backup that is older than a rotation is read, searched and moved to the current keys."""

from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Model

from apps.encryption.hops import load
from apps.encryption.probes import Proof, Result, columns
from apps.keys.errors import UnknownKeyError
from apps.keys.keyring import Purpose, forget
from apps.rotation.tables import Table
from tests.fields.library.models import Loan, Reader
from tests.fields.stored import read, write
from tests.keys.stores import FailingStore
from tests.rotation.looking import (
    check_all,
    encrypted_models,
    file_names,
    ids,
    not_found,
    rotate,
    stored,
    values,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rows")]

FIELDS, INDEX, FILES = Purpose


def put_back(backup: dict[Any, Any]) -> None:
    """Restore columns and files as `stored` has given them."""
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        for model, fields in encrypted_models():
            table, pk = quote(model._meta.db_table), quote(str(model._meta.pk.column))
            pks = list(model._default_manager.order_by("pk").values_list("pk", flat=True))
            for field in fields:
                cursor.executemany(
                    f"UPDATE {table} SET {quote(str(field.column))} = %s WHERE {pk} = %s",  # noqa: S608
                    list(zip(backup[str(field)], pks, strict=True)),
                )
    storage: Any = default_storage
    for name in file_names():
        storage.delete(name)
        InMemoryStorage._save(storage, name, ContentFile(backup[name]))  # type: ignore[attr-defined]


def verify() -> Proof:
    """Return what the probe of `verify_encryption` says of the stored values."""
    (store,) = (store for store in load().stores if store.name == "columns")
    result = Result(item=store)
    columns(result)
    bound, readable = result.proofs
    assert bound.holds
    return readable


@pytest.mark.parametrize("rotations", [1, 2])
def test_an_old_backup_is_brought_to_the_current_keys(rotations: int, store: FailingStore) -> None:
    before, backup, old = values(), stored(), ids()
    for _ in range(rotations):
        rotate()
    current, archive = ids(), {purpose: dict(store.archive[purpose]) for purpose in Purpose}
    put_back(backup)

    (old_fields,), (old_files,) = old[FIELDS], old[FILES]
    said = verify()
    assert not said.holds
    assert said.reason.startswith("UnknownKeyError: ")
    assert f"manage.py restore_key fields {old_fields}" in said.reason
    with pytest.raises(UnknownKeyError, match=f"restore_key files {old_files}"):
        default_storage.open("scans/1")
    with pytest.raises(CommandError, match="cannot be decrypted"):
        rotate("--resume")
    assert ids() == current

    call_command("restore_key", "fields", old_fields)
    call_command("restore_key", "files", old_files)
    assert values() == before
    said = verify()
    assert not said.holds
    assert said.reason.startswith("LookupError: A value in ")
    assert "Run: manage.py rotate_keys --resume" in said.reason
    missing = {field for field, _pk in not_found()}
    assert len(missing) > 10
    assert not Reader.objects.filter(email="reader1@example.com").exists()

    assert "Made" not in rotate("--resume").out
    check_all(before)
    assert ids() == current
    assert verify().holds
    assert Reader.objects.get(email="reader1@example.com").name == "Name 1"
    assert store.archive == archive


def test_the_second_index_slot_does_not_hide_an_old_one() -> None:
    # After two rotations the old backup's index stands in the slot of the current key.
    backup = stored()
    rotate("--purpose", "index")
    rotate("--purpose", "index")
    put_back(backup)
    said = verify()
    assert not said.holds
    assert said.reason.startswith("LookupError: ")
    assert not Reader.objects.filter(email="reader1@example.com").exists()
    rotate("--resume")
    assert verify().holds
    assert not_found() == []


def test_one_row_of_an_old_backup() -> None:
    reader = Reader.objects.get(email="reader1@example.com")
    backup = stored()
    rotate("--purpose", "index")
    current = stored()
    index = list(Reader.objects.order_by("pk")).index(reader)
    for name, column in current.items():
        if name.startswith("library.Reader"):
            column[index] = backup[name][index]
    put_back(current)
    table = Table(Reader, "default")
    assert table.count_due() == 1
    with pytest.raises(LookupError):
        table.look(100)
    table.look(1)  # the ends are right
    rotate("--resume")
    assert Reader.objects.get(email="reader1@example.com") == reader


@pytest.mark.parametrize(
    ("model", "column", "together"), [(Reader, "email", ()), (Loan, "place", ("shelf",))]
)
def test_an_old_row_beside_its_like(
    model: type[Model], column: str, together: tuple[str, ...]
) -> None:
    first, second, *_ = model._default_manager.order_by("pk")
    old = {name: read(first, name) for name in (*together, column)}
    unlike = {name: read(second, name) for name in old}
    rotate("--purpose", "index")
    for name, value in old.items():
        assert value
        write(second, name, value)
    before = stored()
    with pytest.raises(CommandError) as stopped:
        rotate("--resume")
    assert str(stopped.value) == (
        f"The value of {model._meta.db_table}.{column} in the row with the primary key {second.pk} "
        "must be unique, and another row has it: one of them was put back from a backup. Delete "
        "or change one. Then run this again: it goes on."
    )
    assert stored() == before
    for name, value in unlike.items():
        assert value
        write(second, name, value)
    rotate("--resume")
    assert not_found() == []


def test_a_backup_of_a_middle_of_a_rotation(store: FailingStore) -> None:
    # It has values under both keys; both can be restored.
    before, old = values(), ids()
    store.write(FIELDS, store.rings[FIELDS])
    first = stored()
    rotate("--purpose", "fields")
    middle = stored()
    middle["library.Reader.notes"] = first["library.Reader.notes"]
    (second,) = ids()[FIELDS]
    rotate("--purpose", "fields")
    put_back(middle)
    for key_id in (second, *old[FIELDS]):
        call_command("restore_key", "fields", key_id)
    forget()
    assert len(ids()[FIELDS]) == 3
    rotate("--resume")
    check_all(before)
    assert set(store.archive[FIELDS]) == {second, *old[FIELDS]}
