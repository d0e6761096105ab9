"""django-tink-fields: AES-GCM, and deterministic AES-SIV for the column that is searched."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

from django.db import models

from libraries import Library, save_all


class Adapter(Library):
    distribution = "django-tink-fields"
    rotation = "fetch and save all objects"

    def settings(self) -> dict[str, Any]:
        self.folder = tempfile.TemporaryDirectory(prefix="keysets-")
        self.paths = {
            name: Path(self.folder.name) / f"{name}.json" for name in ("default", "search")
        }
        for name, path in self.paths.items():
            path.write_text(json.dumps(self._keyset(name)))
        return {
            "TINK_FIELDS_CONFIG": {
                name: {"path": path, "cleartext": True} for name, path in self.paths.items()
            }
        }

    def _keyset(self, name: str) -> dict[str, Any]:
        import tink
        from tink import aead, cleartext_keyset_handle, daead

        template = {
            "default": aead.aead_key_templates.AES256_GCM,
            "search": daead.deterministic_aead_key_templates.AES256_SIV,
        }[name]
        for primitive in (aead, daead):
            primitive.register()
        text = io.StringIO()
        handle = tink.new_keyset_handle(template)
        cleartext_keyset_handle.write(tink.JsonKeysetWriter(text), handle)
        keyset: dict[str, Any] = json.loads(text.getvalue())
        return keyset

    def model(self) -> type[models.Model]:
        from tink_fields import DeterministicEncryptedEmailField, EncryptedTextField

        class Encrypted(models.Model):
            email = DeterministicEncryptedEmailField(keyset="search", unique=True)
            note = EncryptedTextField()
            number = models.IntegerField()

            class Meta:
                app_label = "project"

        return Encrypted

    def add_key(self) -> None:
        for name, path in self.paths.items():
            keyset = self._keyset(name)
            keyset["key"] += json.loads(path.read_text())["key"]
            self._use(path, keyset)

    def drop_old_key(self) -> None:
        for path in self.paths.values():
            keyset = json.loads(path.read_text())
            keyset["key"] = [k for k in keyset["key"] if k["keyId"] == keyset["primaryKeyId"]]
            self._use(path, keyset)

    def _use(self, path: Path, keyset: dict[str, Any]) -> None:
        from tink_fields import clear_keyset_cache

        path.write_text(json.dumps(keyset))
        clear_keyset_cache()

    def rotate(self, model: Any) -> str:
        save_all(model)
        return ""
