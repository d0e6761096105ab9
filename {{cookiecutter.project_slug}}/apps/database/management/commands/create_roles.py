"""`manage.py create_roles`: the database's roles, before anything else uses it."""

import os
from typing import Any

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from apps.database.connecting import connect_as_master
from apps.database.making import RolesError, make_roles
from apps.database.passwords import passwords_of_roles
from apps.secrets.ssm import given


class Command(BaseCommand):
    """Part of every release, as the master user; safe to repeat."""

    help = "Makes the database roles app and migrator, and says what they may."
    # They want the keys, which are made later. connect_as() checks what matters here.
    requires_system_checks = ()

    def handle(self, **_options: Any) -> None:
        try:
            user, password = (
                given(f"DATABASE_MASTER_{n}", os.environ) for n in ("USER", "PASSWORD")
            )
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if not user or not password:
            raise CommandError(
                "DATABASE_MASTER_USER or DATABASE_MASTER_PASSWORD is missing. They belong in the "
                "environment of the release task, and of no other."
            )
        by_iam = settings.DATABASE_LOGIN == "iam"
        try:
            passwords = None if by_iam else passwords_of_roles()
            with connect_as_master(user, password) as connection:
                make_roles(connection, passwords)
        except (RolesError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        except (BotoCoreError, ClientError) as error:
            raise CommandError(f"The secret store failed: {error}") from error
        except psycopg.Error as error:
            raise CommandError(
                f"The roles could not be made as {user}: {error} Check that it owns the "
                "database, may make roles, and has this password."
            ) from error
        how = "with IAM" if by_iam else "with their passwords"
        self.stdout.write(f"The roles app and migrator are in place, and log in {how}.")
