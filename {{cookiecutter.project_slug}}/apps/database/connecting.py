"""Connections of commands that act for another user than the application's."""

from collections.abc import Iterator

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from apps.database.login import Connection, IAMLogin, Login
from apps.encryption.checks import database_errors


class GivenPassword:
    """A `Login` with the one password that somebody gave."""

    def __init__(self, password: str) -> None:
        self._password = password

    def passwords(self) -> Iterator[str]:
        """Yield it."""
        yield self._password

    def accepted(self, password: str) -> None:
        """Keep nothing."""


def connect_as(user: str, login: Login, *, by: str = "password") -> Connection:
    """Connect to the application's database, and verify the server as the application does.

    `by` is "password" or "iam". Raises what `apps.database.login.log_in` raises, and
    `ImproperlyConfigured` if the settings verify less than this project's do.
    """
    for error in database_errors(settings.DATABASES):
        raise ImproperlyConfigured(f"{error.id}: {error.msg} {error.hint}")
    database = settings.DATABASES["default"]
    ours = ("pool", "login")
    options = {name: value for name, value in database["OPTIONS"].items() if name not in ours}
    return Connection.connect(
        host=database["HOST"],
        port=database["PORT"],
        dbname=database["NAME"],
        user=user,
        login=login,
        autocommit=True,
        **{**options, **settings.DATABASE_LOGINS[by]},
    )


def connect_as_master(user: str, password: str) -> Connection:
    """Connect as the database's master user.

    With IAM, RDS may want a token of the master too: a member of `rds_iam`, even by way of
    another role, has no use for a password, and since PostgreSQL 16 whoever makes a role
    is a member of it. Raises `OperationalError`.
    """
    try:
        return connect_as(user, GivenPassword(password))
    except psycopg.OperationalError:
        if settings.DATABASE_LOGIN != "iam":
            raise
    database = settings.DATABASES["default"]
    return connect_as(user, IAMLogin(database["HOST"], database["PORT"], user), by="iam")
