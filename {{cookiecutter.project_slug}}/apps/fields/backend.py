"""What a database backend must know of encrypted fields; mixed into Django's two."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db.models import Model
from django.db.models.constants import OnConflict
from django.db.models.sql import Query
from django.db.transaction import atomic

from apps.fields.columns import BlindIndex, EncryptedCol, EncryptedFieldError
from apps.fields.fields import EncryptedField
from apps.keys.errors import DataKeyError, DecryptionError
from apps.keys.keyring import Purpose, keyring

_BATCH_SIZE = 500


class EncryptedOperationsMixin:
    """`bulk_create(update_conflicts=True, unique_fields=[...])` with an encrypted field."""

    connection: Any
    quote_name: Callable[[str], str]

    def on_conflict_suffix_sql(
        self, fields: Any, on_conflict: Any, update_fields: Any, unique_fields: Any
    ) -> str:
        update_columns, unique_columns = list(update_fields), list(unique_fields)
        encrypted = {f.column: f for f in fields if isinstance(f, EncryptedField) and f.searchable}
        if on_conflict != OnConflict.UPDATE or encrypted.keys().isdisjoint(unique_columns):
            suffix: str = super().on_conflict_suffix_sql(  # type: ignore[misc]
                fields, on_conflict, update_columns, unique_columns
            )
            return suffix
        target = ", ".join(
            self._index_sql(encrypted[column]) if column in encrypted else self.quote_name(column)
            for column in unique_columns
        )
        columns = map(self.quote_name, update_columns)
        values = ", ".join(f"{column} = EXCLUDED.{column}" for column in columns)
        return f"ON CONFLICT ({target}) DO UPDATE SET {values}"

    def _index_sql(self, field: EncryptedField) -> str:
        column = EncryptedCol(None, field).stored()  # type: ignore[arg-type]  # no alias
        index = BlindIndex(column, keyring(Purpose.INDEX).active_slot)
        compiler = Query(field.model).get_compiler(connection=self.connection)
        return str(compiler.compile(index)[0])


class EncryptedSchemaEditorMixin:
    """Migrations that encrypt, decrypt or move a column also convert what is in it.

    An `AlterField` from a plain to an encrypted field encrypts every row, its reverse
    decrypts them, and a new name of column or table binds the values to the new place.
    A conversion and the ALTER TABLE it belongs to are one transaction even in a migration
    that is none, and other sessions wait for it: some 10 seconds per 100,000 rows.

    Raises `DecryptionError` or `DataKeyError` if a value cannot be decrypted, and
    `EncryptedFieldError` if it is of no use to the new field; then nothing has changed.
    """

    connection: Any
    collect_sql: bool
    collected_sql: list[str]
    quote_name: Callable[[str], str]
    execute: Callable[..., Any]

    def effective_default(self, field: Any) -> Any:
        """Return what rows get that are older than the field.

        Django asks for the internal type, and that of every encrypted field is binary.
        """
        if isinstance(field, EncryptedField):
            plain_type = super(EncryptedField, field).get_internal_type
            field = copy.copy(field)
            field.get_internal_type = plain_type
        return super().effective_default(field)  # type: ignore[misc]

    def alter_field(
        self, model: type[Model], old_field: Any, new_field: Any, strict: bool = False
    ) -> None:
        alter = super().alter_field  # type: ignore[misc]
        if _form(old_field) == _form(new_field):
            alter(model, old_field, new_field, strict)
            return
        with atomic(self.connection.alias):
            self.convert(model, old_field, new_field)
            alter(model, old_field, new_field, strict)

    def alter_db_table(self, model: type[Model], old_db_table: str, new_db_table: str) -> None:
        rename = super().alter_db_table  # type: ignore[misc]
        fields = [f for f in model._meta.local_fields if isinstance(f, EncryptedField)]
        # SQLite's editor also renames a table that it has made anew under a provisional
        # name, but no value was ever bound to that.
        if not fields or not model._meta.db_table == new_db_table != old_db_table:
            rename(model, old_db_table, new_db_table)
            return
        with atomic(self.connection.alias):
            rename(model, old_db_table, new_db_table)
            for field in fields:
                column = str(field.column)
                renew = partial(field.renew, place=f"{old_db_table}.{column}")
                self._rewrite(model, column, column, renew)

    def convert(self, model: type[Model], old_field: Any, new_field: Any) -> None:
        """Write every value of the old field as the new one stores it."""
        self.convert_into(old_field.column, model, old_field, new_field)

    def convert_into(self, column: str, model: type[Model], old_field: Any, new_field: Any) -> None:
        """Do so in a column of the same table, which may be another one."""
        old = old_field.get_col(model._meta.db_table)
        backend = self.connection.ops.get_db_converters(old)
        converters = [*backend, *old.get_db_converters(self.connection)]

        def converted(stored: Any) -> Any:
            for converter in converters:
                stored = converter(stored, old, self.connection)
            value = new_field.to_python(stored)
            # None is JSON's null here: a column's NULL is not converted.
            if isinstance(new_field, EncryptedField):
                return new_field.encrypt(new_field.get_prep_value(value))
            return new_field.get_db_prep_value(value, self.connection)

        self._rewrite(model, old_field.column, column, converted)

    def _rewrite(
        self, model: type[Model], source: str, target: str, change: Callable[[Any], Any]
    ) -> None:
        """Put what `change` makes of each value of one column into another, or the same."""
        q = self.quote_name
        table = q(model._meta.db_table)
        if self.collect_sql:
            self.collected_sql.append(
                f"-- Python converts {table}.{q(source)} row by row. Only migrate can do that."
            )
            return
        fields = model._meta.pk_fields  # several if it is composite
        key = ", ".join(q(str(field.column)) for field in fields)
        marks = ", ".join(["%s"] * len(fields))
        select = f"SELECT {q(source)}, {key} FROM {table} WHERE {q(source)} IS NOT NULL"  # noqa: S608
        order = f" ORDER BY {key} LIMIT {_BATCH_SIZE}"
        update = f"UPDATE {table} SET {q(target)} = %s WHERE ({key}) = ({marks})"  # noqa: S608
        after, last = "", ()
        with self.connection.cursor() as cursor:
            while True:
                cursor.execute(select + after + order, last)
                rows = cursor.fetchall()
                if not rows:
                    return
                after, last = f" AND ({key}) > ({marks})", rows[-1][1:]
                cursor.executemany(
                    update, [(self._changed(change, v, source, pk), *pk) for v, *pk in rows]
                )

    def _changed(self, change: Callable[[Any], Any], value: Any, source: str, pk: Any) -> Any:
        try:
            changed = change(value)
        except (DecryptionError, DataKeyError):
            raise
        except Exception as error:  # whose message may show the value
            raise EncryptedFieldError(
                f"The value of {source} in the row with the primary key {pk} does not fit the "
                f"new field ({type(error).__name__}). Correct it, then migrate."
            ) from None
        return self.connection.Database.Binary(changed) if isinstance(changed, bytes) else changed


def _form(field: Any) -> Any:
    """What decides how a field's values are stored, if they are encrypted."""
    if not isinstance(field, EncryptedField):
        return None
    decimal_places = getattr(field, "decimal_places", None)
    return type(field), field.place, field.searchable, field.normalize, decimal_places
