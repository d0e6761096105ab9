"""django-secured-fields: Fernet and a salted SHA-256 in one column."""

import secrets
from typing import Any

from django.conf import settings
from django.db import models

from libraries import Library, update_all


class Adapter(Library):
    distribution = "django-secured-fields"
    rotation = "bulk_update of all objects"

    def settings(self) -> dict[str, Any]:
        from cryptography.fernet import Fernet

        return {
            "INSTALLED_APPS": ["secured_fields"],
            "SECURED_FIELDS_KEY": [Fernet.generate_key()],
            "SECURED_FIELDS_HASH_SALT": secrets.token_hex(4),  # as its generate_key makes it
        }

    def model(self) -> type[models.Model]:
        import secured_fields

        class Encrypted(models.Model):
            email = secured_fields.EncryptedCharField(max_length=254, searchable=True)
            note = secured_fields.EncryptedTextField()
            number = models.IntegerField()

            class Meta:
                app_label = "project"

        return Encrypted

    def add_key(self) -> None:
        from cryptography.fernet import Fernet

        self._use([Fernet.generate_key(), *settings.SECURED_FIELDS_KEY])

    def drop_old_key(self) -> None:
        self._use(settings.SECURED_FIELDS_KEY[:1])

    def _use(self, keys: list[bytes]) -> None:
        from secured_fields import fernet

        settings.SECURED_FIELDS_KEY = keys
        fernet.fernet_client = None  # as after a restart

    def rotate(self, model: Any) -> str:
        update_all(model, ["email", "note"])
        return ""
