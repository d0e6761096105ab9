from typing import Any

from django.apps import AppConfig
from django.core.management.base import CommandError
from django.db import connections
from django.db.models.signals import pre_migrate


class DatabaseConfig(AppConfig):
    name = "apps.database"

    def ready(self) -> None:
        pre_migrate.connect(refuse_to_migrate_in_vain, dispatch_uid=self.name)


def refuse_to_migrate_in_vain(*, using: str, **_details: Any) -> None:
    """Say whose work it is, before PostgreSQL refuses some statement of some migration.

    Raises `CommandError` if the connection's role may not change the schema.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, has_schema_privilege(current_schema(), 'CREATE')")
        user, may_create = cursor.fetchone()
    if not may_create:
        raise CommandError(
            f"The database role {user} may not change the schema; migrations run as the role that "
            "owns it, in the release step. Locally: make release. On AWS: make deploy."
        )
