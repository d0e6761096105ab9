"""Runs rotations, and looks at what is stored and at what can be read of it."""

from collections.abc import Iterator
from io import StringIO
from typing import Any, NamedTuple

from django.apps import apps
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection
from django.db.models import Model

from apps.fields import EncryptedField
from apps.fields.values import SLOT_SIZE, SLOTS, current_header, slot_offset
from apps.keys.keyring import KEY_ID_SIZE, Purpose, key_store, keyring
from apps.keys.store import StoredRing
from tests.fields.library.models import Scan

EMPTY = bytes(SLOT_SIZE)


class Said(NamedTuple):
    """What a rotation printed."""

    out: str
    err: str


def rotate(*arguments: str) -> Said:
    """Run `rotate_keys` and return what it printed."""
    out, err = StringIO(), StringIO()
    call_command("rotate_keys", *arguments, stdout=out, stderr=err)
    return Said(out.getvalue(), err.getvalue())


def ring(purpose: Purpose) -> StoredRing:
    """The stored keyring."""
    found = key_store().read(purpose)
    assert found
    return found


def ids() -> dict[Purpose, set[str]]:
    """The ids of the keys in the stored keyrings."""
    return {purpose: {key.id for key in ring(purpose).keys} for purpose in Purpose}


def encrypted_models() -> Iterator[tuple[type[Model], list[EncryptedField]]]:
    """Every model with encrypted columns in its own table, and their fields."""
    for model in apps.get_models():
        fields = [f for f in model._meta.local_fields if isinstance(f, EncryptedField)]
        if fields and not model._meta.proxy:
            yield model, fields


def raw(model: type[Model], field: EncryptedField) -> list[bytes | None]:
    """A column as the database holds it, in the order of the primary keys."""
    quote = connection.ops.quote_name
    meta = model._meta
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {quote(str(field.column))} FROM {quote(meta.db_table)} "  # noqa: S608
            f"ORDER BY {quote(str(meta.pk.column))}"
        )
        return [None if value is None else bytes(value) for (value,) in cursor.fetchall()]


def stored() -> dict[Any, Any]:
    """Every encrypted column and every file as it is stored."""
    columns: dict[Any, Any] = {
        str(field): raw(model, field) for model, fields in encrypted_models() for field in fields
    }
    return columns | {name: default_storage.open_stored(name).read() for name in file_names()}  # type: ignore[attr-defined]


def values() -> dict[Any, Any]:
    """Every encrypted value and every file as it is read."""
    found: dict[Any, Any] = {
        model.__name__: list(
            model._default_manager.order_by("pk").values("pk", *(f.name for f in fields))
        )
        for model, fields in encrypted_models()
    }
    return found | {name: default_storage.open(name).read() for name in file_names()}


def file_names() -> list[str]:
    """The names of the files that rows name."""
    rows = Scan.objects.values_list("file", "thumbnail")
    return sorted({name for row in rows for name in row if name and default_storage.exists(name)})


def not_found() -> list[tuple[str, Any]]:
    """Field and primary key of every row that a search for its own value does not find."""
    missing = []
    for model, fields in encrypted_models():
        rows = model._default_manager.all()
        for field in (f for f in fields if f.searchable):
            for row in rows:
                value = getattr(row, field.name)
                if value is None:
                    found = rows.filter(pk=row.pk, **{f"{field.name}__isnull": True})
                else:
                    found = rows.filter(pk=row.pk, **{field.name: value})
                if not found.exists():
                    missing.append((str(field), row.pk))
    return missing


def not_current() -> list[str]:
    """Every column and file with something that is not under the current keys alone."""
    wrong = []
    for model, fields in encrypted_models():
        for field in fields:
            begins, slot_ids = current_header(searchable=field.searchable)
            for value in filter(None, raw(model, field)):
                slots = [value[slot_offset(s) :][:SLOT_SIZE] for s in SLOTS if slot_ids]
                right = [
                    slot == EMPTY
                    if slot_id == bytes(KEY_ID_SIZE)
                    else slot[:KEY_ID_SIZE] == slot_id
                    for slot, slot_id in zip(slots, slot_ids, strict=True)
                ]
                if not (value.startswith(begins) and all(right)):
                    wrong.append(str(field))
    active = keyring(Purpose.FILES).active.id
    return wrong + [name for name in file_names() if file_key(name) != active]


def file_key(name: str) -> bytes:
    """The id of the key of a stored file."""
    found: bytes = default_storage.key_id(name)  # type: ignore[attr-defined]
    return found


def check_all(before: dict[Any, Any]) -> None:
    """All values are as they were, each can be found, and one key of each purpose is left."""
    assert values() == before
    assert not_found() == []
    assert not_current() == []
    assert {len(found) for found in ids().values()} == {1}
