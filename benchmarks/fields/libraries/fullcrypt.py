"""The fields of the template's project, with keys in memory in place of KMS."""

# ruff: noqa: S101 (it checks what the command did)

import io
from typing import Any
from unittest import mock

from django.core.management import call_command
from django.db import models

from libraries import Library


class Adapter(Library):
    distribution = "fullcrypt"
    engine = "apps.fields.postgresql"
    rotation = "manage.py rotate_keys --purpose fields"

    def settings(self) -> dict[str, Any]:
        return {
            "INSTALLED_APPS": ["apps.keys", "apps.fields", "apps.rotation"],
            "KEY_STORE": "apps.keys.memory.MemoryKeyStore",
            "KEYRING_MAX_AGE": 300,
        }

    def model(self) -> type[models.Model]:
        from apps.fields import EncryptedEmailField, EncryptedTextField

        class Encrypted(models.Model):
            email = EncryptedEmailField(unique=True, searchable=True)
            note = EncryptedTextField()
            number = models.IntegerField()

            class Meta:
                app_label = "project"

        return Encrypted

    def add_key(self) -> None:
        from apps.keys.keyring import Purpose, keyring

        self.old = keyring(Purpose.FIELDS).active.id  # the command makes the new one

    def drop_old_key(self) -> None:
        from apps.keys.keyring import Purpose, keyring

        keys = keyring(Purpose.FIELDS).keys  # the command has dropped it
        assert len(keys) == 1, "more than one key is left"
        assert self.old not in keys, "the old key is left"

    def rotate(self, model: Any) -> str:  # noqa: ARG002 (it rotates all models)
        said = io.StringIO()
        # There is no other process that it could wait for.
        with mock.patch("apps.rotation.management.commands.rotate_keys.settle"):
            call_command("rotate_keys", purpose=["fields"], stdout=said, stderr=io.StringIO())
        return said.getvalue().strip()
