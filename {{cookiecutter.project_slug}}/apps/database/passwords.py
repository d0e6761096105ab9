"""The roles' passwords, in the secret store or in a file of this process."""

import os

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import get_random_string

from apps.database.connecting import GivenPassword, connect_as
from apps.database.login import PasswordLogin
from apps.database.making import LOCK, set_password
from apps.database.roles import PASSWORDS, password_parameter
from apps.secrets.ssm import given, put_secret, ssm_client

_LENGTH = 40


def password_in_file(role: str) -> str:
    """Return the password that this process has for its own role in a file, or "".

    The local migrator's is in no store. Raises what `apps.secrets.ssm.given` raises.
    """
    if role != settings.DATABASE_USER or not os.environ.get("DATABASE_PASSWORD_FILE"):
        return ""
    return given("DATABASE_PASSWORD", os.environ)


def passwords_of_roles() -> dict[str, str]:
    """Return the password of each role: the one in this process's file, or the stored one.

    Raises `ImproperlyConfigured` if one is missing, `BotoCoreError` or `ClientError` if
    the store fails.
    """
    passwords = {role: password for role in PASSWORDS if (password := password_in_file(role))}
    names = {password_parameter(role): role for role in PASSWORDS if role not in passwords}
    found = ssm_client().get_parameters(Names=list(names), WithDecryption=True)["Parameters"]
    passwords |= {names[item["Name"]]: item["Value"] for item in found}
    if missing := sorted(name for name, role in names.items() if role not in passwords):
        raise ImproperlyConfigured(
            f"The secret store lacks {', '.join(missing)}. Run: python scripts/create_secrets.py"
        )
    return passwords


def require_stored(role: str) -> None:
    """Raise `ImproperlyConfigured` for a role whose password is not the store's to change."""
    if password_in_file(role):
        raise ImproperlyConfigured(
            f"The password of {role} is in this process's DATABASE_PASSWORD_FILE, so it has to "
            "change where that comes from. Locally: delete .env, then make down, make up."
        )


def rotate(role: str) -> bool:
    """Give a role a new password, and return True; or finish an interrupted rotation: False.

    The role changes its own password, so this needs no other user's:

        1. the new one is stored, the server wants the old one
        2. the server wants the new one

    Between the two, logins find the old one as the one stored before. An end in
    between is found by the next run, which logs in with the old one, and makes step 2.
    Raises `OperationalError` if the server accepts neither, and what the store and
    `require_stored` raise.
    """
    require_stored(role)
    client, name = ssm_client(), password_parameter(role)

    def newest() -> str:
        return client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]

    login = PasswordLogin(role, newest(), client)
    with connect_as(role, login) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        password = newest()
        is_new = password == login.kept
        if is_new:
            password = get_random_string(_LENGTH)
            put_secret(client, name, password)
        set_password(connection, role, password)
    connect_as(role, GivenPassword(password)).close()
    return is_new
