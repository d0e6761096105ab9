"""The two roles that the application has in its database.

`migrator` owns the schema and changes it, in the release task alone; `app` reads and
writes rows, in every process that serves.
"""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

APP, MIGRATOR = "app", "migrator"
# Where the secret store has their passwords, below the project's prefix. What is below
# `release/` no process that serves may decrypt.
PASSWORDS = {APP: "DATABASE_PASSWORD", MIGRATOR: "release/DATABASE_PASSWORD"}


def password_parameter(user: str) -> str:
    """Return the name of the parameter with a role's password.

    Raises `ImproperlyConfigured` for a user that is none of the project's roles.
    """
    if user not in PASSWORDS:
        raise ImproperlyConfigured(
            f"The secret store has no password of the database user {user!r}. "
            f"Set DATABASE_USER to one of: {', '.join(PASSWORDS)}."
        )
    return f"{settings.SECRETS_PREFIX}{PASSWORDS[user]}"
