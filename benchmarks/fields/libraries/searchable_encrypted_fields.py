"""django-searchable-encrypted-fields: AES-GCM in one column, a salted SHA-256 in another."""

import secrets
from typing import Any

from django.conf import settings
from django.db import models

from libraries import Library, save_all

HASH_KEY = secrets.token_hex(32)


class Adapter(Library):
    distribution = "django-searchable-encrypted-fields"
    rotation = "fetch and save all objects"

    def settings(self) -> dict[str, Any]:
        return {
            "INSTALLED_APPS": ["encrypted_fields"],
            "FIELD_ENCRYPTION_KEYS": [secrets.token_hex(32)],
        }

    def model(self) -> type[models.Model]:
        from encrypted_fields import fields

        class Encrypted(models.Model):
            _email = fields.EncryptedEmailField()
            email = fields.SearchField(
                hash_key=HASH_KEY, encrypted_field_name="_email", unique=True
            )
            note = fields.EncryptedTextField()
            number = models.IntegerField()

            class Meta:
                app_label = "project"

        self.fields = [Encrypted._meta.get_field(name) for name in ("_email", "note")]
        return Encrypted

    def add_key(self) -> None:
        self._use([secrets.token_hex(32), *settings.FIELD_ENCRYPTION_KEYS])

    def drop_old_key(self) -> None:
        self._use(settings.FIELD_ENCRYPTION_KEYS[:1])

    def _use(self, keys: list[str]) -> None:
        settings.FIELD_ENCRYPTION_KEYS = keys
        for field in self.fields:
            vars(field).pop("keys", None)  # as after a restart

    def rotate(self, model: Any) -> str:
        save_all(model)
        return ""
