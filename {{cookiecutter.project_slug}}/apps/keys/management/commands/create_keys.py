"""`manage.py create_keys`: the first key of each purpose."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from apps.fields.values import PLAIN, SEARCHABLE
from apps.keys.keyring import Purpose, forget, key_store
from apps.keys.making import make_key
from apps.keys.store import StoredRing
from apps.rotation.tables import tables


class Command(BaseCommand):
    """Part of every release, before the migrations; does nothing where keys exist.

    A keyring that is lost is not made anew: nobody would notice, until they read what was
    encrypted under the lost keys. All keys are older than the first encrypted value, so
    where there is one, no keyring may be missing.
    """

    help = "Makes the data keys that are missing."
    # They want the keys.
    requires_system_checks = ()

    def handle(self, **_options: Any) -> None:
        missing = [purpose for purpose in Purpose if key_store().read(purpose) is None]
        column = next(_columns_in_use(), None) if missing else None
        if column:
            raise CommandError(
                f"There are no keys for {', '.join(missing)}, but {column} holds values that were "
                "encrypted under former keys. Restore the parameters below "
                f"{settings.SECRETS_PREFIX}keys/ from a backup. New keys could not decrypt what "
                "is stored: if it is not wanted any more, empty the database first."
            )
        made = [purpose for purpose in missing if self._create(purpose)]
        self.stdout.write(f"Made keys for: {', '.join(made)}." if made else "All keys exist.")

    def _create(self, purpose: Purpose) -> bool:
        key = make_key(purpose)
        created = key_store().create(purpose, StoredRing(active=key.id, keys=(key,)))
        forget()
        return created


def _columns_in_use() -> Iterator[str]:
    """Yield each encrypted column with a value in it.

    Tables and columns may be missing, or in plaintext still: the migrations come later.
    """
    for connection in connections.all():
        quote, introspection = connection.ops.quote_name, connection.introspection
        with connection.cursor() as cursor:
            names = set(introspection.table_names(cursor))
            for table in tables(connection.alias):
                if table.name not in names:
                    continue
                columns = {c.name for c in introspection.get_table_description(cursor, table.name)}
                for column in {str(f.column) for f in table.fields} & columns:
                    cursor.execute(
                        f"SELECT {quote(column)} FROM {quote(table.name)} "  # noqa: S608
                        f"WHERE {quote(column)} IS NOT NULL LIMIT 1"
                    )
                    if any(_is_encrypted(value) for (value,) in cursor.fetchall()):
                        yield f"{table.name}.{column}"


def _is_encrypted(value: Any) -> bool:
    is_binary = isinstance(value, bytes | memoryview)
    return is_binary and bytes(value[:1]) in (PLAIN, SEARCHABLE)
