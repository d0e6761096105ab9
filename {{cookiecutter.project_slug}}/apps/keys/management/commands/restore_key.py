"""`manage.py restore_key PURPOSE ID`: read an old backup again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from apps.keys.keyring import Purpose, forget, key_store, open_key
from apps.keys.store import StoredKey, StoredRing
from apps.rotation.waiting import only_one


class Command(BaseCommand):
    """Run `manage.py rotate_keys --resume` afterwards: it moves what the key encrypted
    to the active key, and retires the restored key again.
    """

    help = "Puts a retired key back into the keyring, to decrypt only."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        # An index is never decrypted: its key need not come back.
        parser.add_argument("purpose", choices=[Purpose.FIELDS.value, Purpose.FILES.value])
        parser.add_argument("id")

    def handle(self, *, purpose: str, **options: Any) -> None:
        # A rotation also reads the keyring and then writes it: one would undo the other's
        # change, and a key that is in use could be lost.
        with only_one(DEFAULT_DB_ALIAS):
            key = self._restore(purpose, options["id"])
        self.stdout.write(f"The {purpose} key {key.id} decrypts again. Now: rotate_keys --resume")

    def _restore(self, purpose: str, key_id: str) -> StoredKey:
        store = key_store()
        ring, retired = store.read(purpose), store.retired(purpose)
        if ring is None or key_id not in retired:
            known = ", ".join(retired) or "none"
            raise CommandError(f"No such {purpose} key was retired. Retired keys: {known}.")
        key = retired[key_id]
        if key_id not in {known.id for known in ring.keys}:
            open_key(Purpose(purpose), key)  # a keyring with a key that KMS refuses is of no use
            store.write(purpose, StoredRing(active=ring.active, keys=(key, *ring.keys)))
            forget()
        return key
