"""The roles' passwords in the secret store."""

from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import get_random_string

from apps.database.connecting import GivenPassword, connect_as
from apps.database.login import PasswordLogin
from apps.database.making import LOCK, set_password
from apps.database.roles import PASSWORDS, password_parameter
from apps.secrets.ssm import put_secret, ssm_client

_LENGTH = 40


def stored_passwords() -> dict[str, str]:
    """Return the password of each role.

    Raises `ImproperlyConfigured` if one is missing, `BotoCoreError` or `ClientError` if
    the store fails.
    """
    names = {password_parameter(role): role for role in PASSWORDS}
    found = ssm_client().get_parameters(Names=list(names), WithDecryption=True)["Parameters"]
    passwords = {names[item["Name"]]: item["Value"] for item in found}
    if missing := sorted(name for name, role in names.items() if role not in passwords):
        raise ImproperlyConfigured(
            f"The secret store lacks {', '.join(missing)}. Run: python scripts/create_secrets.py"
        )
    return passwords


def rotate(role: str) -> bool:
    """Give a role a new password, and return True; or finish an interrupted rotation: False.

    The role changes its own password, so this needs no other user's:

        1. the new one is stored, the server wants the old one
        2. the server wants the new one

    Between the two, logins find the old one as the one stored before. An end in
    between is found by the next run, which logs in with the old one, and makes step 2.
    Raises `OperationalError` if the server accepts neither, and what the store raises.
    """
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
