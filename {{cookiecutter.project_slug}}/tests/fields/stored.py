"""Looks at, and writes, the bytes of a column behind the ORM's back."""

from django.db import connection, models

from apps.fields import EncryptedField


def read(instance: models.Model, name: str) -> bytes | None:
    """Return what is stored in a field of a row."""
    table, column, key = _where(instance, name)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table} WHERE {key} = %s", [instance.pk])  # noqa: S608
        (stored,) = cursor.fetchone()
    return None if stored is None else bytes(stored)


def write(instance: models.Model, name: str, stored: bytes | str) -> None:
    """Store bytes, or what only SQLite takes for them, in a field of a row."""
    table, column, key = _where(instance, name)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = %s WHERE {key} = %s",  # noqa: S608
            [stored, instance.pk],
        )


def _where(instance: models.Model, name: str) -> tuple[str, str, str]:
    field = instance._meta.get_field(name)
    assert isinstance(field, EncryptedField)
    meta = field.model._meta
    assert meta.pk is not None
    quote = connection.ops.quote_name
    return quote(meta.db_table), quote(str(field.column)), quote(str(meta.pk.column))
