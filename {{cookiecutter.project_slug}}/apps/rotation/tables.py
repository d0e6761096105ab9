"""Rewrites the values of encrypted columns that are not under the current keys.

Each stored value says which keys it uses. So a rotation needs no notes of its own: one
that was killed is found unfinished by looking, and goes on.
"""

# ruff: noqa: S608 (names of tables and columns are the models', and quoted)

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import IntegrityError, connections, router, transaction
from django.db.models import Model

from apps.fields import EncryptedField
from apps.fields.values import (
    SLOTS,
    current_header,
    is_indexed,
    slot_offset,
    unseal,
)
from apps.keys.errors import DecryptionError, UnknownKeyError


@dataclass
class Progress:
    """What one pass has done. `failed` are the primary keys of what cannot be decrypted."""

    rewritten: int = 0
    failed: list[Any] = field(default_factory=list)


class Table:
    """The encrypted columns of one model's own table, in one database."""

    unit = "rows"

    def __init__(self, model: type[Model], using: str) -> None:
        self.model = model
        self.using = using
        self.name = model._meta.db_table
        self.fields = [f for f in model._meta.local_fields if isinstance(f, EncryptedField)]
        self._connection: Any = connections[using]
        quote = self._connection.ops.quote_name
        self._table = quote(self.name)
        # Several if the primary key is composite.
        self._pk_fields = model._meta.pk_fields
        self._pk = [quote(str(f.column)) for f in self._pk_fields]
        self._columns = [quote(str(f.column)) for f in self.fields]

    def count(self) -> int:
        """Return the number of rows."""
        return int(self._ask(f"SELECT COUNT(*) FROM {self._table}", [])[0][0])

    def count_due(self) -> int:
        """Return the number of rows with a value that is not under the current keys."""
        where, params = self._due()
        return int(self._ask(f"SELECT COUNT(*) FROM {self._table} WHERE {where}", params)[0][0])

    def look(self, limit: int) -> None:
        """Decrypt the first and the last so many rows, and see that they can be searched.

        Raises `DecryptionError` or `DataKeyError` for a value that this application did not
        write here, or `LookupError` for one whose index is under no key in use.
        """
        columns = ", ".join(self._columns)
        for direction in ("ASC", "DESC"):
            order = ", ".join(f"{pk} {direction}" for pk in self._pk)
            rows = self._ask(
                f"SELECT {columns} FROM {self._table} ORDER BY {order} LIMIT {limit}", []
            )
            for stored in rows:
                for f, value in zip(self.fields, stored, strict=True):
                    if value is not None:
                        self._look_at(f, value)

    def _look_at(self, f: EncryptedField, stored: Any) -> None:
        unseal(f.place, stored)
        if f.searchable and not is_indexed(stored):
            raise LookupError(
                f"A value in {f.place} has no index under the current key, so no search finds "
                "it. Run: manage.py rotate_keys --resume"
            )

    def rotate(self, batch_size: int, report: Callable[[int], object]) -> Progress:
        """Rewrite what is due, in short transactions; `report` gets each batch's size.

        Rows that another transaction holds are left for the next pass: nothing waits for a
        lock here, so no request can be caught in a deadlock. Raises `CommandError` for a value
        that was put back beside its like, though it must be unique.
        """
        progress = Progress()
        batch: list[tuple[Any, ...]] | None = None
        while batch is None or len(batch) == batch_size:
            after = self._pk_of(batch[-1]) if batch else None
            with transaction.atomic(using=self.using):
                batch = self._lock(after, batch_size)
                rows = list(self._renewed(batch, progress.failed))
                self._write(rows)
            progress.rewritten += len(rows)
            report(len(batch))
        return progress

    def _due(self) -> tuple[str, list[Any]]:
        """Return SQL that is true for rows not written as they would be now."""
        conditions, params = [], []
        for f, column in zip(self.fields, self._columns, strict=True):
            begins, ids = current_header(searchable=f.searchable)
            expected = [(1, begins)]
            expected += [(slot_offset(slot) + 1, ids[slot]) for slot in SLOTS if ids]
            for offset, value in expected:
                conditions.append(f"SUBSTR({column}, {offset}, {len(value)}) <> %s")
                params.append(self._connection.Database.Binary(value))
        return f"({' OR '.join(conditions)})", params

    def _pk_of(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        return row[: len(self._pk)]

    def _lock(self, after: tuple[Any, ...] | None, limit: int) -> list[tuple[Any, ...]]:
        where, params = self._due()
        pk = ", ".join(self._pk)
        if after is not None:
            where += f" AND ({pk}) > ({', '.join(['%s'] * len(after))})"
            params += after
        lock = ""
        if self._connection.features.has_select_for_no_key_update:
            lock = "FOR NO KEY UPDATE SKIP LOCKED"
        columns = ", ".join([*self._pk, *self._columns])
        return self._ask(
            f"SELECT {columns} FROM {self._table} WHERE {where} ORDER BY {pk} LIMIT {limit} {lock}",
            params,
        )

    def _renewed(
        self, batch: list[tuple[Any, ...]], failed: list[Any]
    ) -> Iterator[tuple[Any, ...]]:
        for row in batch:
            pk, stored = self._pk_of(row), row[len(self._pk) :]
            try:
                new = [
                    None if value is None else f.renew(value)
                    for f, value in zip(self.fields, stored, strict=True)
                ]
            except (DecryptionError, UnknownKeyError):
                failed.append(_shown(pk))
            else:
                yield *pk, *new

    def _write(self, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        try:
            with transaction.atomic(using=self.using):  # a savepoint: the rows stay locked
                self._write_at_once(rows)
        except IntegrityError:
            self._write_one_by_one(rows)

    def _write_one_by_one(self, rows: list[tuple[Any, ...]]) -> None:
        """Write each value alone, to name the one that is not unique."""
        where = " AND ".join(f"{pk} = %s" for pk in self._pk)
        with self._connection.cursor() as cursor:
            for row in rows:
                pk = self._pk_of(row)
                new = zip(self.fields, self._columns, row[len(pk) :], strict=True)
                for f, column, value in new:
                    update = f"UPDATE {self._table} SET {column} = %s WHERE {where}"
                    try:
                        cursor.execute(update, [value, *pk])
                    except IntegrityError:
                        raise CommandError(
                            f"The value of {f.place} in the row with the primary key {_shown(pk)} "
                            "must be unique, and another row has it: one of them was put back from "
                            "a backup. Delete or change one. Then run this again: it goes on."
                        ) from None

    def _write_at_once(self, rows: list[tuple[Any, ...]]) -> None:
        with self._connection.cursor() as cursor:
            if self._connection.vendor == "postgresql":
                # An array per column: five times faster than a statement per row.
                cursor.execute(
                    self._update_from_arrays(), [list(c) for c in zip(*rows, strict=True)]
                )
            else:
                columns = ", ".join(f"{column} = %s" for column in self._columns)
                where = " AND ".join(f"{pk} = %s" for pk in self._pk)
                values = [(*row[len(self._pk) :], *self._pk_of(row)) for row in rows]
                cursor.executemany(f"UPDATE {self._table} SET {columns} WHERE {where}", values)

    def _update_from_arrays(self) -> str:
        fields = [*self._pk_fields, *self.fields]
        # The types are named because an array may hold nothing but NULL.
        arrays = ", ".join(f"%s::{f.cast_db_type(self._connection)}[]" for f in fields)
        names = [*self._pk, *self._columns]
        where = " AND ".join(f"{self._table}.{pk} = new.{pk}" for pk in self._pk)
        return (
            f"UPDATE {self._table} SET {', '.join(f'{c} = new.{c}' for c in self._columns)} "
            f"FROM unnest({arrays}) AS new ({', '.join(names)}) WHERE {where}"
        )

    def _ask(self, sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())


def _shown(pk: tuple[Any, ...]) -> Any:
    return pk[0] if len(pk) == 1 else pk


def models_in(using: str) -> Iterator[type[Model]]:
    """Yield the models that have a table of their own in a database."""
    for model in apps.get_models(include_auto_created=True):
        is_stored = not model._meta.proxy and not model._meta.swapped
        if is_stored and router.allow_migrate_model(using, model):
            yield model


def tables(using: str) -> list[Table]:
    """Return every table with encrypted columns."""
    return [table for table in (Table(m, using) for m in models_in(using)) if table.fields]
