"""`manage.py rotate_database_password`: new passwords, and no login fails."""

from typing import Any

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.database.passwords import require_stored, rotate
from apps.database.roles import PASSWORDS, password_parameter


class Command(BaseCommand):
    """Runs in the release task; can be repeated whenever it was interrupted."""

    help = "Gives the database's roles new passwords, in the secret store and the database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("role", nargs="*", choices=[[], *PASSWORDS], help="default: each")

    def handle(self, *, role: list[str], **_options: Any) -> None:
        if settings.DATABASE_LOGIN == "iam":
            raise CommandError("The roles log in with IAM: there is no password to rotate.")
        names = role or [*PASSWORDS]
        try:
            for name in names:
                require_stored(name)
            for name in names:
                self.stdout.write(f"{name}: {self._rotate(name)}")
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error

    def _rotate(self, role: str) -> str:
        try:
            is_new = rotate(role)
        except (BotoCoreError, ClientError) as error:
            raise CommandError(
                f"The secret store failed: {error} Check that it is reachable and that this "
                f"role may call ssm:GetParameter and ssm:PutParameter on "
                f"{password_parameter(role)}. Then repeat this."
            ) from error
        except psycopg.Error as error:
            raise CommandError(
                f"The database failed: {error} If it refuses {role}'s password, run "
                "manage.py create_roles, which sets the stored one. Then repeat this."
            ) from error
        return "has a new password." if is_new else "an interrupted rotation is finished."
