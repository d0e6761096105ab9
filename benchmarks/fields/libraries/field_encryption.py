"""django-field-encryption: AES-GCM in one column, HMAC-SHA-256 in another."""

import io
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import models

from libraries import Library


class Adapter(Library):
    distribution = "django-field-encryption"
    rotation = "manage.py rotate_encryption_keys"

    def settings(self) -> dict[str, Any]:
        from django_field_encryption import generate_master_key

        return {
            "INSTALLED_APPS": ["django_field_encryption"],
            "DATA_PROTECTION_KEYS": {"v1": generate_master_key()},
            "DATA_PROTECTION_ACTIVE_KEY_ID": "v1",
        }

    def model(self) -> type[models.Model]:
        from django_field_encryption import (
            BlindIndexField,
            EncryptedEmailField,
            EncryptedTextField,
        )

        class Encrypted(models.Model):
            email = EncryptedEmailField()
            email_hash = BlindIndexField("email", unique=True, db_index=True)
            note = EncryptedTextField()
            number = models.IntegerField()

            class Meta:
                app_label = "project"

        return Encrypted

    def make(self, model: Any, email: str, note: str, number: int) -> models.Model:
        # "hashes must be computed manually for bulk operations"
        instance: models.Model = model(email=email, note=note, number=number, **self.query(email))
        return instance

    def query(self, email: str) -> dict[str, Any]:
        from django_field_encryption import compute_hash

        return {"email_hash": compute_hash(email)}

    def add_key(self) -> None:
        from django_field_encryption import generate_master_key

        new = f"v{len(settings.DATA_PROTECTION_KEYS) + 1}"
        settings.DATA_PROTECTION_KEYS = {
            **settings.DATA_PROTECTION_KEYS,
            new: generate_master_key(),
        }
        settings.DATA_PROTECTION_ACTIVE_KEY_ID = new

    def drop_old_key(self) -> None:
        from django_field_encryption import FieldEncryptor

        active = settings.DATA_PROTECTION_ACTIVE_KEY_ID
        settings.DATA_PROTECTION_KEYS = {active: settings.DATA_PROTECTION_KEYS[active]}
        FieldEncryptor.clear_cache()

    def rotate(self, model: Any) -> str:
        said = io.StringIO()
        call_command("rotate_encryption_keys", stdout=said, no_color=True)
        for row in model.objects.iterator():  # "after rotation, recompute blind index hashes"
            row.email_hash = self.query(row.email)["email_hash"]
            row.save(update_fields=["email_hash"])
        return said.getvalue().strip().splitlines()[-1]
