"""Django's SQLite backend, with encrypted fields."""

from typing import Any

from django.db.backends.sqlite3 import base, operations, schema
from django.db.models import Model

from apps.fields.backend import EncryptedOperationsMixin, EncryptedSchemaEditorMixin


class DatabaseOperations(EncryptedOperationsMixin, operations.DatabaseOperations):
    pass


class DatabaseSchemaEditor(EncryptedSchemaEditorMixin, schema.DatabaseSchemaEditor):
    """A column's type binds nothing in SQLite: values are converted where they are.

    https://www.sqlite.org/pragma.html explains the two settings.
    """

    def convert(self, model: type[Model], old_field: Any, new_field: Any) -> None:
        self.execute("PRAGMA secure_delete = ON")  # zeros where the plaintext was in the file
        self.execute("PRAGMA ignore_check_constraints = ON")  # "is it JSON?"
        try:
            super().convert(model, old_field, new_field)
        finally:
            self.execute("PRAGMA ignore_check_constraints = OFF")


class DatabaseWrapper(base.DatabaseWrapper):
    """`ENGINE = "apps.fields.sqlite3"`."""

    encrypts_fields = True
    ops_class = DatabaseOperations
    SchemaEditorClass = DatabaseSchemaEditor
